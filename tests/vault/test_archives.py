"""Archives as the box opens them: what comes out, and every trick in the list of faults, for each kind."""

import base64
import bz2
import functools
import hashlib
import hmac
import io
import itertools
import lzma
import random
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import py7zr
import pytest
from backports import zstd
from Cryptodome.Cipher import AES
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.vault.packing import (
    END,
    KINDS,
    LZMA2_CODER,
    PACK,
    SEVEN_METHODS,
    Files,
    coder,
    entry,
    header,
    names,
    number,
    pack,
    pack_7z,
    pack_lzma2,
    pack_tar,
    pack_zip,
    pax,
    seal_7z,
    seal_tar,
    simple_7z,
    streams,
)
from vault.archives.crypt import derive_7z_key
from vault.box import ArchiveLimits, Box, Child, Member
from vault.errors import REFUSALS, InputRefused

LIMITS = ArchiveLimits()
MOST_SECONDS, MOST_MEMORY = 10.0, 700 << 20
ReadAt = Callable[[int, int], bytes]


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Box() as box, box.batch() as made:
        yield made


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def unpack(
    child: Child, data: bytes, limits: ArchiveLimits = LIMITS, passwords: tuple[str, ...] = ()
) -> list[Member]:  # fmt: skip
    return list(child.open_archive(lambda offset, length: data[offset : offset + length], len(data), limits, passwords))


def refuse(child: Child, read_at: ReadAt, size: int, limits: ArchiveLimits = LIMITS) -> str:
    """The code a hostile archive ends in, within the time and the memory allowed."""
    started = time.monotonic()
    with pytest.raises(InputRefused) as caught:
        for member in child.open_archive(read_at, size, limits):
            assert len(member.content) <= limits.member_bytes
    assert time.monotonic() - started < MOST_SECONDS
    check_memory(child)
    return caught.value.stable_code


def refuse_bytes(child: Child, data: bytes, limits: ArchiveLimits = LIMITS) -> str:
    return refuse(child, lambda offset, length: data[offset : offset + length], len(data), limits)


def check_memory(child: Child) -> None:
    if child.pid:
        status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
        peak = int(status.split("VmHWM:")[1].split()[0]) << 10
        assert peak < MOST_MEMORY


# -- what comes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_members_come_out_whole_and_by_number(child: Child, kind: str) -> None:
    contents = [noise(number, 100_000 * number) + b"text" * 99 for number in range(5)]
    members = unpack(child, pack(kind, [(f"{n}.jpg", content) for n, content in enumerate(contents)]))
    assert [member.content for member in members] == contents
    assert [member.number for member in members] == [0, 1, 2, 3, 4]
    assert not any(member.refused or member.notice for member in members)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_may_be_compressed_in_other_ways(child: Child, method: int) -> None:
    contents = [noise(number, 100_000 * number) for number in range(3)]
    members = unpack(child, pack_zip([(f"{n}.jpg", content) for n, content in enumerate(contents)], method))
    assert [member.content for member in members] == contents


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_each_dialect_is_read_with_long_names(child: Child, format: int) -> None:  # noqa: A002
    name = "/".join(["folder"] * 20) + "/a.jpg"
    (member,) = unpack(child, pack_tar([(name, b"content")], format))
    assert (member.content, member.notice) == (b"content", None)


@pytest.mark.parametrize("kind", ["zip", "tar", "gzip", "7z"])
@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "C:\\x.jpg", "a/../../b.jpg", "x" * 300])
def test_a_name_that_points_outside_is_ignored_and_reported(child: Child, kind: str, name: str) -> None:
    if kind == "7z":  # py7zr does not write such names
        content = pack_lzma2(b"content")
        main = streams([len(content)], [b"\x01" + LZMA2_CODER], [7])
        data = seal_7z(content, header(main, names(name)))
    else:
        data = pack(kind, [(name, b"content")])
    (member,) = unpack(child, data)
    assert member.content == b"content"
    assert member.notice == "archive_name_unsafe"


@pytest.mark.parametrize("name", ["..\\..\\x.jpg", "\\\\host\\x"])
def test_a_zip_name_with_backslashes_is_ignored_and_reported(child: Child, name: str) -> None:
    (member,) = unpack(child, pack_zip([(name, b"content")]))
    assert (member.content, member.notice) == (b"content", "archive_name_unsafe")


def test_folders_are_passed_over(child: Child) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.jpg", b"a")
    tar = entry("folder", kind=tarfile.DIRTYPE) + entry("folder/a.jpg", b"a") + END
    empty = b"\x0e\x01\x80"  # the first entry has no stream
    seven = seal_7z(b"a", header(streams([1], [b"\x01" + coder(b"\x00")], [1]), names("folder", "a.jpg") + empty))
    for data in (out.getvalue(), tar, seven):
        assert [(member.number, member.content) for member in unpack(child, data)] == [(1, b"a")]


@pytest.mark.parametrize("kind", ["tar", "gzip", "7z"])
def test_an_empty_file_is_a_member(child: Child, kind: str) -> None:
    empty = b"\x0e\x01\x40\x0f\x01\x80"  # the second of two entries has no stream, and is a file
    seven = seal_7z(b"a", header(streams([1], [b"\x01" + coder(b"\x00")], [1]), names("a", "b") + empty))
    data = seven if kind == "7z" else pack(kind, [("a", b"a"), ("b", b"")])
    assert [member.content for member in unpack(child, data)] == [b"a", b""]


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_a_stream_in_several_frames_is_one_tar(child: Child, kind: str) -> None:
    tar = pack_tar([("a", noise(1, 5000)), ("b", noise(2, 5000))])
    data = PACK[kind](tar[:3000]) + PACK[kind](tar[3000:]) + bytes(512)
    assert [member.content for member in unpack(child, data)] == [noise(1, 5000), noise(2, 5000)]


def test_a_skippable_frame_before_zstd_is_skipped(child: Child) -> None:
    data = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello" + pack("zstd", [("a", b"a")])
    assert [member.content for member in unpack(child, data)] == [b"a"]


