"""Reading packed bytes in one pass: decoders of one interface, the caps on what they produce, and the passwords tried.

Nothing here looks back: a stream is asked for its next bytes, each piece is counted before it is handed on.
"""

import bz2
import contextlib
import lzma
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from vault.refusals import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 64 * 1024  # bytes that go into a decoder at a time
FETCH = 1 << 20  # bytes asked of the parent at a time, the most it gives
GROWN = 256 * 1024  # bytes that come out of a decoder at a time
LARGEST_DICTIONARY = 1 << 28  # 7-Zip's level 9 has 256 MB; the box has 448
LARGEST_WINDOW_LOG = 27  # zstd's own limit unless --long is given to both sides
SMALLEST_FRAME = 1024  # packed bytes a gzip member, xz stream or zstd frame has on average, or it is a trick
FREE_FRAMES = 64
SMALLEST_BASE = 16 << 10  # a tar of one small file is padded to 10 KiB, of which 60 packed bytes may be left
SLACK = 1 << 20  # packed bytes that the ratio is granted ahead, so that a long run of one colour is no bomb
MOST_PASSWORDS = 10
MOST_TRIES = 200  # wrong passwords in one archive: 200 of WinZip's take a second, 200 of 7-Zip's 20


class Decoder(Protocol):
    """What bz2, lzma and zstd offer alike."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Inflater:
    """zlib with the interface of the others."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))


def open_zstd() -> Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW_LOG})


@dataclass(frozen=True, slots=True)
class Packer:
    """How a stream is unpacked, and packed to warm up."""

    open: Callable[[], Decoder]
    pack: Callable[[bytes], bytes]


PACKERS = {
    "gzip": Packer(lambda: Inflater(16 + zlib.MAX_WBITS), lambda data: zlib.compress(data, wbits=16 + zlib.MAX_WBITS)),
    "bzip2": Packer(bz2.BZ2Decompressor, bz2.compress),
    "xz": Packer(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, LARGEST_DICTIONARY + (4 << 20)), lzma.compress),
    "zstd": Packer(open_zstd, zstd.compress),
}


class Meter:
    """The caps on a whole archive, on bytes that were really read and made. Raises Refused."""

    def __init__(self, size: int, limits: dict[str, int]) -> None:
        self._limits = limits
        self._size = max(size, SMALLEST_BASE)
        self._read = self._made = 0
        self._latest = time.process_time() + limits["cpu_seconds"]

    def count_read(self, count: int) -> None:
        self._read += count

    def count_made(self, count: int) -> None:
        """At any moment no more than `ratio` times what was read so far, so that a bomb ends early."""
        self._made += count
        if self._made > self._limits["total_bytes"]:
            raise Refused("archive_too_large", f"more than {self._limits['total_bytes']} bytes")
        if self._made > self._limits["ratio"] * min(self._size, self._read + SLACK):
            raise Refused("archive_ratio", f"{self._made} bytes out of {min(self._size, self._read)}")
        if time.process_time() > self._latest:
            raise Refused("decoder_timeout", "the archive takes too long")

    def check_declared(self, total: int) -> None:
        if total > self._limits["total_bytes"]:
            raise Refused("archive_too_large", str(total))
        if total > self._limits["ratio"] * self._size:
            raise Refused("archive_ratio", str(total // self._size))


class Passwords:
    """Those given, in their order, at most ten; the one that opened something is the only one from then on."""

    def __init__(self, given: Sequence[str]) -> None:
        self._given = list(given)[:MOST_PASSWORDS]
        self._tries = MOST_TRIES
        self.good: str | None = None

    def list_candidates(self) -> list[str]:
        return self._given if self.good is None else [self.good]

    def refusal(self) -> Refused:
        return Refused("archive_password" if self._given else "archive_encrypted")

    def spend_tries(self, count: int) -> None:
        """Raises Refused: archive_password, once an archive has cost enough."""
        self._tries -= count
        if self._tries < 0:
            raise Refused("archive_password", "too many attempts")


@contextlib.contextmanager
def refuse_failures() -> Iterator[None]:
    """Whatever a library raises over hostile bytes becomes a Refused; running out of memory stays what it is."""
    try:
        yield
    except (Refused, MemoryError):
        raise
    except Exception as exc:
        if "memory" in str(exc).lower():  # liblzma's and zstd's way to say that a header asks for more than allowed
            raise Refused("archive_memory", type(exc).__name__) from exc
        raise Refused("archive_corrupt", type(exc).__name__) from exc


def read_pieces(file: BinaryIO, meter: Meter, length: int | None = None) -> Iterator[bytes]:
    """The next `length` bytes of a file, or all; fetched by the megabyte, in pieces a decoder is quick with."""
    left = length
    while left is None or left > 0:
        fetched = file.read(FETCH if left is None else min(left, FETCH))
        if not fetched:
            return
        if left is not None:
            left -= len(fetched)
        for at in range(0, len(fetched), PIECE):
            piece = fetched[at : at + PIECE]
            meter.count_read(len(piece))
            yield piece


def unpack_frames(pieces: Iterator[bytes], open_decoder: Callable[[], Decoder]) -> Iterator[bytes]:
    """What one packed frame after another holds; zeros behind the last are padding. Raises Refused."""
    decoder: Decoder | None = None
    frames = read = 0
    for piece in pieces:
        read += len(piece)
        data = piece
        while data:
            if decoder is None:
                data = data.lstrip(b"\0") if frames else data
                if not data:
                    break
                decoder = open_decoder()
                frames += 1
                if frames > FREE_FRAMES + read // SMALLEST_FRAME:
                    raise Refused("archive_corrupt", "a swarm of tiny frames")
            yield from drain_decoder(decoder, data)
            data = decoder.unused_data if decoder.eof else b""
            if decoder.eof:
                decoder = None
    if decoder is not None:
        raise Refused("archive_corrupt", "the stream is cut short")


def drain_decoder(decoder: Decoder, data: bytes) -> Iterator[bytes]:
    """All that comes out for this input, piece by piece."""
    made = decoder.decompress(data, GROWN)
    while True:
        if made:
            yield made
        if decoder.eof or (decoder.needs_input and len(made) < GROWN):
            return
        made = decoder.decompress(b"", GROWN)


class Stream:
    """Unpacked pieces, read as a file that only goes forward; every byte is counted. Raises Refused."""

    def __init__(self, pieces: Iterator[bytes], meter: Meter) -> None:
        self._pieces, self._meter = pieces, meter
        self._piece, self._at = b"", 0

    def read(self, length: int) -> bytes:
        """The next `length` bytes, fewer only at the end."""
        found = self._piece[self._at : self._at + length]
        self._at += len(found)
        if len(found) == length:
            return found
        parts, missing = [found], length - len(found)
        while missing and self._next():
            parts.append(self._piece[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def skip(self, length: int) -> bool:
        """Pass over `length` bytes; False if there are fewer."""
        missing = length
        while True:
            step = min(missing, len(self._piece) - self._at)
            self._at += step
            missing -= step
            if not missing:
                return True
            if not self._next():
                return False

    def _next(self) -> bool:
        with refuse_failures():
            self._piece, self._at = next(self._pieces, b""), 0
        self._meter.count_made(len(self._piece))
        return bool(self._piece)
