"""Locks of archives: ZipCrypto, WinZip's AES, 7-Zip's AES. In go a password and locked bytes, out come plain ones.

zipfile knows ZipCrypto too, at less than half the speed: there every byte costs two calls.
"""

import hashlib
import hmac
import zlib
from collections.abc import Iterator

from Cryptodome.Cipher import AES

from vault.refusals import Refused

TABLE = [zlib.crc32(bytes((n,)), 0xFFFFFFFF) ^ 0xFFFFFFFF for n in range(256)]
CRYPTO_HEAD = 12  # bytes before the data (APPNOTE 6.1.3)
AES_STRENGTHS = {1: (16, 8), 2: (24, 12), 3: (32, 16)}  # key, salt; see WinZip, "AES Encryption Information", III
AES_CHECK, AES_SEAL, AES_ROUNDS = 2, 10, 1000
MOST_7Z_CYCLES = 20  # a power of two; 7-Zip writes 19


def unlock_zipcrypto(data: bytes, password: str, check: int) -> bytes | None:
    """None for a wrong password (one of 256 passes). `check`: the byte that the head must end in (APPNOTE 6.1)."""
    table, k0, k1, k2 = TABLE, 0x12345678, 0x23456789, 0x34567890
    for char in password.encode():
        k0 = (k0 >> 8) ^ table[(k0 ^ char) & 0xFF]
        k1 = ((k1 + (k0 & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        k2 = (k2 >> 8) ^ table[(k2 ^ (k1 >> 24)) & 0xFF]
    plain = bytearray(data)
    for at, char in enumerate(data):
        mask = k2 | 2
        char ^= ((mask * (mask ^ 1)) >> 8) & 0xFF
        if at == CRYPTO_HEAD - 1 and char != check:
            return None
        plain[at] = char
        k0 = (k0 >> 8) ^ table[(k0 ^ char) & 0xFF]
        k1 = ((k1 + (k0 & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        k2 = (k2 >> 8) ^ table[(k2 ^ (k1 >> 24)) & 0xFF]
    return bytes(plain[CRYPTO_HEAD:])


def unlock_winzip(data: bytes, password: str, strength: int) -> bytes | None:
    """None for a wrong password. Raises Refused: archive_corrupt, for data that its seal does not fit."""
    if strength not in AES_STRENGTHS:
        raise Refused("archive_unsupported", "an unknown AES strength")
    key_length, salt_length = AES_STRENGTHS[strength]
    body = salt_length + AES_CHECK
    if len(data) < body + AES_SEAL:
        raise Refused("archive_corrupt", "cut short")
    salt, locked, seal = data[:salt_length], data[body:-AES_SEAL], data[-AES_SEAL:]
    keys = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, AES_ROUNDS, 2 * key_length + AES_CHECK)
    if not hmac.compare_digest(keys[-AES_CHECK:], data[salt_length:body]):
        return None
    if not hmac.compare_digest(hmac.digest(keys[key_length : 2 * key_length], locked, "sha1")[:AES_SEAL], seal):
        # of 65,536 wrong passwords one comes as far as this
        raise Refused("archive_corrupt", "the seal does not fit")
    counter = {"counter_len": 16, "prefix": b"", "suffix": b"", "initial_value": 1, "little_endian": True}
    return AES.new(keys[:key_length], AES.MODE_CTR, counter=counter).decrypt(locked)


def read_7z_properties(properties: bytes) -> tuple[int, bytes, bytes]:
    """Cycles as a power of two, salt, initial vector of 7zAES. Raises Refused."""
    if len(properties) < 2:
        raise Refused("archive_unsupported", "7zAES without a vector")
    first, second = properties[0], properties[1]
    salt_length, vector_length = (first >> 7 & 1) + (second >> 4), (first >> 6 & 1) + (second & 15)
    if len(properties) != 2 + salt_length + vector_length:
        raise Refused("archive_unsupported", "7zAES properties")
    if first & 0x3F > MOST_7Z_CYCLES:
        raise Refused("archive_unsupported", "7zAES with too many cycles")
    return first & 0x3F, properties[2 : 2 + salt_length], properties[2 + salt_length :].ljust(16, b"\0")


def derive_7z_key(password: str, cycles: int, salt: bytes) -> bytes:
    """SHA-256 over salt, password and counter, 2 ** cycles times (7-Zip, CPP/7zip/Crypto/7zAes.cpp)."""
    digest, start = hashlib.sha256(), salt + password.encode("utf-16-le")
    count = 1 << cycles
    portion = min(count, 4096)
    for first in range(0, count, portion):
        digest.update(b"".join([start + number.to_bytes(8, "little") for number in range(first, first + portion)]))
    return digest.digest()


def unlock_7z(pieces: Iterator[bytes], key: bytes, vector: bytes) -> Iterator[bytes]:
    """AES-256 in CBC mode; what is left of the last block is padding that the declared size cuts off."""
    cipher, rest = AES.new(key, AES.MODE_CBC, vector), b""
    for piece in pieces:
        whole = len(rest) + len(piece) & ~15
        data = rest + piece
        rest = data[whole:]
        yield cipher.decrypt(data[:whole])
    if rest:
        raise Refused("archive_corrupt", "7zAES blocks")


def warm_up() -> None:
    """Use every cipher and digest once, so that nothing is loaded after the lock-down."""
    unlock_zipcrypto(bytes(13), "a", 0)
    salt = bytes(8)
    keys = hashlib.pbkdf2_hmac("sha1", b"a", salt, AES_ROUNDS, 34)
    unlock_winzip(salt + keys[32:] + b"a" + hmac.digest(keys[16:32], b"a", "sha1")[:AES_SEAL], "a", 1)
    list(unlock_7z(iter([bytes(32)]), derive_7z_key("a", 1, b""), bytes(16)))
