"""The web server (started by the supervisor)."""

import argparse

from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    from dashboards.server import run_web

    run_web(settings)
    return 0
