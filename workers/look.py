"""The second look: in come faces near the cut, out come better vectors of them, from the pictures they were found in.

Few faces come near the cut, so time is free here: f32, at two detector scales, one of them mirrored. The picture is
still there, for nothing erases it before its faces are decided.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np

from vault.errors import BlobError, InputRefused, KeyFileError
from vault.log import get_logger
from vault.store.blobs import read_blob
from workers.context import Context
from workers.faces.align import Pixels

log = get_logger(__name__)


class Seen(Protocol):
    """A face that was found in a picture: a probe, or one that its person judged."""

    @property
    def face_id(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def landmarks(self) -> tuple[float, ...]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """`template`: the keyed vector, little-endian f32; `length`: of the raw vector; `factor`: by which scores are
    multiplied."""

    template: bytes
    length: float
    factor: float


class Kept(Protocol):
    """A face with the template that was kept of it, if any."""

    @property
    def pack(self) -> str: ...
    @property
    def matrix_id(self) -> str: ...
    @property
    def template(self) -> bytes | None: ...


def read_kept(context: Context, face: Kept) -> bytes | None:
    """Its template as it is compared today (little-endian f32), one kept since before there was a space brought into
    it; None where there is none of this pack and key."""
    pack, matrix_id, dimension = context.segments.kind
    if face.template is None or face.pack != pack or len(face.template) != 4 * dimension:
        return None
    if face.matrix_id == matrix_id:
        return face.template
    renewed = context.keys.renew_templates(np.frombuffer(face.template, "<f4").astype(np.float32)[None], face.matrix_id)
    return None if renewed is None else bytes(renewed[0].astype("<f4").tobytes())


def look_again(context: Context, probes: Sequence[Seen]) -> dict[int, Look]:
    """face -> look, for those whose picture can still be opened and gives a usable vector."""
    if not probes:
        return {}
    cut_out = list(cut_faces(context, probes))
    if not cut_out:
        return {}
    vectors, lengths = context.engine.embed_again([views for _, views in cut_out])
    usable = lengths > 0
    if not usable.any():
        return {}
    factors = context.space.weigh(lengths[usable])
    keyed = context.keys.protect_templates(vectors[usable])
    faces = [face_id for (face_id, _), good in zip(cut_out, usable.tolist(), strict=True) if good]
    return {
        face_id: Look(template=vector.astype("<f4").tobytes(), length=float(length), factor=float(factor))
        for face_id, vector, length, factor in zip(faces, keyed, lengths[usable], factors, strict=True)
    }


def cut_faces(context: Context, probes: Sequence[Seen]) -> Iterator[tuple[int, list[Pixels]]]:
    """(face_id, views), by the landmarks that the first look found; each picture is opened once."""
    for sha256, group in groupby(sorted(probes, key=lambda probe: probe.sha256), key=lambda probe: probe.sha256):
        try:
            picture = context.decoder.open_picture(read_blob(context.conn, context.keys, context.blobs, sha256))
        except (BlobError, InputRefused, KeyFileError) as exc:
            log.debug("no second look at a picture", code=exc.stable_code)  # is made only near somebody enrolled
            continue
        seen = list(group)
        landmarks = [np.array(probe.landmarks, np.float32).reshape(5, 2) * np.float32(picture.scale) for probe in seen]
        views = context.engine.view_faces(picture.pixels, landmarks)
        yield from zip((probe.face_id for probe in seen), views, strict=True)
