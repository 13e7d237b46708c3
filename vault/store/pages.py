"""Rows of `page` and `listing_page`: the frontier, and which listings show what lies there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vault.records import Page, PageKind
from vault.store import Connection
from vault.store.rows import record_row
from vault.store.work import MOST_ATTEMPTS

SOURCE_LOCK = 0x4657  # "FW": the first half of a two-part advisory lock, the second is the source's id


def lock_source(conn: Connection, source_id: int) -> bool:
    """One crawl a source: held by this connection until it closes."""
    row = conn.execute(
        "select pg_try_advisory_lock(%(lock)s, %(id)s)", {"lock": SOURCE_LOCK, "id": source_id}
    ).fetchone()
    return row == (True,)


def open_cycle(conn: Connection, source_id: int, *, due_only: bool) -> bool:
    """Begin or go on: pages that a dead crawl was at are ready again (we hold the source's lock); if nothing is left of
    the last crawl, every page is due once more - or, with `due_only`, those whose time has come, and where a crawl
    starts - and once more each picture and archive of a listing on offer that all tries were in vain for. True when a
    new cycle began."""
    free_pages(conn, source_id)
    if has_open(conn, source_id):
        return False
    with conn.transaction():
        begin_cycle(conn, source_id)
        conn.execute(
            """update page set state = 'ready', attempts = %(most)s - 1, hops = 0, not_before = null
               where source_id = %(id)s and kind <> 'page' and state = 'quarantined' and attempts >= %(most)s
                 and error_code not in ('http_404', 'http_410')
                 and exists (select from listing_page join listing using (listing_id)
                             where listing_page.page_id = page.page_id and listing.state <> 'removed')""",
            {"id": source_id, "most": MOST_ATTEMPTS},
        )
        cursor = conn.execute(
            """update page set state = 'ready', attempts = 0, hops = 0, not_before = null, error_code = null,
                               error_text = null, verdict = '', plain = false
               where source_id = %(id)s and kind = 'page'
                 and (not %(due)s or depth = 0 or next_at is null or next_at <= now())""",
            {"id": source_id, "due": due_only},
        )
    return cursor.rowcount > 0


def free_pages(conn: Connection, source_id: int) -> None:
    """Pages that a dead crawl was at are ready again; whoever asks holds the source's lock."""
    conn.execute(
        """update page set state = 'ready', lease_until = null, not_before = null
           where source_id = %(id)s and state = 'running'""",
        {"id": source_id},
    )


def begin_cycle(conn: Connection, source_id: int) -> None:
    conn.execute("update source set cycle_at = now() where source_id = %(id)s", {"id": source_id})


def offer_pages(conn: Connection, source_id: int, pages: Sequence[tuple[str, str, str]]) -> dict[str, int]:
    """Documents that were handed in, (url, url_key, etag) each: new ones are added, changed ones are ready once more.
    Returns url_key -> page_id of those that are still to be read."""
    values = {
        "source": source_id,
        "urls": [url for url, *_ in pages],
        "keys": [key for _, key, _ in pages],
        "etags": [etag for *_, etag in pages],
    }
    conn.execute(
        """insert into page (source_id, kind, url, url_key, etag)
           select %(source)s, 'page', url, url_key, etag
           from unnest(%(urls)s::text[], %(keys)s::text[], %(etags)s::text[]) as new (url, url_key, etag)
           on conflict (source_id, url_key) do update set etag = excluded.etag, state = 'ready', attempts = 0,
               not_before = null, error_code = null, error_text = null
           where page.etag is distinct from excluded.etag""",
        values,
    )
    rows = conn.execute(
        """select url_key, page_id from page
           where source_id = %(source)s and url_key = any(%(keys)s) and state = 'ready'""",
        values,
    ).fetchall()
    return dict(rows)


def reopen_changed(conn: Connection, source_id: int, files: Sequence[tuple[str, str]]) -> None:
    """Files that were kept before and are not as they were, (url_key, etag) each, are to be read again."""
    conn.execute(
        """update page set state = 'ready', attempts = 0, not_before = null
           from unnest(%(keys)s::text[], %(etags)s::text[]) as new (url_key, etag)
           where source_id = %(source)s and page.url_key = new.url_key and page.etag is distinct from new.etag
             and page.kind <> 'page' and state in ('done', 'quarantined')""",
        {"source": source_id, "keys": [key for key, _ in files], "etags": [etag for _, etag in files]},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPage:
    """An address for the frontier. `url_key`: SHA-256 of its canonical spelling; `found_on`: the page that leads
    there."""

    url: str
    url_key: str
    kind: PageKind
    depth: int
    hops: int = 0
    found_on: int | None = None


def add_pages(conn: Connection, source_id: int, pages: Sequence[NewPage]) -> tuple[dict[str, int], set[str]]:
    """Add addresses that the source does not know yet. Returns url_key -> page_id of all of them, and the keys of those
    that are new."""
    if not pages:
        return {}, set()
    rows = conn.execute(
        """with added as (
               insert into page (source_id, kind, url, url_key, depth, hops, found_on)
               select %(source)s, kind, url, url_key, depth, hops, found_on
               from unnest(%(kinds)s::text[], %(urls)s::text[], %(keys)s::text[], %(depths)s::int[], %(hops)s::int[],
                           %(found_on)s::bigint[]) as new (kind, url, url_key, depth, hops, found_on)
               on conflict (source_id, url_key) do nothing
               returning url_key, page_id)
           select url_key, page_id, true from added
           union all
           select url_key, page_id, false from page where source_id = %(source)s and url_key = any(%(keys)s)""",
        {
            "source": source_id,
            "kinds": [page.kind.value for page in pages],
            "urls": [page.url for page in pages],
            "keys": [page.url_key for page in pages],
            "depths": [page.depth for page in pages],
            "hops": [page.hops for page in pages],
            "found_on": [page.found_on for page in pages],
        },
    ).fetchall()
    return {key: page_id for key, page_id, _ in rows}, {key for key, _, new in rows if new}


def list_known_keys(conn: Connection, source_id: int, keys: Sequence[str]) -> set[str]:
    """Those of the keys that the source knows already."""
    rows = conn.execute(
        "select url_key from page where source_id = %(source)s and url_key = any(%(keys)s)",
        {"source": source_id, "keys": list(keys)},
    ).fetchall()
    return {key for (key,) in rows}


def list_claimed_pages(conn: Connection, page_ids: Sequence[int]) -> list[Page]:
    with conn.cursor(row_factory=record_row(Page)) as cursor:
        return cursor.execute(
            """select page_id, source_id, url, kind, depth, hops, sha256, etag, modified, text_size, link_count,
                      listing_count, attempts, token, plain
               from page
               where page_id = any(%(ids)s) order by page_id""",
            {"ids": list(page_ids)},
        ).fetchall()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """What a fetch says of its page. `sha256`, `etag`, `modified` are None where nothing new came."""

    page_id: int
    status: int
    sha256: str | None = None
    etag: str | None = None
    modified: str | None = None
    verdict: str = ""
    sizes: tuple[int, int, int] | None = None  # letters of text, links followed, listings; None: as they were
    moved_to: int | None = None
    changed: bool = False
    gone: bool = False  # should it come back it is read again, even if it is as it was
    left_out: int = 0  # pictures that lie in it and are not kept


def save_fetches(conn: Connection, fetches: Sequence[Fetch], every_hours: float) -> None:
    """Keep them, and say when to look again: a page that has not changed twice as long from now as last time (up to
    eight times the card's pace), one that has changed half as long (down to the card's pace)."""
    conn.execute(
        """with new as (
               select new.*, case when changed then greatest(%(hours)s, coalesce(check_hours, 0) / 2)
                                  else least(8 * %(hours)s,
                                             greatest(%(hours)s, 2 * coalesce(check_hours, %(hours)s / 2)))
                             end::real as hours
               from jsonb_to_recordset(%(fetches)s) as new (
                        page_id bigint, status integer, sha256 text, etag text, modified text, verdict text,
                        text_size integer, link_count integer, listing_count integer, moved_to bigint,
                        changed boolean, gone boolean, left_out integer)
               join page using (page_id))
           update page set status = new.status,
                  sha256 = case when not gone then coalesce(new.sha256, page.sha256) end,
                  etag = case when new.sha256 is null and not gone then page.etag else new.etag end,
                  modified = case when new.sha256 is null and not gone then page.modified else new.modified end,
                  verdict = new.verdict, moved_to = new.moved_to, left_out = new.left_out,
                  text_size = coalesce(new.text_size, page.text_size),
                  link_count = coalesce(new.link_count, page.link_count),
                  listing_count = coalesce(new.listing_count, page.listing_count), fetched_at = now(),
                  check_hours = new.hours, next_at = now() + make_interval(secs => 3600 * 0.95 * new.hours)
           from new where page.page_id = new.page_id""",
        {"hours": every_hours, "fetches": json.dumps([_fetch_row(fetch) for fetch in fetches])},
    )


def _fetch_row(fetch: Fetch) -> dict[str, Any]:
    text_size, link_count, listing_count = fetch.sizes or (None, None, None)
    return {
        "page_id": fetch.page_id,
        "status": fetch.status,
        "sha256": fetch.sha256,
        "etag": fetch.etag,
        "modified": fetch.modified,
        "verdict": fetch.verdict,
        "moved_to": fetch.moved_to,
        "text_size": text_size,
        "link_count": link_count,
        "listing_count": listing_count,
        "changed": fetch.changed,
        "gone": fetch.gone,
        "left_out": fetch.left_out,
    }


def leads_back(conn: Connection, page_id: int, target_id: int, most_hops: int) -> bool:
    """Does the chain of redirects from `target_id` come back to `page_id`? Those of this cycle: one that was seen
    before may have turned round."""
    row = conn.execute(
        """with recursive way (page_id, moved_to, steps) as (
               select page_id, case when fetched_at >= cycle_at then moved_to end, 1
               from page join source using (source_id) where page_id = %(target)s
               union all
               select page.page_id, case when fetched_at >= cycle_at then page.moved_to end, steps + 1
               from way join page on page.page_id = way.moved_to join source using (source_id)
               where steps < %(most)s)
           select 1 from way where page_id = %(page)s limit 1""",
        {"page": page_id, "target": target_id, "most": most_hops},
    ).fetchone()
    return row is not None


def has_open(conn: Connection, source_id: int) -> bool:
    """Is any page still to be fetched?"""
    row = conn.execute(
        """select exists (select 1 from page where source_id = %(id)s and state = 'ready' and attempts = 0)
               or exists (select 1 from page where source_id = %(id)s and attempts > 0
                          and state in ('ready', 'running'))""",
        {"id": source_id},
    ).fetchone()
    return row == (True,)


def count_truncated(conn: Connection, source_id: int) -> int:
    """Documents of a source that end early, as they were read last."""
    row = conn.execute(
        "select count(*) from page where source_id = %(id)s and verdict = 'truncated'", {"id": source_id}
    ).fetchone()
    return int(row[0]) if row else 0


def count_open(conn: Connection, source_id: int) -> int:
    """Pages that are still to be fetched."""
    row = conn.execute(
        "select count(*) from page where source_id = %(id)s and state in ('ready', 'running')", {"id": source_id}
    ).fetchone()
    return int(row[0]) if row else 0


def count_missed(conn: Connection, source_id: int) -> int:
    """Addresses that were asked for in this cycle, in vain, as often as any is: they may be there all the same."""
    row = conn.execute(
        """select count(*) from page join source using (source_id)
           where page.source_id = %(id)s and page.state = 'quarantined' and attempts >= %(most)s
             and (fetched_at >= cycle_at or error_code = 'attempts_exhausted')
             and error_code not in ('http_404', 'http_410')""",
        {"id": source_id, "most": MOST_ATTEMPTS},
    ).fetchone()
    return int(row[0]) if row else 0


def count_pages(conn: Connection, source_id: int) -> int:
    """Pages known of a source, pictures and archives not among them."""
    row = conn.execute(
        "select count(*) from page where source_id = %(id)s and kind = 'page'", {"id": source_id}
    ).fetchone()
    return int(row[0]) if row else 0


def link_pages(conn: Connection, listing_id: int, page_ids: list[int]) -> list[tuple[int, str, str]]:
    """Say that a listing shows what lies at these pages. Returns those that were fetched before and are no sample of
    this listing yet: (page_id, kind, sha256)."""
    conn.execute(
        """insert into listing_page (listing_id, page_id) select %(listing)s, unnest(%(pages)s::bigint[])
           on conflict do nothing""",
        {"listing": listing_id, "pages": page_ids},
    )
    return conn.execute(
        """select page_id, kind, sha256 from page
           where page_id = any(%(pages)s) and state = 'done' and sha256 is not null and kind <> 'page'
             and not exists (select 1 from sample where sample.page_id = page.page_id
                             and sample.listing_id = %(listing)s)""",
        {"pages": page_ids, "listing": listing_id},
    ).fetchall()


def find_offer(conn: Connection, page_id: int) -> bool:
    """Does a listing show what lies at this page, or is one shown where the link to it was found? Then that one does.
    A page of many listings says of none that it leads there."""
    row = conn.execute(
        """with linked as (select from listing_page where page_id = %(id)s limit 1),
                above as (select listing_id from listing join page on listing.page_id = page.found_on
                          where page.page_id = %(id)s limit 2),
                added as (insert into listing_page (listing_id, page_id)
                          select min(listing_id), %(id)s from above
                          where not exists (select from linked) having count(*) = 1 returning 1)
           select exists (select from linked) or exists (select from added)""",
        {"id": page_id},
    ).fetchone()
    return row == (True,)


def retype_page(conn: Connection, page_id: int, kind: PageKind) -> None:
    """What a link called a page is a picture or an archive."""
    conn.execute("update page set kind = %(kind)s where page_id = %(id)s", {"id": page_id, "kind": kind.value})


def retype_offered(conn: Connection, offers: Sequence[tuple[int, PageKind]]) -> None:
    """A listing shows what lies at these addresses, (page_id, kind) each, which links may have called pages; those that
    are none are fetched once more."""
    conn.execute(
        """update page set kind = new.kind, state = 'ready', attempts = 0, not_before = null
           from unnest(%(ids)s::bigint[], %(kinds)s::text[]) as new (page_id, kind)
           where page.page_id = new.page_id and page.kind = 'page'
             and (state = 'ready' and attempts = 0 or state = 'quarantined' and error_code = 'not_a_page')""",
        {"ids": [page_id for page_id, _ in offers], "kinds": [kind.value for _, kind in offers]},
    )


def count_images(conn: Connection, listing_id: int) -> int:
    """Pictures that a listing is known to show."""
    row = conn.execute(
        """select count(*) from listing_page join page using (page_id)
           where listing_id = %(id)s and kind = 'image'""",
        {"id": listing_id},
    ).fetchone()
    return int(row[0]) if row else 0


def move_links(conn: Connection, from_page: int, to_page: int) -> None:
    """A page redirects: its listings show what lies behind it."""
    conn.execute(
        """insert into listing_page (listing_id, page_id)
           select listing_id, %(to)s from listing_page where page_id = %(from)s on conflict do nothing""",
        {"from": from_page, "to": to_page},
    )


def fetch_plainly(conn: Connection, page_id: int) -> None:
    """The next try is without a browser, for this cycle."""
    conn.execute("update page set plain = true where page_id = %(id)s", {"id": page_id})


def reopen_page(conn: Connection, page_id: int) -> None:
    """Fetch it again: its content is wanted once more and was dropped."""
    conn.execute(
        "update page set state = 'ready', attempts = 0, not_before = null where page_id = %(id)s and state = 'done'",
        {"id": page_id},
    )


def find_kept_size(conn: Connection, sha256: str) -> int | None:
    """The size of a blob that is still kept, held against removal until the transaction ends."""
    row = conn.execute("select size from blob where sha256 = %(sha256)s for key share", {"sha256": sha256}).fetchone()
    return int(row[0]) if row else None
