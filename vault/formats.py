"""What a file is, by its bytes: in comes its beginning, out comes the name of its format.

Five formats are opened (`READ`); all others are named, so that a refusal says what was refused. Names
of files are never asked. Bytes before a picture's signature are passed over within `REACH`: a line
break or a byte-order mark that a script printed first. Browsers show no such file; ffmpeg, mpv and
whatever searches for the signature do, and a buyer needs a minute to cut those bytes off.
"""

import re
from collections.abc import Mapping

HEAD = 4096  # bytes from which every format is told
REACH = 1024  # bytes before a signature, as readers of PDF allow


UNKNOWN, TEXT, EMPTY = "unknown", "text", "empty file"
JPEG, PNG, GIF, WEBP, BMP = "JPEG", "PNG", "GIF", "WebP", "BMP"
READ = frozenset({JPEG, PNG, GIF, WEBP, BMP})

# (bytes, offset, name), the first that fits: by the formats' specifications and file(1)'s magic
PICTURES = (
    (b"\xff\xd8\xff", 0, JPEG),
    (b"\x89PNG\r\n\x1a\n", 0, PNG),
    (b"GIF87a", 0, GIF),
    (b"GIF89a", 0, GIF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", 0, "JPEG 2000"),
    (b"\xff\x4f\xff\x51", 0, "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", 0, "JPEG XL"),
    (b"\xff\x0a", 0, "JPEG XL"),
    (b"II\xbc\x01", 0, "JPEG XR"),
    (b"\xff\xd8", 0, JPEG),
    (b"II*\0\x10\0\0\0CR", 0, "raw photo"),
    (b"FUJIFILMCCD-RAW", 0, "raw photo"),
    (b"IIRO", 0, "raw photo"),
    (b"IIRS", 0, "raw photo"),
    (b"II*\0", 0, "TIFF"),
    (b"MM\0*", 0, "TIFF"),
    (b"II+\0", 0, "TIFF"),
    (b"MM\0+", 0, "TIFF"),
    (b"8BPS", 0, "PSD"),
    (b"gimp xcf", 0, "XCF"),
    (b"DICM", 128, "DICOM"),
    (b"\x76\x2f\x31\x01", 0, "OpenEXR"),
    (b"#?RADIANCE", 0, "Radiance"),
    (b"SIMPLE  =", 0, "FITS"),
    (b"DDS ", 0, "DDS"),
    (b"qoif", 0, "QOI"),
    (b"icns", 0, "ICNS"),
    (b"AT&TFORM", 0, "DjVu"),
    (b"\xd7\xcd\xc6\x9a", 0, "WMF"),
    (b" EMF", 40, "EMF"),
)
VIDEOS = (
    (b"\x1aE\xdf\xa3", 0, "Matroska"),
    (b"FLV\x01", 0, "FLV"),
    (b"\0\0\x01\xba", 0, "MPEG"),
    (b"\0\0\x01\xb3", 0, "MPEG"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, "WMV"),
    (b"OggS", 0, "Ogg"),
)
OTHERS = (
    (b"%PDF-", 0, "PDF"),
    (b"%!PS", 0, "PostScript"),
    (b"{\\rtf", 0, "RTF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "Office"),
    (b"PK\x03\x04", 0, "zip"),
    (b"PK\x05\x06", 0, "zip"),
    (b"7z\xbc\xaf\x27\x1c", 0, "7z"),
    (b"Rar!\x1a\x07", 0, "rar"),
    (b"\x1f\x8b", 0, "gzip"),
    (b"BZh", 0, "bzip2"),
    (b"\xfd7zXZ\0", 0, "xz"),
    (b"\x28\xb5\x2f\xfd", 0, "zstd"),
    (b"ustar", 257, "tar"),
    (b"SQLite format 3\0", 0, "SQLite"),
    (b"\x93NUMPY", 0, "NumPy"),
    (b"\x89HDF\r\n\x1a\n", 0, "HDF5"),
    (b"PAR1", 0, "Parquet"),
    (b"\x0a\x23\xd7\xce", 0, "RecordIO"),
    (b"\x80\x02", 0, "pickle"),
    (b"\x80\x03", 0, "pickle"),
    (b"\x80\x04\x95", 0, "pickle"),
    (b"\x80\x05\x95", 0, "pickle"),
    (b"ID3", 0, "MP3"),
    (b"fLaC", 0, "FLAC"),
    (b"MZ", 0, "program"),
    (b"\x7fELF", 0, "program"),
    (b"\0\x05\x16\x07", 0, "AppleDouble"),
    (b"\0\0\0\x01Bud1", 0, "DS_Store"),
    (b"L\0\0\0\x01\x14\x02\0", 0, "shortcut"),
)
# major and compatible brands of ISO base media files (ISO/IEC 14496-12, 23008-12)
BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
    b"crx ": "raw photo",
    b"qt  ": "MOV",
    b"M4A ": "M4A",
}
RIFFS = {b"WEBP": WEBP, b"AVI ": "AVI", b"WAVE": "WAV"}
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes: the versions of its second header
TGA_TYPES, TGA_DEPTHS = (1, 2, 3, 9, 10, 11), (8, 15, 16, 24, 32)
MARKUP = re.compile(rb"\s*<(\?xml|!--|!doctype|svg|[a-z]+)[\s>]", re.IGNORECASE)
NETPBM = re.compile(rb"P[1-7][\s#]")
WHITE = b" \t\r\n\f\0\xef\xbb\xbf"  # and a byte-order mark
# of the pictures that are read, and of what holds pictures without being one
SIGNATURE = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|(PK\x03\x04|%PDF-|Rar!\x1a|7z\xbc\xaf)",
    re.DOTALL,
)
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
PICTURE_NAMES = frozenset(
    {
        BMP,
        WEBP,
        "HEIC",
        "AVIF",
        "raw photo",
        "ICO",
        "cursor",
        "TGA",
        "PNM",
        "PCX",
        "SVG",
        *(name for *_, name in PICTURES),
    }
)
NAMES = frozenset(
    {
        UNKNOWN,
        TEXT,
        EMPTY,
        "HTML",
        "XML",
        "M4A",
        "WAV",
        "MP4",
        "MOV",
        "AVI",
        *PICTURE_NAMES,
        *(name for *_, name in (*VIDEOS, *OTHERS)),
    }
)


