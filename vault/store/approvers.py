"""Rows of `approver` and `enrolment_signature`: whose signature counts, since when, and who let them in.

The first approver is let in by whoever sets a database up, once; each further one by an approver who counts. While
nobody is enrolled they count at once, else after three days: time to notice. Every row carries a MAC of the key file,
and the signature that let it in: neither the database alone nor the key file alone makes an approver.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from vault.errors import ApproverError, EnrolmentError
from vault.keys import Keys
from vault.ledger import Kind
from vault.log import get_logger
from vault.signatures import PUBLIC_KEY, is_signed, read_hex, write_enrolment, write_removal, write_trust
from vault.store import Connection
from vault.store.clock import tick_gallery
from vault.store.deployment import DeploymentKind, is_demo, lock_deployment, note_first_approver, refuse_kind
from vault.store.ledger import write_entry
from vault.store.rows import record_row
from vault.store.visibility import NEEDED, close_signed

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
WAIT_HOURS = 72  # until a new approver counts, where people are enrolled

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Approver:
    """`signed_by`, `signature`: who let them in, and the proof (128 hex digits); None for the first. `counts`: now, by
    the database's clock."""

    public_key: str
    name: str
    trusted_at: dt.datetime
    counts_from: dt.datetime
    signed_by: str | None
    signature: str | None
    removed_at: dt.datetime | None
    mac: str
    counts: bool


def list_approvers(conn: Connection, keys: Keys) -> list[Approver]:
    """Those who are trusted, the first one first, whether they count already or not. A row that the key file or the
    signature does not bear out is left out, and the log says so."""
    genuine = _list_genuine(conn, keys)
    return [each for each in genuine if each.removed_at is None]


def list_counting(conn: Connection, keys: Keys) -> list[Approver]:
    """Those whose signature counts now."""
    return [each for each in list_approvers(conn, keys) if each.counts]


def _list_genuine(conn: Connection, keys: Keys) -> list[Approver]:
    with conn.cursor(row_factory=record_row(Approver)) as cursor:
        rows = cursor.execute(
            """select public_key, name, trusted_at, counts_from, signed_by, signature, mac,
                      counts_from <= now() as counts,
                      coalesce(removed_at, (select now() from ledger where about = 'approver:' || public_key
                                            and entry::jsonb->'facts'->>'act' = 'removed' limit 1)) as removed_at
               from approver order by signed_by is not null, trusted_at, public_key"""
        ).fetchall()
    demo, deployment = is_demo(conn), keys.public_key.hex()
    genuine: dict[str, Approver] = {}
    for row in rows:
        # of one that the ledger knows as removed the row may have been put back as it was
        known = any(row.mac == make_mac(keys, each) for each in (row, replace(row, removed_at=None)))
        if known and (demo or _is_let_in(row, genuine, deployment)):
            genuine[row.public_key] = row
        else:
            log.warning("an approver's row was not made by us and counts for nothing", approver=row.name)
    return list(genuine.values())


def _is_let_in(row: Approver, genuine: Mapping[str, Approver], deployment: str) -> bool:
    """By whoever set the database up, if it is the first, else by one who was there."""
    if row.signed_by is None or row.signature is None:
        return not genuine
    message = write_trust(deployment, row.name, row.public_key)
    return row.signed_by in genuine and is_signed(row.signed_by, message, read_hex(row.signature))


def make_mac(keys: Keys, row: Approver) -> str:
    times = [
        "" if at is None else at.astimezone(dt.UTC).isoformat(timespec="microseconds")
        for at in (row.trusted_at, row.counts_from, row.removed_at)
    ]
    parts = (row.public_key, row.name, *times, row.signed_by or "", row.signature or "")
    return keys.digest_text("approver:" + "\n".join(parts))


# -- who comes and goes -----------------------------------------------------------------------------------------------


def trust_approver(
    conn: Connection, keys: Keys, name: str, public_key: str, *, by: str, signer: str = "", signature: str = ""
) -> Approver:
    """Let an approver in: the first one of a database, or a further one with `signature` (of `write_trust`, by the
    approver whose public key is `signer`). One who is there already is left as they are. Raises ApproverError,
    DeploymentError."""
    check_approver(name, public_key)
    with conn.transaction():
        deployment = lock_deployment(conn, keys)
        if deployment.kind is DeploymentKind.DEMO:
            refuse_kind(deployment.kind)
        genuine = _list_genuine(conn, keys)
        for each in genuine:
            if (each.name, each.public_key, each.removed_at) == (name, public_key, None):
                return each
        _refuse_taken(conn, name, public_key)
        first = not signer and deployment.first_approver_at is None and not _has_had_approvers(conn)
        if not first:
            _check_signer(genuine, signer, write_trust(deployment.public_key, name, public_key), signature)
        now, counts_from = _read_times(conn)
        if first:
            note_first_approver(conn, keys, deployment, now)
        added = _add(
            conn, keys, name, public_key, now, now if first else counts_from,
            signer=None if first else signer, signature=None if first else signature,
        )  # fmt: skip
        write_entry(conn, Kind.APPROVAL, about=f"approver:{public_key}", act="trusted", name=name, by=by,
                    signed_by=signer, counts_from=added.counts_from.isoformat(timespec="seconds"))  # fmt: skip
    return added


