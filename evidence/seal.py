"""Sealing: in come the files of a case and the deployment's signature, out come a bundle's bytes.

The container, its limits and its checks are described in `evidence/verify.py`, which also has the functions that both
sides share. One file of a case is in memory at a time; the manifest, which stands first, is made when all were seen.
"""

import datetime as dt
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from evidence.verify import (
    LEDGER_FILE,
    MANIFEST_FILE,
    MOST_BYTES,
    MOST_FILES,
    MOST_JSON,
    MOST_PROOFS,
    SIGNATURE_FILE,
    check_bundle,
    check_file_names,
    lay_out,
    signed_message,
    write_signature,
)
from vault.errors import BundleTooLarge, EvidenceError
from vault.ledger import SignedHead


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFile:
    """One file of a bundle. `captured_sha256`: the digest under which the ledger recorded its receipt."""

    name: str
    content: bytes
    what: str
    captured_sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsentFile:
    """What was received and is not in the bundle, being kept no more. `sha256`: under which its receipt is recorded."""

    name: str
    sha256: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Edition:
    """Which bundle this is: the `version` of its case, and the SHA-256 of the bundle of the version before."""

    bundle_id: UUID
    made_at: dt.datetime
    version: int = 1
    previous_sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """The deployment's Ed25519: the public key, 32 bytes, and the function that signs with it."""

    public_key: bytes
    sign: Callable[[bytes], bytes]


def seal_bundle(
    files: Iterable[BundleFile], edition: Edition, signer: Signer, absent: Sequence[AbsentFile] = ()
) -> bytes:
    """The bytes of a small bundle. Raises EvidenceError, BundleTooLarge."""
    return b"".join(seal_parts(files, edition, signer, absent, store=io.BytesIO()))


def seal_parts(
    files: Iterable[BundleFile],
    edition: Edition,
    signer: Signer,
    absent: Sequence[AbsentFile] = (),
    *,
    store: BinaryIO,
) -> Iterator[bytes]:
    """The bytes of a bundle in parts. `store`: an empty file for what the files hold until the manifest is known.
    Raises EvidenceError for names that are none, BundleTooLarge beyond the limits of `evidence/verify.py`."""
    entries = []
    for file in files:
        entries.append(describe_file(file))
        if len(entries) > MOST_FILES or store.tell() + len(file.content) > MOST_BYTES:
            raise BundleTooLarge(f"a bundle of more than {MOST_FILES} files or {MOST_BYTES >> 20} MB")
        store.write(file.content)
    check_names([entry["name"] for entry in entries], absent)
    manifest = write_manifest(entries, edition, absent)
    digest = hashlib.sha256(manifest).hexdigest()
    signature = signer.sign(signed_message(signer.public_key, len(manifest), digest))
    first = [(SIGNATURE_FILE, write_signature(signer.public_key, manifest, signature)), (MANIFEST_FILE, manifest)]
    store.seek(0)
    stored = ((entry["name"], store.read(entry["size"])) for entry in entries)
    for _, region in lay_out(itertools.chain(first, stored)):
        yield region


def describe_file(file: BundleFile) -> dict[str, Any]:
    """The manifest's entry. Raises BundleTooLarge for proofs that no checker would read."""
    if file.name == LEDGER_FILE and len(file.content) > MOST_JSON:
        raise BundleTooLarge(f"ledger proofs of more than {MOST_JSON >> 20} MB")
    return {
        "name": file.name,
        "size": len(file.content),
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "what": file.what,
        **({"captured_sha256": file.captured_sha256} if file.captured_sha256 else {}),
    }


def check_names(names: list[str], absent: Sequence[AbsentFile]) -> None:
    """Raises EvidenceError."""
    faults = check_file_names([SIGNATURE_FILE, MANIFEST_FILE, *names, *(each.name for each in absent)])
    if faults:
        code, name = faults[0]
        raise EvidenceError(f"no name for a file of a bundle: {name!r} ({code})")
    if LEDGER_FILE not in names:
        raise EvidenceError("a bundle needs its ledger proofs")


def write_manifest(entries: list[dict[str, Any]], edition: Edition, absent: Sequence[AbsentFile]) -> bytes:
    """Raises BundleTooLarge."""
    table = {
        "bundle_id": str(edition.bundle_id),
        "made_at": edition.made_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "version": edition.version,
        **({"previous_sha256": edition.previous_sha256} if edition.previous_sha256 else {}),
        "files": entries,
        **({"absent": [{"name": each.name, "sha256": each.sha256, "why": each.why} for each in absent]}
           if absent else {}),
    }  # fmt: skip
    manifest = write_json(table)
    if len(manifest) > MOST_JSON:
        raise BundleTooLarge(f"a manifest of more than {MOST_JSON >> 20} MB")
    return manifest


def check_sealed(path: Path) -> None:
    """Nothing leaves that its own checker would not pass. Raises EvidenceError, BundleTooLarge, OSError."""
    with path.open("rb") as stream:
        report = check_bundle(stream)
    for row in report.rows:
        if row.code in ("too_large", "record_too_large"):
            raise BundleTooLarge(f"{row.what}: {row.detail}")
        if row.code:
            raise EvidenceError(f"the bundle would not pass its own check: {row.code}, {row.what}")


def write_proofs(signed: SignedHead, entries: Sequence[tuple[int, str]], paths: Mapping[int, list[str]]) -> bytes:
    """`ledger.json`: the signed head and, for each (position, entry), the path that proves its place. Raises
    BundleTooLarge."""
    if len(entries) > MOST_PROOFS:
        raise BundleTooLarge(f"a bundle of more than {MOST_PROOFS} ledger proofs")
    head = {"tree_size": signed.head.tree_size, "root": signed.head.root, "signed_at": signed.signed_at,
            "signature": signed.signature}  # fmt: skip
    table = {
        "public_key": signed.public_key,
        "head": head,
        "entries": [{"position": position, "entry": entry, "path": paths[position]} for position, entry in entries],
    }
    return (json.dumps(table, sort_keys=True, separators=(",", ":")) + "\n").encode()


def write_json(table: object) -> bytes:
    return (json.dumps(table, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()
