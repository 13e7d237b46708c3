"""Step 6, second half: the outbox is sent. In come claimed delivery rows, out go messages, one effect each.

A message is one `.eml` in the mailbox folder, named by its delivery, so that sending it again changes nothing. It is
written outside of any transaction; the withdrawal is looked for last, when only the name is wanting, and once more when
the row is finished. What it says: that there is something, and a one-time link; no picture, no marketplace, no score,
nor in what kind of material.
"""

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from uuid import UUID

from vault.errors import EnrolmentError, KeyFileError, Unavailable
from vault.files import sync_folder, write_whole
from vault.ledger import Kind
from vault.log import get_logger
from vault.records import Delivery
from vault.settings import Organisation, Settings
from vault.steps import Step
from vault.store.access import make_link
from vault.store.alerts import (
    WrittenMessage,
    cover_messages,
    find_message_wait,
    list_deliveries,
    mark_sent,
    note_folder,
)
from vault.store.ledger import write_entry
from vault.store.receipts import close_subject, get_receipt
from vault.store.subjects import UNCONFIRMED_DAYS, has_consent, open_address
from vault.store.visibility import is_open_alert
from vault.store.work import DELIVERIES, check_rows, fail_row, finish_rows, put_back_row
from workers.context import Context

BATCH = 50
CONFIRM_LASTS = dt.timedelta(days=UNCONFIRMED_DAYS)
SIGN_IN_LASTS = dt.timedelta(days=7)
QUIET_WAIT_SECONDS = 60.0  # until a quiet message is tried again that could not be written
LOOK_SECONDS = 1.0  # a look at the consent that is older than this is made anew

SUBJECTS = {
    "confirmation": "Facewarden: please confirm your enrolment",
    "alert": "Facewarden: there is something you should see",
    "link": "Facewarden: the link you asked for",
    "receipt": "Facewarden: your data have been erased",
}
TEXTS = {
    "confirmation": """\
Somebody, we hope you, asked Facewarden to tell you when your face turns up in a leaked dataset.

Nothing is searched before you confirm. If you want this, open:

{link}

If you do not, do nothing: the link expires in seven days, and what was handed in is erased.
You can withdraw at any time, and then everything about you is erased.
""",
    "alert": """\
Facewarden has found a face that may be yours.

What that means, and what you can do, is on your page:

{link}

The link works once and for seven days; after that you can have a new one sent from {site}
This message shows no picture and names no place on purpose.
""",
    "link": """\
Somebody, we hope you, asked for a new link to your Facewarden page:

{link}

The link works once and for seven days. On your page you see how things stand, and you can withdraw.
If it was not you, do nothing: without this message nobody can open your page.
""",
    "receipt": """\
You have withdrawn. What Facewarden kept about you has been erased: your template, everything that was found, sealed
evidence, your address, and the earlier messages to you. This message is the last.
{not_found}
What is left:
- This message itself lies, with your address on it, in the folder it is sent from until whoever runs Facewarden
  removes it.
- Mail that has left that folder, and evidence that was handed out, cannot be called back.
- A log that can only be added to says that somebody enrolled and left, without a name.
- The database's own log files, for some days, and backups, if there are any, may still hold sealed copies of what was
  erased. Whoever has both such a copy and the key file could open them.

The signed receipt below can be checked against the public key of this deployment.

{receipt}
""",
}

NOT_FOUND = {
    "messages": "{number} of the earlier messages: they were sent on or moved from the folder they were written to.",
    "bundles": "{number} files of sealed evidence: they were moved or removed from the folder they were written to.",
}

log = get_logger(__name__)


