"""Rows of `segment` and `fresh_face`: which faces lie in which part of the index, and which in none yet.

Files hold what these rows say and may be deleted at any time. Who changes the set of segments holds `lock_segments`, so
that a hunt that begins at that moment sees either the old or the new ones, with all faces in them.
"""

import datetime as dt
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vault.store import Connection, require_transaction
from vault.store.locks import Lock
from vault.store.rows import record_row

READ_ROWS = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRow:
    segment_id: int
    pack: str
    matrix_id: str
    faces: int
    first_expires: dt.datetime
    last_expires: dt.datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFace:
    """A harvested face whose template is kept: d little-endian f32 values."""

    face_id: int
    pack: str
    matrix_id: str
    template: bytes
    expires_at: dt.datetime
    length: float


def lock_segments(conn: Connection) -> None:
    """Until the transaction ends no segment comes or goes and no hunt begins, but by this transaction."""
    require_transaction(conn)
    conn.execute("select pg_advisory_xact_lock(%(lock)s)", {"lock": Lock.SEGMENTS})


def keep_fresh_faces(conn: Connection, face_ids: list[int]) -> None:
    """Note those of the faces whose template is kept, for the next segment."""
    conn.execute(
        """insert into fresh_face (face_id, expires_at)
           select face_id, expires_at from face
           where face_id = any(%(ids)s) and template is not null and expires_at is not null
           on conflict do nothing""",
        {"ids": face_ids},
    )


def drop_fresh_faces(conn: Connection, face_ids: list[int] | None = None) -> None:
    """Those that are in a segment now, or without `face_ids` those that have expired."""
    conn.execute(
        "delete from fresh_face where case when %(all)s then expires_at < now() else face_id = any(%(ids)s) end",
        {"ids": face_ids or [], "all": face_ids is None},
    )


def count_fresh_faces(conn: Connection) -> tuple[int, float]:
    """How many faces are in no segment, and for how many seconds the oldest."""
    row = conn.execute(
        "select count(*), coalesce(extract(epoch from now() - min(since)), 0) from fresh_face"
    ).fetchone()
    return (int(row[0]), float(row[1])) if row else (0, 0.0)


def list_fresh_faces(conn: Connection) -> list[tuple[int, dt.datetime]]:
    """(face_id, expires_at) of the faces in no segment, those that expire first before others."""
    return conn.execute("select face_id, expires_at from fresh_face order by expires_at, face_id").fetchall()


def list_kept_faces(conn: Connection, face_ids: Sequence[int]) -> list[KeptFace]:
    """Those of the faces whose template is still kept, by id."""
    with conn.cursor(binary=True, row_factory=record_row(KeptFace)) as cursor:
        return cursor.execute(
            """select face_id, pack, matrix_id, template, expires_at, coalesce(length, 0) as length from face
               where face_id = any(%(ids)s) and template is not null and expires_at > now() order by face_id""",
            {"ids": list(face_ids)},
        ).fetchall()


def draw_segment_id(conn: Connection) -> int:
    """The id of a segment to be: its file is written before its row."""
    row = conn.execute("select nextval(pg_get_serial_sequence('segment', 'segment_id'))").fetchone()
    assert row is not None
    return int(row[0])


def add_segment(conn: Connection, segment: SegmentRow, face_ids: bytes) -> None:
    """`face_ids`: int64, little-endian."""
    require_transaction(conn)
    conn.execute(
        """insert into segment (segment_id, pack, matrix_id, faces, face_ids, first_expires, last_expires)
           overriding system value
           values (%(id)s, %(pack)s, %(matrix)s, %(faces)s, %(ids)s, %(first)s, %(last)s)""",
        {
            "id": segment.segment_id,
            "pack": segment.pack,
            "matrix": segment.matrix_id,
            "faces": segment.faces,
            "ids": face_ids,
            "first": segment.first_expires,
            "last": segment.last_expires,
        },
    )


