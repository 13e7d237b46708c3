"""Rows of `listing`, `listing_version`, `listing_event` and `dataset`: what is offered, and its life.

A listing is offered, sold, removed or moved; every change is an event with the capture that shows it.
"""

from dataclasses import asdict, dataclass

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from vault.records import Listing
from vault.store import Connection
from vault.store.pages import reopen_page
from vault.store.samples import list_locked

TEXTS = ("title", "seller", "description", "price_text", "claimed_text")  # what makes a new version when it changes
MOST_PASSWORDS = 10  # that are tried on one archive


def save_listing(conn: Connection, source_id: int, page_id: int, listing: Listing, capture_id: int) -> int:
    """Keep a listing as it is now: a new one founds its dataset, a changed one gets a new version, and whatever
    happened to it is an event. Returns its id.

    A further page of a listing (`later`) changes nothing of what is known but its passwords. Where it was read before
    the first page, it stands in for it, and the first page's words then replace it without an event.
    """
    state = "sold" if listing.sold and not listing.later else "offered"
    known = _get_known(conn, source_id, listing.url)
    if known is None:
        listing_id = _add_listing(conn, source_id, page_id, listing, state)
    else:
        listing_id = known.listing_id
        _add_passwords(conn, known, listing.passwords)
        if listing.later and not (known.page_id == page_id and not known.first_page_seen):
            return listing_id
        _keep_known(conn, listing_id, page_id, state, not listing.later)
        if listing.later and known.state == "offered":
            return listing_id
    before = _newest_text(conn, listing_id)
    differs = [] if before is None else [n for n, old in zip(TEXTS, before, strict=True) if old != getattr(listing, n)]
    changed = differs if known is None or known.first_page_seen else []
    if before is None or differs:
        _add_version(conn, listing_id, listing, capture_id, changed)
    else:
        _read_again(conn, listing_id, listing)
    if known is None:
        add_event(conn, listing_id, "new", capture_id)
    elif known.state != state:
        add_event(conn, listing_id, "sold" if state == "sold" else "back", capture_id, f"was {known.state}")
    if changed:
        add_event(conn, listing_id, "changed", capture_id, ", ".join(changed))
    return listing_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A listing's row before this page was read."""

    listing_id: int
    page_id: int | None
    state: str
    passwords: list[str]
    first_page_seen: bool


def _get_known(conn: Connection, source_id: int, url: str) -> Known | None:
    with conn.cursor(row_factory=class_row(Known)) as cursor:
        return cursor.execute(
            """select listing_id, page_id, state, passwords, first_page_seen from listing
               where source_id = %(source)s and url = %(url)s for update""",
            {"source": source_id, "url": url},
        ).fetchone()


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


def _keep_known(conn: Connection, listing_id: int, page_id: int, state: str, first: bool) -> None:
    conn.execute(
        """update listing set last_seen = now(), page_id = %(page)s, state = %(state)s, moved_to = null,
                  first_page_seen = first_page_seen or %(first)s where listing_id = %(id)s""",
        {"id": listing_id, "page": page_id, "state": state, "first": first},
    )


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
        add_event(conn, old, "moved", None, f"to listing {new}")
        conn.execute(
            """update listing set dataset_id = old.dataset_id from listing as old
               where listing.listing_id = %(new)s and old.listing_id = %(old)s
                 and not exists (select 1 from alert where alert.dataset_id = listing.dataset_id)""",
            {"old": old, "new": new},
        )


def _newest_text(conn: Connection, listing_id: int) -> tuple[str, ...] | None:
    return conn.execute(
        """select title, seller, description, price_text, claimed_text from listing_version
           where listing_id = %(id)s order by version desc limit 1""",
        {"id": listing_id},
    ).fetchone()


def _add_version(conn: Connection, listing_id: int, listing: Listing, capture_id: int, changed: list[str]) -> None:
    conn.execute(
        """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text, price,
                                        currency, claimed_text, claimed_count, invalid_fields, seen_at, changed,
                                        unit_price, claimed_people, language, counts, kinds, contacts, dates)
           select %(listing)s, coalesce(max(version), 0) + 1, %(capture)s, %(title)s, %(seller)s, %(description)s,
                  %(price_text)s, %(price)s, %(currency)s, %(claimed_text)s, %(claimed_count)s, %(invalid)s, now(),
                  %(changed)s, %(unit_price)s, %(people)s, %(language)s, %(counts)s, %(kinds)s, %(contacts)s, %(dates)s
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
        }
        | _list_claims(listing),
    )


def _read_again(conn: Connection, listing_id: int, listing: Listing) -> None:
    """The same words, read by a card or a program that finds more in them: no version, no event. Dates that are known
    stay: what was yesterday when the words were new is not the day before today."""
    conn.execute(
        """update listing_version
           set unit_price = %(unit_price)s, claimed_people = %(people)s, language = %(language)s, counts = %(counts)s,
               kinds = %(kinds)s, contacts = %(contacts)s, dates = case when dates = '[]' then %(dates)s else dates end
           where listing_id = %(listing)s
             and version = (select max(version) from listing_version where listing_id = %(listing)s)
             and ((unit_price, claimed_people, language, counts, kinds, contacts) is distinct from
                  (%(unit_price)s::numeric, %(people)s::bigint, %(language)s::text, %(counts)s::jsonb, %(kinds)s::jsonb,
                   %(contacts)s::jsonb)
                  or (dates = '[]' and %(dates)s <> '[]'::jsonb))""",
        {"listing": listing_id} | _list_claims(listing),
    )


def _list_claims(listing: Listing) -> dict[str, object]:
    return {
        "unit_price": listing.unit_price,
        "people": listing.claimed_people,
        "language": listing.language,
        "counts": Jsonb([asdict(each) for each in listing.counts]),
        "kinds": Jsonb([asdict(each) for each in listing.kinds]),
        "contacts": Jsonb([asdict(each) for each in listing.contacts]),
        "dates": Jsonb([asdict(each) for each in listing.dates]),
    }


def _add_listing(conn: Connection, source_id: int, page_id: int, listing: Listing, state: str) -> int:
    row = conn.execute(
        """with founded as (insert into dataset default values returning dataset_id)
           insert into listing (source_id, dataset_id, page_id, url, state, first_seen, last_seen, passwords,
                                first_page_seen)
           select %(source)s, dataset_id, %(page)s, %(url)s, %(state)s, now(), now(), %(passwords)s, %(first)s
           from founded returning listing_id""",
        {
            "source": source_id,
            "page": page_id,
            "url": listing.url,
            "state": state,
            "passwords": list(listing.passwords),
            "first": not listing.later,
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


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
