"""Pictures that lie in other bytes are found, cut out, and held against the list as they were before."""

import hashlib
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.inside import SHORTEST_SIDE
from tests.samples import draw_picture
from vault import pictures
from vault.gate import HashGate
from vault.pieces import cut_out, find_pieces, is_whole, measure

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")


def save(kind: str, seed: int = 3, size: tuple[int, int] = (60, 50), **options: object) -> bytes:
    out = io.BytesIO()
    draw_picture(seed, size).save(out, kind, **options)
    return out.getvalue()


def with_preview(preview: bytes) -> bytes:
    """A JPEG with another one in its EXIF, as cameras write it."""
    whole = save("JPEG", 4)
    segment = b"\xff\xe1" + (2 + 6 + len(preview)).to_bytes(2) + b"Exif\0\0" + preview
    return whole[:2] + segment + whole[2:]


def list_listed(content: bytes) -> list[HashGate]:
    """Gates whose list has the MD5, or the SHA-256, of this content."""
    digests = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    return [HashGate(digests=frozenset([digest])) for digest in digests]


AROUND = {
    "nothing": (b"", b""),
    "a line break": (b"\n", b""),
    "a letter": (b"x", b""),
    "a byte-order mark": (b"\xef\xbb\xbf", b""),
    "what a script printed": (b"<!-- Warning: cannot modify header -->\r\n", b"\n"),
    "five hundred bytes": (bytes(range(256)) * 2, b""),
    "a page before": (b"<html><body>5000 faces</body></html>", b""),
    "a page behind": (b"", b"<html><body>5000 faces</body></html>"),
    "an archive behind": (b"", b"PK\x03\x04" + bytes(2000)),
    "another picture before": (save("PNG", 9), b""),
    "another picture behind": (b"", save("JPEG", 9)),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_listed_picture_is_refused_whatever_stands_around_it(kind: str, around: str) -> None:
    if kind == "BMP" and around not in ("nothing", "a line break", "a page behind", "an archive behind"):
        pytest.skip("two letters of a signature say too little inside other bytes")
    content = save(kind)
    before, behind = AROUND[around]
    expected = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    for gate in list_listed(content):
        assert gate.find_listed(before + content + behind) == expected
        assert gate.find_listed(before + save(kind, seed=5) + behind) is None


def test_a_progressive_picture_and_one_with_a_preview_are_listed_as_wholes() -> None:
    for content in (save("JPEG", progressive=True), with_preview(save("JPEG", 7, (30, 30)))):
        for gate in list_listed(content):
            assert gate.is_listed(b"\n" + content + b"</html>")


def test_without_a_list_nothing_is_looked_for() -> None:
    assert HashGate(digests=frozenset()).find_listed(save("JPEG")) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_every_picture_of_several_is_cut_out_as_it_was(kind: str) -> None:
    contents = [save(kind, seed) for seed in range(4)]
    joined = b"text before".join([b"", *contents]) + b" and behind it"
    assert [content for _, content in cut_out(joined)][:-1] == contents[:-1] or kind == "WEBP"
    found = [content for _, content in cut_out(joined)]
    assert len(found) == 4
    assert all(cut.startswith(content) for cut, content in zip(found, contents, strict=True))


def test_a_preview_is_no_picture_of_its_own() -> None:
    assert len(list(find_pieces(with_preview(save("JPEG", 7, (30, 30)))))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "GIF89a and GIF87a are formats, BM is not",
        "RIFF and WEBPVP8 are words here",
        "Продам яШяЯ " * 20,
        "ÿØÿà is what a JPEG begins with",
    ],
)
def test_letters_of_a_signature_are_no_picture(text: str) -> None:
    for encoding in ("utf-8", "cp1251", "latin-1"):
        data = text.encode(encoding, "replace")
        assert list(find_pieces(data)) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_is_measured_by_its_header(kind: str) -> None:
    name = next(find_pieces(save(kind))).name
    for size in ((60, 50), (16, 16), (1, 1), (300, 7)):
        assert measure(name, save(kind, size=size)) == size
    assert measure(name, save(kind)[:8]) is None
    assert measure("AVIF", bytes(100)) is None


def test_a_lossless_and_an_extended_webp_are_measured_too() -> None:
    assert measure("WebP", save("WEBP", lossless=True)) == (60, 50)
    assert measure("WebP", save("WEBP", exif=b"Exif\0\0" + bytes(20))) == (60, 50)


@pytest.mark.parametrize("kind", FORMATS)
def test_whether_a_picture_has_an_end_is_told(kind: str) -> None:
    content = save(kind)
    assert is_whole(content)
    assert is_whole(content + b"more")
    assert kind in ("WEBP", "BMP") or not is_whole(content[: len(content) // 2])


def test_what_is_too_small_here_is_what_the_box_refuses() -> None:
    assert SHORTEST_SIDE == pictures.SHORTEST_SIDE


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff\xe0\0\4ab\xff", b"GIF89a\1\0\1\0\0\0\0,", b"RIFF\1\0\0\0WEBPVP8 ", b"\x89PNG\r\n\x1a\n"]
)
def test_a_million_signatures_cost_little(head: bytes) -> None:
    began = time.process_time()
    assert len(list(find_pieces(head * 1_000_000))) <= 10_000
    assert time.process_time() - began < 5


@given(st.binary(max_size=300), st.sampled_from(FORMATS), st.binary(max_size=300))
def test_no_bytes_around_a_picture_break_the_search(before: bytes, kind: str, behind: bytes) -> None:
    for piece in find_pieces(before + save(kind)[:400] + behind):
        assert piece.ends[-1] <= len(before) + 400 + len(behind)
