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
from vault.phash import hash_picture
from vault.records import Face, Outcome, Sample
from vault.steps import Step
from vault.store.blobs import drop_files, erase_blob, read_blob, release_blobs
from vault.store.faces import save_faces
from vault.store.hashes import ask_linking, save_hashes
from vault.store.samples import find_place, list_samples, refuse_content, set_size
from vault.store.work import IMAGES, Claim, extend_lease, fail_row, finish_rows
from workers.context import Context
from workers.faces.align import Pixels
from workers.faces.engine import FoundFace

BATCH = 128
RENEW_SECONDS = 10.0
TRANSIENT = {"decoder_died", "decoder_timeout", "decoder_memory"}  # worth another attempt; the rest is final

Refused = InputRefused | BlobError | KeyFileError

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A sample, and what was in it: a picture's size, perceptual hash and faces, or why it was refused."""

    sample: Sample
    size: tuple[int, int] = (0, 0)
    scale: float = 1.0
    phash: bytes | None = None
    faces: tuple[FoundFace, ...] = ()
    refused: Refused | None = None
    listed: tuple[str, str] | None = None  # MD5, SHA-256, where the picture may not be kept


def embed_samples(context: Context) -> int:
    """One batch; returns how many samples it took up."""
    claim = context.claim(IMAGES, BATCH)
    if claim is None:
        return 0
    opened = open_samples(context, claim)
    crops = [face.crop for each in opened for face in each.faces if face.crop is not None]
    exact = any(each.sample.policy is Policy.RETRO for each in opened)  # what is kept can never be looked at again
    save_batch(context, claim, opened, protect_crops(context, crops, exact=exact))
    context.asker.ask(Step.LINK_DATASETS)
    context.asker.ask(Step.MATCH_FACES)
    return len(claim.ids)


def open_samples(context: Context, claim: Claim) -> list[Opened]:
    """Decode and detect: while faces are looked for in one picture, the box is at the next. Renews the lease if hostile
    ones take their time."""
    opened: list[Opened] = []
    renewed = time.monotonic()
    samples = list_samples(context.conn, claim.ids)
    places = list_places(context.conn, [sample.sha256 for sample in samples])
    with context.box.batch() as child:
        for sample, found in zip(samples, child.open_pictures(read_contents(context, child, samples, places)), strict=True):
            opened.append(look_at(context, sample, found))
            if time.monotonic() - renewed > RENEW_SECONDS:
                extend_lease(context.conn, IMAGES, claim.ids, claim.token)
                renewed = time.monotonic()
    return opened


def read_contents(
    context: Context, samples: list[Sample], places: dict[str, Place]
) -> Iterator[bytes | Refused]:
    """What lies in the blobs, one after the other, so that no more than two pictures are in memory."""
    for sample in samples:
        place = places.get(sample.sha256)
        try:
            if place is None:
                raise BlobError("blob_missing", f"no blob {sample.sha256[:16]}…: it was dropped")
            with open_blob(context.keys, context.blobs, place) as blob:
                content = blob.read_all()
        except (BlobError, KeyFileError) as exc:
            yield exc
        else:
            yield content


def look_at(context: Context, sample: Sample, found: Picture | Exception) -> Opened:
    """The faces of one picture."""
    if isinstance(found, (InputRefused, BlobError, KeyFileError)):
        return Opened(sample=sample, refused=found)
    if isinstance(found, Exception):
        raise found
    return Opened(
        sample=sample,
        size=(found.width, found.height),
        scale=found.scale,
        phash=hash_picture(found.grey, found.width, found.height),
        faces=tuple(context.engine.find_faces(found.pixels)),
    )


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
