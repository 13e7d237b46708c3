"""Grouping, as a pure function: matches become one alert per person and dataset."""

from collections.abc import Iterable
from uuid import UUID

from vault.records import Band, Match

STRENGTH = tuple(Band)  # weakest first


def group_matches(matches: Iterable[tuple[int, Match]]) -> dict[tuple[UUID, int], Band]:
    """(dataset_id, match) pairs to (subject_id, dataset_id) -> strongest band, in a fixed order (so that two workers
    take the rows of `alert` in the same order). Held matches raise no alert."""
    bands: dict[tuple[UUID, int], Band] = {}
    for dataset_id, match in matches:
        if match.held:
            continue
        key = (match.subject_id, dataset_id)
        if key not in bands or STRENGTH.index(match.band) > STRENGTH.index(bands[key]):
            bands[key] = match.band
    return dict(sorted(bands.items(), key=lambda item: (item[0][0].int, item[0][1])))
