"""Step 3, second half: archives become samples. In come claimed archives, out go sample rows and encrypted pictures.

The box reads the archive through us, a piece at a time, so its plain bytes never lie on a disk. Members are committed
in portions; one that is known already (same archive and number, or same content in the listing) is left as it is, so an
archive can be begun again at any time.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Container
from uuid import UUID

from vault.blobs import FiledBlob, FileWriter, unlink_blob
from vault.box import ARCHIVE_CPU_SECONDS, ArchiveLimits, Member
from vault.errors import BlobError, InputRefused, KeyFileError
from vault.formats import READ, find_picture, is_picture
from vault.gate import Hit, draft_reports, record_hit
from vault.ledger import Kind
from vault.log import get_logger
from vault.records import PageKind, Sample
from vault.steps import Step
from vault.store.blobs import check_folder, drop_files, get_place, keep_filed, open_blob, release_blobs
from vault.store.ledger import write_entries
from vault.store.listings import list_passwords
from vault.store.passed_over import save_passed_over
from vault.store.samples import NewSample, find_place, list_samples, save_samples
from vault.store.work import ARCHIVES, extend_lease, fail_row, finish_rows
from workers.context import Context
from workers.embed_samples import is_final

PORTION = 256  # members a transaction: the pictures of a portion share a file and its sync
PORTION_BYTES = 32 << 20  # and no more content than this and one member, which may have as much

log = get_logger(__name__)


def open_archives(context: Context) -> int:
    """One archive; returns how many it took up."""
    claim = context.claim(ARCHIVES, 1)
    if claim is None:
        return 0
    (archive,) = list_samples(context.conn, claim.ids)
    began = time.monotonic()
    try:
        open_archive(context, archive)
    except (InputRefused, BlobError, KeyFileError) as exc:
        final = is_final(exc, claim)
        with context.conn.transaction():
            fail_row(
                context.conn, ARCHIVES, archive.sample_id, archive.token, exc.stable_code, exc.message, final=final
            )
        log.info("an archive was refused", sample_id=archive.sample_id, code=exc.stable_code)
        if not final:
            return 1
    finally:
        context.shares(ARCHIVES).note(archive.source_id, 1, time.monotonic() - began)
    release_archive(context, archive)
    return 1


def open_archive(context: Context, archive: Sample) -> None:
    """Members that come out before a refusal are kept; what is no picture is counted by format. Raises InputRefused,
    BlobError, KeyFileError, LeaseLost."""
    conn = context.conn
    passed: Counter[str] = Counter()
    places = {find_place(conn, archive.sample_id): passed}
    try:
        open_members(context, archive, passed)
    except InputRefused:
        save_passed_over(conn, archive.source_id, places)
        raise
    with conn.transaction():
        save_passed_over(conn, archive.source_id, places)
        finish_rows(conn, ARCHIVES, [archive.sample_id], archive.token)


def open_members(context: Context, archive: Sample, passed: Counter[str]) -> None:
    """Raises InputRefused, BlobError, KeyFileError, LeaseLost."""
    conn = context.conn
    place = get_place(conn, archive.sha256)
    passwords = list_passwords(conn, archive.listing_id)  # the card's and those printed; nothing else is tried
    portion: list[Member] = []
    with (
        open_blob(conn, context.keys, context.blobs, place) as blob,
        context.box.batch(ARCHIVE_CPU_SECONDS) as child,
    ):
        try:
            for member in child.open_archive(blob.read_at, place.size, ArchiveLimits(), passwords):
                name = name_format(member)
                if name and not is_picture(name) and not member.notice and not context.gate.is_listed(member.content):
                    passed[name] += 1
                    continue
                portion.append(member)
                if len(portion) == PORTION or sum(len(each.content) for each in portion) > PORTION_BYTES:
                    save_members(context, archive, portion)
                    portion = []
        except InputRefused:
            save_members(context, archive, portion)
            raise
    save_members(context, archive, portion)


def name_format(member: Member) -> str:
    """What a member is that was read; nothing for one that was refused."""
    return "" if member.refused else find_picture(member.content)[0]


def save_members(context: Context, archive: Sample, members: list[Member]) -> None:
    """One portion: pictures encrypted into one file and synced, then their rows and ledger entries in one
    transaction."""
    conn = context.conn
    listed = {
        member.number: digests
        for member in members
        if (digests := context.gate.find_listed(member.content)) is not None
    }
    hits = {
        number: Hit(md5=md5, sha256=sha256, place=f"archive {archive.sha256}, member {number}")
        for number, (md5, sha256) in listed.items()
    }
    draft_reports(context.settings, hits.values())
    filed: dict[int, FiledBlob] = {}
    kept: set[UUID] = set()
    with FileWriter(context.blobs) as file:
        for member in members:
            if not member.refused and member.number not in listed and name_format(member) in READ:
                filed[member.number] = file.add(member.content)
        if filed:
            file.seal()
    if filed:
        check_folder(conn, context.blobs)  # not what lies under a mount point
    with conn.transaction():
        extend_lease(conn, ARCHIVES, [archive.sample_id], archive.token)
        if filed:
            kept = keep_filed(conn, context.keys, list(filed.values()))
        samples = [make_sample(archive, member, filed.get(member.number), listed) for member in members]
        save_samples(conn, archive.listing_id, archive.page_id, samples)
        write_entries(
            conn,
            Kind.CAPTURE,
            [{"about": each.sha256, "archive": archive.sha256, "member": number} for number, each in filed.items()],
            by="worker",
        )
        for hit in hits.values():
            record_hit(conn, hit, archive.source_id, by="worker")
    if filed and not kept:  # all of it was known
        unlink_blob(context.blobs, file.file_id)
    context.asker.ask(Step.EMBED_SAMPLES)


def make_sample(archive: Sample, member: Member, filed: FiledBlob | None, listed: Container[int]) -> NewSample:
    refused, text = "hash_listed" if member.number in listed else member.refused, ""
    if refused is None and filed is None:  # a picture of a format that is not read
        refused, text = "format_not_allowed", name_format(member)
    if filed is not None:
        digest: str | None = filed.sha256
    else:
        digest = hashlib.sha256(member.content).hexdigest() if member.content else None
    return NewSample(
        kind=PageKind.IMAGE,
        sha256=digest,
        size=len(member.content),
        archive_id=archive.sample_id,
        member=member.number,
        notice=member.notice,
        refused=refused,
        text=text,
    )


def release_archive(context: Context, archive: Sample) -> None:
    """The archive itself is not kept once its members are: erase its key and file."""
    with context.conn.transaction():
        litter = release_blobs(context.conn, [archive.sha256])
    drop_files(context.conn, context.blobs, litter)
