"""Mail: in comes one message, out come its text and what is attached to it.

What is kept as evidence is the message without its attachments, which never lie in the clear; each is replaced by its
digest and size. The parts keep their numbers, so that an address names one.
"""

import email
import email.header
import email.policy
import hashlib
import re
from collections.abc import Iterator
from email import errors
from email.message import Message as Mail
from urllib.parse import quote, unquote

from parsel import Selector

from crawler.bodies import Kind, judge_body
from crawler.kinds.reading import Message, is_archive, is_picture, read_lines
from crawler.listing import LONGEST_TEXT
from vault import formats
from vault.log import clean_text

MOST_PARTS = 500
PICTURE_TYPES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif",
                 "image/bmp": ".bmp"}  # fmt: skip
# of what is a picture by its bytes and is not called one
ENDS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WebP": ".webp", "BMP": ".bmp", "HEIC": ".heic", "AVIF": ".avif",
        "TIFF": ".tif", "JPEG 2000": ".jp2", "JPEG XL": ".jxl", "PSD": ".psd"}  # fmt: skip
TRUNCATED = "X-Facewarden-Truncated"
CUT_SHORT = (errors.CloseBoundaryNotFoundDefect, errors.StartBoundaryNotFoundDefect)
CUT_CONTENT = (errors.InvalidBase64PaddingDefect, errors.InvalidBase64LengthDefect)  # of the last part
MOST_HTML = 200_000  # letters


def open_mail(data: bytes) -> Mail:
    return email.message_from_bytes(data, policy=email.policy.compat32)


def list_parts(mail: Mail) -> list[Mail]:
    """Every part that has no parts itself, in order; a message inside the message is gone through as well."""
    found: list[Mail] = []
    for part in mail.walk():
        if not part.is_multipart():
            found.append(part)
        if len(found) == MOST_PARTS:
            break
    return found


def strip_mail(data: bytes, *, cut: bool = False) -> bytes:
    """The message with everything but its texts replaced by digests. `cut`: the mailbox ends in it."""
    mail = open_mail(data)
    head = data.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0].rstrip(b"\r\n")
    original = b"X-Facewarden-Original: sha256 " + hashlib.sha256(data).hexdigest().encode()
    parts = list_parts(mail)
    contents = [read_content(part) for part in parts]
    cut = cut or ends_early(mail, parts)
    lines = [shield(head), original, *([TRUNCATED.encode() + b": yes"] if cut else []), b""]
    for number, (part, content) in enumerate(zip(parts, contents, strict=True)):
        if is_text(part, content):
            what, text = "text", read_letters(part, content).encode("utf-8", "replace")
        else:
            what, text = "attachment", b""
        digest = hashlib.sha256(content).hexdigest()
        kind, name = part.get_content_type(), quote(name_part(part, content), safe="")
        mark = f"--facewarden part {number} {what} {kind} {len(content)} {digest} {name}"
        if what == "attachment" and not name:
            mark += " " + quote(formats.find_picture(content)[0], safe="")
        lines.append(mark.encode("utf-8", "replace"))
        lines.append(shield(text))
    return b"\n".join(lines) + b"\n"


def ends_early(mail: Mail, parts: list[Mail]) -> bool:
    """Does the message lack its end? Only MIME says so: a boundary that does not close, a last part whose letters do
    not make whole bytes."""
    defects = [defect for part in mail.walk() for defect in part.defects]
    last = parts[-1].defects if parts else []
    return any(isinstance(each, CUT_SHORT) for each in defects) or any(isinstance(each, CUT_CONTENT) for each in last)


def shield(text: bytes) -> bytes:
    """A text in which no line looks like one of ours."""
    return (b"\n" + text).replace(b"\n--facewarden part", b"\n --facewarden part")[1:]


PART = re.compile(r"^--facewarden part (\d+) (text|attachment) (\S+) \d+ [0-9a-f]{64} ?(\S*)(?: (\S+))?$", re.MULTILINE)