@pytest.mark.parametrize("kind", PACK)
def test_a_tar_behind_a_tar_hides_nothing(child: Child, kind: str) -> None:
    data = PACK[kind](pack_tar([("a", b"a")]) + pack_tar([("b", b"b")]))
    assert [(member.number, member.content) for member in unpack(child, data)] == [(0, b"a"), (1, b"b")]


def test_what_lies_behind_a_tars_end_and_is_none_is_passed_over(child: Child) -> None:
    assert len(unpack(child, pack_tar([("a", b"a")]) + b"junk" * 300)) == 1


def test_empty_archives_have_no_members(child: Child) -> None:
    for data in (pack_zip([]), *(pack(kind, []) for kind in ("gzip", "xz", "zstd")), seal_7z(b"", b"")):
        assert unpack(child, data) == []


def test_a_solid_folder_is_read_once_from_start_to_end(child: Child) -> None:
    """Nothing is quadratic: 1,000 members in one stream cost one pass over the packed bytes."""
    contents = [noise(number, 4000) for number in range(1000)]
    for kind in ("7z", "7z-copy", "zstd"):
        data = pack(kind, [(str(n), content) for n, content in enumerate(contents)])
        asked: list[int] = []

        def read_at(offset: int, length: int, data: bytes = data, asked: list[int] = asked) -> bytes:
            asked.append(length)
            return data[offset : offset + length]

        assert [member.content for member in child.open_archive(read_at, len(data), LIMITS)] == contents
        assert sum(asked) < len(data) + (1 << 20)
        assert len(asked) < 30


# -- members that are refused alone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused_in_a_zip(child: Child, kind: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("good.jpg", b"good")
    bad, good = unpack(child, out.getvalue())
    assert (bad.refused, bad.content) == ("archive_link", b"")
    assert good.content == b"good"


def old_sparse(more: int) -> bytes:
    block = bytearray(entry("s", b"", tarfile.GNUTYPE_SPARSE, size=3))
    block[482] = more
    return seal_tar(bytes(block)) + bytes(511 + 1) * more + b"abc" + bytes(509)


