"""Step 8: an alert's evidence is sealed. In come claimed bundle rows, out go files that anybody can verify offline.

A bundle is of the case as it is then, and says which version of it this is. It holds what was captured (pages as WARC
records, matched samples as they were received), what was concluded (matches with score, cut, calibration and model
digests), and the ledger entries that prove when each was received. What is kept no more is named. The person appears as
a keyed digest only; where one approver alone signed the card, as a label that no other alert has.
"""

import datetime as dt
import hashlib
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evidence.seal import AbsentFile, BundleFile, Edition, Signer, check_sealed, seal_parts, write_json, write_proofs
from evidence.warc import make_record_id, name_type, write_date, write_resource, write_response
from vault.errors import BlobError, BundleTooLarge, EvidenceError, KeyFileError, Unavailable
from vault.files import write_whole
from vault.keys import Keys
from vault.ledger import Kind, SignedHead, prove_positions
from vault.letters import count_of
from vault.log import get_logger
from vault.records import Bundle, Policy
from vault.store import Connection
from vault.store.blobs import read_blob
from vault.store.bundles import (
    Case,
    Row,
    describe_alert,
    describe_calibration,
    describe_case,
    get_holds,
    list_bundles,
    list_matched_samples,
    list_screenshots,
    save_bundle,
)
from vault.store.captures import StoredCapture, list_answers, list_captures, read_record
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

