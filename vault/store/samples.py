"""Rows of `sample`: images and archives that listings show or offer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vault.errors import LeaseLost
from vault.formats import NAMES, UNKNOWN
from vault.records import PageKind, Sample
from vault.store import Connection, require_transaction
from vault.store.rows import record_row

LOCKED = ("archive_encrypted", "archive_password")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSample:
    """A sample as it arrives. `refused`: the code with which it ends before any step has seen it."""

    kind: PageKind
    sha256: str | None
    size: int
    archive_id: int | None = None
    member: int | None = None
    notice: str | None = None
    refused: str | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenPicture:
    """A sample picture that was looked at: its size as shown, in pixels; see `sample` in schema.sql."""

    sample_id: int
    width: int
    height: int
    truncated: bool
    faces_left_out: int


def save_samples(conn: Connection, listing_id: int, page_id: int, samples: list[NewSample]) -> int:
    """Add samples of one listing; one that the listing has already is left as it is. Returns how many were new."""
    return conn.execute(
        """insert into sample (listing_id, page_id, archive_id, member, kind, sha256, size, notice, state,
                               error_code, error_text, share_id)
           select %(listing)s, %(page)s, archive_id, member, kind, sha256, size, notice,
                  case when refused is null then 'ready' else 'quarantined' end, refused, error_text,
                  (select source_id from listing where listing_id = %(listing)s)
           from unnest(%(archives)s::bigint[], %(members)s::integer[], %(kinds)s::text[], %(sha256)s::text[],
                       %(sizes)s::bigint[], %(notices)s::text[], %(refused)s::text[], %(texts)s::text[])
                with ordinality as new (archive_id, member, kind, sha256, size, notice, refused, error_text, place)
           order by place
           on conflict do nothing""",
        {
            "listing": listing_id,
            "page": page_id,
            "archives": [each.archive_id for each in samples],
            "members": [each.member for each in samples],
            "kinds": [each.kind.value for each in samples],
            "sha256": [each.sha256 for each in samples],
            "sizes": [each.size for each in samples],
            "notices": [each.notice for each in samples],
            "refused": [each.refused for each in samples],
            "texts": [each.text or None for each in samples],
        },
    ).rowcount


def list_locked(conn: Connection, listing_id: int) -> list[int]:
    """The pages of a listing's archives that no password has opened, or not every member of."""
    rows = conn.execute(
        "select distinct page_id from sample where listing_id = %(id)s and error_code = any(%(codes)s)",
        {"id": listing_id, "codes": list(LOCKED)},
    ).fetchall()
    return [page_id for (page_id,) in rows]


def unlock_again(conn: Connection, page_id: int, sha256: str) -> None:
    """An archive that was locked and has been fetched once more is opened once more: there is a new password."""
    conn.execute(
        """with locked as (
               select sample_id from sample as archive
               where listing_id in (select listing_id from listing_page where listing_page.page_id = %(page)s)
                 and sha256 = %(sha256)s and kind = 'archive'
                 and state in ('done', 'quarantined')
                 and (error_code = any(%(codes)s) or exists (
                      select 1 from sample as member
                      where member.archive_id = archive.sample_id and member.error_code = any(%(codes)s)))),
           gone as (delete from sample using locked
                    where sample.archive_id = locked.sample_id and error_code = any(%(codes)s))
           update sample set state = 'ready', attempts = 0, not_before = null, error_code = null, error_text = null
           from locked where sample.sample_id = locked.sample_id""",
        {"page": page_id, "sha256": sha256, "codes": list(LOCKED)},
    )


def save_page_samples(conn: Connection, samples: Sequence[tuple[int, PageKind, str, int]]) -> None:
    """What was found at many pages, (page_id, kind, sha256, size) each, becomes a sample of every listing that shows
    the page; one that a listing has already is left as it is."""
    conn.execute(
        """insert into sample (listing_id, page_id, kind, sha256, size, state, share_id)
           select listing_id, new.page_id, kind, sha256, size, 'ready', source_id
           from unnest(%(pages)s::bigint[], %(kinds)s::text[], %(sha256)s::text[], %(sizes)s::bigint[])
                with ordinality as new (page_id, kind, sha256, size, place)
                join listing_page on listing_page.page_id = new.page_id join listing using (listing_id)
           order by place, listing_id
           on conflict do nothing""",
        {
            "pages": [page_id for page_id, *_ in samples],
            "kinds": [kind.value for _, kind, *_ in samples],
            "sha256": [sha256 for *_, sha256, _ in samples],
            "sizes": [size for *_, size in samples],
        },
    )


