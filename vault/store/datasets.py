"""Rows of `dataset` and `dataset_link`: which listings sell the same set, since when, and why.

`join_datasets` is the only way in which a listing comes to another dataset. Whoever reads a listing's dataset in order
to write something about it holds `lock_datasets` from before the reading to the end of the transaction.
"""

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from vault.store import Connection, require_transaction
from vault.store.locks import Lock
from vault.store.rows import record_row


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Why a listing belongs to another's dataset: how many pictures they share, in how many groups that look alike, how
    many byte for byte; how many did not count, being common; how many each has. Only pictures with a hash count."""

    listing_id: int
    other_id: int
    reason: str
    shared: int = 0
    exact: int = 0
    groups: int = 0
    common: int = 0
    listing_size: int = 0
    other_size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """A line of a dataset's timeline: what happened to a listing, and what it said at that time."""

    at: dt.datetime
    kind: str
    detail: str
    listing_id: int
    url: str
    source: str
    title: str
    seller: str
    price_text: str
    price: Decimal | None
    currency: str | None
    claimed_count: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRow:
    """One line of the list of datasets. `alerts`: those that operators may see."""

    dataset_id: int
    listings: int
    sources: int
    sellers: int
    alerts: int
    first_seen: dt.datetime
    last_seen: dt.datetime
    title: str


# -- who belongs to which ----------------------------------------------------------------------------------------------


def lock_datasets(conn: Connection, *, change: bool = False) -> None:
    """Until the transaction ends no listing comes to another dataset, but (`change`) by this transaction."""
    require_transaction(conn)
    if change:
        conn.execute("select pg_advisory_xact_lock(%(lock)s)", {"lock": Lock.DATASETS})
    else:
        conn.execute("select pg_advisory_xact_lock_shared(%(lock)s)", {"lock": Lock.DATASETS})


def give_way(conn: Connection) -> None:
    """Of two transactions that wait for each other's rows this is the one that fails, and is tried again: it waits
    shorter than PostgreSQL does before it ends one of them (`deadlock_timeout`, 1 s)."""
    require_transaction(conn)
    conn.execute("set local lock_timeout = '500ms'")


def get_dataset(conn: Connection, listing_id: int) -> int:
    row = conn.execute("select dataset_id from listing where listing_id = %(id)s", {"id": listing_id}).fetchone()
    assert row is not None
    return int(row[0])


def join_datasets(conn: Connection, link: Link) -> bool:
    """The datasets of the link's two listings become one, the older, with all that is known of the younger; the link
    says why. False if they are one already, or may not become one. The caller holds `lock_datasets(change=True)`."""
    require_transaction(conn)
    own, other = get_dataset(conn, link.listing_id), get_dataset(conn, link.other_id)
    first, second = min(own, other), max(own, other)
    if first == second or not _may_be_one(conn, first, second):
        return False
    if link.reason == "overlap" and own == first:  # then it is the other that joins
        link = replace(link, listing_id=link.other_id, other_id=link.listing_id, listing_size=link.other_size,
                       other_size=link.listing_size)  # fmt: skip
    _merge_alerts(conn, first, second)
    conn.execute(
        "update listing set dataset_id = %(kept)s where dataset_id = %(merged)s", {"kept": first, "merged": second}
    )
    conn.execute("delete from dataset where dataset_id = %(merged)s", {"merged": second})
    conn.execute(
        """insert into dataset_link (listing_id, other_id, kept_id, merged_id, reason, shared, exact, groups,
                                     common, listing_size, other_size)
           values (%(listing)s, %(other)s, %(kept)s, %(merged)s, %(reason)s, %(shared)s, %(exact)s, %(groups)s,
                   %(common)s, %(listing_size)s, %(other_size)s)""",
        {
            "listing": link.listing_id,
            "other": link.other_id,
            "kept": first,
            "merged": second,
            "reason": link.reason,
            "shared": link.shared,
            "exact": link.exact,
            "groups": link.groups,
            "common": link.common,
            "listing_size": link.listing_size,
            "other_size": link.other_size,
        },
    )
    return True


def _may_be_one(conn: Connection, first: int, second: int) -> bool:
    """All of it is one source's, or every source is open: joined with others, what one operator alone chose would say
    where it is sold."""
    row = conn.execute(
        """select count(distinct source_id) = 1 or bool_and(visibility = 'open')
           from listing join source using (source_id) where dataset_id in (%(first)s, %(second)s)""",
        {"first": first, "second": second},
    ).fetchone()
    return row == (True,)


def _merge_alerts(conn: Connection, kept: int, merged: int) -> None:
    """One alert a person and dataset: of two the older stays."""
    pairs = conn.execute(
        """select case when one.created_at <= two.created_at then one.alert_id else two.alert_id end,
                  case when one.created_at <= two.created_at then two.alert_id else one.alert_id end
           from alert as one join alert as two using (subject_id)
           where one.dataset_id = %(kept)s and two.dataset_id = %(merged)s order by subject_id""",
        {"kept": kept, "merged": merged},
    ).fetchall()
    for older, younger in pairs:
        _fold_alert(conn, older, younger)
    conn.execute(
        "update alert set dataset_id = %(kept)s where dataset_id = %(merged)s", {"kept": kept, "merged": merged}
    )


