"""WARC records (ISO 28500:2017, WARC 1.1) as bytes, gzip a record: the same values make the same bytes, always.

A crawl writes them as it receives pages; a bundle is given the pictures it received as such records, too.
"""

import datetime as dt
import io
import re
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"RIFF", "image/webp"),
)


def write_head(status: int, headers: list[tuple[str, str]]) -> str:
    """The head of an answer, a line each, as rows keep it: in ASCII (warcio fails at what it cannot encode), other
    letters as in an address, and none that would begin another line."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\n".join(quote(re.sub(r"[\x00-\x1f\x7f]", " ", line), safe=PRINTABLE) for line in lines)


def write_response(url: str, head: str, body: bytes, *, at: dt.datetime, record_id: UUID) -> bytes:
    """A `response` record: a head as `write_head` makes it, and the body as we keep it, decoded."""
    status, *lines = head.split("\n")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, _, value = line.partition(": ")
        headers.append((name, value))
    headers.append(("Content-Length", str(len(body))))
    protocol, _, code = status.partition(" ")
    return _write("response", url, body, at, record_id, head=StatusAndHeaders(code, headers, protocol=protocol))


def write_resource(url: str, media_type: str, body: bytes, *, at: dt.datetime, record_id: UUID) -> bytes:
    """A `resource` record: bytes without the head of an answer, such as a page as a browser shows it."""
    return _write("resource", url, body, at, record_id, media_type=media_type)


def write_info(file_name: str, *, at: dt.datetime, record_id: UUID) -> bytes:
    """The `warcinfo` record that a file begins with."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True, warc_version="1.1")
    record = writer.create_warcinfo_record(file_name, {"software": "Facewarden"})
    record.rec_headers.replace_header("WARC-Record-ID", f"<urn:uuid:{record_id}>")
    record.rec_headers.replace_header("WARC-Date", write_date(at))
    writer.write_record(record)
    return out.getvalue()


def make_record_id(*facts: str) -> UUID:
    """A record's id from what it is about, for records that are written when they are asked for."""
    return uuid5(NAMESPACE_URL, "\n".join(facts))


def name_type(body: bytes) -> str:
    """The media type of a picture by its first bytes, for one that came without a head (out of an archive)."""
    return next((kind for magic, kind in MAGIC if body.startswith(magic)), "application/octet-stream")


def write_date(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _write(
    kind: str, url: str, body: bytes, at: dt.datetime, record_id: UUID, *,
    head: StatusAndHeaders | None = None, media_type: str = "",
) -> bytes:  # fmt: skip
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True, warc_version="1.1")
    record = writer.create_warc_record(
        url,
        kind,
        payload=io.BytesIO(body),
        http_headers=head,
        warc_content_type=media_type,
        warc_headers_dict={"WARC-Date": write_date(at), "WARC-Record-ID": f"<urn:uuid:{record_id}>"},
    )
    writer.write_record(record)
    return out.getvalue()
