"""Makers of bundles: sealed as we seal them, and rightly signed whatever is in them."""

import datetime as dt
import gzip
import hashlib
import json
from collections.abc import Sequence
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evidence.seal import AbsentFile, BundleFile, Edition, Signer, seal_bundle, write_proofs
from evidence.verify import MANIFEST_FILE, SIGNATURE_FILE, lay_out, signed_message, write_signature
from vault.ledger import EMPTY, Kind, SignedHead, append_leaves, hash_leaf, head_message, make_entry, prove_inclusion

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
SIGNED_AT = "2026-01-02T00:00:00.000000+00:00"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SIGNER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
EDITION = Edition(bundle_id=UUID(int=1), made_at=NOW)


def seal(files: list[BundleFile], edition: Edition = EDITION, absent: Sequence[AbsentFile] = ()) -> bytes:
    return seal_bundle(files, edition, Signer(public_key=PUBLIC, sign=SIGNER.sign), absent)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def proofs(captured: list[bytes], signer: Ed25519PrivateKey = SIGNER) -> bytes:
    others = [make_entry(Kind.VIEW, NOW, {"about": f"x{number}"}) for number in range(9)]
    entries = others + [make_entry(Kind.CAPTURE, NOW, {"about": sha256(data)}) for data in captured]
    leaves = [hash_leaf(entry) for entry in entries]
    head = append_leaves(EMPTY, leaves)
    signature = signer.sign(head_message(head, SIGNED_AT)).hex()
    told = [(len(others) + number, entries[len(others) + number]) for number in range(len(captured))]
    public = signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    signed = SignedHead(head=head, signed_at=SIGNED_AT, signature=signature, public_key=public)
    return write_proofs(signed, told, {position: prove_inclusion(leaves, position) for position, _ in told})


def prove(entries: list[str]) -> bytes:
    """Proofs of these entries alone."""
    leaves = [hash_leaf(entry) for entry in entries]
    head = append_leaves(EMPTY, leaves)
    signed = SignedHead(head=head, signed_at=SIGNED_AT, public_key=PUBLIC.hex(),
                        signature=SIGNER.sign(head_message(head, SIGNED_AT)).hex())  # fmt: skip
    return write_proofs(
        signed, list(enumerate(entries)), {place: prove_inclusion(leaves, place) for place in range(len(entries))}
    )


def forge(files: list[tuple[str, bytes]], manifest: bytes | None = None) -> bytes:
    """A bundle that is rightly signed, whatever is in it."""
    if manifest is None:
        entries = [{"name": name, "size": len(content), "sha256": sha256(content)} for name, content in files]
        manifest = json.dumps({"files": entries}).encode()
    signature = SIGNER.sign(signed_message(PUBLIC, len(manifest), sha256(manifest)))
    first = [(SIGNATURE_FILE, write_signature(PUBLIC, manifest, signature)), (MANIFEST_FILE, manifest)]
    return b"".join(region for _, region in lay_out([*first, *files]))


def make_record(body: bytes, kind: str = "resource", **fields: str) -> bytes:
    """A WARC record before it is packed; `fields` replace its headers."""
    headers = {"WARC-Type": kind, "Content-Length": str(len(body))}
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"WARC/1.1\r\n" + lines.encode() + b"\r\n" + body + b"\r\n\r\n"


def bring(record: bytes, body: bytes, *, packed: bool = True) -> bytes:
    """A bundle with one capture, which the ledger says was this body."""
    content = gzip.compress(record) if packed else record
    captured = {"name": "captures/1.warc.gz", "size": len(content), "sha256": sha256(content),
                "captured_sha256": sha256(body)}  # fmt: skip
    ledger = proofs([body])
    entry = {"name": "ledger.json", "size": len(ledger), "sha256": sha256(ledger)}
    files = [("captures/1.warc.gz", content), ("ledger.json", ledger)]
    return forge(files, json.dumps({"files": [captured, entry]}).encode())
