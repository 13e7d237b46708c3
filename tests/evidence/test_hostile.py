"""Hostile bundles: rightly signed by somebody, and never a traceback, a pass, a minute or a gigabyte."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from evidence import verify
from evidence.seal import AbsentFile, BundleFile, Signer, check_sealed, seal_parts, write_proofs
from evidence.verify import CODES, FAILED, Report, check_bundle
from evidence.verify import main as verify_bundle
from tests.evidence.forging import (
    EDITION,
    PUBLIC,
    SIGNER,
    bring,
    forge,
    make_record,
    proofs,
    prove,
    seal,
    sha256,
)
from vault.errors import BundleTooLarge, EvidenceError
from vault.ledger import Head, SignedHead, hash_leaf, head_message, prove_positions

LEDGER = proofs([])
MB = 1 << 20
MOST_SECONDS, MOST_MEMORY = 10, 300 * MB
OURS = 24 * MB  # what a Python takes before it does anything
VERIFY = Path(verify.__file__)


def codes(report: Report) -> set[str]:
    found = {row.code for row in report.rows if row.answer == FAILED}
    assert found <= set(CODES)
    return found


# -- time and memory --------------------------------------------------------------------------------------------------


def pack_zeros(size: int) -> bytes:
    """A record of so many zeros, gzipped."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = f"WARC/1.1\r\nWARC-Type: resource\r\nContent-Length: {size}\r\n\r\n".encode()
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)  # after a full flush it can stand again
    return start + block * (size >> 24) + packer.compress(b"\r\n\r\n") + packer.flush()


def capture(records: list[bytes]) -> bytes:
    names = [f"captures/{number}.warc.gz" for number in range(len(records))]
    files = [*zip(names, records, strict=True), ("ledger.json", LEDGER)]
    entries = [{"name": name, "size": len(content), "sha256": sha256(content),
                **({"captured_sha256": "cd" * 32} if name in names else {})} for name, content in files]  # fmt: skip
    return forge(files, json.dumps({"files": entries}).encode())


def with_manifest(manifest: bytes) -> bytes:
    return forge([("ledger.json", LEDGER)], manifest)


def zip_names(count: int) -> bytes:
    """A zip of so many empty files."""
    local = [struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *[0] * 10)] * count
    name = b"%07d"
    central = [struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", *[0] * 9, 7, *[0] * 6) + name % number
               for number in range(count)]  # fmt: skip
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(central) * 53, 0, 0)
    return b"".join(local) + b"".join(central) + end


def ledger_of(**changes: object) -> bytes:
    table = {**json.loads(proofs([b"x"])), **changes}
    return forge([("ledger.json", json.dumps(table).encode())])


