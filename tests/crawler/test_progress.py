"""What a crawl says while it works: a line that is renewed on a terminal, now and then one elsewhere, or nothing."""

import io
import os
import pty
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.supervisor import ROOT
from crawler.pipeline import Counts
from crawler.progress import Progress, write_line
from tests.crawler.test_crawl import chain_site, command
from tests.fakes import Answer, Site
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.terminal import Screen


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(*, quiet: bool, terminal: bool, seconds: int) -> tuple[list[str], int]:
    """What was printed while a crawl of two pages a second worked, and how often the queue was counted."""
    out, clock, counted = io.StringIO(), Clock(), []
    console = Screen(file=out, force_terminal=terminal, width=200, highlight=False, color_system=None)
    with Progress(console, quiet=quiet, clock=clock) as progress:
        for tick in range(seconds * 8):
            clock.now += 0.125
            progress.tick(Counts(pages=tick // 4, listings=3, bytes=2_500_000), lambda: counted.append(1) or 7)  # type: ignore[func-returns-value]
    return [line for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", out.getvalue()) if line], len(counted)


def test_a_line_every_ten_seconds_where_nobody_watches() -> None:
    lines, counted = watch(quiet=False, terminal=False, seconds=35)
    assert lines == [
        f"pages {pages}, listings 3, samples 0, 2.5 MB, queue 7, {rate} a second"
        for pages, rate in ((19, "1.9"), (39, "2.0"), (59, "2.0"))
    ]
    assert counted == 3


def test_one_line_that_is_renewed_on_a_terminal() -> None:
    lines, counted = watch(quiet=False, terminal=True, seconds=12)
    assert 11 <= len(set(lines)) <= 12
    assert counted <= 3, "the queue is not counted at every look"


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(terminal: bool) -> None:
    assert watch(quiet=True, terminal=terminal, seconds=30) == ([], 0)


def test_failures_are_named_when_there_are_any() -> None:
    line = write_line(Counts(pages=1200, failures=3, samples=9), 1_000_000, 12.34)
    assert line == "pages 1,200, listings 0, samples 9, failed 3, 0.0 MB, queue 1,000,000, 12.3 a second"


def test_a_person_at_a_terminal_sees_the_crawl_go_on(
    settings: Settings, keys: Keys, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    inner = chain_site(10)

    def answer(path: str) -> Answer:
        time.sleep(0.3)
        return inner(path)

    ours, theirs = pty.openpty()
    argv = [*command(settings, make_site(answer), tmp_path), "--once"]
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(argv, env=environ, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
    os.close(ours)
    assert process.wait(60) == 0
    lines = re.findall(rb"pages \d+, listings \d+, samples \d+, [\d.]+ MB, queue \d+, [\d.]+ a second", said)
    assert len(set(lines)) >= 2
    assert b"\x1b[2K" in said, "the line is renewed, not repeated"
    assert said.rstrip().splitlines()[-1].startswith(b"source: ")
