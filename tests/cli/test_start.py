"""Starting: what makes a deployment and what only finds one, what the first start tells, where links and logs go."""

import http.client
import json
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.disturb import find_ports, list_pids
from cli.__main__ import COMMANDS, main
from cli.logs import note_crash
from cli.supervisor import ROOT, Child, Supervisor
from crawler.approval import make_approver_key
from tests.cli.test_commands import facewarden
from tests.cli.test_terminal import run_on_terminal
from tests.crawler.test_crawl import CARD, html, sign
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import portrait
from vault.keys import Keys, load_keys
from vault.log import set_up_logging
from vault.settings import Settings, load_settings
from vault.store import Connection

NEEDS = (
    ("status",), ("status", "--json"), ("alerts",), ("alerts", "--json"), ("calibrate",), ("datasets",), ("hunts",),
    ("ledger", "verify"), ("ledger", "show"), ("login",), ("people",), ("withdraw", "--address", "a@b.example"),
    ("enrol", "--address", "a@b.example", "--photo", "PHOTO"), ("ingest", "FOLDER", "--card", "CARD"),
    ("crawl", "CARD"), ("source", "list"), ("source", "trust", "olga", "0" * 64), ("source", "test", "CARD"),
    ("source", "session", "CARD", "--forget"), ("keys", "fingerprint"), ("crawler",),
    ("warc", "export", "a-market", "--out", "OUT"),
    ("models", "add", "insightface:x", "--licence", "research-only", "--from", "PHOTO"),
)  # fmt: skip
NEED_NONE = {"demo", "up", "test", "doctor", "verify"}


one_process = pytest.mark.xdist_group("start")  # so that it is started once


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """Settings of a state folder in which nothing was ever set up."""
    return Settings(home=tmp_path / "none/home", key_file=tmp_path / "none/home.key")


@pytest.fixture
def files(tmp_path: Path, settings: Settings) -> dict[str, str]:
    (tmp_path / "photo.jpg").write_bytes(portrait("astronaut"))
    (tmp_path / "handed").mkdir()
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, CARD.format(top="", read="", pages=9, port=9), tmp_path))
    return {"PHOTO": str(tmp_path / "photo.jpg"), "FOLDER": str(tmp_path / "handed"), "CARD": str(card)}


