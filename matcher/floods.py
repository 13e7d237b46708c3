"""Floods, as a pure function: in come matches and what was matched lately, out come the same matches, held where a
person or a dataset is matched far more often than strangers explain. A flood is one item for review, not many alerts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from vault.records import Band, Match

HOURS = 24
# Datasets in which one person is matched weakly within HOURS. Listings that sell one set are one dataset, and a false
# match of one template is expected in very few days: so many at once are a template that lures ("lamb": Doddington et
# al. 1998), and somebody has to look. Whoever is really sold everywhere has matches of a higher band among them.
FLOOD_DATASETS = 5
# People who are alerted of one dataset within HOURS, as a share of all who are enrolled, and at least so many: a leak
# of a bank's customers is found among them, and then one look by its team stands before a thousand messages.
FLOOD_SHARE = 0.2
FLOOD_PEOPLE = 25
TEMPLATE_FLOOD = "template_flood"
DATASET_FLOOD = "dataset_flood"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """What was matched in the last HOURS: the datasets in which each person was matched weakly, the people of each
    dataset; how many are enrolled; and of whom it is known already, whenever it was found, that they are in a dataset
    (person, dataset)."""

    datasets: dict[UUID, set[int]] = field(default_factory=dict)
    people: dict[int, set[UUID]] = field(default_factory=dict)
    enrolled: int = 0
    known: frozenset[tuple[UUID, int]] = frozenset()


def hold_floods(matches: Iterable[tuple[int, Match]], recent: Recent) -> list[Match]:
    """(dataset_id, match) pairs to matches in the same order. A match that is held already stays as it is, but counts
    neither for nor against others. One that repeats what its person knows is no flood: nobody is told anything new."""
    rows = list(matches)
    datasets: dict[UUID, set[int]] = defaultdict(set, {who: set(them) for who, them in recent.datasets.items()})
    people: dict[int, set[UUID]] = defaultdict(set, {which: set(them) for which, them in recent.people.items()})
    for dataset_id, match in rows:
        if match.held is None:
            if match.band is Band.POSSIBLE:
                datasets[match.subject_id].add(dataset_id)
            people[dataset_id].add(match.subject_id)
    most = max(FLOOD_PEOPLE, FLOOD_SHARE * recent.enrolled)

    def judge(dataset_id: int, match: Match) -> Match:
        if match.held is not None or (match.subject_id, dataset_id) in recent.known:
            return match
        if len(people[dataset_id]) > most:
            return replace(match, held=DATASET_FLOOD)
        if match.band is Band.POSSIBLE and len(datasets[match.subject_id]) >= FLOOD_DATASETS:
            return replace(match, held=TEMPLATE_FLOOD)
        return match

    return [judge(dataset_id, match) for dataset_id, match in rows]
