"""The walls of the box, and that its parent outlives everything that happens inside."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from cli.demo.people import save_jpeg
from tests.samples import png, portrait
from tests.vault.packing import pack, pack_zip
from vault import box as box_module
from vault.box import GROUP, RENEW_AFTER, ArchiveLimits, Box, Child, Picture
from vault.errors import InputRefused


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as made:
        yield made


def test_the_kernels_walls_are_up(box: Box) -> None:
    """On the project's machine all of them work; elsewhere `doctor` shows what is there."""
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        assert child.active["limits"]
        assert child.active["no_new_privileges"]
        missing = [name for name, active in child.active.items() if not active]
    if missing:
        pytest.skip(f"this kernel does not offer: {', '.join(missing)}")


@pytest.mark.parametrize(
    ("what", "argument"),
    [
        ("open", "/etc/passwd"), ("open", "/proc/self/environ"), ("open", "/dev/null"), ("create", "/tmp/escaped"),
        ("socket", ""), ("unix", ""), ("fork", ""), ("exec", "/bin/true"), ("kill", ""), ("execute_data", ""),
        ("memory", ""), ("environment", ""),
    ],
)  # fmt: skip
def test_what_is_forbidden_inside_is_refused(box: Box, what: str, argument: str) -> None:
    with box.batch() as child:
        assert child.probe(what, argument).startswith("refused")
    assert not Path("/tmp/escaped").exists()


def test_no_process_is_started_by_a_postscript_file_that_is_named_jpg(box: Box) -> None:
    """Ghostscript is never called: the child may not start anything, and does not try."""
    with box.batch() as child:
        with pytest.raises(InputRefused):
            child.open_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
        assert psutil.Process(child.pid).children() == []


def test_the_child_shares_no_descriptor_with_us_but_one_socket(box: Box, tmp_path: Path) -> None:
    with open(tmp_path / "secret", "w", encoding="ascii"), socket.socket(), box.batch() as child:
        child.open_picture(portrait("astronaut"))
        names = [str(path.readlink()) for path in Path(f"/proc/{child.pid}/fd").iterdir()]
    assert len(names) == 1
    assert names[0].startswith("socket:")


def test_killing_only_the_decoder_fails_only_its_item(box: Box) -> None:
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(InputRefused) as caught:
            child.open_picture(portrait("astronaut"))
        assert (caught.value.stable_code, caught.value.message) == ("decoder_died", "SIGKILL")
        assert child.open_picture(portrait("astronaut")).width > 0


def test_killing_the_zygote_costs_one_item_at_most(box: Box) -> None:
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        os.kill(psutil.Process(child.pid).ppid(), signal.SIGKILL)
        time.sleep(0.2)
        with pytest.raises(InputRefused):
            child.open_picture(portrait("astronaut"))
        assert child.open_picture(portrait("astronaut")).width > 0


def test_a_decoder_that_crashes_is_replaced(box: Box) -> None:
    with box.batch() as child:
        with pytest.raises(InputRefused) as caught:
            child.probe("crash")
        assert caught.value.stable_code == "decoder_died"
        assert child.open_picture(portrait("astronaut")).width > 0


def test_a_decoder_that_hangs_is_killed_at_its_deadline(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_module, "ITEM_SECONDS", 0.5)
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        pid = child.pid
        started = time.monotonic()
        with pytest.raises(InputRefused) as caught:
            child.probe("spin")
        assert caught.value.stable_code == "decoder_timeout"
        assert time.monotonic() - started < 3
        assert not psutil.pid_exists(pid)


