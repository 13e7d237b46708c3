"""Lists of illegal pictures' digests: read fast, held small, a wrong line named."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.supervisor import ROOT
from vault.digests import Digests, read_lists, sort_bytes
from vault.errors import SettingError
from vault.gate import HashGate, load_gate
from vault.settings import Settings

SHA = hashlib.sha256(b"a").hexdigest()
MD5 = hashlib.md5(b"a", usedforsecurity=False).hexdigest()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_list_may_have_remarks_capitals_and_both_kinds(tmp_path: Path) -> None:
    path = write(tmp_path / "list", f"\ufeff# from 2026\r\n\r\n{SHA.upper()}  # one\r\n {MD5}\r\nPDQ:{SHA}\n")
    lists = read_lists([path, write(tmp_path / "other", "f" * 64)])
    assert len(lists.digests) == 3
    assert SHA in lists.digests
    assert MD5 in lists.digests
    assert "f" * 64 in lists.digests
    assert "e" * 64 not in lists.digests
    assert MD5[:-1] + "0" not in lists.digests
    assert lists.pdq.tobytes().hex() == SHA


@pytest.mark.parametrize(
    ("line", "shown"),
    [("x" * 64, "'xxxx"), (SHA[:-1], SHA[:40]), (SHA + "00", SHA[:40]),
     (f"pdq:{MD5}", "pdq:"), ("sha256:" + SHA, "sha256:"),
     (f"{SHA} {MD5}", SHA[:40]), ("\xff\xfe", "xc3"), ("\x1b[31mred", "x1b"), ("a" * 9000, "more than 4096")],
)  # fmt: skip
def test_a_wrong_line_is_named_by_file_and_number(tmp_path: Path, line: str, shown: str) -> None:
    good = write(tmp_path / "good", SHA)
    path = write(tmp_path / "list", f"{SHA}\n# a remark\n\n{MD5}\n{line}\n{SHA}\n")
    with pytest.raises(SettingError) as caught:
        read_lists([good, path])
    assert f"{path}, line 5: " in caught.value.message
    assert shown in caught.value.message
    assert "\x1b" not in caught.value.message
    assert caught.value.mend


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_list_that_cannot_be_read_stops_everything(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path, key_file=tmp_path / "k").replace("crawl", hash_lists=(tmp_path / name,))
    with pytest.raises(SettingError, match="cannot read the hash list"):
        load_gate(settings)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=40), st.binary(min_size=32, max_size=32))
def test_what_was_put_in_is_found_and_nothing_else(listed: list[bytes], other: bytes) -> None:
    """Also digests that end in zeros, which numpy's bytes leave out."""
    listed += [bytes(32), b"\0" * 31 + b"\1", b"\1" + b"\0" * 31]
    digests = Digests(sha256=sort_bytes(b"".join(listed), 32))
    assert all(each.hex() in digests for each in listed)
    assert (other.hex() in digests) is (other in listed)
    assert "00" * 16 not in digests
    assert "" not in digests


def test_the_gate_asks_for_both_digests() -> None:
    for listed in (SHA, MD5):
        width = len(listed) // 2
        name = "md5" if width == 16 else "sha256"
        gate = HashGate(digests=Digests(**{name: sort_bytes(bytes.fromhex(listed), width)}))
        assert gate.is_listed(b"a")
        assert not gate.is_listed(b"b")


MEASURE = """
import sys, time
from pathlib import Path
import vault.gate
from vault.digests import read_lists
def peak():  # in MB; what getrusage gives is the parent's at first
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
before, started = peak(), time.process_time()
lists = read_lists([Path(sys.argv[1])])
print(time.process_time() - started, peak() - before, len(lists.digests), len(lists.pdq))
"""


@pytest.mark.parametrize("before", ["", "pdq:"])
def test_a_list_of_two_million_lines_takes_seconds_and_little_memory(tmp_path: Path, before: str) -> None:
    path = tmp_path / "list"
    digests = np.random.default_rng(0).bytes(32 * 2_000_000)
    with path.open("w", encoding="ascii") as file:
        for at in range(0, len(digests), 32):
            file.write(f"{before}{digests[at : at + 32].hex()}\n")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    seconds, megabytes, *counts = map(float, done.stdout.split())
    assert sum(counts) == 2_000_000
    assert seconds < 10
    assert 50 < megabytes < 200


def test_a_look_up_in_two_million_takes_microseconds() -> None:
    digests = Digests(sha256=sort_bytes(np.random.default_rng(0).bytes(32 * 2_000_000), 32))
    started = time.process_time()
    for number in range(2000):
        assert hashlib.sha256(b"%d" % number).hexdigest() not in digests
    assert time.process_time() - started < 0.2