@pytest.mark.parametrize(
    "bad",
    [
        entry("l", kind=tarfile.SYMTYPE),
        entry("l", kind=tarfile.LNKTYPE),
        entry("l", kind=tarfile.CHRTYPE),
        entry("l", kind=tarfile.BLKTYPE),
        entry("l", kind=tarfile.FIFOTYPE),
        old_sparse(0),
        old_sparse(1),
        pax(GNU__sparse__realsize="99999999999") + entry("s", b"map and data"),
        pax(path="s") + pax(GNU__sparse__major="1", GNU__sparse__minor="0") + entry("s", b"x"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zstd"])
def test_links_devices_and_sparse_files_are_refused_in_a_tar(child: Child, kind: str, bad: bytes) -> None:
    first, good = unpack(child, PACK[kind](bad + entry("good", b"good") + END))
    assert (first.refused, first.content) == ("archive_link", b"")
    assert good.content == b"good"


@pytest.mark.parametrize("attributes", [0x8000 | stat.S_IFLNK << 16, 0x8000 | stat.S_IFCHR << 16, 0x400])
def test_links_and_devices_are_refused_in_a_7z(child: Child, attributes: int) -> None:
    main = streams([8], [b"\x01" + coder(b"\x00")], [8], [2], b"\x09\x04")
    extra = b"\x15" + number(6 + 4) + b"\x01\x00" + struct.pack("<II", attributes, 0x20)
    bad, good = unpack(child, seal_7z(b"linkgood", header(main, names("link", "good") + extra)))
    assert (bad.refused, bad.content) == ("archive_link", b"")
    assert good.content == b"good"


@pytest.mark.parametrize("inner", ["zip", "tar", "gzip", "bzip2", "xz", "zstd", "7z", "rar"])
@pytest.mark.parametrize("outer", ["zip", "tar", "gzip", "7z"])
def test_an_archive_in_an_archive_is_not_opened(child: Child, outer: str, inner: str) -> None:
    nested = b"Rar!\x1a\x07\x01\x00" + bytes(99) if inner == "rar" else pack(inner, [("a", b"a")])
    bad, good = unpack(child, pack(outer, [("inner", nested), ("good", b"good")]))
    assert (bad.refused, bad.content) == ("archive_nested", b"")
    assert good.content == b"good"


def test_a_packed_stream_in_a_packed_stream_is_not_opened(child: Child) -> None:
    assert refuse_bytes(child, PACK["gzip"](pack("gzip", [("a", b"a")]))) == "archive_nested"


@pytest.mark.parametrize("kind", ["zip", "tar", "gzip", "7z"])
def test_a_member_that_is_too_large_is_refused_alone(child: Child, kind: str) -> None:
    large, small = unpack(child, pack(kind, [("a", noise(1, 3000)), ("b", b"b")]), replace(LIMITS, member_bytes=1000))
    assert large.refused == "body_too_large"
    assert small.content == b"b"


def test_a_wrong_checksum_refuses_the_member_only(child: Child) -> None:
    for data in (pack_zip([("a.jpg", b"content-a"), ("b.jpg", b"content-b")], zipfile.ZIP_STORED),
                 pack("7z-copy", [("a.jpg", b"content-a"), ("b.jpg", b"content-b")])):  # fmt: skip
        damaged = bytearray(data)
        damaged[data.index(b"content-a")] ^= 1
        bad, good = unpack(child, bytes(damaged))
        assert bad.refused == "archive_corrupt"
        assert good.content == b"content-b"


def test_a_tar_member_of_an_unknown_type_is_refused_alone(child: Child) -> None:
    bad, good = unpack(child, entry("a", b"volume", b"M") + entry("good", b"good") + END)
    assert (bad.refused, good.content) == ("archive_unsupported", b"good")


PPMD, BCJ2, BROTLI, DEFLATE64 = b"\x03\x04\x01", b"\x03\x03\x01\x1b", b"\x04\xf7\x11\x02", b"\x04\x01\x09"
FOUR_GB = struct.pack("<BI", 0x5D, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("folder", "code"),
    [
        (b"\x01" + coder(PPMD, struct.pack("<BI", 6, 0xFFFFFFFF)), "archive_unsupported"),
        (b"\x01" + coder(PPMD, struct.pack("<BI", 6, 1 << 20)), "archive_unsupported"),
        (b"\x01" + coder(BROTLI, b"\x01\x00\x01"), "archive_unsupported"),
        (b"\x01" + coder(DEFLATE64), "archive_unsupported"),
        (b"\x01" + coder(b"\x7f\x7f"), "archive_unsupported"),
        (b"\x01" + coder(b"\x21", b"\x28"), "archive_memory"),  # LZMA2 with 4 GB
        (b"\x01" + coder(b"\x21", b"\x29"), "archive_corrupt"),
        (b"\x01" + coder(b"\x03\x01\x01", FOUR_GB), "archive_memory"),
        (b"\x01" + coder(b"\x03\x01\x01", b"\xff" * 5), "archive_corrupt"),
        (b"\x01" + coder(b"\x03\x01\x01", b"\x5d"), "archive_corrupt"),
        (b"\x02" + LZMA2_CODER + LZMA2_CODER + b"\x01\x00", "archive_unsupported"),  # a bomb in a bomb
    ],
)
def test_a_7z_folder_that_cannot_be_unpacked_refuses_its_members_only(child: Child, folder: bytes, code: str) -> None:
    sizes = [4] * folder[0] + [4]
    main = streams([4, 4], [folder, b"\x01" + coder(b"\x00")], sizes)
    bad, good = unpack(child, seal_7z(b"badsgood", header(main, names("a", "b"))))
    assert bad.refused == code
    assert good.content == b"good"
    check_memory(child)


def test_the_coders_of_a_7z_may_stand_in_any_order(child: Child) -> None:
    """Bonds say whose output goes where: here the filter is written first, and unpacks last."""
    packed = lzma.compress(
        b"content", lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    )
    folder = b"\x02" + coder(b"\x03\x03\x01\x03") + LZMA2_CODER + b"\x00\x01"
    (member,) = unpack(child, seal_7z(packed, header(streams([len(packed)], [folder], [7, 7]), names("a"))))
    assert member.content == b"content"


# -- archives that are refused as a whole ------------------------------------------------------------------------------


def bomb_by_directory(entries: int, size: int) -> bytes:
    """A small zip whose directory declares `entries` entries of `size` bytes each."""
    data = bytearray(pack_zip([(f"{n}", b"x") for n in range(entries)], zipfile.ZIP_STORED))
    at = data.index(b"PK\1\2")
    while data[at : at + 4] == b"PK\1\2":
        struct.pack_into("<I", data, at + 24, size)
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + name + extra + comment
    return bytes(data)


def repeat_flushed(times: int) -> bytes:
    """`times` x 64 MB of zeros in one gzip member: blocks that refer to nothing before them can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + block * times + b"\x03\x00" + bytes(8)


@functools.cache
def zeros(kind: str, megabytes: int) -> bytes:
    return PACK[kind](bytes(megabytes << 20))


def swap_xz_dictionary(data: bytes, value: int) -> bytes:
    """The first block's header with another dictionary size (.xz file format, 3.1 and 5.3.1)."""
    length = (data[12] + 1) * 4
    block = bytearray(data[12 : 12 + length - 4])
    block[block.index(b"\x21\x01") + 2] = value
    return data[:12] + bytes(block) + struct.pack("<I", zlib.crc32(block)) + data[12 + length :]


def packed_header(claimed: int, head: bytes) -> bytes:
    packed = pack_lzma2(head)
    main = streams([len(packed)], [b"\x01" + LZMA2_CODER], [claimed])
    return seal_7z(packed, b"\x17" + main)


GOOD_TAR = pack_tar([("a", noise(1, 3000)), ("b", noise(2, 3000))])
ONE_ENTRY = replace(LIMITS, entries=10)
SMALL = replace(LIMITS, total_bytes=5000)
HUGE_WINDOW = b"\x28\xb5\x2f\xfd\x00" + bytes(((31 - 10) << 3,)) + struct.pack("<I", 8 << 3 | 1)[:3] + bytes(8)
RAR = b"Rar!\x1a\x07\x01\0" + bytes(100)

REFUSED: dict[str, tuple[Callable[[], bytes], ArchiveLimits, str]] = {
    "rar": (lambda: RAR, LIMITS, "archive_unsupported"),
    "html": (lambda: b"<html>login</html>", LIMITS, "archive_unsupported"),
    "nothing": (lambda: b"", LIMITS, "archive_unsupported"),
    "zeros": (lambda: bytes(5000), LIMITS, "archive_unsupported"),
    "gzip without tar": (lambda: PACK["gzip"](b"a text" * 999), LIMITS, "archive_unsupported"),
    "xz without tar": (lambda: PACK["xz"](b""), LIMITS, "archive_unsupported"),
    "zstd without tar": (lambda: PACK["zstd"](noise(1, 9000)), LIMITS, "archive_unsupported"),
    "gzip of nothing": (lambda: b"\x1f\x8b" + bytes(100), LIMITS, "archive_corrupt"),
    # zip
    "zip cut": (lambda: pack_zip([("a", b"a")])[:-10], LIMITS, "archive_corrupt"),
    "zip start only": (lambda: b"PK\3\4" + bytes(200), LIMITS, "archive_corrupt"),
    "zip entries": (lambda: pack_zip([(str(n), b"a") for n in range(20)]), ONE_ENTRY, "archive_too_many_entries"),
    "zip ratio": (lambda: pack_zip([("a", bytes(5_000_000))]), LIMITS, "archive_ratio"),
    "zip too large": (lambda: pack_zip([("a", noise(1, 9000))]), SMALL, "archive_too_large"),
    "zip declares 8 GB": (lambda: bomb_by_directory(2, 0xFFFFFFF0), LIMITS, "archive_too_large"),
    # tar, and the streams around it
    "tar cut in a member": (lambda: GOOD_TAR[:2000], LIMITS, "archive_corrupt"),
    "tar cut at a member": (lambda: GOOD_TAR[:3584], LIMITS, "archive_corrupt"),
    "tar entries": (lambda: entry() * 11 + END, ONE_ENTRY, "archive_too_many_entries"),
    "tar too large": (lambda: GOOD_TAR, SMALL, "archive_too_large"),
    "tar bad checksum": (lambda: entry("a") + b"x" * 512 + END, LIMITS, "archive_corrupt"),
    "tar size below zero": (lambda: entry("a", size=-512) + END, LIMITS, "archive_corrupt"),
    "tar size of 2^80": (lambda: entry("a", size=1 << 80) + END, LIMITS, "archive_corrupt"),
    "pax size lies": (lambda: pax(size="9" * 19) + entry("a", b"a") + END, LIMITS, "archive_corrupt"),
    "pax size below zero": (lambda: pax(size="-1") + entry("a", b"a") + END, LIMITS, "archive_corrupt"),
    "pax record lies": (lambda: entry("p", b"99 a=b\n", b"x") + entry() + END, LIMITS, "archive_corrupt"),
    "pax header of 8 GB": (lambda: entry("p", b"", b"x", size=8 << 30), LIMITS, "archive_corrupt"),
    "long name of 1 MB": (lambda: entry("p", b"x" * (1 << 20), b"L") + entry() + END, LIMITS, "archive_corrupt"),
    "long names in a row": (lambda: entry("p", b"x", b"L") * 9999 + entry() + END, LIMITS, "archive_corrupt"),
    "sparse map without end": (lambda: old_sparse(1)[:512] + b"\1" * (20 << 20), LIMITS, "archive_corrupt"),
    "gzip cut": (lambda: PACK["gzip"](GOOD_TAR)[:-9], LIMITS, "archive_corrupt"),
    "gzip checksum": (lambda: PACK["gzip"](GOOD_TAR)[:-8] + bytes(8), LIMITS, "archive_corrupt"),
    "bzip2 cut": (lambda: PACK["bzip2"](GOOD_TAR)[:-9], LIMITS, "archive_corrupt"),
    "xz cut": (lambda: PACK["xz"](GOOD_TAR)[:-9], LIMITS, "archive_corrupt"),
    "zstd cut": (lambda: PACK["zstd"](GOOD_TAR)[:-9], LIMITS, "archive_corrupt"),
    "gzip and junk": (lambda: PACK["gzip"](GOOD_TAR) + b"junk", LIMITS, "archive_corrupt"),
    "gzip ratio": (lambda: zeros("gzip", 5), LIMITS, "archive_ratio"),
    "bzip2 ratio": (lambda: zeros("bzip2", 5), LIMITS, "archive_ratio"),
    "xz ratio": (lambda: zeros("xz", 5), LIMITS, "archive_ratio"),
    "zstd ratio": (lambda: zeros("zstd", 5), LIMITS, "archive_ratio"),
    "gzip 10 MB to 10 GB": (lambda: repeat_flushed(160), LIMITS, "archive_ratio"),
    "gzip members to 10 GB": (lambda: zeros("gzip", 64) * 160, LIMITS, "archive_ratio"),
    "bzip2 10 MB to 15 TB": (lambda: zeros("bzip2", 64) * 250_000, LIMITS, "archive_ratio"),
    "xz 10 MB to 64 GB": (lambda: zeros("xz", 64) * 1000, LIMITS, "archive_ratio"),
    "zstd 10 MB to 300 GB": (lambda: zeros("zstd", 64) * 5000, LIMITS, "archive_ratio"),
    "a member inside a bomb": (lambda: PACK["gzip"](entry("a", bytes(30 << 20)) + END), LIMITS, "archive_ratio"),
    "a swarm of gzip members": (lambda: PACK["gzip"](b"") * 500_000, LIMITS, "archive_corrupt"),
    "a swarm of zstd frames": (lambda: PACK["zstd"](b"") * 500_000, LIMITS, "archive_corrupt"),
    "zstd with a window of 2 GB": (lambda: HUGE_WINDOW, LIMITS, "archive_memory"),
    "xz with a dictionary of 1.5 GB": (lambda: swap_xz_dictionary(PACK["xz"](GOOD_TAR), 37), LIMITS, "archive_memory"),
    "xz with a dictionary of 4 GB": (lambda: swap_xz_dictionary(PACK["xz"](GOOD_TAR), 40), LIMITS, "archive_memory"),
    # 7z
    "7z signature only": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(100), LIMITS, "archive_corrupt"),
    "7z cut": (lambda: pack("7z", [("a", noise(1, 9000))])[:-10], LIMITS, "archive_corrupt"),
    "7z entries": (lambda: pack("7z", [(str(n), b"a") for n in range(20)]), ONE_ENTRY, "archive_too_many_entries"),
    "7z too large": (lambda: pack("7z", [("a", noise(1, 9000))]), SMALL, "archive_too_large"),
    "7z ratio": (lambda: pack("7z", [("a", bytes(5_000_000))]), LIMITS, "archive_ratio"),
    "7z declares 8 EB": (lambda: simple_7z(b"x", (1 << 63) - 1), LIMITS, "archive_too_large"),
    "7z packed bytes outside": (lambda: simple_7z(b"x", 9, packed_size=1 << 40), LIMITS, "archive_corrupt"),
    "7z of 2^62 entries": (lambda: seal_7z(b"", b"\x01\x05" + number(1 << 62)), LIMITS, "archive_too_many_entries"),
    "7z of 2^62 folders": (
        lambda: seal_7z(b"", b"\x01\x04\x07\x0b" + number(1 << 62) + b"\0"), LIMITS, "archive_too_many_entries"
    ),
    "7z of 2^62 packed streams": (
        lambda: seal_7z(b"", b"\x01\x04\x06\x00" + number(1 << 62)), LIMITS, "archive_too_many_entries"
    ),
    "7z of 2^62 coders": (
        lambda: seal_7z(b"", b"\x01\x04\x07\x0b\x01\x00" + number(1 << 62)), LIMITS, "archive_corrupt"
    ),
    "7z property of 2^62": (lambda: simple_7z(b"x", 1, extra=b"\x14" + number(1 << 62)), LIMITS, "archive_corrupt"),
    "7z header of 200 MB": (lambda: seal_7z(b"", bytes(200 << 20)), LIMITS, "archive_too_many_entries"),
    "7z header packed, 10 GB": (lambda: packed_header(10 << 30, bytes(8 << 20)), LIMITS, "archive_too_many_entries"),
    "7z header packed, cut": (lambda: packed_header(5000, b"\x01\x00"), LIMITS, "archive_corrupt"),
    "7z header in headers": (
        lambda: packed_header(20, b"\x17" + bytes(19)), LIMITS, "archive_corrupt"
    ),
    "7z header with bzip2 bomb": (
        lambda: seal_7z(
            (big := bz2.compress(bytes(64 << 20))) * 9,
            b"\x17" + streams([len(big) * 9], [b"\x01" + coder(b"\x04\x02\x02")], [9 << 20]),
        ),
        LIMITS, "archive_ratio",
    ),
    "7z twice the same property": (lambda: simple_7z(b"x", 1, extra=b"\x0e\x01\x00" * 2), LIMITS, "archive_corrupt"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_archive_ends_in_its_code(child: Child, case: str) -> None:
    make, limits, code = REFUSED[case]
    assert refuse_bytes(child, make(), limits) == code


def repeat(block: bytes, start: bytes = b"") -> ReadAt:
    """A file without end, that is nowhere."""
    long = block * ((2 << 20) // len(block) + 2)

    def read_at(offset: int, length: int) -> bytes:
        if offset < len(start):
            return start[offset : offset + length]
        at = (offset - len(start)) % len(block)
        return long[at : at + length]

    return read_at


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (pax(comment="x" * 60_000) + entry("a", b"a"), "archive_corrupt"),
        (entry("n", b"x" * 60_000, b"L") + entry("a"), "archive_corrupt"),
        (entry("n", b"x", b"L") * 4 + entry("a"), "archive_too_many_entries"),
        (pax(**{f"k{n}": "" for n in range(5000)}) + entry("a"), "archive_corrupt"),
        (entry("a"), "archive_too_many_entries"),
        (entry("folder", kind=tarfile.DIRTYPE), "archive_too_many_entries"),
        (entry("a", bytes(30 << 20)), "archive_too_large"),
    ],
)
def test_a_gigabyte_of_headers_ends_in_seconds(child: Child, block: bytes, code: str) -> None:
    limits = replace(LIMITS, total_bytes=256 << 20) if code == "archive_too_large" else LIMITS
    assert refuse(child, repeat(block), 1 << 30, limits) == code


def test_a_zip_directory_of_a_gigabyte_is_not_read(child: Child) -> None:
    directory = struct.pack("<4s4B4HIIIHHHHHII", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFF0 >> 2, 4, 0)
    size = (0xFFFFFFF0 >> 2) + 4 + len(end)
    body = repeat(directory, b"PK\3\4")

    def read_at(offset: int, length: int) -> bytes:
        data = body(offset, length)
        over = offset + length - (size - len(end))
        return data if over <= 0 else (data[: max(0, length - over)] + end)[-length:]

    assert refuse(child, read_at, size) == "archive_too_many_entries"


def test_a_zip_member_that_unpacks_to_more_than_it_declares_is_refused_alone(child: Child) -> None:
    """900 KB of bzip2's zeros are 39 bytes: zipfile would hold all that one read of 64 KB stands for."""
    packed = bz2.compress(bytes(45 << 20)) * 40
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a", packed)
        archive.writestr("b", b"good")
    data = bytearray(out.getvalue())
    at = data.index(b"PK\1\2")
    struct.pack_into("<H", data, 8, zipfile.ZIP_BZIP2)
    struct.pack_into("<H", data, at + 10, zipfile.ZIP_BZIP2)
    struct.pack_into("<I", data, at + 24, 100)
    bad, good = unpack(child, bytes(data))
    assert (bad.refused, good.content) == ("archive_corrupt", b"good")
    check_memory(child)


def test_entries_that_share_bytes_are_refused(child: Child) -> None:
    """The quoted-overlap bomb of David Fifield (2019): many directory entries, one body."""
    data = bytearray(pack_zip([("a", noise(1, 5000)), ("b", b"b" * 5000)], zipfile.ZIP_STORED))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<I", data, second + 42, 0)  # the second entry begins where the first does
    assert refuse_bytes(child, bytes(data)) == "archive_overlap"


def test_a_7z_member_that_is_shorter_than_declared_is_refused(child: Child) -> None:
    for packed, folder in ((pack_lzma2(b"x" * 5000), LZMA2_CODER), (b"x" * 5000, coder(b"\x00"))):
        (member,) = unpack(child, simple_7z(packed, 6000, b"\x01" + folder))
        assert (member.refused, member.content) == ("archive_corrupt", b"")


def test_a_7z_member_is_never_longer_than_declared(child: Child) -> None:
    (member,) = unpack(child, simple_7z(pack_lzma2(b"x" * 5000), 100))
    assert member.content == b"x" * 100


def test_what_came_before_a_refusal_is_handed_out(child: Child) -> None:
    data = PACK["gzip"](pack_tar([("a", noise(1, 400_000)), ("b", noise(2, 400_000))]))[:600_000]
    members: list[Member] = []
    with pytest.raises(InputRefused) as caught:
        members.extend([])
        for member in child.open_archive(lambda offset, length: data[offset : offset + length], len(data), LIMITS):
            members.append(member)
    assert caught.value.stable_code == "archive_corrupt"
    assert [member.content for member in members] == [noise(1, 400_000)]


def test_the_child_is_the_same_after_many_refusals(child: Child) -> None:
    unpack(child, pack_zip([]))
    before = child.pid
    for data in (RAR, HUGE_WINDOW, GOOD_TAR[:2000], zeros("xz", 5), b"7z\xbc\xaf\x27\x1c" + bytes(99)):
        refuse_bytes(child, data)
    assert child.pid == before


# -- passwords ---------------------------------------------------------------------------------------------------------

# Made with 7-Zip 16.02, password abc: WinZip AES-256, ZipCrypto, 7z with and without its headers hidden.
LOCKED = {
    "zip AES": (
        "UEsDBDMDAQBjAPNWeF0AAAAALQAAABEAAAAFAAsAYS5qcGcBmQcAAgBBRQMAAE3CGSWb8wScsdhMRVgl+uauOUvI5meajCVOlmVdIT6QtXYNUndg"
        "subMWkM/q1BLAQI/AzMDAQBjAPNWeF0AAAAALQAAABEAAAAFAC8AAAAAAAAAIICkgQAAAABhLmpwZwoAIAAAAAAAAQAYAACx21YCfN0BALHbVgJ8"
        "3QEAsdtWAnzdAQGZBwACAEFFAwAAUEsFBgAAAAABAAEAYgAAAFsAAAAAAA=="
    ),
    "zip ZipCrypto": (
        "UEsDBBQDAQAAAPNWeF11Bj9YHQAAABEAAAAFAAAAYS5qcGftvImq5hRHjcs1wbnOC/aFLaSxa9yUJPQRFWChg1BLAQI/AxQDAQAAAPNWeF11Bj9Y"
        "HQAAABEAAAAFACQAAAAAAAAAIICkgQAAAABhLmpwZwoAIAAAAAAAAQAYAACx21YCfN0BALHbVgJ83QEAsdtWAnzdAVBLBQYAAAAAAQABAFcAAABA"
        "AAAAAAA="
    ),
    "7z hidden": (
        "N3q8ryccAAQwgZyIkAAAAAAAAAAmAAAAAAAAABYdq+GaXsogECGZrg2IYgEEda9oF7Gm9OU+TCj7tO8WwGb3sEo+WxRIFkmezKDixrfKfQMuUHr7"
        "Ga4CUrcg7K2KpksyAJl8FfyxcOeJY1Y5rXaiwR+zwX7u3E7JN8Ea1Palx0qOJz4rjs6ut/pY+sIMCDZTxSb9eRL5MK1v0KWDifXTzoiP3Mt+ehxS"
        "HUVol1ZMhN8XBiABCXAABwsBAAEkBvEHAQpTB7VZu1N0/G5dDGIKAdR7p8oAAA=="
    ),
    "7z": (
        "N3q8ryccAATqIjSnIAAAAAAAAABiAAAAAAAAAFSI74bUwluMR/Y+HdutJbJv9O7cunPUkD37l5QEiAGgnRR4bwEEBgABCSAABwsBAAIkBvEHAQpT"
        "BxRObZkdEtsvISEBAAEADBURAAgKAXUGP1gAAAUBGQkAAAAAAAAAAAARDQBhAC4AagBwAGcAAAAUCgEAALHbVgJ83QEVBgEAIICkgQAA"
    ),
}


def open_locked(child: Child, data: bytes, *passwords: str) -> list[str]:
    """Codes of what is refused, whole or member; content where it opens."""
    try:
        return [member.refused or member.content.decode() for member in unpack(child, data, LIMITS, passwords)]
    except InputRefused as exc:
        return [exc.stable_code]


@pytest.mark.parametrize("case", LOCKED)
def test_an_archive_of_another_program_opens_with_its_password_only(child: Child, case: str) -> None:
    data = base64.b64decode(LOCKED[case])
    assert open_locked(child, data, "abc") == ["content of nobody"]
    assert open_locked(child, data, "no", "", "Абв中", "abc") == ["content of nobody"]
    assert open_locked(child, data) == ["archive_encrypted"]
    assert open_locked(child, data, "no", "neither") == ["archive_password"]


@pytest.mark.parametrize("case", LOCKED)
def test_no_more_than_ten_passwords_are_tried(child: Child, case: str) -> None:
    data = base64.b64decode(LOCKED[case])
    wrong = [f"wrong {number}" for number in range(10)]
    assert open_locked(child, data, *wrong[:9], "abc") == ["content of nobody"]
    assert open_locked(child, data, *wrong, "abc") == ["archive_password"]


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in SEVEN_METHODS if kind != "7z-delta"])
def test_a_locked_7z_of_each_method_opens(child: Child, kind: str, hidden: bool) -> None:
    files = [(f"{n}.jpg", noise(n, 9000) + b"text" * n) for n in range(3)]
    crypt = [*SEVEN_METHODS[kind], {"id": py7zr.FILTER_CRYPTO_AES256_SHA256}]
    data = pack_7z(files, crypt, "secret", hidden)
    assert [member.content for member in unpack(child, data, LIMITS, ("x", "secret"))] == [file[1] for file in files]
    assert set(open_locked(child, data, "x")) == {"archive_password"}
    assert set(open_locked(child, data)) == {"archive_encrypted"}


def hide_7z(head: bytes, packed: bytes, password: str, checksum: bool) -> bytes:
    """A 7z whose header `head` is locked with few cycles, so that a test may try many passwords."""
    locked = lock_cbc(head.ljust(-(-len(head) // 16) * 16, b"\0"), password)
    one = b"\x01" + coder(b"\x06\xf1\x07\x01", b"\x01\x00")
    main = b"\x06" + number(len(packed)) + b"\x01\x09" + number(len(locked)) + b"\x00"
    main += b"\x07\x0b\x01\x00" + one + b"\x0c" + number(len(head))
    main += (b"\x0a\x01" + struct.pack("<I", zlib.crc32(head)) if checksum else b"") + b"\x00\x00"
    return seal_7z(packed + locked, b"\x17" + main)


def lock_cbc(data: bytes, password: str) -> bytes:
    return AES.new(derive_7z_key(password, 1, b""), AES.MODE_CBC, bytes(16)).encrypt(data)


@functools.cache
def find_password(locked: bytes, start: bytes) -> str:
    """One under which the first block of the locked bytes begins with `start`."""
    for tried in itertools.count():
        key = derive_7z_key(str(tried), 1, b"")
        if AES.new(key, AES.MODE_CBC, bytes(16)).decrypt(locked[:16]).startswith(start):
            return str(tried)
    raise AssertionError


@pytest.mark.parametrize("start", [b"\x01", b"\x17", b"\x01\x00"])
def test_a_wrong_password_that_makes_the_start_of_a_header_is_not_the_one(child: Child, start: bytes) -> None:
    content = b"content of nobody"
    head = header(streams([len(content)], [b"\x01\x01\x00"], [len(content)]), names("a.jpg"))
    for checksum in (False, True):
        data = hide_7z(head, content, "abc", checksum)
        wrong = find_password(lock_cbc(head[:16], "abc"), start)
        assert open_locked(child, data, wrong, "abc") == ["content of nobody"]
        assert open_locked(child, data, wrong) == ["archive_password"]


def test_the_right_password_shows_what_else_is_wrong_with_a_hidden_header(child: Child) -> None:
    entries = header(streams([1], [b"\x01\x01\x00"], [1]), number(20_000) + b"\x00")
    for checksum in (False, True):
        assert open_locked(child, hide_7z(entries, b"a", "abc", checksum), "x", "abc") == ["archive_too_many_entries"]
    assert open_locked(child, hide_7z(b"\x01\x07", b"a", "abc", True), "x", "abc") == ["archive_corrupt"]


def test_a_password_is_tried_on_a_whole_member_where_nothing_is_compressed(child: Child) -> None:
    content = noise(3, 9 << 20)
    stored = [{"id": py7zr.FILTER_COPY}, {"id": py7zr.FILTER_CRYPTO_AES256_SHA256}]
    data = pack_7z([("a.jpg", content)], stored, "secret")
    assert [member.content for member in unpack(child, data, LIMITS, ("x", "secret"))] == [content]


def seal_aes(name: str, plain: bytes, password: str, strength: int = 3, version: int = 2, method: int = 0) -> bytes:
    """A zip of one member under WinZip's AES (its "AES Encryption Information", 2009), made of the parts."""
    key_length, salt_length = {1: (16, 8), 2: (24, 12), 3: (32, 16)}[strength]
    salt = noise(9, salt_length)
    keys = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, 1000, 2 * key_length + 2)
    packed = plain if method == 0 else zlib.compress(plain, wbits=-15)
    blocks = b"".join(number.to_bytes(16, "little") for number in range(1, len(packed) // 16 + 2))
    mask = AES.new(keys[:key_length], AES.MODE_ECB).encrypt(blocks)
    locked = bytes(a ^ b for a, b in zip(packed, mask, strict=False))
    body = salt + keys[-2:] + locked + hmac.digest(keys[key_length : 2 * key_length], locked, "sha1")[:10]
    extra = struct.pack("<HHH2sBH", 0x9901, 7, version, b"AE", strength, method)
    sums = struct.pack("<III", zlib.crc32(plain) if version == 1 else 0, len(body), len(plain))
    common = struct.pack("<HHHHH", 51, 1, 99, 0, 0x21) + sums + struct.pack("<HH", len(name), len(extra))
    local = b"PK\3\4" + common + name.encode() + extra + body
    central = b"PK\1\2" + struct.pack("<H", 51) + common + bytes(14) + name.encode() + extra
    return local + central + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("strength", [1, 2, 3])
def test_winzips_aes_opens_in_every_form(child: Child, strength: int, version: int, method: int) -> None:
    plain = b"plain text " * 99
    data = seal_aes("a.jpg", plain, "пароль", strength, version, method)
    assert open_locked(child, data, "x", "пароль") == [plain.decode()]
    assert open_locked(child, data, "x") == ["archive_password"]


def test_a_locked_member_that_was_changed_is_corrupt(child: Child) -> None:
    for at in (60, 70):  # in the data, in the seal
        data = bytearray(seal_aes("a.jpg", b"plain text", "abc"))
        data[at + 11] ^= 1
        assert open_locked(child, bytes(data), "abc") == ["archive_corrupt"]
    data = bytearray(seal_aes("a.jpg", b"plain text", "abc", version=1))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 16, 12345)
    assert open_locked(child, bytes(data), "abc") == ["archive_corrupt"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (struct.pack("<HH", 0x9901, 7), struct.pack("<HH", 0x9902, 7), "archive_corrupt"),
        (b"AE\x03\x00\x00", b"AE\x09\x00\x00", "archive_unsupported"),
        (b"AE\x03\x00\x00", b"AE\x03\x0c\x00", "archive_unsupported"),
    ],
)
def test_an_aes_extra_field_that_lies_is_refused(child: Child, old: bytes, new: bytes, code: str) -> None:
    data = seal_aes("a.jpg", b"plain text", "abc").replace(old, new)
    assert open_locked(child, data, "abc") == [code]


def test_a_locked_bomb_stays_within_what_it_declares(child: Child) -> None:
    data = bytearray(seal_aes("a.jpg", bytes(20 << 20), "abc", method=8))
    at = data.index(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 21_000)
    assert open_locked(child, bytes(data), "abc") == ["archive_corrupt"]
    check_memory(child)


def test_pkwares_strong_encryption_is_not_opened(child: Child) -> None:
    data = bytearray(pack_zip([("a.jpg", b"content")], zipfile.ZIP_STORED))
    data[6] |= 0x41
    data[data.index(b"PK\1\2") + 8] |= 0x41
    assert open_locked(child, bytes(data), "abc") == ["archive_unsupported"]


def test_wrong_passwords_on_a_thousand_members_end_in_seconds(child: Child) -> None:
    one = base64.b64decode(LOCKED["zip AES"])
    at = one.index(b"PK\1\2")
    local, central = one[:at], one[at : one.index(b"PK\5\6")]
    entries = [central[:42] + struct.pack("<I", len(local) * n) + central[46:] for n in range(1000)]
    directory = b"".join(entries)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1000, 1000, len(directory), len(local) * 1000, 0)
    data = local * 1000 + directory + end
    started = time.monotonic()
    assert set(open_locked(child, data, *"0123456789")) == {"archive_password"}
    assert time.monotonic() - started < MOST_SECONDS
    assert set(open_locked(child, data, "x", "abc")) == {"content of nobody"}


def lock_7z(properties: bytes, folders: int = 1) -> bytes:
    one = b"\x01" + coder(b"\x06\xf1\x07\x01", properties)
    return seal_7z(
        bytes(16 * folders), header(streams([16] * folders, [one] * folders, [9] * folders), names(*"a" * folders))
    )


def test_key_derivations_that_never_end_are_not_begun(child: Child) -> None:
    assert open_locked(child, lock_7z(b"\x18\x00"), "abc") == ["archive_unsupported"]  # 2 ** 24 cycles
    assert open_locked(child, lock_7z(b"\x3f\x00"), "abc") == ["archive_unsupported"]
    assert open_locked(child, lock_7z(b"\xd3\xff" + bytes(3)), "abc") == ["archive_unsupported"]


def test_a_key_for_every_folder_ends_in_seconds(child: Child) -> None:
    """2,000 folders, each with a salt of its own: the work for keys is limited for the archive as a whole."""
    count = 2000
    each = [b"\x01" + coder(b"\x06\xf1\x07\x01", b"\x93\x10" + struct.pack("<H", n)) for n in range(count)]
    main = streams([16] * count, each, [9] * count)
    data = seal_7z(bytes(16 * count), header(main, names(*"a" * count)))
    started = time.monotonic()
    codes = [member.refused for member in unpack(child, data, LIMITS, ("abc",))]
    assert codes.count(None) <= 20
    assert set(codes) <= {None, "archive_password"}
    assert time.monotonic() - started < MOST_SECONDS


# -- damage of any kind ------------------------------------------------------------------------------------------------

STARTS = [
    b"PK\3\4",
    b"PK\5\6",
    b"7z\xbc\xaf\x27\x1c\0\4",
    b"\x1f\x8b\x08\0",
    b"BZh9",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"",
]
FEW: Files = [("a.jpg", b"a" * 50), ("../b", noise(2, 700)), ("c/", b"")]
CAPS = ArchiveLimits(entries=50, total_bytes=1 << 20, member_bytes=1 << 16)
any_of_these = hypothesis_settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=150)


def survive(child: Child, data: bytes, *passwords: str) -> None:
    """Members and codes come out, within the caps, from a child that neither dies, hangs nor runs out of memory."""
    count = total = 0
    try:
        for member in unpack(child, data, CAPS, passwords):
            assert member.refused is None or member.refused in REFUSALS
            assert len(member.content) <= CAPS.member_bytes
            count, total = count + 1, total + len(member.content)
        assert count <= CAPS.entries and total <= CAPS.total_bytes
    except InputRefused as exc:
        assert exc.stable_code in REFUSALS
        assert not exc.stable_code.startswith("decoder_")


@any_of_these
@given(start=st.sampled_from(STARTS), data=st.binary(max_size=2000))
def test_random_bytes_bring_nothing_but_codes(child: Child, start: bytes, data: bytes) -> None:
    survive(child, start + data)


@functools.cache
def valid(kind: str) -> bytes:
    return pack(kind, [("a.jpg", b"a" * 50), ("b", noise(2, 700))] if kind.startswith("7z") else FEW)


Changes = list[tuple[int, int]]
changes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


def change(data: bytes, at_and_value: Changes) -> bytes:
    damaged = bytearray(data)
    for at, value in at_and_value:
        damaged[at % len(damaged)] = value
    return bytes(damaged)


@pytest.mark.parametrize("kind", KINDS)
@hypothesis_settings(any_of_these, max_examples=60)
@given(where=changes, cut=st.integers(0, 400))
def test_no_damage_brings_anything_but_members_and_codes(child: Child, kind: str, where: Changes, cut: int) -> None:
    damaged = change(valid(kind), where)
    survive(child, damaged[: len(damaged) - cut] if cut < 100 else damaged)


@any_of_these
@given(where=changes, kind=st.sampled_from(list(PACK)))
def test_a_tar_with_right_checksums_and_wrong_fields_is_survived(child: Child, where: Changes, kind: str) -> None:
    tar = pax(path="x" * 300) + entry("a", noise(1, 600)) + entry("n", b"y" * 200, b"L") + entry("b", b"b") + END
    damaged = bytearray(change(tar, where))
    for at in range(0, len(damaged), 512):
        if tar[at + 257 : at + 262] == b"ustar":
            damaged[at : at + 512] = seal_tar(bytes(damaged[at : at + 512]))
    survive(child, PACK[kind](bytes(damaged)))


@any_of_these
@given(where=changes, locked=st.booleans())
def test_a_7z_with_right_checksums_and_wrong_headers_is_survived(child: Child, where: Changes, locked: bool) -> None:
    content = pack_lzma2(noise(3, 100) + b"a" * 500)
    folder = b"\x01" + LZMA2_CODER
    if locked:
        folder = b"\x02" + coder(b"\x06\xf1\x07\x01", b"\x44\x0f" + bytes(16)) + LZMA2_CODER + b"\x01\x00"
    sizes = [600] * folder[0] + [4]
    main = streams([len(content), 4], [folder, b"\x01" + coder(b"\x00")], sizes, [2, 1], b"\x09\x40")
    extra = b"\x0e\x01\x10\x0f\x01\x80\x15\x12\x01\x00" + bytes(16)
    head = change(header(main, names("a", "../b", "c", "d") + extra), where)
    survive(child, seal_7z(content + b"copy", head), "abc")


@hypothesis_settings(any_of_these, max_examples=30)
@given(where=changes)
def test_locked_archives_that_are_damaged_are_survived(child: Child, where: Changes) -> None:
    for data in LOCKED.values():
        survive(child, change(base64.b64decode(data), where), "no", "abc")


def test_the_zstd_of_the_tests_is_the_boxes(child: Child) -> None:
    """A frame that states its size and one that does not, both with a checksum."""
    tar = pack_tar([("a", noise(4, 70_000))])
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    for data in (packer.compress(tar, packer.FLUSH_FRAME), packer.compress(tar[:9]) + packer.compress(tar[9:])
                 + packer.flush()):  # fmt: skip
        assert [member.content for member in unpack(child, data)] == [noise(4, 70_000)]
