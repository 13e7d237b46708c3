"""What a person hands in, on disk: in comes a path, out come documents to read and files to keep, a portion at a time.

No link is ever followed and nothing but plain files is opened: every folder on the way is opened by itself, so that
nothing can be put in its place meanwhile. Addresses are `ingest:///name/relative/path`, spelled by the bytes of the
names; they never say where on this machine the files lay.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import parse_qs, quote, unquote_to_bytes

from crawler.cards import Card, CardKind, Grouping
from crawler.kinds import mail
from crawler.kinds.folder import MEDIA_TYPE, write_list
from crawler.kinds.reading import INGEST, LONGEST_PLACE, is_archive, is_picture
from vault.archives.rules import MAGIC
from vault.errors import CardError
from vault.formats import HEAD, UNKNOWN, find_picture
from vault.formats import is_picture as is_picture_format

PORTION = 1000  # files of a folder in one list, mails in one batch
PORTION_BYTES = 8 << 20  # and of documents no more than this and one, which may have DOCUMENT_BYTES
DOCUMENT_BYTES = 128 << 20
MAIL_BYTES = 64 << 20
PIECE = 1 << 20
ARCHIVE_MAGIC = (*MAGIC["zip"][:1], *MAGIC["7z"], *MAGIC["rar"])
MOST_DEPTH = 200  # of folders in folders, whatever the card says: each is held open
MBOX_START = re.compile(rb"From \S+ .*\d:\d\d")  # whoever wrote the box did not escape every other line like it

Names = tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """Something to be read: a list of files, an export, a mail. `files`: of a list, (url, mark) of each to be kept;
    a mark changes when what it stands for does."""

    url: str
    mark: str
    media_type: str
    body: bytes = b""
    files: tuple[tuple[str, str], ...] = ()
    failure: tuple[str, str, bool] | None = None


@dataclass(kw_only=True, slots=True)
class Found:
    """What a walk has met so far."""

    files: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class NotOpened(Exception):
    """Why a file cannot be read: (code, text)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.failure = (code, text, True)


