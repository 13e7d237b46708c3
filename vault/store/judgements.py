"""Rows of `judgement` and `negative`: what a person says of an alert, and the faces that do not alert them any more.

A judgement stands until it is taken back; a negative is a stranger's vector, and kept until its day at most. Only the
ledger keeps that something was said and taken back.
"""

from itertools import groupby
from uuid import UUID

from vault.errors import JudgementError
from vault.keys import Keys, decrypt, encrypt
from vault.ledger import Kind
from vault.records import Band, JudgedFace, LiveNegative
from vault.store import Connection, require_transaction
from vault.store.alerts import raise_alert
from vault.store.clock import tick_gallery
from vault.store.datasets import lock_datasets
from vault.store.hunts import mark_faces
from vault.store.keys import get_data_key
from vault.store.ledger import write_entry
from vault.store.receipts import unmatch_faces
from vault.store.rows import record_row
from vault.store.subjects import has_consent
from vault.store.visibility import is_open_alert

MOST_FACES = 50  # of an alert that become negatives, the most alike first: more of one dataset would add little
STRENGTH = tuple(Band)  # weakest first


def judge_alert(
    conn: Connection, keys: Keys, subject_id: UUID, alert_id: UUID, *, days: int, operator: str | None = None
) -> bool:
    """The person says that they are in none of the faces of this alert; `days`: for how long those are known again.
    False if they said so before. An operator says it for them only of an alert that they may see whole: else what it
    holds back, or lets go, would tell them which alerts are one person's. Raises JudgementError: alert_unknown,
    alert_closed."""
    require_transaction(conn)
    lock_datasets(conn)
    _check_operator(conn, alert_id, operator)
    if _lock_alert(conn, subject_id, alert_id) == "dismissed":
        return False
    values = {"alert": alert_id, "subject": subject_id, "operator": operator, "days": days, "most": MOST_FACES}
    conn.execute("update alert set state = 'dismissed' where alert_id = %(alert)s", values)
    conn.execute(
        """insert into judgement (alert_id, subject_id, verdict, operator)
           values (%(alert)s, %(subject)s, 'not_me', %(operator)s)
           on conflict (alert_id) do update set operator = excluded.operator, judged_at = now()""",
        values,
    )
    conn.execute(
        """insert into negative (alert_id, subject_id, face_id, expires_at)
           select alert_id, subject_id, face_id, now() + make_interval(days => %(days)s) from match
           where alert_id = %(alert)s order by score desc, face_id limit %(most)s
           on conflict (subject_id, face_id) do nothing""",
        values,
    )
    _note(conn, keys, subject_id, alert_id, "not_me", operator)
    return True


def take_back_judgement(
    conn: Connection, keys: Keys, subject_id: UUID, alert_id: UUID, *, operator: str | None = None
) -> bool:
    """The alert is open again, its faces are forgotten, and what they held back alerts the person now. False if nothing
    was said of it. Raises JudgementError: alert_unknown, alert_closed."""
    require_transaction(conn)
    lock_datasets(conn, change=True)  # nobody writes a match meanwhile: later ones find the negative gone
    _check_operator(conn, alert_id, operator)
    _lock_alert(conn, subject_id, alert_id)
    values = {"alert": alert_id}
    conn.execute("update alert set state = 'open' where alert_id = %(alert)s", values)
    _release_matches(conn, subject_id, alert_id)
    conn.execute("delete from negative where alert_id = %(alert)s", values)
    if not conn.execute("delete from judgement where alert_id = %(alert)s", values).rowcount:
        return False
    tick_gallery(conn)
    _note(conn, keys, subject_id, alert_id, "taken_back", operator)
    return True


def get_owner(conn: Connection, alert_id: UUID) -> UUID:
    """Whose alert it is that an operator names. Raises JudgementError: alert_unknown."""
    row = conn.execute("select subject_id from shown_alert where alert_id = %(id)s", {"id": alert_id}).fetchone()
    if row is None:
        raise JudgementError("alert_unknown", "there is no such alert any more")
    owner: UUID = row[0]
    return owner


def _check_operator(conn: Connection, alert_id: UUID, operator: str | None) -> None:
    if operator is not None and not is_open_alert(conn, alert_id):
        raise JudgementError(
            "alert_closed", "one approver alone has signed the card of this source",
            mend="its person says it on their own page; or a second approver signs the card",
        )  # fmt: skip


def _lock_alert(conn: Connection, subject_id: UUID, alert_id: UUID) -> str:
    """The state of an alert of this person, whose consent is live; the alert is held until the transaction ends."""
    require_transaction(conn)
    if has_consent(conn, subject_id, confirmed=True):
        row = conn.execute(
            "select state from alert where alert_id = %(alert)s and subject_id = %(subject)s for update",
            {"alert": alert_id, "subject": subject_id},
        ).fetchone()
        if row is not None:
            return str(row[0])
    raise JudgementError("alert_unknown", "this person has no such alert")


