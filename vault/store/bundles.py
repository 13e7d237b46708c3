"""Rows of `bundle`, and what a bundle says about its alert.

A bundle is of the case as it is when it is sealed. Whoever asks again after the alert has grown gets another version;
the ones before are kept until the person leaves.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from vault.errors import EvidenceError
from vault.ledger import Kind
from vault.records import Bundle, State
from vault.store import Connection, require_transaction
from vault.store.datasets import lock_datasets
from vault.store.ledger import write_entry
from vault.store.rows import record_row

Row = dict[str, Any]


class Asked(StrEnum):
    """What came of asking for a bundle."""

    NEW = "new"  # one is to be sealed
    WAITING = "waiting"  # one was asked for before and is not sealed yet; it may be of the case as it was
    SAME = "same"  # the last one says all there is


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What operators may know of an alert: the rows that a bundle is about, as the JSON files in it have them; of the
    alert also `subject_id` where it `is_open`."""

    alert: Row
    matches: list[Row]
    listings: list[Row]
    links: list[Row]

    @property
    def sha256(self) -> str:
        """Of all of it: another digest is another case."""
        rows = [self.alert, self.matches, self.listings, self.links]
        return hashlib.sha256(json.dumps(rows, default=_spell, sort_keys=True).encode()).hexdigest()

    @property
    def holds(self) -> dict[str, int]:
        listings = {row["listing_id"] for row in self.listings}
        return {"matches": len(self.matches), "listings": len(listings), "versions": len(self.listings)}


def _spell(value: object) -> str:
    """Times in UTC: whose connection read the rows makes no other case."""
    return value.astimezone(dt.UTC).isoformat() if isinstance(value, dt.datetime) else str(value)


def describe_case(conn: Connection, alert_id: UUID) -> Case | None:
    """The case as it is now; None if the alert is gone, or is its person's only."""
    require_transaction(conn)
    lock_datasets(conn)
    alert = describe_alert(conn, alert_id)
    if alert is None:
        return None
    matches = describe_matches(conn, alert_id)
    if not alert["is_open"]:
        alert, matches = _put_under_label(alert, matches)
    return Case(
        alert=alert,
        matches=matches,
        listings=describe_listings(conn, alert["dataset_id"]),
        links=describe_links(conn, alert["dataset_id"]),
    )


def _put_under_label(alert: Row, matches: list[Row]) -> tuple[Row, list[Row]]:
    """Without what two alerts of one person have in common: a search finds much at one time, and a person judges all
    they were told of."""
    kept = ("alert_id", "dataset_id", "band", "label", "is_open")
    rows = [{name: row[name] for name in row if name not in ("match_id", "matched_at")} for row in matches]
    shown = {**{name: alert[name] for name in kept}, "created_at": alert["shown_from"]}
    return shown, sorted(rows, key=lambda row: row["face_id"])


def ask_bundle(conn: Connection, alert_id: UUID, asked_by: str, why: str = "", *, anew: bool = False) -> Asked:
    """Ask for the bundle of an alert as it is now; the ledger says who did. Where the case has not changed since the
    last one, that one is it, but for `anew`. Raises EvidenceError when the alert is gone."""
    with conn.transaction():
        case = describe_case(conn, alert_id)
        if case is None:
            raise EvidenceError("there is no such alert any more")
        asked = _ask(conn, alert_id, asked_by, why, "" if anew else case.sha256)
        row = conn.execute(
            "select bundle_id, version from bundle where alert_id = %(alert)s and not replaced", {"alert": alert_id}
        ).fetchone()
        assert row is not None
        write_entry(
            conn,
            Kind.EXPORT,
            about=str(row[0]),
            alert=str(alert_id),
            what="asked",
            by=asked_by,
            version=row[1],
            why=why,
        )
    return asked


