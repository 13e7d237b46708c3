"""`up` on a disk that is filled to its last byte: it stays, what people wait for is done, all goes on by itself."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.disturb import find_ports, list_pids
from cli.servers import find_running
from tests.cli.test_commands import facewarden
from tests.cli.test_start import Up
from tests.samples import portrait
from vault.settings import Settings
from vault.store import connect

ORGANISATION = '[organisation]\nname = "Test"\ncontact = "a@test.example"\nprivacy_url = "https://test.example/"\n'
ADDRESS = "ada@example.org"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """To the last byte, as whoever fills a disk does."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    return path


def wait_until(done: object, seconds: float) -> None:
    assert callable(done)
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_full_disk_ends_nothing_and_is_named(small: Path, tmp_path: Path) -> None:
    home = small / "home"
    home.mkdir(mode=0o700)
    (home / "facewarden.toml").write_text(ORGANISATION)
    (tmp_path / "ada.jpg").write_bytes(portrait("astronaut"))
    settings = Settings(home=home, key_file=small / "home.key")
    enrolling = ("enrol", "--address", ADDRESS, "--photo", str(tmp_path / "ada.jpg"))
    with Up(home, find_ports()) as up:
        wait_until((home / "run/reserve").exists, 10)
        running = {role: list_pids(home, role) for role in ("web", "clock", "people", "postgres", "redis")}
        assert facewarden(settings, *enrolling).returncode == 0
        filler = fill(small)
        wait_until(lambda: "disk_full" in up.told, 10)
        assert str(home) in up.told
        done = facewarden(settings, "status")
        assert f"disk_full: {home} is on a disk of" in done.stdout
        assert facewarden(settings, "login").returncode == 0
        done = facewarden(settings, "withdraw", "--address", ADDRESS, "--yes")
        assert done.returncode == 0, done.stderr
        with connect(find_running(settings)) as conn:
            erased = "select 1 from erasure where state = 'done'"
            wait_until(lambda: conn.execute(erased).fetchone() is not None, 20)
        fill(small)  # the reserve is gone: what needs the disk is refused at once, and says why
        started = time.monotonic()
        done = facewarden(settings, "login")
        assert time.monotonic() - started < 30, "a command does not wait for what cannot be"
        assert done.returncode == 0 or "facewarden: disk_full: " in done.stderr, done.stderr
        filler.unlink()
        wait_until(lambda: "there is room on the disk again" in up.told, 10)
        wait_until(lambda: facewarden(settings, "login").returncode == 0, 30)
        assert facewarden(settings, *enrolling).returncode == 0
        assert {role: list_pids(home, role) for role in running} == running, "nothing was started anew"
        assert up.process.poll() is None
