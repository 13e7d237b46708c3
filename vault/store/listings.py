"""Rows of `listing`, `listing_version`, `listing_event` and `dataset`: what is offered, and its life.

A listing is offered, sold, removed or moved; every change is an event with the capture that shows it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vault.records import Listing
from vault.store import Connection
from vault.store.datasets import Link, join_datasets, lock_datasets
from vault.store.pages import reopen_page
from vault.store.samples import list_locked

TEXTS = ("title", "seller", "description", "price_text", "claimed_text")  # what makes a new version when it changes
MOST_AT_ONCE = 2000  # listings a statement: a jsonb holds 256 MB, and these may have 15 KB of words each
MOST_PASSWORDS = 10  # that are tried on one archive


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A listing as a page shows it, and the capture that proves it."""

    page_id: int
    capture_id: int
    listing: Listing


def save_listings(conn: Connection, source_id: int, shown: Sequence[Shown]) -> list[int]:
    """Keep listings as they are now: a new one founds its dataset, a changed one gets a new version, and whatever
    happened to it is an event. Returns their ids, in order. Each step is one statement for all of them; one that is
    shown several times is seen once after the other.

    A further page of a listing (`later`) changes nothing of what is known but its passwords. Where it was read before
    the first page, it stands in for it, and the first page's words then replace it without an event.
    """
    ids: dict[int, int] = {}
    waiting = list(enumerate(shown))
    while waiting:
        now: dict[str, tuple[int, Shown]] = {}
        later = []
        for number, each in waiting:
            if len(now) == MOST_AT_ONCE or now.setdefault(each.listing.url, (number, each))[0] != number:
                later.append((number, each))
        found = _save_each_once(conn, source_id, [each for _, each in now.values()])
        ids |= {number: listing_id for (number, _), listing_id in zip(now.values(), found, strict=True)}
        waiting = later
    return [ids[number] for number in range(len(shown))]


def _save_each_once(conn: Connection, source_id: int, shown: Sequence[Shown]) -> list[int]:
    known = _lock_known(conn, source_id, [each.listing.url for each in shown])
    ids = {url: old.listing_id for url, old in known.items()}
    ids |= _add_listings(conn, source_id, [each for each in shown if each.listing.url not in known])
    seen, versions, events, again = [], [], [], []
    for each in shown:
        listing, old, state = each.listing, known.get(each.listing.url), name_state(each.listing)
        fact = {"listing_id": ids[listing.url], "capture_id": each.capture_id}
        if old is None:
            events.append({**fact, "kind": "new", "detail": ""})
            versions.append({**fact, "changed": [], **_version_row(listing)})
            continue
        _add_passwords(conn, old, listing.passwords)
        if listing.later and not (old.page_id == each.page_id and not old.first_page_seen):
            continue
        seen.append((old.listing_id, each))
        if listing.later and old.state == "offered":
            continue
        differs = [name for name in TEXTS if old.texts[name] != getattr(listing, name)]
        changed = differs if old.first_page_seen else []
        if old.state != state:
            kind = "sold" if state == "sold" else "back"
            events.append({**fact, "kind": kind, "detail": f"was {old.state}"})
        if changed:
            events.append({**fact, "kind": "changed", "detail": ", ".join(changed)})
        if differs:
            versions.append({**fact, "changed": changed, **_version_row(listing)})
        else:
            again.append({**fact, **_version_row(listing)})
    _update_known(conn, seen)
    _add_versions(conn, versions)
    _read_again(conn, again)
    _add_events(conn, events)
    return [ids[each.listing.url] for each in shown]


def name_state(listing: Listing) -> str:
    return "sold" if listing.sold and not listing.later else "offered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A listing's row before this page was read, and the texts of its newest version."""

    listing_id: int
    page_id: int | None
    state: str
    passwords: list[str]
    first_page_seen: bool
    texts: dict[str, str]


def _lock_known(conn: Connection, source_id: int, urls: list[str]) -> dict[str, Known]:
    rows = conn.execute(
        """select url, listing.listing_id, page_id, state, passwords, first_page_seen,
                  title, seller, description, price_text, claimed_text
           from listing cross join lateral (
               select title, seller, description, price_text, claimed_text from listing_version as version
               where version.listing_id = listing.listing_id order by version desc limit 1) as newest
           where source_id = %(source)s and url = any(%(urls)s)
           order by listing.listing_id for no key update of listing""",
        {"source": source_id, "urls": urls},
    ).fetchall()
    return {
        url: Known(
            listing_id=listing_id, page_id=page_id, state=state, passwords=passwords, first_page_seen=first,
            texts=dict(zip(TEXTS, texts, strict=True)),
        )
        for url, listing_id, page_id, state, passwords, first, *texts in rows
    }  # fmt: skip


def _update_known(conn: Connection, seen: list[tuple[int, Shown]]) -> None:
    if seen:
        conn.execute(
            """update listing set last_seen = now(), page_id = new.page_id, state = new.state, moved_to = null,
                      first_page_seen = first_page_seen or new.first
               from unnest(%(ids)s::bigint[], %(pages)s::bigint[], %(states)s::text[], %(firsts)s::boolean[])
                    as new (listing_id, page_id, state, first)
               where listing.listing_id = new.listing_id""",
            {
                "ids": [listing_id for listing_id, _ in seen],
                "pages": [each.page_id for _, each in seen],
                "states": [name_state(each.listing) for _, each in seen],
                "firsts": [not each.listing.later for _, each in seen],
            },
        )


def _add_passwords(conn: Connection, known: Known, passwords: tuple[str, ...]) -> None:
    """Those that were not known come first, and have what is locked fetched once more."""
    if not set(passwords) - set(known.passwords):
        return
    together = list(dict.fromkeys((*passwords, *known.passwords)))[:MOST_PASSWORDS]
    conn.execute(
        "update listing set passwords = %(passwords)s where listing_id = %(id)s",
        {"id": known.listing_id, "passwords": together},
    )
    for page_id in list_locked(conn, known.listing_id):
        reopen_page(conn, page_id)


def _add_listings(conn: Connection, source_id: int, shown: Sequence[Shown]) -> dict[str, int]:
    """Each with a dataset of its own. Returns url -> listing_id."""
    if not shown:
        return {}
    rows = conn.execute(
        """with founded as (
               insert into dataset (created_at) select now() from unnest(%(urls)s::text[]) returning dataset_id),
           own as (select dataset_id, row_number() over () as number from founded)
           insert into listing (source_id, dataset_id, page_id, url, state, first_seen, last_seen, passwords,
                                first_page_seen)
           select %(source)s, dataset_id, page_id, url, state, now(), now(), passwords, first
           from jsonb_to_recordset(%(listings)s) as new (
               number bigint, page_id bigint, url text, state text, passwords text[], first boolean)
           join own using (number)
           returning url, listing_id""",
        {
            "source": source_id,
            "urls": [each.listing.url for each in shown],
            "listings": json.dumps(
                [
                    {
                        "number": number,
                        "page_id": each.page_id,
                        "url": each.listing.url,
                        "state": name_state(each.listing),
                        "passwords": list(each.listing.passwords),
                        "first": not each.listing.later,
                    }
                    for number, each in enumerate(shown, 1)
                ]
            ),
        },
    ).fetchall()
    return dict(rows)


def _version_row(listing: Listing) -> dict[str, Any]:
    return {
        **{
            name: getattr(listing, name) for name in (*TEXTS, "currency", "claimed_count", "claimed_people", "language")
        },
        **{
            name: [asdict(each) for each in getattr(listing, name)] for name in ("counts", "kinds", "contacts", "dates")
        },
        "price": None if listing.price is None else str(listing.price),
        "unit_price": None if listing.unit_price is None else str(listing.unit_price),
        "invalid_fields": list(listing.invalid_fields),
    }


