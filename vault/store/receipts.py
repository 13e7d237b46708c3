"""Rows of `erasure` and `receipt`: forgetting a person, and the signed proof that it was done."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from vault.errors import EnrolmentError
from vault.keys import Keys
from vault.store import Connection, require_transaction
from vault.store.keys import erase_keys


def erase_subject_rows(conn: Connection, subject_id: UUID) -> dict[str, int]:
    """Delete matches, judgements, alerts (with their deliveries and bundles), templates and negatives of a person; how
    many of each."""
    require_transaction(conn)
    conn.execute(
        "delete from bundle using alert where bundle.alert_id = alert.alert_id and alert.subject_id = %(id)s",
        {"id": subject_id},
    )
    matches = conn.execute("delete from match where subject_id = %(id)s", {"id": subject_id}).rowcount
    negatives = conn.execute("delete from negative where subject_id = %(id)s", {"id": subject_id}).rowcount
    judgements = conn.execute("delete from judgement where subject_id = %(id)s", {"id": subject_id}).rowcount
    alerts = conn.execute("delete from alert where subject_id = %(id)s", {"id": subject_id}).rowcount
    conn.execute("delete from enrolment_signature where subject_id = %(id)s", {"id": subject_id})
    templates = conn.execute("delete from template where subject_id = %(id)s", {"id": subject_id}).rowcount
    return {"matches": matches, "alerts": alerts, "templates": templates, "judgements": judgements,
            "negatives": negatives}  # fmt: skip


def list_matched_faces(conn: Connection, subject_id: UUID) -> list[tuple[int, str]]:
    """The faces in which a person was found: (face_id, digest of the picture)."""
    return conn.execute(
        """select face_id, sample.sha256 from match join face using (face_id) join sample using (sample_id)
           where subject_id = %(id)s and sample.sha256 is not null""",
        {"id": subject_id},
    ).fetchall()


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFileName:
    """`file`: relative to the state folder; None for a bundle that was not sealed yet."""

    bundle_id: UUID
    file: str | None


def list_bundle_files(conn: Connection, subject_id: UUID) -> list[BundleFileName]:
    """Every bundle about a person, those included that are being sealed."""
    rows = conn.execute(
        "select bundle_id, file from bundle join alert using (alert_id) where subject_id = %(id)s",
        {"id": subject_id},
    ).fetchall()
    return [BundleFileName(bundle_id=bundle_id, file=file) for bundle_id, file in rows]


def get_erased(conn: Connection, subject_id: UUID) -> dict[str, int]:
    """What an erasure has counted so far."""
    row = conn.execute("select erased from erasure where subject_id = %(id)s", {"id": subject_id}).fetchone()
    return row[0] if row else {}


def add_erased(conn: Connection, subject_id: UUID, counts: Mapping[str, int]) -> dict[str, int]:
    """Count what was removed, over all attempts of an erasure. Returns the sums."""
    require_transaction(conn)
    row = conn.execute("select erased from erasure where subject_id = %(id)s for update", {"id": subject_id}).fetchone()
    known: dict[str, int] = row[0] if row else {}
    sums = {name: known.get(name, 0) + counts.get(name, 0) for name in sorted({*known, *counts})}
    conn.execute(
        "update erasure set erased = %(sums)s where subject_id = %(id)s", {"id": subject_id, "sums": json.dumps(sums)}
    )
    return sums


def unmatch_faces(conn: Connection, face_ids: list[int]) -> None:
    """Those of the faces whose last match was erased count as unmatched, so their pictures are no longer kept."""
    conn.execute(
        """update face set outcome = 'unmatched' where face_id = any(%(ids)s) and outcome in ('matched', 'held')
           and not exists (select 1 from match where match.face_id = face.face_id)""",
        {"ids": face_ids},
    )


def save_receipt(
    conn: Connection, keys: Keys, subject_id: UUID, erased: Mapping[str, int], not_found: Mapping[str, int]
) -> UUID:
    """The signed receipt: what was erased and when, and what was not where it had been written. It names nobody; the
    person holds its id."""
    receipt_id = uuid4()
    table = {
        "receipt": str(receipt_id),
        "erased_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "erased": erased,
        "not_found": not_found,
        "public_key": keys.public_key.hex(),
    }
    body = json.dumps(table, sort_keys=True, separators=(",", ":"))
    conn.execute(
        """insert into receipt (receipt_id, subject_id, body, signature)
           values (%(receipt)s, %(subject)s, %(body)s, %(signature)s)""",
        {"receipt": receipt_id, "subject": subject_id, "body": body, "signature": keys.sign(body.encode()).hex()},
    )
    return receipt_id


def get_receipt(conn: Connection, subject_id: UUID) -> str:
    """The receipt as it is sent: one line of JSON, one line of signature. Raises EnrolmentError."""
    row = conn.execute("select body, signature from receipt where subject_id = %(id)s", {"id": subject_id}).fetchone()
    if row is None:
        raise EnrolmentError("subject_unknown", "no erasure was made for this person")
    return f"{row[0]}\n{row[1]}"


def hash_receipt(conn: Connection, subject_id: UUID) -> str:
    """The SHA-256 of the receipt's body, by which the ledger proves it."""
    body = get_receipt(conn, subject_id).splitlines()[0]
    return hashlib.sha256(body.encode()).hexdigest()


def close_subject(conn: Connection, subject_id: UUID) -> None:
    """The last thing kept about a person goes: the address, and the key it was sealed with."""
    require_transaction(conn)
    row = conn.execute(
        """update subject set state = 'erased', address_digest = null, address_sealed = null
           where subject_id = %(id)s returning key_id""",
        {"id": subject_id},
    ).fetchone()
    if row is not None:
        erase_keys(conn, [row[0]])
