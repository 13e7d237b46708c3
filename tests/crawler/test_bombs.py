"""Archives that unpack without end on the way: refused at the card's cap, in little memory."""

import gzip
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd

from cli.supervisor import ROOT
from tests.fakes import Answer, Site

FETCH = """
import asyncio, resource, sys
from pathlib import Path
from crawler.archives import fetch_archive
from crawler.proxy import GuardProcess
from vault.egress import Policy
from vault.errors import InputRefused

host = sys.argv[1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with GuardProcess(Policy(hosts=(host,), lab=(host,))) as guard:
    try:
        asyncio.run(fetch_archive(f"http://{host}/a.zip", guard.address_with_password, {}, Path(sys.argv[2]), 32 << 20))
        code = "kept"
    except InputRefused as exc:
        code = exc.stable_code
print(code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda data: brotli.compress(data, quality=1), "gzip": lambda data: gzip.compress(data, 1),
    "deflate": lambda data: zlib.compress(data, 1), "zstd": lambda data: zstd.compress(data, 1),
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data, 9), 9),
}  # fmt: skip


@pytest.mark.parametrize("encoding", PACKERS)
def test_an_archive_that_unpacks_without_end_on_the_way_is_refused_in_little_memory(
    tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site], encoding: str
) -> None:
    body = PACKERS[encoding](bytes(400 << 20))
    site = make_site(lambda path: (200, {"Content-Encoding": encoding}, body))
    (tmp_path / "blobs").mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-c", FETCH, site.url.removeprefix("http://"), str(tmp_path / "blobs")],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    code, grown = done.stdout.split()
    assert code == "body_too_large", done.stderr
    assert int(grown) < 100, f"{grown} MB"
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []
