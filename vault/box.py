"""Hostile bytes: the parent's side of the box. In come bytes as they were fetched, out come pixels or a typed refusal.

`Box` keeps one zygote process with the codecs loaded; a `Child` of it is locked down and opens many items, those of one
batch (`box.batch()`) or of several (see `vault/boxed.py`). A child that refuses an item for a reason of its own (died,
timed out, out of memory) is replaced before the next item; one that has opened RENEW_AFTER items is, too. What a child
says is checked here.
"""

import contextlib
import dataclasses
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vault import formats, phash
from vault.errors import REFUSALS, InputRefused
from vault.log import get_logger

LONG_SIDE = 1280  # pixels handed out at most; larger pictures are scaled down inside
SLOT_BYTES = LONG_SIDE * LONG_SIDE * 3  # of the shared memory; what is not written to takes no memory
GROUP, GROUP_BYTES = 16, 512 << 10  # small pictures asked for at once; twice as many slots: to look at, to fill
# Of CPU time of the child, or of standing still: a slow or busy machine refuses nothing that a quick one takes
ITEM_SECONDS = 10.0
GROUP_SECONDS = 4.0  # for some pictures at once; what is not done by then is opened alone another time
ARCHIVE_SECONDS = 60.0
MOST_WAITING = 30.0  # times these, by the clock on the wall
STILL = 0.01  # of its time on the CPU: a child that gets less does not run
RENEW_AFTER = 500
MEMORY_BYTES = 448 << 20  # what a child may map beyond what it starts with: 40 MP of RGBA, twice, and room
CPU_SECONDS = 120
ARCHIVE_CPU_SECONDS = 600  # a child made to open an archive: bzip2 unpacks 20 MB a second
ARCHIVE_WAIT_SECONDS = 1800.0  # waiting for one archive, all its frames together
MOST_PASSWORDS = 10
MOST_INPUT = 64 << 20
MOST_HEAD = 64 << 10
MOST_READ = 1 << 20  # of an archive, at a time
READ_BYTES = 64 << 10  # asked of the socket at least

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Pixels of one picture, (h, w, 3) uint8 BGR, upright, long side at most LONG_SIDE; width and height as shown.
    `grey` is its luminance, (32, 32) uint8. `truncated`: its file ends early or is damaged; `rows_shown`: the share of
    its rows that hold anything all the same; `seconds`: of CPU that it took to decode, as the child says."""

    pixels: npt.NDArray[np.uint8]
    grey: npt.NDArray[np.uint8]
    width: int
    height: int
    truncated: bool = False
    rows_shown: float = 1.0
    seconds: float = 0.0

    @property
    def scale(self) -> float:
        """Pixels handed out per pixel of the picture, at most 1."""
        return float(self.pixels.shape[1] / self.width)


Opened = Picture | Exception


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    entries: int = 10_000
    total_bytes: int = 4 << 30
    member_bytes: int = 32 << 20
    ratio: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of an archive. `content` is empty where `refused` is set; `notice` marks an ignored unsafe name."""

    number: int
    content: bytes
    refused: str | None
    notice: str | None


