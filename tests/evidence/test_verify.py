"""A bundle and its verifier: every byte counts, every change is named, and nothing of ours is needed to check it."""

import gzip
import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crawler.capture import WarcFile
from evidence.seal import AbsentFile, BundleFile, Signer, seal_bundle
from evidence.verify import check_bundle, verify_signature
from evidence.verify import main as verify_bundle
from tests.evidence.forging import EDITION, PUBLIC, forge, proofs, prove, seal, sha256
from vault.blobs import open_bytes
from vault.errors import EvidenceError

ROOT = Path(__file__).resolve().parents[2]
PAGE = b"<html>5000 faces</html>"
SAMPLE = b"\xff\xd8\xff a picture"


def make_warc(tmp_path: Path) -> bytes:
    with WarcFile(tmp_path / "warc", "test") as warc:
        capture = warc.write_response(1, "http://x.example/", 200, [("Content-Type", "text/html")], PAGE, "text/html")
        warc.sync()
    data = (tmp_path / "warc" / warc.name).read_bytes()
    assert capture.key is not None
    return open_bytes(capture.key.value, data[capture.warc_offset : capture.warc_offset + capture.warc_length])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[BundleFile]:
    warc = make_warc(tmp_path_factory.mktemp("warc"))
    return [
        BundleFile(name="alert.json", content=b'{"band": "strong"}', what="alert"),
        BundleFile(name="captures/1.warc.gz", content=warc, what="page", captured_sha256=sha256(PAGE)),
        BundleFile(name="samples/a", content=SAMPLE, what="sample", captured_sha256=sha256(SAMPLE)),
        BundleFile(name="empty", content=b"", what="nothing"),
        BundleFile(name="ledger.json", content=proofs([PAGE, SAMPLE]), what="proofs"),
    ]


@pytest.fixture(scope="module")
def bundle(files: list[BundleFile]) -> bytes:
    return seal(files)


def test_a_sealed_bundle_verifies_and_is_an_ordinary_zip(bundle: bytes) -> None:
    report = check_bundle(bundle, sha256(PUBLIC))
    assert report.failed == []
    answers = {row.what: row.answer for row in report.rows}
    assert answers["signer pinned"] == "passed"
    assert answers["timestamp"] == "absent"
    assert answers["capture of captures/1.warc.gz"] == "passed"
    with zipfile.ZipFile(io.BytesIO(bundle)) as container:
        assert container.testzip() is None
        assert container.read("samples/a") == SAMPLE


def test_the_same_case_sealed_twice_is_the_same_bytes(files: list[BundleFile], bundle: bytes) -> None:
    assert seal(files) == bundle


def test_every_flipped_byte_is_named(bundle: bytes) -> None:
    """Each byte of the whole container once, a random bit of it: always a failure, always one name."""
    chance = random.Random(5)
    named = set()
    for at in range(len(bundle)):
        changed = bytearray(bundle)
        changed[at] ^= 1 << chance.randrange(8)
        failed = check_bundle(bytes(changed)).failed
        assert len(failed) == 1, (at, failed)
        named.add(failed[0])
    names = {"alert.json", "captures/1.warc.gz", "samples/a", "ledger.json", "manifest.json", "manifest.sig"}
    parts = {f"{part} of {name}" for part in ("header", "directory entry") for name in {*names, "empty"}}
    assert named == {*names, *parts, "end of the container"}


