"""strace around a command: in comes what it ran, out come the paths that it or its children wrote, made or removed."""

import re
import shutil
from pathlib import Path

WRITERS = ("open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,"
           "symlinkat,truncate,unlink,unlinkat,rmdir")  # fmt: skip
MOVERS = "chdir,fchdir,clone,clone3,fork,vfork"
LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
UNFINISHED = re.compile(r"^(\d+ +\w+\(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
PLACE = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
WRITES = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b")


class NoStrace(Exception):
    """strace is not installed here."""


def wrap(argv: list[str], trace: Path) -> list[str]:
    """The command under strace, children included. Raises NoStrace."""
    strace = shutil.which("strace")
    if strace is None:
        raise NoStrace
    calls = f"trace={WRITERS},{MOVERS}"
    return [strace, "-f", "-qq", "-y", "-s", "4096", "--seccomp-bpf", "-e", calls, "-o", str(trace), *argv]


def list_written(trace: Path) -> set[str]:
    """Absolute paths of every call that succeeded. What was opened for reading only is left out."""
    found: set[str] = set()
    folders: dict[str, str] = {}  # process -> the folder it works in
    for line in join_halves(trace.read_text(encoding="utf-8", errors="replace").splitlines()):
        call = LINE.match(line)
        if call is None or call[4].startswith("-"):
            continue
        process, name, arguments, result = call.groups()
        if name in MOVERS.split(","):
            note_folder(folders, process, name, arguments, result)
        elif not name.startswith("open") or WRITES.search(arguments):
            places = PLACE.findall(arguments)
            for folder, path in places[1:] if name.startswith("symlink") else places:  # first: what the link says
                found.add(str(Path(folder or folders.get(process, "?"), path)))
    return found


def join_halves(lines: list[str]) -> list[str]:
    """strace breaks a call in two when another process comes between."""
    whole: list[str] = []
    waiting: dict[str, str] = {}
    for line in lines:
        if half := UNFINISHED.match(line):
            waiting[line.split(" ", 1)[0]] = half[1]
        elif half := RESUMED.match(line):
            whole.append(waiting.pop(half[1], "") + half[2])
        else:
            whole.append(line)
    return whole


def note_folder(folders: dict[str, str], process: str, name: str, arguments: str, result: str) -> None:
    if name == "chdir":
        (_, path), *_ = PLACE.findall(arguments)
        folders[process] = str(Path(folders.get(process, "?"), path))
    elif name == "fchdir":
        found = DESCRIPTOR.match(arguments)
        folders[process] = found[1] if found else "?"
    elif process in folders:
        folders[result] = folders[process]  # a child begins where its parent is
