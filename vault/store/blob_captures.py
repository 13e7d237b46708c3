"""Rows of `blob_capture`: the proof of what was received into blobs, pictures and archives and screenshots."""

from vault.records import BlobCapture
from vault.store import Connection


def save_blob_capture(conn: Connection, capture: BlobCapture) -> None:
    conn.execute(
        """insert into blob_capture (page_id, sha256, head, shows, keep_until, captured_at)
           values (%(page)s, %(sha256)s, %(head)s, %(shows)s, %(until)s, %(at)s)""",
        {
            "page": capture.page_id,
            "sha256": capture.sha256,
            "head": capture.head,
            "shows": capture.shows,
            "until": capture.keep_until,
            "at": capture.captured_at,
        },
    )