def find_picture(data: bytes) -> tuple[str, int]:
    """The format of a file, and where it begins: 0, or behind what stands before the signature of a picture that is
    read. Bytes that are another format are never searched: a PDF holds JPEGs and is none."""
    name = name_format(data)
    if name not in (UNKNOWN, TEXT):
        return name, 0
    start = min(REACH, len(data)) - len(data[:REACH].lstrip(WHITE))
    behind = name_format(data[start : start + HEAD]) if start else name
    if behind not in (UNKNOWN, TEXT, EMPTY):
        return behind, start
    found = SIGNATURE.search(data, 0, REACH + 16)
    if found is None or found[1]:
        return name, 0
    return name_format(data[found.start() : found.start() + HEAD]), found.start()


def name_format(head: bytes) -> str:
    """The name of the format that begins with these bytes (HEAD of them are enough), one of NAMES."""
    if not head:
        return EMPTY
    for magic, at, name in (*PICTURES, *VIDEOS, *OTHERS):
        if head.startswith(magic, at):
            return name
    return _name_container(head) or _name_header(head) or _name_text(head)


def say_counts(counts: Mapping[str, int]) -> str:
    """`3 text, 2 MP4`: how many there are of each format."""
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def is_picture(name: str) -> bool:
    """Is this the name of a format of pictures, read or not?"""
    return name in PICTURE_NAMES


def _name_container(head: bytes) -> str:
    """Formats whose first box or chunk says what is inside."""
    if head[:4] in (b"RIFF", b"RIFX"):
        return RIFFS.get(head[8:12], "")
    if head[4:8] != b"ftyp":
        return "MOV" if head[4:8] in (b"moov", b"mdat", b"wide", b"pnot") else ""
    end = min(int.from_bytes(head[:4]), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    if brands[0] in (b"mif1", b"msf1"):  # they say how the file is laid out; another one says how it is coded
        brands.append(brands.pop(0))
    known = [BRANDS[brand] for brand in brands if brand in BRANDS]
    return known[0] if known and (brands[0] in BRANDS or known[0] in ("AVIF", "HEIC")) else "MP4"


def _name_header(head: bytes) -> str:
    """Formats that are known by plausible fields, not by a signature."""
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return BMP
    if head[:4] in (b"\0\0\x01\0", b"\0\0\x02\0") and 0 < int.from_bytes(head[4:6], "little") <= 256:
        return "ICO" if head[2] == 1 else "cursor"
    if NETPBM.match(head):
        return "PNM"
    if head[:1] == b"\x0a" and head[1:2] in (b"\0", b"\2", b"\3", b"\4", b"\5") and head[2:3] == b"\1":
        return "PCX"
    return "TGA" if _is_tga(head) else ""


def _is_tga(head: bytes) -> bool:
    """Truevision's format has no signature at its beginning."""
    if len(head) < 18 or head[1] > 1 or head[2] not in TGA_TYPES or head[16] not in TGA_DEPTHS:
        return False
    mapped = head[2] in (1, 9)
    sides = int.from_bytes(head[12:14], "little"), int.from_bytes(head[14:16], "little")
    return mapped == bool(head[1]) and (mapped or not any(head[3:8])) and all(0 < side <= 20_000 for side in sides)


def _name_text(head: bytes) -> str:
    """Letters of whatever encoding, and the language made of them; what holds control characters is unknown."""
    start = head[:HEAD].removeprefix(b"\xef\xbb\xbf")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return TEXT
    if CONTROL.search(start):
        return UNKNOWN
    tag = MARKUP.match(start)
    if tag is None:
        return TEXT
    beginning = start[:REACH].lower()
    if b"<svg" in beginning:
        return "SVG"
    return "XML" if tag[1].lower() == b"?xml" and b"<html" not in beginning else "HTML"
