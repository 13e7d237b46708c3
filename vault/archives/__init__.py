"""Archives, inside the box only: in comes a file that can be read at any offset, out come its members or a refusal.

Zip, 7z, and tar as it is or under gzip, bzip2, xz or zstd, one module a kind. Names are ignored: members are known by
their number, and a name that points outside is only reported.
"""

import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from vault.archives import crypt, sevenzips, tars, zips
from vault.archives.reading import PACKERS, PIECE, Meter, Passwords
from vault.archives.rules import Member, name_kind
from vault.refusals import Refused

__all__ = ["PIECE", "list_members", "warm_up"]

PEEK = 1024  # bytes that tell the kind: a tar's first block, or a magic number


def list_members(
    file: BinaryIO, size: int, limits: dict[str, int], passwords: Sequence[str]
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every file of an archive: (head, content), in the archive's order, with caps on entries, bytes, ratio and depth.

    Names are ignored; the head says if one was unsafe. A member that is refused has a head that says so and no content.
    Raises Refused when the archive as a whole is not to be opened, or not to be read on.
    """
    start = file.read(PEEK)
    file.seek(0)
    kind = name_kind(start)
    meter = Meter(size, limits)
    if kind == "zip":
        members: Iterator[Member] = zips.list_members(file, size, limits, Passwords(passwords))
    elif kind == "7z":
        members = sevenzips.list_members(file, size, limits, Passwords(passwords), meter)
    elif kind == "tar" or kind in PACKERS:
        members = tars.list_members(file, kind, limits, meter)
    else:
        raise Refused("archive_unsupported", kind)
    for member in members:
        head: dict[str, Any] = {"member": member.number}
        if member.notice:
            head["notice"] = member.notice
        if member.refused is not None:
            yield {**head, "refused": member.refused.code, "text": member.refused.text}, b""
        else:
            yield head, member.content


def warm_up() -> None:
    """Open one archive of each kind and compression, so that nothing is loaded after the lock-down."""
    limits = {"entries": 9, "total_bytes": 1 << 20, "member_bytes": 1 << 20, "ratio": 1000, "cpu_seconds": 1 << 20}

    def open_all(data: bytes) -> None:
        list(list_members(io.BytesIO(data), len(data), limits, ["a"]))

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a", b"a")
        open_all(out.getvalue())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("\xe4" * 200), io.BytesIO())
    pack: list[Callable[[bytes], bytes]] = [bytes, *(packer.pack for packer in PACKERS.values())]
    for each in pack:
        open_all(each(out.getvalue()))
    for coder in (sevenzips.LZMA1, sevenzips.LZMA2):
        lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": coder, "dict_size": 4096}])
    crypt.warm_up()
