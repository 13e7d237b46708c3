"""Before anything runs: key file, schema, models and broker are as they must be, or one line says what to do.

Only `up` and `demo` set up a deployment. Every other command that needs one finds it, or names what is missing.
"""

import getpass
import json
import os
import socket

from cli.supervisor import is_running
from matcher.calibration import load_calibration
from vault.embedded import make_home
from vault.errors import DeploymentMissing, KeyFileError, ServerError
from vault.keys import Keys, load_keys, make_key_file
from vault.settings import Settings, mask_passwords
from vault.store import LONG, Connection, connect
from vault.store.blobs import bind_folder
from vault.store.deployment import DeploymentKind, check_deployment, get_deployment
from vault.store.migrate import migrate
from workers.faces.packs import Pack, get_pack, read_model

TWO_WAYS = "./facewarden up sets one up; another place: --home DIR, FACEWARDEN_HOME or DATABASE_URL"


def require_deployment(settings: Settings) -> None:
    """Raises DeploymentMissing where no database is named, runs or lies in the state folder."""
    if settings.servers.database_url or has_cluster(settings) or is_running(settings.home):
        return
    if (settings.home / "run/deployment.json").exists():
        raise DeploymentMissing(f"the database of {settings.home} lies elsewhere", mend="set DATABASE_URL to it")
    raise DeploymentMissing(f"there is no deployment in {settings.home}", mend=TWO_WAYS)


def is_set_up(settings: Settings) -> bool:
    """For commands that do without a deployment, and note what they did where there is one."""
    try:
        require_deployment(settings)
    except DeploymentMissing:
        return False
    return True


def has_cluster(settings: Settings) -> bool:
    return (settings.home / "postgres/PG_VERSION").is_file()


def was_set_up(settings: Settings) -> bool:
    """Was the key file ever used here? A lost one must not be made anew. Raises ServerError."""
    if has_cluster(settings) or (settings.home / "run/deployment.json").exists():
        return True
    if not settings.servers.database_url:
        return False
    with connect(settings, patience=30.0) as conn:
        return get_deployment(conn) is not None


def open_keys(settings: Settings) -> Keys:
    """The keys of a deployment that is there. Raises DeploymentMissing, KeyFileError, ServerError."""
    if settings.key_file.exists():
        return load_keys(settings.key_file)
    if was_set_up(settings):
        raise lost_key(settings)
    raise DeploymentMissing(f"there is no deployment in {settings.home}, and no key file", mend=TWO_WAYS)


def lost_key(settings: Settings) -> KeyFileError:
    return KeyFileError(
        "key_file_missing",
        f"the key file {settings.key_file} is gone",
        mend="put it back from your copy, or name its place with FACEWARDEN_KEY_FILE; "
        "without it nothing stored here can be read",
    )


def prepare_keys(settings: Settings) -> Keys:
    """The keys; a key file is made when neither it nor a database made with one exists. Raises KeyFileError,
    SettingError, ServerError."""
    make_home(settings.home)
    if not settings.key_file.exists():
        if was_set_up(settings):
            raise lost_key(settings)
        make_key_file(settings.key_file)
    keys = load_keys(settings.key_file)
    known = settings.home / "run/deployment.json"
    known.write_text(json.dumps({"public_key": keys.public_key.hex()}), encoding="ascii")
    return keys


def prepare_database(settings: Settings, keys: Keys, kind: DeploymentKind | None = None) -> Connection:
    """A connection to a database at the newest schema, of this key file and blobs folder, and of this `kind` if one is
    wanted. Raises StoreError, KeyFileError, DeploymentError, ServerError, OSError."""
    conn = open_schema(settings, keys, kind)
    bind_folder(conn, settings.home / "blobs")
    return conn


def find_database(settings: Settings, keys: Keys) -> Connection:
    """The same for a database in which a deployment was set up; nothing is bound. Raises DeploymentMissing too."""
    with connect(settings, patience=30.0) as conn:
        found = get_deployment(conn)
    if found is None:
        shown = mask_passwords(settings.servers.database_url)
        raise DeploymentMissing(f"nothing was set up in the database {shown}", mend=TWO_WAYS)
    return open_schema(settings, keys)


def open_schema(settings: Settings, keys: Keys, kind: DeploymentKind | None = None) -> Connection:
    """Raises StoreError, KeyFileError: key_wrong, DeploymentError, ServerError."""
    with connect(settings, patience=30.0, limits=LONG) as migrating:
        migrate(migrating)
    conn = connect(settings)
    check_deployment(conn, keys, kind)
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
