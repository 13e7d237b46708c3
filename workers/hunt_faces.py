"""Retro-hunts: a template that became live is searched among the faces already known. In come claimed parts of hunts,
out go match, alert and delivery rows, by the same decision as for a newly found face.

A part is one segment (or the faces in none yet) for one hunt; parts of many hunts on one segment are searched at once.
Parts are rows: any number of workers on any number of machines share a hunt, and whoever dies loses nothing.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from matcher.alerts import group_matches
from matcher.calibration import Cut
from matcher.codes import encode
from matcher.decide import Candidate, decide_probe, name_outcome
from matcher.search import Hits, search
from matcher.segments import search_segments
from matcher.space import FACTOR_RANGE
from vault.errors import ConsentMissing, JudgementGone
from vault.keys import Vectors
from vault.log import get_logger
from vault.records import LiveTemplate, Match, Outcome
from vault.steps import Step
from vault.store.alerts import raise_alert, save_match
from vault.store.clock import read_gallery_clock
from vault.store.datasets import lock_datasets
from vault.store.faces import find_datasets
from vault.store.hunts import (
    HuntPart,
    add_progress,
    begin_hunts,
    close_hunts,
    end_hunts,
    end_lapsed_claims,
    find_hunted_segment,
    has_new_hunts,
    list_known_matches,
    list_parts,
    mark_faces,
)
from vault.store.segments import READ_ROWS, KeptFace, list_fresh_faces, list_kept_faces
from vault.store.subjects import list_live_templates, open_vector
from vault.store.visibility import list_scopes
from vault.store.withdrawals import check_withdrawals
from vault.store.work import HUNT_PARTS, HUNT_SEGMENT, Claim, fail_row, finish_rows
from workers.build_segments import open_segment, read_faces
from workers.context import Context
from workers.look import read_kept
from workers.match_faces import hold_by_scope, weigh

BATCH = 64  # parts of one segment: as many templates are searched in the time that its codes are read 25 times
RETRIES = 3  # of parts in which a consent or a judgement ended between search and write

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a search gave: how many faces were looked at, and face -> candidates above the cut."""

    faces: int
    candidates: dict[int, list[Candidate]]


def hunt_faces(context: Context) -> int:
    """Begin hunts that are due, then search one segment; returns how many parts it took up."""
    conn, (pack, matrix_id, _) = context.conn, context.segments.kind
    if hunts_are_due(context):
        log.info("hunts begin", count=begin_hunts(conn, pack, matrix_id))
    end_lapsed_claims(conn)
    claim = claim_parts(context)
    if claim is not None:
        for attempt in range(RETRIES):
            try:
                hunt_parts(context, claim)
                break
            except (ConsentMissing, JudgementGone) as exc:
                log.info("what a hunt is decided by has changed; deciding again", code=exc.code, attempt=attempt + 1)
    close_hunts(conn)
    return len(claim.ids) if claim else 0


def hunts_are_due(context: Context) -> bool:
    """Is there a live template without a hunt? Looked for only where the gallery has changed since there was none."""
    reading = read_gallery_clock(context.conn)
    if not context.hunted_clock.has_moved(reading):
        return False
    if has_new_hunts(context.conn, context.settings.faces.pack):
        return True
    context.hunted_clock.take(context.conn, reading)
    return False


def claim_parts(context: Context) -> Claim | None:
    """Parts of one segment; when all are begun, one that was tried before."""
    first = find_hunted_segment(context.conn)
    if first is not None:
        claim = context.claim(HUNT_SEGMENT, BATCH, segment_id=first[0])
        if claim is not None:
            return claim
    return context.claim(HUNT_PARTS, 1)


def hunt_parts(context: Context, claim: Claim) -> None:
    """Search, decide, write. Raises ConsentMissing, JudgementGone, LeaseLost: then nothing is written."""
    conn, pack = context.conn, context.segments.kind[0]
    parts = list_parts(conn, claim.ids)
    context.gallery.refresh(conn)
    cut = context.cut()
    live = {each.template_id: each for each in list_live_templates(conn, pack, [part.template_id for part in parts])}
    vectors = {template_id: renew_vector(context, template) for template_id, template in live.items()}
    left = [part for part in parts if part.template_id not in live]
    foreign = [part for part in parts if part.template_id in live and vectors[part.template_id] is None]
    searched = [part for part in parts if part not in left and part not in foreign]
    templates = [live[part.template_id] for part in searched]
    found = Found(faces=0, candidates={})
    probes = [vector for part in searched if (vector := vectors[part.template_id]) is not None]
    if probes:
        found = search_part(context, searched[0].segment_id, templates, np.stack(probes), cut)
    with conn.transaction():
        alerted = save_matches(context, found, searched, cut)
        end_hunts(conn, sorted({part.hunt_id for part in left}))
        finish_rows(conn, HUNT_PARTS, [part.part_id for part in (*searched, *left)], claim.token)
        for part in foreign:
            fail_row(conn, HUNT_PARTS, part.part_id, claim.token, "index_other_pack", pack, final=True)
    if alerted:
        context.asker.ask(Step.DELIVER)


