"""print a one-time link to the dashboard

example:
  ./facewarden login
"""

import argparse

from cli.commands.up import make_operator_link
from cli.servers import open_database
from vault.settings import Settings
from vault.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    from cli.supervisor import read_state

    state = read_state(settings.home)
    with open_database(settings) as (settings, _keys, _conn):
        if state is not None:
            settings = settings.replace("web", public_url=state["web"])
        say(make_operator_link(settings))
    return 0
