"""enrol a person who asked for it; nothing is searched before they confirm

Records the consent, sends a confirmation link to the address, and waits until the photo has been looked at: exit code 1
if it will not do. What is found goes to the confirmed address only, never to this terminal. An earlier enrolment of the
address that was not confirmed, or whose photo would not do, is replaced.

Operators enrol five people a day at most. Whoever is enrolled is compared with what is found from then on; they are
searched among the faces kept before (`hunts`) once two approvers have signed the enrolment.

example:
  ./facewarden enrol --address ada@example.org --photo ada.jpg
  ./facewarden enrol --address ada@example.org --photo ada.jpg --key MY-KEY-FILE     (and sign it as an approver)
  ./facewarden enrol --sign ada@example.org --key MY-KEY-FILE                        (a second approver signs it)
"""

import argparse
import re
import sys
import time
from email.headerregistry import Address
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.commands.source import find_key, open_key
from cli.servers import open_database
from cli.setup import name_user
from cli.supervisor import is_running
from vault.errors import EnrolmentError
from vault.formats import READ, UNKNOWN, find_picture, is_picture
from vault.keys import Keys
from vault.ledger import Kind
from vault.records import State
from vault.settings import Settings
from vault.signatures import show_public, sign_message, write_enrolment
from vault.steps import Asker, Step
from vault.store import Connection
from vault.store.alerts import ask_delivery
from vault.store.approvers import allow_hunts, sign_enrolment
from vault.store.deployment import DeploymentKind, lock_deployment, require_own
from vault.store.ledger import write_entry
from vault.store.people import Photo, get_photo
from vault.store.subjects import count_enrolled, drop_enrolment, find_subject, save_subject
from vault.store.visibility import NEEDED
from vault.terminal import say

WORDING = "enrolment-1: compare my face with faces in leaked datasets and tell me; I can withdraw at any time"
MOST_PHOTO = 20 << 20
ORGANISATION_LINES = """\
      [organisation]
      name = "who runs this"
      contact = "how people reach a human"
      privacy_url = "https://where it says what is done with their data\""""
