"""Starting the egress guard of one crawl: in comes its policy, out come an address and what it refused."""

import base64
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from vault.egress import Policy
from vault.errors import ServerError
from vault.guard import USER
from vault.log import child_stderr, get_logger
from vault.quiet import QUIET
from vault.settings import Settings
from vault.tokens import make_token

ROOT = Path(__file__).resolve().parents[1]

log = get_logger(__name__)


def add_own(policy: Policy, settings: Settings) -> Policy:
    """The policy, in which this deployment's own names, addresses and ports are refused."""
    return replace(policy, own=settings.own_hosts, own_ports=settings.own_ports)


class GuardProcess:
    """The guard as our child: it dies with us (its standard input ends) and we stop when it dies."""

    def __init__(self, policy: Policy) -> None:
        self.password = make_token()
        self.user = USER
        self.refusals: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()  # (code, place)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vault.guard", logging.getLevelName(logging.root.getEffectiveLevel())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=child_stderr(),
            text=True,
            start_new_session=True,  # Ctrl-C is for us: what is in flight is let through before we end the guard
            env={
                **QUIET,
                "PYTHONPATH": str(ROOT),
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
            },  # no address, no secret of ours
        )
        assert self._process.stdin and self._process.stdout
        try:
            secret = replace(policy, password=self.password, identity=make_token())
            self._process.stdin.write(secret.to_json() + "\n")
            self._process.stdin.flush()
            self.port = int(json.loads(self._process.stdout.readline())["port"])
        except (OSError, ValueError, KeyError) as exc:
            self.stop()
            raise ServerError("the egress guard does not start; nothing is fetched without it") from exc
        threading.Thread(target=self._collect, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address_with_password(self) -> str:
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.port}"

    @property
    def authorization(self) -> str:
        """The value of the Proxy-Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def take_refusals(self) -> list[tuple[str, str]]:
        """What was refused since the last call: (code, place)."""
        taken = []
        while not self.refusals.empty():
            taken.append(self.refusals.get())
        return taken

    def stop(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _collect(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            try:
                told = json.loads(line)
                self.refusals.put((str(told["refused"]), str(told["place"])))
            except (ValueError, KeyError):
                log.warning("the guard said something unexpected")
