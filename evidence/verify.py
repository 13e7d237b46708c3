#!/usr/bin/env python3
"""Check an evidence bundle. Runs alone: one file, Python 3.11 or newer, nothing to install, no network, no database.

    python3 verify.py BUNDLE [--key HEX] [--json]

A bundle is a zip whose every byte is determined by its files: no compression, no dates, a fixed order. First comes
`manifest.sig` (fixed length: signer, size and SHA-256 of the manifest, Ed25519 signature), then `manifest.json` (name,
size and SHA-256 of every other file), then the files. So this program knows what each byte must be and names whatever
differs: a file, a header of the container, an extra or a missing file.

Each check gives one of three answers: passed, failed, or absent (there is nothing to check). A failure has a stable
code, see `CODES`. The exit code is 0 when nothing failed, 1 when something did, 2 when the file is no bundle or cannot
be read. Without `--key` a bundle can be intact, but who sealed it was not checked: anybody can seal a bundle with a key
of their own.

The file is hostile until it is proven: it is read once, in portions, nothing is unpacked to disk, and the limits below
bound time and memory. A bundle that exceeds one of them fails; none is ever sealed.

Sources: APPNOTE 6.3.10 (zip), RFC 8032 (Ed25519), RFC 6962 (ledger tree), ISO 28500 (WARC), RFC 1952 (gzip).
"""

import argparse
import hashlib
import io
import json
import re
import stat
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

FORMAT = "facewarden bundle 1"
SIGNATURE_FILE, MANIFEST_FILE, LEDGER_FILE = "manifest.sig", "manifest.json", "ledger.json"
SIGNATURE_LINES = ("public_key", "manifest_size", "manifest_sha256", "signature")
SIGNATURE_WIDTHS = {"public_key": 64, "manifest_size": 12, "manifest_sha256": 64, "signature": 128}
SIGNATURE_SIZE = len(FORMAT) + 1 + sum(len(name) + 2 + SIGNATURE_WIDTHS[name] for name in SIGNATURE_LINES)

PASSED, FAILED, ABSENT = "passed", "failed", "absent"

# What a bundle may hold. Time and memory of a check follow from these: 10 s and 300 MB.
MOST_BYTES = 1 << 30  # of the container
MOST_FILES = 20_000
MOST_UNPACKED = 1 << 30  # bytes of all WARC records together
MOST_RECORD = 64 << 20  # bytes of one
MOST_RECORD_HEAD = 256 << 10  # bytes of the headers in it
MOST_PROOFS = 12_000  # ledger entries
MOST_STEPS = 64  # of an audit path: a tree of more than 2^63 entries has more
MOST_ENTRY = 64 << 10  # letters of a ledger entry
MOST_JSON = 28 << 20  # bytes of a JSON file in ASCII; a letter takes four times as much in memory as soon as one is not
MOST_PARTS = 700_000  # values and names in a JSON file
MOST_DEPTH = 16  # of values in values
MOST_NAME = 255  # letters of a file's name
MOST_WORDS = 400  # letters of a line of the report
PORTION = 1 << 20  # bytes read at once

CODES = {
    "signature_form": "manifest.sig does not have its fixed form",
    "signature_wrong": "the signature does not fit what it is over",
    "signer_other": "signed by another key than the one that was named",
    "manifest_changed": "the manifest is not the one that was signed",
    "manifest_invalid": "the manifest is signed and does not have its form",
    "name_unsafe": "a name that could lead elsewhere, or that two systems read differently",
    "name_doubled": "two names that are one, or become one where case does not count",
    "file_changed": "a file's SHA-256 is not the manifest's",
    "file_extra": "a file that the manifest does not know",
    "file_missing": "a file that the manifest names",
    "header_changed": "a header of the container differs from what it must be",
    "container_size": "bytes were appended, put before, or cut off",
    "container_end": "the container does not end as it must",
    "too_large": "more than a bundle may hold (see MOST_...)",
    "ledger_invalid": "ledger.json does not have its form",
    "head_wrong": "the head of the ledger is not signed by the bundle's signer",
    "entry_unproven": "a ledger entry's path does not lead to the head",
    "capture_unproven": "no proven ledger entry says that this was received",
    "record_invalid": "a capture is not one WARC record in one gzip member",
    "record_too_large": "a capture unpacks to more than it may",
}


class Row(NamedTuple):
    """One line of the report; `code` is one of CODES where the answer is failed."""

    answer: str
    what: str
    detail: str = ""
    code: str = ""


