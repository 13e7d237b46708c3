"""What makes two listings one dataset, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.datasets import DATASETS, FRAMES, count_groups, count_overlaps, decide
from vault.store.datasets import Link
from vault.store.hashes import Sighting


def see(pairs: dict[str, str], listing_id: int = 2, dataset_id: int | None = None) -> list[Sighting]:
    return [
        Sighting(ours=ours, theirs=theirs, listing_id=listing_id, dataset_id=dataset_id or listing_id)
        for ours, theirs in pairs.items()
    ]


def copies(count: int, first: int = 0) -> dict[str, str]:
    """`count` pictures and their re-encoded copies."""
    return {f"a{number}": f"b{number}" for number in range(first, first + count)}


def judge(sightings: list[Sighting], size: int, sizes: dict[int, int]) -> dict[int, bool]:
    return {link.other_id: decide(link) for link in count_overlaps(1, 1, size, sightings, sizes)}


@pytest.mark.parametrize(
    ("shared", "size", "other", "joined"),
    [
        (150, 500, 500, True),
        (100, 500, 500, True),
        (99, 500, 500, False),
        (3, 6, 6, True),
        (2, 2, 2, False),
        (3, 10_000, 9, True),
        (3, 9, 10_000, True),
        (3, 10_000, 10_000, False),
    ],
)
def test_enough_pictures_and_enough_of_the_smaller_listing(shared: int, size: int, other: int, joined: bool) -> None:
    assert judge(see(copies(shared)), size, {2: other}) == {2: joined}


def test_what_too_many_datasets_show_does_not_count() -> None:
    badges = [sighting for other in range(2, DATASETS + 3) for sighting in see(copies(5), other)]
    own = see(copies(2, first=100), 2)
    sizes = dict.fromkeys(range(2, DATASETS + 3), 10)
    assert not any(judge([*badges, *own], 10, sizes).values())
    links = count_overlaps(1, 1, 10, [*badges, *own], sizes)
    assert [(link.shared, link.common) for link in links][:2] == [(2, 5), (0, 5)]
    assert judge([*badges, *see(copies(3, first=100), 2)], 10, sizes)[2]


def test_a_set_that_was_posted_everywhere_at_once_is_still_one() -> None:
    everywhere = [sighting for other in range(2, 40) for sighting in see(copies(9), other)]
    assert all(judge(everywhere, 10, dict.fromkeys(range(2, 40), 10)).values())


def test_datasets_count_and_not_listings() -> None:
    """Thirty resales that were found to be one dataset do not make their pictures common."""
    resold = [sighting for other in range(2, 32) for sighting in see(copies(5), other, dataset_id=2)]
    assert all(judge(resold, 10, dict.fromkeys(range(2, 32), 10)).values())


def test_the_backs_of_cards_are_one_picture_however_many_there_are() -> None:
    backs = [
        Sighting(ours=f"a{ours}", theirs=f"b{theirs}", listing_id=2, dataset_id=2)
        for ours in range(30)
        for theirs in range(30)
    ]
    assert judge(backs, 90, {2: 90}) == {2: False}
    (link,) = count_overlaps(1, 1, 90, backs, {2: 90})
    assert (link.shared, link.groups) == (FRAMES, 1)


def test_one_picture_in_many_versions_is_one() -> None:
    assert count_groups({(f"a{number}", "b") for number in range(9)}) == [1]


def test_ones_own_dataset_is_nothing_new() -> None:
    assert count_overlaps(1, 1, 10, see(copies(10), 2, dataset_id=1), {2: 10}) == []


def test_a_link_says_what_was_counted() -> None:
    pairs = copies(4) | {"same": "same"}
    (link,) = count_overlaps(1, 1, 20, see(pairs), {2: 9})
    assert link == Link(listing_id=1, other_id=2, reason="overlap", shared=5, exact=1, groups=5, common=0,
                        listing_size=20, other_size=9)  # fmt: skip


@given(pairs=st.sets(st.tuples(st.integers(0, 9).map(str), st.integers(0, 9).map(str)), max_size=30))
def test_groups_are_the_same_from_both_sides_and_no_picture_is_in_two(pairs: set[tuple[str, str]]) -> None:
    counts = count_groups(pairs)
    assert sorted(counts) == sorted(count_groups({(theirs, ours) for ours, theirs in pairs}))
    assert sum(counts) <= min(len({ours for ours, _ in pairs}), len({theirs for _, theirs in pairs}))
    assert all(count >= 1 for count in counts)
    assert bool(counts) == bool(pairs)