# -- only `up` and `demo` make a deployment ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", NEEDS, ids=" ".join)
def test_a_command_that_needs_a_deployment_names_the_folder_and_makes_nothing(
    nowhere: Settings, files: dict[str, str], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = facewarden(nowhere, *(files.get(word, word) for word in arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "facewarden: deployment_missing: " in done.stderr
    assert str(nowhere.home) in done.stderr
    assert "\n  fix: ./facewarden up" in done.stderr and "--home" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "none").exists()


def test_no_command_was_forgotten() -> None:
    assert {words[0] for words in NEEDS} >= set(COMMANDS) - NEED_NONE


def test_what_needs_no_deployment_works_without_one_and_makes_nothing(
    nowhere: Settings, files: dict[str, str], tmp_path: Path
) -> None:
    key = tmp_path / "approver-olga.pem"
    for arguments in (
        ("--version",), ("--help",), ("doctor",), ("models", "list"),
        ("source", "key", "new", "--name", "olga", "--out", str(key), "--no-passphrase"),
        ("source", "sign", files["CARD"], "--key", str(key)),
    ):  # fmt: skip
        done = facewarden(nowhere, *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    assert facewarden(nowhere, "verify", files["PHOTO"]).returncode == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("browser", [False, True])
def test_a_card_is_proposed_without_a_deployment_and_it_says_that_no_ledger_knows(
    nowhere: Settings, tmp_path: Path, browser: bool
) -> None:
    def shop(path: str) -> Answer:
        if path == "/":
            return html("".join(f'<div class=t><a href="/lot/{n}">{n}00 photos of faces</a></div>' for n in range(8)))
        return html(f"<h1>{path} photos of faces</h1><b>¥10</b>") if path.startswith("/lot/") else NOT_FOUND

    site = Site(shop)
    lab = ("--lab", f"127.0.0.1:{site.server_port}")
    done = facewarden(nowhere, "source", "new", f"{site.url}/", *lab, *(["--browser"] if browser else []))
    site.shutdown()
    if browser and "Chromium" in done.stderr:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    assert done.returncode == 0, done.stderr
    assert 'kind = "shop"' in done.stdout
    assert "in no ledger" in done.stderr
    assert not (tmp_path / "none").exists()


def test_an_empty_database_is_not_set_up_by_a_command(settings: Settings, keys: Keys, conn: Connection) -> None:
    conn.execute("drop schema public cascade")
    conn.execute("create schema public")
    done = facewarden(settings, "alerts")
    assert done.returncode == 2
    assert "deployment_missing: nothing was set up in the database" in done.stderr
    assert conn.execute("select to_regclass('deployment')").fetchone() == (None,)


def test_a_state_folder_whose_database_lies_elsewhere_says_so(nowhere: Settings) -> None:
    (nowhere.home / "run").mkdir(parents=True)
    (nowhere.home / "run/deployment.json").write_text("{}")
    done = facewarden(nowhere, "alerts")
    assert "lies elsewhere" in done.stderr and "fix: set DATABASE_URL" in done.stderr


@pytest.mark.parametrize("arguments", [("alerts",), ("up",), ("up", "--only", "migrate"), ("keys", "fingerprint")])
def test_a_lost_key_file_is_not_made_anew(settings: Settings, keys: Keys, arguments: tuple[str, ...]) -> None:
    """Also where nothing but the database knows that there was one."""
    settings.key_file.unlink()
    done = facewarden(settings, *arguments)
    assert done.returncode == 2
    assert f"key_file_missing: the key file {settings.key_file} is gone" in done.stderr
    assert "fix: put it back from your copy" in done.stderr
    assert not settings.key_file.exists()


# -- the first start --------------------------------------------------------------------------------------------------


class Up:
    """`up` on a state folder, its streams apart; a terminal where `on_terminal`."""

    def __init__(self, home: Path, port: int, *, on_terminal: bool = False) -> None:
        argv = [sys.executable, "-P", "-m", "cli", "up", "--home", str(home), "--port", str(port), "--workers", "1"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home.parent), "TERM": "dumb"}
        ours, theirs = pty.openpty() if on_terminal else os.pipe()
        self.out = os.fdopen(ours, "r", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(argv, env=env, stdout=theirs, stderr=subprocess.PIPE, text=True)
        os.close(theirs)
        self.door, self.told, self.status = "", "", 0
        self._port = port

    def __enter__(self) -> "Up":
        threading.Thread(target=self._read_errors, daemon=True).start()
        self.door = self.out.readline()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        connection.request("GET", "/health")
        self.status = connection.getresponse().status
        deadline = time.monotonic() + 30
        while "Ctrl-C stops" not in self.told and time.monotonic() < deadline:
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.out.close()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told += line


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Up]]]:
    """Two starts of one deployment: the first into a log, the second at a terminal."""
    home, port = tmp_path_factory.mktemp("start") / "home", find_ports()
    runs = []
    for on_terminal in (False, True):
        with Up(home, port, on_terminal=on_terminal) as run:
            runs.append(run)
            if on_terminal:
                for pid in list_pids(home, "clock"):
                    os.kill(pid, signal.SIGKILL)
                time.sleep(2)
    yield home, runs


@one_process
def test_the_first_start_names_the_key_file_its_copy_and_the_fingerprint(started: tuple[Path, list[Up]]) -> None:
    home, (first, second) = started
    fingerprint = load_keys(home.with_name("home.key")).fingerprint
    assert f"the key file {home}.key was made" in first.told
    assert "copy it now" in first.told
    assert f"signer's fingerprint: {fingerprint}" in first.told
    assert "key file" not in second.told
    done = facewarden(Settings(home=home, key_file=home.with_name("home.key")), "keys", "fingerprint")
    assert done.stdout == f"{fingerprint}\n"


@one_process
def test_a_link_is_shown_when_the_port_answers_and_to_a_terminal_only(started: tuple[Path, list[Up]]) -> None:
    home, (first, second) = started
    assert (first.status, second.status) == (200, 200)
    assert "/enter/" not in first.door + first.told
    assert f"./facewarden login --home {home}" in first.door
    assert re.search(r"http://127\.0\.0\.1:\d+/enter/\S+", second.door)
    assert "/enter/" not in second.told
    for log in (home / "logs").iterdir():
        assert "/enter/" not in log.read_text(encoding="utf-8", errors="replace")