A_DAY = 5  # enrolments by operators
LOOK_SECONDS = 0.2  # between looks for what was said of the photo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", help="where the person is told; they confirm there")
    parser.add_argument("--photo", type=Path, help="a picture of this person alone")
    parser.add_argument("--wait", type=float, default=10.0, metavar="SECONDS",
                        help="how long to wait for what is said of the photo (default: 10; 0: not at all)")  # fmt: skip
    parser.add_argument("--sign", metavar="ADDRESS", help="sign the enrolment of this address, as an approver")
    parser.add_argument("--key", type=Path, help="the approver's key file (with --sign: the only one in your folder)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.sign is not None:
        return sign(args, settings)
    if args.address is None or args.photo is None:
        raise EnrolmentError("photo_unreadable", "whom, by which photo?", mend="give --address and --photo, or --sign")
    signer = open_key(args.key) if args.key else None
    photo = read_photo(args.photo)
    somebody_works = is_running(settings.home) or bool(settings.servers.database_url)
    with open_database(settings) as (settings, keys, conn):
        require_own(conn)
        subject_id = enrol(conn, keys, settings, args.address, photo, recorded_by=name_user())
        asker = Asker(settings)
        asker.ask(Step.MAKE_TEMPLATES)
        asker.ask(Step.DELIVER)
        say("Recorded. A confirmation link goes to the address; nothing is searched before it is followed.")
        if signer is not None:
            say(sign_by(conn, keys, subject_id, signer))
        verdict = wait_for_verdict(conn, subject_id, args.wait if somebody_works else 0.0)
    return tell_verdict(verdict, args.address)


def read_photo(path: Path) -> bytes:
    """A file that begins as a picture of a format that is opened. Raises EnrolmentError: photo_unreadable."""
    try:
        with path.open("rb") as file:
            photo = file.read(MOST_PHOTO + 1)
    except OSError as exc:
        raise EnrolmentError("photo_unreadable", f"cannot read {path}: {exc.strerror}") from exc
    if not 0 < len(photo) <= MOST_PHOTO:
        raise EnrolmentError("photo_unreadable", "the photo is empty or larger than 20 MB")
    name, _start = find_picture(photo)
    if name not in READ:
        what = f"{path} is a picture of a format that is not opened" if is_picture(name) else f"{path} is no picture"
        told = "" if name == UNKNOWN else f": {name}"
        raise EnrolmentError("photo_unreadable", what + told, mend=f"take a photo as {', '.join(sorted(READ))}")
    return photo


def wait_for_verdict(conn: Connection, subject_id: UUID, seconds: float) -> Photo | None:
    """What a worker said of the photo; None if none has in this time, or the enrolment is gone."""
    until = time.monotonic() + seconds
    while (photo := get_photo(conn, subject_id)) is not None and photo.state not in (State.DONE, State.QUARANTINED):
        if time.monotonic() >= until:
            return None
        time.sleep(LOOK_SECONDS)
    return photo


def tell_verdict(photo: Photo | None, address: str) -> int:
    """Says it; the exit code. It is of the picture alone: nothing was compared with anybody."""
    if photo is None:
        say(f"The photo is still to be looked at: ./facewarden people --address {address}")
        return 0
    if photo.state is State.DONE:
        say("The photo will do.")
        return 0
    say(
        f"The photo will not do: {photo.code}: {photo.reason}",
        "  fix: enrol the address again with another photo, which takes the place of this one",
        to=sys.stderr,
    )
    return 1


def sign(args: argparse.Namespace, settings: Settings) -> int:
    signer = open_key(args.key or find_key())
    with open_database(settings) as (settings, keys, conn):
        subject_id = find_subject(conn, keys, args.sign)
        if subject_id is None:
            raise EnrolmentError("subject_unknown", "nobody is enrolled with this address")
        say(sign_by(conn, keys, subject_id, signer))
    Asker(settings).ask(Step.HUNT_FACES)
    return 0


def sign_by(conn: Connection, keys: Keys, subject_id: UUID, signer: Ed25519PrivateKey) -> str:
    """An approver signs an enrolment; how things stand, in a line. Raises ApproverError, EnrolmentError."""
    message = write_enrolment(keys.public_key.hex(), keys.digest_text(f"subject:{subject_id}"))
    signed = sign_enrolment(
        conn, keys, subject_id, show_public(signer.public_key()), sign_message(signer, message), by=name_user()
    )
    names = " and ".join(each.name for each in signed)
    if len(signed) < NEEDED:
        return f"Signed by {names}. With a second approver they are searched among the faces kept before, too."
    return f"Signed by {names}. Once they have confirmed they are searched among the faces kept before, too."


def enrol(conn: Connection, keys: Keys, settings: Settings, address: str, photo: bytes, *, recorded_by: str) -> UUID:
    """The one way in: consent, sealed picture, confirmation. Operators enrol A_DAY people in 24 hours at most, so that
    nobody is searched for by photos that somebody else has of them; a demo as many as it likes, with hunts at once.
    Raises EnrolmentError.

    Takes the place of an enrolment that leads to nothing (see `drop_enrolment`), never of one that is searched.
    """
    check_address(address)
    check_organisation(settings)
    if not 0 < len(photo) <= MOST_PHOTO:
        raise EnrolmentError("photo_unreadable", "the photo is empty or larger than 20 MB")
    with conn.transaction():
        own = lock_deployment(conn, keys).kind is DeploymentKind.OWN
        if own and count_enrolled(conn, hours=24) >= A_DAY:
            raise EnrolmentError(
                "enrolment_limit", f"{A_DAY} people were enrolled here in the last 24 hours",
                mend="try again tomorrow",
            )  # fmt: skip
        earlier = find_subject(conn, keys, address)
        if earlier is not None and drop_enrolment(conn, earlier):
            write_entry(
                conn, Kind.CONSENT, about=keys.digest_text(f"subject:{earlier}"), what="replaced", by=recorded_by
            )
        subject_id = save_subject(conn, keys, address, WORDING, recorded_by, photo, settings.faces.pack)
        person = keys.digest_text(f"subject:{subject_id}")
        write_entry(conn, Kind.CONSENT, about=person, what="recorded", wording=WORDING.split(":")[0], by=recorded_by)
        ask_delivery(conn, subject_id, "confirmation")
        if not own:
            allow_hunts(conn, subject_id)
    return subject_id


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
