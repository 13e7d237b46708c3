"""Formats are told by their bytes, whatever a file is called."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.people import HTML_AS_JPG
from tests.samples import draw_picture
from tests.vault.packing import pack, pack_zip
from vault.formats import HEAD, NAMES, REACH, READ, UNKNOWN, find_picture, is_picture, name_format


def save(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    draw_picture(3).save(out, kind, **options)
    return out.getvalue()


def brand(major: bytes, *compatible: bytes) -> bytes:
    size = 16 + 4 * len(compatible)
    return size.to_bytes(4) + b"ftyp" + major + bytes(4) + b"".join(compatible) + bytes(500)


def make_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        file.addfile(tarfile.TarInfo("a"))
    return out.getvalue()


def make_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


CASES = {
    "jpeg": (save("JPEG"), "JPEG"),
    "png": (save("PNG"), "PNG"),
    "gif": (save("GIF"), "GIF"),
    "webp": (save("WEBP"), "WebP"),
    "bmp": (save("BMP"), "BMP"),
    "avif": (save("AVIF"), "AVIF"),
    "tiff": (save("TIFF"), "TIFF"),
    "ico": (save("ICO"), "ICO"),
    "ppm": (save("PPM"), "PNM"),
    "tga": (save("TGA"), "TGA"),
    "tga with runs": (save("TGA", compression="tga_rle"), "TGA"),
    "jpeg 2000": (save("JPEG2000"), "JPEG 2000"),
    "jpeg 2000 stream": (save("JPEG2000", no_jp2=True), "JPEG 2000"),
    "pcx": (save("PCX"), "PCX"),
    "dds": (save("DDS"), "DDS"),
    "icns": (save("ICNS"), "ICNS"),
    "eps": (save("EPS"), "PostScript"),
    "pdf": (save("PDF"), "PDF"),
    "heic of a phone": (brand(b"heic", b"mif1", b"heic"), "HEIC"),
    "heic that says mif1": (brand(b"mif1", b"mif1", b"heic"), "HEIC"),
    "avif that says mif1": (brand(b"mif1", b"avif", b"miaf"), "AVIF"),
    "burst of heic": (brand(b"msf1", b"hevc"), "HEIC"),
    "mp4": (brand(b"isom", b"isom", b"avc1"), "MP4"),
    "mp4 of a phone": (brand(b"mp42", b"isom", b"mp42"), "MP4"),
    "3gp": (brand(b"3gp4", b"isom"), "MP4"),
    "mov": (brand(b"qt  ", b"qt  "), "MOV"),
    "canon raw": (brand(b"crx ", b"crx ", b"isom"), "raw photo"),
    "jpeg xl": (b"\xff\x0a" + bytes(40), "JPEG XL"),
    "jpeg xl in a box": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    "psd": (b"8BPS\0\1" + bytes(60), "PSD"),
    "xcf": (b"gimp xcf v011\0", "XCF"),
    "dicom": (bytes(128) + b"DICM" + bytes(9), "DICOM"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "svg in xml": (b"<?xml version='1.0'?>\n<!-- x -->\n<svg>", "SVG"),
    "matroska": (b"\x1aE\xdf\xa3" + bytes(40), "Matroska"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", "AVI"),
    "flv": (b"FLV\x01\5", "FLV"),
    "mpeg": (b"\0\0\x01\xba" + bytes(40), "MPEG"),
    "wav": (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
    "mp3": (b"ID3\x04" + bytes(40), "MP3"),
    "html": (HTML_AS_JPG, "HTML"),
    "html behind lines": (b"\n\n <!DOCTYPE html><html>", "HTML"),
    "xml": (b"<?xml version='1.0'?><a/>", "XML"),
    "text": ("Пароль: 1234, 出售人脸".encode(), "text"),
    "text of GB18030": ("出售人脸数据".encode("gb18030"), "text"),
    "text of UTF-16": ("faces".encode("utf-16"), "text"),
    "json": (b'{"a": 1}', "text"),
    "nothing": (b"", "empty file"),
    "word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "Office"),
    "zip": (pack_zip([("a", b"a")]), "zip"),
    "7z": (pack("7z", [("a", b"a")]), "7z"),
    "gzip": (gzip.compress(b"a"), "gzip"),
    "tar": (make_tar(), "tar"),
    "numpy": (make_array(), "NumPy"),
    "exe": (b"MZ" + bytes(90), "program"),
    "noise": (bytes(range(256)) * 40, "unknown"),
    "text that begins with BM": (b"BMW 3 series, faces of the drivers", "text"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_format_is_named_by_its_bytes(case: str) -> None:
    data, name = CASES[case]
    assert find_picture(data) == (name, 0)
    assert name_format(data[:HEAD]) == name
    assert name in NAMES


@pytest.mark.parametrize(
    ("name", "picture"),
    [("HEIC", True), ("AVIF", True), ("SVG", True), ("JPEG", True), ("TIFF", True), ("MP4", False), ("text", False)],
)
def test_pictures_are_told_from_the_rest(name: str, picture: bool) -> None:
    assert is_picture(name) is picture


@pytest.mark.parametrize("holder", ["%PDF-1.7\n", "ID3", "PK\x03\x04", "MZ"])
def test_a_picture_inside_another_format_is_not_found(holder: str) -> None:
    name, start = find_picture(holder.encode("latin-1") + b"\0" * 50 + save("JPEG"))
    assert name not in READ
    assert start == 0


def test_an_archive_with_a_text_before_it_is_no_picture() -> None:
    assert find_picture(b"sorry, a few words\n" + pack_zip([("a.jpg", save("JPEG"))]))[0] == "unknown"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_name_that_is_known(data: bytes) -> None:
    name, start = find_picture(data)
    assert name in NAMES
    assert 0 <= start <= REACH + 16
    assert start == 0 or name != UNKNOWN
