"""Do two listings sell the same set? As pure functions: in comes where a listing's pictures are shown besides, out come
the listings that it shares its dataset with.

Which numbers, and why:

- SHARED: two pictures may be a seller's portrait and a sign; chance never gives three, for strangers' pictures are not
  near each other (`vault/phash.py`). Counted on both sides, so that one picture shown in many versions stays one.
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

from vault.store.datasets import Link, Sighting

SHARED = 3
SHARE = 0.2
DATASETS = 8
WHOLE = 0.8


def count_overlaps(
    listing_id: int, dataset_id: int, size: int, sightings: Iterable[Sighting], sizes: Mapping[int, int]
) -> list[Link]:
    """What a listing of `size` pictures shares with each listing of another dataset (`sizes`: how many pictures those
    show)."""
    datasets: dict[str, set[int]] = defaultdict(set)
    pairs: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for seen in sightings:
        if seen.dataset_id != dataset_id:
            datasets[seen.ours].add(seen.dataset_id)
            pairs[seen.listing_id].add((seen.ours, seen.theirs))
    common = {picture for picture, found in datasets.items() if len(found) > DATASETS}
    links = []
    for other_id, found in sorted(pairs.items()):
        other_size = sizes[other_id]
        kept = {(ours, theirs) for ours, theirs in found if ours not in common}
        if is_whole(count_shared(found), size, other_size):
            kept = found
        links.append(
            Link(
                listing_id=listing_id,
                other_id=other_id,
                reason="overlap",
                shared=count_shared(kept),
                exact=len({ours for ours, theirs in kept if ours == theirs}),
                common=len({ours for ours, _ in found - kept}),
                listing_size=size,
                other_size=other_size,
            )
        )
    return links


def count_shared(pairs: set[tuple[str, str]]) -> int:
    """Different pictures that both sides show."""
    return min(len({ours for ours, _ in pairs}), len({theirs for _, theirs in pairs}))


def is_whole(shared: int, size: int, other_size: int) -> bool:
    return shared >= WHOLE * max(size, other_size)


def decide(link: Link) -> bool:
    """Is this overlap enough for one dataset? At least SHARED pictures, and SHARE of what the smaller listing
    shows besides the common ones."""
    smaller = max(1, min(link.listing_size, link.other_size) - link.common)
    return link.shared >= SHARED and link.shared >= SHARE * smaller