def deliver(context: Context) -> int:
    """One batch; returns how many deliveries it took up."""
    claim = context.claim(DELIVERIES, BATCH)
    if claim is None:
        return 0
    covered: set[UUID] = set()
    for delivery in list_deliveries(context.conn, claim.ids):
        quiet = is_quiet(context, delivery)
        try:
            if delivery.delivery_id not in covered and not wait_for_turn(context, delivery, quiet=quiet):
                covered |= send_delivery(context, delivery, quiet=quiet)
        except (EnrolmentError, KeyFileError) as exc:  # nobody to tell any more
            fail_row(context.conn, DELIVERIES, delivery.delivery_id, delivery.token, exc.stable_code, exc.message,
                     final=True)  # fmt: skip
        except OSError as exc:
            if quiet:
                put_back_row(context.conn, DELIVERIES, delivery.delivery_id, delivery.token, None, None,
                             wait=QUIET_WAIT_SECONDS)  # fmt: skip
                continue
            raise Unavailable(
                "mail_folder", f"messages cannot be written: {exc}", mend="see delivery.mail_folder, and the disk"
            ) from exc
    context.asker.ask(Step.CHAIN_LEDGER)
    return len(claim.ids)


def is_quiet(context: Context, delivery: Delivery) -> bool:
    """Is it about a find of which operators may not know, or not whose it is? Then nothing that they see may tell of
    it: no line, no entry, no paused step, no other message that comes later for it."""
    return delivery.alert_id is not None and not is_open_alert(context.conn, delivery.alert_id)


def wait_for_turn(context: Context, delivery: Delivery, *, quiet: bool) -> bool:
    """A person gets at most one message about finds an hour: another waits, uncharged, and tells of all that came
    meanwhile. Only a quiet one waits for a quiet one."""
    if delivery.kind != "alert":
        return False
    conn = context.conn
    minutes = context.settings.delivery.alert_minutes
    wait = find_message_wait(conn, delivery.subject_id, minutes, quiet=quiet)
    if wait:
        put_back_row(conn, DELIVERIES, delivery.delivery_id, delivery.token, None, None, wait=wait)
    return wait > 0


def send_delivery(context: Context, delivery: Delivery, *, quiet: bool = False) -> set[UUID]:
    """Returns the deliveries that it told of, too. Raises EnrolmentError, KeyFileError when there is nobody to tell,
    OSError when the folder cannot be written, LeaseLost."""
    conn, folder = context.conn, context.settings.mail_folder
    path = name_mail(folder, delivery.delivery_id)
    with conn.transaction():
        check_rows(conn, DELIVERIES, [delivery.delivery_id], delivery.token)
        check_consent(context, delivery)
        message = write_message(context, delivery, open_address(conn, context.keys, delivery.subject_id))
        note_folder(conn, delivery.delivery_id, name_folder(context.settings, folder))
    write_whole(path, message.as_bytes(), last_look=lambda: look_last(context, delivery))
    covered: set[UUID] = set()
    try:
        with conn.transaction():
            finish_rows(conn, DELIVERIES, [delivery.delivery_id], delivery.token)
            mark_sent(conn, delivery.delivery_id)
            if delivery.kind == "alert" and context.settings.delivery.alert_minutes:
                covered = cover_messages(conn, delivery.delivery_id, delivery.token, quiet=quiet)
            if not quiet:  # else whoever reads ledger or log would know that somebody was found, and when whom
                person = context.keys.digest_text(f"subject:{delivery.subject_id}")
                write_entry(conn, Kind.DELIVERY, about=str(delivery.delivery_id), subject=person, what=delivery.kind,
                            by="worker")  # fmt: skip
            if delivery.kind == "receipt":
                close_subject(conn, delivery.subject_id)
            check_consent(context, delivery)
    except EnrolmentError:  # withdrawn since it got its name
        path.unlink(missing_ok=True)
        sync_folder(folder)
        raise
    if not quiet:
        log.info("delivered", delivery_id=str(delivery.delivery_id), kind=delivery.kind)
    return covered


def check_consent(context: Context, delivery: Delivery) -> None:
    """May the person be written to? Raises EnrolmentError."""
    if delivery.kind == "receipt":
        return
    if not has_consent(context.conn, delivery.subject_id, confirmed=delivery.kind != "confirmation"):
        raise EnrolmentError("subject_unknown", "the consent was withdrawn")