This is version {version} of the case: as it was when this was sealed. manifest.json names the bundle of the version
before, if there is one.
{absent}"""
ABSENT = """
Not in this bundle, because it is kept no more ({number} in all; ledger.json proves all the same that it was received):
{lines}
"""
MOST_NAMED = 20  # of what is absent, in the readme; manifest.json names all of it

GROWTH = {
    "matches": ("more match", "more matches"),
    "listings": ("more listing", "more listings"),
    "versions": ("more version of a listing", "more versions of listings"),
}
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
    case, contents = collect_case(context, bundle)
    # not of the alert: of two alerts that became one both may have a bundle; a late sealer has a name of its own
    name = f"{bundle.bundle_id}-{bundle.token}.fwb"
    folder = context.settings.home / "bundles"
    readme = BundleFile(name="README.txt", content=write_readme(name, bundle, contents.absent), what="what this is")
    proofs, signed = prove_captures(context, contents.digests)
    edition = Edition(
        bundle_id=bundle.bundle_id,
        made_at=dt.datetime.now(dt.UTC),
        version=bundle.version,
        previous_sha256=bundle.previous_sha256,
    )
    signer = Signer(public_key=keys.public_key, sign=keys.sign)
    digest = hashlib.sha256()
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as store:
            files = itertools.chain([readme], contents.files, [proofs])
            parts = hash_parts(seal_parts(files, edition, signer, contents.absent, store=store), digest)
            write_whole(path, parts, last_look=lambda: check_alert(context, bundle))
        check_alert(context, bundle)
        check_sealed(path)
        with conn.transaction():
            finish_rows(conn, BUNDLES, [bundle.bundle_id], bundle.token)
            why = name_growth(conn, bundle, case)
            save_bundle(conn, bundle.bundle_id, f"bundles/{name}", digest.hexdigest(), case, why)
            write_entry(
                conn,
                Kind.EXPORT,
                about=str(bundle.bundle_id),
                alert=str(bundle.alert_id),
                what="sealed",
                by=bundle.asked_by,
                version=bundle.version,
                sha256=digest.hexdigest(),
                head_size=signed.head.tree_size,
                head_root=signed.head.root,
            )
            check_alert(context, bundle)
    except BaseException:  # no row names it
        path.unlink(missing_ok=True)
        raise
    log.info("a bundle was sealed", alert_id=str(bundle.alert_id), version=bundle.version)


def write_readme(name: str, bundle: Bundle, absent: Sequence[AbsentFile]) -> bytes:
    named = [f"    {each.name}: {each.why}" for each in absent[:MOST_NAMED]]
    if len(absent) > MOST_NAMED:
        named.append(f"    and {len(absent) - MOST_NAMED} more, see manifest.json")
    told = ABSENT.format(number=len(absent), lines="\n".join(named)) if absent else ""
    return README.format(name=name, version=bundle.version, absent=told).encode()


def name_growth(conn: Connection, bundle: Bundle, case: Case) -> str:
    """Why there is this version, in words: what there is more of."""
    if bundle.previous_sha256 is None:
        return "the first"
    before, now = get_holds(conn, bundle.previous_sha256), case.holds
    grown = {name: now[name] - before.get(name, now[name]) for name in GROWTH}
    return ", ".join(count_of(grown[name], *nouns) for name, nouns in GROWTH.items() if grown[name] > 0) or "it changed"


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
class Contents:
    """What goes into a bundle. `files`: read one after the other, so that few are in memory; `digests`: those whose
    receipt the ledger has to prove, of what is `absent` too."""

    files: Iterator[BundleFile]
    absent: list[AbsentFile]
    digests: list[str]


def collect_case(context: Context, bundle: Bundle) -> tuple[Case, Contents]:
    """The case as it is now, and the files about it. Raises EvidenceError, and while files are read BlobError,
    KeyFileError, Unavailable, OSError."""
    conn = context.conn
    with conn.transaction():
        case = describe_case(conn, bundle.alert_id)
    if case is None:
        raise EvidenceError("the alert was erased, or is its person's only")
    captures = sorted({row["capture_id"] for row in case.listings})
    pages = list_captures(conn, sorted({*captures, *list_answers(conn, captures)}))
    screens = list_screenshots(conn, captures)
    samples = list_matched_samples(conn, bundle.alert_id)
    absent = [AbsentFile(name=f"samples/{row['sha256']}", sha256=row["sha256"], why=name_loss(row["policy"]))
              for row in samples if not row["is_kept"]]  # fmt: skip
    absent += [AbsentFile(name=name_screenshot(row), sha256=row["sha256"], why="the screenshot was dropped on its day")
               for row in screens if not row["is_kept"]]  # fmt: skip
    absent += [AbsentFile(name=name_page(each), sha256=each.sha256,
                          why="the page was erased with the pictures inside it")
               for each in pages if each.erased_at is not None]  # fmt: skip
    digests = [each.sha256 for each in pages] + [row["sha256"] for row in (*screens, *samples)]
    files = itertools.chain(
        describe_files(context, case, {each.sha256: each.why for each in absent}),
        read_pages(context, [each for each in pages if each.erased_at is None]),
        read_screenshots(context, [row for row in screens if row["is_kept"]]),
        read_samples(context, [row for row in samples if row["is_kept"]]),
    )
    return case, Contents(files=files, absent=absent, digests=digests)


def name_loss(policy: str) -> str:
    """Why a picture is not there any more in which somebody was found."""
    return "the picture was not kept (policy retro)" if policy == Policy.RETRO else "the picture is kept no more"


def describe_files(context: Context, case: Case, absent: dict[str, str]) -> list[BundleFile]:
    """What was concluded, and from what. `absent`: why the picture of a digest is not in the bundle."""
    matches = [{**row, "picture": absent.get(row["sha256"], f"samples/{row['sha256']}")} for row in case.matches]
    calibrations = describe_calibration(context.conn, sorted({match["calibration_id"] for match in matches}))
    links = "why listings are one dataset: how many pictures they share, or which one moved"
    return [
        make_json("alert.json", name_alert(context, case.alert), "the alert: whom, which dataset, since when"),
        make_json("matches.json", matches, "the matches: score, cut, face, sample, calibration"),
        make_json("listings.json", case.listings, "the listings of the dataset, every version of them"),
        make_json("links.json", case.links, links),
        make_json("calibrations.json", calibrations, "how strangers score: what the cut was derived from"),
        make_json("models.json", describe_pack(get_pack(context.settings)), "the models and their digests"),
    ]


def read_pages(context: Context, stored: list[StoredCapture]) -> Iterator[BundleFile]:
    """The records of pages and of the answers that they were drawn from, as they were written."""
    for each in stored:
        content = read_record(context.keys, context.settings.home / "warc", each)
        what = f"the page at {each.url} as it was received"
        yield BundleFile(name=name_page(each), content=content, what=what, captured_sha256=each.sha256)


def name_page(stored: StoredCapture) -> str:
    return f"captures/{stored.capture_id:06d}.warc.gz"


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


def name_alert(context: Context, alert: Row) -> Row:
    """With its person as a keyed digest; of an alert under a label there is only the label."""
    kept = {name: alert[name] for name in alert if name not in ("subject_id", "is_open", "label", "shown_from")}
    if not alert["is_open"]:
        return {**kept, "label": alert["label"]}
    return {**kept, "subject_digest": context.keys.digest_text(f"subject:{alert['subject_id']}")}


def name_screenshot(row: Row) -> str:
    return f"captures/{row['shows']:06d}-screenshot.warc.gz"


def write_screenshot(row: Row, content: bytes) -> BundleFile:
    """As a WARC record; its address is spelled as other archivers spell those of screenshots."""
    url = f"urn:fullPage:{row['url']}"
    record_id = make_record_id(url, row["sha256"], write_date(row["captured_at"]))
    return BundleFile(
        name=name_screenshot(row),
        content=write_resource(url, name_type(content), content, at=row["captured_at"], record_id=record_id),
        what=f"what the page at {row['url']} looked like, its pictures left out",
        captured_sha256=row["sha256"],
    )


def write_sample(row: Row, content: bytes) -> BundleFile:
    """As the WARC record of the answer that brought it; as a `resource` where none is known. What came out of an
    archive, or lay in a page, has no address of its own."""
    digest, at = row["sha256"], row["received_at"]
    url = f"urn:sha256:{digest}" if row["lies_inside"] else row["url"]
    record_id = make_record_id(url, digest, write_date(at))
    if row["head"] is not None:
        record = write_response(url, row["head"], content, at=at, record_id=record_id)
    else:
        record = write_resource(url, name_type(content), content, at=at, record_id=record_id)
    what = "a sample as a WARC record"
    return BundleFile(name=f"captures/{digest}.warc.gz", content=record, what=what, captured_sha256=digest)


def prove_captures(context: Context, digests: list[str]) -> tuple[BundleFile, SignedHead]:
    """`ledger.json`, and the head that it rests on: the first and the last receipt of each of these digests, proven in
    one pass over the ledger, which is read in portions. Raises EvidenceError, Unavailable: ledger_busy."""
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
    what = "proofs that the digests were recorded at receipt"
    return BundleFile(name="ledger.json", content=content, what=what), signed


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
