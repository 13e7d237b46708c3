"""Who approved a card: in come a card's text and an approver's key, out comes the signed text; and back, a verdict.

A signature stands at the end of the card as a table of its own and covers every byte before it (Ed25519, RFC 8032).
What is crawled is read from those bytes alone, so nothing can be slipped in behind or beside them. Private keys are
made outside the repository and the state folder, for one person each; the verifier only keeps public ones.
"""

import base64
import datetime as dt
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from crawler.cards import Card, parse_card, read_text, split_signature
from vault.egress import Policy
from vault.errors import CardError
from vault.files import write_whole
from vault.settings import Settings
from vault.toml import Misfit, parse_toml

APPROVER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Approved:
    """A card that may be crawled: signed by a trusted approver, unchanged since, and not expired."""

    card: Card
    text: str
    approver: str


def open_card(settings: Settings, path: Path, now: dt.datetime) -> Approved:
    """The card at `path`. Raises CardError: card_missing, card_invalid, card_expired, card_unsigned, card_changed,
    card_untrusted."""
    text = read_text(path)
    card = parse_card(text, str(path), now.date())
    return Approved(card=card, text=text, approver=check_signature(text, path.name, read_approvers(settings)))


def make_policy(approved: Approved, lab: tuple[str, ...]) -> Policy:
    """What the guard lets through for this card, and until when."""
    card = approved.card
    until = dt.datetime.combine(card.why.valid_until, dt.time.max, dt.UTC).timestamp()
    return Policy(
        hosts=(*card.where.hosts, *card.where.image_hosts),
        lab=lab,
        upstream=card.where.proxy,
        most_bytes=card.budget.bytes,
        until=until,
    )


def sign_card(text: str, key: Ed25519PrivateKey, approver: str, now: dt.datetime) -> str:
    """The text with a signature at its end; an older one is replaced. Raises CardError for a name that is none."""
    check_approver(approver)
    body, _old = split_signature(text)
    if body and not body.endswith("\n"):
        body += "\n"
    signed_at = now.astimezone(dt.UTC).isoformat(timespec="seconds")
    value = base64.b64encode(key.sign(make_message(body, approver, signed_at))).decode("ascii")
    return (
        f'{body}[signature]\napprover = "{approver}"\nkey = "{show_public(key.public_key())}"\n'
        f'signed_at = "{signed_at}"\nvalue = "{value}"\n'
    )


def check_signature(text: str, name: str, approvers: dict[str, str]) -> str:
    """The approver of a card. Raises CardError: card_unsigned, card_changed, card_untrusted."""
    body, signature = split_signature(text)
    if signature is None:
        raise CardError(
            "card_unsigned", f"{name} is not signed", mend="whoever approves it: ./facewarden source sign CARD"
        )
    if approvers.get(signature.approver) != signature.key:
        raise CardError(
            "card_untrusted",
            f"{name} is signed by {signature.approver!r}, who is not a trusted approver with this key",
            mend="./facewarden source trust NAME KEY, if you trust them",
        )
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        value = base64.b64decode(signature.value, validate=True)
        public.verify(value, make_message(body, signature.approver, signature.signed_at))
    except (InvalidSignature, ValueError) as exc:
        raise CardError(
            "card_changed", f"{name} has changed since it was signed", mend="look at it again, then sign it again"
        ) from exc
    return signature.approver


def make_message(body: str, approver: str, signed_at: str) -> bytes:
    """The bytes that are signed: a label for this use, who, when, and the whole card."""
    return f"facewarden card 1\n{approver}\n{signed_at}\n{body}".encode()


# -- approvers --------------------------------------------------------------------------------------------------------


def read_approvers(settings: Settings) -> dict[str, str]:
    """name -> public key (64 hex digits) of everybody whose signature counts. Raises CardError."""
    path = settings.approvers_file
    try:
        table = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, Misfit) as exc:
        raise CardError("card_untrusted", f"cannot read {path}: {exc}", mend="mend or remove the file") from exc
    for name, key in table.items():
        if not APPROVER.fullmatch(name) or not isinstance(key, str) or not PUBLIC_KEY.fullmatch(key):
            raise CardError("card_untrusted", f'{path}: {name}: write it as name = "64 hex digits"', mend="mend it")
    return table


def trust_approver(settings: Settings, name: str, key: str) -> None:
    """Let somebody's signature count from now on. Raises CardError."""
    check_approver(name)
    if not PUBLIC_KEY.fullmatch(key):
        raise CardError("card_untrusted", "a public key has 64 hex digits", mend="copy it from `source key new`")
    known = {**read_approvers(settings), name: key}
    lines = [f'"{each}" = "{known[each]}"\n' for each in sorted(known)]
    write_whole(settings.approvers_file, "".join(lines).encode())


def check_approver(name: str) -> None:
    if not APPROVER.fullmatch(name):
        raise CardError(
            "card_untrusted", f"{name!r} is no approver's name", mend="small letters, digits, dots, hyphens"
        )


# -- keys of approvers ------------------------------------------------------------------------------------------------


def make_approver_key(path: Path, passphrase: str) -> str:
    """A new private key at `path` (mode 0600; sealed if there is a passphrase); its public key as 64 hex digits.
    Raises CardError: key_exists."""
    if path.exists():
        raise CardError("key_exists", f"{path} is there already", mend="choose another --out, or use that one")
    key = Ed25519PrivateKey.generate()
    sealing: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        sealing = serialization.BestAvailableEncryption(passphrase.encode())
    write_whole(path, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing))
    return show_public(key.public_key())


def is_sealed(path: Path) -> bool:
    """Does the key file ask for a passphrase? Raises CardError: key_missing."""
    return b"ENCRYPTED" in read_key_file(path)


def load_approver_key(path: Path, passphrase: str) -> Ed25519PrivateKey:
    """Raises CardError: key_missing, key_open (others may read it), key_wrong."""
    data = read_key_file(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise CardError("key_open", f"others may read {path}", mend=f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError) as exc:
        raise CardError("key_wrong", f"{path} does not open", mend="is the passphrase right?") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise CardError("key_wrong", f"{path} is no Ed25519 key", mend="make one: ./facewarden source key new")
    return key


def read_key_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CardError(
            "key_missing", f"cannot read {path}: {exc.strerror}", mend="make one: ./facewarden source key new"
        ) from exc


def show_public(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
