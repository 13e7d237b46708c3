"""Rows of `listing`, `listing_version`, `listing_event` and `dataset`: what is offered, and its life.

A listing is offered, sold, removed or moved; every change is an event with the capture that shows it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vault.records import Listing
from vault.store import Connection

TEXTS = ("title", "seller", "description", "price_text", "claimed_text")  # what makes a new version when it changes


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A listing as a page shows it, and the capture that proves it."""

    page_id: int
    capture_id: int
    listing: Listing


def save_listings(conn: Connection, source_id: int, shown: Sequence[Shown]) -> list[int]:
    """Keep listings as they are now: a new one founds its dataset, a changed one gets a new version, and whatever
    happened to it is an event. Returns their ids, in order. Each is one statement for all of them; one that is shown
    several times is seen once after the other."""
    ids: dict[int, int] = {}
    waiting = list(enumerate(shown))
    while waiting:
        now: dict[str, tuple[int, Shown]] = {}
        later = []
        for number, each in waiting:
            if now.setdefault(each.listing.url, (number, each))[0] != number:
                later.append((number, each))
        found = _save_each_once(conn, source_id, [each for _, each in now.values()])
        ids |= {number: listing_id for (number, _), listing_id in zip(now.values(), found, strict=True)}
        waiting = later
    return [ids[number] for number in range(len(shown))]


def save_listing(conn: Connection, source_id: int, page_id: int, listing: Listing, capture_id: int) -> int:
    return save_listings(conn, source_id, [Shown(page_id=page_id, capture_id=capture_id, listing=listing)])[0]


def _save_each_once(conn: Connection, source_id: int, shown: Sequence[Shown]) -> list[int]:
    known = _lock_known(conn, source_id, [each.listing.url for each in shown])
    ids = {url: old.listing_id for url, old in known.items()}
    ids |= _add_listings(conn, source_id, [each for each in shown if each.listing.url not in known])
    versions, events = [], []
    for each in shown:
        old, listing_id, state = known.get(each.listing.url), ids[each.listing.url], name_state(each.listing)
        fact = {"listing_id": listing_id, "capture_id": each.capture_id}
        changed = [] if old is None else [name for name in TEXTS if old.texts[name] != getattr(each.listing, name)]
        if old is None:
            events.append({**fact, "kind": "new", "detail": ""})
        elif old.state != state:
            kind = "sold" if state == "sold" else "back"
            events.append({**fact, "kind": kind, "detail": f"was {old.state}"})
        if changed:
            events.append({**fact, "kind": "changed", "detail": ", ".join(changed)})
        if old is None or changed:
            versions.append({**fact, "changed": changed, **_version_row(each.listing)})
    _update_known(conn, [(ids[each.listing.url], each) for each in shown if each.listing.url in known])
    _add_versions(conn, versions)
    _add_events(conn, events)
    return [ids[each.listing.url] for each in shown]


def name_state(listing: Listing) -> str:
    return "sold" if listing.sold else "offered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A listing that has a row: its state, and the texts of its newest version."""

    listing_id: int
    state: str
    texts: dict[str, str]


def _lock_known(conn: Connection, source_id: int, urls: list[str]) -> dict[str, Known]:
    rows = conn.execute(
        """select url, listing.listing_id, state, title, seller, description, price_text, claimed_text
           from listing cross join lateral (
               select title, seller, description, price_text, claimed_text from listing_version as version
               where version.listing_id = listing.listing_id order by version desc limit 1) as newest
           where source_id = %(source)s and url = any(%(urls)s)
           order by listing.listing_id for update of listing""",
        {"source": source_id, "urls": urls},
    ).fetchall()
    return {
        url: Known(listing_id=listing_id, state=state, texts=dict(zip(TEXTS, texts, strict=True)))
        for url, listing_id, state, *texts in rows
    }


