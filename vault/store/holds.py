"""Matches that are held for review: what waits, what a person decided, what ended undecided.

An item is what one person would be told of one dataset: all matches of it that are held for one reason. It waits
HOLD_DAYS at most; nothing of a stranger is kept longer because nobody looked.
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from vault.errors import JudgementError
from vault.keys import Keys
from vault.ledger import Kind
from vault.records import Band
from vault.store import Connection, require_transaction
from vault.store.alerts import raise_alert
from vault.store.datasets import lock_datasets
from vault.store.ledger import write_entry
from vault.store.receipts import unmatch_faces
from vault.store.rows import record_row
from vault.store.withdrawals import check_withdrawals

HOLD_DAYS = 30
PERSONS_OWN = "not_them"  # held by what its person said, which has an end of its own
STRENGTH = tuple(Band)  # weakest first


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """`hold_id`: the number of its first match, drawn by lot: gaps would count what operators may not see. `ends_at`:
    when it ends undecided."""

    hold_id: int
    subject_id: UUID
    dataset_id: int
    reason: str
    faces: int
    title: str
    source: str
    since: dt.datetime
    ends_at: dt.datetime


def list_holds(conn: Connection, most: int) -> list[Hold]:
    """What waits for an operator to look at it, those that end first before others; in open datasets."""
    with conn.cursor(row_factory=record_row(Hold)) as cursor:
        return cursor.execute(
            """select hold_id, subject_id, item.dataset_id, item.reason, faces::int as faces, title, name as source,
                      since, since + make_interval(days => %(days)s) as ends_at
               from (select (array_agg(match_id order by matched_at, match_id))[1] as hold_id, subject_id,
                            dataset_id, held as reason, count(*) as faces,
                            min(matched_at) as since, min(listing_id) as listing_id
                     from match join face using (face_id) join sample using (sample_id) join listing using (listing_id)
                     where held is not null and held <> %(own)s
                       and exists (select from shown_match where shown_match.match_id = match.match_id)
                     group by subject_id, dataset_id, held) as item
               join listing using (listing_id) join source using (source_id)
               join lateral (select title from listing_version where listing_version.listing_id = item.listing_id
                             order by version desc limit 1) as newest on true
               order by since, hold_id limit %(most)s""",
            {"days": HOLD_DAYS, "own": PERSONS_OWN, "most": most},
        ).fetchall()


def count_holds(conn: Connection) -> dict[str, int]:
    """reason -> faces that wait for a person to look at them."""
    rows = conn.execute(
        """select held, count(distinct face_id) from shown_match where held is not null and held <> %(own)s
           group by held order by held""",
        {"own": PERSONS_OWN},
    ).fetchall()
    return dict(rows)


def _lock_item(conn: Connection, hold_id: int) -> list[tuple[int, int, UUID, int, str, str]]:
    """The matches of an item: (match_id, face_id, subject_id, dataset_id, held, band). Raises JudgementError."""
    require_transaction(conn)
    lock_datasets(conn)
    rows = conn.execute(
        """select match.match_id, match.face_id, match.subject_id, listing.dataset_id, match.held, match.band
           from match as first
           join face as first_face on first_face.face_id = first.face_id
           join sample as first_sample on first_sample.sample_id = first_face.sample_id
           join listing as first_listing on first_listing.listing_id = first_sample.listing_id
           join match on match.subject_id = first.subject_id and match.held = first.held
           join face on face.face_id = match.face_id join sample on sample.sample_id = face.sample_id
           join listing on listing.listing_id = sample.listing_id
                and listing.dataset_id = first_listing.dataset_id
           where first.match_id = %(id)s and first.held <> %(own)s
             and exists (select from shown_match where shown_match.match_id = first.match_id)
           order by match.match_id for update of match""",
        {"id": hold_id, "own": PERSONS_OWN},
    ).fetchall()
    if not rows:
        raise JudgementError("hold_unknown", f"nothing is held under {hold_id}")
    return rows


def release_hold(conn: Connection, keys: Keys, hold_id: int, *, by: str, why: str) -> UUID:
    """Somebody has looked: its person is told, as they would have been. Returns the alert. Raises JudgementError,
    ConsentMissing."""
    rows = _lock_item(conn, hold_id)
    _, _, subject_id, dataset_id, reason, _ = rows[0]
    check_withdrawals(conn, [subject_id])
    band = max((Band(row[5]) for row in rows), key=STRENGTH.index)
    alert_id = raise_alert(conn, subject_id, dataset_id, band)
    conn.execute(
        "update match set held = null, alert_id = %(alert)s where match_id = any(%(ids)s)",
        {"alert": alert_id, "ids": [row[0] for row in rows]},
    )
    conn.execute("update face set outcome = 'matched' where face_id = any(%(ids)s)", {"ids": [row[1] for row in rows]})
    _note(conn, keys, hold_id, subject_id, "released", reason, by, why)
    check_withdrawals(conn, [subject_id])
    return alert_id


def drop_hold(conn: Connection, keys: Keys, hold_id: int, *, by: str, why: str) -> int:
    """Somebody has looked: nobody is told, and what was kept for it goes. Returns how many matches. Raises
    JudgementError."""
    rows = _lock_item(conn, hold_id)
    conn.execute("delete from match where match_id = any(%(ids)s)", {"ids": [row[0] for row in rows]})
    unmatch_faces(conn, [row[1] for row in rows])
    _note(conn, keys, hold_id, rows[0][2], "dropped", rows[0][4], by, why)
    return len(rows)


def _note(
    conn: Connection, keys: Keys, hold_id: int, subject_id: UUID, what: str, reason: str, by: str, why: str
) -> None:
    person = keys.digest_text(f"subject:{subject_id}")
    write_entry(conn, Kind.JUDGEMENT, about=f"hold:{hold_id}", subject=person, what=what, reason=reason, by=by, why=why)


def end_holds(conn: Connection) -> dict[str, int]:
    """Retention: what nobody decided in HOLD_DAYS ends, counted by its reason in the ledger where operators could see
    it. Returns reason -> matches."""
    require_transaction(conn)
    rows = conn.execute(
        """delete from match where held is not null and held <> %(own)s
             and matched_at < now() - make_interval(days => %(days)s)
           returning held, face_id, exists (select from shown_match where shown_match.match_id = match.match_id)""",
        {"own": PERSONS_OWN, "days": HOLD_DAYS},
    ).fetchall()
    if not rows:
        return {}
    unmatch_faces(conn, [face_id for _, face_id, _ in rows])
    counts = Counter(reason for reason, _, is_shown in rows if is_shown)
    for reason, count in sorted(counts.items()):
        write_entry(
            conn, Kind.JUDGEMENT, about="holds", what="ended undecided", reason=reason, matches=count, by="days"
        )
    return dict(counts)