def entry_with(**changes: object) -> dict[str, object]:
    entry: dict[str, object] = json.loads(proofs([b"x"]))["entries"][0]
    return {**entry, **changes}


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a record of 4 GB": (lambda: capture([pack_zeros(4 << 30)]), "record_too_large"),
    "many records": (lambda: capture([pack_zeros(60 * MB)] * 30), "record_too_large"),
    "a million names behind": (lambda: seal([ledger_file()]) + zip_names(1_000_000), "too_large"),
    "200,000 names behind": (lambda: seal([ledger_file()]) + zip_names(200_000), "too_large"),
    "20,000 names behind": (lambda: seal([ledger_file()]) + zip_names(20_000), "file_extra"),
    "lists": (lambda: with_manifest(b'{"files":[' + b"[]," * 340_000 + b"0]}"), "too_large"),
    "more lists": (lambda: with_manifest(b'{"files":[' + b"[]," * 9_000_000 + b"0]}"), "too_large"),
    "deep lists": (lambda: with_manifest(b'{"files":' + b"[" * 10_000_000), "too_large"),
    "objects": (lambda: with_manifest(b'{"files":[' + b'{"a":0},' * 230_000 + b"0]}"), "too_large"),
    "texts": (lambda: with_manifest(b'{"files":[' + b'"\\ud83d\\ude00",' * 690_000 + b"0]}"), "too_large"),
    "a wide text": (lambda: with_manifest(b'{"files":["' + b"a" * (27 * MB) + b'\\ud83d\\ude00"]}'),
                    "manifest_invalid"),
    "a wide text and objects": (
        lambda: with_manifest(b'{"files":["' + b"a" * (25 * MB) + b'\\ud83d\\ude00",' + b'{"a":0},' * 230_000 + b"0]}"),
        "too_large"),
    "wide letters": (lambda: with_manifest(('{"files":["' + "a" * (20 * MB) + "\U0001f600" + '"]}').encode()),
                     "too_large"),
    "quotes": (lambda: with_manifest(b'{"a":"' + b'"' * (27 * MB)), "too_large"),
    "escaped quotes": (lambda: with_manifest(b'{"files":[' + b'"",' * 600_000 + b'"' + b'\\"' * (12 * MB) + b'"]}'),
                       "too_large"),
    "backslashes": (lambda: with_manifest(b'{"a":"' + b"\\\\" * (13 * MB) + b'"}'), "manifest_invalid"),
    "digits": (lambda: with_manifest(b'{"files":' + b"9" * (20 * MB) + b"}"), "manifest_invalid"),
    "numbers": (lambda: with_manifest(b'{"files":[' + b"99999999999999999999," * 690_000 + b"0]}"), "too_large"),
    "a long name": (lambda: with_manifest(json.dumps({"files": [
        {"name": "a/" * 30_000 + "b", "size": 0, "sha256": "00" * 32}] * 100}).encode()), "name_unsafe"),
    "a long path": (lambda: ledger_of(entries=[entry_with(path=["00" * 32] * 200_000)]), "too_large"),
    "many proofs": (lambda: ledger_of(entries=[entry_with()] * 20_000), "too_large"),
    "long proofs": (lambda: ledger_of(entries=[entry_with(path=["00" * 32] * 30)] * 11_000), "entry_unproven"),
    "deep entries": (lambda: ledger_of(entries=[entry_with(entry="[" * 60_000, path=[])] * 400), "too_large"),
    "a large ledger": (lambda: forge([("ledger.json", bytes(40 * MB))]), "too_large"),
}  # fmt: skip

LIMITED = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, ({MOST_MEMORY + OURS},) * 2)
resource.setrlimit(resource.RLIMIT_CPU, ({MOST_SECONDS},) * 2)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def ledger_file() -> BundleFile:
    return BundleFile(name="ledger.json", content=LEDGER, what="proofs")


@pytest.mark.parametrize("what", BOMBS)
def test_a_hostile_bundle_is_named_within_ten_seconds_and_300_mb(tmp_path: Path, what: str) -> None:
    make, code = BOMBS[what]
    (tmp_path / "case.fwb").write_bytes(make())
    argv = [sys.executable, "-I", "-S", "-c", LIMITED, str(VERIFY), "case.fwb", "--json"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")
    assert code in {row["code"] for row in json.loads(done.stdout)["checks"]}
    assert len(done.stdout) < 10 * MB


@pytest.mark.parametrize("size", [1 << 31, 1 << 42])
def test_a_file_that_is_larger_than_any_bundle_is_not_read(tmp_path: Path, size: int) -> None:
    with (tmp_path / "case.fwb").open("wb") as file:
        file.write(seal([ledger_file()]))
        file.truncate(size)  # sparse
    assert verify_bundle([str(tmp_path / "case.fwb")]) == 1


def test_what_is_no_file_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "none", tmp_path / "\0"):
        assert verify_bundle([str(path)]) == 2
    assert "Traceback" not in capsys.readouterr().err


# -- names ------------------------------------------------------------------------------------------------------------

UNSAFE = [
    "../../etc/cron.d/x", "..", ".", "a/../b", "./a", "/abs", "//host/share", "a//b", "a/", "C:evil", "c:/evil", "a\\b",
    "\\\\host\\share", "..\\..\\x", "README.txt\0.exe", "a\nb", "a\x1b[2J", "a\u202egpj.exe", "\u0430lert.json", "a.",
    "a ", " a", ".hidden", "a/.hidden", "", "-rf", "a:stream", "NUL\u0000", "a" * 256, "a/" * 200 + "b", "caf\u00e9",
    "cafe\u0301", "\U0001f600", "\ud800", "a\tb", "~root", "$HOME", "*", "?", "|x", "a\x7fb", "a\x9bb", "CON", "nul",
    "aux.json", "samples/Prn.txt", "com1/a", "LPT9.x.y",
]  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_could_lead_elsewhere_fails(name: str) -> None:
    entries = [{"name": each, "size": len(content), "sha256": sha256(content)}
               for each, content in (("ledger.json", LEDGER), (name, b"x"))]  # fmt: skip
    manifest = json.dumps({"files": entries}).encode()
    assert "name_unsafe" in codes(check_bundle(forge([("ledger.json", LEDGER)], manifest)))
    absent = json.dumps({"files": entries[:1], "absent": [{"name": name, "sha256": "00" * 32, "why": ""}]}).encode()
    assert "name_unsafe" in codes(check_bundle(forge([("ledger.json", LEDGER)], absent)))
    with pytest.raises(EvidenceError):
        seal([ledger_file(), BundleFile(name=name, content=b"x", what="x")])