@dataclass
class Report:
    """What was found. `version`, `previous_sha256`: which version of the case this is, and the bundle before it.
    `head`, `public_key`: of the ledger that the bundle was proven against, once they were checked."""

    rows: list[Row] = field(default_factory=list)
    signer: str = ""
    version: int = 0
    previous_sha256: str = ""
    head: dict[str, Any] = field(default_factory=dict)
    public_key: str = ""

    def add(self, answer: str, what: str, detail: str = "") -> None:
        self.rows.append(Row(answer, what, detail))

    def fail(self, code: str, what: str, detail: str = "") -> None:
        self.rows.append(Row(FAILED, what[:MOST_WORDS], (detail or CODES[code])[:MOST_WORDS], code))

    def judge(self, good: bool, code: str, what: str, detail: str = "") -> None:
        if good:
            self.add(PASSED, what, detail)
        else:
            self.fail(code, what, detail)

    @property
    def failed(self) -> list[str]:
        """The names of everything that failed."""
        return [row.what for row in self.rows if row.answer == FAILED]


class Unsound(Exception):
    """A part of the bundle that cannot be what it must be; `code` is one of CODES."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or CODES[code])
        self.code = code


# -- the container ----------------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """A file as the container's headers describe it."""

    name: str
    size: int
    crc: int


def store(name: str, content: bytes) -> Stored:
    return Stored(name, len(content), zlib.crc32(content))


def local_header(name: str, content: bytes) -> bytes:
    return write_local(store(name, content))


def write_local(file: Stored) -> bytes:
    """APPNOTE 4.3.7: stored, no flags but UTF-8 names, dated 1980-01-01."""
    raw = file.name.encode()
    sizes = (file.crc, file.size, file.size, len(raw), 0)
    return struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0x800, 0, 0, 0x21, *sizes) + raw


def write_central(file: Stored, offset: int) -> bytes:
    """APPNOTE 4.3.12."""
    raw = file.name.encode()
    sizes = (file.crc, file.size, file.size, len(raw), 0, 0, 0, 0, 0, offset)
    return struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0x800, 0, 0, 0x21, *sizes) + raw


END = struct.Struct("<4sHHHHIIH")  # APPNOTE 4.3.16
CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")


def end_record(count: int, size: int, offset: int) -> bytes:
    return END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