def remove_approver(conn: Connection, keys: Keys, name: str, *, by: str, signer: str, signature: str) -> Approver:
    """Their signature counts for nothing from now on; sources that it had opened are closed. That two are needed stays
    as it is. `signature`: of `write_removal`, by `signer`. Raises ApproverError, DeploymentError."""
    with conn.transaction():
        deployment = lock_deployment(conn, keys)
        if deployment.kind is DeploymentKind.DEMO:
            refuse_kind(deployment.kind)
        trusted = list_approvers(conn, keys)
        leaving = find_approver(trusted, name)
        _check_signer(trusted, signer, write_removal(deployment.public_key, leaving.public_key), signature)
        if not any(each.counts for each in trusted if each.public_key != leaving.public_key):
            raise ApproverError(
                "approver_last", f"without {name} nobody could approve anything any more",
                mend="let another approver in, and wait until they count",
            )  # fmt: skip
        now, _ = _read_times(conn)
        gone = replace(leaving, removed_at=now)
        conn.execute(
            "update approver set removed_at = %(at)s, mac = %(mac)s where public_key = %(key)s",
            {"at": now, "mac": make_mac(keys, gone), "key": leaving.public_key},
        )
        close_signed(conn, leaving.public_key)
        write_entry(conn, Kind.APPROVAL, about=f"approver:{leaving.public_key}", act="removed", name=name, by=by,
                    signed_by=signer)  # fmt: skip
    return gone


def replace_demo_approvers(conn: Connection, keys: Keys, approvers: Mapping[str, str]) -> None:
    """A demo's approvers (name -> public key) of this run, in place of those of the last one. Raises
    DeploymentError."""
    with conn.transaction():
        if lock_deployment(conn, keys).kind is not DeploymentKind.DEMO:
            refuse_kind(DeploymentKind.OWN)
        conn.execute("delete from approver")
        now, _ = _read_times(conn)
        for name, public_key in approvers.items():
            _add(conn, keys, name, public_key, now, now, signer=None, signature=None)


def check_name(name: str) -> None:
    """Raises ApproverError: approver_invalid."""
    if not NAME.fullmatch(name):
        raise ApproverError(
            "approver_invalid", f"{name!r} is no approver's name", mend="small letters, digits, dots, hyphens"
        )


def check_approver(name: str, public_key: str) -> None:
    """Raises ApproverError: approver_invalid."""
    check_name(name)
    if not PUBLIC_KEY.fullmatch(public_key):
        raise ApproverError("approver_invalid", "a public key has 64 hex digits", mend="copy it from `source key new`")


def find_approver(approvers: Sequence[Approver], name: str) -> Approver:
    """Raises ApproverError: approver_unknown."""
    for each in approvers:
        if each.name == name:
            return each
    raise ApproverError(
        "approver_unknown", f"there is no approver {name!r}", mend="./facewarden source approvers lists them"
    )


def _refuse_taken(conn: Connection, name: str, public_key: str) -> None:
    row = conn.execute(
        """select name, public_key = %(key)s from approver
           where public_key = %(key)s or (name = %(name)s and removed_at is null) limit 1""",
        {"name": name, "key": public_key},
    ).fetchone()
    if row is not None:
        what = "this key was trusted before, as" if row[1] else "another key is trusted as"
        raise ApproverError(
            "approver_known", f"{what} {row[0]}", mend="one key is one approver; a key that was removed stays so"
        )


def _has_had_approvers(conn: Connection) -> bool:
    """Has there ever been one, by rows or by the ledger?"""
    row = conn.execute(
        """select exists (select from approver) or exists (
               select from ledger where starts_with(about, 'approver:'))"""
    ).fetchone()
    return row == (True,)


