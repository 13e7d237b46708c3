"""crawl one source once, by its card

example:
  ./facewarden crawl cards/shop.toml
  ./facewarden crawl lab.toml --lab 127.0.0.1:8601     (a server of your own, for trying a card)
"""

import argparse
import ipaddress
from pathlib import Path

from cli.servers import find_running
from vault.errors import SettingError
from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("card", type=Path, help="the card's TOML file")
    parser.add_argument("--due", action="store_true", help="only pages whose time has come, as `up` does")
    add_lab(parser)


def add_lab(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lab",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="open exactly this loopback address and port (repeatable); shown and logged",
    )


def check_lab(pairs: list[str]) -> tuple[str, ...]:
    """Exact loopback pairs. Raises SettingError."""
    for pair in pairs:
        host, _, port = pair.rpartition(":")
        try:
            if not ipaddress.ip_address(host.strip("[]")).is_loopback or not 1 <= int(port) <= 65_535:
                raise ValueError
        except ValueError as exc:
            raise SettingError(
                f"--lab {pair!r} is not a loopback address and port", mend="write it as 127.0.0.1:8601"
            ) from exc
    return tuple(pairs)


def run(args: argparse.Namespace, settings: Settings) -> int:
    from crawler.run import run_crawl

    lab = check_lab(args.lab)
    return run_crawl(find_running(settings), args.card, lab, lambda line: print(line, flush=True), due_only=args.due)  # noqa: T201
