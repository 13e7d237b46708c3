"""Rows of `face`: what was found in samples, on its way to the matcher and after it."""

from collections.abc import Iterable
from dataclasses import dataclass

from vault.errors import LeaseLost
from vault.records import Face, Outcome, Probe, State
from vault.store import Connection
from vault.store.rows import record_row
from vault.store.segments import drop_fresh_faces, keep_fresh_faces


def save_faces(conn: Connection, faces: Iterable[tuple[int, Face]]) -> None:
    """Add the faces of samples, (sample_id, face) each. One without a template is finished at once, with its
    outcome."""
    with conn.cursor() as cursor:
        with cursor.copy(
            """copy face (sample_id, ordinal, x, y, width, height, landmarks, score, sharpness, length, yaw, exposure,
                          exact, pack, matrix_id, template, outcome, state) from stdin"""
        ) as copy:
            for sample_id, face in faces:
                state = State.DONE if face.template is None else State.READY
                copy.write_row(
                    (sample_id, face.ordinal, face.x, face.y, face.width, face.height,
                     "{" + ",".join(map(repr, face.landmarks)) + "}", face.score,
                     face.sharpness, face.length, face.yaw, face.exposure, face.exact, face.pack, face.matrix_id,
                     face.template, face.outcome, state.value)
                )  # fmt: skip


def list_probes(conn: Connection, face_ids: tuple[int, ...]) -> list[Probe]:
    """The claimed faces, with the policy they fall under."""
    with conn.cursor(row_factory=record_row(Probe)) as cursor:
        return cursor.execute(
            """select face_id, sample_id, policy, retention_days, sample.sha256, pack, matrix_id, template, exact,
                      landmarks, length, face.attempts, face.token
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


@dataclass(frozen=True, kw_only=True, slots=True)
class UnmatchedFace:
    """A stranger's face that is kept and matched nobody, with where it was found."""

    face_id: int
    template: bytes
    length: float | None
    sha256: str
    dataset_id: int


def list_unmatched_faces(conn: Connection, pack: str, matrix_id: str, most: int) -> list[UnmatchedFace]:
    """The newest faces that are kept, decided and matched nobody, of open sources: counted with faces that one operator
    alone chose, they would say where those are."""
    with conn.cursor(row_factory=record_row(UnmatchedFace)) as cursor:
        return cursor.execute(
            """select face_id, template, length, sample.sha256, dataset_id
               from face join sample using (sample_id) join listing using (listing_id) join source using (source_id)
               where template is not null and outcome = 'unmatched' and visibility = 'open' and exact
                 and pack = %(pack)s
                 and matrix_id = %(matrix)s and (expires_at is null or expires_at > now())
               order by face_id desc limit %(most)s""",
            {"pack": pack, "matrix": matrix_id, "most": most},
        ).fetchall()


def save_looks(conn: Connection, looks: dict[int, tuple[bytes, float]], matrix_id: str) -> None:
    """Keep the better vectors that a second look gave: face -> (vector under this key, length of the raw one)."""
    conn.execute(
        """update face set template = new.template, length = new.length, exact = true, matrix_id = %(matrix)s
           from unnest(%(ids)s::bigint[], %(templates)s::bytea[], %(lengths)s::real[]) as new (id, template, length)
           where face_id = new.id""",
        {
            "ids": list(looks),
            "templates": [template for template, _ in looks.values()],
            "lengths": [length for _, length in looks.values()],
            "matrix": matrix_id,
        },
    )


def close_faces(conn: Connection, outcomes: dict[int, Outcome], token: int) -> None:
    """Mark claimed faces done with what became of them, as far as their source may tell, and apply its policy:
    `ephemeral` drops the template now, `retro` sets the day on which it will be dropped. Raises LeaseLost (roll back!)
    if any is not ours any more."""
    done = conn.execute(
        """update face set outcome = told_outcome(visibility, new.outcome),
                  template = case when policy = 'retro' then template end,
                  expires_at = case when policy = 'retro' then now() + make_interval(days => retention_days) end,
                  state = 'done', lease_until = null, error_code = null, error_text = null
           from unnest(%(ids)s::bigint[], %(outcomes)s::text[]) as new (face_id, outcome),
                sample, listing, source
           where face.face_id = new.face_id and sample.sample_id = face.sample_id
             and listing.listing_id = sample.listing_id and source.source_id = listing.source_id
             and face.token = %(token)s and face.state = 'running'""",
        {
            "ids": list(outcomes),
            "outcomes": [outcome.value for outcome in outcomes.values()],
            "token": token,
        },
    ).rowcount
    if done != len(outcomes):
        raise LeaseLost(f"{len(outcomes) - done} of {len(outcomes)} rows of face are no longer ours")
    keep_fresh_faces(conn, list(outcomes))


def drop_expired_templates(conn: Connection) -> int:
    """Enforce retention; returns how many templates were dropped. Segments with such faces are built anew or dropped
    by `build_segments`."""
    drop_fresh_faces(conn)
    return conn.execute("update face set template = null where template is not null and expires_at < now()").rowcount


def count_kept_templates(conn: Connection) -> dict[str, int]:
    """How many strangers' templates are kept, negatives that operators may know of among them, and how many of them too
    long (which must be none)."""
    row = conn.execute(
        """select count(*), count(*) filter (where expires_at < now())
           from (select expires_at from face where template is not null and state = 'done'
                 union all select expires_at from shown_negative where made) as each"""
    ).fetchone()
    return {"kept": int(row[0]), "overdue": int(row[1])} if row else {"kept": 0, "overdue": 0}
