#!/usr/bin/env python3
"""Check an evidence bundle. Runs alone: one file, Python 3.11 or newer, nothing to install, no network, no database.

    python3 verify.py BUNDLE [--key HEX] [--json]

A bundle is a zip whose every byte is determined by its files: no compression, no dates, a fixed order. First comes
`manifest.sig` (fixed length: signer, size and SHA-256 of the manifest, Ed25519 signature), then `manifest.json` (name,
size and SHA-256 of every other file), then the files. So this program knows what each byte must be and names whatever
differs: a file, a header of the container, an extra or a missing file.

Each check gives one of three answers: passed, failed, or absent (there is nothing to check). The exit code is 0 when
nothing failed, 1 when something did, 2 when the file is no bundle or cannot be read. Without `--key` a bundle can be
intact, but who sealed it was not checked: anybody can seal a bundle with a key of their own.

Sources: APPNOTE 6.3.10 (zip), RFC 8032 (Ed25519), RFC 6962 (ledger tree), ISO 28500 (WARC).
"""

import argparse
import gzip
import hashlib
import io
import json
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = "facewarden bundle 1"
SIGNATURE_FILE, MANIFEST_FILE, LEDGER_FILE = "manifest.sig", "manifest.json", "ledger.json"
SIGNATURE_LINES = ("public_key", "manifest_size", "manifest_sha256", "signature")
SIGNATURE_WIDTHS = {"public_key": 64, "manifest_size": 12, "manifest_sha256": 64, "signature": 128}
SIGNATURE_SIZE = len(FORMAT) + 1 + sum(len(name) + 2 + SIGNATURE_WIDTHS[name] for name in SIGNATURE_LINES)

PASSED, FAILED, ABSENT = "passed", "failed", "absent"


@dataclass
class Report:
    """What was found: (answer, what was checked, detail)."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    signer: str = ""

    def add(self, answer: str, what: str, detail: str = "") -> None:
        self.rows.append((answer, what, detail))

    @property
    def failed(self) -> list[str]:
        """The names of everything that failed."""
        return [what for answer, what, _ in self.rows if answer == FAILED]


# -- the container ----------------------------------------------------------------------------------------------------


def local_header(name: str, content: bytes) -> bytes:
    """APPNOTE 4.3.7: stored, no flags but UTF-8 names, dated 1980-01-01."""
    raw = name.encode()
    sizes = (zlib.crc32(content), len(content), len(content), len(raw), 0)
    return struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0x800, 0, 0, 0x21, *sizes) + raw


def central_header(name: str, content: bytes, offset: int) -> bytes:
    """APPNOTE 4.3.12."""
    raw = name.encode()
    sizes = (zlib.crc32(content), len(content), len(content), len(raw), 0, 0, 0, 0, 0, offset)
    return struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0x800, 0, 0, 0x21, *sizes) + raw


def end_record(count: int, size: int, offset: int) -> bytes:
    """APPNOTE 4.3.16."""
    return struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, offset, 0)


def lay_out(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Every region of the container in order: (what it is, its bytes)."""
    regions: list[tuple[str, bytes]] = []
    central: list[tuple[str, bytes]] = []
    offset = 0
    for name, content in files:
        header = local_header(name, content)
        central.append((f"directory entry of {name}", central_header(name, content, offset)))
        regions += [(f"header of {name}", header), (name, content)]
        offset += len(header) + len(content)
    size = sum(len(entry) for _, entry in central)
    return [*regions, *central, ("end of the container", end_record(len(files), size, offset))]


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


# -- manifest and files -----------------------------------------------------------------------------------------------


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