def lay_out(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Every region of the container in order: (what it is, its bytes). One file is in memory at a time."""
    central: list[tuple[str, bytes]] = []
    offset = 0
    for name, content in files:
        file = store(name, content)
        header = write_local(file)
        central.append((f"directory entry of {name}", write_central(file, offset)))
        yield f"header of {name}", header
        yield name, content
        offset += len(header) + len(content)
    yield from central
    size = sum(len(entry) for _, entry in central)
    yield "end of the container", end_record(len(central), size, offset)


# A name is safe on every system and in every program: no way up, no root, drive, stream, device, control or
# look-alike letter. Ours are of this kind.
DEVICE = r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?![A-Za-z0-9_-])"  # what Windows opens instead, whatever its ending
NAME_PART = rf"(?!{DEVICE})[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
NAME = re.compile(f"{NAME_PART}(?:/{NAME_PART})*")


def check_file_names(names: list[str]) -> list[tuple[str, str]]:
    """What is wrong with the names of a bundle's files: (code, name)."""
    faults = [("name_unsafe", name) for name in names if len(name) > MOST_NAME or not NAME.fullmatch(name)]
    known: set[str] = set()
    folders = {folder for name in names for folder in list_folders(name.lower())}
    for name in names:
        if name.lower() in known or name.lower() in folders:
            faults.append(("name_doubled", name))
        known.add(name.lower())
    return faults


def list_folders(name: str) -> Iterator[str]:
    at = name.find("/")
    while 0 <= at < MOST_NAME:
        yield name[:at]
        at = name.find("/", at + 1)


# -- Ed25519 ----------------------------------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741  RFC 8032's name for the square root of -1
Point = tuple[int, int, int, int]


def recover_x(y: int, sign: int) -> int | None:
    """RFC 8032, section 5.1.3."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * I % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def decode_point(data: bytes) -> Point | None:
    value = int.from_bytes(data, "little")
    y = value & ((1 << 255) - 1)
    x = recover_x(y, value >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def add_points(a: Point, b: Point) -> Point:
    """RFC 8032, section 5.1.4: extended homogeneous coordinates."""
    left, right = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        scalar >>= 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = recover_x(BASE_Y, 0) or 0
BASE: Point = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519, RFC 8032 section 5.1.7."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    a, r = decode_point(public_key), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    x, y = multiply(s, BASE), add_points(r, multiply(h, a))
    return (x[0] * y[2] - y[0] * x[2]) % P == 0 and (x[1] * y[2] - y[1] * x[2]) % P == 0


# -- JSON that nobody vouches for ------------------------------------------------------------------------------------


def parse_json(data: bytes, code: str) -> Any:
    """JSON (RFC 8259) of bounded size, depth and number of values, without doubled names, fractions or NaN. Raises
    Unsound: too_large, or `code`."""
    if len(data) * (1 if data.isascii() else 4) > MOST_JSON:
        raise Unsound("too_large", f"{len(data)} bytes of JSON")
    # without escaped quotes every other quote ends a string; what is left outside of strings is the structure
    bones = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bones.count(b'"') <= 2 * MOST_PARTS:
        bones = re.sub(rb'"[^"]*"?', b"", bones)
    if sum(bones.count(sign) for sign in (b",", b":", b"[", b"{", b'"')) > MOST_PARTS:
        raise Unsound("too_large", f"more than {MOST_PARTS} values in JSON")
    depth = 0
    for sign in bones.translate(None, delete=bytes(set(range(256)) - set(b"[]{}"))):
        depth += 1 if sign in b"[{" else -1
        if depth > MOST_DEPTH:
            raise Unsound("too_large", f"JSON more than {MOST_DEPTH} deep")
    del bones
    try:
        return json.loads(data.decode(), object_pairs_hook=make_table, parse_int=read_number, parse_float=refuse_number,
                          parse_constant=refuse_number)  # fmt: skip
    except (ValueError, RecursionError) as exc:
        raise Unsound(code, f"{CODES[code]} ({exc})"[:200]) from exc


def make_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands there twice")
    return table


def read_number(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number of more than 20 digits")
    return int(text)


def refuse_number(text: str) -> NoReturn:
    raise ValueError(f"no whole number: {text[:20]}")


def take_text(table: Any, name: str, most: int, code: str, default: str | None = None) -> str:
    """A text of a JSON object. Raises Unsound."""
    value = table.get(name, default) if isinstance(table, dict) else None
    if not isinstance(value, str) or len(value) > most:
        raise Unsound(code, f"{CODES[code]}: {name}")
    return value


def take_hex(table: Any, name: str, digits: int, code: str) -> str:
    value = take_text(table, name, digits, code)
    if len(value) != digits or not set(value) <= set("0123456789abcdef"):
        raise Unsound(code, f"{CODES[code]}: {name}")
    return value


def take_number(table: Any, name: str, most: int, code: str, default: int | None = None) -> int:
    value = table.get(name, default) if isinstance(table, dict) else None
    if type(value) is not int or not 0 <= value <= most:
        raise Unsound(code, f"{CODES[code]}: {name}")
    return value


def take_list(table: Any, name: str, most: int, code: str) -> list[Any]:
    value = table.get(name, []) if isinstance(table, dict) else None
    if not isinstance(value, list):
        raise Unsound(code, f"{CODES[code]}: {name}")
    if len(value) > most:
        raise Unsound("too_large", f"{len(value)} of {name}, more than {most}")
    return value


# -- manifest and files -----------------------------------------------------------------------------------------------


class Sealed(NamedTuple):
    """A file as the manifest names it. `captured`: the digest under which its receipt was recorded, if it was."""

    name: str
    size: int
    sha256: str
    captured: str


class Lacking(NamedTuple):
    """Something that was received and is not in the bundle: the name it would have, its digest, and why."""

    name: str
    sha256: str
    why: str


@dataclass(frozen=True)
class Manifest:
    raw: bytes
    signature: bytes  # of manifest.sig, as it lies there
    public_key: str
    files: list[Sealed]
    absent: list[Lacking]
    version: int
    previous_sha256: str


def write_signature(public_key: bytes, manifest: bytes, signature: bytes) -> bytes:
    values = {
        "public_key": public_key.hex(),
        "manifest_size": f"{len(manifest):012d}",
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "signature": signature.hex(),
    }
    return (FORMAT + "\n" + "".join(f"{name} {values[name]}\n" for name in SIGNATURE_LINES)).encode()


def signed_message(public_key: bytes, manifest_size: int, manifest_sha256: str) -> bytes:
    """What the signature is over."""
    return f"{FORMAT}\n{public_key.hex()}\n{manifest_size}\n{manifest_sha256}\n".encode()


def read_signature(data: bytes) -> dict[str, str] | None:
    """The four values of `manifest.sig`, None if it does not have its fixed form."""
    lines = data.decode("ascii", "replace").split("\n")
    if len(lines) != 6 or lines[0] != FORMAT or lines[5]:
        return None
    values = dict(line.split(" ", 1) for line in lines[1:5] if " " in line)
    if tuple(values) != SIGNATURE_LINES or any(len(values[n]) != SIGNATURE_WIDTHS[n] for n in SIGNATURE_LINES):
        return None
    hexadecimal = "".join(values[name] for name in SIGNATURE_LINES)
    return values if set(hexadecimal) <= set("0123456789abcdef") and values["manifest_size"].isdigit() else None


def check_bundle(source: bytes | BinaryIO, pinned_key: str = "") -> Report:
    """Everything there is to check in a bundle: its bytes, or a file that can be read and sought."""
    report = Report()
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if size > MOST_BYTES:
        report.fail("too_large", "container", f"{size} bytes, more than {MOST_BYTES}")
        return report
    manifest = check_manifest(report, stream, pinned_key)
    if manifest is None:
        return report
    report.version, report.previous_sha256 = manifest.version, manifest.previous_sha256
    if size != container_size(manifest):
        check_names(report, stream, size, manifest)
    else:
        check_contents(report, stream, size, manifest)
    return report


def check_manifest(report: Report, stream: BinaryIO, pinned_key: str) -> Manifest | None:
    """Signature, signer and manifest; None if nothing else can be trusted."""
    start = stream.read(len(local_header(SIGNATURE_FILE, b"")))
    raw_signature = stream.read(SIGNATURE_SIZE)
    signature = read_signature(raw_signature)
    if signature is None:
        begins = "" if start.startswith(b"PK\3\4") else "; the file does not begin as a bundle does"
        report.fail("signature_form", SIGNATURE_FILE, f"it does not have its fixed form, so nothing is known{begins}")
        return None
    key = bytes.fromhex(signature["public_key"])
    report.signer = hashlib.sha256(key).hexdigest()
    size = int(signature["manifest_size"])
    message = signed_message(key, size, signature["manifest_sha256"])
    if not verify_signature(key, message, bytes.fromhex(signature["signature"])):
        report.fail("signature_wrong", SIGNATURE_FILE, "the signature does not fit its own lines")
        return None
    report.add(PASSED, SIGNATURE_FILE, "signed by the key below")
    check_signer(report, signature["public_key"], pinned_key)
    if size > MOST_JSON:
        report.fail("too_large", MANIFEST_FILE, f"{size} bytes, more than {MOST_JSON}")
        return None
    stream.seek(len(local_header(MANIFEST_FILE, b"")), io.SEEK_CUR)
    raw = stream.read(size)
    if hashlib.sha256(raw).hexdigest() != signature["manifest_sha256"]:
        report.fail("manifest_changed", MANIFEST_FILE, "it is not the manifest that was signed")
        return None
    try:
        manifest = read_manifest(raw, raw_signature, signature["public_key"])
    except Unsound as exc:
        report.fail(exc.code, MANIFEST_FILE, str(exc))
        return None
    names = [SIGNATURE_FILE, MANIFEST_FILE, *(file.name for file in manifest.files)]
    faults = check_file_names([*names, *(each.name for each in manifest.absent)])
    for code, name in faults:
        report.fail(code, f"name {name}")
    if faults:
        return None
    ledger = next((file for file in manifest.files if file.name == LEDGER_FILE), None)
    if ledger is None:
        report.fail("manifest_invalid", MANIFEST_FILE, f"it names no {LEDGER_FILE}")
        return None
    if ledger.size > MOST_JSON:
        report.fail("too_large", LEDGER_FILE, f"{ledger.size} bytes, more than {MOST_JSON}")
        return None
    report.add(PASSED, MANIFEST_FILE, "as signed")
    return manifest


def read_manifest(raw: bytes, signature: bytes, public_key: str) -> Manifest:
    """Raises Unsound: manifest_invalid, too_large."""
    code = "manifest_invalid"
    table = parse_json(raw, code)
    files = [
        Sealed(
            name=take_text(entry, "name", 1 << 16, code),
            size=take_number(entry, "size", MOST_BYTES, code),
            sha256=take_hex(entry, "sha256", 64, code),
            captured=take_hex(entry, "captured_sha256", 64, code) if "captured_sha256" in entry else "",
        )
        for entry in take_list(table, "files", MOST_FILES, code)
    ]
    absent = [
        Lacking(
            name=take_text(entry, "name", 1 << 16, code),
            sha256=take_hex(entry, "sha256", 64, code),
            why=take_text(entry, "why", 1000, code),
        )
        for entry in take_list(table, "absent", MOST_FILES, code)
    ]
    return Manifest(
        raw=raw,
        signature=signature,
        public_key=public_key,
        files=files,
        absent=absent,
        version=take_number(table, "version", 1 << 31, code, default=1),
        previous_sha256=take_hex(table, "previous_sha256", 64, code) if "previous_sha256" in table else "",
    )


def check_signer(report: Report, key: str, pinned: str) -> None:
    if not pinned:
        report.add(ABSENT, "signer pinned", "compare the fingerprint with one you were given, or use --key")
    else:
        good = pinned.lower() in (key, report.signer)
        report.judge(good, "signer_other", "signer pinned", "the key you named" if good else "")


def list_stored(manifest: Manifest) -> list[Stored]:
    """The container's files in order, without the checksums, which only their content tells."""
    first = [(SIGNATURE_FILE, len(manifest.signature)), (MANIFEST_FILE, len(manifest.raw))]
    return [Stored(name, size, 0) for name, size in (*first, *((file.name, file.size) for file in manifest.files))]


def container_size(manifest: Manifest) -> int:
    """How many bytes the container must have, from the names and sizes that were signed."""
    sizes = (file.size + len(write_local(file)) + len(write_central(file, 0)) for file in list_stored(manifest))
    return sum(sizes) + END.size


def check_names(report: Report, stream: BinaryIO, size: int, manifest: Manifest) -> None:
    """The container is longer or shorter than it must be: name extra and missing files, if it has a directory."""
    wanted = {file.name for file in list_stored(manifest)}
    try:
        names = list_names(stream, size)
    except Unsound as exc:
        report.fail(exc.code, "end of the container", str(exc))
        return
    known: set[str] = set()
    for name in names:
        if name in known:
            report.fail("name_doubled", f"extra file {name}", "the container holds it twice")
        elif name not in wanted:
            report.fail("file_extra", f"extra file {name}", "the manifest does not know it")
        known.add(name)
    for name in sorted(wanted - known):
        report.fail("file_missing", f"missing file {name}", "the manifest names it")
    report.fail("container_size", "end of the container", f"{size} bytes, {container_size(manifest)} were sealed")


def list_names(stream: BinaryIO, size: int) -> list[str]:
    """The names in a zip's directory, no more of them than a bundle may hold. Raises Unsound."""
    stream.seek(max(0, size - END.size))
    end = stream.read(END.size)
    if len(end) != END.size:
        raise Unsound("container_end")
    magic, _, _, _, count, length, _, comment = END.unpack(end)
    if magic != b"PK\5\6" or comment:
        raise Unsound("container_end", "not where it must be: the file was cut short, or something was appended")
    if count > MOST_FILES + 2 or length > (MOST_FILES + 2) * (CENTRAL.size + MOST_NAME):
        raise Unsound("too_large", f"more than {MOST_FILES} files")
    if length > size - END.size:
        raise Unsound("container_end", "its directory is larger than the file")
    stream.seek(size - END.size - length)
    return list(read_directory(stream.read(length), count))


def read_directory(data: bytes, count: int) -> Iterator[str]:
    at = 0
    for _ in range(count):
        if len(data) - at < CENTRAL.size or data[at : at + 4] != b"PK\1\2":
            raise Unsound("container_end", "its directory cannot be read")
        name, extra, comment = CENTRAL.unpack_from(data, at)[10:13]
        at += CENTRAL.size
        yield data[at : at + name].decode("utf-8", "backslashreplace")
        at += name + extra + comment


@dataclass
class Content:
    """A file's content, as it was read."""

    sha256: str
    crc: int
    kept: bytes = b""


class Found(NamedTuple):
    """A file as it lies in the container, and whether its content is what was sealed."""

    file: Stored
    offset: int
    intact: bool


def check_contents(report: Report, stream: BinaryIO, size: int, manifest: Manifest) -> None:
    """Read the container once: every byte is compared with what it must be, every file with its digest."""
    sealed = {file.name: file for file in manifest.files}
    pool = Pool(left=MOST_UNPACKED)
    payloads: dict[str, Payload] = {}
    ledger = b""
    found: list[Found] = []
    headers = True
    stream.seek(0)
    for expected in list_stored(manifest):
        offset = stream.tell()
        header = stream.read(len(write_local(expected)))
        file = sealed.get(expected.name)  # None: signature and manifest, which were checked before
        if file is not None and file.captured and is_record(file.name):
            payloads[file.name] = Payload(pool)
        keep = expected.name == LEDGER_FILE
        content = read_content(stream, expected.size, payloads.get(expected.name), keep=keep)
        ledger = content.kept or ledger
        intact = file is None or content.sha256 == file.sha256
        if file is not None:
            report.judge(intact, "file_changed", file.name)
        found.append(Found(expected._replace(crc=content.crc), offset, intact))
        headers &= compare(report, f"header of {expected.name}", header, write_local(found[-1].file), offset, intact)
    headers &= check_directory(report, stream, found)
    if headers:
        report.add(PASSED, "container", f"all {size} bytes accounted for")
    if headers and all(each.intact for each in found):
        check_proofs(report, manifest, ledger, payloads)


def read_content(stream: BinaryIO, size: int, payload: "Payload | None", *, keep: bool) -> Content:
    """Read `size` bytes in portions, through digest and checksum and into the record that they are, if they are one."""
    digest, crc, kept = hashlib.sha256(), 0, []
    while size and (portion := stream.read(min(size, PORTION))):
        size -= len(portion)
        digest.update(portion)
        crc = zlib.crc32(portion, crc)
        if payload is not None:
            payload.feed(portion)
        if keep:
            kept.append(portion)
    return Content(sha256=digest.hexdigest(), crc=crc, kept=b"".join(kept))


def check_directory(report: Report, stream: BinaryIO, found: list[Found]) -> bool:
    """What follows the files: an entry for each, and the end."""
    start = stream.tell()
    good = True
    for each in found:
        offset, expected = stream.tell(), write_central(each.file, each.offset)
        what = f"directory entry of {each.file.name}"
        good &= compare(report, what, stream.read(len(expected)), expected, offset, each.intact)
    offset = stream.tell()
    end = end_record(len(found), offset - start, start)
    return compare(report, "end of the container", stream.read(len(end)), end, offset, True) and good


def compare(report: Report, what: str, found: bytes, expected: bytes, offset: int, intact: bool) -> bool:
    """Are these bytes of the container what they must be? The checksum of a file that is not `intact` differs in its
    headers too, but the file was named already."""
    if found == expected or (not intact and differs_in_crc_only(found, expected)):
        return True
    at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(found))
    report.fail("header_changed", what, f"changed at byte {offset + at} of the container")
    return False


