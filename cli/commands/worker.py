"""A worker process (started by the supervisor)."""

import argparse

from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="worker-1")


def run(args: argparse.Namespace, settings: Settings) -> int:
    from workers.app import run_worker

    run_worker(settings, args.name)
    return 0