def _fold_alert(conn: Connection, older: UUID, younger: UUID) -> None:
    """Nothing of the younger alert is lost: its matches, bundles and judgement go to the older; a message that was sent
    keeps its row, by which an erasure finds it. One that was not is not sent any more if the other was, or will be,
    unless that one's alert is judged and this one is not."""
    ids = {"older": older, "younger": younger}
    conn.execute(
        """update bundle set replaced = true
           where alert_id in (%(older)s, %(younger)s) and not replaced and bundle_id <> (
               select bundle_id from bundle where alert_id in (%(older)s, %(younger)s) and not replaced
               order by created_at desc, bundle_id limit 1)""",
        ids,
    )
    conn.execute("update bundle set alert_id = %(older)s where alert_id = %(younger)s", ids)
    conn.execute("update match set alert_id = %(older)s where alert_id = %(younger)s", ids)
    conn.execute(
        """insert into judgement (alert_id, subject_id, verdict, operator, judged_at)
           select %(older)s, subject_id, verdict, operator, judged_at from judgement where alert_id = %(younger)s
           on conflict (alert_id) do nothing""",
        ids,
    )
    conn.execute("update negative set alert_id = %(older)s where alert_id = %(younger)s", ids)
    conn.execute(
        """update delivery set alert_id = null from alert
           where delivery.alert_id = alert.alert_id and alert.state = 'dismissed' and kind = 'alert'
             and delivery.state in ('done', 'quarantined') and alert.alert_id in (%(older)s, %(younger)s)
             and exists (select 1 from alert where alert_id in (%(older)s, %(younger)s) and state = 'open')""",
        ids,
    )
    messages = conn.execute(
        """select delivery_id, sent_at is not null from delivery
           where alert_id in (%(older)s, %(younger)s) and kind = 'alert'
           order by sent_at nulls last, state = 'quarantined', alert_id <> %(older)s for update""",
        ids,
    ).fetchall()
    for delivery_id, sent in messages[1:]:
        if sent:
            conn.execute("update delivery set alert_id = null where delivery_id = %(id)s", {"id": delivery_id})
        else:
            conn.execute("delete from delivery where delivery_id = %(id)s", {"id": delivery_id})
    conn.execute("update delivery set alert_id = %(older)s where alert_id = %(younger)s", ids)
    conn.execute(
        """update alert set band = case when 'strong' in (alert.band, gone.band) then 'strong'
                            when 'likely' in (alert.band, gone.band) then 'likely' else 'possible' end,
                  state = case when 'open' in (alert.state, gone.state) then 'open' else alert.state end
           from alert as gone where alert.alert_id = %(older)s and gone.alert_id = %(younger)s""",
        ids,
    )
    conn.execute("delete from alert where alert_id = %(younger)s", ids)


# -- what people are shown ---------------------------------------------------------------------------------------------


def list_datasets(conn: Connection, most: int, *, resold: bool = False) -> list[DatasetRow]:
    """Datasets, those with the newest listing first; with `resold` only those that more than one listing offers."""
    with conn.cursor(row_factory=record_row(DatasetRow)) as cursor:
        return cursor.execute(
            """select dataset_id, count(*) as listings, count(distinct source_id) as sources,
                      count(distinct nullif(seller, '')) as sellers,
                      (select count(*) from shown_alert where shown_alert.dataset_id = listing.dataset_id) as alerts,
                      min(first_seen) as first_seen, max(last_seen) as last_seen,
                      (array_agg(title order by listing_id))[1] as title
               from listing join lateral (
                   select title, seller from listing_version where listing_version.listing_id = listing.listing_id
                   order by version desc limit 1) as newest on true
               group by dataset_id having count(*) > 1 or not %(resold)s
               order by max(first_seen) desc, dataset_id desc limit %(most)s""",
            {"most": most, "resold": resold},
        ).fetchall()


def list_timeline(conn: Connection, dataset_id: int, most: int) -> list[Happening]:
    """What happened to the listings of a dataset, the last `most` of it, oldest first, each with what the listing said
    at that time."""
    with conn.cursor(row_factory=record_row(Happening)) as cursor:
        rows = cursor.execute(
            """select happened.at, happened.kind, happened.detail, listing_id, listing.url, source.name as source,
                      title, seller, price_text, price, currency, claimed_count
               from listing join source using (source_id)
               join lateral (
                   select event_id as number, at, kind, detail from listing_event
                   where listing_event.listing_id = listing.listing_id
                   union all
                   select link_id, joined_at, 'joined', case reason
                       when 'moved' then 'takes the place of listing ' || other_id
                       else format('shares %%s of its %%s pictures with listing %%s, which has %%s; %%s are the same '
                                   'byte for byte', shared, listing_size, other_id, other_size, exact) end
                   from dataset_link where dataset_link.listing_id = listing.listing_id) as happened on true
               join lateral (
                   select title, seller, price_text, price, currency, claimed_count from listing_version
                   where listing_version.listing_id = listing.listing_id
                   order by seen_at > happened.at, case when seen_at > happened.at then version else -version end
                   limit 1) as said on true
               where dataset_id = %(id)s
               order by happened.at desc, happened.kind = 'joined' desc, listing_id desc, happened.number desc
               limit %(most)s""",
            {"id": dataset_id, "most": most},
        ).fetchall()
    return rows[::-1]


def find_dataset(conn: Connection, dataset_id: int) -> int | None:
    """The dataset of this number, or the one it was merged into; None if there never was one."""
    row = conn.execute(
        """with recursive way (dataset_id) as (
               select %(id)s::bigint
               union select kept_id from dataset_link join way on merged_id = way.dataset_id)
           select dataset_id from way join dataset using (dataset_id)""",
        {"id": dataset_id},
    ).fetchone()
    return int(row[0]) if row else None