def differs_in_crc_only(found: bytes, expected: bytes) -> bool:
    places = (14, 18) if expected[:4] == b"PK\3\4" else (16, 20)
    return len(found) == len(expected) and all(
        a == b or places[0] <= i < places[1] for i, (a, b) in enumerate(zip(found, expected, strict=True))
    )


# -- captures ---------------------------------------------------------------------------------------------------------


def is_record(name: str) -> bool:
    return name.endswith(".warc.gz")


@dataclass
class Pool:
    """How many bytes may still be unpacked, of all records together."""

    left: int


class Payload:
    """The digest of what the one record in a gzipped WARC holds, read as it comes by (ISO 28500, section 4).

    `fault`: one of CODES where that cannot be told: it is not exactly one gzip member with exactly one `response` or
    `resource` record, or it is too large.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._unpacked = 0
        self._inflate = zlib.decompressobj(wbits=31)  # a gzip header, one member
        self._head: bytearray | None = bytearray()  # the headers, until they are whole
        self._left = 0  # bytes of the block that are still to come
        self._tail = b""
        self._digest = hashlib.sha256()
        self.fault = ""

    def feed(self, data: bytes) -> None:
        try:
            while data and not self.fault:
                if self._inflate.eof:  # something lies behind the member
                    raise Unsound("record_invalid")
                self._take(self._inflate.decompress(data, PORTION))
                data = self._inflate.unconsumed_tail or self._inflate.unused_data
        except (Unsound, zlib.error) as exc:
            self.fault = name_fault(exc)

    def finish(self) -> str:
        """The digest; "" with a fault."""
        if not self.fault:
            try:
                self._take(self._inflate.flush())
            except (Unsound, zlib.error) as exc:
                self.fault = name_fault(exc)
        if not self.fault and not (self._inflate.eof and self._head is None and not self._left and
                                   self._tail == b"\r\n\r\n"):  # fmt: skip
            self.fault = "record_invalid"
        return "" if self.fault else self._digest.hexdigest()

    def _take(self, data: bytes) -> None:
        """Unpacked bytes, in order. Raises Unsound."""
        self._unpacked += len(data)
        self._pool.left -= len(data)
        if self._unpacked > MOST_RECORD or self._pool.left < 0:
            raise Unsound("record_too_large")
        if self._head is not None:
            self._head += data
            data = self._read_head()
        block, rest = data[: self._left], data[self._left :]
        self._left -= len(block)
        self._digest.update(block)
        self._tail += rest
        if len(self._tail) > 4:
            raise Unsound("record_invalid")

    def _read_head(self) -> bytes:
        """What follows the headers of the record and, in a response, of the answer; b"" until they are whole."""
        assert self._head is not None
        head, end, rest = self._head[: MOST_RECORD_HEAD + 1].partition(b"\r\n\r\n")
        kind, length = read_warc_head(bytes(head)) if end else (b"", 0)
        if kind == b"response":
            answer, end, _ = rest.partition(b"\r\n\r\n")
            length -= len(answer) + len(end)
        if not end:
            if len(self._head) > MOST_RECORD_HEAD:
                raise Unsound("record_invalid")
            return b""
        if length < 0:
            raise Unsound("record_invalid")
        start = len(head) + 4 + (len(answer) + 4 if kind == b"response" else 0)
        data = bytes(self._head[start:])
        self._head, self._left = None, length
        return data


def name_fault(exc: Exception) -> str:
    return exc.code if isinstance(exc, Unsound) else "record_invalid"


def read_warc_head(head: bytes) -> tuple[bytes, int]:
    """Type and content length of a record. Raises Unsound."""
    version, *lines = head.split(b"\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    values = dict(fields)
    kind, length = values.get(b"warc-type", b""), values.get(b"content-length", b"")
    if (
        not version.startswith(b"WARC/1.")
        or len(values) != len(fields)
        or kind not in (b"response", b"resource")
        or not re.fullmatch(rb"[0-9]{1,12}", length)
    ):
        raise Unsound("record_invalid")
    return kind, int(length)


# -- the ledger -------------------------------------------------------------------------------------------------------


def hash_leaf(entry: str) -> bytes:
    return hashlib.sha256(b"\0" + entry.encode("utf-8", "surrogatepass")).digest()


def root_from_path(leaf: bytes, position: int, tree_size: int, path: list[bytes]) -> bytes | None:
    """The root an audit path leads to (RFC 9162, section 2.1.3.2); None if the path cannot fit."""
    fn, sn, result = position, tree_size - 1, leaf
    for step in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            result = hashlib.sha256(b"\1" + step + result).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = hashlib.sha256(b"\1" + result + step).digest()
        fn, sn = fn >> 1, sn >> 1
    return result if sn == 0 else None


def check_proofs(report: Report, manifest: Manifest, ledger: bytes, payloads: dict[str, Payload]) -> None:
    """The ledger's head and entries, and that what was captured is what is here."""
    try:
        captured = check_ledger(report, ledger, manifest.public_key)
    except Unsound as exc:
        report.fail(exc.code, LEDGER_FILE, str(exc))
        return
    for file in manifest.files:
        if not file.captured:
            continue
        payload = payloads.get(file.name)
        digest = file.sha256 if payload is None else payload.finish()
        good = file.captured in captured and digest == file.captured
        code = (payload.fault if payload is not None else "") or "capture_unproven"
        report.judge(good, code, f"capture of {file.name}", "what the ledger recorded at receipt" if good else "")
    for each in manifest.absent:
        report.add(ABSENT, each.name, each.why)
        good = each.sha256 in captured
        detail = "the ledger recorded its digest at receipt" if good else ""
        report.judge(good, "capture_unproven", f"receipt of {each.name}", detail)
    report.add(ABSENT, "timestamp", "this bundle carries no RFC 3161 timestamp")


