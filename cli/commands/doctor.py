"""what this machine offers: box, browser, servers, models, key file

Servers that are named by an address are asked; whatever is not as it must be comes with what to do about it. Exit code
1 if something failed; what is absent is not needed, or not yet.

example:
  ./facewarden doctor
"""

import argparse
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cli.servers import find_running
from cli.setup import has_cluster, lost_key
from cli.supervisor import is_running
from crawler.browser import INSTALL, find_chromium
from vault.box import Box
from vault.embedded import check_home, postgres_binaries, valkey_service
from vault.errors import FacewardenError, ServerError
from vault.keys import load_keys
from vault.lockdown import landlock_version
from vault.settings import Settings, mask_passwords
from vault.steps import check_broker
from vault.store import Connection, DatabaseError, connect
from vault.store.deployment import get_deployment
from vault.store.times import compare_clocks, read_clocks
from vault.terminal import Grid, Screen
from workers.faces.packs import get_pack, read_model

PROBES = (("open", "/etc/passwd"), ("create", "/tmp/facewarden-probe"), ("socket", ""), ("unix", ""), ("fork", ""),  # noqa: S108
          ("exec", "/bin/true"), ("kill", ""), ("execute_data", ""), ("memory", ""), ("environment", ""))  # fmt: skip
LEAST_DISK = 2 << 30
OLDEST_POSTGRES = 15