def _ask(conn: Connection, alert_id: UUID, asked_by: str, why: str, case_sha256: str) -> Asked:
    values = {"bundle": uuid4(), "alert": alert_id, "by": asked_by, "why": why}
    last = conn.execute(
        "select state, case_sha256 from bundle where alert_id = %(alert)s and not replaced for update", values
    ).fetchone()
    if last is not None and last[0] == State.QUARANTINED:  # once more
        conn.execute(
            """update bundle set state = 'ready', attempts = 0, not_before = null, error_code = null, error_text = null,
                      asked_by = %(by)s, why = %(why)s
               where alert_id = %(alert)s and not replaced""",
            values,
        )
        return Asked.NEW
    if last is not None and last[0] != State.DONE:
        return Asked.WAITING
    if last is not None and last[1] == case_sha256:
        return Asked.SAME
    conn.execute("update bundle set replaced = true where alert_id = %(alert)s and not replaced", values)
    added = conn.execute(
        """insert into bundle (bundle_id, alert_id, asked_by, why, version)
           select %(bundle)s, %(alert)s, %(by)s, %(why)s, coalesce(max(version), 0) + 1
           from bundle where alert_id = %(alert)s
           on conflict (alert_id) where not replaced do nothing""",
        values,
    ).rowcount
    return Asked.NEW if added else Asked.WAITING


def list_bundles(conn: Connection, bundle_ids: tuple[UUID, ...]) -> list[Bundle]:
    with conn.cursor(row_factory=record_row(Bundle)) as cursor:
        return cursor.execute(
            """select bundle_id, alert_id, attempts, token, version, asked_by, why,
                      (select sha256 from bundle as before
                       where before.alert_id = bundle.alert_id and before.sealed_at is not null
                         and before.bundle_id <> bundle.bundle_id
                       order by before.sealed_at desc limit 1) as previous_sha256
               from bundle where bundle_id = any(%(ids)s)""",
            {"ids": list(bundle_ids)},
        ).fetchall()


def get_holds(conn: Connection, sha256: str | None) -> dict[str, int]:
    """How much the sealed bundle of this digest holds; nothing if it is not known."""
    row = conn.execute("select holds from bundle where sha256 = %(sha256)s", {"sha256": sha256}).fetchone()
    return dict(row[0]) if row else {}


def save_bundle(conn: Connection, bundle_id: UUID, file: str, sha256: str, case: Case, why: str) -> None:
    """`why`: kept where whoever asked gave no reason."""
    conn.execute(
        """update bundle set file = %(file)s, sha256 = %(sha256)s, sealed_at = now(), case_sha256 = %(case)s,
                  holds = %(holds)s, why = coalesce(nullif(why, ''), %(why)s)
           where bundle_id = %(id)s""",
        {"id": bundle_id, "file": file, "sha256": sha256, "case": case.sha256, "holds": json.dumps(case.holds),
         "why": why},
    )  # fmt: skip


def get_bundle_file(conn: Connection, alert_id: UUID) -> tuple[str, str | None, str | None]:
    """(state, file, error code) of the bundle of an alert that was asked for last."""
    row = conn.execute(
        "select state, file, error_code from bundle where alert_id = %(id)s and not replaced", {"id": alert_id}
    ).fetchone()
    return (row[0], row[1], row[2]) if row else ("absent", None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedVersion:
    """A bundle that was sealed of an alert. `file`: relative to the state folder."""

    alert_id: UUID
    bundle_id: UUID
    version: int
    sealed_at: dt.datetime
    asked_by: str
    why: str
    file: str
    sha256: str


def list_versions(conn: Connection, alert_ids: Sequence[UUID]) -> list[SealedVersion]:
    """The sealed bundles of these alerts, the oldest first."""
    with conn.cursor(row_factory=record_row(SealedVersion)) as cursor:
        return cursor.execute(
            """select alert_id, bundle_id, version, sealed_at, asked_by, why, file, sha256 from bundle
               where alert_id = any(%(ids)s) and sealed_at is not null order by alert_id, sealed_at, bundle_id""",
            {"ids": list(alert_ids)},
        ).fetchall()


def describe_alert(conn: Connection, alert_id: UUID) -> Row | None:
    """An alert that operators may see whole (`is_open`), or under a label."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select alert_id, shown_alert.subject_id, dataset_id, band, state, created_at, verdict, judged_at,
                      is_open, label, shown_from
               from shown_alert left join judgement using (alert_id) where alert_id = %(id)s""",
            {"id": alert_id},
        ).fetchone()


