"""Rows of `bundle`, and what a bundle says about its alert."""

from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from vault.records import Bundle
from vault.store import Connection
from vault.store.rows import record_row

Row = dict[str, Any]


def ask_bundle(conn: Connection, alert_id: UUID, asked_by: str) -> None:
    """Ask for the bundle of an alert that operators may see; one is made once."""
    conn.execute(
        """insert into bundle (bundle_id, alert_id, asked_by)
           select %(bundle)s, alert_id, %(by)s from shown_alert where alert_id = %(alert)s
           on conflict (alert_id) where not replaced do nothing""",
        {"bundle": uuid4(), "alert": alert_id, "by": asked_by},
    )


def list_bundles(conn: Connection, bundle_ids: tuple[UUID, ...]) -> list[Bundle]:
    with conn.cursor(row_factory=record_row(Bundle)) as cursor:
        return cursor.execute(
            "select bundle_id, alert_id, attempts, token from bundle where bundle_id = any(%(ids)s)",
            {"ids": list(bundle_ids)},
        ).fetchall()


def save_bundle(conn: Connection, bundle_id: UUID, file: str, sha256: str) -> None:
    conn.execute(
        "update bundle set file = %(file)s, sha256 = %(sha256)s, sealed_at = now() where bundle_id = %(id)s",
        {"id": bundle_id, "file": file, "sha256": sha256},
    )


def get_bundle_file(conn: Connection, alert_id: UUID) -> tuple[str, str | None, str | None]:
    """(state, file, error code) of an alert's bundle."""
    row = conn.execute(
        "select state, file, error_code from bundle where alert_id = %(id)s and not replaced", {"id": alert_id}
    ).fetchone()
    return (row[0], row[1], row[2]) if row else ("absent", None, None)


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
    """The pictures in which an alert's person was found, each once: where it came from, and the head of the answer that
    brought it (None where it came out of an archive, or before heads were kept)."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select distinct on (sample.sha256) sample.sha256, archive_id is not null as in_archive, page.url, head,
                      coalesce(captured_at, received_at) as received_at
               from match join face using (face_id) join sample using (sample_id)
               join page on page.page_id = sample.page_id
               left join blob_capture on blob_capture.page_id = sample.page_id
                    and blob_capture.sha256 = sample.sha256 and head is not null
               where alert_id = %(id)s order by sample.sha256, blob_capture_id, sample_id""",
            {"id": alert_id},
        ).fetchall()


def list_captures(conn: Connection, capture_ids: list[int]) -> list[Row]:
    """These captures, and the answers they were drawn from."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select capture_id, warc_file, warc_offset, warc_length, capture.sha256, page.url
               from capture join page using (page_id)
               where capture_id = any(%(ids)s)
                  or capture_id in (select drawn_from from capture where capture_id = any(%(ids)s))
               order by capture_id""",
            {"ids": capture_ids},
        ).fetchall()


def list_screenshots(conn: Connection, capture_ids: list[int]) -> list[Row]:
    """The screenshots of these captures that are still kept."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select shows, blob_capture.sha256, page.url, captured_at
               from blob_capture join page using (page_id)
                    join blob on blob.sha256 = blob_capture.sha256
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
