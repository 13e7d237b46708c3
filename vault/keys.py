"""The key file and what is derived from it: wrapped data keys, keyed templates, keyed digests, the signature.

In goes one JSON file (mode 0600, made on first start, kept beside the state folder and never in it); out come keys.
Format 1: `secrets` is a list of {id, purpose, created, secret}; the newest of a purpose makes new things, all of them
open old ones, so that a later `keys rotate` only appends.

Purposes: `wrap` (wraps the data keys of blobs and subjects), `matrix` (seed of the template matrix R), `digest`
(HMAC of addresses and subject ids), `sign` (Ed25519 of ledger heads, bundles and receipts).
"""

import base64
import copy
import datetime as dt
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.errors import KeyFileError, VectorError

FORMAT = 1
PURPOSES = ("wrap", "matrix", "digest", "sign")
NONCE_BYTES = 12  # AES-GCM, NIST SP 800-38D section 5.2.1.1
UNIT_TOLERANCE = 1e-3  # |norm - 1| of a vector that may be kept or searched

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    secret_id: str
    purpose: str
    created: str
    value: bytes  # 32 bytes


class Keys:
    """What the key file allows. Nothing here ever shows or logs a secret."""

    def __init__(self, secrets_: tuple[Secret, ...]) -> None:
        self._by_id = {item.secret_id: item for item in secrets_}
        self._newest = {item.purpose: item for item in sorted(secrets_, key=lambda s: s.created)}
        missing = [purpose for purpose in PURPOSES if purpose not in self._newest]
        if missing:
            raise KeyFileError("key_file_damaged", f"the key file has no secret for {', '.join(missing)}")
        self._signer = Ed25519PrivateKey.from_private_bytes(self._newest["sign"].value)
        self._space = ""
        self._names: dict[tuple[int, str], str] = {}  # of matrices, which are asked for with every face
        self._convert: Callable[[Vectors], Vectors] = lambda vectors: vectors

    def in_space(self, space_id: str, convert: Callable[[Vectors], Vectors]) -> "Keys":
        """The same keys, with templates brought into a space (`matcher/space.py`) before they are keyed. Vectors of
        different spaces are never compared: the matrix id tells them apart."""
        keys = copy.copy(self)
        keys._space, keys._convert = space_id, convert
        return keys

    # -- data keys -----------------------------------------------------------------------------------------------

    def wrap_key(self, data_key: bytes, key_id: str) -> bytes:
        """A data key (32 bytes) sealed for the `key` table: secret id, NUL, nonce, AES-256-GCM bound to key_id."""
        secret = self._newest["wrap"]
        return secret.secret_id.encode() + b"\0" + encrypt(secret.value, data_key, b"wrap:" + key_id.encode())

    def unwrap_key(self, wrapped: bytes, key_id: str) -> bytes:
        """The data key that `wrap_key` sealed. Raises KeyFileError: key_wrong."""
        secret_id, _, sealed = wrapped.partition(b"\0")
        secret = self._by_id.get(secret_id.decode("ascii", "replace"))
        if secret is None:
            raise KeyFileError("key_wrong", "a data key was sealed with a secret that the key file lacks")
        return decrypt(secret.value, sealed, b"wrap:" + key_id.encode())

    # -- templates -----------------------------------------------------------------------------------------------

    def protect_templates(self, vectors: Vectors) -> Vectors:
        """R·v for each row, v taken into the space: (n, d) f32 unit vectors in and out; R changes no cosine similarity.

        Raises VectorError for rows that are not finite or whose norm is not 1 within 1e-3.
        """
        check_vectors(vectors)
        return np.ascontiguousarray(self._convert(vectors) @ self._matrix(vectors.shape[1]).T)

    def renew_templates(self, keyed: Vectors, matrix_id: str) -> Vectors | None:
        """(n, d) f32 keyed vectors kept under `matrix_id` as they would be kept today: as they are, or brought into the
        space if they were kept before there was one. None for those of another key."""
        if matrix_id == self.matrix_id(keyed.shape[1]):
            return keyed
        if matrix_id != self._name_matrix(keyed.shape[1], ""):
            return None
        return self.protect_templates(np.ascontiguousarray(keyed @ self._matrix(keyed.shape[1])))

    def matrix_id(self, dimension: int) -> str:
        """A name for matrix and space (16 hex digits), kept with templates and index files; it does not reveal R."""
        return self._name_matrix(dimension, self._space)

    def _name_matrix(self, dimension: int, space: str) -> str:
        if (dimension, space) not in self._names:
            suffix = f":{space}" if space else ""
            text = f"matrix:{self._newest['matrix'].secret_id}:{dimension}{suffix}"
            self._names[dimension, space] = self.digest_text(text)[:16]
        return self._names[dimension, space]

    def _matrix(self, dimension: int) -> Vectors:
        return make_matrix(self._newest["matrix"].value, dimension)

    # -- digests and signatures -----------------------------------------------------------------------------------

    def digest_text(self, text: str) -> str:
        """HMAC-SHA-256 of a text as 64 hex digits: how a person is named in the ledger and found by address."""
        return hmac.new(self._newest["digest"].value, text.encode(), hashlib.sha256).hexdigest()

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature (RFC 8032), 64 bytes."""
        return self._signer.sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Is this our signature?"""
        try:
            self._signer.public_key().verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        return self._signer.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def fingerprint(self) -> str:
        """The signer as bundles and `verify` name it: SHA-256 of the public key, 64 hex digits."""
        return hashlib.sha256(self.public_key).hexdigest()


