"""Rows of `picture_hash` and `linking`: what pictures look like, who shows the like, which listings wait for a look."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vault.phash import MASKS, NEAR, list_bands
from vault.store import Connection
from vault.store.rows import record_row

MOST_ALIKE = 100  # pictures near one picture, and listings that show one of them: more say nothing new


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """A picture of the listing that is looked at (`ours`), and one near it (`theirs`) that another listing shows."""

    ours: str
    theirs: str
    listing_id: int
    dataset_id: int


def save_hashes(conn: Connection, hashes: dict[str, bytes]) -> None:
    """Keep the perceptual hashes of pictures, by SHA-256; one that is known is left as it is."""
    rows = sorted(hashes.items())  # in one order, so that two workers never wait for each other
    conn.execute(
        """insert into picture_hash (sha256, phash, bands)
           select sha256, phash::bit(256), bands::integer[]
           from unnest(%(sha256)s::text[], %(hashes)s::text[], %(bands)s::text[]) as new (sha256, phash, bands)
           on conflict do nothing""",
        {
            "sha256": [sha256 for sha256, _ in rows],
            "hashes": [f"{int.from_bytes(phash, 'little'):0256b}" for _, phash in rows],
            "bands": ["{" + ",".join(map(str, list_bands(phash))) + "}" for _, phash in rows],
        },
    )


def ask_linking(conn: Connection, listing_ids: Iterable[int]) -> None:
    """These listings have new samples: they are to be compared, again if that is just being done."""
    conn.cursor().executemany(
        """insert into linking (listing_id) values (%(id)s)
           on conflict (listing_id) do update
               set again = linking.state = 'running', not_before = null,
                   state = case linking.state when 'running' then 'running' else 'ready' end,
                   attempts = case linking.state when 'running' then linking.attempts else 0 end""",
        [{"id": listing_id} for listing_id in sorted(set(listing_ids))],
    )


def renew_linking(conn: Connection, listing_id: int) -> None:
    """After the work on a listing is finished: if more samples came meanwhile, it is ready once more."""
    conn.execute(
        "update linking set state = 'ready', attempts = 0, again = false where listing_id = %(id)s and again",
        {"id": listing_id},
    )


def list_hashed_samples(conn: Connection, listing_id: int) -> list[int]:
    """The samples of a listing whose picture has a hash."""
    rows = conn.execute(
        """select sample_id from sample join picture_hash using (sha256)
           where listing_id = %(id)s and kind = 'image' order by sample_id""",
        {"id": listing_id},
    ).fetchall()
    return [sample_id for (sample_id,) in rows]


def list_sightings(conn: Connection, sample_ids: Sequence[int]) -> list[Sighting]:
    """Where pictures within NEAR bits of these samples' are shown by other listings. What two listings show from one
    address is the furniture of their page, not a sample of what they sell, and is left out; an archive is not. Listings
    of a source that is not open see, and are seen by, those of their own source only."""
    with conn.cursor(row_factory=record_row(Sighting)) as cursor:
        return cursor.execute(
            """select mine.sha256 as ours, found.sha256 as theirs, shown.listing_id, shown.dataset_id
               from sample as mine join picture_hash as own on own.sha256 = mine.sha256
               join listing as shows on shows.listing_id = mine.listing_id
               join source as home on home.source_id = shows.source_id
               cross join lateral (
                   select array_agg(band # mask) as probes
                   from unnest(own.bands) as band, unnest(%(masks)s::int[]) as mask) as near
               cross join lateral (
                   select other.sha256 from picture_hash as other
                   where other.bands && near.probes and bit_count(own.phash # other.phash) <= %(near)s
                   limit %(most)s) as found
               cross join lateral (
                   select listing.listing_id, listing.dataset_id
                   from sample join listing using (listing_id) join source using (source_id)
                   where sample.sha256 = found.sha256 and kind = 'image' and sample.listing_id <> mine.listing_id
                     and (source_id = home.source_id or (source.visibility = 'open' and home.visibility = 'open'))
                     and (sample.page_id <> mine.page_id or sample.archive_id is not null)
                   limit %(most)s) as shown
               where mine.sample_id = any(%(ids)s)""",
            {"ids": list(sample_ids), "masks": MASKS, "near": NEAR, "most": MOST_ALIKE},
            prepare=False,  # the plan for any values, which PostgreSQL makes after ten calls, took 30 times as long
        ).fetchall()


def count_pictures(conn: Connection, listing_ids: Iterable[int]) -> dict[int, int]:
    """listing -> how many pictures it shows that have a hash, or may have one once they are opened."""
    rows = conn.execute(
        """select listing_id, count(*) from sample left join picture_hash using (sha256)
           where listing_id = any(%(ids)s) and kind = 'image'
             and (bands is not null or state in ('ready', 'running'))
           group by listing_id""",
        {"ids": list(listing_ids)},
    ).fetchall()
    return dict(rows)
