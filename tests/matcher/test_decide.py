from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.alerts import group_matches
from matcher.calibration import Cut
from matcher.decide import HUB_PEOPLE, Alike, Candidate, Negative, decide_probe, name_outcome
from vault.records import Band, Match, Outcome

CUT = Cut(score=0.5, strong_score=0.7, rate=1e-5, wanted_rate=1e-5, calibration_id="c")
PEOPLE = [UUID(int=number) for number in range(1, 6)]


def candidate(person: int, score: float, template: int = 0) -> Candidate:
    return Candidate(template_id=template, subject_id=PEOPLE[person], consent_id=uuid4(), score=score)


def test_a_score_below_the_cut_is_no_match() -> None:
    assert decide_probe([candidate(0, 0.4999)], CUT) == []
    assert name_outcome([]) is Outcome.UNMATCHED


def test_a_score_at_the_cut_is_one() -> None:
    (decision,) = decide_probe([candidate(0, 0.5)], CUT)
    assert (decision.band, decision.held) == (Band.POSSIBLE, None)


def test_of_several_templates_of_a_person_the_best_counts() -> None:
    (decision,) = decide_probe([candidate(0, 0.55, 1), candidate(0, 0.8, 2), candidate(0, 0.6, 3)], CUT)
    assert (decision.candidate.template_id, decision.band) == (2, Band.STRONG)


def test_two_people_may_share_a_probe_and_three_who_are_unlike_are_held() -> None:
    two = decide_probe([candidate(0, 0.6), candidate(1, 0.55)], CUT)
    assert [decision.held for decision in two] == [None, None]
    three = decide_probe([candidate(0, 0.65), candidate(1, 0.55), candidate(2, 0.5)], CUT)
    assert {decision.held for decision in three} == {"hub_suspect"}
    assert name_outcome(three) is Outcome.HELD


def same_face(*people: int) -> Alike:
    """These people's templates (numbered as the people) look like one person's."""
    return lambda one, other: one in people and other in people


@pytest.mark.parametrize(
    ("scores", "alike", "held"),
    [
        # one face that is enrolled three times
        ([0.66, 0.66, 0.66], (0, 1, 2), [False, False, False]),
        # their own photo beside two look-alikes: it is theirs, and nobody else is told
        ([1.01, 0.50, 0.50], (), [False, True, True]),
        ([0.80, 0.65, 0.55, 0.52], (), [False, True, True, True]),
        # enrolled twice, beside two look-alikes
        ([1.01, 1.00, 0.50, 0.50], (0, 1), [False, False, True, True]),
        # nobody is clearly the nearest
        ([0.80, 0.75, 0.55], (), [True, True, True]),
        # the nearest is not near enough to be told from the others
        ([0.69, 0.55, 0.55], (), [True, True, True]),
        # twins and a third person: two who are unlike are no hub
        ([0.80, 0.78, 0.55], (0, 1), [False, False, False]),
        # five look like one person, two more do not
        ([0.60, 0.60, 0.60, 0.55, 0.52], (0, 1, 2), [True] * 5),
    ],
)
def test_a_hub_is_shared_by_people_who_do_not_look_alike_and_has_no_clear_best(
    scores: list[float], alike: tuple[int, ...], held: list[bool]
) -> None:
    found = [candidate(person, score, template=person) for person, score in enumerate(scores)]
    decisions = decide_probe(found, CUT, (), same_face(*alike))
    by_person = {decision.candidate.template_id: decision.held == "hub_suspect" for decision in decisions}
    assert [by_person[person] for person in range(len(scores))] == held


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1), st.integers(0, 3)), max_size=20), st.randoms())
def test_the_order_of_candidates_does_not_matter(rows: list[tuple[int, float, int]], chance: object) -> None:
    candidates = [candidate(*row) for row in {(p, t): (p, s, t) for p, s, t in rows}.values()]
    shuffled = sorted(candidates, key=lambda _: chance.random())  # type: ignore[attr-defined]
    first, second = decide_probe(candidates, CUT), decide_probe(shuffled, CUT)
    assert {(d.candidate.subject_id, d.candidate.score, d.held) for d in first} == {
        (d.candidate.subject_id, d.candidate.score, d.held) for d in second
    }
    people = {c.subject_id for c in candidates if c.score >= CUT.score}
    assert len(first) == len(people)
    assert len(people) >= HUB_PEOPLE or not any(d.held for d in first)


def match(person: int, band: Band, held: str | None = None) -> Match:
    return Match(
        face_id=1, subject_id=PEOPLE[person], template_id=1, consent_id=uuid4(), calibration_id="c", pack="p",
        score=0.6, cut=0.5, band=band, held=held,
    )  # fmt: skip


def test_one_alert_a_person_and_dataset_with_the_strongest_band() -> None:
    grouped = group_matches(
        [(1, match(0, Band.POSSIBLE)), (1, match(0, Band.STRONG)), (1, match(0, Band.POSSIBLE)),
         (2, match(0, Band.POSSIBLE)), (1, match(1, Band.POSSIBLE))]
    )  # fmt: skip
    assert grouped == {
        (PEOPLE[0], 1): Band.STRONG,
        (PEOPLE[0], 2): Band.POSSIBLE,
        (PEOPLE[1], 1): Band.POSSIBLE,
    }


