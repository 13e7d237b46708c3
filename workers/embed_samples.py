"""Step 4: sample images become faces. In come claimed samples, out go face rows with keyed templates, or a refusal.

Bytes are decrypted here and opened in the box; faces are embedded some hundreds at once; then everything is written in
one transaction, which also erases pictures that nobody needs any more. A batch ends early where pictures hold faces by
the hundred: the rest goes back uncharged, so that other steps get their turn. A truncated picture is matched like any
other, and has no perceptual hash if more than a tenth of it is missing: what was cut alike looks alike.
"""

import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from uuid import UUID

import numpy as np
import numpy.typing as npt

from vault.box import Picture
from vault.errors import BlobError, FacewardenError, InputRefused, KeyFileError
from vault.gate import PDQ_LONG_SIDE, Hit, draft_reports, hash_md5, record_hit
from vault.log import get_logger
from vault.phash import hash_pictures
from vault.records import Face, Outcome, Policy, Sample, Visibility
from vault.steps import Step
from vault.store import Connection
from vault.store.blobs import Place, drop_files, erase_blob, list_places, read_blob, read_blobs, release_blobs
from vault.store.faces import save_faces
from vault.store.hashes import ask_linking, save_hashes
from vault.store.samples import SeenPicture, find_place, finish_samples, list_samples, refuse_content
from vault.store.work import IMAGES, Claim, fail_row, put_back_rows
from workers.context import Context
from workers.faces.align import Pixels, shrink
from workers.faces.engine import FoundFace

BATCH = 256  # pictures: the last call of the model is seldom full, and a batch costs some statements
BATCH_SECONDS = 8.0  # after which no further picture of a batch is opened
PART_VIEWS = 1024  # crops of faces held at once, 38 KB each
MOST_FACES = 1000  # of a batch: some ten seconds of embedding; the picture that reaches it is the last
WHOLE_ENOUGH = 0.9  # of a truncated picture's rows, or it cannot be told from others that were cut alike
TRANSIENT = {
    "decoder_died",
    "decoder_timeout",
    "decoder_memory",
    "blob_unreadable",
}  # worth another attempt; the rest is final
DEADLINES = {"decoder_timeout", "decoder_memory"}  # one more attempt, alone

Refused = InputRefused | BlobError | KeyFileError

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A sample, and what was in it: a picture's size, perceptual hash and faces, or why it was refused. `found` and
    `views` are gone once their faces are `faces`, ready to be rows."""

    sample: Sample
    size: tuple[int, int] = (0, 0)
    scale: float = 1.0
    grey: npt.NDArray[np.uint8] | None = None  # its luminance at 32 x 32, where it is whole enough to be hashed
    truncated: bool = False
    left_out: int = 0  # faces beyond those that are looked at
    found: tuple[FoundFace, ...] = ()
    views: tuple[list[Pixels], ...] = ()  # of each face, where the first look is the last
    faces: tuple[Face, ...] = ()
    refused: Refused | None = None
    seconds: float = 0.0  # that it took to decode and to look at
    listed: tuple[str, str] | None = None  # MD5, SHA-256, where the picture may not be kept

    def count_views(self) -> int:
        return len(self.found) + sum(map(len, self.views))


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What the recogniser made of a crop: a keyed template, little-endian f32 (None where it gave no usable vector),
    the length of its raw vector, and whether it was made by a second look."""

    template: bytes | None
    length: float
    exact: bool


def embed_samples(context: Context) -> int:
    """One batch; returns how many samples it took up."""
    claim = context.claim(IMAGES, BATCH)
    if claim is None:
        return 0
    opened = embed_batch(context, claim)
    save_batch(context, claim, opened)
    if any(each.faces for each in opened):
        context.asker.ask(Step.MATCH_FACES)
    if len(claim.ids) < claim.limit:  # nothing is left: a listing whose pictures are all opened finds its dataset
        context.asker.ask(Step.LINK_DATASETS)
    return len(opened)


def embed_batch(context: Context, claim: Claim) -> list[Opened]:
    """The claimed samples with the faces of each, embedded in parts, so that few crops are held. Those that are left
    when the batch has taken long enough or holds a thousand faces go back as they came: nobody is held up."""
    done: list[Opened] = []
    part: list[Opened] = []
    started = time.monotonic()
    views = faces = 0
    with closing(open_samples(context, claim)) as coming:
        for each in coming:
            part.append(each)
            views += each.count_views()
            faces += len(each.found)
            if views >= PART_VIEWS:
                done += make_faces(context, part)
                part, views = [], 0
            if faces >= MOST_FACES or time.monotonic() - started > BATCH_SECONDS:
                break
    done += make_faces(context, part)
    if not claim.tried:
        note_costs(context, done)
    left = set(claim.ids) - {each.sample.sample_id for each in done}
    if left:
        put_back_rows(context.conn, IMAGES, sorted(left), claim.token, None, None)
    return done


