"""the datasets that are sold more than once, or the timeline of one

Listings whose samples overlap are one dataset. A dataset's timeline says who offered it when and for how much, and why
each listing was taken to be a resale of it.

example:
  ./facewarden datasets                 (those that more than one listing offers)
  ./facewarden datasets --all --json
  ./facewarden datasets 12              (its timeline; the number of one that was merged finds the one it went into)
  ./facewarden datasets 12 --json
"""

import argparse
import dataclasses
from typing import Any

from cli.servers import open_database
from vault.errors import StoreError
from vault.letters import count_of
from vault.log import clean_text
from vault.settings import Settings
from vault.store.datasets import DatasetRow, Happening, find_dataset, list_datasets, list_timeline
from vault.terminal import Screen, say_json

MOST = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", type=int, help="the number of a dataset: show its timeline")
    parser.add_argument("--all", action="store_true", help="list those with a single listing too")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, _keys, conn):
        if args.dataset is None:
            rows = list_datasets(conn, MOST, resold=not args.all)
            print_json(rows) if args.json else show_datasets(rows)
            return 0
        dataset_id = find_dataset(conn, args.dataset) if 0 < args.dataset < 2**63 else None
        if dataset_id is None:
            raise StoreError(f"there is no dataset {args.dataset}", mend="./facewarden datasets --all lists them")
        happenings = list_timeline(conn, dataset_id, MOST)
    print_json(happenings) if args.json else show_timeline(dataset_id, happenings)
    return 0


def print_json(rows: list[Any]) -> None:
    table = [dataclasses.asdict(row) for row in rows]
    say_json(table, indent=1, default=str)


def show_datasets(rows: list[DatasetRow]) -> None:
    """Titles are a market's words."""
    console = Screen()
    console.print(f"{count_of(len(rows), 'dataset')}{', the newest' if len(rows) == MOST else ''}")
    for row in rows:
        alerts = f", {count_of(row.alerts, 'alert')}" if row.alerts else ""
        console.print(f"{row.dataset_id}  {count_of(row.listings, 'listing')} on {count_of(row.sources, 'source')} by "
                      f"{count_of(row.sellers, 'seller')}, "
                      f"{row.first_seen:%Y-%m-%d} to {row.last_seen:%Y-%m-%d}{alerts}: "
                      f"{clean_text(row.title, 80)!r}")  # fmt: skip


def show_timeline(dataset_id: int, happenings: list[Happening]) -> None:
    console = Screen()
    console.print(f"dataset {dataset_id}")
    for each in happenings:
        price = f"{each.price} {each.currency or ''}".strip() if each.price is not None else each.price_text
        detail = f" ({clean_text(each.detail, 200)})" if each.detail else ""
        console.print(f"{each.at:%Y-%m-%d %H:%M}  listing {each.listing_id} {each.kind}{detail}")
        console.print(f"    {clean_text(each.title, 80)!r} on {each.source} by {clean_text(each.seller, 40)!r}, "
                      f"price {clean_text(price, 40) or 'not given'}")  # fmt: skip
