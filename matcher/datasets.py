"""Do two listings sell the same set? As pure functions: in comes where a listing's pictures are shown besides, out come
the listings that it shares its dataset with.

Which numbers, and why:

- GROUPS: two pictures may be a seller's portrait and a sign; chance gives none (`vault/phash.py`). Pictures that are
  near each other are one group: a picture in many versions, a dozen frames of one person, or the backs of everybody's
  ID cards, which a scanner makes alike. So the backs of two unrelated sets are one group, however many they are.
- FRAMES: as many pictures of one group count as a liveness check leaves frames.
- SHARE: two thirds of the smallest overlap that a resale is to be known by (30 %), since some of what is shared was
  cropped or refused; of the smaller listing's pictures, since a few samples of an archive are all of the one and little
  of the other.
- DATASETS: a picture that more datasets than this show is a banner, a badge or an example of how to hold the card, and
  counts for nothing. True resales do not come so far: they are one dataset as soon as they are compared.
- WHOLE: unless nearly all of both listings is the same. A set that was posted in thirty boards before anybody compared
  them is a resale too, and listings with goods of their own never share so much furniture.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from vault.store.datasets import Link
from vault.store.hashes import Sighting

GROUPS = 3
FRAMES = 12
SHARE = 0.2
DATASETS = 8
WHOLE = 0.8

Pairs = set[tuple[str, str]]


def count_overlaps(
    listing_id: int, dataset_id: int, size: int, sightings: Iterable[Sighting], sizes: Mapping[int, int]
) -> list[Link]:
    """What a listing of `size` pictures shares with each listing of another dataset (`sizes`: how many pictures those
    show)."""
    datasets: dict[str, set[int]] = defaultdict(set)
    pairs: dict[int, Pairs] = defaultdict(set)
    for seen in sightings:
        if seen.dataset_id != dataset_id:
            datasets[seen.ours].add(seen.dataset_id)
            pairs[seen.listing_id].add((seen.ours, seen.theirs))
    common = {picture for picture, found in datasets.items() if len(found) > DATASETS}
    links = []
    for other_id, found in sorted(pairs.items()):
        is_whole = sum(count_groups(found)) >= WHOLE * max(size, sizes[other_id])
        kept = found if is_whole else {pair for pair in found if pair[0] not in common}
        counts = count_groups(kept)
        links.append(
            Link(
                listing_id=listing_id,
                other_id=other_id,
                reason="overlap",
                shared=sum(counts),
                exact=len({ours for ours, theirs in kept if ours == theirs}),
                groups=len(counts),
                common=len({ours for ours, _ in found - kept}),
                listing_size=size,
                other_size=sizes[other_id],
            )
        )
    return links


def count_groups(pairs: Pairs) -> list[int]:
    """Of (ours, theirs) that are near each other: for each group of pictures that hang together, how many different
    ones both sides show, FRAMES at most."""
    sides: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for ours, theirs in pairs:
        sides[0].setdefault(ours, []).append(theirs)
        sides[1].setdefault(theirs, []).append(ours)
    counts, seen = [], set[tuple[int, str]]()
    for first in sides[0]:
        waiting, members = [(0, first)], (set[str](), set[str]())
        while waiting:
            side, picture = waiting.pop()
            if (side, picture) not in seen:
                seen.add((side, picture))
                members[side].add(picture)
                waiting += [(1 - side, other) for other in sides[side][picture]]
        if members[0]:
            counts.append(min(len(members[0]), len(members[1]), FRAMES))
    return counts


def decide(link: Link) -> bool:
    """Is this overlap enough for one dataset? At least GROUPS different pictures, and SHARE of what the smaller listing
    shows besides the common ones."""
    smaller = max(1, min(link.listing_size, link.other_size) - link.common)
    return link.groups >= GROUPS and link.shared >= SHARE * smaller