def _add_versions(conn: Connection, versions: list[dict[str, Any]]) -> None:
    if versions:
        conn.execute(
            """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text,
                                            price, currency, claimed_text, claimed_count, invalid_fields, seen_at,
                                            changed, unit_price, claimed_people, language, counts, kinds, contacts,
                                            dates)
               select listing_id,
                      (select coalesce(max(version), 0) + 1 from listing_version as old
                       where old.listing_id = new.listing_id),
                      capture_id, title, seller, description, price_text, price, currency, claimed_text, claimed_count,
                      invalid_fields, now(), changed, unit_price, claimed_people, language, counts, kinds, contacts,
                      dates
               from jsonb_to_recordset(%(versions)s) as new (
                   listing_id bigint, capture_id bigint, title text, seller text, description text, price_text text,
                   price numeric, currency text, claimed_text text, claimed_count bigint, invalid_fields text[],
                   changed text[], unit_price numeric, claimed_people bigint, language text, counts jsonb, kinds jsonb,
                   contacts jsonb, dates jsonb)""",
            {"versions": json.dumps(versions)},
        )


def _read_again(conn: Connection, versions: list[dict[str, Any]]) -> None:
    """The same words, read by a card or a program that finds more in them: no version, no event. Dates that are known
    stay: what was yesterday when the words were new is not the day before today."""
    if versions:
        conn.execute(
            """update listing_version as old
               set unit_price = new.unit_price, claimed_people = new.claimed_people, language = new.language,
                   counts = new.counts, kinds = new.kinds, contacts = new.contacts,
                   dates = case when old.dates = '[]' then new.dates else old.dates end
               from jsonb_to_recordset(%(versions)s) as new (
                   listing_id bigint, unit_price numeric, claimed_people bigint, language text, counts jsonb,
                   kinds jsonb, contacts jsonb, dates jsonb)
               where old.listing_id = new.listing_id
                 and old.version = (select max(version) from listing_version as newest
                                    where newest.listing_id = new.listing_id)
                 and ((old.unit_price, old.claimed_people, old.language, old.counts, old.kinds, old.contacts)
                          is distinct from
                      (new.unit_price, new.claimed_people, new.language, new.counts, new.kinds, new.contacts)
                      or (old.dates = '[]' and new.dates <> '[]'))""",
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
               select min(listing_id) as old, title, seller, description, price_text, claimed_text
               from listing join newest using (listing_id) join source using (source_id)
               where listing.state = 'removed' and exists (
                   select 1 from listing_event where listing_event.listing_id = listing.listing_id
                   and kind = 'removed' and at >= cycle_at)
               group by title, seller, description, price_text, claimed_text having count(*) = 1),
           came as (
               select min(listing_id) as new, title, seller, description, price_text, claimed_text
               from listing join newest using (listing_id) join source using (source_id)
               where first_seen >= cycle_at and listing.state <> 'removed'
               group by title, seller, description, price_text, claimed_text having count(*) = 1)
           select old, new from went join came using (title, seller, description, price_text, claimed_text)
           order by old""",
        {"source": source_id},
    ).fetchall()
    for old, new in rows:
        conn.execute(
            "update listing set state = 'moved', moved_to = %(new)s where listing_id = %(old)s",
            {"old": old, "new": new},
        )
        event = {"listing_id": old, "kind": "moved", "capture_id": None, "detail": f"to listing {new}"}
        _add_events(conn, [event])
        join_datasets(conn, Link(listing_id=new, other_id=old, reason="moved"))


def list_passwords(conn: Connection, listing_id: int) -> list[str]:
    """What may be tried on the archives of a listing, in this order."""
    row = conn.execute("select passwords from listing where listing_id = %(id)s", {"id": listing_id}).fetchone()
    return list(row[0]) if row else []


def touch_listings(conn: Connection, page_id: int) -> None:
    """The page that shows these listings was fetched and has not changed."""
    conn.execute(
        "update listing set last_seen = now() where page_id = %(page)s and state in ('offered', 'sold')",
        {"page": page_id},
    )
