"""Enrolment pictures become templates. In come claimed template rows, out goes a keyed vector sealed for its subject.

The picture shows one person: a second face counts unless it is much smaller or cut off by the picture's edge, as those
of bystanders are. A file that ends early is refused unless nine tenths of its rows are there; then
the face decides, as in every photo. The picture is erased in the transaction that keeps the template.
"""

from vault.errors import EnrolmentError, InputRefused, KeyFileError, VectorError
from vault.log import get_logger
from vault.records import Template
from vault.store.subjects import list_new_templates, open_picture, save_template
from vault.store.work import TEMPLATES, fail_row, finish_rows
from workers.context import Context
from workers.embed_samples import WHOLE_ENOUGH, is_final
from workers.faces.engine import FoundFace

BATCH = 8
SMALLEST_FACE = 48.0  # pixels; an enrolled face must be better than a harvested one
BYSTANDER = 0.5  # of the main face's side; a smaller face is somebody in the background

log = get_logger(__name__)


def make_templates(context: Context) -> int:
    """One batch; returns how many rows it took up."""
    claim = context.claim(TEMPLATES, BATCH)
    if claim is None:
        return 0
    for template in list_new_templates(context.conn, claim.ids):
        try:
            make_template(context, template)
        except (InputRefused, EnrolmentError, VectorError, KeyFileError) as exc:
            final = is_final(exc, claim)
            fail_row(context.conn, TEMPLATES, template.template_id, template.token, exc.stable_code, exc.message,
                     final=final)  # fmt: skip
            log.info("an enrolment picture was refused", template_id=template.template_id, code=exc.stable_code)
    return len(claim.ids)


def make_template(context: Context, template: Template) -> None:
    """Raises InputRefused, EnrolmentError (no_face, several_faces, face_unclear, photo_truncated), VectorError,
    KeyFileError, LeaseLost."""
    conn, engine = context.conn, context.engine
    with context.box.batch() as child:
        picture = child.open_picture(open_picture(conn, context.keys, template))
    if picture.truncated and picture.rows_shown < WHOLE_ENOUGH:
        raise EnrolmentError("photo_truncated", f"its file ends early: {picture.rows_shown:.0%} of it is there")
    height, width = picture.pixels.shape[:2]
    face = choose_face(engine.find_faces(picture.pixels), width, height)
    (views,) = engine.view_faces(picture.pixels, [face.landmarks])
    (length,) = engine.embed_again([views])[1].tolist()
    if context.space.is_unclear(length):
        raise EnrolmentError("face_unclear", "too blurred, too dark or turned too far away")
    keyed = context.keys.protect_templates(engine.embed_enrolled(views))[0]
    with conn.transaction():
        finish_rows(conn, TEMPLATES, [template.template_id], template.token)
        save_template(
            conn, context.keys, template, context.keys.matrix_id(engine.pack.dimension), keyed.astype("<f4").tobytes()
        )


def choose_face(faces: list[FoundFace], width: int, height: int) -> FoundFace:
    """The face of the one person in a picture of `width` x `height`. Raises EnrolmentError: no_face, several_faces."""
    large = sorted((face for face in faces if min(face.box[2:]) >= SMALLEST_FACE), key=lambda face: -min(face.box[2:]))
    if not large or large[0].crop is None:
        raise EnrolmentError("no_face", f"no face of at least {SMALLEST_FACE:.0f} pixels")
    main = large[0]
    for other in large[1:]:
        x, y, w, h = other.box
        whole = x >= 0 and y >= 0 and x + w <= width and y + h <= height
        if whole and min(w, h) >= BYSTANDER * min(main.box[2:]):
            raise EnrolmentError("several_faces", f"{len(large)} faces: a person enrols alone")
    return main
