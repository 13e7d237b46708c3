"""Segments of the index of harvested faces: in come rows of kept faces, out go files. One writer at a time.

Faces that expire on one day lie together, so that retention drops whole files. A segment that holds expired faces is
written anew without them within the hour; small ones of a day grow together. Nothing here is the truth: a file that is
missing or damaged, or that this machine never had, is written again from rows (`open_segment`).
"""

import datetime as dt
import time
from collections.abc import Sequence

import numpy as np

from matcher.generations import Ids
from matcher.segments import (
    MOST_FACES,
    Segment,
    drop_other_segments,
    make_scratch,
    save_segment,
    writing,
)
from vault.errors import IndexFileError
from vault.keys import UNIT_TOLERANCE, Vectors
from vault.log import get_logger
from vault.steps import Step
from vault.store import Connection
from vault.store.hunts import move_parts, search_fresh_again
from vault.store.segments import (
    READ_ROWS,
    SegmentRow,
    add_segment,
    count_fresh_faces,
    draw_segment_id,
    drop_fresh_faces,
    drop_gone_segments,
    drop_segments,
    find_dead_segment,
    get_segment_faces,
    has_dead_segments,
    keep_fresh_faces,
    list_fresh_faces,
    list_kept_faces,
    list_kept_ids,
    list_placed_faces,
    list_segment_ids,
    list_segments,
    lock_segments,
)
from vault.store.writers import SEGMENTS, WRITERS, check_writer, release_writer, take_writer
from workers.context import Context

FRESH_FACES = 20_000  # as many faces in no segment are worth one; a search of them reads rows
FRESH_SECONDS = 600.0  # or the oldest of them has waited so long
DEAD_SECONDS = 3600.0  # how long an expired face may lie in a file beside others that have not expired
COUNT_SECONDS = 600.0  # how often kept faces are held against those in segments
COUNTED_ROWS = 200_000
GROWTH = 4  # small segments of a day are joined with new faces, up to so many times their number

log = get_logger(__name__)


def build_segments(context: Context) -> int:
    """Drop what has expired, then write one segment if one is due; returns how many were written. Raises LeaseLost when
    another process began that took us for gone."""
    conn = context.conn
    writer = take_writer(conn, SEGMENTS)
    if writer is None:
        return 0
    context.heartbeat.hold(WRITERS, [SEGMENTS], writer)
    try:
        drop_expired_segments(context)
        if time.monotonic() - context.faces_counted > COUNT_SECONDS:
            find_lost_faces(context)
            context.faces_counted = time.monotonic()
        built = build_one(context, writer)
        kept = list_segment_ids(conn)
        check_writer(conn, SEGMENTS, writer)
        drop_other_segments(context.segments.folder, kept)
        context.segments.forget_others(kept)
    finally:
        context.heartbeat.release(writer)
        if not conn.broken:
            release_writer(conn, SEGMENTS, writer)
    return built


def segments_are_due(conn: Connection) -> bool:
    faces, seconds = count_fresh_faces(conn)
    return faces >= FRESH_FACES or (faces > 0 and seconds >= FRESH_SECONDS) or has_dead_segments(conn, DEAD_SECONDS)


def drop_expired_segments(context: Context) -> None:
    """Those whose last face has expired."""
    conn, (pack, matrix_id, _) = context.conn, context.segments.kind
    with conn.transaction():
        lock_segments(conn)
        dropped = drop_gone_segments(conn, pack, matrix_id)
    if dropped:
        log.info("retention dropped segments", count=dropped)


def find_lost_faces(context: Context) -> int:
    """Faces whose template is kept, but which are in no segment and wait for none (its row was lost, or dropped by a
    wrong clock), wait for one again, and hunts look at them; how many. Only the writer may look: nobody else moves
    faces meanwhile."""
    conn, (pack, matrix_id, _) = context.conn, context.segments.kind
    blocks = [np.empty(0, np.int64)]
    while block := list_kept_ids(conn, pack, int(blocks[-1][-1]) if len(blocks) > 1 else 0, COUNTED_ROWS):
        blocks.append(np.array(block, np.int64))
    # read last: a face comes to one of the two when it is kept, and goes from one to the other
    placed = np.frombuffer(b"".join(list_placed_faces(conn, pack, matrix_id)), "<i8")
    lost = np.setdiff1d(np.concatenate(blocks), placed).tolist()
    if lost:
        with conn.transaction():
            lock_segments(conn)
            keep_fresh_faces(conn, lost)
            hunts = search_fresh_again(conn, pack)
        log.warning("kept faces were in no segment; they come to one again", count=len(lost), hunts=hunts)
    return len(lost)


def build_one(context: Context, writer: int) -> int:
    """New faces of the day that expires first, with that day's small segments; or a segment without its dead."""
    conn, (pack, matrix_id, _) = context.conn, context.segments.kind
    faces, seconds = count_fresh_faces(conn)
    if faces >= FRESH_FACES or (faces and seconds >= FRESH_SECONDS):
        fresh = list_fresh_faces(conn)
        day = fresh[0][1].astimezone(dt.UTC).date()
        face_ids = [face_id for face_id, expires in fresh if expires.astimezone(dt.UTC).date() == day][:MOST_FACES]
        write_segment(
            context, choose_joined(list_segments(conn, pack, matrix_id), day, len(face_ids)), face_ids, writer=writer
        )
        return 1
    dead = find_dead_segment(conn, pack, matrix_id, DEAD_SECONDS)
    if dead is None:
        return 0
    write_segment(context, [dead], [], writer=writer)
    return 1


