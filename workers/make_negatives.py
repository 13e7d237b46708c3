"""Faces that a person said are not theirs become negatives. In come claimed rows, out goes a keyed vector each, sealed
for that person.

It is what decides about a probe: the vector of the second look, taken from the face's row if it is still there, else
made from the picture, which is kept as long as the alert is.
"""

from vault.errors import JudgementError, KeyFileError, LeaseLost
from vault.log import get_logger
from vault.records import JudgedFace
from vault.store.judgements import list_judged_faces, save_negative
from vault.store.work import NEGATIVES, fail_row, finish_rows
from workers.context import Context
from workers.look import look_again, read_kept

BATCH = 16

log = get_logger(__name__)


def make_negatives(context: Context) -> int:
    """One batch; returns how many rows it took up."""
    claim = context.claim(NEGATIVES, BATCH)
    if claim is None:
        return 0
    faces = list_judged_faces(context.conn, claim.ids)
    kept = {face.face_id: read_kept(context, face) for face in faces}
    looks = look_again(context, [face for face in faces if not face.exact or kept[face.face_id] is None])
    for face in faces:
        look = looks.get(face.face_id)
        try:
            keep_negative(context, face, look.template if look else kept[face.face_id])
        except LeaseLost:
            log.debug("a judgement was taken back while its faces were looked at", negative_id=face.negative_id)
        except (JudgementError, KeyFileError) as exc:
            fail_row(context.conn, NEGATIVES, face.negative_id, face.token, exc.stable_code, exc.message, final=False)
    return len(claim.ids)


def keep_negative(context: Context, face: JudgedFace, vector: bytes | None) -> None:
    """Raises JudgementError: face_gone; KeyFileError, LeaseLost."""
    conn, (pack, matrix_id, _) = context.conn, context.segments.kind
    if vector is None:
        raise JudgementError("face_gone", "neither its template nor its picture can be read any more")
    with conn.transaction():
        finish_rows(conn, NEGATIVES, [face.negative_id], face.token)
        save_negative(conn, context.keys, face, pack, matrix_id, vector)