def describe_matches(conn: Connection, alert_id: UUID) -> list[Row]:
    """Every match of an alert with its face, sample and calibration."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select match.score, cut, match.band, match.pack, calibration_id, matched_at,
                      face_id, ordinal, x, y, face.width, face.height, face.score as detector_score,
                      sample.sample_id, sample.sha256, archive.sha256 as archive_sha256, sample.member,
                      page.url as fetched_from, sample.received_at
               from match join face using (face_id) join sample using (sample_id) join page using (page_id)
               left join sample as archive on archive.sample_id = sample.archive_id
               where alert_id = %(id)s order by matched_at, face_id""",
            {"id": alert_id},
        ).fetchall()


def list_matched_samples(conn: Connection, alert_id: UUID) -> list[Row]:
    """The pictures in which an alert's person was found, each once: where it came from, the head of the answer that
    brought it (None where it came out of an archive, or before heads were kept), whether it `is_kept`, and the policy
    of its source."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select distinct on (sample.sha256) sample.sha256,
                      archive_id is not null or page.kind = 'page' as lies_inside, page.url, head,
                      coalesce(captured_at, received_at) as received_at, policy,
                      exists (select from blob where blob.sha256 = sample.sha256) as is_kept
               from match join face using (face_id) join sample using (sample_id)
               join page on page.page_id = sample.page_id join source using (source_id)
               left join blob_capture on blob_capture.page_id = sample.page_id
                    and blob_capture.sha256 = sample.sha256 and head is not null
               where alert_id = %(id)s order by sample.sha256, blob_capture_id, sample_id""",
            {"id": alert_id},
        ).fetchall()


def list_screenshots(conn: Connection, capture_ids: list[int]) -> list[Row]:
    """The screenshots of these captures; those that were dropped on their day are not kept."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select shows, blob_capture.sha256, page.url, captured_at,
                      exists (select from blob where blob.sha256 = blob_capture.sha256) as is_kept
               from blob_capture join page using (page_id)
               where shows = any(%(ids)s) order by shows, blob_capture_id""",
            {"ids": capture_ids},
        ).fetchall()


def describe_listings(conn: Connection, dataset_id: int) -> list[Row]:
    """Every version of the listings of a dataset, with the capture that shows it."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select source.name as source, listing_id, listing.url, version, title, seller, description, price_text,
                      price::text as price, currency, claimed_text, claimed_count, invalid_fields, seen_at,
                      capture_id, warc_file, warc_offset, warc_length, capture.sha256 as capture_sha256,
                      captured_at
               from listing join listing_version using (listing_id) join capture using (capture_id)
               join source using (source_id)
               where dataset_id = %(id)s order by listing_id, version""",
            {"id": dataset_id},
        ).fetchall()


def describe_links(conn: Connection, dataset_id: int) -> list[Row]:
    """Why the listings of a dataset are one (see `matcher/datasets.py`)."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select dataset_link.listing_id, other_id, kept_id, merged_id, reason, shared, exact, groups, common,
                      listing_size, other_size, joined_at
               from dataset_link join listing using (listing_id) where dataset_id = %(id)s order by link_id""",
            {"id": dataset_id},
        ).fetchall()


def describe_calibration(conn: Connection, calibration_ids: list[str]) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select calibration_id, pack, record from calibration where calibration_id = any(%(ids)s)",
            {"ids": calibration_ids},
        ).fetchall()
