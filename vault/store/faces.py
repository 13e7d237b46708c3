"""Rows of `face`: what was found in samples, on its way to the matcher and after it."""

from vault.records import Face, Outcome, Probe, State
from vault.store import Connection
from vault.store.rows import record_row
from vault.store.segments import drop_fresh_faces, keep_fresh_faces


def save_faces(conn: Connection, sample_id: int, faces: list[Face]) -> None:
    """Add the faces of one sample. One without a template is finished at once, with its outcome."""
    conn.cursor().executemany(
        """insert into face (sample_id, ordinal, x, y, width, height, landmarks, score, sharpness, pack, matrix_id,
                             template, outcome, state)
           values (%(sample)s, %(ordinal)s, %(x)s, %(y)s, %(width)s, %(height)s, %(landmarks)s, %(score)s,
                   %(sharpness)s, %(pack)s, %(matrix)s, %(template)s, %(outcome)s, %(state)s)""",
        [
            {
                "sample": sample_id,
                "ordinal": face.ordinal,
                "x": face.x,
                "y": face.y,
                "width": face.width,
                "height": face.height,
                "landmarks": list(face.landmarks),
                "score": face.score,
                "sharpness": face.sharpness,
                "pack": face.pack,
                "matrix": face.matrix_id,
                "template": face.template,
                "outcome": face.outcome,
                "state": State.DONE if face.template is None else State.READY,
            }
            for face in faces
        ],
    )


def list_probes(conn: Connection, face_ids: tuple[int, ...]) -> list[Probe]:
    """The claimed faces, with the policy they fall under."""
    with conn.cursor(row_factory=record_row(Probe)) as cursor:
        return cursor.execute(
            """select face_id, sample_id, policy, retention_days, sample.sha256, pack, matrix_id, template,
                      face.attempts, face.token
               from face join sample using (sample_id) join listing using (listing_id) join source using (source_id)
               where face_id = any(%(ids)s) order by face_id""",
            {"ids": list(face_ids)},
        ).fetchall()


def find_datasets(conn: Connection, face_ids: list[int]) -> dict[int, int]:
    """face -> the dataset in which it was found, as it is now: hold `lock_datasets` while it matters."""
    rows = conn.execute(
        """select face_id, dataset_id from face join sample using (sample_id) join listing using (listing_id)
           where face_id = any(%(ids)s)""",
        {"ids": face_ids},
    ).fetchall()
    return dict(rows)


def close_faces(conn: Connection, outcomes: dict[int, Outcome]) -> None:
    """Keep what became of faces, and apply their source's policy: `ephemeral` drops the template now, `retro` sets the
    day on which it will be dropped."""
    conn.execute(
        """update face set outcome = new.outcome,
                  template = case when policy = 'retro' then template end,
                  expires_at = case when policy = 'retro' then now() + make_interval(days => retention_days) end
           from unnest(%(ids)s::bigint[], %(outcomes)s::text[]) as new (face_id, outcome),
                sample, listing, source
           where face.face_id = new.face_id and sample.sample_id = face.sample_id
             and listing.listing_id = sample.listing_id and source.source_id = listing.source_id""",
        {"ids": list(outcomes), "outcomes": [outcome.value for outcome in outcomes.values()]},
    )
    keep_fresh_faces(conn, list(outcomes))


def drop_expired_templates(conn: Connection) -> int:
    """Enforce retention; returns how many templates were dropped. Segments with such faces are built anew or dropped
    by `build_segments`."""
    drop_fresh_faces(conn)
    return conn.execute("update face set template = null where template is not null and expires_at < now()").rowcount


def count_kept_templates(conn: Connection) -> dict[str, int]:
    """How many strangers' templates are kept, and how many of them too long (which must be none)."""
    row = conn.execute(
        """select count(*), count(*) filter (where expires_at < now()) from face
           where template is not null and state = 'done'"""
    ).fetchone()
    return {"kept": int(row[0]), "overdue": int(row[1])} if row else {"kept": 0, "overdue": 0}