@one_process
def test_what_a_person_starts_tells_them_in_words_and_logs_to_a_file(started: tuple[Path, list[Up]]) -> None:
    home, (first, second) = started
    assert '{"' not in first.told + second.told
    assert "clock ended (exit code -9) and is started again" in second.told
    events = [json.loads(line) for line in (home / "logs/up.log").read_text(encoding="utf-8").splitlines()]
    assert any(event["event"] == "a process ended and is started again" for event in events)
    assert (home / "logs/up.log").stat().st_mode & 0o777 == 0o600


# -- logs and errors --------------------------------------------------------------------------------------------------


def test_a_crawl_at_a_terminal_shows_words_and_a_supervised_one_logs(
    settings: Settings, keys: Keys, tmp_path: Path
) -> None:
    site = Site(lambda path: NOT_FOUND if path != "/" else html("<article><h1>x</h1></article>"))
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, CARD.format(top="", read="", pages=9, port=site.server_port), tmp_path))
    (settings.home / "logs").mkdir(parents=True)
    arguments = ("crawl", str(card), "--lab", f"127.0.0.1:{site.server_port}")
    shown = run_on_terminal(settings, *arguments)
    assert "source: ok" in shown and '{"' not in shown
    assert '"loopback is open for this crawl"' in (settings.home / "logs/crawl.log").read_text()
    supervised = facewarden(settings, *arguments, "--service")
    assert '"loopback is open for this crawl"' in supervised.stderr
    site.shutdown()


def test_an_error_nobody_foresaw_is_kept_in_a_file_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    set_up_logging("test")
    try:
        raise RuntimeError("something")
    except RuntimeError:
        told = note_crash()
    (file,) = tmp_path.glob("facewarden-error-*.log")
    assert told == f"its details are in {file}"
    assert "RuntimeError: something" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_process_that_ends_is_told_of_and_one_that_keeps_ending_a_few_times_only(tmp_path: Path) -> None:
    lines: list[str] = []
    supervisor = Supervisor(settings=Settings(home=tmp_path / "home", key_file=tmp_path / "key"), tell=lines.append)
    with supervisor.running():
        child = supervisor.start(Child(name="x", role="x", argv=["/bin/false"], environ={}))
        deadline = time.monotonic() + 20
        while child.restarts < 4 and time.monotonic() < deadline:
            supervisor.poll()
            time.sleep(0.02)
    assert [line.split(" (")[0] for line in lines] == ["x ended", "x ended", "x keeps ending"]


# -- names and versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("FACEWARDEN_WEB_PROT", "did you mean FACEWARDEN_WEB_PORT?"),
        ("FACEWARDEN_PORT", ""),
        ("FACEWARDEN_XYZZY", "README.md lists the settings"),
        ("FACEWARDEN_", ""),
        ("FACEWARDEN_web_port", "did you mean"),
    ],
)
@pytest.mark.parametrize("command", [("status",), ("up",), ("doctor",)])
def test_a_variable_that_is_no_setting_is_an_error(
    settings: Settings, command: tuple[str, ...], name: str, words: str
) -> None:
    done = facewarden(settings, *command, **{name: ""})
    assert done.returncode == 2
    assert f"setting_invalid: {name}: there is no such setting" in done.stderr
    assert words in done.stderr
    assert f"fix: correct or unset {name}" in done.stderr


def test_variables_of_the_launcher_and_the_tests_are_known(tmp_path: Path) -> None:
    text = (ROOT / "facewarden").read_text(encoding="utf-8") + (ROOT / "tests/cli/test_demo.py").read_text()
    named = set(re.findall(r"FACEWARDEN_[A-Z_]+", text)) - {"FACEWARDEN_HOME"}
    load_settings(home=tmp_path, environ=dict.fromkeys(named, "x") | {"FACEWARDEN_CONFIG": ""})


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"facewarden {version}\n"
    assert version in runpy.run_path(str(ROOT / "cli/__init__.py"))["VERSION"]


def test_a_key_of_an_approver_is_no_key_file_of_a_deployment(tmp_path: Path, nowhere: Settings) -> None:
    make_approver_key(nowhere.key_file, "")
    done = facewarden(nowhere, "keys", "fingerprint")
    assert (done.returncode, "key_file_damaged" in done.stderr) == (2, True)
