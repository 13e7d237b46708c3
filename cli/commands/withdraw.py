"""withdraw a person: matching stops at once, then everything about them is erased

example:
  ./facewarden withdraw --address ada@example.org
"""

import argparse

from cli.servers import open_database
from cli.setup import name_user
from vault.errors import EnrolmentError
from vault.ledger import Kind
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store.ledger import write_entry
from vault.store.subjects import find_subject
from vault.store.withdrawals import withdraw_consent
from vault.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", required=True, help="the address the person enrolled with")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, keys, conn):
        subject_id = find_subject(conn, keys, args.address)
        if subject_id is None:
            raise EnrolmentError("subject_unknown", "nobody is enrolled with this address")
        with conn.transaction():
            withdrawn = withdraw_consent(conn, subject_id, by=name_user())
            if withdrawn:
                person = keys.digest_text(f"subject:{subject_id}")
                write_entry(conn, Kind.CONSENT, about=person, what="withdrawn", by=name_user())
        Asker(settings).ask(Step.ERASE_SUBJECTS)
        text = "Matching has stopped; the erasure runs and ends with a signed receipt to the address."
        say(text if withdrawn else "This person had withdrawn already.")
    return 0