class Box:
    """One a process; safe to share between threads (each batch has a child of its own)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @contextlib.contextmanager
    def batch(self, cpu_seconds: int = CPU_SECONDS) -> Iterator["Child"]:
        """A locked-down child for a batch of items."""
        child = Child(self, cpu_seconds)
        try:
            yield child
        finally:
            child.stop()

    def close(self) -> None:
        with self._lock:
            self._drop_zygote()

    # -- talking to the zygote -------------------------------------------------------------------------------------

    def spawn(self, sock: socket.socket, memory: int, shared_bytes: int, cpu_seconds: int = CPU_SECONDS) -> int:
        """Fork a child that serves `sock`; returns its pid."""
        request = {
            "do": "spawn",
            "shared_bytes": shared_bytes,
            "memory_bytes": MEMORY_BYTES,
            "cpu_seconds": cpu_seconds,
        }
        return int(self._ask(request, [sock.fileno(), memory])["pid"])

    def reap(self, pid: int, *, kill: bool) -> int:
        """End a child and give its exit code, negative for a signal; 0 if the zygote is gone with it."""
        try:
            return int(self._ask({"do": "reap", "pid": pid, "kill": kill}, [], fresh=False)["status"])
        except (OSError, ValueError):
            return 0

    def _ask(self, request: dict[str, Any], descriptors: list[int], *, fresh: bool = True) -> dict[str, Any]:
        with self._lock:
            for attempt in (1, 2):
                if self._control is None:
                    if not fresh:
                        raise OSError("the zygote is gone")
                    self._start_zygote()
                assert self._control is not None
                try:
                    socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
                    reply = self._control.recv(65536)
                    if reply:
                        answer: dict[str, Any] = json.loads(reply)
                        return answer
                except OSError:
                    pass
                self._drop_zygote()
                if attempt == 2:
                    break
            raise OSError("the box does not start")

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).with_name("boxed.py")
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-I", "-B", str(script)], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env={}, cwd="/", start_new_session=True,
            )  # fmt: skip
        ours.settimeout(30.0)
        self._control = ours

    def _drop_zygote(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
        self._control = self._zygote = None


class Child:
    """A locked-down decoder. Made by `Box.batch`; not for several threads at once."""

    def __init__(self, box: Box, cpu_seconds: int = CPU_SECONDS) -> None:
        self._box = box
        self._cpu_seconds = cpu_seconds
        self._pid = 0
        self._sock: socket.socket | None = None
        self._shared: mmap.mmap | None = None
        self._opened = 0
        self._come = bytearray()  # received and not yet read
        self.active: dict[str, bool] = {}

    @property
    def pid(self) -> int:
        """The child's process id, 0 before its first item."""
        return self._pid

    def open_picture(self, data: bytes, long_side: int = LONG_SIDE) -> Picture:
        """Decode one picture. Raises InputRefused."""
        self._check_size(data)
        head, luminance = self._exchange({"do": "picture", "long_side": min(long_side, LONG_SIDE)}, data, ITEM_SECONDS)
        picture = self._check_picture(head, luminance, 0)
        return dataclasses.replace(picture, pixels=picture.pixels.copy())

    def open_pictures(
        self, items: Iterable[bytes | Exception], long_side: int = LONG_SIDE
    ) -> Generator[Opened, None, None]:
        """Decode many, a few at a time: while the caller looks at some, the child is at the next. Gives, for each item,
        its picture, or the InputRefused that came of it; an item that is an exception is handed through. If the child
        dies over some, they are opened again one by one; if they take too long, all of them are refused. A picture's
        pixels are those of the shared memory: they are gone when those after the next are asked for. Close it if you
        break off."""
        half, asked = 0, list[bytes | Exception]()
        try:
            for group in make_groups(items):
                found = self._take_group(asked, half, long_side)
                half, asked = 1 - half, group
                self._ask_group(group, half, long_side)
                yield from found
            found, asked = self._take_group(asked, half, long_side), []
            yield from found
        finally:
            if asked:  # whoever asked for them broke off: their answer must not be taken for that to the next request
                self.stop()

    def _ask_group(self, group: list[bytes | Exception], half: int, long_side: int) -> None:
        """Send the pictures of a group as one request."""
        wanted = [item for item in group if isinstance(item, bytes)]
        if wanted:
            places = [(half * GROUP + number) * SLOT_BYTES for number in range(len(wanted))]
            self._send(
                {"do": "pictures", "long_side": min(long_side, LONG_SIDE), "at": places,
                 "sizes": [len(item) for item in wanted]}, b"".join(wanted),
            )  # fmt: skip

    def _take_group(self, group: list[bytes | Exception], half: int, long_side: int) -> list[Opened]:
        """What came of a group, item by item."""
        wanted = [item for item in group if isinstance(item, bytes)]
        answers: list[Opened] = []
        if wanted:
            try:
                answers = self._read_group(len(wanted), half)
            except InputRefused as exc:
                late = exc.stable_code == "decoder_timeout"
                again = len(wanted) > 1 and not late
                answers = [self._try_picture(item, long_side) for item in wanted] if again else [exc] * len(wanted)
        coming = iter(answers)
        return [item if isinstance(item, Exception) else next(coming) for item in group]

    def _try_picture(self, data: bytes, long_side: int) -> Opened:
        try:
            return self.open_picture(data, long_side)
        except InputRefused as exc:
            return exc

    def _read_group(self, count: int, half: int) -> list[Opened]:
        head, luminances = self._receive(GROUP_SECONDS)
        heads = head.get("pictures")
        side = phash.SIDE * phash.SIDE
        if not isinstance(heads, list) or len(heads) != count or len(luminances) != count * side:
            self.stop()
            raise InputRefused("decoder_died", "the decoder talks nonsense")
        found: list[Opened] = []
        for number, each in enumerate(heads):
            if isinstance(each, dict) and "refused" in each:
                found.append(make_refusal(each))
            else:
                grey = luminances[number * side : (number + 1) * side]
                found.append(self._check_picture(each, grey, (half * GROUP + number) * SLOT_BYTES))
        if any(isinstance(each, InputRefused) and each.stable_code == "decoder_memory" for each in found):
            self.stop()
        return found

    def _check_picture(self, head: dict[str, Any], luminance: bytes, at: int) -> Picture:
        """Raises InputRefused for what cannot be."""
        try:
            (w, h), width, height = head["shown"], int(head["width"]), int(head["height"])
            if not (0 < w <= LONG_SIDE and 0 < h <= LONG_SIDE and w <= width <= 12_000 and h <= height <= 12_000):
                raise ValueError("sizes that cannot be")
            rows_shown, seconds = float(head.get("rows_shown", 1.0)), read_seconds(head)
            if not 0 < rows_shown <= 1:
                raise ValueError("a share that cannot be")
            grey = np.frombuffer(luminance, np.uint8).reshape(phash.SIDE, phash.SIDE)
        except (KeyError, TypeError, ValueError) as exc:
            self.stop()
            raise InputRefused("decoder_died", "the decoder talks nonsense") from exc
        assert self._shared is not None
        pixels = np.frombuffer(self._shared, np.uint8, count=w * h * 3, offset=at).reshape(h, w, 3)
        return Picture(
            pixels=pixels,
            grey=grey,
            width=width,
            height=height,
            truncated="rows_shown" in head,
            rows_shown=rows_shown,
            seconds=seconds,
        )

    def make_mosaic(self, data: bytes, box: tuple[float, float, float, float], side: int = 192) -> bytes:
        """A PNG of the square around `box` in which the face is gone: at most 6 x 6 blocks. Raises InputRefused."""
        self._check_size(data)
        _, payload = self._exchange({"do": "mosaic", "box": list(box), "side": side}, data, ITEM_SECONDS)
        return payload

    def open_archive(
        self, read_at: Callable[[int, int], bytes], size: int, limits: ArchiveLimits, passwords: Sequence[str] = ()
    ) -> Iterator[Member]:
        """Every file of an archive whose bytes `read_at(offset, length)` gives; at most MOST_PASSWORDS are tried, in
        their order. Raises InputRefused, also after members that were good."""
        wire = {"entries": limits.entries, "total_bytes": limits.total_bytes, "member_bytes": limits.member_bytes,
                "ratio": limits.ratio, "cpu_seconds": self._cpu_seconds * 9 // 10}  # fmt: skip
        request = {"do": "archive", "size": size, "limits": wire, "passwords": list(passwords)[:MOST_PASSWORDS]}
        waited = time.monotonic()
        head, payload = self._exchange(request, b"", ARCHIVE_SECONDS)
        waited = time.monotonic() - waited
        total = count = 0
        while "end" not in head:
            if waited > ARCHIVE_WAIT_SECONDS:
                self.stop()
                raise InputRefused("decoder_timeout", "the archive takes too long")
            if "read" in head:
                data = read_at(*self._check_read(head["read"]))
                waited -= time.monotonic()
                head, payload = self._exchange({"do": "data"}, data, ARCHIVE_SECONDS)
            else:
                total, count = total + len(payload), count + 1
                if total > limits.total_bytes or len(payload) > limits.member_bytes or count > limits.entries:
                    self.stop()
                    raise InputRefused("archive_too_large", "the decoder sends more than it may")
                yield self._check_member(head, payload)
                waited -= time.monotonic()
                head, payload = self._receive(ARCHIVE_SECONDS)
            waited += time.monotonic()

    def _check_read(self, asked: object) -> tuple[int, int]:
        """Offset and length as the child wants them, or an end of the child."""
        match asked:
            case [int(offset), int(length)] if offset >= 0 and length > 0:
                return offset, min(length, MOST_READ)
        self.stop()
        raise InputRefused("decoder_died", "the decoder talks nonsense")

    def _check_member(self, head: dict[str, Any], content: bytes) -> Member:
        number = head.get("member")
        if not isinstance(number, int) or not 0 <= number < 1 << 31:
            self.stop()
            raise InputRefused("decoder_died", "the decoder talks nonsense")
        refused = check_code(head.get("refused"), "archive_corrupt")
        notice = check_code(head.get("notice"), "archive_name_unsafe")
        return Member(number=number, content=b"" if refused else content, refused=refused, notice=notice)

    def probe(self, what: str, argument: str = "") -> str:
        """Ask the child to try something forbidden; "refused: ..." is the answer one wants."""
        head, _ = self._exchange({"do": "probe", "what": what, "argument": argument}, b"", ITEM_SECONDS)
        return str(head.get("probe"))

    def stop(self) -> int:
        """End the child; its exit code, negative for a signal."""
        if self._sock is None:
            return 0
        self._sock.close()
        self._sock = None
        status = self._box.reap(self._pid, kill=True)
        self._pid = 0
        return status

    # -- frames -----------------------------------------------------------------------------------------------------

    def _check_size(self, data: bytes) -> None:
        if len(data) > MOST_INPUT:
            raise InputRefused("body_too_large", f"{len(data)} bytes")

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        shared_bytes = 2 * GROUP * SLOT_BYTES
        memory = os.memfd_create("facewarden-pixels", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, shared_bytes)
            self._shared = mmap.mmap(memory, shared_bytes, prot=mmap.PROT_READ)
            self._pid = self._box.spawn(theirs, memory, shared_bytes, self._cpu_seconds)
        finally:
            os.close(memory)
            theirs.close()
        self._sock, self._opened = ours, 0
        self._come.clear()
        head, _ = self._receive(ITEM_SECONDS)
        self.active = {str(name): bool(value) for name, value in head["ready"].items()}

    def _exchange(self, request: dict[str, Any], payload: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        self._send(request, payload, seconds)
        return self._receive(seconds)

    def _send(self, request: dict[str, Any], payload: bytes, seconds: float = ITEM_SECONDS) -> None:
        if self._opened >= RENEW_AFTER and request["do"] != "data":  # never in the middle of an archive
            self.stop()
        if self._sock is None:
            self._start()
        assert self._sock is not None
        self._opened += len(request.get("sizes", (0,))) if request["do"] != "data" else 0
        text = json.dumps(request).encode()
        try:
            self._sock.settimeout(seconds)
            self._sock.sendall(struct.pack(">II", len(text), len(payload)) + text + payload)
        except OSError:
            pass  # it died over this item: the receive says how

    def _receive(self, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The next frame. Raises InputRefused for a refusal, a death, a timeout or nonsense."""
        assert self._sock is not None
        deadline = Deadline(self._pid, seconds)
        try:
            self._sock.settimeout(deadline.look_every)
            head_length, payload_length = struct.unpack(">II", self._read(8, deadline))
            if head_length > MOST_HEAD or payload_length > MOST_INPUT:
                raise ValueError("a frame that cannot be")
            head = json.loads(self._read(head_length, deadline))
            payload = self._read(payload_length, deadline)
        except TimeoutError as exc:
            self.stop()
            raise InputRefused("decoder_timeout", str(exc), seconds=seconds / GROUP) from exc
        except (EOFError, OSError, ValueError) as exc:
            status = self.stop()
            name = signal.Signals(-status).name if -65 < status < 0 else f"exit {status}"
            log.warning("a decoder died", status=name)
            raise InputRefused("decoder_died", name) from exc
        if "refused" in head and "member" not in head:
            refusal = make_refusal(head)
            if refusal.stable_code == "decoder_memory":
                self.stop()
            raise refusal
        return head, payload

    def _read(self, length: int, deadline: "Deadline") -> bytes:
        """So many bytes; what came beyond them is kept for the next call, since a call to the system costs more. Raises
        TimeoutError, EOFError."""
        assert self._sock is not None
        while len(self._come) < length:
            try:
                piece = self._sock.recv(max(READ_BYTES, length - len(self._come)))
            except TimeoutError:
                deadline.check()
                continue
            if not piece:
                raise EOFError
            self._come += piece
        data = bytes(memoryview(self._come)[:length])
        del self._come[:length]
        return data


class Deadline:
    """How long a child may be at one answer: `seconds` of its CPU time, or of standing still while we wait for it."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._seconds = pid, seconds
        self._began = self._looked = time.monotonic()
        self._free = 0.0  # seconds of CPU before this answer
        self._seen: float | None = None  # and at the look before; both are known from the first look on
        self.look_every = seconds / 4

    def check(self) -> None:
        """After `look_every` seconds without a byte. Raises TimeoutError."""
        now, used = time.monotonic(), read_cpu_seconds(self._pid)
        waited = now - self._began
        if used is None:
            if waited >= self._seconds:
                raise TimeoutError(f"no answer in {waited:.0f} s")
            return
        if self._seen is None:
            self._free = used - min(used, waited)
        if used - self._free >= self._seconds or waited >= MOST_WAITING * self._seconds:
            raise TimeoutError(f"no answer in {used - self._free:.0f} s of work")
        if self._seen is None or now - self._looked >= self._seconds:
            if self._seen is not None and used - self._seen < STILL * (now - self._looked):
                raise TimeoutError(f"it stands still for {now - self._looked:.0f} s")
            self._looked, self._seen = now, used


def read_cpu_seconds(pid: int) -> float | None:
    """What a process has used of the CPU: the scheduler counts nanoseconds, stat (proc(5): 14 and 15) ticks; None
    where neither can be read."""
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((folder / "schedstat").read_bytes().split()[0]) / 1e9
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def make_groups(items: Iterable[bytes | Exception]) -> Iterator[list[bytes | Exception]]:
    """The items in their order, up to GROUP at once, but no more than GROUP_BYTES and the last one; what is too large
    to be sent is refused here."""
    group: list[bytes | Exception] = []
    size = 0
    for item in items:
        if isinstance(item, bytes) and len(item) > MOST_INPUT:
            group.append(InputRefused("body_too_large", f"{len(item)} bytes"))
        else:
            group.append(item)
            size += len(item) if isinstance(item, bytes) else 0
        if len(group) == GROUP or size > GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def make_refusal(head: dict[str, Any]) -> InputRefused:
    """What the child refused; of a format that is not read only a name that is known."""
    code, text = check_code(head["refused"]) or "image_corrupt", str(head.get("text", ""))[:200]
    if code == "format_not_allowed" and text not in formats.NAMES:
        text = formats.UNKNOWN
    return InputRefused(code, text, seconds=read_seconds(head))


def read_seconds(head: dict[str, Any]) -> float:
    """What the child says that it took; it may say what it likes."""
    said = head.get("seconds")
    return said if isinstance(said, float) and 0 <= said <= ITEM_SECONDS else 0.0


def check_code(value: object, unknown: str = "image_corrupt") -> str | None:
    """A code as the child gave it, or None; anything that is no code counts as `unknown`."""
    if value is None:
        return None
    return value if isinstance(value, str) and value in REFUSALS else unknown
