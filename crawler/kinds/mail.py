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
from email.message import Message as Mail
from urllib.parse import quote

from parsel import Selector

from crawler.kinds.reading import Message, is_archive, is_picture, read_lines
from crawler.listing import LONGEST_TEXT
from vault.log import clean_text

MOST_PARTS = 500
PICTURE_TYPES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif",
                 "image/bmp": ".bmp"}  # fmt: skip
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


def strip_mail(data: bytes) -> bytes:
    """The message with everything but its texts replaced by digests."""
    mail = open_mail(data)
    head = data.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0].rstrip(b"\r\n")
    original = b"X-Facewarden-Original: sha256 " + hashlib.sha256(data).hexdigest().encode()
    lines = [shield(head), original, b""]
    for number, part in enumerate(list_parts(mail)):
        content = read_content(part)
        if is_text(part):
            what, text = "text", read_letters(part, content).encode("utf-8", "replace")
        else:
            what, text = "attachment", b""
        digest = hashlib.sha256(content).hexdigest()
        kind, name = part.get_content_type(), quote(name_part(part), safe="")
        mark = f"--facewarden part {number} {what} {kind} {len(content)} {digest} {name}"
        lines.append(mark.encode("utf-8", "replace"))
        lines.append(shield(text))
    return b"\n".join(lines) + b"\n"


def shield(text: bytes) -> bytes:
    """A text in which no line looks like one of ours."""
    return (b"\n" + text).replace(b"\n--facewarden part", b"\n --facewarden part")[1:]


PART = re.compile(r"^--facewarden part (\d+) (text|attachment) (\S+) \d+ [0-9a-f]{64} ?(.*)$", re.MULTILINE)


def list_messages(body: bytes) -> Iterator[Message]:
    """The one message of what `strip_mail` left."""
    letters = body.decode("utf-8", "replace")
    places = list(PART.finditer(letters))[:MOST_PARTS]
    head = email.message_from_bytes(body[: len(letters[: places[0].start()].encode()) if places else len(body)])
    texts: dict[str, str] = {}
    files: list[str] = []
    for place, after in zip(places, [*places[1:], None], strict=True):
        if place[2] == "text":
            texts.setdefault(place[3], letters[place.end() : after.start() if after else None].strip())
        elif place[4]:
            files.append(f"?part={place[1]}&name={place[4]}")
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
    )


def list_contents(data: bytes) -> list[bytes]:
    """The content of every part of a whole message, by the numbers that `strip_mail` gave them."""
    return [read_content(part) for part in list_parts(open_mail(data))]


def is_text(part: Mail) -> bool:
    return (
        part.get_content_maintype() == "text"
        and not part.get_filename()
        and part.get_content_disposition() != "attachment"
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


def name_part(part: Mail) -> str:
    """A name whose end says what it is: the file's, or one after its type; nothing for what is no sample."""
    try:
        name = clean_text(decode_words(part.get_filename() or ""), 100)
    except (ValueError, LookupError, TypeError):
        name = ""
    name = name.replace("/", "_").replace("\\", "_").encode("utf-8", "replace").decode()
    if is_picture(name) or is_archive(name):
        return name
    return f"picture{end}" if (end := PICTURE_TYPES.get(part.get_content_type())) else ""


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
