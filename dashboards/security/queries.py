"""What the security pages show. SELECT only."""

from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from vault.store import Connection

Row = dict[str, Any]
PER_PAGE = 50


def list_alerts(conn: Connection, offset: int) -> list[Row]:
    """Alerts that operators may see, newest first, with the newest version of a listing of their dataset and what
    became of the message. Under a label (not `is_open`) nothing of what its person was told, said or when."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select alert_id, shown.subject_id, shown.band, is_open, label, title, language,
                      source.name as source,
                      case when is_open then shown.state else 'open' end as state,
                      case when is_open then shown.created_at else shown_from end as found_at,
                      case when is_open then judged_at end as judged_at,
                      (select count(*) from match where match.alert_id = shown.alert_id) as faces,
                      case when is_open then
                          (select state from delivery where delivery.alert_id = shown.alert_id and kind = 'alert')
                          end as delivery,
                      (select state from bundle where bundle.alert_id = shown.alert_id and not replaced) as bundle
               from shown_alert as shown left join judgement using (alert_id)
               join lateral (select listing_id, source_id, title, language
                             from listing join listing_version using (listing_id)
                             where listing.dataset_id = shown.dataset_id
                             order by version desc, listing_id limit 1) as newest on true
               join source on source.source_id = newest.source_id
               order by found_at desc, alert_id limit %(most)s offset %(offset)s""",
            {"most": PER_PAGE, "offset": offset},
        ).fetchall()


def count_alerts(conn: Connection) -> int:
    row = conn.execute("select count(*) from shown_alert").fetchone()
    return int(row[0]) if row else 0


def count_held(conn: Connection) -> int:
    """Faces held for review: too many people would share them, or the data cannot support the budget's cut there."""
    row = conn.execute("select count(distinct face_id) from shown_match where held <> 'not_them'").fetchone()
    return int(row[0]) if row else 0


def count_denied(conn: Connection) -> int:
    """Faces that alerted nobody because they look like one of which the person said that it is not them."""
    row = conn.execute("select count(distinct face_id) from shown_match where held = 'not_them'").fetchone()
    return int(row[0]) if row else 0


def get_alert(conn: Connection, alert_id: UUID) -> Row | None:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select alert_id, shown.subject_id, dataset_id, band, is_open, label,
                      case when is_open then state else 'open' end as state,
                      case when is_open then created_at else shown_from end as found_at,
                      case when is_open then judged_at end as judged_at,
                      case when is_open then operator end as judged_by,
                      case when is_open then
                          (select state from delivery where delivery.alert_id = shown.alert_id and kind = 'alert')
                          end as delivery,
                      (select state from bundle where bundle.alert_id = shown.alert_id and not replaced) as bundle
               from shown_alert as shown left join judgement using (alert_id) where alert_id = %(id)s""",
            {"id": alert_id},
        ).fetchone()


def list_faces(conn: Connection, alert_id: UUID) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select face_id, match.band, calibration_id, sample.sha256, sample.member,
                      sample.archive_id is not null as archived, received_at, truncated, faces_left_out, policy,
                      exists (select from blob where blob.sha256 = sample.sha256) as is_kept
               from match join face using (face_id) join sample using (sample_id)
               join listing using (listing_id) join source using (source_id)
               where alert_id = %(id)s order by match.score desc, face_id""",
            {"id": alert_id},
        ).fetchall()


def list_listings(conn: Connection, dataset_id: int) -> list[Row]:
    """The newest version of each listing of a dataset, with its capture."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select distinct on (listing_id) listing_id, listing.url, source.name as source, version, title, seller,
                      description, price_text, price, currency, unit_price, claimed_text, claimed_count,
                      claimed_people, language, counts, kinds, contacts, dates, invalid_fields, first_seen, last_seen,
                      seen_at, capture.sha256 as capture, captured_at, warc_file,
                      key.erased_at as capture_erased_at,
                      (select jsonb_object_agg(kind, files order by kind) from (
                           select kind, sum(files) as files from passed_over
                           where passed_over.source_id = listing.source_id and place in (
                               select page.url from page where page_id = listing.page_id
                               union select page.url from listing_page join page using (page_id)
                               where listing_page.listing_id = listing.listing_id and page.kind = 'archive')
                           group by kind) as each) as passed_over
               from listing join listing_version using (listing_id) join capture using (capture_id)
               join source using (source_id) left join key on key.key_id = capture.key_id
               where dataset_id = %(id)s order by listing_id, version desc""",
            {"id": dataset_id},
        ).fetchall()


def get_face(conn: Connection, face_id: int) -> Row | None:
    """Where a matched face lies: only faces of alerts that operators may see can be asked for."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select face.x, face.y, face.width, face.height, sample.sha256, alert_id
               from match join shown_alert using (alert_id) join face using (face_id) join sample using (sample_id)
               where face_id = %(id)s limit 1""",
            {"id": face_id},
        ).fetchone()