@pytest.mark.parametrize(
    "names",
    [["a", "a"], ["a", "A"], ["samples/a", "Samples/A"], ["a", "a/b"], ["A/b", "a"], ["a/b", "a/b/c"],
     ["manifest.json"], ["manifest.sig"], ["MANIFEST.json"], ["Ledger.JSON"], ["manifest.json/x"], ["ledger.json"]],
)  # fmt: skip
def test_two_names_that_are_or_become_one_fail(names: list[str]) -> None:
    files = [("ledger.json", LEDGER), *((name, b"%d" % number) for number, name in enumerate(names))]
    assert "name_doubled" in codes(check_bundle(forge(files)))
    with pytest.raises(EvidenceError):
        seal([BundleFile(name=name, content=content, what="x") for name, content in files])


def test_every_name_that_a_bundle_of_ours_has_is_safe() -> None:
    digest = "ab" * 32
    names = ["README.txt", "alert.json", "links.json", "captures/000001.warc.gz", "captures/000001-screenshot.warc.gz",
             f"captures/{digest}.warc.gz", f"samples/{digest}", "console.json", "nul-1", "com10/auxiliary"]  # fmt: skip
    assert verify.check_file_names(names) == []


# -- manifest ---------------------------------------------------------------------------------------------------------

ENTRY = {"name": "ledger.json", "size": len(LEDGER), "sha256": sha256(LEDGER)}
MANIFESTS: list[object] = [
    *([{**ENTRY, name: value}] for name, value in (
        ("name", None), ("name", 5), ("name", {"a": 1}), ("name", []), ("size", -5), ("size", 10**18), ("size", True),
        ("size", 1.0), ("size", "5"), ("size", None), ("sha256", "x"), ("sha256", "AB" * 32), ("sha256", None),
        ("captured_sha256", "x"), ("captured_sha256", None), ("captured_sha256", 5))),
    [], {}, None, 5, "files", [[]], [None], ["ledger.json"], [{}], [{"name": "ledger.json"}],
]  # fmt: skip


@pytest.mark.parametrize("files", MANIFESTS)
def test_a_manifest_that_does_not_have_its_form_fails(files: object) -> None:
    assert codes(check_bundle(with_manifest(json.dumps({"files": files}).encode()))) <= {
        "manifest_invalid",
        "too_large",
    }
    assert check_bundle(with_manifest(json.dumps({"files": files}).encode())).failed == ["manifest.json"]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"5", b'""', b"\xff", b"\xef\xbb\xbf{}", b'{"files":[],"files":[]}', b'{"files":NaN}',
     b'{"files":1e5}', b'{"files":[Infinity]}', b'{"files":' + b"9" * 5_000 + b"}", b'{"files":"\\ud800"}',
     b'{"files":[\x00]}', b"{'files':[]}", b'{"files":[],}', b'{"files":[]} {}', b"{}\0"],
)  # fmt: skip
def test_json_that_two_programs_might_read_differently_fails(text: bytes) -> None:
    assert codes(check_bundle(with_manifest(text))) == {"manifest_invalid"}


@pytest.mark.parametrize(
    ("more", "good"),
    [({}, True), ({"version": 2, "previous_sha256": "ab" * 32}, True), ({"bundle_id": "x", "made_at": "y"}, True),
     ({"something": {"new": [1]}}, True), ({"version": "2"}, False), ({"version": -1}, False),
     ({"version": True}, False), ({"previous_sha256": ""}, False), ({"previous_sha256": None}, False),
     ({"absent": {}}, False), ({"absent": [{}]}, False),
     ({"absent": [{"name": "a", "sha256": "ab" * 32, "why": None}]}, False)],
)  # fmt: skip
def test_a_manifest_may_say_more_but_nothing_else(more: dict[str, object], good: bool) -> None:
    report = check_bundle(with_manifest(json.dumps({"files": [ENTRY], **more}).encode()))
    assert codes(report) == (set() if good else {"manifest_invalid"})
    if good and "version" in more:
        assert (report.version, report.previous_sha256) == (2, "ab" * 32)


