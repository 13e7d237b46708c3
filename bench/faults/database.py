"""A PostgreSQL of the bench's own that is reached by TCP, workers beside those of `up`, and clocks that can be set."""

import contextlib
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.children import check_process, keep_alive, stop_process
from bench.faults.deployment import Deployment, command
from cli.servers import find_running
from cli.supervisor import ONE_THREAD, ROOT
from vault.embedded import DATABASE, NOBODY, USER, postgres_binaries, wait_for_postgres
from vault.lockdown import die_with_parent
from vault.settings import child_environment

# Preloaded: adds the number of seconds that stands in the file CLOCK_FILE to what the wall clock says.
SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static const long long *shift;
__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) shift = map;
    if (file >= 0) close(file);
}
int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}
"""


class Clock:
    """A wall clock of its own for the processes that are started with its environment. Needs a C compiler."""

    def __init__(self, folder: Path, name: str, shift: int = 0) -> None:
        self._file = folder / f"{name}.clock"
        self._shim = folder / "clock.so"
        if not self._shim.exists():
            source = folder / "clock.c"
            source.write_text(SHIM, encoding="ascii")
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(self._shim), str(source)], check=True)
        self._file.write_bytes(struct.pack("q", shift))

    @staticmethod
    def is_possible() -> bool:
        return shutil.which("cc") is not None

    def set(self, shift: int) -> None:
        """So many seconds ahead of the real one, at once."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", shift))

    @property
    def environ(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._shim), "CLOCK_FILE": str(self._file)}


@contextlib.contextmanager
def run_postgres(
    folder: Path, port: int, *, addresses: str = "127.0.0.1", environ: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Its address as this machine sees it. Everybody of `addresses` and 10.0.0.0/8 is let in."""
    binaries = postgres_binaries() / "bin"
    as_nobody = ["unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
    init = [*as_nobody, str(binaries / "initdb"), "-D", str(folder), "-U", USER, "--auth=trust", "--encoding=UTF8",
            "--no-locale"]  # fmt: skip
    plain = {"PATH": os.defpath, "LC_ALL": "C"}
    subprocess.run(init, env=plain, check=True, stdout=subprocess.DEVNULL)
    with (folder / "pg_hba.conf").open("a", encoding="ascii") as rules:
        rules.write("host all all 10.0.0.0/8 trust\n")
    argv = [*as_nobody, str(binaries / "postgres"), "-D", str(folder), "-c", f"listen_addresses={addresses}",
            "-c", f"port={port}", "-c", "unix_socket_directories=", "-c", "max_connections=80"]  # fmt: skip
    with folder.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            argv, env={**plain, "TZ": "UTC", **(environ or {})}, stdout=log, stderr=log,
            preexec_fn=lambda: die_with_parent(signal.SIGINT),
        )  # fmt: skip
    url = name_database("127.0.0.1", port)
    try:
        with keep_alive(lambda: check_process(process)):
            wait_for_postgres(url)
            yield url
    finally:
        process.send_signal(signal.SIGINT)
        stop_process(process)


def name_database(host: str, port: int) -> str:
    return f"postgresql://{USER}@{host}:{port}/{DATABASE}?sslmode=disable"


@contextlib.contextmanager
def run_worker(
    deployment: Deployment,
    name: str,
    *,
    prefix: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    database_url: str = "",
) -> Iterator["subprocess.Popen[bytes]"]:
    """One worker more, started as `up` starts its own; must live until the block ends."""
    settings = find_running(deployment.settings)
    if database_url:
        settings = settings.replace("servers", database_url=database_url)
    told = {**child_environment(settings), **ONE_THREAD, "PYTHONPATH": str(ROOT), **(environ or {})}
    with (deployment.home / "logs" / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [*prefix, *command("worker", "--name", name)], env=told, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            cwd=deployment.home, preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )  # fmt: skip
    try:
        with keep_alive(lambda: check_process(process)):
            yield process
    finally:
        stop_process(process)