def list_samples(conn: Connection, sample_ids: tuple[int, ...]) -> list[Sample]:
    """The claimed samples, with policy and visibility of their source."""
    with conn.cursor(row_factory=record_row(Sample)) as cursor:
        return cursor.execute(
            """select sample_id, listing_id, page_id, archive_id, kind, sha256, size, policy, retention_days,
                      source_id, visibility, attempts, token
               from sample join source on source_id = share_id
               where sample_id = any(%(ids)s) order by sample_id""",
            {"ids": list(sample_ids)},
        ).fetchall()


def finish_samples(conn: Connection, seen: Sequence[SeenPicture], token: int) -> None:
    """Mark claimed pictures done and keep what they are: one version of each row instead of two. Raises LeaseLost
    (roll back!) if any of them is not ours any more."""
    done = conn.execute(
        """update sample set width = new.width, height = new.height, truncated = new.truncated,
                  faces_left_out = new.left_out, state = 'done', lease_until = null, error_code = null,
                  error_text = null
           from unnest(%(ids)s::bigint[], %(widths)s::integer[], %(heights)s::integer[], %(truncated)s::boolean[],
                       %(left_out)s::integer[]) as new (id, width, height, truncated, left_out)
           where sample_id = new.id and token = %(token)s and state = 'running'""",
        {
            "ids": [each.sample_id for each in seen],
            "widths": [each.width for each in seen],
            "heights": [each.height for each in seen],
            "truncated": [each.truncated for each in seen],
            "left_out": [each.faces_left_out for each in seen],
            "token": token,
        },
    ).rowcount
    if done != len(seen):
        raise LeaseLost(f"{len(seen) - done} of {len(seen)} rows of sample are no longer ours")


def find_place(conn: Connection, sample_id: int) -> str:
    """Where a sample was found, in words: an address, or a member of the archive that lay there."""
    row = conn.execute(
        """select url || coalesce(', archive ' || archive.sha256 || ', member ' || sample.member, '')
           from sample join page on page.page_id = sample.page_id
           left join sample as archive on archive.sample_id = sample.archive_id
           where sample.sample_id = %(id)s""",
        {"id": sample_id},
    ).fetchone()
    return str(row[0]) if row else ""


def refuse_content(conn: Connection, sha256: str, code: str) -> None:
    """No sample of this content is worked on any more, and the heads that came with it are forgotten. Those that
    somebody works on right now end in the same way by themselves."""
    require_transaction(conn)
    conn.execute(
        """update sample set state = 'quarantined', error_code = %(code)s
           where sha256 = %(sha256)s and state in ('ready', 'done')""",
        {"sha256": sha256, "code": code},
    )
    conn.execute("delete from blob_capture where sha256 = %(sha256)s", {"sha256": sha256})


def count_refusals(conn: Connection) -> dict[str, int]:
    """How many inputs ended in which code: samples and pages, names that were ignored, and pictures in pages that were
    too many to be kept."""
    rows = conn.execute(
        """select code, sum(number)::bigint from (
               select error_code as code, 1 as number from sample where state = 'quarantined'
               union all select notice, 1 from sample where notice is not null
               union all select error_code, 1 from page where state = 'quarantined'
               union all select 'pictures_left_out', left_out from page where left_out > 0) as ended
           where code is not null group by code order by code"""
    ).fetchall()
    return dict(rows)


def count_formats(conn: Connection) -> dict[str, int]:
    """How many samples were refused because their format is not read, by its name."""
    rows = conn.execute(
        """select coalesce(error_text, ''), count(*) from sample
           where state = 'quarantined' and error_code = 'format_not_allowed' group by 1"""
    ).fetchall()
    found: Counter[str] = Counter()
    for name, number in rows:
        found[name if name in NAMES else UNKNOWN] += number
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def count_partial(conn: Connection) -> dict[str, int]:
    """What of the pictures that were looked at was not seen: how many are truncated, how many of their faces were left
    out, and in how many pictures."""
    row = conn.execute(
        """select count(*) filter (where truncated), coalesce(sum(faces_left_out), 0),
                  count(*) filter (where faces_left_out > 0)
           from sample where truncated or faces_left_out > 0"""
    ).fetchone()
    assert row is not None
    return {"truncated": int(row[0]), "faces_left_out": int(row[1]), "pictures_with_faces_left_out": int(row[2])}