def renew_vector(context: Context, template: LiveTemplate) -> Vectors | None:
    """(d,) f32, the template's vector as it would be kept today; None for one of another key."""
    vector = np.frombuffer(open_vector(context.keys, template), "<f4").astype(np.float32)
    if len(vector) != context.segments.kind[2]:
        return None
    renewed = context.keys.renew_templates(vector[None], template.matrix_id)
    return None if renewed is None else renewed[0]


def search_part(
    context: Context, segment_id: int | None, templates: list[LiveTemplate], probes: Vectors, cut: Cut
) -> Found:
    """(m, d) probes against a segment, or without one against the faces in none: every cosine that could reach the cut
    when it is weighed."""
    conn, lowest = context.conn, cut.score / FACTOR_RANGE[1]
    candidates: dict[int, list[Candidate]] = defaultdict(list)

    def take(face_ids: np.ndarray, hits: Hits) -> None:
        for probe, face_id, score in zip(hits.probe, face_ids[hits.row].tolist(), hits.score.tolist(), strict=True):
            template = templates[int(probe)]
            candidates[face_id].append(
                Candidate(template_id=template.template_id, subject_id=template.subject_id,
                          consent_id=template.consent_id, score=score)
            )  # fmt: skip

    if segment_id is not None:
        segment = open_segment(context, segment_id)
        if segment is None:  # it was replaced or dropped, and with it our parts: finishing them will say so
            return Found(faces=0, candidates={})
        for _, hits in search_segments([segment], probes, lowest):
            take(segment.ids, hits)
        return Found(faces=len(segment), candidates=candidates)
    fresh = np.array(sorted(face_id for face_id, _ in list_fresh_faces(conn)), np.int64)
    for start in range(0, len(fresh), READ_ROWS):
        ids, vectors, _ = read_faces(context, fresh[start : start + READ_ROWS])
        take(ids, search(encode(vectors), vectors, probes, lowest))
    return Found(faces=len(fresh), candidates=candidates)


def read_vector(context: Context, face: KeptFace) -> Vectors:
    """(d,) f32, as it was searched."""
    template = read_kept(context, face)
    assert template is not None  # else no search would have found it
    return np.frombuffer(template, "<f4").astype(np.float32)


def save_matches(context: Context, found: Found, parts: list[HuntPart], cut: Cut) -> bool:
    """Decide on each face that is still kept, together with whom it was matched with before; raise alerts, count
    progress. Is there an alert? Raises ConsentMissing, JudgementGone."""
    conn, pack = context.conn, context.segments.kind[0]
    lock_datasets(conn)
    faces = list_kept_faces(conn, sorted(found.candidates))
    kept = [face.face_id for face in faces]
    factors = context.space.weigh(np.array([face.length for face in faces], np.float32)).tolist()
    weighed = {
        face.face_id: weigh(context.gallery, read_vector(context, face), found.candidates[face.face_id], factor)
        for face, factor in zip(faces, factors, strict=True)
    }
    for known in list_known_matches(conn, kept):
        weighed[known.face_id].candidates.append(
            Candidate(template_id=known.template_id, subject_id=known.subject_id, consent_id=known.consent_id,
                      score=known.score)
        )  # fmt: skip
    hunted = {part.template_id: part.hunt_id for part in parts}
    proposed, known_too = list[Match](), set[int]()
    for face_id in kept:
        decisions = decide_probe(weighed[face_id].candidates, cut, weighed[face_id].negatives, context.look_alike)
        proposed += [
            Match(face_id=face_id, subject_id=each.candidate.subject_id, template_id=each.candidate.template_id,
                  consent_id=each.candidate.consent_id, calibration_id=cut.calibration_id, pack=pack,
                  score=each.candidate.score, cut=cut.score, band=each.band, held=each.held,
                  negative_id=each.negative_id)
            for each in decisions if each.candidate.template_id in hunted
        ]  # fmt: skip
        if any(each.candidate.template_id not in hunted and not each.held for each in decisions):
            known_too.add(face_id)
    datasets = find_datasets(conn, kept)
    scopes = list_scopes(conn, datasets.values())
    matches = hold_by_scope(context, proposed, datasets, scopes)
    outcomes = {
        face_id: Outcome.MATCHED.value
        if face_id in known_too
        else name_outcome(match for match in matches if match.face_id == face_id).value
        for face_id in {match.face_id for match in matches}
    }
    alerts = {
        key: raise_alert(conn, *key, band, spread=True)
        for key, band in group_matches((datasets[match.face_id], match) for match in matches).items()
    }
    counts: dict[int, int] = dict.fromkeys(hunted.values(), 0)
    for match in matches:
        save_match(conn, match, None if match.held else alerts[(match.subject_id, datasets[match.face_id])])
        counts[hunted[match.template_id]] += scopes[datasets[match.face_id]] == 0  # of others operators learn nothing
    mark_faces(conn, outcomes)
    add_progress(conn, list(counts), [found.faces] * len(counts), list(counts.values()))
    check_withdrawals(conn, {match.subject_id for match in matches})
    return bool(alerts)
