"""Step 8: an alert's evidence is sealed. In come claimed bundle rows, out go files that anybody can verify offline.

A bundle holds what was captured (pages as WARC records, matched samples as they were received), what was concluded
(matches with score, cut, calibration and model digests), and the ledger entries that prove when each was received. The
person appears as a keyed digest only.
"""

import datetime as dt
import hashlib
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from evidence.seal import BundleFile, Edition, Signer, check_sealed, seal_parts, write_json, write_proofs
from evidence.warc import make_record_id, name_type, write_date, write_resource, write_response
from vault.errors import BlobError, BundleTooLarge, EvidenceError, KeyFileError, Unavailable
from vault.files import write_whole
from vault.keys import Keys
from vault.ledger import Kind, prove_positions
from vault.log import get_logger
from vault.records import Bundle
from vault.store import Connection
from vault.store.blobs import read_blob
from vault.store.bundles import (
    Row,
    describe_alert,
    describe_calibration,
    describe_links,
    describe_listings,
    describe_matches,
    list_bundles,
    list_captures,
    list_matched_samples,
    list_screenshots,
    save_bundle,
)
from vault.store.datasets import lock_datasets
from vault.store.ledger import (
    chain_entries,
    find_receipts,
    get_signed_head,
    has_unplaced,
    list_leaves,
    write_entry,
)
from vault.store.withdrawals import has_withdrawn
from vault.store.work import BUNDLES, fail_row, finish_rows
from workers.context import Context
from workers.faces.packs import describe_pack, get_pack

README = """\
This is an evidence bundle of Facewarden: what was offered, where, and in which of the pictures offered there a person
who had asked to be told was found. It can be checked without us and offline:

    python3 verify.py {name}

verify.py is one file of our source (evidence/verify.py) and needs nothing but Python 3.11. It says of every byte
whether it is what was sealed. alert.json, matches.json, listings.json and links.json are the conclusions; captures/
holds the pages as they were received (WARC) and, where a browser drew them, as it drew them and what they looked
like; the pictures as they were received are in samples/ and once more as WARC records in captures/; ledger.json
proves by RFC 6962 inclusion proofs that their digests were recorded at receipt. A match is a measured similarity, not
an identity.
"""

PLACE_SECONDS = 60.0  # that entries may wait for their place in the ledger

log = get_logger(__name__)


def seal_bundles(context: Context) -> int:
    """One bundle; returns how many rows it took up."""
    claim = context.claim(BUNDLES, 1)
    if claim is None:
        return 0
    for bundle in list_bundles(context.conn, claim.ids):
        try:
            seal_alert(context, bundle)
        except (EvidenceError, BlobError, KeyFileError) as exc:
            code = exc.stable_code
            final = isinstance(exc, BundleTooLarge)
            fail_row(context.conn, BUNDLES, bundle.bundle_id, bundle.token, code, str(exc), final=final)
            log.warning("a bundle could not be sealed", code=code)
    return len(claim.ids)


def seal_alert(context: Context, bundle: Bundle) -> None:
    """Raises EvidenceError, BlobError, KeyFileError, Unavailable, OSError, LeaseLost."""
    conn, keys = context.conn, context.keys
    case = collect_case(context, bundle)
    # not of the alert: of two alerts that became one both may have a bundle; a late sealer has a name of its own
    name = f"{bundle.bundle_id}-{bundle.token}.fwb"
    folder = context.settings.home / "bundles"
    readme = BundleFile(name="README.txt", content=README.format(name=name).encode(), what="what this is")
    proofs = prove_captures(context, case.digests)
    edition = Edition(bundle_id=bundle.bundle_id, made_at=dt.datetime.now(dt.UTC))
    signer = Signer(public_key=keys.public_key, sign=keys.sign)
    digest = hashlib.sha256()
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as store:
            files = itertools.chain([readme], case.files, [proofs])
            parts = hash_parts(seal_parts(files, edition, signer, store=store), digest)
            write_whole(path, parts, last_look=lambda: check_alert(context, bundle))
        check_alert(context, bundle)
        check_sealed(path)
        with conn.transaction():
            finish_rows(conn, BUNDLES, [bundle.bundle_id], bundle.token)
            save_bundle(conn, bundle.bundle_id, f"bundles/{name}", digest.hexdigest())
            write_entry(
                conn, Kind.EXPORT, about=str(bundle.bundle_id), alert=str(bundle.alert_id), sha256=digest.hexdigest()
            )
            check_alert(context, bundle)
    except BaseException:  # no row names it
        path.unlink(missing_ok=True)
        raise
    log.info("a bundle was sealed", alert_id=str(bundle.alert_id))