def check_bundle(data: bytes, pinned_key: str = "") -> Report:
    """Everything there is to check in the bytes of a bundle."""
    report = Report()
    start = len(local_header(SIGNATURE_FILE, b""))
    signature_bytes = data[start : start + SIGNATURE_SIZE]
    signature = read_signature(signature_bytes)
    if signature is None:
        report.add(FAILED, SIGNATURE_FILE, "it does not have its fixed form, so nothing can be trusted")
        return report
    key = bytes.fromhex(signature["public_key"])
    report.signer = hashlib.sha256(key).hexdigest()
    size = int(signature["manifest_size"])
    message = signed_message(key, size, signature["manifest_sha256"])
    if not verify_signature(key, message, bytes.fromhex(signature["signature"])):
        report.add(FAILED, SIGNATURE_FILE, "the signature does not fit its own lines")
        return report
    report.add(PASSED, SIGNATURE_FILE, "signed by the key below")
    check_signer(report, signature["public_key"], pinned_key)
    start += SIGNATURE_SIZE + len(local_header(MANIFEST_FILE, b""))
    manifest = data[start : start + size]
    if hashlib.sha256(manifest).hexdigest() != signature["manifest_sha256"]:
        report.add(FAILED, MANIFEST_FILE, "it is not the manifest that was signed")
        return report
    report.add(PASSED, MANIFEST_FILE, "as signed")
    entries: list[dict[str, Any]] = json.loads(manifest)["files"]
    if len(data) != container_size(signature_bytes, manifest, entries):
        check_names(report, data, entries)
        return report
    check_regions(report, data, signature_bytes, manifest, entries, start + size)
    return report


def check_signer(report: Report, key: str, pinned: str) -> None:
    if not pinned:
        report.add(ABSENT, "signer pinned", "compare the fingerprint with one you were given, or use --key")
    elif pinned.lower() in (key, report.signer):
        report.add(PASSED, "signer pinned", "the key you named")
    else:
        report.add(FAILED, "signer pinned", "signed by another key than the one you named")


def container_size(signature: bytes, manifest: bytes, entries: list[dict[str, Any]]) -> int:
    """How many bytes the container must have, from the names and sizes that were signed."""
    names = [(SIGNATURE_FILE, len(signature)), (MANIFEST_FILE, len(manifest))]
    names += [(entry["name"], entry["size"]) for entry in entries]
    headers = sum(len(local_header(n, b"")) + len(central_header(n, b"", 0)) for n, _ in names)
    return headers + sum(size for _, size in names) + len(end_record(0, 0, 0))


def check_names(report: Report, data: bytes, entries: list[dict[str, Any]]) -> None:
    """The container is longer or shorter than it must be: name extra and missing files, if it still reads as a zip."""
    wanted = {SIGNATURE_FILE, MANIFEST_FILE, *(entry["name"] for entry in entries)}
    names: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            names = [info.orig_filename for info in container.infolist()]
    except Exception as exc:  # cut short, or something appended
        report.add(FAILED, "end of the container", f"not where it must be ({type(exc).__name__})")
        return
    for name in sorted(set(names) - wanted):
        report.add(FAILED, f"extra file {name}", "the manifest does not know it")
    for name in sorted(wanted - set(names)):
        report.add(FAILED, f"missing file {name}", "the manifest names it")
    for name in sorted({name for name in names if names.count(name) > 1}):
        report.add(FAILED, f"extra file {name}", "the container holds it twice")
    report.add(FAILED, "end of the container", f"{len(data)} bytes, not as many as were sealed")


def check_regions(
    report: Report, data: bytes, signature: bytes, manifest: bytes, entries: list[dict[str, Any]], at: int
) -> None:
    """Compare every byte of the container with what it must be, and every file with its digest."""
    files = [(SIGNATURE_FILE, signature), (MANIFEST_FILE, manifest)]
    contents: dict[str, bytes] = {}
    for entry in entries:
        at += len(local_header(entry["name"], b""))
        content = data[at : at + entry["size"]]
        at += entry["size"]
        good = len(content) == entry["size"] and hashlib.sha256(content).hexdigest() == entry["sha256"]
        report.add(PASSED if good else FAILED, entry["name"], "" if good else "its SHA-256 is not the manifest's")
        files.append((entry["name"], content))
        contents[entry["name"]] = content
    damaged = False
    offset = 0
    changed = set(report.failed)
    for what, expected in lay_out(files):
        found = data[offset : offset + len(expected)]
        # the checksum of a changed file differs in its headers too, but the file itself was named already
        named = any(what.endswith(f" of {name}") and differs_in_crc_only(found, expected) for name in changed)
        if found != expected and what not in contents and not named:
            byte = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
            report.add(FAILED, what, f"changed at byte {offset + byte} of the container")
            damaged = True
        offset += len(expected)
    if not damaged:
        report.add(PASSED, "container", f"all {len(data)} bytes accounted for")
    if not report.failed:
        check_ledger(report, contents, entries, read_signature(signature))


