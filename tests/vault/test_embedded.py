"""The embedded servers and the supervisor: started, killed, left over, stopped."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.supervisor import ROOT, Supervisor, read_state
from vault import embedded
from vault.embedded import is_socket_path, make_home, socket_folder
from vault.errors import ServerError, SettingError
from vault.settings import (
    LONGEST_SOCKET_PATH,
    Servers,
    Settings,
    child_environment,
    load_settings,
    write_environment,
)
from vault.steps import PEOPLE_QUEUE, QUEUE, Asker, Step, check_broker, connect_redis, count_hints
from vault.store import connect


def settings_in(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", key_file=tmp_path / "home.key")


def wait_until(true: object, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_data_are_kept_between_runs_and_only_sockets_listen(tmp_path: Path) -> None:
    for run in (1, 2):
        with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
            settings = supervisor.start_servers()
            pids = [child.process.pid for child in supervisor.children.values() if child.process]
            for pid in pids:
                for process in (psutil.Process(pid), *psutil.Process(pid).children()):
                    assert [c for c in process.net_connections("inet") if c.status == "LISTEN"] == []
            with connect(settings) as conn:
                conn.execute("create table if not exists kept (x int)")
                conn.execute("insert into kept values (1)")
                assert conn.execute("select count(*) from kept").fetchone() == (run,)
        assert not any(psutil.pid_exists(pid) for pid in pids)


def test_only_the_owner_may_enter_the_folders(tmp_path: Path) -> None:
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        supervisor.start_servers()
        for folder in (tmp_path / "home", tmp_path / "home/run", tmp_path / "home/postgres", tmp_path / "home/logs"):
            assert folder.stat().st_mode & 0o077 == 0, folder


def test_a_killed_server_is_started_again_with_its_data(tmp_path: Path) -> None:
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        settings = supervisor.start_servers()
        with connect(settings) as conn:
            conn.execute("create table kept (x int)")
        for name in ("postgres", "redis"):
            child = supervisor.children[name]
            assert child.process is not None
            first = child.process.pid
            os.kill(first, signal.SIGKILL)

            def back(child: object = child, first: int = first) -> bool:
                supervisor.poll()
                process = child.process  # type: ignore[attr-defined]
                return process is not None and process.pid != first and process.poll() is None

            wait_until(back)
        with connect(settings, patience=20) as conn:
            assert conn.execute("select count(*) from kept").fetchone() == (0,)
        check_broker(settings, patience=10)


def test_what_a_killed_supervisor_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    """SIGKILL of the supervisor: its children are told by the kernel, and the next start takes over in any case."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom cli.supervisor import Supervisor\n"
        "from vault.settings import load_settings\n"
        "with Supervisor(settings=load_settings()).running() as s:\n"
        "    s.start_servers()\n    print('up', flush=True)\n    time.sleep(600)\n"
    )
    environ = {**child_environment(settings_in(tmp_path)), "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen([sys.executable, "-c", script], env=environ, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"up\n"
    state = read_state(tmp_path / "home")
    assert state is not None
    with pytest.raises(ServerError, match="running"), Supervisor(settings=settings_in(tmp_path)).running():
        pass
    first.kill()
    first.wait()
    assert read_state(tmp_path / "home") is None
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        settings = supervisor.start_servers()
        with connect(settings) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        new = {child.process.pid for child in supervisor.children.values() if child.process}
        assert new.isdisjoint(entry["pid"] for entry in state["processes"])
    for entry in state["processes"]:
        assert not psutil.pid_exists(entry["pid"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    environ = {**child_environment(settings_in(tmp_path)), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", "up", "--only", "crawler"], env=environ, stderr=subprocess.PIPE
    )
    wait_until(
        lambda: any(p["role"] == "crawler" for p in (read_state(tmp_path / "home") or {"processes": []})["processes"])
    )
    pids = [entry["pid"] for entry in (read_state(tmp_path / "home") or {})["processes"]]
    process.send_signal(number)
    assert process.wait(40) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
    log = (tmp_path / "home/logs/postgres.log").read_text()
    assert not (tmp_path / "home/postgres/postmaster.pid").exists(), log


def test_as_root_without_namespaces_postgres_runs_as_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where user namespaces are not allowed, the binaries are copied and the server drops to uid 65534."""
    if os.getuid() != 0:
        pytest.skip("only root has to become somebody else")
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        supervisor.start_servers()  # made in a namespace, so owned by root
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ServerError, match="65534 cannot enter"):
        embedded.postgres_service(tmp_path / "home")
    for parent in (tmp_path, *tmp_path.parents):  # uid 65534 must be able to reach the folder
        if parent.stat().st_uid == 0 and parent != Path("/tmp") and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    for _ in range(2):
        with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
            settings = supervisor.start_servers()
            child = supervisor.children["postgres"]
            assert child.process is not None
            assert psutil.Process(child.process.pid).uids().real == 65534
            with connect(settings) as conn:
                assert conn.execute("select 1").fetchone() == (1,)
    monkeypatch.undo()
    with (
        Supervisor(settings=settings_in(tmp_path)).running() as supervisor,
        connect(supervisor.start_servers()) as conn,
    ):
        assert conn.execute("select 1").fetchone() == (1,)  # and back


def test_a_long_path_still_gets_sockets(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 25)
    assert len(str(socket_folder(home) / ".s.PGSQL.5432.lock")) <= LONGEST_SOCKET_PATH
    settings = Settings(home=home, key_file=tmp_path / "k")
    with Supervisor(settings=settings).running() as supervisor, connect(supervisor.start_servers()) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


HOMES = ["a b", "a&b", "a%41b", "a,b", "a#b", "a?b", "a'b", 'a"b', "a=b;c", "a@b:c", "人脸", "-D", "a\\b", "$HOME"]


@pytest.mark.parametrize("name", HOMES)
def test_servers_start_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path / name / name, key_file=tmp_path / "k")
    with Supervisor(settings=settings).running() as supervisor:
        started = supervisor.start_servers()
        with connect(started) as conn:
            assert conn.execute("show data_directory").fetchone() == (str(tmp_path / name / name / "postgres"),)
        assert Asker(started).ask(Step.DELIVER)
        assert count_hints(started)[PEOPLE_QUEUE] == 1
        assert load_settings(environ=write_environment(started)) == started, "a child reaches the same servers"
    shutil.rmtree(socket_folder(settings.home))


def test_a_temporary_folder_of_an_odd_name_holds_no_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t, t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t, t"))
    folder = socket_folder(tmp_path / "a b")
    assert folder.parent == Path("/tmp")
    assert is_socket_path(folder)


# -- the folder ------------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_what_we_make_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
            supervisor.start_servers()
    finally:
        os.umask(before)
    home = tmp_path / "home"
    assert mode(home) == 0o700
    folders = [path for path in home.iterdir() if path.is_dir()]
    assert {path.name for path in folders} >= {"run", "logs", "blobs", "warc", "index", "bundles"}
    assert {mode(path) for path in folders} == {0o700}


@pytest.mark.parametrize("content", ["letter.txt", "run/other", "postgres/notes"])
def test_a_folder_of_somebodys_own_things_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    home = tmp_path / "home"
    (home / content).parent.mkdir(parents=True)
    (home / content).write_text("x")
    (home / "letter").write_text("x")
    home.chmod(0o755)
    with pytest.raises(SettingError, match="other things in it") as caught:
        with Supervisor(settings=settings_in(tmp_path)).running():
            pass
    assert "--home" in caught.value.mend
    assert mode(home) == 0o755
    assert sorted(path.name for path in home.iterdir()) == sorted({content.split("/")[0], "letter"})


def test_the_systems_own_folders_are_refused_and_left_as_they_are() -> None:
    for home in (Path("/tmp"), Path("/etc"), Path("/var"), Path("/")):
        before = mode(home)
        with pytest.raises((SettingError, ServerError)):
            make_home(home)
        assert mode(home) == before


def test_an_empty_folder_and_a_prepared_one_are_taken_and_keep_their_mode(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o750)
    make_home(home)
    assert mode(home) == 0o750
    assert mode(home / "run") == 0o700
    prepared = tmp_path / "prepared"
    for name in ("cards", "models"):
        (prepared / name).mkdir(parents=True)
    (prepared / "facewarden.toml").write_text("workers = 1\n")
    make_home(prepared)


def test_a_state_folder_stays_ours_whatever_somebody_puts_beside(tmp_path: Path) -> None:
    for _ in range(2):
        with Supervisor(settings=settings_in(tmp_path)).running():
            pass
        (tmp_path / "home/notes.txt").write_text("mine")


def test_a_folder_into_which_everybody_may_write_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(SettingError, match="everybody may write") as caught:
        make_home(home)
    assert "chmod" in caught.value.mend
    assert list(home.iterdir()) == []


def test_what_was_put_elsewhere_by_a_link_stays_there(tmp_path: Path) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    home.mkdir()
    disk.mkdir()
    (home / "blobs").symlink_to(disk)
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        supervisor.start_servers()
    assert (home / "blobs").is_symlink()


@pytest.mark.parametrize("kind", ["link", "file", "stranger's"])
def test_a_socket_folder_that_somebody_made_before_us_is_refused(tmp_path: Path, kind: str) -> None:
    home, place = tmp_path / "a b", socket_folder(tmp_path / "a b")
    if kind == "link":
        place.symlink_to(tmp_path)
    elif kind == "file":
        place.write_text("x")
    else:
        if os.getuid() != 0:
            pytest.skip("only root can make somebody else's folder")
        place.mkdir()
        os.chown(place, 12345, 12345)
    try:
        with pytest.raises(ServerError, match="belongs to somebody else"):
            make_home(home)
    finally:
        place.rmdir() if kind == "stranger's" else place.unlink()


# -- hints -----------------------------------------------------------------------------------------------------------


def test_hints_survive_a_flush_and_a_broker_that_is_gone_never_stops_the_asker(tmp_path: Path) -> None:
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        settings = supervisor.start_servers()
        asker = Asker(settings)
        assert asker.ask(Step.DELIVER)
        connect_redis(settings).flushall()
        assert count_hints(settings) == {QUEUE: 0, PEOPLE_QUEUE: 0}
        assert asker.ask(Step.DELIVER)
        assert count_hints(settings) == {QUEUE: 0, PEOPLE_QUEUE: 1}
        child = supervisor.children["redis"]
        assert child.process is not None
        os.kill(child.process.pid, signal.SIGSTOP)
        started = time.monotonic()
        assert not asker.ask(Step.DELIVER)
        assert not asker.ask(Step.DELIVER)  # left alone for a while: at once
        assert time.monotonic() - started < 5
        os.kill(child.process.pid, signal.SIGCONT)
        assert asker.failed == 1


def test_a_redis_that_evicts_keys_is_refused(tmp_path: Path) -> None:
    with Supervisor(settings=settings_in(tmp_path)).running() as supervisor:
        settings = supervisor.start_servers()
        connect_redis(settings).config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ServerError, match="allkeys-lru") as caught:
            check_broker(settings)
        assert "noeviction" in caught.value.mend


def test_a_database_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    settings = settings_in(tmp_path).replace("servers", database_url=f"postgresql://x@/x?host={tmp_path}")
    with pytest.raises(ServerError) as caught:
        connect(settings)
    assert "\n" not in caught.value.message
    assert Servers().database_url == ""
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
