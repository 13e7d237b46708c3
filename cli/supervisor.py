"""The supervisor of one machine: starts servers and processes, restarts what dies, stops everything in good order.

One supervisor a state folder (a lock says so). What runs stands in `run/processes.json`, for `status` and for the next
start, which clears away what a killed supervisor has left. Children ask the kernel to be stopped when we die.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from vault.disks import Reserve, look_at
from vault.embedded import (
    Service,
    make_folders,
    make_home,
    postgres_service,
    valkey_service,
    wait_for_postgres,
    with_embedded_urls,
)
from vault.errors import ServerError
from vault.files import write_whole
from vault.lockdown import die_with_parent
from vault.log import clean_text, get_logger, open_log
from vault.settings import Settings, child_environment
from vault.steps import check_broker

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 30.0  # a worker finishes its turn
SERVER_STOP_SECONDS = 20.0
LOG_BYTES = 10 << 20  # a larger log is moved aside at start
TEND_SECONDS = 1.0  # between looks at the disk
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
TOLD_FAILURES = 3  # in a row; of more nobody is told
STEADY_SECONDS = 10.0  # a process that lived this long starts its back-off anew
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

log = get_logger(__name__)


@dataclass(kw_only=True)
class Child:
    """One supervised process. `keep`: start it again when it ends by itself."""

    name: str
    role: str
    argv: list[str]
    environ: dict[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    uid: int | None = None
    keep: bool = True
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0
    restarts: int = 0
    exit_code: int | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass(kw_only=True)
class Supervisor:
    settings: Settings
    children: dict[str, Child] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = field(default=lambda _line: None)  # what whoever started us should know
    _lock: IO[str] | None = None
    _unwritten: bool = False  # what runs is still to be noted
    _given_up: bool = False  # the reserve, for the disk was full
    _tend_at: float = 0.0

    @property
    def _reserve(self) -> Reserve:
        return Reserve(self.settings.home / "run/reserve")

    @contextlib.contextmanager
    def running(self) -> Iterator["Supervisor"]:
        """Hold the state folder while the block runs; everything is stopped at its end. Raises ServerError."""
        self._take_lock()
        clear_leftovers(self.settings.home)
        try:
            yield self
        finally:
            self.stop()

    # -- servers ----------------------------------------------------------------------------------------------------

    def start_servers(self) -> Settings:
        """Start the servers that no address is given for; the settings with all addresses. Raises ServerError."""
        given = self.settings.servers
        self.settings = with_embedded_urls(self.settings)
        if not given.database_url:
            self.start_postgres(self.settings.servers.database_url)
        if not given.redis_url:
            self.start_service(valkey_service(self.settings.home))
        check_broker(self.settings, patience=10.0)
        return self.settings

    def start_postgres(self, url: str) -> None:
        """And wait until it answers. Raises ServerError."""
        if self._reserve.path.exists():
            self._tend_reserve()
        child = self.start_service(postgres_service(self.settings.home))
        wait_for_postgres(url, has_ended=lambda: self._last_words(child))

    def start_service(self, service: Service) -> Child:
        child = Child(
            name=service.role,
            role=service.role,
            argv=list(service.argv),
            environ=dict(service.environ),
            stop_signal=service.stop_signal,
            uid=service.uid,
        )
        return self.start(child)

    # -- processes ----------------------------------------------------------------------------------------------------

    def start_command(self, name: str, role: str, arguments: list[str], *, keep: bool = True) -> Child:
        """Start `python -m cli ...` with our settings."""
        argv = [sys.executable, "-P", "-m", "cli", *arguments]
        return self.start(Child(name=name, role=role, argv=argv, environ=self.environ(), keep=keep))

    def environ(self) -> dict[str, str]:
        """What a process of ours finds in its environment: our settings, one thread, and little else."""
        return {**child_environment(self.settings), **ONE_THREAD, "PYTHONPATH": str(ROOT)}

    def start(self, child: Child) -> Child:
        self.children[child.name] = child
        make_folders(self.settings.home)
        self._spawn(child)
        self._note_state()
        return child

    def _spawn(self, child: Child) -> None:
        stop_signal = child.stop_signal
        with open_log(self._log(child), LOG_BYTES) as file:
            child.process = subprocess.Popen(
                child.argv, env=child.environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True, user=child.uid, group=child.uid, cwd=self.settings.home,
                extra_groups=None if child.uid is None else [],
                preexec_fn=lambda: die_with_parent(stop_signal),
            )  # fmt: skip
        child.started, child.exit_code = time.monotonic(), None

    def _describe_end(self, child: Child) -> str:
        what = "keeps ending" if child.failures == TOLD_FAILURES else "ended"
        return f"{child.name} {what} (exit code {child.exit_code}) and is started again: see {self._log(child)}"

    def _last_words(self, child: Child) -> str | None:
        """The last line of its log, if it has ended."""
        if child.running:
            return None
        lines = self._log(child).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((clean_text(line.strip()) for line in reversed(lines) if line.strip()), "no message")

    def _log(self, child: Child) -> Path:
        return self.settings.home / "logs" / f"{child.name}.log"

    def poll(self) -> list[Child]:
        """Look after the children: restart what ended and is to be kept. Returns those that ended for good."""
        now = time.monotonic()
        ended, changed = [], False
        for child in list(self.children.values()):
            if child.process is not None and child.process.poll() is not None:
                child.exit_code = child.process.returncode
                child.process, changed = None, True
                if not child.keep:
                    del self.children[child.name]
                    ended.append(child)
                    continue
                child.failures = 0 if now - child.started > STEADY_SECONDS else child.failures + 1
                child.restart_at = now + BACKOFF[min(child.failures, len(BACKOFF)) - 1 if child.failures else 0]
                log.warning("a process ended and is started again", name=child.name, exit_code=child.exit_code)
                if child.failures <= TOLD_FAILURES:
                    self._tell(self._describe_end(child))
            if child.process is None and child.keep and now >= child.restart_at:
                changed |= self._start_again(child)
        if now >= self._tend_at:
            self._tend_at = now + TEND_SECONDS
            self._tend_reserve()
        if changed or self._unwritten:
            self._note_state()
        return ended

    def _note_state(self) -> None:
        self._unwritten = True
        with self._bearing("what runs could not be noted; trying again"):
            self._write_state()
            self._unwritten = False

    def _start_again(self, child: Child) -> bool:
        try:
            self._spawn(child)
        except OSError as exc:
            log.warning("a process could not be started; trying again", name=child.name, why=str(exc))
            child.restart_at = time.monotonic() + BACKOFF[-1]
            return False
        child.restarts += 1
        return True

    def _tend_reserve(self) -> None:
        with self._bearing("the disk could not be looked at"):
            made = self._reserve.tend()
            if made is None:
                return
            disk = look_at(self.settings.home)
            if not made:
                log.warning("the disk is full; the reserve was given up for what cannot wait", free=disk.free)
                self._tell(f"disk_full: {disk.describe()}: what can wait waits; free some of it, all goes on by itself")
            elif self._given_up:
                log.info("there is room on the disk again", free=disk.free)
                self._tell("there is room on the disk again")
            self._given_up = not made

    def _tell(self, line: str) -> None:
        with self._bearing("a line could not be told"):
            self.tell(line)

    @contextlib.contextmanager
    def _bearing(self, what: str) -> Iterator[None]:
        """A disk that is full or away does not end the supervisor."""
        try:
            yield
        except OSError as exc:
            log.warning(what, why=str(exc))

    def stop(self) -> None:
        """Processes first, then the servers they need; each is asked, then killed."""
        servers = {"postgres", "redis"}
        workers = [child for child in self.children.values() if child.role not in servers]
        stop_children(workers, STOP_SECONDS)
        stop_children([c for c in self.children.values() if c.role == "redis"], SERVER_STOP_SECONDS)
        stop_children([c for c in self.children.values() if c.role == "postgres"], SERVER_STOP_SECONDS)
        self.children.clear()
        if self._lock is not None:
            state_path(self.settings.home).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    # -- state --------------------------------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        make_home(self.settings.home)
        self._lock = open(self.settings.home / "run/lock", "w", encoding="ascii")  # noqa: SIM115  held while we run
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._lock.close()
            self._lock = None
            raise ServerError(
                f"Facewarden is running on {self.settings.home} already", mend="stop it, or choose another --home"
            ) from exc

    def _write_state(self) -> None:
        table = {
            "supervisor": os.getpid(),
            "database_url": self.settings.servers.database_url,
            "redis_url": self.settings.servers.redis_url,
            "web": self.settings.public_url,
            **self.extra,
            "processes": [
                {
                    "name": child.name,
                    "role": child.role,
                    "pid": child.process.pid if child.process else None,
                    "restarts": child.restarts,
                    "created": created_at(child.process.pid) if child.process else None,
                }
                for child in self.children.values()
            ],
        }
        write_whole(state_path(self.settings.home), json.dumps(table, indent=1).encode())


def created_at(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def state_path(home: Path) -> Path:
    return home / "run/processes.json"


def read_state(home: Path) -> dict[str, Any] | None:
    """What the running supervisor says, or None if none is running."""
    if not is_running(home):
        return None
    try:
        table: dict[str, Any] = json.loads(state_path(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return table


def is_running(home: Path) -> bool:
    try:
        with open(home / "run/lock", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def stop_children(children: list[Child], patience: float) -> None:
    """Ask all of them, wait together, kill what is left with its whole process group."""
    running = [child for child in children if child.running]
    for child in running:
        assert child.process is not None
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(child.stop_signal)
    deadline = time.monotonic() + patience
    for child in running:
        assert child.process is not None
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("a process did not stop in time and was killed", name=child.name)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()


def clear_leftovers(home: Path) -> None:
    """Stop what a killed supervisor left behind: known by pid and start time, never by pid alone."""
    try:
        table = json.loads(state_path(home).read_text(encoding="utf-8"))
        listed = [(entry["role"], entry["pid"], entry["created"]) for entry in table["processes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    left = []
    for role, pid, created in listed:
        with contextlib.suppress(psutil.Error, TypeError):
            process = psutil.Process(pid)
            if created is not None and abs(process.create_time() - created) < 1.0:
                process.send_signal(signal.SIGINT if role == "postgres" else signal.SIGTERM)
                left.append(process)
    _gone, alive = psutil.wait_procs(left, timeout=SERVER_STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    if left:
        log.warning("cleared away what an earlier run left", count=len(left))
    state_path(home).unlink(missing_ok=True)