def drop_gone_segments(conn: Connection, pack: str, matrix_id: str) -> int:
    """Those whose last face has expired; how many. Hold `lock_segments`."""
    require_transaction(conn)
    return conn.execute(
        "delete from segment where pack = %(pack)s and matrix_id = %(matrix)s and last_expires <= now()",
        {"pack": pack, "matrix": matrix_id},
    ).rowcount


def drop_segments(conn: Connection, segment_ids: list[int]) -> None:
    """With the parts of hunts that looked at them."""
    require_transaction(conn)
    conn.execute("delete from segment where segment_id = any(%(ids)s)", {"ids": segment_ids})


def list_segment_ids(conn: Connection) -> set[int]:
    """All there are, whatever their pack."""
    return {segment_id for (segment_id,) in conn.execute("select segment_id from segment").fetchall()}


def list_segments(conn: Connection, pack: str, matrix_id: str) -> list[SegmentRow]:
    with conn.cursor(row_factory=record_row(SegmentRow)) as cursor:
        return cursor.execute(
            """select segment_id, pack, matrix_id, faces, first_expires, last_expires
               from segment where pack = %(pack)s and matrix_id = %(matrix)s order by last_expires, segment_id""",
            {"pack": pack, "matrix": matrix_id},
        ).fetchall()


def find_dead_segment(conn: Connection, pack: str, matrix_id: str, seconds: float) -> SegmentRow | None:
    """The one that has held an expired face for longest, if for so long."""
    with conn.cursor(row_factory=record_row(SegmentRow)) as cursor:
        return cursor.execute(
            """select segment_id, pack, matrix_id, faces, first_expires, last_expires from segment
               where pack = %(pack)s and matrix_id = %(matrix)s
                 and first_expires <= now() - make_interval(secs => %(seconds)s)
               order by first_expires, segment_id limit 1""",
            {"pack": pack, "matrix": matrix_id, "seconds": seconds},
        ).fetchone()


def has_dead_segments(conn: Connection, seconds: float) -> bool:
    """Is there a segment that has held an expired face for so long, or nothing else?"""
    row = conn.execute(
        """select 1 from segment
           where first_expires <= now() - make_interval(secs => %(seconds)s) or last_expires <= now() limit 1""",
        {"seconds": seconds},
    ).fetchone()
    return row is not None


def get_segment_faces(conn: Connection, segment_id: int) -> bytes | None:
    """The ids of a segment's faces (int64, little-endian); None if the segment is gone."""
    row = (
        conn.cursor(binary=True)
        .execute("select face_ids from segment where segment_id = %(id)s", {"id": segment_id})
        .fetchone()
    )
    return bytes(row[0]) if row else None


def list_kept_ids(conn: Connection, pack: str, above: int, most: int) -> list[int]:
    """The next faces, by id, whose template is kept."""
    rows = conn.cursor(binary=True).execute(
        """select face_id from face where face_id > %(above)s and template is not null and expires_at > now()
             and pack = %(pack)s order by face_id limit %(most)s""",
        {"pack": pack, "above": above, "most": most},
    )
    return [face_id for (face_id,) in rows]


def list_placed_faces(conn: Connection, pack: str, matrix_id: str) -> Iterator[bytes]:
    """The ids (int64, little-endian) of all faces that are in a segment or wait for one, in parts."""
    with conn.cursor(binary=True) as cursor:
        for (ids,) in cursor.stream(
            "select face_ids from segment where pack = %(pack)s and matrix_id = %(matrix)s",
            {"pack": pack, "matrix": matrix_id},
        ):
            yield bytes(ids)
        fresh = [face_id for (face_id,) in cursor.execute("select face_id from fresh_face")]
        yield struct.pack(f"<{len(fresh)}q", *fresh)


def count_segments(conn: Connection) -> dict[str, int]:
    """For `status`: how many segments, faces in them, and faces in none."""
    row = conn.execute(
        "select count(*), coalesce(sum(faces), 0), (select count(*) from fresh_face) from segment"
    ).fetchone()
    return dict(zip(("segments", "faces", "fresh"), map(int, row or (0, 0, 0)), strict=True))
