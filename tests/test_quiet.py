"""Nothing calls home: whole runs in a network of their own, every name, packet and written file counted."""

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.supervisor import ROOT
from tests.apart import Apart, NotAllowed
from tests.traced import NoStrace, list_written, wrap
from vault.quiet import QUIET, REFUSED_MODULES

PORT = 20_000  # in a network of its own every port is free
# the servers, Hypothesis, the box, and the libraries that are known to call home
SELECTION = ("tests/vault/test_ledger.py", "tests/vault/test_mosaic.py", "tests/cli/test_calibrate.py")
ELSEWHERE = ("/tmp/", "/dev/", "/proc/")  # the system's temporary folder, and what is no file


@pytest.fixture
def apart() -> Iterator[Apart]:
    try:
        with Apart() as made:
            yield made
    except NotAllowed as exc:
        pytest.skip(f"no network of its own for a test here: {exc}")


def list_strange(trace: Path, base: Path, state: Path) -> list[str]:
    """What was written outside the state folder, its key file and the temporary folder. `base`: where all of it and
    the user's home lie."""
    allowed = (f"{state}/", f"{state}.key")
    return sorted(
        path
        for path in list_written(trace)
        if path != str(state)
        and not path.startswith(allowed)
        and (path.startswith(str(base)) or not f"{path}/".startswith(ELSEWHERE))
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli", *arguments]


def make_user(base: Path) -> dict[str, str]:
    """The environment of somebody with an empty home, who has heard of none of our variables."""
    home = base / "user"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}


def trace_run(apart: Apart, base: Path, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run it apart and traced; `base/trace` holds the trace."""
    try:
        return apart.run(wrap(argv, base / "trace"), make_user(base))
    except NoStrace:
        pytest.skip("no strace on this machine (apt-get install strace)")


def test_the_demo_asks_for_no_name_sends_no_packet_and_writes_nothing_elsewhere(apart: Apart, tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = trace_run(apart, tmp_path, command("demo", "--exit", "--home", str(state), "--port", str(PORT)))
    assert done.returncode == 0, done.stderr
    assert apart.strays == set()
    assert list_strange(tmp_path / "trace", tmp_path, state) == []
    assert list((tmp_path / "user").iterdir()) == []
    assert any(path.startswith(f"{state}/blobs/") for path in list_written(tmp_path / "trace")), "the trace sees writes"


def test_up_asks_for_no_name_sends_no_packet_and_writes_nothing_elsewhere(apart: Apart, tmp_path: Path) -> None:
    state = tmp_path / "state"
    argv = command("up", "--home", str(state), "--port", str(PORT), "--workers", "1")
    try:
        traced = wrap(argv, tmp_path / "trace")
    except NoStrace:
        pytest.skip("no strace on this machine (apt-get install strace)")
    process = apart.do(subprocess.Popen, traced, env=make_user(tmp_path), stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    assert process.stderr is not None
    try:
        assert any("Ctrl-C stops" in line for line in process.stderr), "it runs"
        time.sleep(6)  # the worker loads its models, the sweeper and the crawler have looked around
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert apart.strays == set()
    assert list_strange(tmp_path / "trace", tmp_path, state) == []
    assert list((tmp_path / "user").iterdir()) == []


def test_the_tests_ask_for_no_name_send_no_packet_and_write_nothing_elsewhere(apart: Apart, tmp_path: Path) -> None:
    done = trace_run(apart, tmp_path, command("test", *SELECTION))
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.strays == set()
    assert list_strange(tmp_path / "trace", tmp_path, tmp_path / "none") == []


def test_a_packet_and_a_file_elsewhere_would_be_seen(apart: Apart, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, socket\n"
        "os.environ['RES_OPTIONS'] = 'timeout:1 attempts:1'\n"
        "pathlib.Path.home().joinpath('a').mkdir()\n"
        "os.chdir(pathlib.Path.home()); open('b', 'w').close(); os.rename('b', 'a/c')\n"
        "try: socket.getaddrinfo('telemetry.example', 443)\n"
        "except OSError: pass\n"
    )
    trace_run(apart, tmp_path, [sys.executable, "-c", program])
    home = tmp_path / "user"
    strange = list_strange(tmp_path / "trace", tmp_path, tmp_path / "state")
    assert [path.removeprefix(str(home)) for path in strange] == ["/a", "/a/c", "/b"]
    assert any(port == 53 for _protocol, _address, port in apart.strays)


# -- each place that has to say so -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module", ["vault.settings", "matcher.products", "workers.faces.runtimes", "workers.faces.insight", "bench.embed",
               "cli.__main__", "crawler.proxy", "dashboards.app"],
)  # fmt: skip
def test_whatever_is_imported_first_the_libraries_are_silenced_before_them(module: str) -> None:
    program = f"import {module}, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], sys.dont_write_bytecode)"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "1 True\n"


@pytest.mark.parametrize("name", REFUSED_MODULES)
def test_a_module_that_calls_home_is_not_imported_even_where_it_is_installed(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("open('called', 'w').close()\nclass Telemetry: pass\n")
    program = "import vault\ntry:\n import openvino\nexcept ModuleNotFoundError as exc: print(exc)"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert b"Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.py"]


def test_the_lock_holds_no_library_whose_purpose_is_to_call_home() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    names = {line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))}
    assert not {name for name in names if any(word in name for word in ("telemetry-", "-telemetry", "analytics",
                "posthog", "sentry", "scarf"))} - {"opentelemetry-api"}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_launcher_image_and_compose_say_the_same(name: str) -> None:
    assert runpy.run_path(str(ROOT / "facewarden"))["QUIET"] == QUIET
    assert f"{name}={QUIET[name]}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    if name != "PYTHONDONTWRITEBYTECODE":  # of the image only
        assert f'{name}: "{QUIET[name]}"' in (ROOT / "compose.yaml").read_text(encoding="utf-8")
