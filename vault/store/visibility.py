"""Who is told of what is found in a source: the one place that decides it, and the rows that follow from it.

    open      two approvers signed its card: operators see all of it
    labelled  one did, and it was crawled outside: operators see each alert under a label made for that alert
    private   one did, and chose the material alone (handed in, or on this machine): only the person is told

What is seen follows from these by the views of schema.sql: `closed_dataset`, `shown_alert` and those behind it.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from vault.records import Visibility
from vault.store import Connection

NEEDED = 2  # signatures by different approvers that open a source


def decide_visibility(
    signatures: int, *, alone: bool, places: Collection[str] = (), closed_places: Collection[str] = ()
) -> Visibility:
    """`signatures`: of different approvers that count. `alone`: was any of its material chosen by one operator alone?
    `places`: what the card names; `closed_places`: where the source was read while it was not open, which two
    signatures must cover too, or a card of other places would open what nobody else has approved."""
    if signatures >= NEEDED and set(closed_places) <= set(places):
        return Visibility.OPEN
    return Visibility.PRIVATE if alone else Visibility.LABELLED


def list_scopes(conn: Connection, dataset_ids: Collection[int]) -> dict[int, int]:
    """dataset -> what its matches may be judged with: 0 for all open datasets together, else a source that is not open,
    whose matches neither count for others nor others for them."""
    rows = conn.execute(
        """select dataset_id, min(source_id) from closed_dataset where dataset_id = any(%(ids)s)
           group by dataset_id""",
        {"ids": list(dataset_ids)},
    ).fetchall()
    return dict.fromkeys(dataset_ids, 0) | dict(rows)


def is_open_alert(conn: Connection, alert_id: UUID) -> bool:
    """May operators know whose alert it is, and what its person does about it?"""
    row = conn.execute("select is_open from shown_alert where alert_id = %(id)s", {"id": alert_id}).fetchone()
    return row == (True,)


def is_private(conn: Connection, name: str) -> bool:
    """Is this source private? What leaves the house of it leaves out every page with a picture inside: whether one was
    kept says whether somebody was found."""
    row = conn.execute(
        "select 1 from source where name = %(name)s and visibility = 'private'", {"name": name}
    ).fetchone()
    return row is not None


def close_signed(conn: Connection, public_key: str) -> None:
    """This approver's signature counts no more: sources that need it are open no more."""
    rows = conn.execute(
        """update source set signers = array_remove(signers, %(key)s) where %(key)s = any(signers)
           returning source_id, cardinality(signers), alone, visibility""",
        {"key": public_key},
    ).fetchall()
    for source_id, signatures, alone, before in rows:
        after = decide_visibility(signatures, alone=alone)
        if before == Visibility.OPEN and after is not Visibility.OPEN:
            conn.execute(
                "update source set visibility = %(after)s where source_id = %(id)s",
                {"after": after.value, "id": source_id},
            )


def reveal_source(conn: Connection, source_id: int) -> None:
    """It is open now: its faces say what became of them, and pictures that are evidence now but were not kept are
    fetched again, by the crawl or ingest that opened it. Hold `lock_datasets(change=True)`."""
    conn.execute(
        """with told as (
               select face_id, case when bool_or(alert_id is not null) then 'matched'
                                    when count(match_id) > 0 then 'held' else 'unmatched' end as outcome
               from listing join sample using (listing_id) join face using (sample_id) left join match using (face_id)
               where source_id = %(id)s and outcome <> 'low_quality' group by face_id)
           update face set outcome = told.outcome from told
           where face.face_id = told.face_id and face.outcome <> told.outcome""",
        {"id": source_id},
    )
    conn.execute(
        """update page set state = 'ready', attempts = 0, hops = 0, not_before = null, etag = null, modified = null
           where source_id = %(id)s and kind <> 'page' and state = 'done' and page_id in (
               select sample.page_id from listing join sample using (listing_id) join face using (sample_id)
               where source_id = %(id)s and outcome in ('matched', 'held')
                 and not exists (select from blob where blob.sha256 = sample.sha256))""",
        {"id": source_id},
    )


def reopen_archives(conn: Connection, archives: Sequence[tuple[int, str]]) -> None:
    """Archives that came once more, (page_id, sha256) each, are opened once more where a picture of theirs is evidence
    and was not kept."""
    conn.execute(
        """update sample as archive
           set state = 'ready', attempts = 0, not_before = null, error_code = null, error_text = null
           from unnest(%(pages)s::bigint[], %(sha256)s::text[]) as new (page_id, sha256)
           where archive.page_id = new.page_id and archive.sha256 = new.sha256 and kind = 'archive' and state = 'done'
             and exists (
                 select from sample as member join face using (sample_id)
                 where member.archive_id = archive.sample_id and outcome in ('matched', 'held')
                   and not exists (select from blob where blob.sha256 = member.sha256))""",
        {"pages": [page_id for page_id, _ in archives], "sha256": [sha256 for _, sha256 in archives]},
    )
