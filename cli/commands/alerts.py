"""list the alerts, or seal the evidence of one

People appear as keyed digests; the dashboard shows the same with blurred faces.

example:
  ./facewarden alerts
  ./facewarden alerts --json
  ./facewarden alerts --seal 3f0c         (prints the path of the evidence bundle; the id's first letters will do)
"""

import argparse
import json
import time
from typing import Any
from uuid import UUID

from rich.console import Console

from cli.servers import open_database
from cli.setup import name_user
from cli.supervisor import is_running
from dashboards.security.queries import PER_PAGE, count_alerts, list_alerts
from vault.errors import EvidenceError, ServerError
from vault.log import clean_text
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection
from vault.store.bundles import ask_bundle, get_bundle_file

SEAL_SECONDS = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all alerts as JSON")
    parser.add_argument("--seal", metavar="ALERT", help="seal the evidence of this alert; its first letters will do")


def run(args: argparse.Namespace, settings: Settings) -> int:
    running = is_running(settings.home) or bool(settings.servers.database_url)
    with open_database(settings) as (settings, keys, conn):
        if args.seal is not None:
            alert_id = find_alert(conn, args.seal)
            if not running:
                raise ServerError("sealing needs running workers", mend="start them with: ./facewarden up")
            print(seal(conn, settings, alert_id))  # noqa: T201
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
    show(shown)
    return 0


def show(alerts: list[dict[str, Any]]) -> None:
    """Two lines an alert, so that its id is whole on any terminal. Titles are a market's words."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"{len(alerts)} alerts")
    for each in alerts:
        faces = f"{each['faces']} face{'' if each['faces'] == 1 else 's'}"
        console.print(f"{each['alert']}  {each['band']}, {faces}, found {each['found']}")
        console.print(f"    person {each['person']} in {clean_text(str(each['listing']), 120)!r} on {each['source']}; "
                      f"message {each['told'] or 'none'}, bundle {each['bundle'] or 'none'}")  # fmt: skip


def find_alert(conn: Connection, prefix: str) -> UUID:
    """The one alert whose id begins like this. Raises EvidenceError."""
    letters = prefix.strip().lower().replace("-", "")
    rows = conn.execute(
        """select alert_id from alert
           where %(letters)s <> '' and starts_with(replace(alert_id::text, '-', ''), %(letters)s) limit 2""",
        {"letters": letters},
    ).fetchall()
    if len(rows) != 1:
        what = "several alerts begin" if rows else "no such alert: none begins"
        raise EvidenceError(f"{what} with {clean_text(prefix, 40)!r}", mend="./facewarden alerts lists them")
    found: UUID = rows[0][0]
    return found


def seal(conn: Connection, settings: Settings, alert_id: UUID) -> str:
    """Ask for the bundle of an alert and wait for it; its path. Raises EvidenceError."""
    ask_bundle(conn, alert_id, name_user())
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