def check_ledger(report: Report, data: bytes, public_key: str) -> set[str]:
    """The signed head, and the place of every entry in it; the digests whose receipt is proven. Raises Unsound."""
    code = "ledger_invalid"
    ledger = parse_json(data, code)
    head = ledger.get("head") if isinstance(ledger, dict) else None
    size = take_number(head, "tree_size", 1 << 63, code)
    root, signature = take_hex(head, "root", 64, code), take_hex(head, "signature", 128, code)
    signed_at, key = take_text(head, "signed_at", 40, code), take_hex(ledger, "public_key", 64, code)
    message = f"facewarden ledger head 1\n{size}\n{root}\n{signed_at}\n".encode("utf-8", "surrogatepass")
    good = key == public_key and verify_signature(bytes.fromhex(key), message, bytes.fromhex(signature))
    report.judge(good, "head_wrong", "ledger head", f"{size} entries, signed {signed_at}" if good else "")
    if good:
        report.public_key = key
        report.head = {"tree_size": size, "root": root, "signed_at": signed_at, "signature": signature}
    captured: set[str] = set()
    for item in take_list(ledger, "entries", MOST_PROOFS, code):
        entry = take_text(item, "entry", MOST_ENTRY, code)
        position = take_number(item, "position", 1 << 63, code)
        path = [bytes.fromhex(take_hex({"path": step}, "path", 64, code))
                for step in take_list(item, "path", MOST_STEPS, code)]  # fmt: skip
        found = root_from_path(hash_leaf(entry), position, size, path)
        table = parse_json(entry.encode("utf-8", "surrogatepass"), code)
        kind, at = take_text(table, "kind", 64, code), take_text(table, "at", 64, code)
        proven = found is not None and found.hex() == root
        report.judge(proven, "entry_unproven", f"ledger entry {position}", f"{kind}, {at}")
        if proven and good and kind == "capture":
            captured.add(take_text(table.get("facts"), "about", MOST_ENTRY, code))
    return captured


