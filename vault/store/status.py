"""Counts for `status`: how many rows are in which state, and how the sources are."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from vault.store import Connection


def count_states(conn: Connection) -> dict[str, dict[str, int]]:
    """table -> state -> rows, for every table that a step works on; of messages and judged faces those that operators
    may know of."""
    counts: dict[str, dict[str, int]] = {}
    rows = conn.execute(
        """select 'page', state::text, count(*) from page group by 2
           union all select 'sample', state::text, count(*) from sample group by 2
           union all select 'linking', state::text, count(*) from linking group by 2
           union all select 'face', state::text, count(*) from face group by 2
           union all select 'template', state::text, count(*) from template group by 2
           union all select 'negative', state::text, count(*) from shown_negative group by 2
           union all select 'hunt_part', state::text, count(*) from hunt_part group by 2
           union all select 'delivery', state::text, count(*) from shown_delivery group by 2
           union all select 'bundle', state::text, count(*) from bundle group by 2
           union all select 'erasure', state::text, count(*) from erasure group by 2"""
    ).fetchall()
    for table, state, count in rows:
        counts.setdefault(table, {})[state] = count
    return counts


def list_sources(conn: Connection) -> list[dict[str, Any]]:
    """Every source and how it is; a pause, a person's decision, stands before its health."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select name, state, policy, visibility, cardinality(signers) as signatures, last_crawl_at, health_since,
                      case state when 'paused' then 'paused' else health end as health,
                      case state when 'paused' then reason else health_reason end as reason,
                      (select url from page where page_id = health_page) as health_example,
                      (select imported_at from login where login.name = source.name) as session_since,
                      (select count(*) from page where page.source_id = source.source_id and kind = 'page') as pages,
                      (select count(*) from listing where listing.source_id = source.source_id) as listings
               from source order by name"""
        ).fetchall()


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What an empty list can mean: how many sources there are, how many of them could be read in the last week and the
    others by how they are, how many pictures and faces still wait, how many people are searched for."""

    sources: int
    read: int
    unread: dict[str, int]
    waiting: int
    people: int
    last_crawl_at: dt.datetime | None


def read_coverage(conn: Connection, pack: str) -> Coverage:
    """`unread`: a source that was never crawled to its end, or not in the last week, is `new` or `late`."""
    rows = conn.execute(
        """select case when state = 'paused' then 'paused' when last_crawl_at is null and health = 'new' then 'new'
                       when health not in ('new', 'ok', 'degraded', 'empty') then health
                       when last_crawl_at is null then 'new'
                       when last_crawl_at < now() - interval '7 days' then 'late' else '' end as how,
                  count(*), max(last_crawl_at)
           from source group by 1"""
    ).fetchall()
    waiting = conn.execute(
        """select (select count(*) from sample where state in ('ready', 'running'))
                  + (select count(*) from face where state in ('ready', 'running'))"""
    ).fetchone()
    return Coverage(
        sources=sum(count for _how, count, _last in rows),
        read=sum(count for how, count, _last in rows if not how),
        unread={how: count for how, count, _last in rows if how},
        waiting=int(waiting[0]) if waiting else 0,
        people=count_live_templates(conn, pack),
        last_crawl_at=max((last for _how, _count, last in rows if last is not None), default=None),
    )


def count_live_templates(conn: Connection, pack: str) -> int:
    row = conn.execute(
        """select count(*) from template join live_consent using (subject_id)
           where sealed is not null and pack = %(pack)s""",
        {"pack": pack},
    ).fetchone()
    return int(row[0]) if row else 0
