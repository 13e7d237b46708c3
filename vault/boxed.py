"""What runs inside the box: in come hostile bytes over one socket, out come plain pixels or a refusal code.

Run by `vault/box.py` as a fresh interpreter with an empty environment. The first process (the zygote) loads the codecs,
leaves the namespaces and never sees a hostile byte; it forks children, each of which locks itself down before its
first item. The child can read and write one socket and its own memory, nothing else.

Frames both ways: two big-endian u32 (length of the JSON head, length of the payload), the head, the payload. Pixels
leave through memory shared with the parent, everything else through the socket.
"""

import contextlib
import io
import json
import mmap
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vault import archives, lockdown, pictures
from vault.refusals import Refused

READ_BYTES = 64 << 10  # asked of the socket at least
OWN = 3  # the descriptor of the child's only socket


# -- the child --------------------------------------------------------------------------------------------------------


class Line:
    """Frames over a stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._come = bytearray()  # received and not yet read

    def send(self, head: dict[str, Any], payload: bytes = b"") -> None:
        text = json.dumps(head).encode()
        self._sock.sendall(struct.pack(">II", len(text), len(payload)) + text + payload)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        head_length, payload_length = struct.unpack(">II", self._exactly(8))
        return json.loads(self._exactly(head_length)), self._exactly(payload_length)

    def _exactly(self, length: int) -> bytes:
        while len(self._come) < length:
            piece = self._sock.recv(max(READ_BYTES, length - len(self._come)))
            if not piece:
                raise EOFError
            self._come += piece
        data = bytes(memoryview(self._come)[:length])
        del self._come[:length]
        return data


def serve(line: Line, shared: mmap.mmap) -> None:
    """Answer requests until the parent hangs up."""
    while True:
        try:
            request, payload = line.receive()
        except EOFError:
            return
        try:
            answer(line, shared, request, payload)
        except Refused as exc:
            line.send({"refused": exc.code, "text": exc.text})
        except MemoryError:
            line.send({"refused": "decoder_memory"})
        except OSError:  # the parent hung up
            return
        except Exception as exc:  # the outer edge: hostile bytes made a library fail in a way nobody foresaw
            code = "archive_corrupt" if request.get("do") == "archive" else "image_corrupt"
            line.send({"refused": code, "text": type(exc).__name__})


def answer(line: Line, shared: mmap.mmap, request: dict[str, Any], payload: bytes) -> None:
    if request["do"] == "picture":
        head, luminance = show_picture(shared, payload, request["long_side"], 0)
        line.send(head, luminance)
    elif request["do"] == "pictures":
        heads, greys, start = [], [], 0
        for size, at in zip(request["sizes"], request["at"], strict=True):
            began = time.process_time()
            head, luminance = try_picture(shared, payload[start : start + size], request["long_side"], at)
            heads.append({**head, "seconds": time.process_time() - began})
            greys.append(luminance)
            start += size
        line.send({"pictures": heads}, b"".join(greys))
    elif request["do"] == "mosaic":
        line.send({"done": True}, pictures.make_mosaic(payload, request["box"], request["side"]))
    elif request["do"] == "archive":
        size = request["size"]
        file = io.BufferedReader(RemoteFile(line, size), archives.PIECE)
        for head, content in archives.list_members(file, size, request["limits"], request["passwords"]):
            line.send(head, content)
        line.send({"end": True})
    elif request["do"] == "probe":
        line.send({"probe": probe(request["what"], request["argument"])})


def show_picture(shared: mmap.mmap, data: bytes, long_side: int, at: int) -> tuple[dict[str, Any], bytes]:
    """Pixels into the shared memory; what the parent is told of them."""
    opened = pictures.open_picture(data, long_side)
    pixels = opened.picture.tobytes("raw", "BGR")
    shared[at : at + len(pixels)] = pixels
    head: dict[str, Any] = {"width": opened.size[0], "height": opened.size[1], "shown": list(opened.picture.size)}
    if opened.truncated:
        head["rows_shown"] = opened.shown
    return head, pictures.shrink_to_grey(opened.picture)


def try_picture(shared: mmap.mmap, data: bytes, long_side: int, at: int) -> tuple[dict[str, Any], bytes]:
    """The same for one of several, a refusal included."""
    nothing = bytes(pictures.GREY_SIDE**2)
    try:
        return show_picture(shared, data, long_side, at)
    except Refused as exc:
        return {"refused": exc.code, "text": exc.text}, nothing
    except MemoryError:
        return {"refused": "decoder_memory"}, nothing
    except Exception as exc:  # the outer edge, as in `serve`
        return {"refused": "image_corrupt", "text": type(exc).__name__}, nothing


def probe(what: str, argument: str) -> str:
    """Try what the lock-down must forbid; "done" means that it did not. Asked for by tests and `doctor` only."""
    try:
        if what == "open":
            os.close(os.open(argument, os.O_RDONLY))
        elif what == "create":
            os.close(os.open(argument, os.O_WRONLY | os.O_CREAT, 0o600))
        elif what == "socket":
            socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
        elif what == "unix":
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
        elif what == "fork":
            if os.fork() == 0:
                os._exit(0)
        elif what == "exec":
            os.execv(argument, [argument])  # noqa: S606
        elif what == "kill":
            os.kill(os.getppid(), 0)
        elif what == "execute_data":
            mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
        elif what == "memory":
            bytearray(4 << 30)
        elif what == "environment":
            return "refused: empty" if not os.environ else "done"
        elif what == "spin":
            while True:
                pass
        elif what == "crash":
            os._exit(77)
        else:
            return "refused: unknown probe"
    except (OSError, MemoryError) as exc:
        return f"refused: {type(exc).__name__} {exc}"
    return "done"


def run_child(sock: socket.socket, memory: int, request: dict[str, Any], namespaces: bool) -> None:
    """Lock down, say what is active, serve. Never returns."""
    try:
        lockdown.die_with_parent(signal.SIGKILL)
        shared = mmap.mmap(memory, request["shared_bytes"])
        os.dup2(sock.fileno(), OWN)
        sock.detach()
        line = Line(socket.socket(fileno=OWN))
        for descriptor in (0, 1, 2):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        os.closerange(OWN + 1, 4096)
        memory_limit = lockdown.mapped_bytes() + request["memory_bytes"]
        active = {
            "namespaces": namespaces,
            "no_new_privileges": lockdown.forbid_new_privileges(),
            "landlock": lockdown.deny_files(),
            "limits": lockdown.limit_resources(memory=memory_limit, cpu_seconds=request["cpu_seconds"]),
            "seccomp": lockdown.filter_syscalls(OWN),
        }
        line.send({"ready": active})
        serve(line, shared)
    finally:
        os._exit(0)


class RemoteFile(io.RawIOBase):
    """A file that lies with the parent: reads are asked for over the socket, so plain archives never touch a disk."""

    def __init__(self, line: "Line", size: int) -> None:
        self._line, self._size, self._at = line, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("seek before the start")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        if not wanted:
            return 0
        self._line.send({"read": [self._at, wanted]})
        _, data = self._line.receive()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


# -- the zygote -------------------------------------------------------------------------------------------------------


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    pictures.warm_up()
    archives.warm_up()
    control = socket.socket(fileno=0)
    namespaces = lockdown.leave_namespaces()
    while True:
        text, descriptors, _flags, _address = socket.recv_fds(control, 65536, 2)
        if not text:
            return
        request = json.loads(text)
        if request["do"] == "spawn":
            child = os.fork()
            if child == 0:
                control.close()
                run_child(socket.socket(fileno=descriptors[0]), descriptors[1], request, namespaces)
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(json.dumps({"pid": child}).encode())
        elif request["do"] == "reap":
            with contextlib.suppress(ProcessLookupError):
                os.kill(request["pid"], signal.SIGKILL if request["kill"] else 0)
            _pid, status = os.waitpid(request["pid"], 0)
            control.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())


if __name__ == "__main__":
    main()
