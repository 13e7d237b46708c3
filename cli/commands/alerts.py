"""list the alerts, seal the evidence of one, or note that its person says "this is not me"

People appear as keyed digests; the dashboard shows the same with blurred faces. Where one approver alone has signed a
source's card, each alert has a label of its own instead, and what one operator alone chose (handed in, or crawled with
--lab) is not listed: only its person is told. What people say they say on their own
page; --not-me and --take-back are for those who wrote to you instead. Their page and the ledger say who noted it.

example:
  ./facewarden alerts
  ./facewarden alerts --json
  ./facewarden alerts --seal 3f0c         (prints the path of the evidence bundle; the id's first letters will do)
  ./facewarden alerts --seal 3f0c --why "asked for by the police"       (another version, if the alert has grown)
  ./facewarden alerts --not-me 3f0c       (from now on faces like those of this alert do not alert its person)
  ./facewarden alerts --take-back 3f0c
  ./facewarden alerts --held              (what waits for somebody to look at it, 30 days at most)
  ./facewarden alerts --release 418 --why "the same scar"      (its person is told)
  ./facewarden alerts --drop 418 --why "a statue"              (nobody is told)
"""

import argparse
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from cli.servers import open_database
from cli.setup import name_user
from cli.supervisor import is_running
from dashboards.security.queries import PER_PAGE, count_alerts, list_alerts
from vault.errors import EvidenceError, JudgementError, ServerError
from vault.keys import Keys
from vault.letters import count_of
from vault.log import clean_text
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection
from vault.store.bundles import Asked, ask_bundle, get_bundle_file, list_versions
from vault.store.holds import drop_hold, list_holds, release_hold
from vault.store.judgements import get_owner, judge_alert, take_back_judgement
from vault.terminal import Screen, say, say_json, working

SEAL_SECONDS = 120.0
MOST_HELD = 1000  # that are listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print all alerts as JSON")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--seal", metavar="ALERT", help="seal the evidence of this alert; its first letters will do")
    parser.add_argument("--why", default="", help="why it is sealed, released or dropped; the ledger has it")
    choice.add_argument("--not-me", metavar="ALERT", help="the person says that this is somebody else")
    choice.add_argument("--take-back", metavar="ALERT", help="the person takes that back")
    choice.add_argument("--held", action="store_true", help="list what is held for review, and until when")
    choice.add_argument("--release", type=int, metavar="NUMBER", help="you have looked: its person is told")
    choice.add_argument("--drop", type=int, metavar="NUMBER", help="you have looked: nobody is told")


def run(args: argparse.Namespace, settings: Settings) -> int:
    running = is_running(settings.home) or bool(settings.servers.database_url)
    with open_database(settings) as (settings, keys, conn):
        if args.seal is not None:
            alert_id = find_alert(conn, args.seal)
            if not running:
                raise ServerError("sealing needs running workers", mend="start them with: ./facewarden up")
            say(seal(conn, settings, alert_id, clean_text(args.why, 200)))
            return 0
        if args.not_me is not None or args.take_back is not None:
            say(judge(conn, keys, settings, args.not_me, args.take_back))
            return 0
        if args.release is not None or args.drop is not None:
            say(decide(conn, keys, settings, args.release, args.drop, clean_text(args.why, 200).strip()))
            return 0
        if args.held:
            show_held(conn, keys, as_json=args.json)
            return 0
        total = count_alerts(conn)
        rows = [row for start in range(0, total, PER_PAGE) for row in list_alerts(conn, start)]
        sealed = list_sealed(conn, settings, [row["alert_id"] for row in rows])
        shown = [
            {
                "alert": str(row["alert_id"]),
                "person": name_person(keys, row),
                "labelled": not row["is_open"],
                "listing": row["title"],
                "source": row["source"],
                "band": row["band"],
                "faces": row["faces"],
                "found": row["found_at"].isoformat(timespec="seconds"),
                "told": row["delivery"],
                "judgement": row["judged_at"] and ("not me" if row["state"] == "dismissed" else "not me, then opened"),
                "bundle": row["bundle"],
                "versions": sealed.get(row["alert_id"], []),
            }
            for row in rows
        ]
    if args.json:
        say_json(shown, indent=1)
        return 0
    show(shown)
    return 0


def name_person(keys: Keys, row: dict[str, Any]) -> str:
    """Eight digits of the person's keyed digest, or the alert's label."""
    return keys.digest_text(f"subject:{row['subject_id']}")[:8] if row["is_open"] else str(row["label"])


def show(alerts: list[dict[str, Any]]) -> None:
    """Two lines an alert, so that its id is whole on any terminal. Titles are a market's words."""
    console = Screen()
    console.print(count_of(len(alerts), "alert"))
    for each in alerts:
        faces = count_of(each["faces"], "face")
        console.print(f"{each['alert']}  {each['band']}, {faces}, found {each['found']}")
        place = f"{clean_text(str(each['listing']), 120)!r} on {each['source']}"
        version = f" (version {each['versions'][-1]['version']})" if each["versions"] else ""
        if each["labelled"]:
            console.print(f"    label {each['person']} in {place}; bundle {each['bundle'] or 'none'}{version}")
            continue
        console.print(f"    person {each['person']} in {place}; "
                      f"message {each['told'] or 'none'}, bundle {each['bundle'] or 'none'}{version}, "
                      f"person says {each['judgement'] or 'nothing'}")  # fmt: skip


