"""Signatures of approvers (Ed25519, RFC 8032): in come a public key, a message and a signature, out comes a verdict.

Each kind of message begins with a label of its own and names the deployment, so that no signature can be used for
another purpose or elsewhere. A card is signed too; its message is made in `crawler/approval.py`.
"""

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")


def write_trust(deployment: str, name: str, public_key: str) -> bytes:
    """What an approver signs to let another one in. `deployment`: its public key, 64 hex digits."""
    return f"facewarden approver 1\ntrust\n{deployment}\n{name}\n{public_key}\n".encode()


def write_removal(deployment: str, public_key: str) -> bytes:
    """What an approver signs to remove one."""
    return f"facewarden approver 1\nremove\n{deployment}\n{public_key}\n".encode()


def write_enrolment(deployment: str, person: str) -> bytes:
    """What an approver signs to let a new enrolment be searched among the faces kept before it. `person`: the keyed
    digest of the subject."""
    return f"facewarden enrolment 1\n{deployment}\n{person}\n".encode()


def sign_message(key: Ed25519PrivateKey, message: bytes) -> str:
    """128 hex digits."""
    return key.sign(message).hex()


def show_public(key: Ed25519PublicKey) -> str:
    """64 hex digits."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def is_signed(public_key: str, message: bytes, signature: bytes) -> bool:
    """Is this the signature of the holder of `public_key` (64 hex digits)? False for what is no key or signature."""
    if not PUBLIC_KEY.fullmatch(public_key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_hex(text: str) -> bytes:
    """The bytes of hex digits; nothing for a text that is none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