def list_messages(body: bytes) -> Iterator[Message]:
    """The one message of what `strip_mail` left."""
    letters = body.decode("utf-8", "replace")
    places = list(PART.finditer(letters))[:MOST_PARTS]
    head = email.message_from_bytes(body[: len(letters[: places[0].start()].encode()) if places else len(body)])
    texts: dict[str, str] = {}
    files: list[str] = []
    left_out: list[str] = []
    for place, after in zip(places, [*places[1:], None], strict=True):
        if place[2] == "text":
            texts.setdefault(place[3], letters[place.end() : after.start() if after else None].strip())
        elif place[4]:
            files.append(f"?part={place[1]}&name={place[4]}")
        else:
            left_out.append(unquote(place[5] or formats.UNKNOWN))
    text = texts.get("text/plain") or strip_tags(texts.get("text/html", ""))
    if not places and not head.keys():
        return
    yield Message(
        name="",
        author=read_header(head, "From"),
        forwarded="",
        place="",
        at=None,
        text=text[: 2 * LONGEST_TEXT],
        files=tuple(files),
        subject=read_header(head, "Subject"),
        left_out=tuple(left_out),
    )


def is_truncated(body: bytes) -> bool:
    """Was the message that `strip_mail` left one that ends early?"""
    return (TRUNCATED.encode() + b": yes") in body.partition(b"\n\n")[0].splitlines()


def list_contents(data: bytes) -> list[bytes]:
    """The content of every part of a whole message, by the numbers that `strip_mail` gave them."""
    return [read_content(part) for part in list_parts(open_mail(data))]


def is_text(part: Mail, content: bytes) -> bool:
    """By what it is called and by its bytes: a picture is none, whatever its type says."""
    return (
        part.get_content_maintype() == "text"
        and not part.get_filename()
        and part.get_content_disposition() != "attachment"
        and judge_body(content, "").kind is Kind.PAGE
    )


def read_content(part: Mail) -> bytes:
    """The bytes of a part; as they stand where their encoding is broken."""
    try:
        content = part.get_payload(decode=True)
    except (ValueError, LookupError, AssertionError):
        content = None
    if isinstance(content, bytes):
        return content
    raw = part.get_payload()
    return raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else b""


def read_letters(part: Mail, content: bytes) -> str:
    try:
        return content.decode(part.get_content_charset() or "utf-8", "replace").replace("\0", "")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace").replace("\0", "")


def name_part(part: Mail, content: bytes) -> str:
    """A name whose end says what it is: the file's, or one after its type or its bytes; nothing for what is no
    sample."""
    try:
        name = clean_text(decode_words(part.get_filename() or ""), 100)
    except (ValueError, LookupError, TypeError):
        name = ""
    name = name.replace("/", "_").replace("\\", "_").encode("utf-8", "replace").decode()
    if is_picture(name) or is_archive(name):
        return name
    end = PICTURE_TYPES.get(part.get_content_type()) or ENDS.get(formats.find_picture(content)[0])
    return f"picture{end}" if end else ""


def read_header(mail: Mail, name: str) -> str:
    try:
        return decode_words(str(mail.get(name, "")))
    except (ValueError, LookupError, TypeError):
        return ""


def decode_words(value: str) -> str:
    """RFC 2047: `=?utf-8?B?...?=` as letters."""
    parts = []
    for content, charset in email.header.decode_header(value):
        if isinstance(content, bytes):
            try:
                parts.append(content.decode(charset or "utf-8", "replace"))
            except LookupError:
                parts.append(content.decode("utf-8", "replace"))
        else:
            parts.append(content)
    return "".join(parts).replace("\0", "").strip()


def strip_tags(text: str) -> str:
    """The text of HTML, blocks on lines of their own."""
    root = Selector(text=text[:MOST_HTML].replace("\0", "") or "<p>", type="html").root
    return read_lines(root)
