"""Sealing, as a pure function: in come the files of a case and the deployment's signature, out come a bundle's bytes.

The container and its checks are described in `evidence/verify.py`, which also has the functions that both sides share.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from evidence.verify import (
    LEDGER_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    lay_out,
    signed_message,
    write_signature,
)
from vault.errors import EvidenceError
from vault.ledger import SignedHead

MOST_BYTES = (1 << 32) - (1 << 20)  # a zip without the 64-bit extension


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFile:
    """One file of a bundle. `captured_sha256`: the digest under which the ledger recorded its receipt."""

    name: str
    content: bytes
    what: str
    captured_sha256: str | None = None


def seal_bundle(
    files: Sequence[BundleFile],
    *,
    bundle_id: UUID,
    made_at: dt.datetime,
    public_key: bytes,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """The bytes of a bundle. `sign` is the deployment's Ed25519. Raises EvidenceError."""
    names = [file.name for file in files]
    if len(set(names)) != len(names) or {SIGNATURE_FILE, MANIFEST_FILE} & set(names):
        raise EvidenceError("two files of a bundle have one name")
    if LEDGER_FILE not in names:
        raise EvidenceError("a bundle needs its ledger proofs")
    entries = [
        {
            "name": file.name,
            "size": len(file.content),
            "sha256": hashlib.sha256(file.content).hexdigest(),
            "what": file.what,
            **({"captured_sha256": file.captured_sha256} if file.captured_sha256 else {}),
        }
        for file in files
    ]
    table = {
        "bundle_id": str(bundle_id),
        "made_at": made_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "files": entries,
    }
    manifest = write_json(table)
    digest = hashlib.sha256(manifest).hexdigest()
    signature = sign(signed_message(public_key, len(manifest), digest))
    contents = [(SIGNATURE_FILE, write_signature(public_key, manifest, signature)), (MANIFEST_FILE, manifest)]
    contents += [(file.name, file.content) for file in files]
    bundle = b"".join(region for _, region in lay_out(contents))
    if len(bundle) > MOST_BYTES:
        raise EvidenceError("a bundle of more than 4 GB", mend="export fewer samples at once")
    return bundle


def write_proofs(signed: SignedHead, entries: Sequence[tuple[int, str]], paths: Mapping[int, list[str]]) -> bytes:
    """`ledger.json`: the signed head and, for each (position, entry), the path that proves its place."""
    table = {
        "public_key": signed.public_key,
        "head": {
            "tree_size": signed.head.tree_size,
            "root": signed.head.root,
            "signed_at": signed.signed_at,
            "signature": signed.signature,
        },
        "entries": [{"position": position, "entry": entry, "path": paths[position]} for position, entry in entries],
    }
    return write_json(table)


def write_json(table: object) -> bytes:
    return (json.dumps(table, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()