class State(StrEnum):
    OK = "ok"
    FAILED = "FAILED"
    ABSENT = "absent"  # optional, or not made yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What was looked at and how it is; `fix`: what to do where it is not ok."""

    what: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """What a look at the database gave. `deployment`: the public key it belongs to, None where nothing is set up;
    `clocks`: its clock against this machine's, where it holds a deployment."""

    check: Check
    deployment: str | None = None
    clocks: tuple[Check, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    checks = check_all(settings)
    table = Grid("what", "state", "detail")
    for check in checks:
        table.add_row(check.what, check.state, check.detail)
    screen = Screen()
    screen.print(table)
    for check in checks:
        if check.state is not State.OK:
            screen.print(f"{check.what}: fix: {check.fix}")
    return int(any(check.state is State.FAILED for check in checks))


def check_all(settings: Settings) -> list[Check]:
    """Every check, in the order in which a start needs them."""
    running = find_running(settings) if is_running(settings.home) else settings
    database = check_database(running)
    return [
        passed("python", f"{platform.python_version()} on {platform.machine()}, uid {os.getuid()}"),
        *check_box(),
        check_browser(settings),
        check_pack(settings),
        check_state_folder(settings),
        database.check,
        *database.clocks,
        check_redis(running),
        check_key_file(settings, database.deployment),
        check_disk(settings),
    ]


def passed(what: str, detail: str) -> Check:
    return Check(what=what, state=State.OK, detail=detail)


def failed(what: str, exc: FacewardenError) -> Check:
    detail = f"{exc.stable_code}: {mask_passwords(exc.message)}"
    return Check(what=what, state=State.FAILED, detail=detail, fix=exc.mend or "see README.md")


def check_box() -> list[Check]:
    rows: list[Check] = []
    with Box() as box, box.batch() as child:
        answers = {what: child.probe(what, argument) for what, argument in PROBES}
        for name, active in child.active.items():
            what = f"box: {name.replace('_', ' ')}"
            detail = f"ABI {landlock_version()}" if name == "landlock" else "active" if active else "not here"
            fix = "this kernel or container does not allow it; the other walls hold: SECURITY.md, The walls"
            rows.append(
                passed(what, detail) if active else Check(what=what, state=State.ABSENT, detail=detail, fix=fix)
            )
    done = [what for what, answer in answers.items() if not answer.startswith("refused")]
    if done:
        fix = "do not take in hostile pictures on this machine; tell us its kernel and container"
        detail = f"not refused: {', '.join(done)}"
        return [*rows, Check(what="box: probes", state=State.FAILED, detail=detail, fix=fix)]
    return [*rows, passed("box: probes", f"{len(PROBES)} things tried inside, all refused")]


def check_browser(settings: Settings) -> Check:
    chromium = find_chromium(settings)
    if chromium:
        return passed("browser", chromium)
    return Check(
        what="browser", state=State.ABSENT, detail="no Chromium: markets that need it are skipped", fix=INSTALL
    )


def check_pack(settings: Settings) -> Check:
    try:
        pack = get_pack(settings)
        read_model(pack.detector)
        read_model(pack.recogniser)
    except FacewardenError as exc:
        return failed("models", exc)
    return passed("models", f"{pack.name}: {pack.licence}")


def check_state_folder(settings: Settings) -> Check:
    home = settings.home
    if not home.exists():
        return Check(
            what="state folder", state=State.ABSENT, detail=f"{home} is not there", fix="./facewarden up makes it"
        )
    try:
        check_home(home)
    except FacewardenError as exc:
        return failed("state folder", exc)
    except OSError as exc:
        return failed("state folder", ServerError(f"{home}: {exc.strerror}", mend="check who owns it"))
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return failed("state folder", ServerError(f"{home} cannot be written", mend="check who owns it"))
    return passed("state folder", str(home))


# -- servers ----------------------------------------------------------------------------------------------------------


def check_database(settings: Settings) -> Database:
    """The database that is named or runs is asked; of the embedded one that rests, the program is tried."""
    if not settings.servers.database_url:
        kept = "its data are in the state folder" if has_cluster(settings) else "made at the first start"
        return Database(check=check_program("postgresql", lambda: postgres_binaries() / "bin/postgres", kept))
    try:
        with connect(settings) as conn:
            version = conn.info.server_version // 10_000
            deployment = get_deployment(conn)
            clocks = (check_time(conn),) if deployment else ()
    except FacewardenError as exc:
        return Database(check=failed("postgresql", exc))
    except DatabaseError as exc:
        told = ServerError(str(exc).splitlines()[0], mend="may this role read the database's tables?")
        return Database(check=failed("postgresql", told))
    if version < OLDEST_POSTGRES:
        told = ServerError(f"PostgreSQL {version} is too old", mend=f"use {OLDEST_POSTGRES} or newer")
        return Database(check=failed("postgresql", told))
    state = "holds a deployment" if deployment else "nothing is set up in it yet"
    check = passed("postgresql", f"PostgreSQL {version} answers; {state}")
    return Database(check=check, deployment=deployment, clocks=clocks)


def check_time(conn: Connection) -> Check:
    """A clock that is wrong stops all work: the database's against this machine's."""
    try:
        compare_clocks(*read_clocks(conn))
    except FacewardenError as exc:
        return failed("clock", exc)
    return passed("clock", "this machine's and the database's agree")


def check_redis(settings: Settings) -> Check:
    if not settings.servers.redis_url:
        return check_program("redis", lambda: Path(valkey_service(settings.home).argv[0]), "started by up and demo")
    try:
        check_broker(settings)
    except FacewardenError as exc:
        return failed("redis", exc)
    return passed("redis", "answers and evicts nothing")


def check_program(what: str, find: Callable[[], Path], detail: str) -> Check:
    """Is the embedded server there, and does it run on this machine?"""
    try:
        program = find()
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except FacewardenError as exc:
        return failed(what, exc)
    except (OSError, subprocess.SubprocessError) as exc:
        mend = "remove .venv and run ./facewarden again, or name a server of your own (DATABASE_URL, REDIS_URL)"
        return failed(what, ServerError(f"the embedded server does not run: {type(exc).__name__}", mend=mend))
    return passed(what, f"embedded, {done.stdout.strip().splitlines()[0][:60]}; {detail}")


# -- key file and disk ------------------------------------------------------------------------------------------------


def check_key_file(settings: Settings, deployment: str | None) -> Check:
    """`deployment`: the public key that the database says it belongs to, if it was asked and says so."""
    if not settings.key_file.exists():
        if deployment or has_cluster(settings) or (settings.home / "run/deployment.json").exists():
            return failed("key file", lost_key(settings))
        fix = "./facewarden up makes it; copy it then to a place that is not this machine"
        return Check(what="key file", state=State.ABSENT, detail=f"{settings.key_file} is not made yet", fix=fix)
    try:
        keys = load_keys(settings.key_file)
    except FacewardenError as exc:
        return failed("key file", exc)
    if deployment not in (None, keys.public_key.hex()):
        wrong = ServerError(
            f"the database was made with another key file than {settings.key_file}",
            mend="name the file it was made with: FACEWARDEN_KEY_FILE, or key_file in facewarden.toml",
        )
        return Check(what="key file", state=State.FAILED, detail=f"key_wrong: {wrong.message}", fix=wrong.mend)
    return passed("key file", f"{settings.key_file}, signer {keys.fingerprint[:16]}...")


def check_disk(settings: Settings) -> Check:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / 1e9:.1f} GB free at {place}"
    if free > LEAST_DISK:
        return passed("disk", detail)
    return Check(what="disk", state=State.FAILED, detail=detail, fix=f"free {LEAST_DISK / 1e9:.0f} GB there")
