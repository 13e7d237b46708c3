"""who is enrolled and how far they are: states and reasons, never a face, an address or an alert

A person is called by eight digits, as on the pages of their alerts; --address finds who one address belongs to.

example:
  ./facewarden people
  ./facewarden people --address ada@example.org
"""

import argparse
import datetime as dt
from typing import Any

from cli.servers import open_database
from vault.errors import EnrolmentError
from vault.keys import Keys
from vault.letters import count_of
from vault.settings import Settings
from vault.store.people import Person, list_people
from vault.store.subjects import find_subject
from vault.terminal import Grid, Screen, say_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", help="only the person who enrolled with it")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (_settings, keys, conn):
        subject_id = None
        if args.address is not None:
            subject_id = find_subject(conn, keys, args.address)
            if subject_id is None:
                raise EnrolmentError("subject_unknown", "nobody is enrolled with this address")
        people = list_people(conn, subject_id)
    rows = [describe(keys, person) for person in people]
    if args.json:
        say_json(rows, indent=1, default=str)
        return 0
    grid = Grid("person", "state", "since", "enrolled", "by", title=f"{count_of(len(rows), 'person', 'people')}")
    for row in rows:
        grid.add_row(row["person"], row["state"], show_time(row["since"]), show_time(row["enrolled"]), row["by"])
    screen = Screen()
    screen.print(grid)
    for row in rows:
        if row["reason"]:
            code = f"{row['code']}: " if row["code"] else ""
            screen.print(f"{row['person']}: {row['state']}: {code}{row['reason']}")
    return 0


def describe(keys: Keys, person: Person) -> dict[str, Any]:
    return {
        "person": name_person(keys, person),
        "state": person.state.value,
        "since": person.since,
        "code": person.code,
        "reason": person.reason,
        "enrolled": person.enrolled_at,
        "by": person.recorded_by,
    }


def name_person(keys: Keys, person: Person) -> str:
    """Eight digits of their keyed digest."""
    return keys.digest_text(f"subject:{person.subject_id}")[:8]


def show_time(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M")
