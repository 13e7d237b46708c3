"""Rows of `listing`, `listing_version`, `listing_event` and `dataset`: what is offered, and its life.

A listing is offered, sold, removed or moved; every change is an event with the capture that shows it.
"""

from vault.records import Listing
from vault.store import Connection
from vault.store.datasets import Link, join_datasets, lock_datasets

TEXTS = ("title", "seller", "description", "price_text", "claimed_text")  # what makes a new version when it changes


def save_listing(conn: Connection, source_id: int, page_id: int, listing: Listing, capture_id: int) -> int:
    """Keep a listing as it is now: a new one founds its dataset, a changed one gets a new version, and whatever
    happened to it is an event. Returns its id."""
    state = "sold" if listing.sold else "offered"
    known = conn.execute(
        """update listing set last_seen = now(), page_id = %(page)s, state = %(state)s, moved_to = null
           from (select listing_id, state from listing where source_id = %(source)s and url = %(url)s for update) as old
           where listing.listing_id = old.listing_id returning listing.listing_id, old.state""",
        {"source": source_id, "url": listing.url, "page": page_id, "state": state},
    ).fetchone()
    listing_id = int(known[0]) if known else _add_listing(conn, source_id, page_id, listing.url, state)
    before = _newest_text(conn, listing_id)
    changed = [] if before is None else [n for n, old in zip(TEXTS, before, strict=True) if old != getattr(listing, n)]
    if before is None or changed:
        _add_version(conn, listing_id, listing, capture_id, changed)
    if known is None:
        add_event(conn, listing_id, "new", capture_id)
    elif known[1] != state:
        add_event(conn, listing_id, "sold" if state == "sold" else "back", capture_id, f"was {known[1]}")
    if changed:
        add_event(conn, listing_id, "changed", capture_id, ", ".join(changed))
    return listing_id


def add_event(conn: Connection, listing_id: int, kind: str, capture_id: int | None, detail: str = "") -> None:
    conn.execute(
        """insert into listing_event (listing_id, kind, capture_id, detail)
           values (%(listing)s, %(kind)s, %(capture)s, %(detail)s)""",
        {"listing": listing_id, "kind": kind, "capture": capture_id, "detail": detail},
    )


def settle_cycle(conn: Connection, source_id: int) -> None:
    """At the end of a cycle: what its own page no longer shows is removed, and what went while the same words came
    elsewhere has moved. Only pages that were read in this cycle, and were themselves, say anything."""
    with conn.transaction():
        lock_datasets(conn, change=True)  # before any row is held: whoever merges datasets holds it and waits for rows
        _remove_unseen(conn, source_id)
        _settle_moves(conn, source_id)


def _remove_unseen(conn: Connection, source_id: int) -> None:
    conn.execute(
        """with gone as (
               update listing set state = 'removed' from page, source
               where listing.source_id = %(source)s and source.source_id = %(source)s
                 and listing.state in ('offered', 'sold') and last_seen < cycle_at
                 and page.page_id = listing.page_id and page.fetched_at >= cycle_at
                 and (page.state = 'done' and page.verdict in ('', 'empty')
                      or page.error_code in ('http_404', 'http_410', 'soft_404'))
               returning listing_id, page.page_id,
                         coalesce(page.error_code, case when page.moved_to is null then 'not on its page'
                                                        else 'redirected' end) as why)
           insert into listing_event (listing_id, kind, capture_id, detail)
           select listing_id, 'removed',
                  (select max(capture_id) from capture where capture.page_id = gone.page_id), why from gone""",
        {"source": source_id},
    )


def _settle_moves(conn: Connection, source_id: int) -> None:
    """One that went in this cycle and one that came in it, with the same words and no rival, are one that moved, and
    their datasets are one."""
    rows = conn.execute(
        """with newest as (
               select distinct on (listing_id) listing_id, title, seller, description, price_text, claimed_text
               from listing_version join listing using (listing_id) where source_id = %(source)s
               order by listing_id, version desc),
           went as (
               select listing_id, title, seller, description, price_text, claimed_text
               from listing join newest using (listing_id) join source using (source_id)
               where listing.state = 'removed' and exists (
                   select 1 from listing_event where listing_event.listing_id = listing.listing_id
                   and kind = 'removed' and at >= cycle_at)),
           came as (
               select listing_id, title, seller, description, price_text, claimed_text
               from listing join newest using (listing_id) join source using (source_id)
               where first_seen >= cycle_at and listing.state <> 'removed'),
           pairs as (
               select went.listing_id as old, came.listing_id as new
               from went join came using (title, seller, description, price_text, claimed_text))
           select old, new from pairs
           where (select count(*) from pairs as other where other.old = pairs.old or other.new = pairs.new) = 1""",
        {"source": source_id},
    ).fetchall()
    for old, new in rows:
        conn.execute(
            "update listing set state = 'moved', moved_to = %(new)s where listing_id = %(old)s",
            {"old": old, "new": new},
        )
        add_event(conn, old, "moved", None, f"to listing {new}")
        join_datasets(conn, Link(listing_id=new, other_id=old, reason="moved"))


def _newest_text(conn: Connection, listing_id: int) -> tuple[str, ...] | None:
    return conn.execute(
        """select title, seller, description, price_text, claimed_text from listing_version
           where listing_id = %(id)s order by version desc limit 1""",
        {"id": listing_id},
    ).fetchone()


def _add_version(conn: Connection, listing_id: int, listing: Listing, capture_id: int, changed: list[str]) -> None:
    conn.execute(
        """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text, price,
                                        currency, claimed_text, claimed_count, invalid_fields, seen_at, changed)
           select %(listing)s, coalesce(max(version), 0) + 1, %(capture)s, %(title)s, %(seller)s, %(description)s,
                  %(price_text)s, %(price)s, %(currency)s, %(claimed_text)s, %(claimed_count)s, %(invalid)s, now(),
                  %(changed)s
           from listing_version where listing_id = %(listing)s""",
        {
            "listing": listing_id,
            "capture": capture_id,
            "title": listing.title,
            "seller": listing.seller,
            "description": listing.description,
            "price_text": listing.price_text,
            "price": listing.price,
            "currency": listing.currency,
            "claimed_text": listing.claimed_text,
            "claimed_count": listing.claimed_count,
            "invalid": list(listing.invalid_fields),
            "changed": changed,
        },
    )


def _add_listing(conn: Connection, source_id: int, page_id: int, url: str, state: str) -> int:
    row = conn.execute(
        """with founded as (insert into dataset default values returning dataset_id)
           insert into listing (source_id, dataset_id, page_id, url, state, first_seen, last_seen)
           select %(source)s, dataset_id, %(page)s, %(url)s, %(state)s, now(), now() from founded
           returning listing_id""",
        {"source": source_id, "page": page_id, "url": url, "state": state},
    ).fetchone()
    assert row is not None
    return int(row[0])


def touch_listings(conn: Connection, page_id: int) -> None:
    """The page that shows these listings was fetched and has not changed."""
    conn.execute(
        "update listing set last_seen = now() where page_id = %(page)s and state in ('offered', 'sold')",
        {"page": page_id},
    )
