"""Archives as the box opens them: what comes out, and every trick in the list of faults."""

import io
import random
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vault.box import ArchiveLimits, Box, Child, Member
from vault.errors import REFUSALS, InputRefused

LIMITS = ArchiveLimits()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Box() as box, box.batch() as made:
        yield made


def pack(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name) if "\\" in name or name.startswith("/") else name, data)
    return out.getvalue()


def unpack(child: Child, data: bytes, limits: ArchiveLimits = LIMITS) -> list[Member]:
    return list(child.open_archive(lambda offset, length: data[offset : offset + length], len(data), limits))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_come_out_whole_and_by_number(child: Child, method: int) -> None:
    contents = [random.Random(number).randbytes(100_000 * number) for number in range(5)]
    members = unpack(child, pack([(f"{n}.jpg", content) for n, content in enumerate(contents)], method))
    assert [member.content for member in members] == contents
    assert [member.number for member in members] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "name",
    ["../../etc/cron.d/x", "/etc/passwd", "..\\..\\x.jpg", "C:\\x.jpg", "a/../../b.jpg", "x" * 300, "\\\\host\\x"],
)
def test_a_name_that_points_outside_is_ignored_and_reported(child: Child, name: str) -> None:
    (member,) = unpack(child, pack([(name, b"content")]))
    assert member.content == b"content"
    assert member.notice == "archive_name_unsafe"


def test_folders_are_passed_over(child: Child) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.jpg", b"a")
    assert [member.content for member in unpack(child, out.getvalue())] == [b"a"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(child: Child, kind: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("good.jpg", b"good")
    bad, good = unpack(child, out.getvalue())
    assert (bad.refused, bad.content) == ("archive_link", b"")
    assert good.content == b"good"


def test_an_archive_in_an_archive_is_not_opened(child: Child) -> None:
    inner = pack([("a", b"a")])
    (member,) = unpack(child, pack([("inner.zip", inner)]))
    assert (member.refused, member.content) == ("archive_nested", b"")


def test_an_encrypted_member_says_so(child: Child) -> None:
    data = bytearray(pack([("a.jpg", b"content")], zipfile.ZIP_STORED))
    data[6] |= 1  # general purpose bit 0 of the local header
    data[data.index(b"PK\1\2") + 8] |= 1  # and of the directory
    (member,) = unpack(child, bytes(data))
    assert member.refused == "archive_encrypted"


def test_a_wrong_checksum_refuses_the_member_only(child: Child) -> None:
    data = bytearray(pack([("a.jpg", b"content-a"), ("b.jpg", b"content-b")], zipfile.ZIP_STORED))
    data[data.index(b"content-a")] ^= 1
    bad, good = unpack(child, bytes(data))
    assert bad.refused == "archive_corrupt"
    assert good.content == b"content-b"


def bomb_by_directory(entries: int, size: int) -> bytes:
    """A small zip whose directory declares `entries` entries of `size` bytes each."""
    data = bytearray(pack([(f"{n}", b"x") for n in range(entries)], zipfile.ZIP_STORED))
    at = data.index(b"PK\1\2")
    while data[at : at + 4] == b"PK\1\2":
        struct.pack_into("<I", data, at + 24, size)
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        at += 46 + name + extra + comment
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "limits", "code"),
    [
        (b"Rar!\x1a\x07\x01\0" + bytes(100), LIMITS, "archive_unsupported"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), LIMITS, "archive_unsupported"),
        (b"\x1f\x8b" + bytes(100), LIMITS, "archive_unsupported"),
        (b"<html>login</html>", LIMITS, "archive_unsupported"),
        (b"", LIMITS, "archive_unsupported"),
        (b"PK\3\4" + bytes(200), LIMITS, "archive_corrupt"),
        (pack([("a", b"a")])[:-10], LIMITS, "archive_corrupt"),
        (pack([(str(n), b"a") for n in range(20)]), replace(LIMITS, entries=10), "archive_too_many_entries"),
        (pack([("a", bytes(5_000_000))]), LIMITS, "archive_ratio"),
        (pack([("a", random.Random(1).randbytes(9000))]), replace(LIMITS, total_bytes=5000), "archive_too_large"),
        (bomb_by_directory(2, 0xFFFFFFF0), LIMITS, "archive_too_large"),
    ],
)
def test_a_hostile_archive_ends_in_its_code(child: Child, data: bytes, limits: ArchiveLimits, code: str) -> None:
    with pytest.raises(InputRefused) as caught:
        unpack(child, data, limits)
    assert caught.value.stable_code == code


def test_entries_that_share_bytes_are_refused(child: Child) -> None:
    """The quoted-overlap bomb of David Fifield (2019): many directory entries, one body."""
    data = bytearray(pack([("a", random.Random(1).randbytes(5000)), ("b", b"b" * 5000)], zipfile.ZIP_STORED))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<I", data, second + 42, 0)  # the second entry begins where the first does
    with pytest.raises(InputRefused) as caught:
        unpack(child, bytes(data))
    assert caught.value.stable_code == "archive_overlap"


def test_a_member_that_is_too_large_is_refused_alone(child: Child) -> None:
    data = pack([("a", random.Random(1).randbytes(3000)), ("b", b"b")])
    large, small = unpack(child, data, replace(LIMITS, member_bytes=1000))
    assert large.refused == "body_too_large"
    assert small.content == b"b"


@hypothesis_settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=150)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_no_damage_brings_anything_but_members_and_codes(child: Child, at: int, value: int, cut: int) -> None:
    data = bytearray(pack([("a.jpg", b"a" * 50), ("../b", random.Random(2).randbytes(80)), ("c/", b"")]))
    data[at % len(data)] = value
    try:
        for member in unpack(child, bytes(data[: len(data) - cut if cut < 5 else None])):
            assert member.refused is None or member.refused in REFUSALS
    except InputRefused as exc:
        assert exc.stable_code in REFUSALS
        assert exc.stable_code != "decoder_died"
