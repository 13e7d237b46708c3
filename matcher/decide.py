"""The decision, as a pure function: in come one probe's scores above the cut, out come matches, held or not."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from matcher.calibration import Cut
from vault.records import Band, Match, Outcome

# A probe above the cut for this many people who do not look alike is no person but a "master face" (Shmelkin et al.
# 2021), unless one of them is nearer by CLEAR_LEAD, in the strongest band: then it is theirs, and no other is told.
HUB_PEOPLE = 3
CLEAR_LEAD = 0.1
# A first look that is this much below the cut may still be above it at the second (bench/accuracy.py says how many of
# LFW's mates that end above the cut are lost: accuracy.lost_by_first_look).
LOOK_AGAIN = 0.12
HUB_SUSPECT = "hub_suspect"
NOT_THEM = "not_them"  # nearer to a face that this person said is not theirs
BEYOND_DATA = "beyond_data"  # above the cut, below the one that the budget asks for: the data cannot tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One template that a probe was compared with."""

    template_id: int
    subject_id: UUID
    consent_id: UUID
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Negative:
    """A face that a person said is not theirs, and how near a probe is to it."""

    negative_id: int
    subject_id: UUID
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """`negative_id`: the negative that holds it, where that is the reason."""

    candidate: Candidate
    band: Band
    held: str | None
    negative_id: int | None = None


Alike = Callable[[int, int], bool]  # do two templates, by their ids, look like one person?


def decide_probe(
    candidates: Iterable[Candidate], cut: Cut, negatives: Iterable[Negative] = (), alike: Alike = lambda *_: False
) -> list[Decision]:
    """The best template of each person at or above the cut, by descending score. A probe that three or more people
    would share who do not look alike is held for review: no alert comes of it, but for one who is clearly the nearest
    and those who look like them (a person may be enrolled twice). One that would alert a person but is nearer to one of
    their negatives, and near enough to be the same face, is held for this person."""
    best: dict[UUID, Candidate] = {}
    for candidate in candidates:
        known = best.get(candidate.subject_id)
        if candidate.score >= cut.score and (known is None or candidate.score > known.score):
            best[candidate.subject_id] = candidate
    denied: dict[UUID, Negative] = {}
    for negative in negatives:
        nearest = denied.get(negative.subject_id)
        if nearest is None or negative.score > nearest.score:
            denied[negative.subject_id] = negative
    people = sorted(best.values(), key=lambda c: (-c.score, c.template_id))
    shared = find_shared(people, cut, alike)
    return [
        hold_denied(
            Decision(
                candidate=each,
                band=name_band(each.score, cut),
                held=name_reason(each.score, cut, hub=each.subject_id in shared),
            ),
            denied.get(each.subject_id),
            cut,
        )
        for each in people
    ]


def find_shared(people: Sequence[Candidate], cut: Cut, alike: Alike) -> set[UUID]:
    """Those of these people (the nearest first) who are not told of a probe because too many share it."""
    if len(people) < HUB_PEOPLE:
        return set()
    unlike: list[Candidate] = []
    for each in people:
        if not any(alike(each.template_id, other.template_id) for other in unlike):
            unlike.append(each)
    if len(unlike) < HUB_PEOPLE:
        return set()
    best, second = unlike[0], unlike[1]
    if best.score < cut.strong_score or best.score - second.score < CLEAR_LEAD:
        return {each.subject_id for each in people}
    return {each.subject_id for each in people if each is not best and not alike(each.template_id, best.template_id)}


def hold_denied(decision: Decision, negative: Negative | None, cut: Cut) -> Decision:
    """Held, if this negative of the person is nearer; other reasons stand before it, so that taking the judgement back
    can send what it alone held."""
    if negative is None or decision.held is not None:
        return decision
    if negative.score < cut.score or negative.score <= decision.candidate.score:
        return decision
    return replace(decision, held=NOT_THEM, negative_id=negative.negative_id)


def name_reason(score: float, cut: Cut, *, hub: bool) -> str | None:
    """Why a match is held for review, None where it is sent."""
    if hub:
        return HUB_SUSPECT
    return BEYOND_DATA if score < cut.sent_score else None


def name_band(score: float, cut: Cut) -> Band:
    """By how much more rarely strangers reach it than the cut (`matcher.calibration.Cut`)."""
    if score >= cut.strong_score:
        return Band.STRONG
    return Band.LIKELY if score >= cut.likely_score else Band.POSSIBLE


def name_outcome(matches: Iterable[Decision | Match]) -> Outcome:
    """What became of the face, by its decisions or matches."""
    held = [match.held is not None for match in matches]
    if not held:
        return Outcome.UNMATCHED
    return Outcome.HELD if all(held) else Outcome.MATCHED