def _release_matches(conn: Connection, subject_id: UUID, alert_id: UUID) -> None:
    """What negatives of this alert held back alerts as it would have done."""
    held = conn.execute(
        """select dataset_id, match_id, face.face_id, match.band
           from match join negative using (negative_id) join face on face.face_id = match.face_id
           join sample using (sample_id) join listing using (listing_id)
           where negative.alert_id = %(alert)s order by dataset_id, match_id""",
        {"alert": alert_id},
    ).fetchall()
    for dataset_id, rows in groupby(held, key=lambda row: row[0]):
        matches = list(rows)
        band = max((Band(row[3]) for row in matches), key=STRENGTH.index)
        conn.execute(
            """update match set held = null, negative_id = null, alert_id = %(alert)s where match_id = any(%(ids)s)""",
            {
                "alert": raise_alert(conn, subject_id, dataset_id, band, spread=True),
                "ids": [row[1] for row in matches],
            },
        )
    mark_faces(conn, {row[2]: "matched" for row in held})


def _note(conn: Connection, keys: Keys, subject_id: UUID, alert_id: UUID, what: str, operator: str | None) -> None:
    """In the ledger, which operators read: of an alert that they may see whole."""
    if not is_open_alert(conn, alert_id):
        return
    person = keys.digest_text(f"subject:{subject_id}")
    write_entry(conn, Kind.JUDGEMENT, about=str(alert_id), subject=person, what=what, by=operator or "subject")


# -- negatives --------------------------------------------------------------------------------------------------------


def list_judged_faces(conn: Connection, negative_ids: tuple[int, ...]) -> list[JudgedFace]:
    with conn.cursor(row_factory=record_row(JudgedFace)) as cursor:
        return cursor.execute(
            """select negative_id, subject_id, key_id, face_id, sample.sha256, landmarks, face.matrix_id, face.pack,
                      template, exact, negative.token
               from negative join subject using (subject_id) join face using (face_id) join sample using (sample_id)
               where negative_id = any(%(ids)s) order by negative_id""",
            {"ids": list(negative_ids)},
        ).fetchall()


def save_negative(conn: Connection, keys: Keys, face: JudgedFace, pack: str, matrix_id: str, vector: bytes) -> None:
    """Keep the keyed vector (d little-endian f32), sealed under the key of the person who judged. Raises KeyFileError:
    key_erased."""
    sealed = encrypt(get_data_key(conn, keys, face.key_id), vector, b"negative:%d" % face.negative_id)
    conn.execute(
        """update negative set sealed = %(sealed)s, pack = %(pack)s, matrix_id = %(matrix)s
           where negative_id = %(id)s""",
        {"id": face.negative_id, "sealed": sealed, "pack": pack, "matrix": matrix_id},
    )
    tick_gallery(conn)


def open_negative(keys: Keys, negative: LiveNegative) -> bytes:
    data_key = keys.unwrap_key(negative.wrapped, str(negative.key_id))
    return decrypt(data_key, negative.sealed, b"negative:%d" % negative.negative_id)


def list_live_negatives(conn: Connection, pack: str, known: list[int]) -> tuple[set[int], list[LiveNegative]]:
    """The ids of all negatives that count now, and those of them that are not `known`."""
    with conn.cursor(row_factory=record_row(LiveNegative)) as cursor:
        rows = cursor.execute(
            """select negative_id, subject_id, matrix_id, wrapped, key_id,
                      case when negative_id = any(%(known)s) then ''::bytea else sealed end as sealed
               from negative join subject using (subject_id) join live_consent using (subject_id)
                    join key using (key_id)
               where negative.state = 'done' and sealed is not null and wrapped is not null and pack = %(pack)s
                 and expires_at > now()""",
            {"known": known, "pack": pack},
        ).fetchall()
    return {row.negative_id for row in rows}, [row for row in rows if row.sealed]


def drop_expired_negatives(conn: Connection) -> int:
    """Enforce retention: negatives whose day has come, and the matches that they hold; returns how many negatives. The
    caller opens the transaction; pictures that nothing needs any more are released afterwards."""
    require_transaction(conn)
    rows = conn.execute(
        "select negative_id from negative where expires_at < now() order by negative_id for update"
    ).fetchall()  # so that no match comes to be held by one between the next two statements
    ids = {"ids": [negative_id for (negative_id,) in rows]}
    if rows:
        held = conn.execute("delete from match where negative_id = any(%(ids)s) returning face_id", ids).fetchall()
        unmatch_faces(conn, [face_id for (face_id,) in held])
        conn.execute("delete from negative where negative_id = any(%(ids)s)", ids)
        tick_gallery(conn)
    return len(rows)
