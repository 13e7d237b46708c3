"""Capturing: in come responses, out go sealed WARC records of pages and encrypted blobs of images, before parsing.

Pages: one file a crawl, one WARC 1.1 record after the other. Each record is a gzip member, sealed under
a key of its own: it can be cut out by offset and length, and erased by its key. Nothing that was
received lies on disk in the clear.
"""

import datetime as dt
import hashlib
import io
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from evidence.warc import write_head, write_info, write_resource, write_response
from vault.blobs import BlobWriter, seal_bytes
from vault.keys import make_data_key
from vault.records import Capture, DataKey, WarcInfo
from vault.store.captures import SEALED

DROPPED_HEADERS = {"transfer-encoding", "content-encoding", "content-length"}  # of the body as we keep it: decoded
COOKIE_HEADERS = {"set-cookie", "set-cookie2"}
COOKIE_VALUE = re.compile(r"(?<==)[^;]*")  # whoever has it is logged in as we are


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server sent for a page that a browser then drew."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    media_type: str
    at: dt.datetime


class WarcFile:
    """The WARC file of one crawl, made at its first record. `sync` makes what was written durable. `info`: its first
    record, until that is a row."""

    def __init__(self, folder: Path, source: str) -> None:
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        self._folder = folder
        self.name = f"{source}-{stamp}-{secrets.token_hex(4)}.warc.gz{SEALED}"
        self.info: WarcInfo | None = None
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def write_response(
        self, page_id: int, url: str, status: int, headers: list[tuple[str, str]], body: bytes, media_type: str,
        at: dt.datetime | None = None,
    ) -> Capture:  # fmt: skip
        """A `response` record of a page as it was received, now or at another time."""
        at = at or dt.datetime.now(dt.UTC)
        record = write_response(url, make_head(status, headers), body, at=at, record_id=uuid4())
        return self._write(page_id, record, body, media_type, at)

    def write_resource(self, page_id: int, url: str, body: bytes, media_type: str) -> Capture:
        """A `resource` record of a page as a browser rendered it."""
        now = dt.datetime.now(dt.UTC)
        record = write_resource(url, media_type, body, at=now, record_id=uuid4())
        return self._write(page_id, record, body, media_type, now)

    def sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write(self, page_id: int, record: bytes, body: bytes, media_type: str, now: dt.datetime) -> Capture:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(os.open(self._folder / self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")  # noqa: SIM115
            info = write_info(self.name.removesuffix(SEALED), at=now, record_id=uuid4())
            key, _, length = self._seal(self._file, info)
            self.info = WarcInfo(warc_file=self.name, length=length, key=key)
        key, offset, length = self._seal(self._file, record)
        return Capture(
            page_id=page_id,
            warc_file=self.name,
            warc_offset=offset,
            warc_length=length,
            sha256=hashlib.sha256(body).hexdigest(),
            media_type=media_type,
            captured_at=now,
            key=key,
        )

    @staticmethod
    def _seal(file: io.BufferedWriter, record: bytes) -> tuple[DataKey, int, int]:
        """Write a record under a key of its own; also where it begins, and how long it is."""
        key, offset = DataKey(key_id=uuid4(), value=make_data_key()), file.tell()
        return key, offset, file.write(seal_bytes(key.value, record))


def make_head(status: int, headers: list[tuple[str, str]]) -> str:
    """The head of an answer as it is kept: without the values of the cookies it sets, and without what is true only of
    the body as it was sent."""
    kept = [
        (name, hide_cookie(value) if name.lower() in COOKIE_HEADERS else value)
        for name, value in headers
        if name.lower() not in DROPPED_HEADERS
    ]
    return write_head(status, kept)


def hide_cookie(value: str) -> str:
    """A Set-Cookie header without its cookie's value."""
    return COOKIE_VALUE.sub("hidden", value, count=1)


def seal_body(folder: Path, body: bytes) -> BlobWriter:
    """Bytes as a sealed blob, still to be made durable with its batch (`sync_blobs`), and to become a row."""
    with BlobWriter(folder) as writer:
        writer.write(body)
        writer.seal(sync=False)
    return writer
