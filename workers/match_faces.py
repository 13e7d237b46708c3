"""Step 5 and 6: faces become matches and alerts. In come claimed faces, out go match, alert and delivery rows.

The gallery answers with live templates only; the database refuses a match whose consent ended meanwhile, and then the
whole batch is decided again. Everything is written in one transaction, in which the source's policy is applied too.
"""

import numpy as np

from matcher.alerts import group_matches
from matcher.decide import Decision, decide_probe, name_outcome
from vault.errors import ConsentMissing
from vault.log import get_logger
from vault.records import Match, Probe
from vault.steps import Step
from vault.store.alerts import raise_alert, save_match
from vault.store.blobs import drop_files, release_blobs
from vault.store.datasets import lock_datasets
from vault.store.faces import close_faces, find_datasets, list_probes
from vault.store.hunts import matching
from vault.store.work import FACES, Claim, fail_row, finish_rows
from workers.context import Context

BATCH = 256
RETRIES = 3  # of a batch in which a consent ended between search and write

log = get_logger(__name__)


def match_faces(context: Context) -> int:
    """One batch; returns how many faces it took up."""
    claim = context.claim(FACES, BATCH)
    if claim is None:
        return 0
    for attempt in range(RETRIES):
        try:
            with matching(context.conn):
                match_batch(context, claim)
            break
        except ConsentMissing:
            log.info("a consent ended while its faces were matched; deciding again", attempt=attempt + 1)
    return len(claim.ids)


def match_batch(context: Context, claim: Claim) -> None:
    """Search, decide, write. Raises ConsentMissing, LeaseLost: then nothing is written."""
    conn, gallery = context.conn, context.gallery
    gallery.refresh(conn)
    cut = context.cut()
    matrix_id = context.keys.matrix_id(context.engine.pack.dimension)
    everything = list_probes(conn, claim.ids)
    probes = [probe for probe in everything if (probe.pack, probe.matrix_id) == (context.engine.pack.name, matrix_id)]
    foreign = [probe for probe in everything if probe not in probes]
    vectors = (
        np.stack([np.frombuffer(probe.template, "<f4") for probe in probes]).astype(np.float32) if probes else None
    )
    found = gallery.search(vectors, cut.score) if vectors is not None else []
    decisions = {probe.face_id: decide_probe(candidates, cut) for probe, candidates in zip(probes, found, strict=True)}
    matches = [
        (probe, make_match(probe, decision, cut.score, cut.calibration_id))
        for probe in probes
        for decision in decisions[probe.face_id]
    ]
    with conn.transaction():
        lock_datasets(conn)
        datasets = find_datasets(conn, [probe.face_id for probe, _ in matches])
        alerts = {
            key: raise_alert(conn, *key, band)
            for key, band in group_matches((datasets[match.face_id], match) for _, match in matches).items()
        }
        for _, match in matches:
            save_match(conn, match, None if match.held else alerts[(match.subject_id, datasets[match.face_id])])
        close_faces(conn, {probe.face_id: name_outcome(decisions[probe.face_id]) for probe in probes})
        finish_rows(conn, FACES, [probe.face_id for probe in probes], claim.token)
        for probe in foreign:
            fail_row(conn, FACES, probe.face_id, claim.token, "index_other_pack", probe.pack, final=True)
        litter = release_blobs(conn, [probe.sha256 for probe in probes])
    drop_files(conn, context.blobs, litter)
    if alerts:
        context.asker.ask(Step.DELIVER)


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
    )
