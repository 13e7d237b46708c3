"""Floods are held as a whole; what a leak looks like is not."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from matcher.floods import DATASET_FLOOD, FLOOD_DATASETS, FLOOD_PEOPLE, TEMPLATE_FLOOD, Recent, hold_floods
from vault.records import Band, Match


def match(person: int, held: str | None = None, band: Band = Band.POSSIBLE) -> Match:
    return Match(
        face_id=1, subject_id=UUID(int=person), template_id=1, consent_id=uuid4(), calibration_id="c", pack="p",
        score=0.6, cut=0.5, band=band, held=held,
    )  # fmt: skip


def test_many_frames_of_one_person_in_one_dataset_are_no_flood() -> None:
    assert {each.held for each in hold_floods([(1, match(1))] * 40, Recent())} == {None}


def test_one_person_in_many_datasets_at_once_is_held() -> None:
    rows = [(dataset, match(1)) for dataset in range(FLOOD_DATASETS)] + [(0, match(2))]
    assert [each.held for each in hold_floods(rows, Recent())] == [TEMPLATE_FLOOD] * FLOOD_DATASETS + [None]
    assert {each.held for each in hold_floods(rows[1:], Recent())} == {None}
    recent = Recent(datasets={UUID(int=1): {77}})
    assert hold_floods(rows[1:], recent)[0].held == TEMPLATE_FLOOD


def test_a_person_who_is_really_sold_everywhere_is_told() -> None:
    rows = [(dataset, match(1, band=Band.LIKELY)) for dataset in range(2 * FLOOD_DATASETS)]
    assert {each.held for each in hold_floods(rows, Recent())} == {None}


def test_a_dataset_in_which_a_large_part_of_all_people_are_found_is_held() -> None:
    rows = [(1, match(person)) for person in range(FLOOD_PEOPLE + 1)]
    assert {each.held for each in hold_floods(rows, Recent(enrolled=30))} == {DATASET_FLOOD}
    assert {each.held for each in hold_floods(rows, Recent(enrolled=1000))} == {None}
    assert {each.held for each in hold_floods(rows[1:], Recent(enrolled=30))} == {None}


def test_what_repeats_a_dataset_that_its_person_knows_is_no_flood() -> None:
    rows = [(dataset, match(1)) for dataset in range(FLOOD_DATASETS)]
    known = frozenset({(UUID(int=1), 0), (UUID(int=1), 3)})
    held = [each.held for each in hold_floods(rows, Recent(known=known))]
    assert held == [None, TEMPLATE_FLOOD, TEMPLATE_FLOOD, None, TEMPLATE_FLOOD]
    crowd = [(1, match(person)) for person in range(FLOOD_PEOPLE + 1)]
    known = frozenset({(UUID(int=4), 1)})
    held = [each.held for each in hold_floods(crowd, Recent(enrolled=30, known=known))]
    assert held.count(None) == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.booleans()), max_size=80))
def test_nothing_is_lost_and_what_was_held_stays_as_it_is(rows: list[tuple[int, int, bool]]) -> None:
    matches = [(dataset, match(person, "hub_suspect" if held else None)) for dataset, person, held in rows]
    judged = hold_floods(matches, Recent(enrolled=10))
    assert [each.subject_id for each in judged] == [each.subject_id for _, each in matches]
    for (_, before), after in zip(matches, judged, strict=True):
        assert before.held is None or after.held == before.held