# -- the command ------------------------------------------------------------------------------------------------------


def show(report: Report, pinned: bool) -> None:
    for row in report.rows:
        detail = f"{row.code}: {row.detail}" if row.code else row.detail
        print(f"{row.answer:7} {plain(row.what)}{': ' + plain(detail) if detail else ''}")
    if report.previous_sha256:
        print(
            f"version {report.version} of this case; the bundle before it has SHA-256 {plain(report.previous_sha256)}"
        )
    print(f"signer  {report.signer or 'unknown'}")
    if report.failed:
        print("FAILED")
    elif pinned:
        print("verified: nothing in this bundle was changed since it was sealed")
    else:
        print("intact: every byte is what was sealed; the signer was not checked (give --key)")


def plain(text: str) -> str:
    """A bundle's words on one line of a terminal, so that none of them can pass for a line of ours."""
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


def write_report(report: Report) -> str:
    """As JSON."""
    table = {
        "signer": report.signer,
        "version": report.version,
        "previous_sha256": report.previous_sha256,
        "failed": report.failed,
        "checks": [row._asdict() for row in report.rows],
    }
    return json.dumps(table, indent=1)


def main(arguments: list[str] | None = None) -> int:
    alone = arguments is None  # else ./facewarden calls us
    parser = argparse.ArgumentParser(
        prog="verify.py" if alone else "facewarden verify",
        description="Check an evidence bundle: every byte, the signature, the ledger. Works offline.",
        epilog=f"example: {'python3 verify.py' if alone else './facewarden verify'} alert.fwb --key 5f2a...",
    )
    parser.add_argument("bundle", type=Path, help="the bundle's file")
    parser.add_argument("--key", help="public key or fingerprint that must have signed it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args(arguments)
    if args.key == "":  # an unset variable, say: it must not pass for a key that fits
        parser.error("--key is empty")
    shown = plain(str(args.bundle))
    try:
        if not stat.S_ISREG(args.bundle.stat().st_mode):  # a pipe or a device never ends
            print(f"{shown} is no file", file=sys.stderr)
            return 2
        with args.bundle.open("rb") as stream:
            report = check_bundle(stream, args.key or "")
    except (OSError, ValueError) as exc:
        print(f"cannot read {shown}: {plain(getattr(exc, 'strerror', None) or str(exc))}", file=sys.stderr)
        return 2
    except Exception as exc:  # whatever hostile bytes cause: never a traceback, never a pass
        print(f"{shown} is no bundle this program can read ({type(exc).__name__})", file=sys.stderr)
        return 2
    if args.json:
        print(write_report(report))
    else:
        show(report, pinned=args.key is not None)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
