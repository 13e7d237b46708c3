from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from matcher.alerts import group_matches
from matcher.calibration import Cut
from matcher.decide import HUB_PEOPLE, Candidate, decide_probe, name_outcome
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


def test_two_people_may_share_a_probe_and_three_are_held() -> None:
    two = decide_probe([candidate(0, 0.6), candidate(1, 0.55)], CUT)
    assert [decision.held for decision in two] == [None, None]
    three = decide_probe([candidate(0, 0.9), candidate(1, 0.55), candidate(2, 0.5)], CUT)
    assert {decision.held for decision in three} == {"hub_suspect"}
    assert name_outcome(three) is Outcome.HELD


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
    assert all((d.held is not None) == (len(people) >= HUB_PEOPLE) for d in first)


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
