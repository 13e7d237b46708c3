"""A worker process (started by the supervisor)."""

import argparse

from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="worker-1")
    parser.add_argument("--people", action="store_true", help="the steps that people wait for; loads no models")


def run(args: argparse.Namespace, settings: Settings) -> int:
    from vault.steps import PEOPLE_QUEUE, QUEUE
    from workers.app import run_worker

    run_worker(settings, args.name, PEOPLE_QUEUE if args.people else QUEUE)
    return 0
