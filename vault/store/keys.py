"""Rows of `key`: the data keys, each wrapped by the key file."""

from collections.abc import Sequence
from uuid import UUID

from vault.errors import KeyFileError
from vault.keys import Keys
from vault.store import Connection


def save_key(conn: Connection, keys: Keys, key_id: UUID, kind: str, data_key: bytes) -> None:
    conn.execute(
        "insert into key (key_id, kind, wrapped) values (%(id)s, %(kind)s, %(wrapped)s)",
        {"id": key_id, "kind": kind, "wrapped": keys.wrap_key(data_key, str(key_id))},
    )


def save_keys(conn: Connection, keys: Keys, new: Sequence[tuple[UUID, bytes]], kind: str) -> None:
    """Many at once, (key_id, data_key) each."""
    conn.execute(
        """insert into key (key_id, kind, wrapped)
           select key_id, %(kind)s, wrapped
           from unnest(%(ids)s::uuid[], %(wrapped)s::bytea[]) as new (key_id, wrapped)""",
        {
            "ids": [key_id for key_id, _ in new],
            "kind": kind,
            "wrapped": [keys.wrap_key(data_key, str(key_id)) for key_id, data_key in new],
        },
    )


def get_data_key(conn: Connection, keys: Keys, key_id: UUID) -> bytes:
    """Raises KeyFileError: key_erased, key_wrong."""
    row = conn.execute("select wrapped from key where key_id = %(id)s", {"id": key_id}).fetchone()
    if row is None or row[0] is None:
        raise KeyFileError("key_erased", "the key of this was erased")
    return keys.unwrap_key(row[0], str(key_id))


def erase_keys(conn: Connection, key_ids: list[UUID]) -> None:
    """Everything sealed with these keys is gone with this."""
    conn.execute(
        "update key set wrapped = null, erased_at = now() where key_id = any(%(ids)s) and erased_at is null",
        {"ids": key_ids},
    )