def differs_in_crc_only(found: bytes, expected: bytes) -> bool:
    places = (14, 18) if expected[:4] == b"PK\3\4" else (16, 20)
    return len(found) == len(expected) and all(
        a == b or places[0] <= i < places[1] for i, (a, b) in enumerate(zip(found, expected, strict=True))
    )


# -- ledger and captures ----------------------------------------------------------------------------------------------


def hash_leaf(entry: str) -> bytes:
    return hashlib.sha256(b"\0" + entry.encode()).digest()


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


def check_ledger(
    report: Report, contents: dict[str, bytes], entries: list[dict[str, Any]], signature: dict[str, str] | None
) -> None:
    """The signed head, the place of every entry in it, and that what was captured is what is here."""
    ledger = json.loads(contents[LEDGER_FILE])
    head = ledger["head"]
    key = bytes.fromhex(ledger["public_key"])
    message = f"facewarden ledger head 1\n{head['tree_size']}\n{head['root']}\n{head['signed_at']}\n".encode()
    same = signature is not None and signature["public_key"] == ledger["public_key"]
    good = same and verify_signature(key, message, bytes.fromhex(head["signature"]))
    report.add(PASSED if good else FAILED, "ledger head", f"{head['tree_size']} entries, signed {head['signed_at']}")
    captured: set[str] = set()
    for item in ledger["entries"]:
        path = [bytes.fromhex(step) for step in item["path"]]
        root = root_from_path(hash_leaf(item["entry"]), item["position"], head["tree_size"], path)
        entry = json.loads(item["entry"])
        good = root is not None and root.hex() == head["root"]
        report.add(PASSED if good else FAILED, f"ledger entry {item['position']}", f"{entry['kind']}, {entry['at']}")
        if entry["kind"] == "capture":
            captured.add(entry["facts"]["about"])
    for file in entries:
        digest = file.get("captured_sha256")
        if digest is None:
            continue
        content = contents[file["name"]]
        if file["name"].endswith(".warc.gz"):
            content = warc_body(content)
        good = digest in captured and hashlib.sha256(content).hexdigest() == digest
        report.add(PASSED if good else FAILED, f"capture of {file['name']}", "what the ledger recorded at receipt")
    report.add(ABSENT, "timestamp", "this bundle carries no RFC 3161 timestamp")


def warc_body(data: bytes) -> bytes:
    """The payload of the single response or resource record in a gzipped WARC (ISO 28500, section 4)."""
    record = gzip.decompress(data)
    head, _, block = record.partition(b"\r\n\r\n")
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    block = block[: int(headers[b"Content-Length"])]
    return block.partition(b"\r\n\r\n")[2] if headers[b"WARC-Type"] == b"response" else block


# -- the command ------------------------------------------------------------------------------------------------------


def show(report: Report, pinned: bool) -> None:
    for answer, what, detail in report.rows:
        print(f"{answer:7} {plain(what)}{': ' + plain(detail) if detail else ''}")
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
    try:
        data = args.bundle.read_bytes()
    except OSError as exc:
        print(f"cannot read {plain(str(args.bundle))}: {exc.strerror}", file=sys.stderr)
        return 2
    try:
        report = check_bundle(data, args.key or "")
    except Exception as exc:  # whatever hostile bytes cause: never a traceback, never a pass
        print(f"{plain(str(args.bundle))} is no bundle this program can read ({type(exc).__name__})", file=sys.stderr)
        return 2
    if args.json:
        rows = [{"answer": answer, "what": what, "detail": detail} for answer, what, detail in report.rows]
        print(json.dumps({"signer": report.signer, "failed": report.failed, "checks": rows}, indent=1))
    else:
        show(report, pinned=args.key is not None)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