def rebuild(bundle: bytes, drop: str = "", add: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if name != drop:
                new.writestr(zipfile.ZipInfo(name), old.read(name))
        for name, data in (add or {}).items():
            new.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def test_extra_and_missing_files_are_named(bundle: bytes) -> None:
    assert "extra file evil.txt" in check_bundle(rebuild(bundle, add={"evil.txt": b"x"})).failed
    assert "missing file samples/a" in check_bundle(rebuild(bundle, drop="samples/a")).failed
    both = check_bundle(rebuild(bundle, drop="alert.json", add={"evil.txt": b"x"})).failed
    assert {"extra file evil.txt", "missing file alert.json"} <= set(both)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = rebuild(bundle, add={"alert.json": b"other"})
    assert "extra file alert.json" in check_bundle(twice).failed


def test_a_bundle_packed_again_by_another_program_is_not_the_one_that_was_sealed(bundle: bytes) -> None:
    assert check_bundle(rebuild(bundle)).failed != []


@pytest.mark.parametrize("change", ["append", "prepend", "cut", "cut deep", "nothing"])
def test_bytes_around_the_container_are_noticed(bundle: bytes, change: str) -> None:
    changed = {
        "append": bundle + b"x", "prepend": b"x" + bundle, "cut": bundle[:-1], "cut deep": bundle[:900], "nothing": b"",
    }[change]  # fmt: skip
    assert check_bundle(changed).failed != []


def test_somebody_elses_signature_fails_against_the_pinned_key(files: list[BundleFile]) -> None:
    other = Ed25519PrivateKey.generate()
    public = other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ledger = BundleFile(name="ledger.json", content=proofs([PAGE, SAMPLE], other), what="proofs")
    forged = seal_bundle([*files[:-1], ledger], EDITION, Signer(public_key=public, sign=other.sign))
    assert check_bundle(forged).failed == []  # whole in itself: only the key tells
    assert check_bundle(forged, sha256(PUBLIC)).failed == ["signer pinned"]


@pytest.mark.parametrize("lie", ["never captured", "other signer", "moved", "other root"])
def test_a_ledger_that_does_not_prove_the_captures_fails(files: list[BundleFile], lie: str) -> None:
    content = proofs([PAGE] if lie == "never captured" else [PAGE, SAMPLE])
    if lie == "other signer":
        content = proofs([PAGE, SAMPLE], Ed25519PrivateKey.generate())
    table = json.loads(content)
    if lie == "moved":
        table["entries"][0]["position"] += 1
    elif lie == "other root":
        table["head"]["root"] = "00" * 32
    sealed = seal([*files[:-1], BundleFile(name="ledger.json", content=json.dumps(table).encode(), what="proofs")])
    assert check_bundle(sealed).failed != []


def test_a_page_that_was_changed_inside_its_warc_record_fails(files: list[BundleFile]) -> None:
    record = gzip.decompress(files[1].content).replace(b"5000 faces", b"6000 faces")
    changed = BundleFile(
        name="captures/1.warc.gz", content=gzip.compress(record), what="page", captured_sha256=sha256(PAGE)
    )
    sealed = seal([files[0], changed, *files[2:]])
    assert check_bundle(sealed).failed == ["capture of captures/1.warc.gz"]


@pytest.mark.parametrize("names", [["a", "a", "ledger.json"], ["manifest.json", "ledger.json"], ["a"]])
def test_what_cannot_be_a_bundle_is_not_sealed(names: list[str]) -> None:
    with pytest.raises(EvidenceError):
        seal([BundleFile(name=name, content=b"{}", what="x") for name in names])


@hypothesis_settings(deadline=None, max_examples=25)
@given(message=st.binary(max_size=200), seed=st.binary(min_size=32, max_size=32), at=st.integers(0, 63))
def test_our_ed25519_agrees_with_the_library(message: bytes, seed: bytes, at: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = bytearray(key.sign(message))
    assert verify_signature(public, message, bytes(signature))
    signature[at] ^= 1
    assert not verify_signature(public, message, bytes(signature))
    assert not verify_signature(public, message + b"x", key.sign(message))


# RFC 8032, section 7.1, tests 1 to 3: public key, message, signature
VECTORS = [
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_standards_own_signatures_verify(public: str, message: str, signature: str) -> None:
    assert verify_signature(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))


def test_a_signature_with_a_large_s_is_refused() -> None:
    """RFC 8032, section 5.1.7: S must be below L, or one message would have many signatures."""
    public, message, signature = VECTORS[0]
    s = int.from_bytes(bytes.fromhex(signature)[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    forged = bytes.fromhex(signature)[:32] + s.to_bytes(32, "little")
    assert not verify_signature(bytes.fromhex(public), bytes.fromhex(message), forged)


INTACT = "intact: every byte is what was sealed; the signer was not checked (give --key)"
COMMANDS = {
    "launcher": [str(ROOT / "facewarden"), "verify"],
    "alone": [sys.executable, "-I", "-S", str(ROOT / "evidence/verify.py")],
}


@pytest.mark.parametrize("how", COMMANDS)
def test_the_command_needs_no_environment_no_installation_and_no_network(
    bundle: bytes, tmp_path: Path, how: str
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMANDS[how], *arguments]
        return subprocess.run(command, env={}, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "case.fwb").write_bytes(bundle)
    done = run("case.fwb")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == INTACT
    done = run("case.fwb", "--key", sha256(PUBLIC))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("verified: nothing in this bundle was changed")
    done = run("case.fwb", "--key", "00" * 32)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "FAILED")
    done = run("case.fwb", "--key", "")
    assert (done.returncode, done.stdout) == (2, "")
    changed = bytearray(bundle)
    changed[len(bundle) // 2] ^= 1
    (tmp_path / "case.fwb").write_bytes(changed)
    done = run("--json", "case.fwb")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["failed"]) == 1
    done = run("none.fwb")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_help_names_the_command_that_was_typed(tmp_path: Path) -> None:
    for how, name in (("launcher", "facewarden verify"), ("alone", "verify.py")):
        done = subprocess.run([*COMMANDS[how], "--help"], env={}, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(f"usage: {name} [-h]")


@pytest.mark.parametrize(
    "arguments",
    [["verify", "case.fwb", "--home", "X"], ["--home", "X", "verify", "case.fwb"], ["--home=X", "verify", "case.fwb"],
     ["--config", "X", "--home", "X", "verify", "case.fwb", "--config=X"]],
)  # fmt: skip
def test_a_home_beside_it_starts_no_installation(bundle: bytes, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "case.fwb").write_bytes(bundle)
    environ = {"FACEWARDEN_VENV": str(tmp_path / "venv")}
    argv = [str(Path(sys.executable).resolve()), str(ROOT / "facewarden"), *arguments]
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == INTACT
    assert [path.name for path in tmp_path.iterdir()] == ["case.fwb"]


WORDS = "x\nverified: nothing in this bundle was changed\x1b[2K\u202e"


@pytest.mark.parametrize("where", ["name", "why", "entry"])
def test_the_words_of_a_bundle_cannot_pass_for_ours(
    files: list[BundleFile], capsys: pytest.CaptureFixture[str], tmp_path: Path, where: str
) -> None:
    absent = [AbsentFile(name="samples/b", sha256=sha256(SAMPLE), why=WORDS)]
    bundle = seal(files, absent=absent if where == "why" else ())
    if where == "name":
        bundle = forge([(WORDS if file.name == "empty" else file.name, file.content) for file in files])
    elif where == "entry":
        entry = json.dumps({"at": WORDS, "kind": "view", "facts": {}})
        bundle = forge([("ledger.json", prove([entry]))])
    (tmp_path / "case.fwb").write_bytes(bundle)
    assert verify_bundle([str(tmp_path / "case.fwb")]) == (1 if where == "name" else 0)
    shown = capsys.readouterr().out
    assert "\nverified" not in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "\\u001b[2K" in shown
