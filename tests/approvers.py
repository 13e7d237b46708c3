"""Approvers for tests, with their keys in memory: a deployment that trusts two, cards and enrolments that both sign.

Whoever calls one of these first, before anybody enrols, makes both count at once.
"""

import datetime as dt
import hashlib
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crawler.approval import sign_card
from vault.keys import Keys, load_keys, make_key_file
from vault.settings import Settings
from vault.signatures import show_public, sign_message, write_enrolment, write_trust
from vault.store import Connection, connect
from vault.store.approvers import list_approvers, sign_enrolment, trust_approver
from vault.store.deployment import check_deployment

KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    for name in ("tester", "second", "third")
}
PUBLIC = {name: show_public(key.public_key()) for name, key in KEYS.items()}
TWO = (PUBLIC["tester"], PUBLIC["second"])  # whose signature opens a source


def let_in(conn: Connection, keys: Keys, name: str, *, by: str = "tester") -> None:
    """A further approver, let in by one who is there."""
    message = write_trust(keys.public_key.hex(), name, PUBLIC[name])
    trust_approver(
        conn, keys, name, PUBLIC[name], by="test", signer=PUBLIC[by], signature=sign_message(KEYS[by], message)
    )


def trust_one(conn: Connection, keys: Keys) -> None:
    check_deployment(conn, keys)
    trust_approver(conn, keys, "tester", PUBLIC["tester"], by="test")


def trust_two(conn: Connection, keys: Keys) -> None:
    if len(list_approvers(conn, keys)) < 2:
        trust_one(conn, keys)
        let_in(conn, keys, "second")


def sign_by(text: str, *names: str, now: dt.datetime | None = None) -> str:
    """The card with the signatures of these approvers."""
    for name in names:
        text = sign_card(text, KEYS[name], name, now or dt.datetime.now(dt.UTC))
    return text


def approve(settings: Settings, text: str, *names: str) -> str:
    """The card, approved by both, or by these, in a deployment that trusts both; it is set up if it is not yet."""
    make_key_file(settings.key_file)
    with connect(settings) as conn:
        check_deployment(conn, load_keys(settings.key_file))
        trust_two(conn, load_keys(settings.key_file))
    return sign_by(text, *(names or ("tester", "second")))


def approve_enrolment(conn: Connection, keys: Keys, subject_id: UUID, *names: str) -> None:
    """Both sign, or these: the person may be searched among the faces kept before."""
    message = write_enrolment(keys.public_key.hex(), keys.digest_text(f"subject:{subject_id}"))
    for name in names or ("tester", "second"):
        sign_enrolment(conn, keys, subject_id, PUBLIC[name], sign_message(KEYS[name], message), by="test")


def write_key(folder: Path, name: str) -> Path:
    """The key file of an approver, as `source key new` makes it."""
    path = folder / f"approver-{name}.pem"
    path.write_bytes(
        KEYS[name].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    return path
