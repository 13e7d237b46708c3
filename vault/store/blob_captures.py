"""Rows of `blob_capture`: the proof of what was received into blobs, pictures and archives and screenshots."""

from collections.abc import Sequence

from vault.records import BlobCapture
from vault.store import Connection


def save_blob_captures(conn: Connection, captures: Sequence[BlobCapture]) -> None:
    conn.execute(
        """insert into blob_capture (page_id, sha256, head, shows, keep_until, captured_at)
           select * from unnest(%(pages)s::bigint[], %(digests)s::text[], %(heads)s::text[], %(shows)s::bigint[],
                                %(days)s::timestamptz[], %(times)s::timestamptz[])""",
        {
            "pages": [capture.page_id for capture in captures],
            "digests": [capture.sha256 for capture in captures],
            "heads": [capture.head for capture in captures],
            "shows": [capture.shows for capture in captures],
            "days": [capture.keep_until for capture in captures],
            "times": [capture.captured_at for capture in captures],
        },
    )
