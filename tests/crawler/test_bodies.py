"""A body is judged by its bytes: a picture is none the less one for being called a page, and a page in whatever letters
is one."""

import io

import pytest

from crawler.bodies import Kind, judge_body, read_letters
from tests.samples import draw_picture

PAGE = b"<html><body><article><h1>5000 faces</h1></article></body></html>"


def save(kind: str, size: tuple[int, int] = (60, 50)) -> bytes:
    out = io.BytesIO()
    draw_picture(3, size).save(out, kind)
    return out.getvalue()


PICTURES = {
    **{kind: save(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "PCX", "TGA", "ICO")},
    "JPEG behind a line break": b"\n" + save("JPEG"),
    "JPEG behind a letter": b"x" + save("JPEG"),
    "JPEG behind a byte-order mark": b"\xef\xbb\xbf" + save("JPEG"),
    "JPEG behind 500 letters": b"y" * 500 + save("JPEG"),
    "JPEG behind 50,000 letters": b"y" * 50_000 + save("JPEG"),
    "JPEG behind a page": PAGE + save("JPEG"),
    "JPEG before a page": save("JPEG") + PAGE,
    "GIF behind a page": PAGE + save("GIF"),
    "PNG behind a remark": b"<!-- a -->" + save("PNG"),
    "GIF that is a script": b"GIF89a/*" + save("GIF")[8:] + b"*/=1;<html>",
    "PPM behind a line break": b"\n" + save("PPM"),
    "PPM behind a remark": b"<!-- x -->\n" + save("PPM"),
    "PPM of bright pixels": b"P6\n60 60\n255\n" + bytes([200, 180, 160]) * 3600,
    "PGM": b"P5\n60 60\n255\n" + bytes(range(100, 200)) * 36,
    "PPM in letters": b"P3\n3 2\n255\n" + b"255 0 0 " * 200,
    "PGM in letters, behind a remark": b"# x\nP2\n# y\n3 2\n255\n" + b"255 0 0 " * 200,
    "PFM": b"PF\n60 60\n-1.0\n" + bytes(range(128, 250)) * 100,
    "PAM": b"P7\nWIDTH 60\nHEIGHT 60\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(range(128, 250)) * 100,
    "XPM": b'/* XPM */\nstatic char *a[] = {"60 60 2 1"};',
    "XBM": b"#define a_width 60\n#define a_height 60\nstatic char a[] = {0x00};",
    "AVIF": b"\0\0\0\x1cftypavif" + bytes(range(256)) * 4,
}


@pytest.mark.parametrize("called", ["text/html", "application/json", "text/plain", "", "text/html; charset=utf-16"])
@pytest.mark.parametrize("what", PICTURES)
def test_a_picture_is_one_whatever_it_is_called(what: str, called: str) -> None:
    assert judge_body(PICTURES[what], called).kind is Kind.PICTURE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"PK\x03\x04" + bytes(100), Kind.ARCHIVE),
        (b"\x1f\x8b\x08" + bytes(100), Kind.ARCHIVE),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(100), Kind.FILE),
        (b"\0\0\0\x18ftypisom" + bytes(100), Kind.FILE),
        (bytes(range(256)) * 20, Kind.FILE),
    ],
)
def test_a_file_is_one_whatever_it_is_called(body: bytes, kind: Kind) -> None:
    assert judge_body(body, "text/html").kind is kind


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        ("faces", "utf-8"), ("faces", "utf-8-sig"), ("faces", "utf-16"), ("faces", "utf-16-le"), ("faces", "utf-32"),
        ("五千张人脸", "gbk"), ("五千张人脸", "gb18030"), ("五千張", "big5"), ("顔写真データ", "shift_jis"),
        ("顔写真データ", "iso-2022-jp"), ("顔写真データ", "euc-jp"), ("얼굴 사진", "euc-kr"),
        ("Продам базу яШяЯ", "cp1251"), ("Продам базу", "koi8-r"), ("ÿØÿà what a JPEG begins with", "latin-1"),
    ],
)  # fmt: skip
def test_a_page_is_one_in_any_letters(words: str, encoding: str) -> None:
    body = f"<html><p>{words * 50}</p></html>".encode(encoding)
    assert judge_body(body, "text/html").kind is Kind.PAGE
    assert judge_body(body, "").kind is Kind.PAGE
    assert b"<html><p>" in read_letters(body, "text/html")


@pytest.mark.parametrize(
    "body",
    [b"", b'{"a": 1}', b"<?xml version='1.0'?><rss/>", b"P5 players wanted", b"BM stands for bitmap",
     b"<article><h1>a\0b</h1></article>\0", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"],
)  # fmt: skip
def test_a_text_is_a_page(body: bytes) -> None:
    assert judge_body(body, "text/html").kind is Kind.PAGE


def test_letters_that_hide_in_an_encoding_are_read() -> None:
    """Of EBCDIC and UTF-7 a browser shows what it is told to."""
    body = b"<meta charset=cp037>" + "data:image/jpeg;base64,".encode("cp037")
    assert b"data:image/jpeg;base64," in read_letters(body, "text/html; charset=cp037")
