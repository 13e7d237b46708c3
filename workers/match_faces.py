"""Step 5 and 6: faces become matches and alerts. In come claimed faces, out go match, alert and delivery rows.

A face near the cut is looked at a second time, in f32 and with its mirror image: the first look only proposes. Faces of
one person in one dataset are decided together. The gallery answers with live templates only; the database refuses a
match whose consent ended, or whose negative was taken back, meanwhile, and then the whole batch is decided again.
Everything is written in one transaction, in which the source's policy is applied too.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from matcher.alerts import group_matches
from matcher.calibration import Cut, find_cut
from matcher.clusters import SAME_PERSON_RATE, pool_faces
from matcher.decide import LOOK_AGAIN, Candidate, Decision, Negative, decide_probe, name_outcome
from matcher.floods import HOURS, Recent, hold_floods
from matcher.gallery import Gallery
from vault.errors import ConsentMissing, JudgementGone
from vault.keys import Vectors
from vault.log import get_logger
from vault.records import Match, Probe
from vault.steps import Step
from vault.store.alerts import list_known_alerts, list_recent, raise_alert, save_match
from vault.store.blobs import drop_files, release_blobs
from vault.store.datasets import lock_datasets
from vault.store.faces import close_faces, find_datasets, list_probes, save_looks
from vault.store.visibility import list_scopes
from vault.store.withdrawals import check_withdrawals
from vault.store.work import FACES, Claim, fail_row
from workers.context import Context
from workers.look import Look, look_again, read_kept

BATCH = 256
RETRIES = 3  # of a batch in which a consent or a judgement ended between search and write

log = get_logger(__name__)


def match_faces(context: Context) -> int:
    """One batch; returns how many faces it took up."""
    claim = context.claim(FACES, BATCH)
    if claim is None:
        return 0
    for attempt in range(RETRIES):
        try:
            match_batch(context, claim)
            break
        except (ConsentMissing, JudgementGone) as exc:
            log.info("what faces were matched by has changed; deciding again", code=exc.code, attempt=attempt + 1)
    return len(claim.ids)


def match_batch(context: Context, claim: Claim) -> None:
    """Search, decide, write. Raises ConsentMissing, JudgementGone, LeaseLost: then nothing is written."""
    conn, gallery = context.conn, context.gallery
    gallery.refresh(conn)
    cut = context.cut()
    everything = [(probe, renew_probe(context, probe)) for probe in list_probes(conn, claim.ids)]
    probes = [renewed for _, renewed in everything if renewed is not None]
    foreign = [probe for probe, renewed in everything if renewed is None]
    found, looks = search_probes(context, probes, cut)
    proposed = [
        make_match(probe, decision, cut.score, cut.calibration_id)
        for probe in probes
        for decision in decide_probe(
            found[probe.face_id].candidates, cut, found[probe.face_id].negatives, context.look_alike
        )
    ]
    with conn.transaction():
        lock_datasets(conn)
        datasets = find_datasets(conn, [match.face_id for match in proposed])
        matches = hold_by_scope(context, proposed, datasets, list_scopes(conn, datasets.values()))
        alerts = {
            key: raise_alert(conn, *key, band)
            for key, band in group_matches((datasets[match.face_id], match) for match in matches).items()
        }
        for match in matches:
            save_match(conn, match, None if match.held else alerts[(match.subject_id, datasets[match.face_id])])
        if looks:
            kept = {face_id: (look.template, look.length) for face_id, look in looks.items()}
            save_looks(conn, kept, context.keys.matrix_id(context.engine.pack.dimension))
        outcomes = {
            probe.face_id: name_outcome(match for match in matches if match.face_id == probe.face_id)
            for probe in probes
        }
        close_faces(conn, outcomes, claim.token)
        for probe in foreign:
            fail_row(conn, FACES, probe.face_id, claim.token, "index_other_pack", probe.pack, final=True)
        litter = release_blobs(conn, [probe.sha256 for probe in probes])
        check_withdrawals(conn, {match.subject_id for match in matches})
    drop_files(conn, context.blobs, litter)
    if alerts:
        context.asker.ask(Step.DELIVER)


def renew_probe(context: Context, probe: Probe) -> Probe | None:
    """The face as it is compared today; None for one of another pack or key."""
    template = read_kept(context, probe)
    return None if template is None else replace(probe, template=template)


def hold_by_scope(
    context: Context, proposed: list[Match], datasets: dict[int, int], scopes: dict[int, int]
) -> list[Match]:
    """The matches with floods held, in the same order. Each scope is judged by itself: what is found in a source that
    is not open must not show in what becomes of others."""
    judged: dict[int, Match] = {}
    for scope in sorted({*scopes.values()}):
        numbers = [number for number, match in enumerate(proposed) if scopes[datasets[match.face_id]] == scope]
        rows = [(datasets[proposed[number].face_id], proposed[number]) for number in numbers]
        judged |= zip(numbers, hold_floods(rows, read_recent(context, rows, scope)), strict=True)
    return [judged[number] for number in range(len(proposed))]


def read_recent(context: Context, rows: list[tuple[int, Match]], scope: int) -> Recent:
    """What floods among these matches, (dataset_id, match) each, are judged by."""
    subject_ids, dataset_ids = [match.subject_id for _, match in rows], [dataset_id for dataset_id, _ in rows]
    found, people = list_recent(context.conn, subject_ids, dataset_ids, HOURS, scope)
    known = list_known_alerts(context.conn, subject_ids, dataset_ids)
    return Recent(datasets=found, people=people, enrolled=context.gallery.template_count, known=known)


class Found(NamedTuple):
    """What a probe is decided by, at deciding scores."""

    candidates: list[Candidate]
    negatives: list[Negative]


def search_probes(context: Context, probes: list[Probe], cut: Cut) -> tuple[dict[int, Found], dict[int, Look]]:
    """What each face is decided by, and what the second looks gave. A face whose picture cannot be opened any more is
    decided by its first look, weighed by the length that this one found."""
    if not probes:
        return {}, {}
    vectors = np.stack([np.frombuffer(probe.template, "<f4") for probe in probes]).astype(np.float32)
    factors = context.space.weigh(np.array([probe.length or 0.0 for probe in probes], np.float32)).tolist()
    found = {
        probe.face_id: weigh(context.gallery, vector, candidates, factor)
        for probe, vector, candidates, factor in zip(
            probes, vectors, context.gallery.search(vectors, cut.score - LOOK_AGAIN), factors, strict=True
        )
    }
    looks = look_again(context, [probe for probe in probes if found[probe.face_id].candidates and not probe.exact])
    exact = {
        probe.face_id: Look(template=probe.template, length=probe.length or 0.0, factor=factor)
        for probe, factor in zip(probes, factors, strict=True)
        if probe.exact and found[probe.face_id].candidates
    }
    return found | search_clusters(context, exact | looks, cut), looks


def search_clusters(context: Context, looks: dict[int, Look], cut: Cut) -> dict[int, Found]:
    """What each face near the cut is decided by: the vector of its cluster. Every face of a cluster has the same, so
    that the match rows of one score are the cluster from which it can be computed again."""
    if not looks:
        return {}
    datasets = find_datasets(context.conn, list(looks))  # one that is merged meanwhile only has smaller clusters
    vectors, factors, _ = pool_faces(
        np.stack([np.frombuffer(look.template, "<f4") for look in looks.values()]).astype(np.float32),
        np.array([look.factor for look in looks.values()], np.float32),
        np.array([datasets[face_id] for face_id in looks], np.int64),
        find_cut(context.calibration, SAME_PERSON_RATE)[0],
    )
    found = context.gallery.search(vectors, cut.score / factors.astype(np.float64))
    return {
        face_id: weigh(context.gallery, vector, candidates, factor)
        for face_id, vector, candidates, factor in zip(looks, vectors, found, factors.tolist(), strict=True)
    }


def weigh(gallery: Gallery, vector: Vectors, candidates: list[Candidate], factor: float) -> Found:
    """A probe's (d,) vector and what was found for it, at deciding scores."""
    negatives = gallery.compare_negatives(vector, {each.subject_id for each in candidates})
    return Found(
        candidates=[replace(each, score=each.score * factor) for each in candidates],
        negatives=[replace(each, score=each.score * factor) for each in negatives],
    )


def make_match(probe: Probe, decision: Decision, cut: float, calibration_id: str) -> Match:
    return Match(
        face_id=probe.face_id,
        subject_id=decision.candidate.subject_id,
        template_id=decision.candidate.template_id,
        consent_id=decision.candidate.consent_id,
        calibration_id=calibration_id,
        pack=probe.pack,
        score=decision.candidate.score,
        cut=cut,
        band=decision.band,
        held=decision.held,
        negative_id=decision.negative_id,
    )