def _update_known(conn: Connection, seen: list[tuple[int, Shown]]) -> None:
    if seen:
        conn.execute(
            """update listing set last_seen = now(), page_id = new.page_id, state = new.state, moved_to = null
               from unnest(%(ids)s::bigint[], %(pages)s::bigint[], %(states)s::text[])
                    as new (listing_id, page_id, state)
               where listing.listing_id = new.listing_id""",
            {
                "ids": [listing_id for listing_id, _ in seen],
                "pages": [each.page_id for _, each in seen],
                "states": [name_state(each.listing) for _, each in seen],
            },
        )


def _add_listings(conn: Connection, source_id: int, shown: Sequence[Shown]) -> dict[str, int]:
    """Each with a dataset of its own. Returns url -> listing_id."""
    if not shown:
        return {}
    rows = conn.execute(
        """with founded as (
               insert into dataset (created_at) select now() from unnest(%(urls)s::text[]) returning dataset_id),
           own as (select dataset_id, row_number() over () as number from founded)
           insert into listing (source_id, dataset_id, page_id, url, state, first_seen, last_seen)
           select %(source)s, dataset_id, page_id, url, state, now(), now()
           from unnest(%(pages)s::bigint[], %(urls)s::text[], %(states)s::text[])
                with ordinality as new (page_id, url, state, number)
           join own using (number)
           returning url, listing_id""",
        {
            "source": source_id,
            "pages": [each.page_id for each in shown],
            "urls": [each.listing.url for each in shown],
            "states": [name_state(each.listing) for each in shown],
        },
    ).fetchall()
    return dict(rows)


def _version_row(listing: Listing) -> dict[str, Any]:
    return {
        **{name: getattr(listing, name) for name in (*TEXTS, "currency", "claimed_count")},
        "price": None if listing.price is None else str(listing.price),
        "invalid_fields": list(listing.invalid_fields),
    }


def _add_versions(conn: Connection, versions: list[dict[str, Any]]) -> None:
    if versions:
        conn.execute(
            """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text,
                                            price, currency, claimed_text, claimed_count, invalid_fields, seen_at,
                                            changed)
               select listing_id,
                      (select coalesce(max(version), 0) + 1 from listing_version as old
                       where old.listing_id = new.listing_id),
                      capture_id, title, seller, description, price_text, price, currency, claimed_text, claimed_count,
                      invalid_fields, now(), changed
               from jsonb_to_recordset(%(versions)s) as new (
                   listing_id bigint, capture_id bigint, title text, seller text, description text, price_text text,
                   price numeric, currency text, claimed_text text, claimed_count bigint, invalid_fields text[],
                   changed text[])""",
            {"versions": json.dumps(versions)},
        )


def _add_events(conn: Connection, events: list[dict[str, Any]]) -> None:
    if events:
        conn.execute(
            """insert into listing_event (listing_id, kind, capture_id, detail)
               select listing_id, kind, capture_id, detail
               from jsonb_to_recordset(%(events)s) as new (
                   listing_id bigint, kind text, capture_id bigint, detail text)""",
            {"events": json.dumps(events)},
        )


def settle_cycle(conn: Connection, source_id: int) -> None:
    """At the end of a cycle: what its own page no longer shows is removed, and what went while the same words came
    elsewhere has moved. Only pages that were read in this cycle, and were themselves, say anything."""
    with conn.transaction():
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
    """One that went in this cycle and one that came in it, with the same words and no rival, are one that moved. The
    new one belongs to the old one's dataset unless somebody was alerted about its own."""
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
        event = {"listing_id": old, "kind": "moved", "capture_id": None, "detail": f"to listing {new}"}
        _add_events(conn, [event])
        conn.execute(
            """update listing set dataset_id = old.dataset_id from listing as old
               where listing.listing_id = %(new)s and old.listing_id = %(old)s
                 and not exists (select 1 from alert where alert.dataset_id = listing.dataset_id)""",
            {"old": old, "new": new},
        )


def touch_listings(conn: Connection, page_id: int) -> None:
    """The page that shows these listings was fetched and has not changed."""
    conn.execute(
        "update listing set last_seen = now() where page_id = %(page)s and state in ('offered', 'sold')",
        {"page": page_id},
    )
