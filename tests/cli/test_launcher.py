"""`./facewarden` on machines that lack something: it says what, and what to do about it."""

import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.supervisor import ROOT

LAUNCHER = ROOT / "facewarden"


def start(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "HOME": str(tmp_path), **environ}
    argv = [str(Path(sys.executable).resolve()), str(LAUNCHER), *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)


def load() -> dict[str, Any]:
    return runpy.run_path(str(LAUNCHER))


def shim(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("body", ["exit 127", "echo 3.10.4", "echo nonsense", "echo 3.12.1; exit 1"])
def test_an_interpreter_that_is_found_but_does_not_run_is_not_taken(tmp_path: Path, body: str) -> None:
    python = shim(tmp_path / "python3.12", f"#!/bin/sh\n{body}\n")
    done = start(tmp_path, "--help", FACEWARDEN_PYTHON=str(python), FACEWARDEN_VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert "no Python of 3.11 or newer" in done.stderr
    assert "fix:" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_an_interpreter_that_runs_is_preferred_to_one_that_is_only_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim(tmp_path / "python3.13", "#!/bin/sh\nexit 127\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    path, version = load()["find_python"]()
    assert version >= (3, 11)
    assert Path(path).parent != tmp_path


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = start(tmp_path, "--help", FACEWARDEN_VENV=str(tmp_path / "file/venv"))
    assert done.returncode == 2
    assert "cannot write beside" in done.stderr
    assert "FACEWARDEN_VENV" in done.stderr


def test_without_a_package_index_it_says_so_and_leaves_no_half_environment_behind(tmp_path: Path) -> None:
    done = start(
        tmp_path, "--help", FACEWARDEN_VENV=str(tmp_path / "venv"), PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no package index can be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "venv/facewarden.lock.sha256").exists(), "the next start installs again"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("KeyError: 'getpwuid(): uid not found: 12345'", "set HOME"),
        ("RuntimeError: Could not determine home directory.", "set HOME"),
        ("because ensurepip is not\navailable.  On Debian/Ubuntu", "apt-get install python3.12-venv"),
        ("Error: Command '[... '-m', 'ensurepip' ...]' returned non-zero", "apt-get install python3.12-venv"),
        ("OSError: [Errno 28] No space left on device", "free about 2 GB"),
        ("whatever", "FACEWARDEN_VENV"),
    ],
)
def test_what_venv_says_becomes_advice(tmp_path: Path, said: str, advice: str) -> None:
    python = shim(
        tmp_path / "python3.12",
        f"#!/bin/sh\n[ \"$2\" = -c ] && echo 3.12.1 && exit 0\ncat <<'END'\n{said}\nEND\nexit 1\n",
    )
    done = start(tmp_path, "--help", FACEWARDEN_PYTHON=str(python), FACEWARDEN_VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert "the environment cannot be made" in done.stderr
    assert advice in done.stderr.split("fix: ")[1]


def test_a_python_without_its_venv_module_is_told_from_none_at_all(tmp_path: Path) -> None:
    python = shim(tmp_path / "python3.12", '#!/bin/sh\ncase "$3" in *ensurepip*) exit 1;; esac\necho 3.12.1\n')
    done = start(tmp_path, "--help", FACEWARDEN_PYTHON=str(python), FACEWARDEN_VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert f"{python} is new enough, but its venv module is incomplete" in done.stderr
    assert "fix: on Debian or Ubuntu: apt-get install python3.12-venv" in done.stderr


def test_an_environment_of_another_lock_is_brought_up_to_date_and_no_size_is_made_up(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "facewarden.lock.sha256").write_text("another lock")
    tries = '[ "$2" = -c ] && echo 3.12.1 && exit\n[ "$3" = pip ] && echo Collecting x && exit\n'
    shim(venv / "bin/python", f'#!/bin/sh\n{tries}echo "ran $*"\n')
    first, second = (start(tmp_path, "status", FACEWARDEN_VENV=str(venv)) for _ in range(2))
    for done in (first, second):
        assert (done.returncode, done.stdout) == (0, "ran -P -m cli status\n"), done.stderr
    assert f"bringing {venv} up to date with a new lock" in first.stderr
    assert "facewarden: [1] x" in first.stderr
    assert "GB" not in first.stderr
    assert "packages" not in first.stderr
    assert second.stderr == ""


def test_packages_that_left_the_lock_leave_an_older_environment(tmp_path: Path) -> None:
    """An installer only adds; a library that calls home would stay."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "facewarden.lock.sha256").write_text("another lock")
    shim(venv / "bin/python", f'#!/bin/sh\n[ "$2" = -c ] && echo 3.12.1 && exit\necho "$*" >> {tmp_path}/calls\n')
    assert start(tmp_path, "status", FACEWARDEN_VENV=str(venv)).returncode == 0
    assert "-I -m pip uninstall --yes --quiet openvino-telemetry" in (tmp_path / "calls").read_text().splitlines()


def test_the_program_is_compiled_when_it_is_set_up_and_not_again(tmp_path: Path) -> None:
    launcher = load()
    (tmp_path / "bin").mkdir()
    python = shim(tmp_path / "bin/python", f'#!/bin/sh\necho "$3" >> {tmp_path}/calls\n')
    for _ in range(2):
        launcher["compile_rooms"](str(python))
    assert (tmp_path / "calls").read_text() == "compileall\n"
    os.utime(tmp_path / "facewarden.compiled", (0, 0))  # as after a change of a source
    launcher["compile_rooms"](str(python))
    assert (tmp_path / "calls").read_text() == "compileall\ncompileall\n"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "do not use that source"),
        ("OSError: [Errno 28] No space left on device", "free about 2 GB"),
        ("Temporary failure in name resolution", "check the network"),
        ("Permission denied", "make the folder writable"),
        ("whatever", "running the same command again"),
    ],
)
def test_what_pip_says_becomes_advice(said: str, advice: str) -> None:
    assert advice in load()["advise"](said)


def test_the_launcher_needs_only_the_standard_library_and_old_grammar() -> None:
    """It has to run on an old Python 3 to say that a newer one is needed."""
    import ast

    from tests.test_architecture import list_imports

    source = LAUNCHER.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 5))
    assert list_imports(source) <= set(sys.stdlib_module_names)


def test_the_lock_is_complete_hashed_and_names_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    entries = [part for part in text.split("\n") if part and not part.startswith((" ", "#"))]
    assert all("==" in entry for entry in entries)
    assert text.count("--hash=sha256:") >= len(entries)
    assert not any(entry.startswith(("opencv-python==", "opencv-contrib-python==")) for entry in entries)