def note_costs(context: Context, done: list[Opened]) -> None:
    """What the pictures of each source cost, for its share of the next claims."""
    costs: dict[int, list[float]] = defaultdict(list)
    for each in done:
        costs[each.sample.source_id].append(each.seconds)
    for source_id, seconds in costs.items():
        context.shares(IMAGES).note(source_id, len(seconds), sum(seconds))


def open_samples(context: Context, claim: Claim) -> Generator[Opened, None, None]:
    """Decode and detect: while faces are looked for in one picture, the box is at the next. Each source by itself, the
    one that had least time lately first: what takes too long in the box is charged to all that were asked for at once,
    and must not be another source's."""
    spent = {share.key: share.spent for share in context.shares(IMAGES).list(BATCH)}
    samples = sorted(
        list_samples(context.conn, claim.ids), key=lambda each: (spent.get(each.source_id, 0.0), each.source_id)
    )
    places = list_places(context.conn, [sample.sha256 for sample in samples])
    for _, group in groupby(samples, key=lambda each: each.source_id):
        yield from open_group(context, list(group), places)


def open_group(context: Context, samples: list[Sample], places: dict[str, Place]) -> Generator[Opened, None, None]:
    """The samples of one source."""
    contents = read_blobs(context.conn, context.keys, context.blobs, [sample.sha256 for sample in samples], places)
    with closing(context.decoder.open_pictures(contents)) as found:
        for sample, picture in zip(samples, found, strict=True):
            yield look_at(context, sample, picture)


def look_at(context: Context, sample: Sample, found: Picture | Exception) -> Opened:
    """The faces of one picture."""
    if isinstance(found, (InputRefused, BlobError, KeyFileError)):
        seconds = found.seconds if isinstance(found, InputRefused) else 0.0
        return Opened(sample=sample, refused=found, seconds=seconds)
    if isinstance(found, Exception):
        raise found
    if context.gate.looks_at_pixels and context.gate.is_similar(shrink(found.pixels, PDQ_LONG_SIDE)):
        data = read_blob(context.conn, context.keys, context.blobs, sample.sha256)
        return Opened(sample=sample, refused=InputRefused("hash_listed"), listed=(hash_md5(data), sample.sha256))
    began = time.monotonic()
    faces, left_out = context.engine.find_all(found.pixels)
    # where only its person is told of a match, a second look at those near one would be seen by its time
    is_last = sample.policy is Policy.RETRO or sample.visibility is Visibility.PRIVATE
    views = context.engine.view_faces(found.pixels, [face.landmarks for face in faces]) if is_last else ()
    return Opened(
        sample=sample,
        size=(found.width, found.height),
        scale=found.scale,
        grey=found.grey if found.rows_shown >= WHOLE_ENOUGH else None,
        truncated=found.truncated,
        left_out=left_out,
        found=tuple(faces),
        views=tuple(views),
        seconds=found.seconds + time.monotonic() - began,
    )


def make_faces(context: Context, opened: list[Opened]) -> list[Opened]:
    """The same samples with their faces embedded, and without pixels."""
    began = time.monotonic()
    proposals = iter(propose(context, opened))
    a_view = (time.monotonic() - began) / max(1, sum(each.count_views() for each in opened))
    return [
        replace(
            each,
            found=(),
            views=(),
            seconds=each.seconds + a_view * each.count_views(),
            faces=tuple(
                make_face(context, number, face, each.scale, proposals) for number, face in enumerate(each.found)
            ),
        )
        for each in opened
    ]


def propose(context: Context, opened: list[Opened]) -> list[Proposal]:
    """A proposal for each face of the samples that is large enough, in order. Faces of pictures that will be kept as
    templates only, or are private, are looked at as closely as can be at once, for nobody looks again."""
    engine = context.engine
    faces = [(each, number) for each in opened for number, face in enumerate(each.found) if face.crop is not None]
    vectors = np.zeros((len(faces), engine.pack.dimension), np.float32)
    lengths = np.zeros(len(faces), np.float32)
    exact = np.array([bool(each.views) for each, _ in faces], bool)
    if exact.any():
        views = [each.views[number] for (each, number), closely in zip(faces, exact, strict=True) if closely]
        vectors[exact], lengths[exact] = engine.embed_again(views)
    if not exact.all():
        crops = [each.found[number].crop for (each, number), closely in zip(faces, exact, strict=True) if not closely]
        vectors[~exact], lengths[~exact] = engine.embed_faces([crop for crop in crops if crop is not None])
    usable = np.any(vectors != 0, axis=1)
    keyed = iter(context.keys.protect_templates(vectors[usable]) if usable.any() else ())
    return [
        Proposal(template=next(keyed).astype("<f4").tobytes() if good else None, length=length, exact=closely)
        for good, length, closely in zip(usable.tolist(), lengths.tolist(), exact.tolist(), strict=True)
    ]


