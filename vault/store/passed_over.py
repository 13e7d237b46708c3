"""Rows of `passed_over`: files that lay beside samples and are none, counted by format."""

from collections import Counter
from collections.abc import Mapping

from vault.store import Connection

MOST_KINDS = 20  # of one place, the commonest; a hostile archive could have as many as files
OTHERS = "others"


def save_passed_over(conn: Connection, source_id: int, places: Mapping[str, Mapping[str, int]]) -> None:
    """What was passed over at each of these places (an address) is this now, however often it was looked at."""
    conn.execute(
        "delete from passed_over where source_id = %(source)s and place = any(%(places)s)",
        {"source": source_id, "places": list(places)},
    )
    rows = [(place, kind, files) for place, kinds in places.items() for kind, files in fold(kinds).items() if files]
    conn.execute(
        """insert into passed_over (source_id, place, kind, files)
           select %(source)s, place, kind, files
           from unnest(%(places)s::text[], %(kinds)s::text[], %(files)s::integer[]) as new (place, kind, files)""",
        {
            "source": source_id,
            "places": [place for place, _, _ in rows],
            "kinds": [kind for _, kind, _ in rows],
            "files": [files for _, _, files in rows],
        },
    )


def fold(kinds: Mapping[str, int]) -> dict[str, int]:
    """The commonest kinds, and the others together."""
    ordered = Counter(kinds).most_common()
    rest = sum(files for _, files in ordered[MOST_KINDS:])
    return dict(ordered[:MOST_KINDS]) | ({OTHERS: rest} if rest else {})


def count_passed_over(conn: Connection) -> dict[str, dict[str, int]]:
    """Source -> kind -> files, the commonest first."""
    found: dict[str, dict[str, int]] = {}
    for name, kind, files in conn.execute(
        """select name, kind, sum(files)::bigint from passed_over join source using (source_id)
           group by 1, 2 order by 1, 3 desc, 2"""
    ):
        found.setdefault(name, {})[kind] = files
    return found
