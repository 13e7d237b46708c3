"""What came out of a run, read back from rows and held against the planted truth."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from vault.keys import Keys
from vault.store import Connection
from vault.store.samples import count_refusals
from vault.store.status import count_states
from vault.store.subjects import find_subject


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Figures of a run. Alerts are (person, listing address), photos (person, listing address, SHA-256)."""

    pages: int
    listings: int
    samples: int
    faces: int
    matches: int
    held: int
    refused: dict[str, int]
    alerts: frozenset[tuple[str, str]]
    photos: frozenset[tuple[str, str, str]]
    states: dict[str, dict[str, int]]


def read_outcome(conn: Connection, people: dict[UUID, str]) -> Outcome:
    """`people`: subject_id -> name of everybody the demo enrolled."""
    return Outcome(
        pages=count(conn, "select count(*) from page where kind = 'page'"),
        listings=count(conn, "select count(*) from listing"),
        samples=count(conn, "select count(*) from sample where kind = 'image'"),
        faces=count(conn, "select count(*) from face"),
        matches=count(conn, "select count(*) from match"),
        held=count(conn, "select count(*) from match where held is not null"),
        refused=count_refusals(conn),
        alerts=frozenset(
            (people.get(subject_id, str(subject_id)), url)
            for subject_id, url in conn.execute(
                """select distinct subject_id, url from match join alert using (alert_id, subject_id)
                   join face using (face_id) join sample using (sample_id) join listing using (listing_id)"""
            ).fetchall()
        ),
        photos=frozenset(
            (people.get(subject_id, str(subject_id)), url, sha256)
            for subject_id, url, sha256 in conn.execute(
                """select subject_id, listing.url, sample.sha256 from match join face using (face_id)
                   join sample using (sample_id) join listing using (listing_id) where held is null"""
            ).fetchall()
        ),
        states=count_states(conn),
    )


def count(conn: Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def list_results(conn: Connection, people: dict[UUID, str]) -> list[list[Any]]:
    """What must be the same in two runs over the same markets, whatever was killed in one: listing, sample, face
    box in whole pixels, person, alert, states. No ids, times or attempts."""
    rows = conn.execute(
        """select listing.url, coalesce(sample.sha256, ''), sample.kind, sample.state::text,
                  coalesce(sample.error_code, ''),
                  round(face.x)::int, round(face.y)::int, round(face.width)::int, round(face.height)::int,
                  coalesce(face.state::text, ''), coalesce(face.outcome, ''), match.subject_id,
                  match.alert_id is not null,
                  coalesce(alert.state, '')
           from sample join listing using (listing_id) left join face using (sample_id)
           left join match using (face_id) left join alert using (alert_id)"""
    ).fetchall()
    named = [[*row[:11], people.get(row[11], "") if row[11] else "", *row[12:]] for row in rows]
    return sorted(named, key=lambda row: [str(value) for value in row])


def find_people(conn: Connection, keys: Keys, addresses: dict[str, str]) -> dict[UUID, str]:
    """subject_id -> name, for the addresses (name -> address) that are enrolled."""
    found = ((name, find_subject(conn, keys, address)) for name, address in addresses.items())
    return {subject_id: name for name, subject_id in found if subject_id is not None}


def is_settled(states: dict[str, dict[str, int]]) -> bool:
    """Is every row that a step works on in a final state?"""
    return not any(counts.get("ready") or counts.get("running") for counts in states.values())
