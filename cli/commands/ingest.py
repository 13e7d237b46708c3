"""take in a folder, an archive or an export that a person hands in

Nothing is fetched. A signed card of kind `folder` or `export` says why, and what may be kept: docs/sources.md. What is
found under a card with one signature is told to its person only, never to operators; two open it. A second run over the
same files adds nothing; a run that was killed goes on where it was. Links are never followed.
What is no picture, archive or export is counted by what it is ("passed over: 3 text, 2 MP4"). Exit code 5: an export
or a mail ends early; what could be read was kept.

example:
  ./facewarden ingest seized/ --card cards/seized.toml          (kind folder: each folder in it is a listing)
  ./facewarden ingest faces.zip --card cards/seized.toml        (one archive: zip, 7z, tar and its packings)
  ./facewarden ingest ChatExport/ --card cards/chat.toml        (kind export: Telegram Desktop, JSON or HTML)
  ./facewarden ingest reports.mbox --card cards/mail.toml       (kind export: mail with attachments)
"""

import argparse
from pathlib import Path

from cli.servers import open_database
from vault.settings import Settings
from vault.store.deployment import require_own
from vault.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="the folder or file")
    parser.add_argument("--card", type=Path, required=True, help="the card's TOML file")


def run(args: argparse.Namespace, settings: Settings) -> int:
    from crawler.ingest import run_ingest

    with open_database(settings) as (settings, _keys, conn):
        require_own(conn)
        return run_ingest(settings, args.path, args.card, say)