def find_alert(conn: Connection, prefix: str) -> UUID:
    """The one alert whose id begins like this. Raises EvidenceError."""
    letters = prefix.strip().lower().replace("-", "")
    rows = conn.execute(
        """select alert_id from shown_alert
           where %(letters)s <> '' and starts_with(replace(alert_id::text, '-', ''), %(letters)s) limit 2""",
        {"letters": letters},
    ).fetchall()
    if len(rows) != 1:
        what = "several alerts begin" if rows else "no such alert: none begins"
        raise EvidenceError(f"{what} with {clean_text(prefix, 40)!r}", mend="./facewarden alerts lists them")
    found: UUID = rows[0][0]
    return found


def judge(conn: Connection, keys: Keys, settings: Settings, not_me: str | None, take_back: str | None) -> str:
    """Note what the person of an alert told the operator; a line about it. Raises EvidenceError, JudgementError."""
    alert_id, operator = find_alert(conn, not_me if not_me is not None else take_back or ""), name_user()
    with conn.transaction():
        subject_id = get_owner(conn, alert_id)
        if not_me is not None:
            done = judge_alert(conn, keys, subject_id, alert_id, days=settings.matching.not_me_days, operator=operator)
        else:
            done = take_back_judgement(conn, keys, subject_id, alert_id, operator=operator)
    Asker(settings).ask(Step.MAKE_NEGATIVES if not_me is not None else Step.DELIVER)
    if not_me is not None:
        return "Noted: faces like these do not alert this person." if done else "This was noted already."
    return "Taken back: what was held back alerts them now." if done else "There was nothing to take back."


def show_held(conn: Connection, keys: Keys, *, as_json: bool) -> None:
    """Three lines an item; those that end first come first."""
    found: list[dict[str, Any]] = [
        {
            "number": each.hold_id,
            "person": keys.digest_text(f"subject:{each.subject_id}")[:8],
            "listing": each.title,
            "source": each.source,
            "reason": each.reason,
            "faces": each.faces,
            "since": each.since.isoformat(timespec="seconds"),
            "ends": each.ends_at.isoformat(timespec="seconds"),
        }
        for each in list_holds(conn, MOST_HELD)
    ]
    if as_json:
        say_json(found, indent=1)
        return
    console = Screen()
    console.print(f"{count_of(len(found), 'find')} held for review{' or more' if len(found) == MOST_HELD else ''}")
    for row in found:
        console.print(f"{row['number']}  {row['reason']}, {count_of(row['faces'], 'face')}, since {row['since']}")
        console.print(f"    person {row['person']} in {clean_text(row['listing'], 120)!r} on {row['source']}; "
                      f"dropped {row['ends']} if nobody decides")  # fmt: skip


def decide(conn: Connection, keys: Keys, settings: Settings, release: int | None, drop: int | None, why: str) -> str:
    """Release or drop what is held under a number; a line about it. Raises JudgementError, ConsentMissing."""
    if not why:
        raise JudgementError("why_missing", "this is decided with a reason", mend="add --why TEXT")
    with conn.transaction():
        if release is None:
            count = drop_hold(conn, keys, drop or 0, by=name_user(), why=why)
            return f"Dropped: {count_of(count, 'match', 'matches')}; nobody is told."
        alert_id = release_hold(conn, keys, release, by=name_user(), why=why)
    Asker(settings).ask(Step.DELIVER)
    return f"Released: its person is told. It is alert {alert_id}."


def list_sealed(conn: Connection, settings: Settings, alert_ids: list[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """The bundles that were sealed of each of these alerts, the oldest first."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    for each in list_versions(conn, alert_ids):
        facts = {
            "version": each.version,
            "sealed": each.sealed_at.isoformat(timespec="seconds"),
            "by": each.asked_by,
            "why": each.why,
            "file": str(settings.home / each.file),
            "sha256": each.sha256,
        }
        found.setdefault(each.alert_id, []).append(facts)
    return found


def seal(conn: Connection, settings: Settings, alert_id: UUID, why: str) -> str:
    """Ask for the bundle of an alert as it is now, and wait for it; its path. Raises EvidenceError."""
    asked = ask_bundle(conn, alert_id, name_user(), why)
    path = wait_for_bundle(conn, settings, alert_id)
    gone = not path.exists()
    if gone or asked == Asked.WAITING:  # somebody had asked before: that one may be of the case as it was
        ask_bundle(conn, alert_id, name_user(), why or ("the file was gone" if gone else ""), anew=gone)
        path = wait_for_bundle(conn, settings, alert_id)
    return str(path)


def wait_for_bundle(conn: Connection, settings: Settings, alert_id: UUID) -> Path:
    """The path of the bundle that was asked for last. Raises EvidenceError."""
    Asker(settings).ask(Step.SEAL_BUNDLES)
    deadline = time.monotonic() + SEAL_SECONDS
    with working("a worker seals the evidence") as tell:
        while time.monotonic() < deadline:
            state, file, code = get_bundle_file(conn, alert_id)
            if state == "done" and file:
                return settings.home / file
            if state == "quarantined":
                raise EvidenceError(f"the bundle could not be sealed: {code}", mend="see the workers' logs")
            tell({"running": "at work"}.get(state or "", "waiting for one"))
            time.sleep(0.2)
    raise EvidenceError("the bundle was not sealed in time", mend="are workers running? ./facewarden status")
