"""Claiming and finishing work: rows in a state, with lease, attempts and fencing token. See README, "Work as rows".

The tables differ only in their name and key, so the statements are composed here once (from constants, never from
input) instead of being written out for each of them; every other file of `store/` writes its SQL out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from vault.errors import LeaseLost
from vault.store import Connection
from vault.store.times import check_clocks

LEASE_SECONDS = 30.0
MOST_ATTEMPTS = 5
UNKNOWN_ROWS = 32  # claimed at once of a share of which nothing is known


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkTable:
    """A table whose rows are worked on: its name, its key column, and a fixed condition that narrows it to one step.
    `share`: a column by whose values fresh rows are claimed in equal shares."""

    name: LiteralString
    key: LiteralString
    only: LiteralString = "true"
    share: LiteralString = ""

    def parts(self) -> dict[str, sql.Composable]:
        return {
            "table": sql.Identifier(self.name),
            "key": sql.Identifier(self.key),
            "only": sql.SQL(self.only),
            "share": sql.Identifier(self.share or self.key),
        }


# A lease is over, also where it ends later than any lease could: the clock that gave it was ahead and is set back.
LAPSED = sql.SQL("""(coalesce(lease_until, '-infinity') <= clock_timestamp()
                   or lease_until > clock_timestamp() + interval '2 minutes')""")

# The two ways a row can be claimed; each has a partial index on every work table, so neither looks at finished rows.
FRESH = sql.SQL("""state = 'ready' and attempts = 0
              and coalesce(not_before, '-infinity') <= clock_timestamp()""")
TRIED = sql.SQL("""attempts > 0 and attempts < %(most)s and state in ('ready', 'running')
              and case state when 'ready' then coalesce(not_before, '-infinity') <= clock_timestamp()
                  else {lapsed} end""").format(lapsed=LAPSED)

PICK = sql.SQL("""picked as materialized (
            select {key} as row_key from {table} where {only} and {which}
            order by {key} limit %(limit)s for update skip locked)""")
# The values of the share column that have rows, one probe of the index each (a loose index scan). Of as many of them
# as there is room for, those that had the least of our time first: as many rows of each as may be taken at once, where
# that is less than its part of the claim; the others part what is left.
PICK_SHARES = sql.SQL("""shares (share) as (
            (select {share} from {table} where {only} and {which} order by {share} limit 1)
            union all
            select (select {share} from {table} where {only} and {which} and {share} > shares.share
                    order by {share} limit 1) from shares where shares.share is not null),
        wanted as materialized (
            select shares.share, coalesce(known.most, %(unknown)s) as most, coalesce(known.spent, 0) as spent
            from shares left join unnest(%(shares)s::bigint[], %(mosts)s::int[], %(spent)s::float[])
                as known (share, most, spent) on known.share = shares.share
            where shares.share is not null order by 3, random() limit %(limit)s),
        parted as (
            select *, most < %(limit)s::float / count(*) over () as few from wanted),
        drawn as materialized (
            select share, least(most, case when few then most else ceil(
                (%(limit)s - coalesce(sum(most) filter (where few) over (), 0))::float
                / count(*) filter (where not few) over ()) end)::int as most
            from parted order by spent),
        picked as materialized (
            select row_key from drawn cross join lateral (
                select {key} as row_key from {table} where {share} = drawn.share and {only} and {which}
                order by {key} limit drawn.most for update skip locked) as part limit %(limit)s)""")

PAGES = WorkTable(name="page", key="page_id", only="source_id = %(source_id)s")
DOCUMENTS = WorkTable(name="page", key="page_id", only="page_id = any(%(page_ids)s)")
FILES = WorkTable(name="page", key="page_id", only="source_id = %(source_id)s and kind <> 'page'")
ARCHIVES = WorkTable(name="sample", key="sample_id", only="kind = 'archive'", share="share_id")
IMAGES = WorkTable(name="sample", key="sample_id", only="kind = 'image'", share="share_id")
# a listing finds its dataset when all its samples were opened
LINKING = WorkTable(
    name="linking",
    key="listing_id",
    only="""not exists (select 1 from sample where sample.listing_id = linking.listing_id
                        and sample.state in ('ready', 'running'))""",
)
FACES = WorkTable(name="face", key="face_id")
TEMPLATES = WorkTable(name="template", key="template_id")
NEGATIVES = WorkTable(name="negative", key="negative_id")
# a message about a listing that is still to find its dataset waits: the person may know of that dataset already
DELIVERIES = WorkTable(
    name="delivery",
    key="delivery_id",
    only="""(kind <> 'alert' or created_at < now() - interval '10 minutes' or not exists (
        select 1 from alert join listing using (dataset_id) join linking using (listing_id)
        where alert.alert_id = delivery.alert_id and linking.state in ('ready', 'running')))""",
)
# A hunt is worked on a segment at a time, by many hunts at once; a paused one waits. The faces in no segment are
# searched when every claim of faces has ended that may have looked at the gallery before the template was live.
HUNTED: LiteralString = """exists (
    select 1 from hunt where hunt.hunt_id = hunt_part.hunt_id and hunt.state = 'running'
      and (segment_id is not null or not exists (
          select 1 from face where attempts > 0 and face.state = 'running' and face.token < hunt.fence)))"""
HUNT_PARTS = WorkTable(name="hunt_part", key="part_id", only=HUNTED)
HUNT_SEGMENT = WorkTable(
    name="hunt_part", key="part_id", only="segment_id is not distinct from %(segment_id)s and " + HUNTED
)
BUNDLES = WorkTable(name="bundle", key="bundle_id")
ERASURES = WorkTable(name="erasure", key="subject_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What is known of the rows with one value (`key`) of the share column: how many may be claimed at once, and how
    many seconds they have had lately."""

    key: int
    most: int
    spent: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one claim took: the keys, and the token that proves they are still ours. `limit`: how many were asked for;
    `tried`: it is one row that was tried before."""

    ids: tuple[Any, ...]
    token: int
    limit: int = 0
    tried: bool = False


def claim_rows(
    conn: Connection,
    table: WorkTable,
    limit: int,
    *,
    fresh_first: bool = False,
    shares: Sequence[Share] = (),
    **only: Any,
) -> Claim | None:
    """Take up to `limit` rows, or one row that has been tried before, alone: so a row that kills its worker is soon
    by itself, and rows that happened to be beside it are not charged again. What was tried comes first, but with
    `fresh_first` last. None when there is nothing to do. Raises Unavailable where the clocks differ."""
    check_clocks(conn)
    values: dict[str, Any] = {"lease": LEASE_SECONDS, "most": MOST_ATTEMPTS, **only}
    if table.share:
        values |= {"shares": [each.key for each in shares], "mosts": [each.most for each in shares],
                   "spent": [each.spent for each in shares], "unknown": UNKNOWN_ROWS}  # fmt: skip
    if fresh_first:
        return _claim(conn, table, FRESH, limit, values) or _claim(conn, table, TRIED, 1, values)
    return _claim(conn, table, TRIED, 1, values) or _claim(conn, table, FRESH, limit, values)


def _claim(
    conn: Connection, table: WorkTable, which: sql.Composable, limit: int, values: dict[str, Any]
) -> Claim | None:
    values = {**values, "limit": limit}
    rows = conn.execute(make_claim(table, which), values).fetchall()
    if not rows:
        return None
    return Claim(ids=tuple(sorted(row[0] for row in rows)), token=rows[0][1], limit=limit, tried=which is TRIED)


def make_claim(table: WorkTable, which: sql.Composable) -> sql.Composed:
    """The statement of one of the two ways. What is picked is materialized: the planner must neither take the rows
    twice nor draw a token for each of them."""
    pick = PICK_SHARES if table.share and which is FRESH else PICK
    return sql.SQL("""
        with recursive {pick},
        fence as materialized (select nextval('fencing_token') as token)
        update {table} set state = 'running', attempts = attempts + 1, token = fence.token, error_code = null,
               error_text = null, lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
        from picked, fence where {key} = picked.row_key
        returning {key}, fence.token""").format(pick=pick.format(which=which, **table.parts()), **table.parts())


def finish_rows(conn: Connection, table: WorkTable, ids: Sequence[Any], token: int) -> None:
    """Mark rows done. Raises LeaseLost (roll back!) if any of them is not ours any more."""
    query = sql.SQL("""
        update {table} set state = 'done', lease_until = null, error_code = null, error_text = null
        where {key} = any(%(ids)s) and token = %(token)s and state = 'running'""").format(**table.parts())
    _expect(conn.execute(query, {"ids": list(ids), "token": token}).rowcount, len(ids), table)


def check_rows(conn: Connection, table: WorkTable, ids: Sequence[Any], token: int) -> None:
    """Are the rows still ours? Raises LeaseLost if any of them is not."""
    query = sql.SQL(
        "select count(*) from {table} where {key} = any(%(ids)s) and token = %(token)s and state = 'running'"
    ).format(**table.parts())
    row = conn.execute(query, {"ids": list(ids), "token": token}).fetchone()
    _expect(int(row[0]) if row else 0, len(ids), table)


def fail_row(
    conn: Connection,
    table: WorkTable,
    row_id: Any,
    token: int,
    code: str,
    text: str,
    *,
    final: bool,
    wait: float = 0.0,
) -> None:
    """Keep the reason; quarantine the row if `final` or tried often enough, else let it be tried again, later each
    time (1, 2, 4, 8 s) and not before `wait` seconds have passed. Raises LeaseLost."""
    query = sql.SQL("""
        update {table} set state = case when %(final)s or attempts >= %(most)s then 'quarantined' else 'ready' end,
               not_before = clock_timestamp() + make_interval(secs => greatest(%(wait)s, power(2, attempts - 1))),
               lease_until = null, error_code = %(code)s, error_text = left(%(text)s, 500)
        where {key} = %(id)s and token = %(token)s and state = 'running'""").format(**table.parts())
    values = {"final": final, "most": MOST_ATTEMPTS, "code": code, "text": text, "id": row_id, "token": token,
              "wait": wait}  # fmt: skip
    _expect(conn.execute(query, values).rowcount, 1, table)


def put_back_rows(
    conn: Connection,
    table: WorkTable,
    ids: Sequence[Any],
    token: int,
    code: str | None,
    text: str | None,
    *,
    wait: float = 0.0,
) -> int:
    """Keep the reason and let those of the rows that are still ours be tried again, in `wait` seconds, as if they had
    not been: the failure says nothing of them. Returns how many."""
    query = sql.SQL("""
        update {table} set state = 'ready', attempts = greatest(attempts - 1, 0), lease_until = null,
               not_before = clock_timestamp() + make_interval(secs => %(wait)s),
               error_code = %(code)s, error_text = left(%(text)s, 500)
        where {key} = any(%(ids)s) and token = %(token)s and state = 'running'""").format(**table.parts())
    values = {"code": code, "text": text, "ids": list(ids), "token": token, "wait": wait}
    return conn.execute(query, values).rowcount


def put_back_row(
    conn: Connection,
    table: WorkTable,
    row_id: Any,
    token: int,
    code: str | None,
    text: str | None,
    *,
    wait: float = 0.0,
) -> None:
    """The same for one row. Raises LeaseLost."""
    _expect(put_back_rows(conn, table, [row_id], token, code, text, wait=wait), 1, table)


def extend_lease(conn: Connection, table: WorkTable, ids: Sequence[Any], token: int) -> None:
    """Ask for another 30 s. Raises LeaseLost if somebody else has the rows."""
    query = sql.SQL("""
        update {table} set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
        where {key} = any(%(ids)s) and token = %(token)s and state = 'running'""").format(**table.parts())
    _expect(conn.execute(query, {"ids": list(ids), "token": token, "lease": LEASE_SECONDS}).rowcount, len(ids), table)


def give_back_rows(conn: Connection, table: WorkTable, claim: Claim) -> None:
    """Let rows that are still ours be tried again in a second: the step failed before it could say anything of them."""
    query = sql.SQL("""
        update {table} set state = 'ready', not_before = clock_timestamp() + interval '1 second', lease_until = null,
               error_code = 'step_failed'
        where {key} = any(%(ids)s) and token = %(token)s and state = 'running'""").format(**table.parts())
    conn.execute(query, {"ids": list(claim.ids), "token": claim.token})


def quarantine_exhausted(conn: Connection, table: WorkTable) -> int:
    """Quarantine rows whose fifth attempt never reported back. Returns how many."""
    query = sql.SQL("""
        update {table} set state = 'quarantined', lease_until = null, not_before = clock_timestamp(),
               error_code = 'attempts_exhausted',
               error_text = 'the last attempt never reported back'
        where attempts > 0 and state in ('ready', 'running')  -- as the index says: all others are finished
          and attempts >= %(most)s and (state = 'ready' or {lapsed})
        """).format(lapsed=LAPSED, **table.parts())
    return conn.execute(query, {"most": MOST_ATTEMPTS}).rowcount


def count_claimable(conn: Connection, table: WorkTable, most: int, **only: Any) -> int:
    """How many rows could be claimed now; each of the two ways is counted up to `most`."""
    query = sql.SQL("""
        select count(*) from (
            (select 1 from {table} where {only} and {fresh} limit %(limit)s)
            union all
            (select 1 from {table} where {only} and {tried} limit %(limit)s)) as waiting
        """).format(fresh=FRESH, tried=TRIED, **table.parts())
    row = conn.execute(query, {"most": MOST_ATTEMPTS, "limit": most, **only}).fetchone()
    return int(row[0]) if row else 0


def _expect(found: int, wanted: int, table: WorkTable) -> None:
    if found != wanted:
        raise LeaseLost(f"{wanted - found} of {wanted} rows of {table.name} are no longer ours")
