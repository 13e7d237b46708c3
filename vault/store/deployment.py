"""The row of `deployment`: which key file a database belongs to, and whether it is a demo's.

It is written once, into an empty database, with a MAC of the key file: whoever only reaches the database makes no demo
of it, and no second first approver.
"""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from vault.errors import DeploymentError, KeyFileError
from vault.keys import Keys
from vault.store import Connection
from vault.store.rows import record_row


class DeploymentKind(StrEnum):
    """Of people who enrolled here, or of a demo or a bench, which brings its own."""

    OWN = "own"
    DEMO = "demo"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    public_key: str
    kind: DeploymentKind
    first_approver_at: dt.datetime | None
    mac: str


def check_deployment(conn: Connection, keys: Keys, kind: DeploymentKind | None = None) -> Deployment:
    """Bind the database to the key file on first use (as `kind`, or as one of its own); refuse another key file, and
    another `kind` if one is wanted, later. Raises KeyFileError: key_wrong; DeploymentError."""
    found = _read(conn)
    if found is None:
        _found(conn, keys, kind or DeploymentKind.OWN)
        found = _read(conn)
    if found is None:
        raise DeploymentError(
            "deployment_changed", "the row that says what this database is was removed by somebody",
            mend="restore the database from a copy that nobody has changed",
        )  # fmt: skip
    if found.public_key != keys.public_key.hex():
        raise KeyFileError(
            "key_wrong",
            "this database was made with another key file",
            mend="point key_file at the file it was made with",
        )
    if not found.mac and found.kind is DeploymentKind.OWN and found.first_approver_at is None:
        conn.execute("update deployment set mac = %(mac)s where mac = ''", {"mac": make_mac(keys, found)})
    else:
        _check_mac(found, keys)
    if kind is not None and found.kind is not kind:
        refuse_kind(found.kind)
    return found


def refuse_kind(found: DeploymentKind) -> None:
    """Raises DeploymentError: what was asked for is not for a deployment of this kind."""
    if found is DeploymentKind.DEMO:
        raise DeploymentError(
            "deployment_demo",
            "this is a demo: it has cards, approvers and people of its own and takes no others",
            mend="choose another --home for a deployment of your own",
        )
    raise DeploymentError(
        "deployment_own",
        "this is no demo: people may be enrolled here",
        mend="choose another --home for the demo, an empty folder or one that does not exist yet",
    )


def require_own(conn: Connection) -> None:
    """For what a demo does not take: other cards, material, people, approvers. Raises DeploymentError."""
    if is_demo(conn):
        refuse_kind(DeploymentKind.DEMO)


def get_deployment(conn: Connection) -> str | None:
    """The public key of the key file that this database belongs to, as hex; None where nothing was set up in it."""
    if conn.execute("select to_regclass('deployment')").fetchone() == (None,):
        return None
    row = conn.execute("select public_key from deployment").fetchone()
    return str(row[0]) if row else None


def is_demo(conn: Connection) -> bool:
    return conn.execute("select 1 from deployment where kind = 'demo'").fetchone() is not None


def lock_deployment(conn: Connection, keys: Keys) -> Deployment:
    """Held against everybody who enrols or lets an approver in, until the transaction ends. Raises DeploymentError:
    deployment_changed."""
    with conn.cursor(row_factory=record_row(Deployment)) as cursor:
        found = cursor.execute("select public_key, kind, first_approver_at, mac from deployment for update").fetchone()
    if found is None:
        raise DeploymentError("deployment_changed", "the row that says what this database is was removed")
    _check_mac(found, keys)
    return found


def note_first_approver(conn: Connection, keys: Keys, deployment: Deployment, at: dt.datetime) -> None:
    """From now on there has been a first approver."""
    noted = Deployment(public_key=deployment.public_key, kind=deployment.kind, first_approver_at=at, mac="")
    conn.execute(
        "update deployment set first_approver_at = %(at)s, mac = %(mac)s", {"at": at, "mac": make_mac(keys, noted)}
    )


def make_mac(keys: Keys, deployment: Deployment) -> str:
    first = deployment.first_approver_at
    at = "" if first is None else first.astimezone(dt.UTC).isoformat(timespec="microseconds")
    return keys.digest_text(f"deployment:{deployment.public_key}\n{deployment.kind}\n{at}")


def _check_mac(found: Deployment, keys: Keys) -> None:
    if found.mac != make_mac(keys, found):
        raise DeploymentError(
            "deployment_changed", "the row that says what this database is was changed by somebody else",
            mend="restore the database from a copy that nobody has changed",
        )  # fmt: skip


def _read(conn: Connection) -> Deployment | None:
    with conn.cursor(row_factory=record_row(Deployment)) as cursor:
        return cursor.execute("select public_key, kind, first_approver_at, mac from deployment").fetchone()


def _found(conn: Connection, keys: Keys, kind: DeploymentKind) -> None:
    """The row of a new database, which several processes may set up at once. In one that is not empty it was removed:
    then there is none. One statement, so that no row of another process comes between look and insert."""
    new = Deployment(public_key=keys.public_key.hex(), kind=kind, first_approver_at=None, mac="")
    conn.execute(
        """insert into deployment (public_key, kind, mac) select %(public)s, %(kind)s, %(mac)s
           where not (exists (select from key) or exists (select from subject) or exists (select from source)
                      or exists (select from ledger) or exists (select from approver))
           on conflict do nothing""",
        {"public": new.public_key, "kind": kind.value, "mac": make_mac(keys, new)},
    )
