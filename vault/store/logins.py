"""Rows of `login`: the cookies of a session that a person made, sealed under a key of their own."""

import datetime as dt
from uuid import uuid4

from vault.keys import Keys, decrypt, encrypt, make_data_key
from vault.store import Connection, require_transaction
from vault.store.keys import erase_keys, get_data_key, save_key

WALL_CODES = ("login_wall", "http_401", "http_403", "not_a_sample")  # what a page without its session ends in


def save_login(
    conn: Connection, keys: Keys, name: str, plain: bytes, *, count: int, by: str, expires: dt.datetime | None
) -> None:
    """Keep a session for the source of this name; the one before is erased."""
    require_transaction(conn)
    forget_login(conn, name)
    key_id, data_key = uuid4(), make_data_key()
    save_key(conn, keys, key_id, "login", data_key)
    conn.execute(
        """insert into login (name, key_id, sealed, cookies, imported_by, expires_at)
           values (%(name)s, %(key)s, %(sealed)s, %(count)s, %(by)s, %(expires)s)""",
        {
            "name": name,
            "key": key_id,
            "sealed": encrypt(data_key, plain, b"login:" + name.encode()),
            "count": count,
            "by": by,
            "expires": expires,
        },
    )


def get_login(conn: Connection, keys: Keys, name: str) -> bytes | None:
    """What `save_login` sealed, None if there is none. Raises KeyFileError: key_wrong, key_erased."""
    row = conn.execute("select key_id, sealed from login where name = %(name)s", {"name": name}).fetchone()
    if row is None:
        return None
    return decrypt(get_data_key(conn, keys, row[0]), row[1], b"login:" + name.encode())


def has_login(conn: Connection, name: str) -> bool:
    """Is there a session that is not over?"""
    row = conn.execute(
        "select 1 from login where name = %(name)s and (expires_at is null or expires_at > now())", {"name": name}
    ).fetchone()
    return row is not None


def forget_login(conn: Connection, name: str) -> int:
    """Erase the session and its key. Returns how many cookies it had."""
    require_transaction(conn)
    row = conn.execute("delete from login where name = %(name)s returning key_id, cookies", {"name": name}).fetchone()
    if row is None:
        return 0
    erase_keys(conn, [row[0]])
    return int(row[1])


def reopen_walled(conn: Connection, name: str) -> int:
    """What ended at a login is fetched again, whatever kind it is, and the source is due. Returns how many pages."""
    reopened = conn.execute(
        """update page set state = 'ready', attempts = 0, hops = 0, not_before = null, error_code = null,
                           error_text = null, verdict = '', moved_to = null
           from source where source.source_id = page.source_id and source.name = %(name)s and (
               page.state = 'quarantined' and page.error_code = any(%(codes)s)
               or page.state = 'done' and exists (
                   select 1 from page as wall where wall.page_id = page.moved_to and wall.state = 'quarantined'
                   and wall.error_code = any(%(codes)s)))""",
        {"name": name, "codes": list(WALL_CODES)},
    ).rowcount
    conn.execute("update source set last_crawl_at = null where name = %(name)s", {"name": name})
    return reopened