class Handed:
    """A file or folder that was handed in. Raises CardError: handed_in, where there is none."""

    def __init__(self, path: Path, card: Card) -> None:
        self._card = card
        real = path.resolve()
        self._name = os.fsencode(path.absolute().name or real.name or "root")
        self._real = os.fsencode(real.name) or b"."
        self.found = Found()
        self._folder: tuple[Names, int] | None = None
        self._mail: tuple[tuple[str, int, int], list[bytes]] | None = None
        try:
            self._root = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._top = real.stat()
        except OSError as exc:
            raise CardError("handed_in", f"cannot read {path}: {exc.strerror}", mend="give a file or a folder") from exc
        if not (stat.S_ISDIR(self._top.st_mode) or stat.S_ISREG(self._top.st_mode)):
            raise CardError("handed_in", f"{path} is neither a file nor a folder", mend="give a file or a folder")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
        os.close(self._root)

    # -- documents ----------------------------------------------------------------------------------------------------

    def list_documents(self) -> Iterator[list[Document]]:
        """All documents, in batches of bounded length and size."""
        documents = self._list_folders() if self._card.kind is CardKind.FOLDER else self._list_exports()
        batch: list[Document] = []
        count = size = 0
        for document in documents:
            batch.append(document)
            count += 1 + len(document.files)
            size += len(document.body)
            if count >= PORTION or size > PORTION_BYTES:
                yield batch
                batch, count, size = [], 0, 0
        if batch:
            yield batch

    def _list_folders(self) -> Iterator[Document]:
        """The lists of files, each of one listing: a folder in what was handed in, or the whole."""
        whole = self._card.read.group is Grouping.WHOLE
        open_lists: dict[str, list[dict[str, Any]]] = {}
        parts: Counter[str] = Counter()
        current = ""
        for names, entry in self._walk():
            own = len(names) <= 2 or whole
            listing = make_url(names[:1]) + "/" if own else make_url(names[:2]) + "/"
            if len(names) == 1:  # a single file
                listing = make_url(names)
            if current and not own and listing != current and open_lists.get(current):
                yield self._write_list(current, open_lists.pop(current), parts)
            current = current if own else listing
            files = open_lists.setdefault(listing, [])
            files.append(entry)
            if len(files) == PORTION:
                yield self._write_list(listing, open_lists.pop(listing), parts)
        for listing, files in open_lists.items():
            yield self._write_list(listing, files, parts)

    def _write_list(self, listing: str, files: list[dict[str, Any]], parts: "Counter[str]") -> Document:
        parts[listing] += 1
        body = write_list(listing, files)
        return Document(
            url=f"{listing}?part={parts[listing]}",
            mark=hashlib.sha256(body).hexdigest(),
            media_type=MEDIA_TYPE,
            body=body,
            files=tuple((each["url"], mark_entry(each)) for each in files if each.get("kind")),
        )

    def _list_exports(self) -> Iterator[Document]:
        """The exports and mails among the files."""
        for names, entry in self._walk():
            url = entry["url"]
            if "refused" in entry:
                continue
            try:
                kind = self._find_document(names, url)
                if kind == "mail":
                    yield self._read_mail(url, self.read_file(url, MAIL_BYTES)[0])
                elif kind == "mails":
                    yield from self._list_mails(url)
                elif kind == "json":
                    body, mark = self.read_file(url, DOCUMENT_BYTES)
                    yield Document(url=url, mark=mark, media_type="application/json", body=body)
                elif kind == "html":
                    body, mark = self.read_file(url, DOCUMENT_BYTES)
                    yield Document(url=url, mark=mark, media_type="text/html; charset=utf-8", body=body)
                else:
                    continue
                self.found.files += 1
            except NotOpened as exc:
                self.found.files += 1
                yield Document(url=url, mark=mark_entry(entry), media_type="", failure=exc.failure)

    def _find_document(self, names: Names, url: str) -> str:
        """What kind of export a file is, by its name; nothing for one that is none. Raises NotOpened."""
        name = names[-1].decode("utf-8", "replace").lower()
        if name.endswith(".eml"):
            return "mail"
        if name.endswith((".mbox", ".mbx")) or ("." not in name and self._begins_as_mbox(url)):
            return "mails"
        if name == "result.json" or (len(names) == 1 and name.endswith(".json")):
            return "json"
        return "html" if name.startswith("messages") and name.endswith(".html") else ""

    def list_beside(self) -> Iterator[str]:
        """The addresses of the files that are no documents of an export; some of them are shown by one."""
        found, self.found = self.found, Found()  # they were counted by the walk that read the documents
        try:
            for names, entry in self._walk():
                if "refused" not in entry:
                    with contextlib.suppress(NotOpened):
                        if not self._find_document(names, entry["url"]):
                            yield entry["url"]
        finally:
            self.found = found

    @property
    def url(self) -> str:
        """The address of the folder that was handed in; a file has another one, without the slash."""
        return make_url((self._name,)) + "/"

    def name_format(self, url: str) -> str:
        """What a file is by its bytes."""
        try:
            handle = self._open(url)
        except NotOpened:
            return UNKNOWN
        try:
            return find_picture(os.read(handle, HEAD))[0]
        except OSError:
            return UNKNOWN
        finally:
            os.close(handle)

    def _list_mails(self, url: str) -> Iterator[Document]:
        for offset, length, data, cut in self._split_mbox(url):
            address = f"{url}?offset={offset}&length={length}"
            if data is None:
                failure = ("body_too_large", f"a mail of more than {MAIL_BYTES} bytes", True)
                yield Document(url=address, mark=str(length), media_type="", failure=failure)
            else:
                yield self._read_mail(address, data, cut=cut)

    def _read_mail(self, url: str, data: bytes, *, cut: bool = False) -> Document:
        """One mail without its attachments. What no library can take apart costs its neighbours nothing."""
        mark = hashlib.sha256(data).hexdigest()
        try:
            body = mail.strip_mail(data, cut=cut)
        except Exception as exc:  # `email` raises many kinds for hostile mail
            failure = ("page_unreadable", type(exc).__name__, True)
            return Document(url=url, mark=mark, media_type="", failure=failure)
        return Document(url=url, mark=mark, media_type="message/rfc822", body=body)

    def _begins_as_mbox(self, url: str) -> bool:
        """Mail programs name their boxes `Inbox` and `Sent`."""
        handle = self._open(url)
        try:
            return MBOX_START.match(os.read(handle, 200)) is not None
        except OSError:
            return False
        finally:
            os.close(handle)

    def _split_mbox(self, url: str) -> Iterator[tuple[int, int, bytes | None, bool]]:
        """Each mail of an mbox: where its `From ` line begins, its length, its bytes (None for too many of them), and
        whether the box ends in the middle of a line of it."""
        start, size, lines, blank, whole = 0, 0, list[bytes](), True, True
        with open(self._open(url), "rb", buffering=PIECE) as file:
            while line := read_line(file):
                if blank and whole and MBOX_START.match(line) and size:
                    yield start, size, b"".join(lines) if size <= MAIL_BYTES else None, False
                    start, size, lines = start + size, 0, []
                blank = whole and not line.strip(b"\r\n")
                whole = line.endswith(b"\n")
                size += len(line)
                if size <= MAIL_BYTES:
                    lines.append(line)
                else:
                    lines.clear()
        if size:
            yield start, size, b"".join(lines) if size <= MAIL_BYTES else None, not whole

    # -- files --------------------------------------------------------------------------------------------------------

    def read_file(self, url: str, most: int) -> tuple[bytes, str]:
        """The content at an address, or of the part of a mail that it names, and its mark. Raises NotOpened."""
        place, _, query = url.partition("?")
        if query:
            return self._read_part(place, parse_qs(query), most)
        handle = self._open(place)
        try:
            return read_handle(handle, 0, most), make_mark(os.fstat(handle))
        except OSError as exc:
            raise NotOpened("file_unreadable", exc.strerror or "cannot be read") from exc
        finally:
            os.close(handle)

    def read_pieces(self, url: str) -> Iterator[bytes]:
        """The same in pieces, for archives. Raises NotOpened."""
        if "?" in url:
            yield self.read_file(url, MAIL_BYTES)[0]
            return
        with open(self._open(url), "rb", buffering=0) as file:
            while piece := read_line(file, whole=False):
                yield piece

    def read_mark(self, url: str) -> str:
        """Raises NotOpened."""
        if "?" in url:
            return ""
        handle = self._open(url)
        try:
            return make_mark(os.fstat(handle))
        finally:
            os.close(handle)

    def _read_part(self, place: str, query: dict[str, list[str]], most: int) -> tuple[bytes, str]:
        """A part of a mail; the parts of the last one are kept, as they are asked for one after the other."""
        try:
            offset, length = (int(query.get(name, ["-1"])[0]) for name in ("offset", "length"))
            number = int(query["part"][0])
        except (KeyError, ValueError) as exc:
            raise NotOpened("file_gone", "no such part") from exc
        mail_at = (place, offset, length)
        if self._mail is None or self._mail[0] != mail_at:
            handle = self._open(place)
            try:
                data = read_handle(handle, max(offset, 0), min(length, MAIL_BYTES) if length >= 0 else MAIL_BYTES,
                                   whole=length < 0)  # fmt: skip
            except OSError as exc:
                raise NotOpened("file_unreadable", exc.strerror or "cannot be read") from exc
            finally:
                os.close(handle)
            try:
                self._mail = (mail_at, mail.list_contents(data))
            except Exception as exc:  # `email` raises many kinds for hostile mail
                raise NotOpened("file_unreadable", type(exc).__name__) from exc
        contents = self._mail[1]
        if not 0 <= number < len(contents):
            raise NotOpened("file_gone", "no such part")
        if len(contents[number]) > most:
            raise NotOpened("body_too_large", f"more than {most} bytes")
        return contents[number], ""

    def _open(self, url: str) -> int:
        """A plain file, opened folder by folder without following a link. Raises NotOpened."""
        names = split_url(url)
        if names is None or names[0] != self._name:
            raise NotOpened("file_refused", "it lies outside of what was handed in")
        names = (self._real, *names[1:])
        try:
            folder = self._open_folder(names[:-1])
            if not stat.S_ISREG(os.stat(names[-1], dir_fd=folder, follow_symlinks=False).st_mode):
                raise NotOpened("file_refused", "a link, a device or something else that is no plain file")
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(names[-1], flags, dir_fd=folder)
        except OSError as exc:
            raise explain(exc) from exc
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NotOpened("file_refused", "it was exchanged while it was opened")
        return handle

    def _open_folder(self, names: Names) -> int:
        """The last folder is kept open: files of one come together."""
        if self._folder is not None and self._folder[0] == names:
            return self._folder[1]
        handle = os.dup(self._root)
        for name in names:
            try:
                inner = open_folder(name, handle)
            finally:
                os.close(handle)
            handle = inner
        if self._folder is not None:
            os.close(self._folder[1])
        self._folder = (names, handle)
        return handle

    # -- the walk -----------------------------------------------------------------------------------------------------

    def _walk(self) -> Iterator[tuple[Names, dict[str, Any]]]:
        """Every file: its names from the top, and its entry in a list of files."""
        if stat.S_ISREG(self._top.st_mode):
            yield (self._name,), self._look((self._name,), self._real, self._root, self._top)
            return
        yield from self._walk_folder((self._name,), self._real, self._root)

    def _walk_folder(self, names: Names, name: bytes, parent: int) -> Iterator[tuple[Names, dict[str, Any]]]:
        try:
            handle = open_folder(name, parent)
        except OSError as exc:
            self.found.refused[explain(exc).failure[0]] += 1
            return
        try:
            with os.scandir(handle) as entries:
                for entry in entries:
                    inner = os.fsencode(entry.name)
                    path = (*names, inner)
                    if not entry.is_dir(follow_symlinks=False):
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError as exc:
                            self.found.refused[explain(exc).failure[0]] += 1
                            continue
                        yield path, self._look(path, inner, handle, status)
                    elif len(path) > min(self._card.budget.depth, MOST_DEPTH):
                        self.found.refused["folder_too_deep"] += 1
                    else:
                        yield from self._walk_folder(path, inner, handle)
        finally:
            os.close(handle)

    def _look(self, names: Names, name: bytes, folder: int, status: os.stat_result) -> dict[str, Any]:
        """A file's entry: `kind` is there only for what is a sample."""
        entry: dict[str, Any] = {"url": make_url(names)}
        if len(entry["url"]) > LONGEST_PLACE:
            self.found.refused["name_too_long"] += 1
            return {"url": entry["url"][:LONGEST_PLACE], "refused": "name too long"}
        if not stat.S_ISREG(status.st_mode):
            kind = "link" if stat.S_ISLNK(status.st_mode) else "special"
            self.found.refused["file_refused"] += 1
            return {**entry, "refused": kind}
        entry |= {"size": status.st_size, "modified": status.st_mtime_ns}
        if self._card.kind is not CardKind.FOLDER:
            return entry
        kind, format_name = find_kind(name, folder)
        self.found.files += bool(kind)
        return {**entry, "kind": kind} if kind else {**entry, "format": format_name}


