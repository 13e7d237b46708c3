"""Rows of `listing`, `listing_version` and `dataset`: what is offered, and every change of it."""

from vault.records import Listing
from vault.store import Connection


def save_listing(conn: Connection, source_id: int, listing: Listing, capture_id: int) -> int:
    """Keep a listing as it is now: a new one founds its dataset, a changed one gets a new version. Returns its id."""
    known = conn.execute(
        """update listing set last_seen = now() where source_id = %(source)s and url = %(url)s returning listing_id""",
        {"source": source_id, "url": listing.url},
    ).fetchone()
    listing_id = int(known[0]) if known else _add_listing(conn, source_id, listing.url)
    if _newest_text(conn, listing_id) != _text_of(listing):
        _add_version(conn, listing_id, listing, capture_id)
    return listing_id


def _text_of(listing: Listing) -> tuple[str, ...]:
    """What makes a new version when it changes: what stood there, not what we read out of it."""
    return (listing.title, listing.seller, listing.description, listing.price_text, listing.claimed_text)


def _newest_text(conn: Connection, listing_id: int) -> tuple[str, ...] | None:
    return conn.execute(
        """select title, seller, description, price_text, claimed_text from listing_version
           where listing_id = %(id)s order by version desc limit 1""",
        {"id": listing_id},
    ).fetchone()


def _add_version(conn: Connection, listing_id: int, listing: Listing, capture_id: int) -> None:
    conn.execute(
        """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text, price,
                                        currency, claimed_text, claimed_count, invalid_fields, seen_at)
           select %(listing)s, coalesce(max(version), 0) + 1, %(capture)s, %(title)s, %(seller)s, %(description)s,
                  %(price_text)s, %(price)s, %(currency)s, %(claimed_text)s, %(claimed_count)s, %(invalid)s, now()
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
        },
    )


def _add_listing(conn: Connection, source_id: int, url: str) -> int:
    row = conn.execute(
        """with founded as (insert into dataset default values returning dataset_id)
           insert into listing (source_id, dataset_id, url, first_seen, last_seen)
           select %(source)s, dataset_id, %(url)s, now(), now() from founded returning listing_id""",
        {"source": source_id, "url": url},
    ).fetchone()
    assert row is not None
    return int(row[0])


def touch_listings(conn: Connection, page_id: int) -> None:
    """The page that shows these listings was fetched and has not changed."""
    conn.execute(
        """update listing set last_seen = now() where listing_id in (
               select listing_id from listing_version join capture using (capture_id) where page_id = %(page)s)""",
        {"page": page_id},
    )
