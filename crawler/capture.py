"""Capturing: in come responses, out go WARC records of pages and encrypted blobs of images, before parsing.

Pages: one WARC 1.1 file a crawl, gzip a record, so that a record can be cut out by offset and length. Images and
archives never lie on disk in the clear.
"""

import datetime as dt
import hashlib
import io
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from vault.blobs import BlobWriter
from vault.records import Capture

DROPPED_HEADERS = {"transfer-encoding", "content-encoding", "content-length"}  # of the body as we keep it: decoded
COOKIE_HEADERS = {"set-cookie", "set-cookie2"}
COOKIE_VALUE = re.compile(r"(?<==)[^;]*")  # whoever has it is logged in as we are


class WarcFile:
    """The WARC file of one crawl, made at its first record. `sync` makes what was written durable."""

    def __init__(self, folder: Path, source: str) -> None:
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        self._folder = folder
        self.name = f"{source}-{stamp}-{os.getpid()}.warc.gz"
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def write_response(
        self, page_id: int, url: str, status: int, headers: list[tuple[str, str]], body: bytes, media_type: str
    ) -> Capture:
        """A `response` record of a page as it was received, but for the values of the cookies it sets."""
        kept = [
            (name, hide_cookie(value) if name.lower() in COOKIE_HEADERS else value)
            for name, value in headers
            if name.lower() not in DROPPED_HEADERS
        ]
        kept.append(("Content-Length", str(len(body))))
        head = StatusAndHeaders(str(status), kept, protocol="HTTP/1.1")
        return self._write(page_id, url, "response", body, media_type, head)

    def write_resource(self, page_id: int, url: str, body: bytes, media_type: str) -> Capture:
        """A `resource` record of a page as a browser rendered it."""
        return self._write(page_id, url, "resource", body, media_type, None)

    def sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write(
        self, page_id: int, url: str, kind: str, body: bytes, media_type: str, head: StatusAndHeaders | None
    ) -> Capture:
        now = dt.datetime.now(dt.UTC)
        buffer = io.BytesIO()
        writer = WARCWriter(buffer, gzip=True, warc_version="1.1")
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(os.open(self._folder / self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")  # noqa: SIM115
            writer.write_record(writer.create_warcinfo_record(self.name, {"software": "Facewarden"}))
            self._file.write(buffer.getvalue())
            buffer.seek(0)
            buffer.truncate()
        record = writer.create_warc_record(
            url,
            kind,
            payload=io.BytesIO(body),
            http_headers=head,
            warc_content_type=media_type if head is None else "",
            warc_headers_dict={"WARC-Date": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
        )
        writer.write_record(record)
        data = buffer.getvalue()
        offset = self._file.tell()
        self._file.write(data)
        return Capture(
            page_id=page_id,
            warc_file=self.name,
            warc_offset=offset,
            warc_length=len(data),
            sha256=hashlib.sha256(body).hexdigest(),
            media_type=media_type,
            captured_at=now,
        )


def hide_cookie(value: str) -> str:
    """A Set-Cookie header without its cookie's value."""
    return COOKIE_VALUE.sub("hidden", value, count=1)


def seal_body(folder: Path, body: bytes) -> BlobWriter:
    """An image's bytes as a sealed blob; its row is still to be written."""
    with BlobWriter(folder) as writer:
        writer.write(body)
        writer.seal()
    return writer