def look_last(context: Context, delivery: Delivery) -> None:
    """A look at the consent that is fresh when this returns: after a process was stopped in it, another. Raises
    EnrolmentError."""
    while True:
        started = time.monotonic()
        check_consent(context, delivery)
        if time.monotonic() - started < LOOK_SECONDS:
            return


def name_folder(settings: Settings, folder: Path) -> str:
    """A folder as rows keep it: relative to the state folder if it lies there."""
    return str(folder.relative_to(settings.home) if folder.is_relative_to(settings.home) else folder)


def name_mail(folder: Path, delivery_id: UUID) -> Path:
    return folder / f"{delivery_id}.eml"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFiles:
    """Files that are to be erased: where they lie, how many whole ones are there and how many are not."""

    paths: tuple[Path, ...]
    there: int
    missing: int


def find_mails(settings: Settings, messages: Iterable[WrittenMessage]) -> FoundFiles:
    """Messages, and what a writer that was killed left of them: in the folder where each was written, and in the one
    of today."""
    written = [message for message in messages if message.folder is not None]
    names = {name_mail(Path(), message.delivery_id).name for message in written}
    folders = {settings.mail_folder, *(settings.home / (message.folder or "") for message in written)}
    paths = [path for folder in folders for path in list_files(folder) if name_whole(path) in names]
    there = {path.name for path in paths} & names
    return FoundFiles(paths=tuple(paths), there=len(there), missing=len(names - there))


def name_whole(path: Path) -> str:
    """The name that a file has, or would have got from a writer that was killed (`vault/files.py`)."""
    name = path.name
    return name[1:].rsplit(".", 2)[0] if name.startswith(".") and name.endswith(".tmp") else name


def list_files(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def write_message(context: Context, delivery: Delivery, address: str) -> EmailMessage:
    """The message, with a fresh one-time link; the delivery's id is its Message-ID, the same over all tries."""
    values = {"link": "", "receipt": "", "not_found": "", "site": f"{context.settings.public_url}/"}
    if delivery.kind == "receipt":
        values["receipt"] = get_receipt(context.conn, delivery.subject_id)
        values["not_found"] = tell_not_found(values["receipt"])
    else:
        purpose, lasts = ("confirm", CONFIRM_LASTS) if delivery.kind == "confirmation" else ("subject", SIGN_IN_LASTS)
        token = make_link(context.conn, purpose, lasts, subject_id=delivery.subject_id)
        path = "confirm" if purpose == "confirm" else "enter"
        values["link"] = f"{context.settings.public_url}/me/{path}/{token}"
    message = EmailMessage(policy=SMTP)
    message["From"] = context.settings.delivery.sender
    message["To"] = address
    message["Subject"] = SUBJECTS[delivery.kind]
    message["Date"] = dt.datetime.now(dt.UTC)
    message["Message-ID"] = f"<{delivery.delivery_id}@facewarden>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(TEXTS[delivery.kind].format(**values) + name_organisation(context.settings.organisation))
    return message


def name_organisation(organisation: Organisation) -> str:
    """Who writes, how to reach a human, and where it says what is done with people's data."""
    if not organisation.is_named:
        return ""
    return f"""
--
{organisation.name} runs this Facewarden. Questions: {organisation.contact}
What is done with your data: {organisation.privacy_url}
"""


def tell_not_found(receipt: str) -> str:
    """What an erasure looked for in vain, in words; nothing if all was there."""
    missing: dict[str, int] = {
        name: number for name, number in json.loads(receipt.splitlines()[0])["not_found"].items() if number
    }
    if not missing:
        return ""
    lines = [f"- {NOT_FOUND[name].format(number=number)}" for name, number in sorted(missing.items())]
    return "\nNot found where it had been written, so that we cannot say it is gone:\n" + "\n".join(lines) + "\n"
