"""enrol a person who asked for it; nothing is searched before they confirm

Records the consent and sends a confirmation link to the address. Results go to the confirmed address only, never to
this terminal. An earlier enrolment of the address that was not confirmed, or whose photo would not do, is replaced.

example:
  ./facewarden enrol --address ada@example.org --photo ada.jpg
"""

import argparse
import re
from email.headerregistry import Address
from pathlib import Path

from cli.servers import open_database
from cli.setup import name_user
from vault.errors import EnrolmentError
from vault.keys import Keys
from vault.ledger import Kind
from vault.settings import Settings
from vault.steps import Asker, Step
from vault.store import Connection
from vault.store.alerts import ask_delivery
from vault.store.ledger import write_entry
from vault.store.subjects import drop_enrolment, find_subject, save_subject
from vault.terminal import say

WORDING = "enrolment-1: compare my face with faces in leaked datasets and tell me; I can withdraw at any time"
MOST_PHOTO = 20 << 20
ORGANISATION_LINES = """\
      [organisation]
      name = "who runs this"
      contact = "how people reach a human"
      privacy_url = "https://where it says what is done with their data\""""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", required=True, help="where the person is told; they confirm there")
    parser.add_argument("--photo", type=Path, required=True, help="a picture of this person alone")


def run(args: argparse.Namespace, settings: Settings) -> int:
    try:
        photo = args.photo.read_bytes()
    except OSError as exc:
        raise EnrolmentError("photo_unreadable", f"cannot read {args.photo}: {exc.strerror}") from exc
    with open_database(settings) as (settings, keys, conn):
        enrol(conn, keys, settings, args.address, photo, recorded_by=name_user())
        Asker(settings).ask(Step.DELIVER)
        say("Recorded. A confirmation link goes to the address; nothing is searched before it is followed.")
    return 0


def enrol(conn: Connection, keys: Keys, settings: Settings, address: str, photo: bytes, *, recorded_by: str) -> None:
    """The one way in: consent, sealed picture, confirmation. Raises EnrolmentError.

    Takes the place of an enrolment that leads to nothing (see `drop_enrolment`), never of one that is searched.
    """
    check_address(address)
    check_organisation(settings)
    if not 0 < len(photo) <= MOST_PHOTO:
        raise EnrolmentError("photo_unreadable", "the photo is empty or larger than 20 MB")
    with conn.transaction():
        earlier = find_subject(conn, keys, address)
        if earlier is not None and drop_enrolment(conn, earlier):
            write_entry(
                conn, Kind.CONSENT, about=keys.digest_text(f"subject:{earlier}"), what="replaced", by=recorded_by
            )
        subject_id = save_subject(conn, keys, address, WORDING, recorded_by, photo, settings.faces.pack)
        person = keys.digest_text(f"subject:{subject_id}")
        write_entry(conn, Kind.CONSENT, about=person, what="recorded", wording=WORDING.split(":")[0], by=recorded_by)
        ask_delivery(conn, subject_id, "confirmation")


def check_organisation(settings: Settings) -> None:
    """Whoever consents must be told to whom. Raises EnrolmentError: organisation_unnamed."""
    if not settings.organisation.is_named:
        raise EnrolmentError(
            "organisation_unnamed",
            "nobody can consent without being told who asks",
            mend=f"add to {settings.home / 'facewarden.toml'}:\n{ORGANISATION_LINES}",
        )


def check_address(address: str) -> None:
    """One plain mailbox: no display name, no control characters. Raises EnrolmentError: address_invalid."""
    try:
        parsed = Address(addr_spec=address)
    except (ValueError, IndexError, AttributeError) as exc:
        raise EnrolmentError("address_invalid", "this is no e-mail address") from exc
    domain = re.fullmatch(r"[A-Za-z0-9.-]+\.[A-Za-z0-9-]+|localhost", parsed.domain)
    if not domain or len(address) > 254 or not address.isprintable() or " " in address:
        raise EnrolmentError("address_invalid", "this is no e-mail address")
