"""searches of newly enrolled people among the faces already known: list, pause, resume

Whoever enrols is searched once among the kept faces of sources whose policy is `retro`, a segment at a time. A paused
hunt begins no further segment; after a crash a hunt goes on by itself. Nobody is named: a hunt has a number. It begins
when two approvers have signed the enrolment; matches in sources that are not open are not counted here.

example:
  ./facewarden hunts                    (those that run or are paused)
  ./facewarden hunts --all --json
  ./facewarden hunts pause 12
  ./facewarden hunts resume 12          (also tries again what had failed five times)
"""

import argparse
import dataclasses

from cli.servers import open_database
from vault.errors import StoreError
from vault.letters import count_of
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store.hunts import HuntRow, list_hunts, pause_hunt, resume_hunt
from vault.terminal import Screen, say, say_json

MOST = 1000
LARGEST = 2**63


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=["list", "pause", "resume"], default="list")
    parser.add_argument("hunt", nargs="?", type=int, help="the number of a hunt")
    parser.add_argument("--all", action="store_true", help="list those that are over too")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, _keys, conn):
        if args.action == "list":
            rows = list_hunts(conn, MOST, open_only=not args.all)
            print_json(rows) if args.json else show_hunts(rows)
            return 0
        if args.hunt is None or not 0 < args.hunt < LARGEST:
            raise StoreError("which hunt?", mend=f"./facewarden hunts {args.action} NUMBER")
        if not (pause_hunt if args.action == "pause" else resume_hunt)(conn, args.hunt):
            raise StoreError(
                f"there is nothing to {args.action} in a hunt {args.hunt}", mend="./facewarden hunts --all lists them"
            )
    if args.action == "resume":
        Asker(settings).ask(Step.HUNT_FACES)
    say(f"hunt {args.hunt} {'is paused' if args.action == 'pause' else 'goes on'}")
    return 0


def print_json(rows: list[HuntRow]) -> None:
    say_json([dataclasses.asdict(row) for row in rows], indent=1, default=str)


def show_hunts(rows: list[HuntRow]) -> None:
    console = Screen()
    console.print(f"{count_of(len(rows), 'hunt')}{', the newest' if len(rows) == MOST else ''}")
    for row in rows:
        failed = f", {row.quarantined} failed five times" if row.quarantined else ""
        end = f" to {row.finished_at:%Y-%m-%d %H:%M}" if row.finished_at else ""
        console.print(
            f"{row.hunt_id}  {row.state}: {row.parts_done} of {count_of(row.parts, 'part')}{failed}, "
            f"{count_of(row.faces, 'face')} searched, {count_of(row.matches, 'match', 'matches')} in "
            f"open sources, "
            f"{row.created_at:%Y-%m-%d %H:%M}{end}"
        )
