"""How far everybody is who was enrolled: states and reasons, for operators. Never a face, an address or an alert."""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from vault.records import State
from vault.store import Connection
from vault.store.rows import record_row
from vault.store.subjects import UNCONFIRMED_DAYS


class PersonState(StrEnum):
    UNCONFIRMED = "waits for their confirmation"
    PHOTO = "their photo is being looked at"
    REFUSED = "their photo was refused"
    SEARCHED = "searched"
    LEAVING = "withdrawn; the erasure runs"
    STUCK = "withdrawn; the erasure needs a person"


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One enrolment. `since`: of the state; `code`, `reason`: why a photo was refused, or an erasure stopped."""

    subject_id: UUID
    state: PersonState
    since: dt.datetime
    recorded_by: str
    enrolled_at: dt.datetime
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    subject_id: UUID
    recorded_by: str
    granted_at: dt.datetime
    confirmed_at: dt.datetime | None
    withdrawn_at: dt.datetime | None
    made_at: dt.datetime | None
    photo: str
    photo_code: str
    photo_text: str
    erasure: str
    erasure_code: str
    erasure_text: str


def list_people(conn: Connection, subject_id: UUID | None = None) -> list[Person]:
    """Everybody who is enrolled, the newest first, or one of them; who was erased is not among them."""
    with conn.cursor(row_factory=record_row(_Row)) as cursor:
        rows = cursor.execute(
            """select subject.subject_id, recorded_by, granted_at, confirmed_at,
                      (select min(withdrawn_at) from withdrawal
                       where withdrawal.subject_id = subject.subject_id) as withdrawn_at,
                      template.created_at as made_at,
                      coalesce(template.state::text, 'done') as photo, coalesce(template.error_code, '') as photo_code,
                      coalesce(template.error_text, '') as photo_text,
                      coalesce(erasure.state::text, '') as erasure, coalesce(erasure.error_code, '') as erasure_code,
                      coalesce(erasure.error_text, '') as erasure_text
               from subject join consent using (subject_id) left join erasure using (subject_id)
                    left join lateral (select * from template where template.subject_id = subject.subject_id
                                       order by template_id desc limit 1) as template on true
               where subject.state <> 'erased' and (%(id)s::uuid is null or subject.subject_id = %(id)s)
               order by granted_at desc""",
            {"id": subject_id},
        ).fetchall()
    return [_describe(row) for row in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """What came of an enrolment's photo so far: `done`, refused (`quarantined`) or still to be looked at."""

    state: State
    code: str
    reason: str


def get_photo(conn: Connection, subject_id: UUID) -> Photo | None:
    """Of the enrolment's newest photo; None if the person is gone."""
    with conn.cursor(row_factory=record_row(Photo)) as cursor:
        return cursor.execute(
            """select state, coalesce(error_code, '') as code, coalesce(error_text, '') as reason
               from template where subject_id = %(id)s order by template_id desc limit 1""",
            {"id": subject_id},
        ).fetchone()


def _describe(row: _Row) -> Person:
    state, since, code, reason = PersonState.SEARCHED, row.confirmed_at or row.granted_at, "", ""
    if row.withdrawn_at is not None:
        stuck = row.erasure == "quarantined"
        state, since = PersonState.STUCK if stuck else PersonState.LEAVING, row.withdrawn_at
        code, reason = (row.erasure_code, row.erasure_text) if stuck else ("", "")
    elif row.photo == "quarantined":
        state, since, code, reason = PersonState.REFUSED, row.granted_at, row.photo_code, row.photo_text
    elif row.confirmed_at is None:
        until = row.granted_at + dt.timedelta(days=UNCONFIRMED_DAYS)
        state, since, reason = PersonState.UNCONFIRMED, row.granted_at, f"until {until:%Y-%m-%d %H:%M} UTC"
    elif row.photo != "done":
        state, since, code, reason = PersonState.PHOTO, row.granted_at, row.photo_code, row.photo_text
    return Person(
        subject_id=row.subject_id,
        state=state,
        since=since,
        recorded_by=row.recorded_by,
        enrolled_at=row.granted_at,
        code=code,
        reason=reason,
    )
