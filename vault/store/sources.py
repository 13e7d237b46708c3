"""Rows of `source`: the cards that are crawled, and their health."""

from dataclasses import dataclass

from vault.records import Policy, Source, Visibility
from vault.store import Connection
from vault.store.rows import record_row
from vault.store.visibility import decide_visibility


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCard:
    """A card as its source keeps it. `signers`: the public keys of the approvers whose signature counts; `alone`: one
    operator alone chose the material; `places`: what the card lets be read."""

    name: str
    text: str
    sha256: str
    policy: Policy
    days: int = 0
    signers: tuple[str, ...] = ()
    alone: bool = False
    places: tuple[str, ...] = ()


def save_source(conn: Connection, card: SourceCard) -> Source:
    """The source of a card, made or brought up to date, and open or closed as its signatures say. Once its material was
    chosen by one operator alone that stays so; where it was read while it was not open is remembered until it is. The
    caller opens the transaction, and calls `reveal_source` in it if this opens the source."""
    conn.execute(
        """insert into source (name, card, card_sha256, policy, retention_days)
           values (%(name)s, %(card)s, %(sha256)s, %(policy)s, %(days)s) on conflict (name) do nothing""",
        {"name": card.name, "card": card.text, "sha256": card.sha256, "policy": card.policy.value, "days": card.days},
    )
    row = conn.execute(
        "select alone, closed_places from source where name = %(name)s for update", {"name": card.name}
    ).fetchone()
    assert row is not None
    alone, closed_places = row[0] or card.alone, set(row[1])
    visibility = decide_visibility(len(set(card.signers)), alone=alone, places=card.places, closed_places=closed_places)
    kept_places = set() if visibility is Visibility.OPEN else closed_places | set(card.places)
    with conn.cursor(row_factory=record_row(Source)) as cursor:
        found = cursor.execute(
            """update source set card = %(card)s, card_sha256 = %(sha256)s, policy = %(policy)s,
                      retention_days = %(days)s, signers = %(signers)s, alone = %(alone)s,
                      visibility = %(visibility)s, closed_places = %(places)s
               where name = %(name)s
               returning source_id, name, card_sha256, policy, retention_days, state, reason, last_crawl_at,
                         visibility""",
            {
                "name": card.name,
                "card": card.text,
                "sha256": card.sha256,
                "policy": card.policy.value,
                "days": card.days,
                "signers": sorted(set(card.signers)),
                "alone": alone,
                "visibility": visibility.value,
                "places": sorted(kept_places),
            },
        ).fetchone()
    assert found is not None
    return found


def get_source(conn: Connection, name: str) -> Source | None:
    with conn.cursor(row_factory=record_row(Source)) as cursor:
        return cursor.execute(
            """select source_id, name, card_sha256, policy, retention_days, state, reason, last_crawl_at, visibility
               from source where name = %(name)s""",
            {"name": name},
        ).fetchone()


def pause_source(conn: Connection, source_id: int, reason: str) -> None:
    conn.execute(
        "update source set state = 'paused', reason = %(reason)s where source_id = %(id)s",
        {"id": source_id, "reason": reason},
    )


def resume_source(conn: Connection, source_id: int) -> None:
    conn.execute("update source set state = 'active', reason = '' where source_id = %(id)s", {"id": source_id})


def is_paused(conn: Connection, source_id: int) -> bool:
    """Has somebody paused it since, a person or a step that saw a picture which may not be kept?"""
    row = conn.execute("select state = 'paused' from source where source_id = %(id)s", {"id": source_id}).fetchone()
    return row == (True,)


def mark_crawled(conn: Connection, source_id: int) -> None:
    conn.execute("update source set last_crawl_at = now() where source_id = %(id)s", {"id": source_id})


def count_endings(conn: Connection, source_id: int) -> dict[str, list[tuple[str, int, int]]]:
    """How the pages of this cycle ended: for all pages and for those where a crawl starts, (ending, pages, an example).
    An ending is `ok`, a verdict or an error code; a page that had listings and is there no more is `gone`; one that
    redirects counts only where it leads to a wall, and ends as that does."""
    rows = conn.execute(
        """select coalesce(nullif(wall.verdict, ''), nullif(page.verdict, ''),
                           case when page.listing_count > 0 and page.error_code in ('http_404', 'http_410')
                                then 'gone' end,
                           page.error_code, 'ok') as ending, page.depth = 0, count(*),
                  min(coalesce(wall.page_id, page.page_id))
           from page join source using (source_id)
           left join page as wall on wall.page_id = page.moved_to and wall.state = 'quarantined'
           where page.source_id = %(id)s and page.kind = 'page' and page.fetched_at >= cycle_at
             and page.state in ('done', 'quarantined')
             and (page.moved_to is null or wall.verdict in ('login_wall', 'captcha', 'blocked'))
           group by 1, 2 order by 1, 2""",
        {"id": source_id},
    ).fetchall()
    found: dict[str, list[tuple[str, int, int]]] = {"all": [], "start": []}
    totals: dict[str, tuple[int, int]] = {}
    for ending, start, count, example in rows:
        if start:
            found["start"].append((ending, count, example))
        known = totals.get(ending, (0, example))
        totals[ending] = (known[0] + count, min(known[1], example))
    found["all"] = [(ending, count, example) for ending, (count, example) in totals.items()]
    return found


def count_listings(conn: Connection, source_id: int) -> dict[str, int]:
    """Of this cycle: `seen` listings, those that were on offer `before` it, and how many of the seen lack a field."""
    row = conn.execute(
        """with newest as (
               select distinct on (listing_id) listing_id, first_seen, last_seen, seller, price_text, description
               from listing join listing_version using (listing_id) where source_id = %(id)s
               order by listing_id, version desc)
           select count(*) filter (where last_seen >= cycle_at), count(*) filter (where first_seen < cycle_at),
                  count(*) filter (where last_seen >= cycle_at and seller = ''),
                  count(*) filter (where last_seen >= cycle_at and price_text = ''),
                  count(*) filter (where last_seen >= cycle_at and description = ''),
                  count(*) filter (where last_seen >= cycle_at and not exists (
                      select 1 from listing_page join page using (page_id)
                      where listing_page.listing_id = newest.listing_id and kind = 'image'))
           from newest, source where source.source_id = %(id)s""",
        {"id": source_id},
    ).fetchone()
    names = ("seen", "before", "seller", "price", "description", "image")
    return dict(zip(names, row or (0,) * len(names), strict=True))


def save_health(conn: Connection, source_id: int, health: str, reason: str, page_id: int | None) -> None:
    """Keep the state; `health_since` is when it became so."""
    conn.execute(
        """update source set health = %(health)s, health_reason = %(reason)s, health_page = %(page)s,
                  health_since = case when health = %(health)s then coalesce(health_since, now()) else now() end
           where source_id = %(id)s""",
        {"id": source_id, "health": health, "reason": reason, "page": page_id},
    )
