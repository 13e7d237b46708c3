"""list the alerts, or seal the evidence of one

People appear as keyed digests; the dashboard shows the same with blurred faces.

example:
  ./facewarden alerts
  ./facewarden alerts --json
  ./facewarden alerts --seal 3f0c...      (prints the path of the evidence bundle)
"""

import argparse
import getpass
import json
import time
from uuid import UUID

from rich.console import Console
from rich.table import Table

from cli.servers import open_database
from cli.supervisor import is_running
from dashboards.security.queries import PER_PAGE, count_alerts, list_alerts
from vault.errors import EvidenceError, ServerError
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection
from vault.store.bundles import ask_bundle, describe_alert, get_bundle_file

SEAL_SECONDS = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all alerts as JSON")
    parser.add_argument("--seal", type=UUID, metavar="ALERT", help="seal the evidence of this alert")


def run(args: argparse.Namespace, settings: Settings) -> int:
    running = is_running(settings.home) or bool(settings.servers.database_url)
    with open_database(settings) as (settings, keys, conn):
        if args.seal:
            if not running:
                raise ServerError("sealing needs running workers", mend="start them with: ./facewarden up")
            print(seal(conn, settings, args.seal))  # noqa: T201
            return 0
        total = count_alerts(conn)
        rows = [row for start in range(0, total, PER_PAGE) for row in list_alerts(conn, start)]
        shown = [
            {
                "alert": str(row["alert_id"]),
                "person": keys.digest_text(f"subject:{row['subject_id']}")[:8],
                "listing": row["title"],
                "source": row["source"],
                "band": row["band"],
                "faces": row["faces"],
                "found": row["created_at"].isoformat(timespec="seconds"),
                "told": row["delivery"],
                "bundle": row["bundle"],
            }
            for row in rows
        ]
    if args.json:
        print(json.dumps(shown, ensure_ascii=False, indent=1))  # noqa: T201
        return 0
    table = Table("alert", "person", "listing", "source", "strength", "faces", "found", "told", title=f"{total} alerts")
    for each in shown:
        table.add_row(
            *(str(each[k]) for k in ("alert", "person", "listing", "source", "band", "faces", "found", "told"))
        )
    Console(highlight=False).print(table)
    return 0


def seal(conn: Connection, settings: Settings, alert_id: UUID) -> str:
    """Ask for the bundle of an alert and wait for it; its path. Raises EvidenceError."""
    if describe_alert(conn, alert_id) is None:
        raise EvidenceError("no such alert", mend="./facewarden alerts lists them")
    ask_bundle(conn, alert_id, getpass.getuser())
    Asker(settings).ask(Step.SEAL_BUNDLES)
    deadline = time.monotonic() + SEAL_SECONDS
    while time.monotonic() < deadline:
        state, file, code = get_bundle_file(conn, alert_id)
        if state == "done" and file:
            return file
        if state == "quarantined":
            raise EvidenceError(f"the bundle could not be sealed: {code}", mend="see the workers' logs")
        time.sleep(0.2)
    raise EvidenceError("the bundle was not sealed in time", mend="are workers running? ./facewarden status")
