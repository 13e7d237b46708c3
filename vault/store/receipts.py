"""Rows of `erasure` and `receipt`: forgetting a person, and the signed proof that it was done."""

import datetime as dt
import json
from uuid import UUID, uuid4

from vault.errors import EnrolmentError
from vault.keys import Keys
from vault.store import Connection
from vault.store.keys import erase_keys


def erase_subject_rows(conn: Connection, subject_id: UUID) -> dict[str, int]:
    """Delete matches, judgements, alerts (with their deliveries and bundles), templates and negatives of a person; how
    many of each."""
    bundles = conn.execute(
        "delete from bundle using alert where bundle.alert_id = alert.alert_id and alert.subject_id = %(id)s",
        {"id": subject_id},
    ).rowcount
    matches = conn.execute("delete from match where subject_id = %(id)s", {"id": subject_id}).rowcount
    negatives = conn.execute("delete from negative where subject_id = %(id)s", {"id": subject_id}).rowcount
    judgements = conn.execute("delete from judgement where subject_id = %(id)s", {"id": subject_id}).rowcount
    alerts = conn.execute("delete from alert where subject_id = %(id)s", {"id": subject_id}).rowcount
    templates = conn.execute("delete from template where subject_id = %(id)s", {"id": subject_id}).rowcount
    return {"matches": matches, "alerts": alerts, "bundles": bundles, "templates": templates,
            "judgements": judgements, "negatives": negatives}  # fmt: skip


def list_matched_faces(conn: Connection, subject_id: UUID) -> list[tuple[int, str]]:
    """The faces in which a person was found: (face_id, digest of the picture)."""
    return conn.execute(
        """select face_id, sample.sha256 from match join face using (face_id) join sample using (sample_id)
           where subject_id = %(id)s and sample.sha256 is not null""",
        {"id": subject_id},
    ).fetchall()


def list_bundle_files(conn: Connection, subject_id: UUID) -> list[str]:
    rows = conn.execute(
        """select file from bundle join alert using (alert_id)
           where subject_id = %(id)s and file is not null""",
        {"id": subject_id},
    ).fetchall()
    return [file for (file,) in rows]


def unmatch_faces(conn: Connection, face_ids: list[int]) -> None:
    """Those of the faces whose last match was erased count as unmatched, so their pictures are no longer kept."""
    conn.execute(
        """update face set outcome = 'unmatched' where face_id = any(%(ids)s)
           and not exists (select 1 from match where match.face_id = face.face_id)""",
        {"ids": face_ids},
    )


def save_receipt(conn: Connection, keys: Keys, subject_id: UUID, erased: dict[str, int]) -> UUID:
    """The signed receipt: what was erased and when. It names nobody; the person holds its id."""
    receipt_id = uuid4()
    table = {
        "receipt": str(receipt_id),
        "erased_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "erased": erased,
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


def close_subject(conn: Connection, subject_id: UUID) -> None:
    """The last thing kept about a person goes: the address, and the key it was sealed with."""
    row = conn.execute(
        """update subject set state = 'erased', address_digest = null, address_sealed = null
           where subject_id = %(id)s returning key_id""",
        {"id": subject_id},
    ).fetchone()
    if row is not None:
        erase_keys(conn, [row[0]])
