"""write the captured pages of a source as plain WARC files

They lie sealed in the state folder, each record under a key of its own. An export holds every record as it was written
when the page came: `warcio check` passes on it and replay programs take it. A page that was erased with the pictures
inside it is left out and counted; of a private source every page with a picture inside is.
The files are as readable as the pages were: mind who gets them.

example:
  ./facewarden warc export harbour --out harbour-pages/
  ./facewarden warc export harbour --out harbour-pages/ --json
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from cli.servers import open_database
from cli.setup import name_user
from evidence.export import Exported, export_pages
from vault.errors import StoreError
from vault.letters import count_of
from vault.log import clean_text
from vault.settings import Settings
from vault.store.sources import get_source
from vault.terminal import say, say_json, working

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
        with working(f"writing the pages of {source.name}") as tell:
            done = export_pages(
                conn, keys, settings.home, source, args.out, by=name_user(), tell=lambda far: tell(describe(far))
            )
    if args.json:
        say_json(dataclasses.asdict(done), indent=1)
    else:
        say(describe(done))
    for capture_id, code in done.unreadable:
        say(f"capture {capture_id} could not be read: {code}", to=sys.stderr)
    return UNREADABLE if done.unreadable else 0


def describe(done: Exported) -> str:
    left = f", {done.left_out} left out" if done.left_out else ""
    files = count_of(done.files, "file")
    return f"{count_of(done.records, 'record')} in {files}, {done.bytes / 1e6:.1f} MB; {done.erased} erased{left}"
