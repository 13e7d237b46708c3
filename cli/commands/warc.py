"""write the captured pages of a source as plain WARC files

They lie sealed in the state folder, each record under a key of its own. An export holds every record as it was written
when the page came: `warcio check` passes on it and replay programs take it. A page that was erased with the pictures
inside it is left out and counted. The files are as readable as the pages were: mind who gets them.

example:
  ./facewarden warc export harbour --out harbour-pages/
  ./facewarden warc export harbour --out harbour-pages/ --json
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from cli.servers import open_database
from cli.setup import name_user
from evidence.export import Exported, export_pages
from vault.errors import StoreError
from vault.log import clean_text
from vault.settings import Settings
from vault.store.sources import get_source

TELL_SECONDS = 2.0
UNREADABLE = 1  # exit code: not every page could be read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    export = actions.add_parser("export", help="write the pages of a source into a new or empty folder")
    export.add_argument("source", help="the source's name, as `source list` shows it")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is new or empty")
    export.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, keys, conn):
        source = get_source(conn, args.source)
        if source is None:
            name = clean_text(args.source, 80)
            raise StoreError(f"there is no source {name!r}", mend="./facewarden source list names them")
        done = export_pages(conn, keys, settings.home, source, args.out, by=name_user(), tell=Progress().tell)
    if args.json:
        print(json.dumps(dataclasses.asdict(done), indent=1))  # noqa: T201
    else:
        print(describe(done))  # noqa: T201
    for capture_id, code in done.unreadable:
        print(f"capture {capture_id} could not be read: {code}", file=sys.stderr)  # noqa: T201
    return UNREADABLE if done.unreadable else 0


def describe(done: Exported) -> str:
    left = f", {done.left_out} left out" if done.left_out else ""
    return f"{done.records} records in {done.files} files, {done.bytes / 1e6:.1f} MB; {done.erased} erased{left}"


class Progress:
    """A line now and then, on the terminal's error output."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def tell(self, done: Exported) -> None:
        if time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            print(describe(done), file=sys.stderr, flush=True)  # noqa: T201
