"""Before anything runs: key file, schema, models and broker are as they must be, or one line says what to do."""

import getpass
import json
import os
import socket

from matcher.calibration import load_calibration
from vault.embedded import make_home
from vault.errors import KeyFileError, ServerError
from vault.keys import Keys, load_keys, make_key_file
from vault.settings import Settings
from vault.store import LONG, Connection, connect
from vault.store.blobs import bind_folder
from vault.store.keys import check_deployment
from vault.store.migrate import migrate
from workers.faces.packs import Pack, get_pack, read_model


def prepare_keys(settings: Settings) -> Keys:
    """The keys; a key file is made when neither it nor a database made with one exists. Raises KeyFileError,
    SettingError."""
    make_home(settings.home)
    known = settings.home / "run/deployment.json"
    if not settings.key_file.exists():
        if known.exists():
            raise KeyFileError(
                "key_file_missing",
                f"the key file {settings.key_file} is gone",
                mend="put it back from your copy; without it nothing stored here can be read",
            )
        make_key_file(settings.key_file)
    keys = load_keys(settings.key_file)
    known.write_text(json.dumps({"public_key": keys.public_key.hex()}), encoding="ascii")
    return keys


def prepare_database(settings: Settings, keys: Keys) -> Connection:
    """A connection to a database at the newest schema and of this key file. Raises StoreError, KeyFileError."""
    with connect(settings, patience=30.0, limits=LONG) as migrating:
        migrate(migrating)
    conn = connect(settings)
    check_deployment(conn, keys)
    bind_folder(conn, settings.home / "blobs")
    return conn


def prepare_pack(settings: Settings) -> Pack:
    """The pack, both files checked. Raises ModelError, CalibrationError."""
    pack = get_pack(settings)
    read_model(pack.detector)
    read_model(pack.recogniser)
    load_calibration(pack.name)
    return pack


def name_user() -> str:
    """Who sits at this terminal, for the ledger; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def check_port(host: str, port: int, flag: str) -> None:
    """Raises ServerError when somebody listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as exc:
            raise ServerError(
                f"port {port} on {host} cannot be used: {exc.strerror}", mend=f"choose another with {flag}"
            ) from exc
