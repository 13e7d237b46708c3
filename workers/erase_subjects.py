"""A person leaves. In comes a withdrawal, out go nothing but a signed receipt and a ledger entry.

Matching fell silent when the withdrawal was committed; this removes the rows, the index generations that hold the
vector, pictures kept only because of this person, sealed bundles, and the messages that were sent. It begins when every
transaction has ended that may not have seen the withdrawal. The address and the subject's key go with the receipt's
delivery, which is the last message; an enrolment that was dropped (never confirmed, replaced) has no address any more,
so its key goes at once and nobody is written to.
"""

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from vault.files import sync_folder
from vault.ledger import Kind
from vault.log import get_logger
from vault.settings import Settings
from vault.steps import Step
from vault.store.access import end_sessions_of
from vault.store.alerts import ask_delivery, list_messages
from vault.store.blobs import drop_files, release_blobs
from vault.store.clock import tick_gallery
from vault.store.ledger import write_entry
from vault.store.receipts import (
    BundleFileName,
    add_erased,
    close_subject,
    erase_subject_rows,
    get_erased,
    hash_receipt,
    list_bundle_files,
    list_matched_faces,
    save_receipt,
    unmatch_faces,
)
from vault.store.subjects import has_address
from vault.store.withdrawals import ask_erasures, count_older_transactions, set_fence
from vault.store.work import ERASURES, check_rows, finish_rows, put_back_row
from workers.context import Context
from workers.deliver import FoundFiles, find_mails, list_files

WAIT_SECONDS = 0.5  # between looks at older transactions
NOT_FOUND = "not_found_"

log = get_logger(__name__)


def erase_subjects(context: Context) -> int:
    """One erasure; returns how many it took up."""
    ask_erasures(context.conn)
    claim = context.claim(ERASURES, 1)
    if claim is None:
        return 0
    (subject_id,) = claim.ids
    set_fence(context.conn, subject_id)
    if older := count_older_transactions(context.conn, subject_id):
        reason = f"{older} transactions began before the withdrawal and have not ended"
        put_back_row(context.conn, ERASURES, subject_id, claim.token, "older_transactions", reason, wait=WAIT_SECONDS)
        return 0
    erase_person(context, subject_id, claim.token)
    return 1


def erase_person(context: Context, subject_id: UUID, token: int) -> None:
    """Files, then rows, then the index, then the receipt; each can be done again after a kill. Raises LeaseLost,
    OSError."""
    conn = context.conn
    bundles = find_bundles(context.settings, list_bundle_files(conn, subject_id))
    messages = find_mails(context.settings, list_messages(conn, subject_id))
    with conn.transaction():
        check_rows(conn, ERASURES, [subject_id], token)
        if not get_erased(conn, subject_id):  # what was there is counted once, by the first attempt
            counts = {"bundles": bundles.there, "messages": messages.there}
            missing = {NOT_FOUND + "bundles": bundles.missing, NOT_FOUND + "messages": messages.missing}
            add_erased(conn, subject_id, counts | missing)
    unlink_all((*bundles.paths, *messages.paths))
    with conn.transaction():
        check_rows(conn, ERASURES, [subject_id], token)
        found = list_matched_faces(conn, subject_id)
        erased = erase_subject_rows(conn, subject_id)
        unmatch_faces(conn, [face_id for face_id, _ in found])
        litter = release_blobs(conn, sorted({digest for _, digest in found}))
        end_sessions_of(conn, subject_id)
        tick_gallery(conn)
        sums = add_erased(conn, subject_id, erased | {"pictures": len(litter)})
    drop_files(conn, context.blobs, litter)
    context.gallery.refresh(conn)
    if context.gallery.needs_build():
        context.gallery.build(conn, context.heartbeat)
    finish_erasure(context, subject_id, token, sums)
    context.asker.ask(Step.DELIVER)


def finish_erasure(context: Context, subject_id: UUID, token: int, sums: dict[str, int]) -> None:
    """The receipt, and who is told. Raises LeaseLost."""
    conn = context.conn
    not_found = {
        name.removeprefix(NOT_FOUND): number for name, number in sums.items() if name.startswith(NOT_FOUND) and number
    }
    erased = {name: number for name, number in sums.items() if not name.startswith(NOT_FOUND)}
    with conn.transaction():
        finish_rows(conn, ERASURES, [subject_id], token)
        receipt_id = save_receipt(conn, context.keys, subject_id, erased, not_found)
        person = context.keys.digest_text(f"subject:{subject_id}")
        # not how many alerts: operators read it, and may not know of all of them
        write_entry(conn, Kind.ERASURE, about=str(receipt_id), subject=person,
                    receipt_sha256=hash_receipt(conn, subject_id), by="worker")  # fmt: skip
        if has_address(conn, subject_id):
            ask_delivery(conn, subject_id, "receipt")
        else:
            close_subject(conn, subject_id)
    log.info("a person was erased")


def find_bundles(settings: Settings, bundles: Iterable[BundleFileName]) -> FoundFiles:
    """The files of bundles, and what a sealer that was killed left of them."""
    wanted = {str(bundle.bundle_id): bundle.file is not None for bundle in bundles}
    paths = [path for path in list_files(settings.home / "bundles") if path.name.lstrip(".")[:36] in wanted]
    there = {path.name[:36] for path in paths}
    sealed = {bundle_id for bundle_id, is_sealed in wanted.items() if is_sealed}
    return FoundFiles(paths=tuple(paths), there=len(sealed & there), missing=len(sealed - there))


def unlink_all(paths: Iterable[Path]) -> None:
    """For good. Raises OSError."""
    folders = set()
    for path in paths:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)
