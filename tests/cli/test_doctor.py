"""`doctor` asks the servers it is told of, knows a lost key file from one that was never made, and says what to do."""

import re
import time
from pathlib import Path

import pytest

from cli.commands.doctor import State, check_all
from cli.supervisor import Supervisor
from tests.cli.test_commands import facewarden
from vault.keys import Keys, make_key_file
from vault.settings import Servers, Settings


def states(settings: Settings) -> dict[str, tuple[State, str]]:
    checks = check_all(settings)
    assert all(check.fix for check in checks if check.state is not State.OK), checks
    return {check.what: (check.state, check.detail) for check in checks}


def fresh(tmp_path: Path, **servers: str) -> Settings:
    return Settings(home=tmp_path / "none", key_file=tmp_path / "none.key", servers=Servers(**servers))


@pytest.mark.parametrize(
    ("servers", "what"),
    [
        ({"database_url": "postgresql://127.0.0.1:9/none?connect_timeout=1"}, "postgresql"),
        ({"database_url": "postgresql://u:hunter2@127.0.0.1:9/none?connect_timeout=1"}, "postgresql"),
        ({"database_url": "postgresql:///none?host=/nowhere"}, "postgresql"),
        ({"redis_url": "redis://:hunter2@127.0.0.1:9/0"}, "redis"),
        ({"redis_url": "redis+socket:///nowhere/redis.sock"}, "redis"),
    ],
)
def test_a_server_that_does_not_answer_is_failed(tmp_path: Path, servers: dict[str, str], what: str) -> None:
    done = facewarden(fresh(tmp_path, **servers), "doctor", COLUMNS="200")
    assert done.returncode == 1
    assert re.search(rf"{what} +│ FAILED", done.stdout)
    assert f"\n{what}: fix: " in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_before_the_first_start_nothing_has_failed_and_nothing_is_made(tmp_path: Path) -> None:
    found = states(fresh(tmp_path))
    assert not [what for what, (state, _detail) in found.items() if state is State.FAILED]
    assert found["key file"][0] is found["state folder"][0] is State.ABSENT
    assert "PostgreSQL" in found["postgresql"][1]
    assert list(tmp_path.iterdir()) == []


def test_servers_that_answer_are_ok(settings: Settings, keys: Keys) -> None:
    found = states(settings)
    assert found["postgresql"] == (State.OK, "PostgreSQL 18 answers; holds a deployment")
    assert found["redis"][0] is found["key file"][0] is State.OK


def test_a_clock_that_is_wrong_is_failed(settings: Settings, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(settings)["clock"][0] is State.OK
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 40 * 86_400)
    state, detail = states(settings)["clock"]
    assert (state, "40 days ahead" in detail) == (State.FAILED, True)


@pytest.mark.parametrize("sign", ["postgres/PG_VERSION", "run/deployment.json"])
def test_a_key_file_that_was_lost_is_failed(tmp_path: Path, sign: str) -> None:
    settings = fresh(tmp_path)
    (settings.home / sign).parent.mkdir(parents=True)
    (settings.home / sign).write_text("18")
    state, detail = states(settings)["key file"]
    assert state is State.FAILED
    assert "is gone" in detail


def test_a_key_file_that_was_lost_beside_a_named_database_is_failed(settings: Settings, keys: Keys) -> None:
    settings.key_file.unlink()
    assert states(settings)["key file"][0] is State.FAILED
    make_key_file(settings.key_file)
    state, detail = states(settings)["key file"]
    assert (state, "another key file" in detail) == (State.FAILED, True)


def test_a_damaged_or_open_key_file_is_failed(tmp_path: Path) -> None:
    settings = fresh(tmp_path)
    make_key_file(settings.key_file)
    settings.key_file.chmod(0o644)
    assert states(settings)["key file"][0] is State.FAILED
    settings.key_file.chmod(0o600)
    settings.key_file.write_text("{")
    assert states(settings)["key file"][0] is State.FAILED


def test_running_embedded_servers_are_asked(tmp_path: Path) -> None:
    made = fresh(tmp_path)
    supervisor = Supervisor(settings=made)
    with supervisor.running():
        supervisor.start_servers()
        assert "answers" in states(made)["postgresql"][1]
        assert states(made)["redis"] == (State.OK, "answers and evicts nothing")