def _check_signer(trusted: Sequence[Approver], signer: str, message: bytes, signature: str) -> None:
    """Is this signed by an approver who counts? Raises ApproverError."""
    if not signer:
        raise ApproverError(
            "approver_needed", "an approver who is trusted here has to sign this",
            mend="one of `./facewarden source approvers` runs it with --key THEIR-KEY-FILE",
        )  # fmt: skip
    found = next((each for each in trusted if each.public_key == signer and each.removed_at is None), None)
    if found is None or not is_signed(signer, message, read_hex(signature)):
        raise ApproverError(
            "approver_unknown", "this key is not that of an approver who is trusted here",
            mend="./facewarden source approvers lists them",
        )  # fmt: skip
    if not found.counts:
        raise ApproverError(
            "approver_waiting", f"{found.name} counts from {found.counts_from:%Y-%m-%d %H:%M} UTC on",
            mend="wait until then, or ask another approver",
        )  # fmt: skip


def _read_times(conn: Connection) -> tuple[dt.datetime, dt.datetime]:
    """Now, and from when somebody counts who comes now; by the database's clock."""
    row = conn.execute(
        """select now(), case when exists (select from subject where state in ('pending', 'active') and not exists (
                                           select from withdrawal where withdrawal.subject_id = subject.subject_id))
                              then now() + make_interval(hours => %(hours)s) else now() end""",
        {"hours": WAIT_HOURS},
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _add(
    conn: Connection, keys: Keys, name: str, public_key: str, now: dt.datetime, counts_from: dt.datetime, *,
    signer: str | None, signature: str | None,
) -> Approver:  # fmt: skip
    new = Approver(
        public_key=public_key, name=name, trusted_at=now, counts_from=counts_from, signed_by=signer,
        signature=signature, removed_at=None, mac="", counts=counts_from <= now,
    )  # fmt: skip
    new = replace(new, mac=make_mac(keys, new))
    conn.execute(
        """insert into approver (public_key, name, trusted_at, counts_from, signed_by, signature, mac)
           values (%(key)s, %(name)s, %(now)s, %(from)s, %(signer)s, %(signature)s, %(mac)s)""",
        {"key": public_key, "name": name, "now": now, "from": counts_from, "signer": signer, "signature": signature,
         "mac": new.mac},
    )  # fmt: skip
    return new


# -- enrolments -------------------------------------------------------------------------------------------------------


def sign_enrolment(
    conn: Connection, keys: Keys, subject_id: UUID, signer: str, signature: str, *, by: str
) -> list[Approver]:
    """An approver agrees that this person is searched among the faces kept before; with two they are, once they have
    confirmed. `signature`: of `write_enrolment`, by the approver whose public key is `signer`. Returns those who count
    and have signed. Raises ApproverError; EnrolmentError: subject_unknown; DeploymentError."""
    person = keys.digest_text(f"subject:{subject_id}")
    with conn.transaction():
        deployment = lock_deployment(conn, keys)
        if deployment.kind is DeploymentKind.DEMO:
            refuse_kind(deployment.kind)
        trusted = list_approvers(conn, keys)
        _check_signer(trusted, signer, write_enrolment(deployment.public_key, person), signature)
        if not _is_enrolled(conn, subject_id):
            raise EnrolmentError("subject_unknown", "nobody is enrolled under this id or address")
        added = conn.execute(
            """insert into enrolment_signature (subject_id, public_key, signature)
               values (%(subject)s, %(key)s, %(signature)s) on conflict do nothing""",
            {"subject": subject_id, "key": signer, "signature": signature},
        ).rowcount
        signed = _list_signers(conn, subject_id)
        counting = [each for each in trusted if each.counts and each.public_key in signed]
        if len(counting) >= NEEDED:
            allow_hunts(conn, subject_id)
        if added:
            name = next(each.name for each in counting if each.public_key == signer)
            write_entry(conn, Kind.APPROVAL, about=person, act="enrolment", name=name, signed_by=signer, by=by)
    return counting


def allow_hunts(conn: Connection, subject_id: UUID) -> None:
    """From now on this person's templates may be searched among the faces kept before."""
    conn.execute(
        "update subject set hunts_from = now() where subject_id = %(id)s and hunts_from is null", {"id": subject_id}
    )
    tick_gallery(conn)


def _is_enrolled(conn: Connection, subject_id: UUID) -> bool:
    row = conn.execute(
        """select 1 from consent where subject_id = %(id)s
           and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id)""",
        {"id": subject_id},
    ).fetchone()
    return row is not None


def _list_signers(conn: Connection, subject_id: UUID) -> set[str]:
    rows = conn.execute(
        "select public_key from enrolment_signature where subject_id = %(id)s", {"id": subject_id}
    ).fetchall()
    return {key for (key,) in rows}
