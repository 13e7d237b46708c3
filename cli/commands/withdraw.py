"""withdraw a person: matching stops at once, then everything about them is erased

Says who it is and what happens, and asks; a script says --yes. It cannot be undone, but the person can enrol again.

example:
  ./facewarden withdraw --address ada@example.org
  ./facewarden withdraw --address ada@example.org --yes
"""

import argparse
import sys

from cli.commands.people import name_person, show_time
from cli.servers import open_database
from cli.setup import name_user
from vault.errors import EnrolmentError
from vault.keys import Keys
from vault.ledger import Kind
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store.ledger import write_entry
from vault.store.people import Person, PersonState, list_people
from vault.store.subjects import find_subject
from vault.store.withdrawals import withdraw_consent
from vault.terminal import say

LEFT = (PersonState.LEAVING, PersonState.STUCK)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", required=True, help="the address the person enrolled with")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, keys, conn):
        subject_id = find_subject(conn, keys, args.address)
        people = list_people(conn, subject_id) if subject_id else []
        if subject_id is None or not people:
            raise EnrolmentError("subject_unknown", "nobody is enrolled with this address")
        (person,) = people
        if person.state in LEFT:
            say(f"This person withdrew at {show_time(person.since)} UTC already; the erasure ends with a receipt.")
            return 0
        tell(keys, person)
        if not args.yes and not ask():
            say("Nothing was changed.", to=sys.stderr)
            return 1
        with conn.transaction():
            withdrawn = withdraw_consent(conn, subject_id, by=name_user())
            if withdrawn:
                digest = keys.digest_text(f"subject:{subject_id}")
                write_entry(conn, Kind.CONSENT, about=digest, what="withdrawn", by=name_user())
        Asker(settings).ask(Step.ERASE_SUBJECTS)
        text = "Matching has stopped; the erasure runs and ends with a signed receipt to the address."
        say(text if withdrawn else "This person had withdrawn already.")
    return 0


def tell(keys: Keys, person: Person) -> None:
    """Who and what, before it is done."""
    say(
        f"person {name_person(keys, person)}: {person.state} since {show_time(person.since)} UTC; "
        f"enrolled {show_time(person.enrolled_at)} UTC by {person.recorded_by}",
        "They are searched no more from this moment. Then their photo and template, alerts, messages and bundles are",
        "erased, and a signed receipt goes to the address. This cannot be undone; they may enrol again.",
        to=sys.stderr,
    )


def ask() -> bool:
    """Raises EnrolmentError where nobody can answer."""
    if not sys.stdin.isatty():
        raise EnrolmentError("not_confirmed", "nobody can be asked here", mend="say --yes, or use a terminal")
    say("Withdraw this person? Type yes:", to=sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