def test_a_bundle_without_a_ledger_fails() -> None:
    assert codes(check_bundle(forge([("alert.json", b"{}")]))) == {"manifest_invalid"}


# -- the container ----------------------------------------------------------------------------------------------------


def append_by_zip(bundle: bytes) -> bytes:
    out = io.BytesIO(bundle)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "a") as container:
        container.writestr("alert.json", "{forged}")
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "code"),
    [(lambda b: b + b"\0", "container_end"), (lambda b: b"MZ" + b, "signature_form"),
     (lambda b: b[:-1], "container_end"),
     (lambda b: b[:-2] + b"\5\0hello", "container_end"), (lambda b: b + b, "container_size"),
     (append_by_zip, "name_doubled"), (lambda b: b[:900], "container_end"), (lambda b: b"", "signature_form"),
     (lambda b: b[:-22] + b[-22:-12] + b"\xff\xff\xff\x7f" + b[-8:] + b"x", "container_end"),
     (lambda b: b + zip_names(3), "file_extra"), (lambda b: b + zip_names(3)[:-53], "container_end")],
)  # fmt: skip
def test_bytes_around_and_in_the_container_are_named(change: Callable[[bytes], bytes], code: str) -> None:
    bundle = seal([BundleFile(name="alert.json", content=b"{}", what="x"), ledger_file()])
    assert code in codes(check_bundle(change(bundle), sha256(PUBLIC)))


def test_a_name_of_the_containers_directory_that_is_no_text_is_named() -> None:
    zipped = zip_names(2).replace(b"0000001", b"\xff\xfe\n\x1b[J.")
    failed = check_bundle(seal([ledger_file()]) + zipped).failed
    assert any("\\xff" in name for name in failed)


# -- captures ---------------------------------------------------------------------------------------------------------

BODY = b"<html>5000 faces</html>"
ANSWER = b"HTTP/1.1 200\r\nContent-Type: text/html\r\n\r\n" + BODY
GOOD = make_record(BODY)


def test_a_record_of_either_kind_is_read() -> None:
    assert codes(check_bundle(bring(GOOD, BODY))) == set()
    assert codes(check_bundle(bring(make_record(ANSWER, "response"), BODY))) == set()
    assert codes(check_bundle(bring(make_record(b""), b""))) == set()
    assert codes(check_bundle(bring(make_record(bytes(3 * MB)), bytes(3 * MB)))) == set()


