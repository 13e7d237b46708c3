"""The sweeper (started by the supervisor)."""

import argparse

from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    from workers.clock import run_clock

    run_clock(settings)
    return 0