@contextlib.contextmanager
def slowed(pid: int, share: float) -> Iterator[None]:
    """The process runs for no more than a share of the time, as on a busy or slow machine."""
    over, period = threading.Event(), 0.05

    def hold() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not over.is_set():
                os.kill(pid, signal.SIGSTOP)
                over.wait(period * (1 - share))
                os.kill(pid, signal.SIGCONT)
                over.wait(period * share)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_slow_machine_refuses_nothing_that_a_quick_one_takes(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline is of the child's own time: this takes five times as long as that, by the clock on the wall."""
    large = save_jpeg(Image.effect_noise((5000, 4000), 60).convert("RGB"), 92)
    with box.batch() as child:
        child.open_picture(large)
        (picture,) = child.open_pictures([large])
        assert isinstance(picture, Picture)
        alone = picture.seconds  # of its own time
        monkeypatch.setattr(box_module, "ITEM_SECONDS", 2 * alone)
        with slowed(child.pid, 0.1):
            started = time.monotonic()
            assert child.open_picture(large).width == picture.width
        assert time.monotonic() - started > 2 * alone


def test_a_decoder_that_stands_still_is_killed_too(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_module, "ITEM_SECONDS", 0.5)
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        os.kill(child.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(InputRefused, match="decoder_timeout"):
            child.open_picture(portrait("astronaut"))
        assert time.monotonic() - started < 3
        assert child.open_picture(portrait("astronaut")).width > 0


def test_pictures_that_take_too_long_together_are_refused_together_and_soon(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_module, "GROUP_SECONDS", 0.3)
    dear = save_jpeg(Image.effect_noise((2500, 2000), 90).convert("RGB"), 30)
    monkeypatch.setattr(box_module, "GROUP_BYTES", 64 << 20)
    with box.batch() as child:
        found = list(child.open_pictures([dear] * 16))
        assert {each.stable_code for each in found if isinstance(each, InputRefused)} == {"decoder_timeout"}
        (alone,) = child.open_pictures([portrait("astronaut")])
        assert isinstance(alone, Picture)
        assert 0 <= alone.seconds < 5, "a small picture may take no time that the kernel has counted yet"


def test_a_child_is_renewed_after_many_items(box: Box) -> None:
    small = portrait("astronaut", 30)
    with box.batch() as child:
        child.open_picture(small)
        first = child.pid
        for _ in range(RENEW_AFTER):
            child.open_picture(small)
        assert child.pid != first


def test_nothing_is_left_when_the_batch_and_the_box_end() -> None:
    box = Box()
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        pids = [child.pid, psutil.Process(child.pid).ppid()]
    box.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize(
    "head",
    [{"shown": [99999, 99999], "width": 99999, "height": 99999}, {"shown": [10, 10]}, {"shown": [-1, 5], "width": 5,
     "height": 5}, {}],
)  # fmt: skip
def test_a_child_that_talks_nonsense_is_not_believed(
    box: Box, monkeypatch: pytest.MonkeyPatch, head: dict[str, object]
) -> None:
    with box.batch() as child:
        child.open_picture(portrait("astronaut"))
        monkeypatch.setattr(Child, "_receive", lambda *_: (head, b""))
        with pytest.raises(InputRefused) as caught:
            child.open_picture(portrait("astronaut"))
        assert caught.value.stable_code == "decoder_died"


def test_pictures_opened_ahead_are_those_opened_one_by_one(box: Box) -> None:
    """Refusals, deaths and renewals in between; each picture is still whole while the next one is decoded."""
    good = [portrait("astronaut"), portrait("t1-1"), png(9, 5, "RGB", (1, 2, 3)), portrait("t1-2")]
    gone = InputRefused("body_too_large")
    items: list[bytes | Exception] = [good[0], b"no picture", good[1], gone, good[2], b"", good[3], good[0], b"x" * 9]
    items += [png(8, 8, "RGB", (number, 0, 0)) for number in range(RENEW_AFTER)]
    with box.batch() as child:
        ahead: list[Any] = []
        for each in child.open_pictures(items):
            time.sleep(0.001)
            ahead.append(str(each) if isinstance(each, Exception) else each.pixels.copy())
        for item, found in zip(items, ahead, strict=True):
            if isinstance(item, Exception):
                assert found == str(item)
                continue
            try:
                alone = child.open_picture(item)
            except InputRefused as exc:
                assert found == str(exc)
            else:
                assert np.array_equal(found, alone.pixels)


@pytest.mark.parametrize("seen", [1, GROUP, GROUP + 1])
def test_pictures_that_were_asked_for_and_left_are_not_taken_for_others(box: Box, seen: int) -> None:
    """A step that fails in the middle of a batch leaves an answer behind, and its decoder serves the next batch."""
    first, second = ([png(20, 20, "RGB", (number, blue, 0)) for number in range(3 * GROUP)] for blue in (0, 1))
    with box.batch() as child:
        coming = child.open_pictures(first)
        for _ in range(seen):
            next(coming)
        coming.close()
        found = [each.pixels[0, 0].tolist() for each in child.open_pictures(second) if not isinstance(each, Exception)]
        assert found == [[0, 1, number] for number in range(3 * GROUP)]
        assert child.open_picture(first[5]).pixels[0, 0].tolist() == [0, 0, 5]


@pytest.mark.parametrize("victim", [0, 3, 7, 8, 12])
def test_a_picture_that_kills_the_child_costs_no_other(box: Box, monkeypatch: pytest.MonkeyPatch, victim: int) -> None:
    """It comes with others in one request: they are opened again, one by one."""
    pictures = [png(20, 20, "RGB", (number, 0, 0)) for number in range(13)]
    original = Child._send

    def send(self: Child, request: dict[str, Any], payload: bytes, *rest: Any) -> None:
        if pictures[victim] in payload:
            self.probe("environment")
            os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.05)
        original(self, request, payload, *rest)

    monkeypatch.setattr(Child, "_send", send)
    with box.batch() as child:
        found = [each if isinstance(each, Exception) else int(each.pixels[0, 0, 2]) for each in
                 child.open_pictures(pictures)]  # fmt: skip
    refused = found.pop(victim)
    assert isinstance(refused, InputRefused)
    assert refused.stable_code == "decoder_died"
    assert found == [number for number in range(13) if number != victim]


def test_a_child_is_not_renewed_in_the_middle_of_an_archive(box: Box) -> None:
    """Pictures come first, so that the archive is a child's last item; it asks for its bytes in several frames."""
    data = pack_zip([(str(number), bytes(100)) for number in range(2000)])
    with box.batch() as child:
        for _ in range(RENEW_AFTER - 1):
            child.probe("environment")
        assert (
            len(list(child.open_archive(lambda at, length: data[at : at + length], len(data), ArchiveLimits()))) == 2000
        )


def test_what_an_archive_needs_does_not_open_the_walls(box: Box) -> None:
    data = pack("7z", [("a.jpg", b"a")])
    with box.batch() as child:
        assert len(list(child.open_archive(lambda at, length: data[at : at + length], len(data), ArchiveLimits()))) == 1
        assert all(child.probe(what, "/etc/passwd").startswith("refused") for what in ("open", "socket", "fork"))


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([({"read": [-5, 10]}, b"")], "decoder_died"),
        ([({"read": [0, 0]}, b"")], "decoder_died"),
        ([({"read": [0]}, b"")], "decoder_died"),
        ([({"read": "all"}, b"")], "decoder_died"),
        ([({}, b"content")], "decoder_died"),
        ([({"member": "0"}, b"content")], "decoder_died"),
        ([({"member": -1}, b"content")], "decoder_died"),
        ([({"member": 0}, b"x" * 11)], "archive_too_large"),
        ([({"member": 0}, b"x" * 10)] * 3, "archive_too_large"),
        ([({"member": 0}, b"")] * 99, "archive_too_large"),
    ],
)
def test_a_child_that_talks_nonsense_about_an_archive_is_not_believed(
    box: Box, monkeypatch: pytest.MonkeyPatch, frames: list[tuple[dict[str, object], bytes]], code: str
) -> None:
    limits = ArchiveLimits(entries=5, total_bytes=25, member_bytes=10)
    with box.batch() as child:
        child.probe("environment")
        pid = child.pid
        coming = iter(frames)
        monkeypatch.setattr(Child, "_exchange", lambda *_: next(coming))
        monkeypatch.setattr(Child, "_receive", lambda *_: next(coming))
        with pytest.raises(InputRefused) as caught:
            list(child.open_archive(lambda at, length: bytes(length), 100, limits))
        assert caught.value.stable_code == code
        assert not psutil.pid_exists(pid)


def test_a_child_that_only_ever_asks_is_stopped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_module, "ARCHIVE_WAIT_SECONDS", 0.2)
    with box.batch() as child:
        child.probe("environment")

        def ask_again(*_: object) -> tuple[dict[str, object], bytes]:
            time.sleep(0.01)
            return {"read": [0, 1]}, b""

        monkeypatch.setattr(Child, "_exchange", ask_again)
        with pytest.raises(InputRefused) as caught:
            list(child.open_archive(lambda at, length: bytes(length), 100, ArchiveLimits()))
        assert caught.value.stable_code == "decoder_timeout"


def test_a_member_the_child_refuses_carries_no_content(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = iter([({"member": 3, "refused": "made_up", "notice": "made_up"}, b"content"), ({"end": True}, b"")])
    with box.batch() as child:
        monkeypatch.setattr(Child, "_exchange", lambda *_: next(frames))
        monkeypatch.setattr(Child, "_receive", lambda *_: next(frames))
        (member,) = child.open_archive(lambda at, length: b"", 100, ArchiveLimits())
    assert (member.number, member.content, member.refused) == (3, b"", "archive_corrupt")
    assert member.notice == "archive_name_unsafe"