RECORDS: dict[str, bytes] = {
    "another record behind": GOOD + GOOD,
    "a longer block": make_record(BODY, Content_Length=str(len(BODY) - 1)),
    "a shorter block": make_record(BODY, Content_Length=str(len(BODY) + 9)),
    "a block that takes the end in": make_record(BODY, Content_Length=str(len(BODY) + 4)),
    "no end": GOOD[:-4],
    "another end": GOOD[:-4] + b"\n\n\n\n",
    "more after the end": GOOD + b"\r\n",
    "another type": make_record(BODY, "warcinfo"),
    "no type": make_record(BODY).replace(b"WARC-Type", b"WARC-Kind"),
    "two types": make_record(BODY).replace(
        b"WARC-Type: resource\r\n", b"WARC-Type: resource\r\nwarc-type: response\r\n"
    ),
    "a length that is none": make_record(BODY, Content_Length="-5"),
    "a length of many digits": make_record(BODY, Content_Length="0" * 50 + "23"),
    "no length": make_record(BODY).replace(b"Content-Length", b"Content-Len"),
    "no record": BODY,
    "nothing": b"",
    "a head without end": b"WARC/1.1\r\n" + b"x: " + b"y" * (300 << 10),
    "an answer without end": make_record(b"HTTP/1.1 200", "response"),
    "an answer whose end is the record's": make_record(b"HTTP/1.1 200", "response") + b"\r\n\r\n",
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_capture_that_is_not_one_record_fails(what: str) -> None:
    assert codes(check_bundle(bring(RECORDS[what], BODY))) == {"record_invalid"}


PACKED = gzip.compress(GOOD)
NOT_ONE_MEMBER = {
    "two": PACKED + PACKED,
    "a byte behind it": PACKED + b"\0",
    "the last byte is missing": PACKED[:-1],
    "cut": PACKED[:20],
    "nothing": b"",
    "the first two bytes": b"\x1f\x8b",
    "not packed": GOOD,
    "zlib": zlib.compress(GOOD),
    "packed twice": gzip.compress(PACKED),
    "another sum": PACKED[:-8] + bytes(8),
    "in two members": gzip.compress(GOOD[:50]) + gzip.compress(GOOD[50:]),
}


@pytest.mark.parametrize("packed", NOT_ONE_MEMBER.values(), ids=NOT_ONE_MEMBER)
def test_a_capture_that_is_not_one_gzip_member_fails(packed: bytes) -> None:
    assert codes(check_bundle(bring(packed, BODY, packed=False))) == {"record_invalid"}


def test_another_body_than_the_one_received_fails() -> None:
    assert codes(check_bundle(bring(make_record(BODY + b" "), BODY))) == {"capture_unproven"}


# -- the ledger -------------------------------------------------------------------------------------------------------

HEAD = json.loads(LEDGER)["head"]


PROVEN = json.loads(proofs([b"x"]))
WRONG_HEADS: list[object] = [
    None, [], *({**HEAD, name: value} for name, value in (
        ("tree_size", True), ("tree_size", -1), ("root", "x"), ("root", None), ("signature", "00"), ("signed_at", 5))),
]  # fmt: skip
WRONG_ENTRIES: list[object] = [{}, [5], [{}], *([entry_with(**{name: value})] for name, value in (
    ("position", -1), ("position", "1"), ("path", {}), ("path", ["x"]), ("path", [5]), ("entry", 5), ("entry", ""),
    ("entry", "[]"), ("entry", "{")))]  # fmt: skip


@pytest.mark.parametrize(
    "ledger",
    [b"{}", b"[]", b"null", b"{", b"\0", b'{"head":{},"head":{}}',
     *(json.dumps({**PROVEN, "head": head}).encode() for head in WRONG_HEADS),
     *(json.dumps({**PROVEN, "entries": entries}).encode() for entries in WRONG_ENTRIES),
     json.dumps({**PROVEN, "public_key": "x"}).encode()],
)  # fmt: skip
def test_a_ledger_that_does_not_have_its_form_fails(ledger: bytes) -> None:
    assert "ledger_invalid" in codes(check_bundle(forge([("ledger.json", ledger)])))


@pytest.mark.parametrize("entry", ['{"at":"x","kind":"capture"}', '{"at":"x","kind":"capture","facts":[]}',
                                   '{"at":"x","kind":"capture","facts":{"about":5}}', '{"kind":"capture"}',
                                   '{"at":"x","kind":"capture","facts":{"about":"\ud800"}}'])  # fmt: skip
def test_an_entry_that_is_proven_and_none_of_ours_fails_or_says_nothing(entry: str) -> None:
    entry = entry.encode("utf-8", "replace").decode()
    assert codes(check_bundle(forge([("ledger.json", prove([entry]))]))) <= {"ledger_invalid"}


def test_an_entry_of_another_tree_proves_nothing() -> None:
    table = json.loads(proofs([BODY]))
    table["entries"][0]["path"][0] = "00" * 32
    content = gzip.compress(GOOD)
    files = [("captures/1.warc.gz", content), ("ledger.json", json.dumps(table).encode())]
    entries = [{"name": name, "size": len(data), "sha256": sha256(data)} for name, data in files]
    entries[0]["captured_sha256"] = sha256(BODY)
    found = codes(check_bundle(forge(files, json.dumps({"files": entries}).encode())))
    assert found == {"entry_unproven", "capture_unproven"}


def test_a_ledger_of_a_foreign_key_proves_nothing() -> None:
    table = json.loads(proofs([BODY]))
    table["public_key"] = "00" * 32
    assert codes(check_bundle(forge([("ledger.json", json.dumps(table).encode())]))) == {"head_wrong"}


@pytest.mark.parametrize(("digest", "code"), [(sha256(BODY), set()), ("00" * 32, {"capture_unproven"})])
def test_what_is_absent_is_named_and_its_receipt_is_proven(digest: str, code: set[str]) -> None:
    files = [BundleFile(name="ledger.json", content=proofs([BODY]), what="proofs")]
    report = check_bundle(seal(files, absent=[AbsentFile(name="samples/a", sha256=digest, why="not kept")]))
    assert codes(report) == code
    assert ("absent", "samples/a", "not kept", "") in report.rows


# -- whatever comes ---------------------------------------------------------------------------------------------------

SEALED = seal(
    [BundleFile(name="alert.json", content=b'{"band": "strong"}', what="x"),
     BundleFile(name="captures/1.warc.gz", content=gzip.compress(GOOD), what="x", captured_sha256=sha256(BODY)),
     BundleFile(name="ledger.json", content=proofs([BODY]), what="x")]
)  # fmt: skip


@hypothesis_settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(SEALED)), st.integers(0, 60), st.binary(max_size=60)), min_size=1, max_size=4)
)
def test_no_change_of_the_bytes_passes_or_breaks_the_checker(changes: list[tuple[int, int, bytes]]) -> None:
    changed = SEALED
    for at, cut, put in changes:
        changed = changed[:at] + put + changed[at + cut :]
    report = check_bundle(changed)
    assert bool(codes(report)) == (changed != SEALED)


