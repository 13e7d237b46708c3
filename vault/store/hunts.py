"""Rows of `hunt` and `hunt_part`: templates that are searched among the faces already known, a segment at a time."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql

from vault.store import Connection, require_transaction
from vault.store.rows import record_row
from vault.store.segments import lock_segments
from vault.store.work import HUNT_PARTS


@dataclass(frozen=True, kw_only=True, slots=True)
class HuntRow:
    """A hunt with its progress. `quarantined`: parts that failed five times; `matches`: those in open sources."""

    hunt_id: int
    state: str
    parts: int
    parts_done: int
    quarantined: int
    faces: int
    matches: int
    created_at: dt.datetime
    finished_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HuntPart:
    part_id: int
    hunt_id: int
    template_id: int
    segment_id: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownMatch:
    """What is known already of a face: who it was matched with."""

    face_id: int
    template_id: int
    subject_id: UUID
    consent_id: UUID
    score: float


def has_new_hunts(conn: Connection, pack: str) -> bool:
    """Is there a live template that no hunt was begun for and may be? Two approvers have signed its enrolment."""
    row = conn.execute(
        """select 1 from template join live_consent using (subject_id)
           where sealed is not null and pack = %(pack)s and template.state = 'done'
             and exists (select from subject where subject.subject_id = template.subject_id and hunts_from <= now())
             and not exists (select 1 from hunt where hunt.template_id = template.template_id) limit 1""",
        {"pack": pack},
    ).fetchone()
    return row is not None


def begin_hunts(conn: Connection, pack: str, matrix_id: str) -> int:
    """A hunt for each live template that has none and may have one, with a part a segment and one for the faces in
    none; how many.

    Each hunt draws a fencing token after its template was committed. A claim of faces with a later token reads the
    gallery later, so it knows the template; faces of earlier claims are hunted once those claims have ended (see
    HUNT_PARTS), whatever their holders do.
    """
    with conn.transaction():
        lock_segments(conn)
        return conn.execute(
            """with new as (
                   insert into hunt (template_id, fence)
                   select template_id, nextval('fencing_token') from template join live_consent using (subject_id)
                   where sealed is not null and pack = %(pack)s and template.state = 'done'
                     and exists (select from subject
                                 where subject.subject_id = template.subject_id and hunts_from <= now())
                     and not exists (select 1 from hunt where hunt.template_id = template.template_id)
                   on conflict do nothing returning hunt_id),
               parts as (
                   insert into hunt_part (hunt_id, segment_id)
                   select hunt_id, segment_id from
                       (select segment_id from segment where pack = %(pack)s and matrix_id = %(matrix)s
                        union all select null) as each, new
                   order by segment_id nulls last, hunt_id)
               select from new""",
            {"pack": pack, "matrix": matrix_id},
        ).rowcount


def end_lapsed_claims(conn: Connection) -> int:
    """Claims of faces that are older than a hunt which waits for them, and whose lease is over, lose their token: a
    holder that comes back late can finish nothing. Their rows are claimed again. Returns how many rows."""
    return conn.execute(
        """with held as materialized (  -- always in the same order
               select face_id from face
               where attempts > 0 and state = 'running'
                 and (lease_until < clock_timestamp() or lease_until > clock_timestamp() + interval '2 minutes')
                 and token < (select max(fence) from hunt_part join hunt using (hunt_id)
                              where segment_id is null and hunt_part.state <> 'done' and hunt.state = 'running')
               order by face_id for update skip locked)
           update face set token = null, state = 'ready', not_before = null, lease_until = null
           from held where face.face_id = held.face_id"""
    ).rowcount


def move_parts(conn: Connection, new_id: int | None, old_ids: list[int], *, fresh: bool) -> None:
    """The faces of old segments (and with `fresh` some that were in none) come to a new one: hunts that have not looked
    at all of them are to look at it. Hold `lock_segments`; drop the old ones afterwards."""
    require_transaction(conn)
    if new_id is not None:
        conn.execute(
            """insert into hunt_part (hunt_id, segment_id)
               select distinct hunt_id, %(new)s::bigint from hunt_part
               where state <> 'done' and (segment_id = any(%(old)s) or (%(fresh)s and segment_id is null))
               order by 1 on conflict do nothing""",
            {"new": new_id, "old": old_ids, "fresh": fresh},
        )


def search_fresh_again(conn: Connection, pack: str) -> int:
    """Hunts for live templates look once more at the faces in no segment, for some that should have been in one were in
    none. Hold `lock_segments`. Returns how many hunts."""
    require_transaction(conn)
    return conn.execute(
        """with again as (
               update hunt_part set state = 'ready', attempts = 0, token = null, lease_until = null, not_before = null
               from hunt join template using (template_id) join live_consent using (subject_id)
               where hunt_part.hunt_id = hunt.hunt_id and hunt.state <> 'ended' and template.pack = %(pack)s
                 and segment_id is null and hunt_part.state in ('done', 'running')
               returning hunt.hunt_id)
           update hunt set state = case state when 'done' then 'running' else state end, finished_at = null
           from again where hunt.hunt_id = again.hunt_id""",
        {"pack": pack},
    ).rowcount


def find_hunted_segment(conn: Connection) -> tuple[int | None] | None:
    """The segment (None: the faces in none) of the first part that could be claimed; nothing if there is no part."""
    row = conn.execute(
        sql.SQL(
            """select segment_id from hunt_part
               where hunt_part.state = 'ready' and attempts = 0 and {only} order by part_id limit 1"""
        ).format(only=sql.SQL(HUNT_PARTS.only))
    ).fetchone()
    return (row[0],) if row else None


def list_parts(conn: Connection, part_ids: tuple[int, ...]) -> list[HuntPart]:
    with conn.cursor(row_factory=record_row(HuntPart)) as cursor:
        return cursor.execute(
            """select part_id, hunt_id, template_id, segment_id from hunt_part join hunt using (hunt_id)
               where part_id = any(%(ids)s) order by part_id""",
            {"ids": list(part_ids)},
        ).fetchall()


def list_known_matches(conn: Connection, face_ids: list[int]) -> list[KnownMatch]:
    """Matches of these faces with live consents."""
    with conn.cursor(row_factory=record_row(KnownMatch)) as cursor:
        return cursor.execute(
            """select face_id, template_id, match.subject_id, match.consent_id, score
               from match join live_consent using (consent_id)
               where face_id = any(%(ids)s)""",
            {"ids": face_ids},
        ).fetchall()


def mark_faces(conn: Connection, outcomes: dict[int, str]) -> None:
    """A hunt found them, or a judgement was taken back: keep the outcome where the source is open. Elsewhere the count
    would say how much one search of a person has found. Their template stays until it expires."""
    conn.execute(
        """update face set outcome = new.outcome
           from unnest(%(ids)s::bigint[], %(outcomes)s::text[]) as new (face_id, outcome), sample, listing, source
           where face.face_id = new.face_id and sample.sample_id = face.sample_id
             and listing.listing_id = sample.listing_id and source.source_id = listing.source_id
             and visibility = 'open'""",
        {"ids": list(outcomes), "outcomes": list(outcomes.values())},
    )


def add_progress(conn: Connection, hunt_ids: list[int], faces: list[int], matches: list[int]) -> None:
    """Parts were searched: count what was looked at and found."""
    conn.execute(
        """with held as materialized (  -- always in the same order
               select hunt_id from hunt where hunt_id = any(%(ids)s) order by hunt_id for update)
           update hunt set faces = hunt.faces + new.faces, matches = hunt.matches + new.matches
           from unnest(%(ids)s::bigint[], %(faces)s::bigint[], %(matches)s::int[]) as new (hunt_id, faces, matches)
                join held using (hunt_id)
           where hunt.hunt_id = new.hunt_id""",
        {"ids": hunt_ids, "faces": faces, "matches": matches},
    )


def close_hunts(conn: Connection) -> int:
    """Close running hunts that have nothing left to do; how many. One whose template cannot be compared with what is
    kept (it is of another key) has ended; parts that failed for another reason wait for a person."""
    return conn.execute(
        """update hunt set finished_at = now(), state = case when exists (
                   select 1 from hunt_part where hunt_part.hunt_id = hunt.hunt_id and hunt_part.state = 'quarantined')
               then 'ended' else 'done' end
           where state = 'running' and not exists (
               select 1 from hunt_part where hunt_part.hunt_id = hunt.hunt_id and hunt_part.state <> 'done'
                 and not (hunt_part.state = 'quarantined' and error_code is not distinct from 'index_other_pack'))"""
    ).rowcount


def end_hunts(conn: Connection, hunt_ids: list[int]) -> None:
    """Their person has left: what is left of them is not searched."""
    conn.execute(
        "update hunt set state = 'ended', finished_at = now() where hunt_id = any(%(ids)s) and state <> 'done'",
        {"ids": hunt_ids},
    )


def pause_hunt(conn: Connection, hunt_id: int) -> bool:
    """No further part is begun. False if it is not running."""
    return bool(
        conn.execute(
            "update hunt set state = 'paused' where hunt_id = %(id)s and state = 'running'", {"id": hunt_id}
        ).rowcount
    )


def resume_hunt(conn: Connection, hunt_id: int) -> bool:
    """Go on where it was; parts that had failed too often are tried again. False if there is nothing to go on with."""
    with conn.transaction():
        tried = conn.execute(
            """update hunt_part set state = 'ready', attempts = 0, not_before = null, error_code = null,
                      error_text = null
               where state = 'quarantined' and hunt_id =
                   (select hunt_id from hunt where hunt_id = %(id)s and state in ('running', 'paused'))""",
            {"id": hunt_id},
        ).rowcount
        resumed = conn.execute(
            "update hunt set state = 'running' where hunt_id = %(id)s and state = 'paused'", {"id": hunt_id}
        ).rowcount
    return bool(tried or resumed)


def list_hunts(conn: Connection, most: int, *, open_only: bool) -> list[HuntRow]:
    """The newest first."""
    with conn.cursor(row_factory=record_row(HuntRow)) as cursor:
        return cursor.execute(
            """select hunt_id, hunt.state, count(part_id)::int as parts,
                      count(part_id) filter (where hunt_part.state = 'done')::int as parts_done,
                      count(part_id) filter (where hunt_part.state = 'quarantined')::int as quarantined,
                      faces, matches, created_at, finished_at
               from hunt left join hunt_part using (hunt_id)
               where not %(open)s or hunt.state in ('running', 'paused')
               group by hunt_id order by hunt_id desc limit %(most)s""",
            {"open": open_only, "most": most},
        ).fetchall()


def count_hunts(conn: Connection) -> dict[str, int]:
    """state -> hunts."""
    return dict(conn.execute("select state, count(*) from hunt group by state").fetchall())
