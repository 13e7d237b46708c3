"""A person leaves. In comes a claimed erasure, out go nothing but a signed receipt and a ledger entry.

Matching fell silent when the consent was withdrawn; this removes the rows, the index generations that hold the vector,
pictures kept only because of this person, sealed bundles, and the messages that were sent. The address and the
subject's key go with the receipt's delivery, which is the last message; an enrolment that was dropped (never confirmed,
replaced) has no address any more, so its key goes at once and nobody is written to.
"""

from pathlib import Path

from vault.ledger import Kind
from vault.log import get_logger
from vault.steps import Step
from vault.store.access import end_sessions_of
from vault.store.alerts import ask_delivery, list_messages
from vault.store.blobs import drop_files, release_blobs
from vault.store.ledger import write_entry
from vault.store.receipts import (
    close_subject,
    erase_subject_rows,
    list_bundle_files,
    list_matched_faces,
    save_receipt,
    unmatch_faces,
)
from vault.store.subjects import has_address, tick_gallery
from vault.store.work import ERASURES, finish_rows
from workers.context import Context
from workers.deliver import erase_mails

log = get_logger(__name__)


def erase_subjects(context: Context) -> int:
    """One erasure; returns how many it took up."""
    claim = context.claim(ERASURES, 1)
    if claim is None:
        return 0
    (subject_id,) = claim.ids
    conn = context.conn
    for file in list_bundle_files(conn, subject_id):
        Path(file).unlink(missing_ok=True)
    # no message can follow: one leaves only while it holds a live consent, and that ended before this was asked for
    messages = list_messages(conn, subject_id)
    erase_mails(context.settings.mail_folder, messages)
    with conn.transaction():
        finish_rows(conn, ERASURES, [subject_id], claim.token)
        found = list_matched_faces(conn, subject_id)
        erased = erase_subject_rows(conn, subject_id)
        unmatch_faces(conn, [face_id for face_id, _ in found])
        litter = release_blobs(conn, sorted({digest for _, digest in found}))
        erased |= {"pictures": len(litter), "messages": sum(messages.values())}
        end_sessions_of(conn, subject_id)
        tick_gallery(conn)
        receipt_id = save_receipt(conn, context.keys, subject_id, erased)
        person = context.keys.digest_text(f"subject:{subject_id}")
        write_entry(conn, Kind.ERASURE, about=str(receipt_id), subject=person, **erased)
        if has_address(conn, subject_id):
            ask_delivery(conn, subject_id, "receipt")
        else:
            close_subject(conn, subject_id)
    drop_files(conn, context.blobs, litter)
    context.asker.ask(Step.BUILD_GALLERY)
    context.asker.ask(Step.DELIVER)
    log.info("a person was erased", **erased)
    return 1