def choose_joined(segments: Sequence[SegmentRow], day: dt.date, fresh: int) -> list[SegmentRow]:
    """The segments of a day that so many new faces are to be joined with: each at most GROWTH times what is there."""
    joined, total = [], fresh
    for segment in sorted(segments, key=lambda each: each.faces):
        of_day = (
            segment.first_expires.astimezone(dt.UTC).date() == segment.last_expires.astimezone(dt.UTC).date() == day
        )
        if of_day and segment.faces <= GROWTH * total and total + segment.faces <= MOST_FACES:
            joined.append(segment)
            total += segment.faces
    return joined


def write_segment(
    context: Context, old: list[SegmentRow], fresh: list[int], *, writer: int | None = None
) -> int | None:
    """One segment of what is still kept of `old` and `fresh`, in their place; its id, None if nothing is kept. Raises
    LeaseLost if `writer` is not the writer any more.

    The file is written first; then rows, parts of hunts and the end of the old ones come in one transaction. After a
    kill in between, a file without a row is left, which the next build removes.
    """
    conn, segments = context.conn, context.segments
    pack, matrix_id, dimension = segments.kind
    lists = [np.frombuffer(get_segment_faces(conn, each.segment_id) or b"", "<i8") for each in old]
    wanted = np.unique(np.concatenate([*lists, np.array(fresh, np.int64)]))
    ids, vectors, expires = read_faces(context, wanted)
    row: SegmentRow | None = None
    if len(ids):
        row = SegmentRow(
            segment_id=draw_segment_id(conn), pack=pack, matrix_id=matrix_id, faces=len(ids),
            first_expires=min(expires), last_expires=max(expires),
        )  # fmt: skip
        with writing(segments.folder):
            save_segment(segments.folder, segment_id=row.segment_id, ids=ids, vectors=vectors, pack=pack,
                         matrix_id=matrix_id, dimension=dimension)  # fmt: skip
    with conn.transaction():
        lock_segments(conn)
        if row is not None:
            add_segment(conn, row, ids.astype("<i8").tobytes())
            move_parts(conn, row.segment_id, [each.segment_id for each in old], fresh=bool(fresh))
        drop_fresh_faces(conn, fresh)
        drop_segments(conn, [each.segment_id for each in old])
        if writer is not None:
            check_writer(conn, SEGMENTS, writer)
    log.info("a segment was built", segment_id=row and row.segment_id, faces=len(ids), instead_of=len(old))
    if row is not None:
        context.asker.ask(Step.HUNT_FACES)
    return row.segment_id if row else None


def read_faces(context: Context, face_ids: Ids) -> tuple[Ids, Vectors, list[dt.datetime]]:
    """Ids, vectors and ends of those of the ascending `face_ids` that are still kept; what was kept before there was a
    space is brought into it, and a vector that may not be indexed (of another pack or key, not finite, not unit, of
    another length) is left out and counted."""
    pack, _, dimension = context.segments.kind
    vectors, refused = make_scratch(context.segments.folder, len(face_ids), dimension), 0
    ids, expires = list[int](), list[dt.datetime]()
    for start in range(0, len(face_ids), READ_ROWS):
        everything = list_kept_faces(context.conn, face_ids[start : start + READ_ROWS].tolist())
        rows = [row for row in everything if (row.pack, len(row.template)) == (pack, 4 * dimension)]
        block = np.frombuffer(b"".join(row.template for row in rows), "<f4").reshape(len(rows), dimension).copy()
        with np.errstate(all="ignore"):
            good = np.abs(np.linalg.norm(block, axis=1) - 1) <= UNIT_TOLERANCE  # false for NaN and infinity
        for matrix_id in sorted({row.matrix_id for row in rows}):
            same = good & np.array([row.matrix_id == matrix_id for row in rows])
            renewed = context.keys.renew_templates(block[same].astype(np.float32), matrix_id)
            if renewed is None:
                good &= ~same
            else:
                block[same] = renewed
        vectors[len(ids) : len(ids) + int(good.sum())] = block[good]
        ids += [row.face_id for row, is_good in zip(rows, good, strict=True) if is_good]
        expires += [row.expires_at for row, is_good in zip(rows, good, strict=True) if is_good]
        refused += len(everything) - int(good.sum())
    if refused:
        log.warning("kept faces whose vectors may not be indexed were left out", count=refused)
    return np.array(ids, np.int64), vectors[: len(ids)], expires


def open_segment(context: Context, segment_id: int) -> Segment | None:
    """The segment, written anew from rows where its file is missing or refused; None if its row is gone."""
    segments = context.segments
    try:
        return segments.open(segment_id)
    except IndexFileError as exc:
        log.warning("a segment is built from rows", segment_id=segment_id, code=exc.case, why=exc.message)
    with writing(segments.folder):
        try:
            return segments.open(segment_id)  # another process has just done it
        except IndexFileError:
            pass
        listed = get_segment_faces(context.conn, segment_id)
        if listed is None:
            return None
        pack, matrix_id, dimension = segments.kind
        ids, vectors, _ = read_faces(context, np.frombuffer(listed, "<i8"))
        save_segment(segments.folder, segment_id=segment_id, ids=ids, vectors=vectors, pack=pack,
                     matrix_id=matrix_id, dimension=dimension)  # fmt: skip
        return segments.open(segment_id)
