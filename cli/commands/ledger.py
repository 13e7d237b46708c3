"""look at the ledger, or verify all of it

example:
  ./facewarden ledger verify
  ./facewarden ledger show --last 20
"""

import argparse

from cli.servers import open_database
from vault.letters import count_of
from vault.settings import Settings
from vault.store.ledger import chain_entries, count_unplaced, get_head, list_entries, verify_ledger
from vault.terminal import say, working


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("verify", "show"))
    parser.add_argument("--last", type=int, default=10, help="how many entries to show")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, keys, conn):
        while chain_entries(conn, keys):
            pass
        head = get_head(conn)
        if args.what == "show":
            for position, entry, _leaf in list_entries(conn, max(0, head.tree_size - args.last), args.last):
                say(f"{position} {entry}")
            return 0
        with working(f"recomputing {count_of(head.tree_size, 'entry', 'entries')}"):
            wrong = verify_ledger(conn, keys)
        for line in wrong:
            say(f"FAILED {line}")
        if not wrong:
            entries = count_of(head.tree_size, "entry", "entries")
            say(f"verified: {entries}, root {head.root}, {count_unplaced(conn)} waiting")
        return 1 if wrong else 0
