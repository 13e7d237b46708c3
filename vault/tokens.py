"""Secrets that are handed out: in links, cookies, forms and to our own proxy. Only digests of them are kept.

Each begins with the same letters, so that whatever finds its way into a log is known for one and hidden there
(`vault/log.py`), and so that a scanner for secrets can be told what ours look like.
"""

import base64
import hashlib
import re
import secrets

PREFIX = "fwt_"
TOKEN_BYTES = 32  # nobody guesses 256 bits
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]+")


def make_token() -> str:
    """A new secret: letters, digits, `-` and `_`, which mean nothing to a URL, a header or a shell."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> str:
    """What is kept of a token: its SHA-256, 64 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def derive_token(token: str, purpose: str) -> str:
    """Another secret for this purpose that only whoever holds `token` can make; nothing of it needs to be kept."""
    digest = hashlib.sha256(f"{purpose}:{token}".encode()).digest()
    return PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def hide_tokens(text: str) -> str:
    """The same text with every token left out."""
    return _TOKEN.sub(f"{PREFIX}...", text) if PREFIX in text else text
