"""Heads of the ledger outside the database, a small file each: in comes a signed head, out comes a file, and back.

A head that has left the database shows what was changed in it since: an entry, the order, a tail that was cut off. A
file is JSON with `public_key` and `head`, as `ledger.json` of a bundle has them, and is never overwritten.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vault.errors import LedgerError
from vault.files import write_whole
from vault.ledger import Head, SignedHead

FORMAT = "facewarden ledger head 1"
MOST_BYTES = 64 << 10  # of a file; a head takes half a kilobyte
NAME = re.compile(r"(\d{12})-[0-9a-f]{64}\.json")
HEX = {"root": 64, "signature": 128, "public_key": 64}  # how many digits


@dataclass(frozen=True, kw_only=True, slots=True)
class OutsideHead:
    """A head that was kept outside the database. `where`: the file's name."""

    where: str
    signed: SignedHead


def write_head(signed: SignedHead) -> bytes:
    """The content of a head's file."""
    head = {"tree_size": signed.head.tree_size, "root": signed.head.root, "signed_at": signed.signed_at,
            "signature": signed.signature}  # fmt: skip
    table = {"format": FORMAT, "public_key": signed.public_key, "head": head}
    return (json.dumps(table, sort_keys=True, indent=1) + "\n").encode()


def parse_head(data: bytes) -> SignedHead:
    """The head in a file's content; whether its signature is right is another question. Raises LedgerError:
    head_invalid."""
    try:
        table = json.loads(data[: MOST_BYTES + 1])
        return make_head(table["head"], table["public_key"])
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise LedgerError("head_invalid", f"no head of a ledger: {exc}"[:200]) from exc


def make_head(head: dict[str, Any], public_key: str) -> SignedHead:
    """Raises ValueError, KeyError, TypeError for anything that is not of the form."""
    texts = {"root": head["root"], "signature": head["signature"], "public_key": public_key}
    for name, digits in HEX.items():
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", texts[name]):
            raise ValueError(f"{name} is not {digits} hexadecimal digits")
    size, signed_at = head["tree_size"], head["signed_at"]
    if type(size) is not int or not 0 < size < 1 << 63:
        raise ValueError("tree_size is no number of entries")
    if len(signed_at) > 40 or dt.datetime.fromisoformat(signed_at).tzinfo is None:
        raise ValueError("signed_at is no time")
    return SignedHead(
        head=Head(tree_size=size, root=texts["root"], frontier=()),
        signed_at=signed_at,
        signature=texts["signature"],
        public_key=public_key,
    )


def is_signed(signed: SignedHead) -> bool:
    """Does the signature fit the head and the public key that stand there?"""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key))
        key.verify(bytes.fromhex(signed.signature), signed.message)
    except (InvalidSignature, ValueError):
        return False
    return True


def keep_head(folder: Path, signed: SignedHead) -> bool:
    """Write the head into the folder; False if it is there. Size and root are its name, so that another head of the
    same size lies beside it. Raises OSError."""
    path = folder / f"{signed.head.tree_size:012d}-{signed.head.root}.json"
    if path.exists():
        return False
    write_whole(path, write_head(signed))
    return True


def find_longest(folder: Path) -> int:
    """How many entries the longest head of the folder covers, by the names. Raises OSError."""
    if not folder.exists():
        return 0
    return max((int(found[1]) for path in folder.iterdir() if (found := NAME.fullmatch(path.name))), default=0)


def read_head(path: Path) -> OutsideHead:
    """Raises LedgerError: head_invalid, OSError."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    try:
        return OutsideHead(where=path.name, signed=parse_head(data))
    except LedgerError as exc:
        raise LedgerError(exc.case, f"{path.name}: {exc.message}", mend=exc.mend) from exc


def list_heads(folder: Path) -> Iterator[OutsideHead | LedgerError]:
    """The heads of a folder, the shortest first, and what is wrong with files that hold none. Raises OSError."""
    inside = folder.iterdir() if folder.exists() else iter(())
    paths = sorted(path for path in inside if path.suffix == ".json" and path.is_file())  # a pipe would never end
    for path in paths:
        try:
            yield read_head(path)
        except LedgerError as exc:
            yield exc
