"""Step 4: sample images become faces. In come claimed samples, out go face rows with keyed templates, or a refusal.

Bytes are decrypted here and opened in the box; faces of the whole batch are embedded at once; then everything is
written in one transaction, which also erases pictures that nobody needs any more.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from vault.box import Child
from vault.errors import BlobError, InputRefused, KeyFileError
from vault.gate import PDQ_LONG_SIDE, hash_md5, record_hit
from vault.log import get_logger
from vault.records import Face, Outcome, Sample
from vault.steps import Step
from vault.store.blobs import drop_files, erase_blob, read_blob, release_blobs
from vault.store.faces import save_faces
from vault.store.samples import find_place, list_samples, refuse_content, set_size
from vault.store.work import IMAGES, Claim, extend_lease, fail_row, finish_rows
from workers.context import Context
from workers.faces.align import Pixels
from workers.faces.engine import FoundFace

BATCH = 32
RENEW_SECONDS = 10.0
TRANSIENT = {"decoder_died", "decoder_timeout", "decoder_memory"}  # worth another attempt; the rest is final

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A sample, and what was in it: a picture's size and faces, or why it was refused."""

    sample: Sample
    size: tuple[int, int] = (0, 0)
    scale: float = 1.0
    faces: tuple[FoundFace, ...] = ()
    refused: InputRefused | BlobError | KeyFileError | None = None
    listed: tuple[str, str] | None = None  # MD5, SHA-256, where the picture may not be kept


def embed_samples(context: Context) -> int:
    """One batch; returns how many samples it took up."""
    claim = context.claim(IMAGES, BATCH)
    if claim is None:
        return 0
    opened = open_samples(context, claim)
    crops = [face.crop for each in opened for face in each.faces if face.crop is not None]
    templates = protect_crops(context, crops)
    save_batch(context, claim, opened, templates)
    context.asker.ask(Step.MATCH_FACES)
    return len(claim.ids)


def open_samples(context: Context, claim: Claim) -> list[Opened]:
    """Decode and detect, one sample after the other, renewing the lease if hostile ones take their time."""
    opened: list[Opened] = []
    renewed = time.monotonic()
    with context.box.batch() as child:
        for sample in list_samples(context.conn, claim.ids):
            opened.append(open_sample(context, child, sample))
            if time.monotonic() - renewed > RENEW_SECONDS:
                extend_lease(context.conn, IMAGES, claim.ids, claim.token)
                renewed = time.monotonic()
    return opened


def open_sample(context: Context, child: Child, sample: Sample) -> Opened:
    try:
        data = read_blob(context.conn, context.keys, context.blobs, sample.sha256)
        if context.gate.looks_at_pixels and context.gate.is_similar(child.open_picture(data, PDQ_LONG_SIDE).pixels):
            return Opened(sample=sample, refused=InputRefused("hash_listed"), listed=(hash_md5(data), sample.sha256))
        picture = child.open_picture(data)
    except (InputRefused, BlobError, KeyFileError) as exc:
        return Opened(sample=sample, refused=exc)
    return Opened(
        sample=sample,
        size=(picture.width, picture.height),
        scale=picture.scale,
        faces=tuple(context.engine.find_faces(picture.pixels)),
    )


def protect_crops(context: Context, crops: list[Pixels]) -> list[bytes | None]:
    """A keyed template for each crop, None where the model gave no usable vector."""
    if not crops:
        return []
    vectors = context.engine.embed_crops(crops)
    usable = np.any(vectors != 0, axis=1)
    keyed = iter(context.keys.protect_templates(vectors[usable]))
    return [next(keyed).astype("<f4").tobytes() if good else None for good in usable.tolist()]


def save_batch(context: Context, claim: Claim, opened: list[Opened], templates: list[bytes | None]) -> None:
    """Faces, states, refusals and released pictures in one transaction. Raises LeaseLost: then nothing is written."""
    remaining = iter(templates)
    conn = context.conn
    with conn.transaction():
        done = [each for each in opened if each.refused is None]
        for each in done:
            faces = [make_face(context, number, face, each.scale, remaining) for number, face in enumerate(each.faces)]
            save_faces(conn, each.sample.sample_id, faces)
            set_size(conn, each.sample.sample_id, *each.size)
        finish_rows(conn, IMAGES, [each.sample.sample_id for each in done], claim.token)
        for each in opened:
            if each.refused is not None:
                code = each.refused.stable_code
                fail_row(
                    conn, IMAGES, each.sample.sample_id, claim.token, code, each.refused.message,
                    final=code not in TRANSIENT,
                )  # fmt: skip
                log.info("a sample was refused", sample_id=each.sample.sample_id, code=code)
        finished = [each.sample.sha256 for each in opened if each.refused is None or not is_transient(each)]
        litter = release_blobs(conn, finished)
        for each in opened:
            if each.listed is not None:
                litter += erase_listed(context, each.sample, each.listed)
    drop_files(conn, context.blobs, litter)


def erase_listed(context: Context, sample: Sample, digests: tuple[str, str]) -> list[UUID]:
    """Nothing but digest, place and time remains of a picture that may not be kept, whoever else shows it, and its
    source stops. Returns the keys whose files are to be unlinked."""
    conn = context.conn
    record_hit(conn, context.settings, *digests, find_place(conn, sample.sample_id), sample.source_id, how="PDQ")
    refuse_content(conn, sample.sha256, "hash_listed")
    return erase_blob(conn, sample.sha256)


def is_transient(each: Opened) -> bool:
    return each.refused is not None and each.refused.stable_code in TRANSIENT


def make_face(context: Context, ordinal: int, face: FoundFace, scale: float, templates: Iterator[bytes | None]) -> Face:
    """The row of a found face, in pixels of the picture as sent; one that is too small is counted, not matched."""
    template = next(templates) if face.crop is not None else None
    x, y, width, height = (value / scale for value in face.box)
    return Face(
        ordinal=ordinal,
        x=x,
        y=y,
        width=width,
        height=height,
        landmarks=tuple(float(value) / scale for value in face.landmarks.ravel()),
        score=face.score,
        sharpness=face.sharpness,
        pack=context.engine.pack.name,
        matrix_id=context.keys.matrix_id(context.engine.pack.dimension),
        template=template,
        outcome=None if template is not None else Outcome.LOW_QUALITY,
    )
