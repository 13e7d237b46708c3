"""Who approved a card: in come a card's text and an approver's key, out comes the signed text; and back, a verdict.

Signatures stand at the end of the card, one table each, and each covers every byte before the first (Ed25519, RFC
8032). What is crawled is read from those bytes alone, so nothing can be slipped in behind or beside them. One signature
that counts lets a card be crawled; two, by different approvers, open what is found there (`vault/store/visibility.py`).
Private keys are made outside the repository and the state folder, for one person each; the database keeps public ones.
"""

import base64
import binascii
import contextlib
import datetime as dt
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crawler.cards import Card, Signature, parse_card, read_text, split_signatures
from vault.egress import Policy
from vault.embedded import with_embedded_urls
from vault.errors import CardError
from vault.files import write_whole
from vault.keys import Keys, load_keys
from vault.settings import Settings
from vault.signatures import is_signed, show_public, sign_message, write_removal, write_trust
from vault.store import Connection, connect
from vault.store.approvers import (
    Approver,
    check_name,
    find_approver,
    list_approvers,
    remove_approver,
    replace_demo_approvers,
)
from vault.store.approvers import trust_approver as save_approver
from vault.store.deployment import check_deployment


@dataclass(frozen=True, kw_only=True, slots=True)
class Approved:
    """A card that may be crawled: signed by approvers who count, unchanged since, and not expired."""

    card: Card
    text: str
    signers: tuple[Approver, ...]  # each once


def open_card(approvers: Sequence[Approver], path: Path, now: dt.datetime) -> Approved:
    """The card at `path`. Raises CardError: card_missing, card_invalid, card_expired, card_unsigned, card_changed,
    card_untrusted."""
    text = read_text(path)
    card = parse_card(text, str(path), now.date())
    return Approved(card=card, text=text, signers=check_signatures(text, path.name, approvers))


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
    """The text with one signature more at its end. An older one by this approver is replaced; one by another that does
    not hold any more, because the card has changed, is left out. Raises ApproverError for a name that is none."""
    check_name(approver)
    body, known = split_signatures(text)
    if body and not body.endswith("\n"):
        body += "\n"
    public = show_public(key.public_key())
    signed_at = now.astimezone(dt.UTC).isoformat(timespec="seconds")
    value = base64.b64encode(key.sign(make_message(body, approver, signed_at))).decode("ascii")
    new = Signature(approver=approver, key=public, signed_at=signed_at, value=value)
    kept = [each for each in known if holds(each, body) and each.key != public and each.approver != approver]
    return body + "".join(map(write_signature, (*kept, new)))


def write_signature(signature: Signature) -> str:
    return (
        f'[[signature]]\napprover = "{signature.approver}"\nkey = "{signature.key}"\n'
        f'signed_at = "{signature.signed_at}"\nvalue = "{signature.value}"\n'
    )


def holds(signature: Signature, body: str) -> bool:
    """Did the holder of its key sign this body in this name at this time?"""
    try:
        value = base64.b64decode(signature.value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return is_signed(signature.key, make_message(body, signature.approver, signature.signed_at), value)


def check_signatures(text: str, name: str, approvers: Sequence[Approver]) -> tuple[Approver, ...]:
    """The approvers whose signature of this card counts, each once, in the order of the card: one at least. Raises
    CardError: card_unsigned, card_changed, card_untrusted."""
    body, signatures = split_signatures(text)
    if not signatures:
        raise CardError(
            "card_unsigned", f"{name} is not signed", mend="whoever approves it: ./facewarden source sign CARD"
        )
    known = {(each.name, each.public_key): each for each in approvers}
    named = [(known[each.approver, each.key], each) for each in signatures if (each.approver, each.key) in known]
    found = {who.public_key: who for who, signature in named if holds(signature, body)}
    counting = tuple(who for who in found.values() if who.counts)
    if counting:
        return counting
    if found:
        first = min(found.values(), key=lambda who: who.counts_from)
        raise CardError(
            "card_untrusted",
            f"{name} is signed by {first.name!r}, who counts from {first.counts_from:%Y-%m-%d %H:%M} UTC on",
            mend="wait until then, or have it signed by another approver",
        )
    if named:
        raise CardError(
            "card_changed", f"{name} has changed since it was signed", mend="look at it again, then sign it again"
        )
    raise CardError(
        "card_untrusted",
        f"{name} is signed by {signatures[0].approver!r}, who is not a trusted approver with this key",
        mend="./facewarden source trust NAME KEY, if you trust them",
    )


def make_message(body: str, approver: str, signed_at: str) -> bytes:
    """The bytes that are signed: a label for this use, who, when, and the whole card."""
    return f"facewarden card 1\n{approver}\n{signed_at}\n{body}".encode()


# -- approvers --------------------------------------------------------------------------------------------------------


def trust_approver(
    settings: Settings, name: str, key: str, signer: Ed25519PrivateKey | None = None, *, by: str = "a program"
) -> Approver:
    """Let somebody's signature count: the first approver of a deployment, or a further one, whom `signer`, the key of
    one who is there, lets in. Where the settings name no database it is the embedded one. Raises ApproverError,
    DeploymentError, ServerError, KeyFileError."""
    with contextlib.closing(connect(with_embedded_urls(settings))) as conn:
        keys = load_keys(settings.key_file)
        check_deployment(conn, keys)
        if signer is None:
            return save_approver(conn, keys, name, key, by=by)
        signature = sign_message(signer, write_trust(keys.public_key.hex(), name, key))
        return save_approver(conn, keys, name, key, by=by, signer=show_public(signer.public_key()), signature=signature)


def distrust_approver(conn: Connection, keys: Keys, name: str, signer: Ed25519PrivateKey, *, by: str) -> Approver:
    """Remove an approver, with the key of one who is there. Raises ApproverError, DeploymentError."""
    leaving = find_approver(list_approvers(conn, keys), name)
    signature = sign_message(signer, write_removal(keys.public_key.hex(), leaving.public_key))
    return remove_approver(conn, keys, name, by=by, signer=show_public(signer.public_key()), signature=signature)


class DemoApprovers:
    """The two approvers of a demo or a bench. Their private keys live in this object and nowhere else, so that nobody
    can sign another card for it later."""

    NAMES = ("demo-1", "demo-2")

    def __init__(self, conn: Connection, keys: Keys) -> None:
        """Takes the place of the approvers of an earlier run. Raises DeploymentError: deployment_own."""
        self._keys = {name: Ed25519PrivateKey.generate() for name in self.NAMES}
        public = {name: show_public(key.public_key()) for name, key in self._keys.items()}
        replace_demo_approvers(conn, keys, public)

    def sign(self, text: str) -> str:
        """The card, signed by both."""
        now = dt.datetime.now(dt.UTC)
        for name, key in self._keys.items():
            text = sign_card(text, key, name, now)
        return text


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