def test_held_matches_raise_no_alert() -> None:
    assert group_matches([(1, match(0, Band.STRONG, "hub_suspect"))]) == {}


def test_every_worker_takes_alerts_in_the_same_order() -> None:
    rows = [(2, match(1, Band.POSSIBLE)), (1, match(1, Band.POSSIBLE)), (9, match(0, Band.POSSIBLE))]
    assert list(group_matches(rows)) == list(group_matches(reversed(rows)))


# -- negatives --------------------------------------------------------------------------------------------------------


def negative(person: int, score: float, number: int = 7) -> Negative:
    return Negative(negative_id=number, subject_id=PEOPLE[person], score=score)


@pytest.mark.parametrize(
    ("own", "judged", "held"),
    [
        (0.6, 0.7, True),
        (0.6, 0.6001, True),
        (0.6, 0.6, False),  # as near to the one as to the other: it alerts
        (0.6, 0.59, False),
        (0.9, 0.5, False),
        (0.5, 0.51, True),
    ],
)
def test_a_probe_nearer_to_a_negative_than_to_the_person_is_held(own: float, judged: float, held: bool) -> None:
    (decision,) = decide_probe([candidate(0, own)], CUT, [negative(0, judged)])
    assert (decision.held, decision.negative_id) == (("not_them", 7) if held else (None, None))
    assert name_outcome([decision]) is (Outcome.HELD if held else Outcome.MATCHED)


def test_of_several_negatives_the_nearest_is_named() -> None:
    negatives = [negative(0, 0.7, 1), negative(0, 0.9, 2), negative(0, 0.8, 3)]
    (decision,) = decide_probe([candidate(0, 0.6)], CUT, negatives)
    assert decision.negative_id == 2


def test_what_is_held_for_another_reason_stays_so() -> None:
    cut = replace(CUT, sent_score=0.65)
    (unsure,) = decide_probe([candidate(0, 0.6)], cut, [negative(0, 0.9)])
    assert (unsure.held, unsure.negative_id) == ("beyond_data", None)
    hub = decide_probe([candidate(person, 0.7) for person in range(3)], CUT, [negative(0, 0.9)])
    assert {(each.held, each.negative_id) for each in hub} == {("hub_suspect", None)}


scores = st.floats(-1, 1)
probes = st.lists(st.tuples(st.integers(0, 1), scores), max_size=6).map(
    lambda rows: [candidate(person, score, at) for at, (person, score) in enumerate(rows)]
)
said = st.lists(st.tuples(st.integers(0, 4), scores), max_size=6).map(
    lambda rows: [negative(person, score, at) for at, (person, score) in enumerate(rows)]
)


@given(probes, said)
def test_a_negative_changes_nothing_but_whether_its_own_person_is_told(
    candidates: list[Candidate], negatives: list[Negative]
) -> None:
    plain, decisions = decide_probe(candidates, CUT), decide_probe(candidates, CUT, negatives)
    people = {each.subject_id for each in negatives}
    assert [(each.candidate, each.band) for each in plain] == [(each.candidate, each.band) for each in decisions]
    for before, after in zip(plain, decisions, strict=True):
        assert after == before or (after.held == "not_them" and after.candidate.subject_id in people)


@given(probes, said)
def test_nobody_is_held_by_a_negative_that_is_no_nearer_or_below_the_cut(
    candidates: list[Candidate], negatives: list[Negative]
) -> None:
    for each in decide_probe(candidates, CUT, negatives):
        nearest = max((n.score for n in negatives if n.subject_id == each.candidate.subject_id), default=-2.0)
        assert (each.held == "not_them") == (nearest >= CUT.score and nearest > each.candidate.score)


@st.composite
def unit_vectors(draw: st.DrawFn, count: int) -> list[np.ndarray]:
    seed = draw(st.integers(0, 2**32 - 1))
    rows = np.random.default_rng(seed).standard_normal((count, 16))
    return list(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@given(unit_vectors(3), st.floats(0.51, 1), st.floats(-1, 0.99))
def test_a_picture_of_the_person_is_not_lost_by_a_strangers_negative(
    vectors: list[np.ndarray], same: float, alike: float
) -> None:
    """However alike a stranger is: every probe within half the angle between the two alerts, whichever way it lies (the
    triangle of angles on the sphere)."""
    own, towards, noise = vectors
    stranger = mix(own, towards, alike)
    probe = mix(own, noise, max(same, np.cos(np.arccos(np.clip(alike, -1, 1)) / 2) + 1e-9))
    (decision,) = decide_probe([candidate(0, float(own @ probe))], CUT, [negative(0, float(stranger @ probe))])
    assert decision.held is None


def mix(vector: np.ndarray, other: np.ndarray, score: float) -> np.ndarray:
    """A unit vector with this cosine similarity to `vector`, towards `other`."""
    rest = other - (other @ vector) * vector
    made: np.ndarray = score * vector + np.sqrt(max(0.0, 1 - score**2)) * rest / np.linalg.norm(rest)
    return made
