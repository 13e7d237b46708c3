"""The gallery of enrolled people: in come probes, out come candidates above the cut.

It is one index generation plus a delta of templates that are newer, searched exactly (`matcher/search.py`), and it only
ever answers with templates that the database calls live: one cheap query (the gallery clock) before each search notices
an enrolment or a withdrawal. A broken generation is refused and everything comes from rows until a new one is built.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from matcher.codes import Codes, Floats, encode
from matcher.decide import Candidate, Negative
from matcher.generations import (
    Generation,
    Ids,
    Index,
    mark_manifest,
    open_generation,
    read_manifest,
    save_generation,
    view_vectors,
)
from matcher.search import Mask, search
from vault.errors import IndexFileError, VectorError
from vault.keys import Keys, Vectors, check_vectors
from vault.log import get_logger
from vault.store import Connection
from vault.store.clock import GalleryClock, read_gallery_clock
from vault.store.judgements import list_live_negatives, open_negative
from vault.store.lease import Heartbeat
from vault.store.subjects import list_live_ids, list_live_templates, open_vector
from vault.store.writers import GALLERY, WRITERS, check_writer, release_writer, take_writer

DELTA_SHARE = 0.01  # of the generation; a larger delta is worth a new generation
DELTA_LEAST = 64

log = get_logger(__name__)


@dataclass(kw_only=True, slots=True)
class Part:
    """Templates that are searched together. `dead` marks those that are not live any more."""

    ids: Ids
    vectors: Vectors
    codes: Codes
    dead: Mask | None = None
    index: Index = None  # what the vectors are a view of


class Gallery:
    """What one process searches. Not for several threads."""

    def __init__(self, folder: Path, keys: Keys, *, pack: str, dimension: int) -> None:
        self._folder, self._keys, self._pack, self._dimension = folder, keys, pack, dimension
        self._matrix_id = keys.matrix_id(dimension)
        self._clock = GalleryClock()
        self._mark = (0, 0)
        self._live: dict[int, tuple[UUID, UUID]] = {}
        self._negatives: dict[int, tuple[UUID, Vectors]] = {}
        self._denied: dict[UUID, tuple[list[int], Vectors]] = {}  # the same by person: ids, (n, d) vectors
        self._generation: Generation | None = None
        self._indexed: frozenset[int] = frozenset()  # ids in the generation, withdrawn ones included
        self._generation_part: Part | None = None
        self._delta: Part | None = None
        self.broken: str | None = None  # why the generation on disk was refused, if it was

    @property
    def template_count(self) -> int:
        return len(self._live)

    def refresh(self, conn: Connection) -> bool:
        """Take up what the rows say. True if anything had changed."""
        reading, mark = read_gallery_clock(conn), mark_manifest(self._folder)
        if not self._clock.has_moved(reading) and mark == self._mark:
            return False
        live = list_live_ids(conn, self._pack)
        if mark != self._mark or self._clock.value < 0:
            self._generation_part = self._take_generation()
        missing = sorted(live.keys() - self._indexed)
        if self._delta is None or self._delta.ids.tolist() != missing:
            ids, vectors = self._read_rows(conn, missing)
            check_vectors(vectors)
            self._delta = Part(ids=ids, vectors=vectors, codes=encode(vectors))
        if self._generation_part is not None:
            gone = np.fromiter(self._indexed - live.keys(), np.int64)
            dead = np.isin(self._generation_part.ids, gone)
            self._generation_part.dead = dead if len(gone) else None
        self._take_negatives(conn)
        self._live, self._mark = live, mark
        self._clock.take(conn, reading)
        return True

    def search(self, probes: Vectors, cut: float | Floats) -> list[list[Candidate]]:
        """For each of (n, d) f32 keyed unit vectors, every live template with cosine similarity at or above `cut`, one
        for all or (n,) of each probe.

        Raises VectorError for probes that may not be searched.
        """
        check_vectors(probes)
        if probes.shape[1] != self._dimension:
            raise VectorError("vector_wrong_length", f"{probes.shape[1]} values, expected {self._dimension}")
        found: list[list[Candidate]] = [[] for _ in range(len(probes))]
        for part in (self._generation_part, self._delta):
            if part is None or not len(part.ids):
                continue
            hits = search(part.codes, part.vectors, probes, cut, dead=part.dead)
            ids = part.ids[hits.row]
            for probe, template_id, score in zip(hits.probe.tolist(), ids.tolist(), hits.score.tolist(), strict=True):
                person = self._live.get(template_id)
                if person is not None:  # else withdrawn since the generation was built
                    found[probe].append(
                        Candidate(template_id=template_id, subject_id=person[0], consent_id=person[1], score=score)
                    )
        return found

    def compare_negatives(self, probe: Vectors, people: Iterable[UUID]) -> list[Negative]:
        """The negative of each of these people that is nearest to a (d,) f32 keyed unit vector. Nobody is found by one:
        it is asked only of people whom the probe resembles."""
        nearest = []
        for person in people:
            ids, vectors = self._denied.get(person, ([], None))
            if vectors is not None:
                scores = vectors @ probe
                best = int(scores.argmax())
                nearest.append(Negative(negative_id=ids[best], subject_id=person, score=float(scores[best])))
        return nearest

    def compare_templates(self, one: int, other: int) -> float:
        """The cosine similarity of two live templates by their ids; -1 where one of them is not here."""
        vectors = [self._find_vector(template_id) for template_id in (one, other)]
        if vectors[0] is None or vectors[1] is None:
            return -1.0
        return float(vectors[0] @ vectors[1])

    def _find_vector(self, template_id: int) -> Vectors | None:
        for part in (self._delta, self._generation_part):
            if part is not None and len(part.ids):
                at = np.flatnonzero(part.ids == template_id)
                if len(at):
                    found: Vectors = part.vectors[at[0]]
                    return found
        return None

    def needs_build(self) -> bool:
        """Is a new generation due: none yet, broken, holding a withdrawn template, or too many templates beside it?"""
        if self.broken or self._generation is None:
            return True
        stale = len(self._indexed - self._live.keys())
        fresh = len(self._live.keys() - self._indexed)
        return stale > 0 or fresh > max(DELTA_LEAST, DELTA_SHARE * len(self._indexed))

    def build(self, conn: Connection, heartbeat: Heartbeat) -> Generation | None:
        """Write the next generation from rows alone. None when another process is building. Raises LeaseLost when one
        began that took us for gone."""
        writer = take_writer(conn, GALLERY)
        if writer is None:
            return None
        heartbeat.hold(WRITERS, [GALLERY], writer)
        try:
            self._clock.forget()
            self.refresh(conn)
            ids, vectors = self._read_rows(conn, sorted(self._live))
            generation = save_generation(
                self._folder,
                ids=ids,
                vectors=vectors,
                pack=self._pack,
                matrix_id=self._matrix_id,
                dimension=self._dimension,
                clock=self._clock.value,
                writer=writer,
                last_look=lambda: check_writer(conn, GALLERY, writer),
            )
            log.info("gallery generation built", number=generation.number, templates=generation.count)
            return generation
        finally:
            heartbeat.release(writer)
            if not conn.broken:
                release_writer(conn, GALLERY, writer)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _take_generation(self) -> Part | None:
        """The current generation, or None where there is none or it must not be used."""
        self._generation, self._indexed, self.broken = None, frozenset(), None
        try:
            generation = read_manifest(self._folder)
            if generation is None:
                return None
            if (generation.pack, generation.matrix_id) != (self._pack, self._matrix_id):
                raise IndexFileError("index_other_pack", f"{generation.file} is of another pack or key")
            index, ids = open_generation(self._folder, generation)
        except IndexFileError as exc:
            self.broken = str(exc)
            log.warning("an index generation was refused; searching rows instead", code=exc.case, why=exc.message)
            return None
        self._generation, self._indexed = generation, frozenset(ids.tolist())
        vectors = view_vectors(index)
        return Part(ids=ids, vectors=vectors, codes=encode(vectors), index=index)

    def _take_negatives(self, conn: Connection) -> None:
        """Those that count now; one that is known already is not opened again."""
        live, new = list_live_negatives(conn, self._pack, list(self._negatives))
        self._negatives = {each: known for each, known in self._negatives.items() if each in live}
        for row in new:
            vector = np.frombuffer(open_negative(self._keys, row), "<f4").astype(np.float32)
            renewed = self._keys.renew_templates(vector[None], row.matrix_id)
            if renewed is not None and len(vector) == self._dimension:
                self._negatives[row.negative_id] = (row.subject_id, renewed[0])
        people: dict[UUID, dict[int, Vectors]] = defaultdict(dict)
        for negative_id, (person, vector) in sorted(self._negatives.items()):
            people[person][negative_id] = vector
        self._denied = {person: (list(kept), np.stack(list(kept.values()))) for person, kept in people.items()}

    def _read_rows(self, conn: Connection, template_ids: list[int]) -> tuple[Ids, Vectors]:
        """(n,) ids and (n, d) keyed vectors of those templates that are live, of our pack and key."""
        ids: list[int] = []
        vectors: list[Vectors] = []
        for start in range(0, len(template_ids), 1000):
            for row in list_live_templates(conn, self._pack, template_ids[start : start + 1000]):
                vector = np.frombuffer(open_vector(self._keys, row), "<f4").astype(np.float32)
                renewed = self._keys.renew_templates(vector[None], row.matrix_id)
                if renewed is not None and len(vector) == self._dimension:
                    ids.append(row.template_id)
                    vectors.append(renewed[0])
        joined = np.stack(vectors) if vectors else np.zeros((0, self._dimension), np.float32)
        return np.array(ids, np.int64), joined
