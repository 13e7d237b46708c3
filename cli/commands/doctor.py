"""what this machine offers: box, browser, servers, models, key file

example:
  ./facewarden doctor
"""

import argparse
import os
import platform
import shutil

from crawler.browser import INSTALL, find_chromium
from vault.box import Box
from vault.embedded import postgres_binaries, valkey_service
from vault.errors import FacewardenError
from vault.keys import load_keys
from vault.lockdown import landlock_version
from vault.settings import Settings
from vault.terminal import Grid, Screen
from workers.faces.packs import get_pack, read_model

PROBES = (("open", "/etc/passwd"), ("create", "/tmp/facewarden-probe"), ("socket", ""), ("unix", ""), ("fork", ""),  # noqa: S108
          ("exec", "/bin/true"), ("kill", ""), ("execute_data", ""), ("memory", ""), ("environment", ""))  # fmt: skip
LEAST_DISK = 2 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    table = Grid("what", "state", "detail")
    bad = 0
    for what, good, detail in check_all(settings):
        bad += good is False
        table.add_row(what, {True: "ok", False: "FAILED", None: "absent"}[good], detail)
    Screen().print(table)
    return 1 if bad else 0


def check_all(settings: Settings) -> list[tuple[str, bool | None, str]]:
    """(what, True for good, False for bad, None for absent but optional, detail)."""
    rows: list[tuple[str, bool | None, str]] = [
        ("python", True, f"{platform.python_version()} on {platform.machine()}, uid {os.getuid()}")
    ]
    rows += check_box()
    chromium = find_chromium(settings)
    rows.append(
        ("browser", bool(chromium) or None, chromium or f"no Chromium: markets that need it are skipped; {INSTALL}")
    )
    rows.append(check_pack(settings))
    rows += check_servers(settings)
    if settings.key_file.exists():
        try:
            load_keys(settings.key_file)
            rows.append(("key file", True, str(settings.key_file)))
        except FacewardenError as exc:
            rows.append(("key file", False, f"{exc.stable_code}: {exc.message}"))
    else:
        rows.append(("key file", None, f"made at first start: {settings.key_file}"))
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    rows.append(("disk", free > LEAST_DISK, f"{free / 1e9:.1f} GB free at {place}"))
    return rows


def check_box() -> list[tuple[str, bool | None, str]]:
    rows: list[tuple[str, bool | None, str]] = []
    with Box() as box, box.batch() as child:
        answers = {what: child.probe(what, argument) for what, argument in PROBES}
        for name, active in child.active.items():
            detail = f"ABI {landlock_version()}" if name == "landlock" else ""
            rows.append(
                (f"box: {name.replace('_', ' ')}", active or None, detail or ("active" if active else "not here"))
            )
    done = [what for what, answer in answers.items() if not answer.startswith("refused")]
    detail = f"not refused: {', '.join(done)}" if done else f"{len(PROBES)} things tried inside, all refused"
    rows.append(("box: probes", not done, detail))
    return rows


def check_pack(settings: Settings) -> tuple[str, bool, str]:
    try:
        pack = get_pack(settings)
        read_model(pack.detector)
        read_model(pack.recogniser)
        return "models", True, f"{pack.name}: {pack.licence}"
    except FacewardenError as exc:
        return "models", False, f"{exc.stable_code}: {exc.message}"


def check_servers(settings: Settings) -> list[tuple[str, bool | None, str]]:
    rows: list[tuple[str, bool | None, str]] = []
    for what, given, check in (
        ("postgresql", settings.servers.database_url, postgres_binaries),
        ("redis", settings.servers.redis_url, lambda: valkey_service(settings.home)),
    ):
        if given:
            rows.append((what, True, "given by its address"))
            continue
        try:
            check()
            rows.append((what, True, "embedded"))
        except FacewardenError as exc:
            rows.append((what, False, f"{exc.message}; {exc.mend}"))
    return rows