FIELDS = ["files", "name", "size", "sha256", "captured_sha256", "absent", "why", "version", "head", "root", "tree_size",
          "entries", "entry", "path", "position", "public_key", "signature", "x"]  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("ab" * 32)
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
).map(lambda value: json.dumps(value).encode())


@hypothesis_settings(deadline=None, max_examples=300)
@given(manifest=JSON)
def test_no_signed_manifest_breaks_the_checker(manifest: bytes) -> None:
    assert codes(check_bundle(with_manifest(manifest)))


@hypothesis_settings(deadline=None, max_examples=300)
@given(ledger=JSON, packed=st.binary(max_size=200))
def test_no_sealed_file_breaks_the_checker(ledger: bytes, packed: bytes) -> None:
    assert codes(check_bundle(forge([("ledger.json", ledger)])))
    assert codes(check_bundle(bring(packed, BODY, packed=False)))
    assert codes(check_bundle(bring(packed, BODY)))


# -- the sealer keeps the limits --------------------------------------------------------------------------------------


def test_a_bundle_of_5000_pictures_is_sealed_and_passes(tmp_path: Path) -> None:
    bodies = [b"\xff\xd8\xff%07d" % number for number in range(5_000)]
    files = [BundleFile(name=f"samples/{sha256(body)}", content=body, what="x", captured_sha256=sha256(body))
             for body in bodies]  # fmt: skip
    entries = [json.dumps({"at": "x", "facts": {"about": sha256(body)}, "kind": "capture"}) for body in bodies]
    path = tmp_path / "case.fwb"
    path.write_bytes(seal([*files, BundleFile(name="ledger.json", content=prove_all(entries), what="x")]))
    check_sealed(path)
    assert check_bundle(path.read_bytes()).failed == []


def prove_all(entries: list[str]) -> bytes:
    root, paths = prove_positions([[hash_leaf(entry) for entry in entries]], len(entries), range(len(entries)))
    head = Head(tree_size=len(entries), root=root, frontier=())
    signature = SIGNER.sign(head_message(head, "2026")).hex()
    signed = SignedHead(head=head, signed_at="2026", signature=signature, public_key=PUBLIC.hex())
    return write_proofs(signed, list(enumerate(entries)), paths)


class Endless(io.BytesIO):
    """A store that forgets what is written, and says how much it was."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


@pytest.mark.parametrize("what", ["bytes", "files", "ledger"])
def test_what_is_too_large_is_not_sealed(what: str) -> None:
    part = BundleFile(name="x", content=bytes(64 * MB if what == "bytes" else 0), what="x")
    files = [part] * (17 if what == "bytes" else 20_001)
    if what == "ledger":
        files = [BundleFile(name="ledger.json", content=bytes(29 * MB), what="x")]
    with pytest.raises(BundleTooLarge) as caught:
        list(seal_parts(files, EDITION, Signer(public_key=PUBLIC, sign=SIGNER.sign), store=Endless()))
    assert caught.value.stable_code == "bundle_too_large"


def test_a_bundle_that_would_not_pass_does_not_leave(tmp_path: Path) -> None:
    (tmp_path / "case.fwb").write_bytes(bring(GOOD, BODY + b"x"))
    with pytest.raises(EvidenceError, match="capture_unproven"):
        check_sealed(tmp_path / "case.fwb")
    (tmp_path / "case.fwb").write_bytes(capture([pack_zeros(80 * MB)]))
    with pytest.raises(BundleTooLarge):
        check_sealed(tmp_path / "case.fwb")
