"""The hash-list gate: in come the digests of bytes that have just arrived, out comes "may be kept" or not.

Runs before anything is stored or shown. On a hit only digest, place and time are kept, the source stops, and a report
is drafted for a person. Lists are files of MD5 or SHA-256 digests in hex, one a line, `#` for remarks.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vault.errors import SettingError
from vault.files import write_whole
from vault.ledger import Kind
from vault.log import get_logger
from vault.settings import Settings
from vault.store import Connection
from vault.store.ledger import write_entry
from vault.store.sources import pause_source

DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class HashGate:
    digests: frozenset[str]

    def is_listed(self, data: bytes) -> bool:
        """Is the MD5 or the SHA-256 of these bytes on a list?"""
        if not self.digests:
            return False
        return self.has_digest(hash_md5(data), hashlib.sha256(data).hexdigest())

    def has_digest(self, *digests: str) -> bool:
        return not self.digests.isdisjoint(digests)


def hash_md5(data: bytes) -> str:
    """MD5 only because the lists of illegal pictures use it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def load_gate(settings: Settings) -> HashGate:
    """The gate of the settings. Raises SettingError for a list that cannot be read: no list is worse than no crawl."""
    return HashGate(digests=frozenset[str]().union(*(read_list(path) for path in settings.crawl.hash_lists)))


@lru_cache(maxsize=16)
def read_list(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="ascii").lower().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingError(f"cannot read the hash list {path}: {exc}", mend="check crawl.hash_lists") from exc
    found = {line.split("#")[0].strip() for line in lines} - {""}
    wrong = next((entry for entry in found if not DIGEST.fullmatch(entry)), None)
    if wrong is not None:
        raise SettingError(f"{path}: {wrong[:40]!r} is no MD5 or SHA-256 in hex", mend="one digest a line")
    return frozenset(found)


def record_hit(conn: Connection, settings: Settings, md5: str, sha256: str, place: str, source_id: int) -> None:
    """Keep digest, place and time in the ledger, stop the source, and draft the report that a person must send."""
    write_entry(conn, Kind.REFUSAL, about=sha256, code="hash_listed", place=place)
    pause_source(conn, source_id, "a picture on a list of illegal pictures was served; a person must report it")
    text = (
        "Draft of a report to the competent authority. Nothing of the picture was kept.\n\n"
        f"SHA-256: {sha256}\nMD5: {md5}\nfound at: {place}\n"
    )
    write_whole(settings.home / "reports" / f"{sha256}.txt", text.encode())
    log.warning("a listed digest was refused and its source paused", source_id=source_id)
