"""crawl one source once, by its card

example:
  ./facewarden crawl --once cards/shop.toml            (--once may be left out: `up` is what crawls again and again)
  ./facewarden crawl lab.toml --lab 127.0.0.1:8601     (a server of your own, for trying a card)

What a card with one signature finds behind --lab is told to the enrolled people only, never to operators.
"""

import argparse
import ipaddress
from pathlib import Path

from cli.servers import find_running
from cli.setup import require_deployment
from cli.supervisor import is_running
from vault.errors import ServerError, SettingError
from vault.settings import Settings, is_port
from vault.terminal import say

LOOPBACK_V4, LOOPBACK_V6 = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("card", type=Path, help="the card's TOML file")
    parser.add_argument("--due", action="store_true", help="only pages whose time has come, as `up` does")
    parser.add_argument("--once", action="store_true", help="crawl until nothing is left, then stop: the default")
    parser.add_argument("--quiet", action="store_true", help="no progress, only how it ended")
    parser.add_argument("--service", action="store_true", help=argparse.SUPPRESS)  # log as processes do
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
    """Exact loopback pairs in the spelling that the guard compares with. Raises SettingError."""
    found: list[str] = []
    for pair in pairs:
        host, _, port = pair.rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            loopback = LOOPBACK_V4 if address.version == 4 else LOOPBACK_V6
            if not is_port(str(int(port))) or address not in loopback or "%" in host:
                raise ValueError
        except ValueError as exc:
            raise SettingError(
                f"--lab {pair!r} is not a loopback address and port", mend="write it as 127.0.0.1:8601 or [::1]:8601"
            ) from exc
        found.append(f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}")
    return tuple(dict.fromkeys(found))


def run(args: argparse.Namespace, settings: Settings) -> int:
    from crawler.run import run_crawl

    lab = check_lab(args.lab)
    require_deployment(settings)
    if not (settings.servers.database_url or is_running(settings.home)):
        raise ServerError(f"nothing runs on {settings.home}", mend="./facewarden up, in another terminal; then again")
    return run_crawl(
        find_running(settings), args.card, lab, say,
        due_only=args.due, quiet=args.quiet,
    )  # fmt: skip