def encrypt(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """AES-256-GCM with a random nonce in front; `bound_to` is authenticated but not kept."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def decrypt(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """What `encrypt` sealed. Raises KeyFileError: key_wrong, for another key, another row or changed bytes."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as exc:
        raise KeyFileError("key_wrong", "sealed bytes do not open with this key") from exc


def make_data_key() -> bytes:
    return secrets.token_bytes(32)


def check_vectors(vectors: Vectors) -> None:
    """Refuse what may never be kept or searched. Raises VectorError: vector_not_finite, vector_not_unit."""
    if vectors.ndim != 2:
        raise VectorError("vector_wrong_length", f"expected (n, d), got {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise VectorError("vector_not_finite", "a vector holds NaN or infinity")
    norms = np.linalg.norm(vectors, axis=1)
    if (np.abs(norms - 1) > UNIT_TOLERANCE).any():
        raise VectorError("vector_not_unit", "a vector's norm is not 1")


@lru_cache(maxsize=4)
def make_matrix(seed: bytes, dimension: int) -> Vectors:
    """R, a secret orthonormal (d, d) f32 matrix, Haar-distributed, the same on every machine to rounding.

    QR of a Gaussian matrix with the signs of R's diagonal made positive: Mezzadri 2007, "How to generate random
    matrices from the classical compact groups", section 5. The Gaussians are Box-Muller over an AES-CTR stream keyed
    by HKDF (RFC 5869), so that no library's random generator decides the matrix.
    """
    info = f"facewarden template matrix {dimension}".encode()
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(seed)
    count = dimension * dimension
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(16 * count))
    words = np.frombuffer(stream, "<u8").reshape(2, count)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53  # in (0, 1)
    gauss = np.sqrt(-2.0 * np.log(uniform[0])) * np.cos(2.0 * np.pi * uniform[1])
    q, r = np.linalg.qr(gauss.reshape(dimension, dimension))
    return np.ascontiguousarray((q * np.sign(np.diag(r))).astype(np.float32))


# -- the file ---------------------------------------------------------------------------------------------------------


def make_key_file(path: Path) -> None:
    """Write a new key file, mode 0600, whole or not at all; an existing one is never touched."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    entries = [
        {
            "id": secrets.token_hex(4),
            "purpose": purpose,
            "created": now,
            "secret": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        for purpose in PURPOSES
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "secrets": entries}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails if the file has appeared meanwhile: then that one counts
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)


def load_keys(path: Path) -> Keys:
    """Read the key file. Raises KeyFileError: key_file_missing, key_file_open (to others), key_file_damaged."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise KeyFileError(
            "key_file_missing",
            f"no key file at {path}",
            mend="never started here? ./facewarden up makes it; else put it back: nothing stored is readable without",
        ) from exc
    except OSError as exc:
        raise KeyFileError("key_file_missing", f"cannot read {path}: {exc.strerror}", mend="check its owner") from exc
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError("key_file_open", f"others may read {path}", mend=f"run: chmod 600 {path}")
    try:
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise ValueError(f"format {table['format']}")
        items = tuple(
            Secret(
                secret_id=str(item["id"]),
                purpose=str(item["purpose"]),
                created=str(item["created"]),
                value=base64.b64decode(item["secret"], validate=True),
            )
            for item in table["secrets"]
        )
        if any(len(item.value) != 32 for item in items):
            raise ValueError("a secret is not 32 bytes")
    except (ValueError, KeyError, TypeError) as exc:
        raise KeyFileError("key_file_damaged", f"{path} is damaged: {exc}", mend="restore it from your copy") from exc
    return Keys(items)