def hash_parts(parts: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for part in parts:
        digest.update(part)
        yield part


def check_alert(context: Context, bundle: Bundle) -> None:
    """The last look: is the alert still there, and its person? Raises EvidenceError."""
    alert = describe_alert(context.conn, bundle.alert_id)
    if alert is None or has_withdrawn(context.conn, alert["subject_id"]):
        raise EvidenceError("the alert was erased")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is known of an alert. `files`: read one after the other, so that few are in memory; `digests`: those whose
    receipt the ledger has to prove."""

    files: Iterator[BundleFile]
    digests: list[str]


def collect_case(context: Context, bundle: Bundle) -> Case:
    """Raises EvidenceError, and so do the files: BlobError, KeyFileError, Unavailable, OSError."""
    conn = context.conn
    with conn.transaction():
        lock_datasets(conn)
        alert = describe_alert(conn, bundle.alert_id)
        if alert is None:
            raise EvidenceError("the alert was erased")
        matches = describe_matches(conn, bundle.alert_id)
        listings = describe_listings(conn, alert["dataset_id"])
        links = describe_links(conn, alert["dataset_id"])
    subject = context.keys.digest_text(f"subject:{alert.pop('subject_id')}")
    calibrations = describe_calibration(conn, sorted({match["calibration_id"] for match in matches}))
    facts = [
        make_json("alert.json", {**alert, "subject_digest": subject}, "the alert: whom, which dataset, since when"),
        make_json("matches.json", matches, "the matches: score, cut, face, sample, calibration"),
        make_json("listings.json", listings, "the listings of the dataset, every version of them"),
        make_json(
            "links.json", links, "why listings are one dataset: how many pictures they share, or which one moved"
        ),
        make_json("calibrations.json", calibrations, "how strangers score: what the cut was derived from"),
        make_json("models.json", describe_pack(get_pack(context.settings)), "the models and their digests"),
    ]
    captures = sorted({row["capture_id"] for row in listings})
    pages, screens = list_captures(conn, captures), list_screenshots(conn, captures)
    samples = list_matched_samples(conn, bundle.alert_id)
    return Case(
        files=itertools.chain(
            facts, read_pages(context, pages), read_screenshots(context, screens), read_samples(context, samples)
        ),
        digests=[row["sha256"] for row in (*pages, *screens, *samples)],
    )


def read_pages(context: Context, rows: list[Row]) -> Iterator[BundleFile]:
    for row in rows:
        with (context.settings.home / "warc" / row["warc_file"]).open("rb") as warc:
            warc.seek(row["warc_offset"])
            content = warc.read(row["warc_length"])
        name = f"captures/{row['capture_id']:06d}.warc.gz"
        what = f"the page at {row['url']} as it was received"
        yield BundleFile(name=name, content=content, what=what, captured_sha256=row["sha256"])


def read_screenshots(context: Context, rows: list[Row]) -> Iterator[BundleFile]:
    for row in rows:
        yield write_screenshot(row, read_blob(context.conn, context.keys, context.blobs, row["sha256"]))


def read_samples(context: Context, rows: list[Row]) -> Iterator[BundleFile]:
    """Each picture as it was received, and once more as a WARC record."""
    for row in rows:
        content, digest = read_blob(context.conn, context.keys, context.blobs, row["sha256"]), row["sha256"]
        what = "a sample as it was received"
        yield BundleFile(name=f"samples/{digest}", content=content, what=what, captured_sha256=digest)
        yield write_sample(row, content)


def write_screenshot(row: Row, content: bytes) -> BundleFile:
    """As a WARC record; its address is spelled as other archivers spell those of screenshots."""
    url = f"urn:fullPage:{row['url']}"
    record_id = make_record_id(url, row["sha256"], write_date(row["captured_at"]))
    return BundleFile(
        name=f"captures/{row['shows']:06d}-screenshot.warc.gz",
        content=write_resource(url, name_type(content), content, at=row["captured_at"], record_id=record_id),
        what=f"what the page at {row['url']} looked like, its pictures left out",
        captured_sha256=row["sha256"],
    )


def write_sample(row: Row, content: bytes) -> BundleFile:
    """As the WARC record of the answer that brought it; as a `resource` where none is known. What came out of an
    archive has no address of its own."""
    digest, at = row["sha256"], row["received_at"]
    url = f"urn:sha256:{digest}" if row["in_archive"] else row["url"]
    record_id = make_record_id(url, digest, write_date(at))
    if row["head"] is not None:
        record = write_response(url, row["head"], content, at=at, record_id=record_id)
    else:
        record = write_resource(url, name_type(content), content, at=at, record_id=record_id)
    what = "a sample as a WARC record"
    return BundleFile(name=f"captures/{digest}.warc.gz", content=record, what=what, captured_sha256=digest)


def prove_captures(context: Context, digests: list[str]) -> BundleFile:
    """`ledger.json`: the first and the last receipt of each of these digests, proven in one pass over the ledger, which
    is read in portions. Raises EvidenceError, Unavailable: ledger_busy."""
    conn = context.conn
    place_entries(conn, context.keys, digests)
    signed = get_signed_head(conn)
    if signed is None:
        raise EvidenceError("the ledger is empty")
    size = signed.head.tree_size
    receipts = find_receipts(conn, digests, size)
    root, paths = prove_positions(list_leaves(conn, size), size, [position for position, _ in receipts])
    if root != signed.head.root:
        raise EvidenceError("the ledger does not give its signed root", mend="run: ./facewarden ledger verify")
    content = write_proofs(signed, receipts, paths)
    return BundleFile(name="ledger.json", content=content, what="proofs that the digests were recorded at receipt")


def place_entries(conn: Connection, keys: Keys, digests: list[str]) -> None:
    """Until the entries about these digests have their place: another sequencer may be at it. Raises Unavailable:
    ledger_busy."""
    deadline = time.monotonic() + PLACE_SECONDS
    while has_unplaced(conn, digests):
        if not chain_entries(conn, keys):
            if time.monotonic() > deadline:
                raise Unavailable("ledger_busy", "another process has been placing ledger entries for a minute")
            time.sleep(0.1)


def make_json(name: str, value: Any, what: str) -> BundleFile:
    return BundleFile(name=name, content=write_json(plain(value)), what=what)


def plain(value: Any) -> Any:
    """JSON's own types: times in ISO 8601, everything unknown as text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