def save_batch(context: Context, claim: Claim, opened: list[Opened]) -> None:
    """Faces, states, refusals and released pictures in one transaction. Raises LeaseLost: then nothing is written."""
    conn = context.conn
    done = [each for each in opened if each.refused is None]
    faces = [(each.sample.sample_id, face) for each in done for face in each.faces]
    hits = {each.sample.sample_id: name_hit(conn, each.sample, each.listed) for each in opened if each.listed}
    draft_reports(context.settings, hits.values())
    with conn.transaction():
        save_faces(conn, faces)
        save_hashes(conn, hash_opened(done))
        ask_linking(conn, (each.sample.listing_id for each in opened))
        finish_samples(conn, [describe(each) for each in done], claim.token)
        for each in opened:
            if each.refused is not None:
                code = each.refused.stable_code
                fail_row(
                    conn, IMAGES, each.sample.sample_id, claim.token, code, each.refused.message,
                    final=is_final(each.refused, claim),
                )  # fmt: skip
                log.info("a sample was refused", sample_id=each.sample.sample_id, code=code)
        with_faces = {sample_id for sample_id, face in faces if face.template is not None}
        finished = [
            each.sample.sha256
            for each in opened
            if each.sample.sample_id not in with_faces and (each.refused is None or is_final(each.refused, claim))
        ]  # a picture with a face to be matched is needed until then
        litter = release_blobs(conn, finished)
        for each in opened:
            if each.sample.sample_id in hits:
                litter += erase_listed(conn, each.sample, hits[each.sample.sample_id])
    drop_files(conn, context.blobs, litter)


def describe(each: Opened) -> SeenPicture:
    return SeenPicture(
        sample_id=each.sample.sample_id,
        width=each.size[0],
        height=each.size[1],
        truncated=each.truncated,
        faces_left_out=each.left_out,
    )


def hash_opened(done: list[Opened]) -> dict[str, bytes]:
    """The perceptual hash of each picture that can be told from others, by SHA-256."""
    whole = [each for each in done if each.grey is not None]
    if not whole:
        return {}
    greys = np.stack([each.grey for each in whole if each.grey is not None])
    hashes = hash_pictures(greys, [each.size for each in whole])
    return {each.sample.sha256: phash for each, phash in zip(whole, hashes, strict=True) if phash is not None}


def name_hit(conn: Connection, sample: Sample, digests: tuple[str, str]) -> Hit:
    md5, sha256 = digests
    return Hit(md5=md5, sha256=sha256, place=find_place(conn, sample.sample_id), how="PDQ")


def erase_listed(conn: Connection, sample: Sample, hit: Hit) -> list[UUID]:
    """Nothing but digest, place and time remains of a picture that may not be kept, whoever else shows it, and its
    source stops. Returns the keys whose files are to be unlinked."""
    record_hit(conn, hit, sample.source_id, by="worker")
    refuse_content(conn, sample.sha256, "hash_listed")
    return erase_blob(conn, sample.sha256)


def is_final(refused: FacewardenError, claim: Claim) -> bool:
    """Is another attempt pointless? What is too much for the box also when it is alone is always."""
    code = refused.stable_code
    return code not in TRANSIENT or (claim.tried and code in DEADLINES)


def make_face(context: Context, ordinal: int, face: FoundFace, scale: float, remaining: Iterator[Proposal]) -> Face:
    """The row of a found face, in pixels of the picture as sent; one that is too small is counted, not matched."""
    proposal = next(remaining) if face.crop is not None else Proposal(template=None, length=0.0, exact=True)
    x, y, width, height = (value / scale for value in face.box)
    quality = face.quality
    return Face(
        ordinal=ordinal,
        x=x,
        y=y,
        width=width,
        height=height,
        landmarks=tuple((face.landmarks / scale).ravel().tolist()),
        score=face.score,
        sharpness=quality.sharpness if quality else 0.0,
        yaw=quality.yaw if quality else None,
        exposure=quality.exposure if quality else None,
        length=proposal.length or None,
        exact=proposal.exact,
        pack=context.engine.pack.name,
        matrix_id=context.keys.matrix_id(context.engine.pack.dimension),
        template=proposal.template,
        outcome=None if proposal.template is not None else Outcome.LOW_QUALITY,
    )