def find_kind(name: bytes, folder: int) -> tuple[str, str]:
    """`image` or `archive` by a file's name, or where that says nothing by its first bytes; and else what it is."""
    text = name.decode("utf-8", "replace").lower()
    if is_picture(text):
        return "image", ""
    if is_archive(text):
        return "archive", ""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return "", UNKNOWN
    try:
        start = os.read(handle, HEAD)
    except OSError:
        return "", UNKNOWN
    finally:
        os.close(handle)
    format_name = find_picture(start)[0]
    if start.startswith(ARCHIVE_MAGIC):
        return "archive", format_name
    return "image" if is_picture_format(format_name) else "", format_name


def open_folder(name: bytes, parent: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def read_handle(handle: int, offset: int, most: int, *, whole: bool = True) -> bytes:
    """Raises NotOpened: body_too_large, where the whole is wanted; OSError."""
    pieces: list[bytes] = []
    left = most + whole
    while left > 0 and (piece := os.pread(handle, min(left, PIECE), offset)):
        pieces.append(piece)
        left -= len(piece)
        offset += len(piece)
    if whole and left <= 0:
        raise NotOpened("body_too_large", f"more than {most} bytes")
    return b"".join(pieces)


def read_line(file: BinaryIO, *, whole: bool = True) -> bytes:
    """The next line or, where lines do not matter, piece; at most PIECE bytes. Raises NotOpened."""
    try:
        return file.readline(PIECE) if whole else file.read(PIECE) or b""
    except OSError as exc:
        raise NotOpened("file_unreadable", exc.strerror or "cannot be read") from exc


def make_mark(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def mark_entry(entry: dict[str, Any]) -> str:
    return f"{entry['size']}-{entry['modified']}"


def make_url(names: Names) -> str:
    return INGEST + "/".join(quote(name) for name in names)


def split_url(url: str) -> Names | None:
    """The names in an address; None for one that leads elsewhere."""
    if not url.startswith(INGEST):
        return None
    names = tuple(unquote_to_bytes(part) for part in url.removeprefix(INGEST).split("/"))
    return None if any(name in (b"", b".", b"..") or b"/" in name or b"\0" in name for name in names) else names


def explain(exc: OSError) -> NotOpened:
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotOpened("file_gone", "it is not there any more")
    if exc.errno == errno.ELOOP:
        return NotOpened("file_refused", "a link is not followed")
    return NotOpened("file_unreadable", exc.strerror or "cannot be read")
