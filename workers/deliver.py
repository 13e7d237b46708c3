"""Step 6, second half: the outbox is sent. In come claimed delivery rows, out go messages, one effect each.

A message is one `.eml` in the mailbox folder, named by its delivery, so that sending it again changes nothing. The
consent is locked while it leaves. What it says: that there is something, and a one-time link; no picture, no
marketplace, no score.
"""

import datetime as dt
from collections.abc import Iterable
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from uuid import UUID

from vault.errors import EnrolmentError, KeyFileError
from vault.files import sync_folder, write_whole
from vault.ledger import Kind
from vault.log import get_logger
from vault.records import Delivery
from vault.steps import Step
from vault.store.access import make_link
from vault.store.alerts import list_deliveries, mark_sent
from vault.store.ledger import write_entry
from vault.store.receipts import close_subject, get_receipt
from vault.store.subjects import UNCONFIRMED_DAYS, lock_consent, open_address
from vault.store.work import DELIVERIES, fail_row, finish_rows
from workers.context import Context

BATCH = 50
CONFIRM_LASTS = dt.timedelta(days=UNCONFIRMED_DAYS)
SIGN_IN_LASTS = dt.timedelta(days=7)

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
Facewarden has found a face that may be yours in a dataset that is offered for sale.

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

Two things are left. This message itself lies, with your address on it, in the folder it is sent from until whoever
runs Facewarden removes it. And a log that can only be added to says that somebody enrolled and left, without a name.

The signed receipt below can be checked against the public key of this deployment.

{receipt}
""",
}

log = get_logger(__name__)


def deliver(context: Context) -> int:
    """One batch; returns how many deliveries it took up."""
    claim = context.claim(DELIVERIES, BATCH)
    if claim is None:
        return 0
    for delivery in list_deliveries(context.conn, claim.ids):
        try:
            send_delivery(context, delivery)
        except (EnrolmentError, KeyFileError) as exc:  # nobody to tell any more
            fail_row(context.conn, DELIVERIES, delivery.delivery_id, delivery.token, exc.stable_code, exc.message,
                     final=True)  # fmt: skip
        except OSError as exc:
            fail_row(context.conn, DELIVERIES, delivery.delivery_id, delivery.token, "mail_folder", str(exc),
                     final=False)  # fmt: skip
    context.asker.ask(Step.CHAIN_LEDGER)
    return len(claim.ids)


def send_delivery(context: Context, delivery: Delivery) -> None:
    """Raises EnrolmentError, KeyFileError when there is nobody to tell, OSError when the folder cannot be written."""
    conn = context.conn
    with conn.transaction():
        finish_rows(conn, DELIVERIES, [delivery.delivery_id], delivery.token)
        needs_consent = delivery.kind != "receipt"
        if needs_consent and not lock_consent(conn, delivery.subject_id, confirmed=delivery.kind != "confirmation"):
            raise EnrolmentError("subject_unknown", "the consent was withdrawn")
        address = open_address(conn, context.keys, delivery.subject_id)
        message = write_message(context, delivery, address)
        write_whole(name_mail(context.settings.mail_folder, delivery.delivery_id), message.as_bytes())
        mark_sent(conn, delivery.delivery_id)
        person = context.keys.digest_text(f"subject:{delivery.subject_id}")
        write_entry(conn, Kind.DELIVERY, about=str(delivery.delivery_id), subject=person, what=delivery.kind)
        if delivery.kind == "receipt":
            close_subject(conn, delivery.subject_id)
    log.info("delivered", delivery_id=str(delivery.delivery_id), kind=delivery.kind)


def name_mail(folder: Path, delivery_id: UUID) -> Path:
    return folder / f"{delivery_id}.eml"


def erase_mails(folder: Path, delivery_ids: Iterable[UUID]) -> None:
    """Unlink messages, and what a writer that was killed left of them, for good. Raises OSError."""
    names = {name_mail(folder, delivery_id).name for delivery_id in delivery_ids}
    found = [path for path in folder.glob("*") if path.name in names or path.name[1:].rsplit(".", 2)[0] in names]
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        sync_folder(folder)


def write_message(context: Context, delivery: Delivery, address: str) -> EmailMessage:
    """The message, with a fresh one-time link; the delivery's id is its Message-ID, the same over all tries."""
    values = {"link": "", "receipt": "", "site": f"{context.settings.public_url}/"}
    if delivery.kind == "receipt":
        values["receipt"] = get_receipt(context.conn, delivery.subject_id)
    else:
        purpose, lasts = ("confirm", CONFIRM_LASTS) if delivery.kind == "confirmation" else ("subject", SIGN_IN_LASTS)
        token = make_link(context.conn, purpose, lasts, subject_id=delivery.subject_id)
        path = "confirm" if purpose == "confirm" else "enter"
        values["link"] = f"{context.settings.public_url}/me/{path}/{token}"
    message = EmailMessage(policy=SMTP)
    message["From"] = context.settings.delivery.sender
    message["To"] = address
    message["Subject"] = SUBJECTS[delivery.kind]
    message["Message-ID"] = f"<{delivery.delivery_id}@facewarden>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(TEXTS[delivery.kind].format(**values))
    return message
