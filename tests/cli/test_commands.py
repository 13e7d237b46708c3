"""The commands from outside: help, one line for every trouble, nothing told to the wrong person."""

import contextlib
import datetime as dt
import importlib
import ipaddress
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.disturb import find_ports, list_pids
from cli.__main__ import COMMANDS, PROCESSES, find_command, main, make_parser
from cli.commands.alerts import find_alert
from cli.commands.crawl import check_lab
from cli.commands.status import fold_processes, show_value
from cli.supervisor import ROOT, Child, Supervisor
from tests.samples import PEOPLE, count, make_listing, portrait, raise_alert
from vault.egress import Policy, check_address, parse_target
from vault.errors import EvidenceError, SettingError
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection
from vault.store.datasets import Link, join_datasets, lock_datasets
from vault.store.subjects import save_subject
from workers.context import Context
from workers.deliver import deliver
from workers.make_templates import make_templates


def facewarden(settings: Settings, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**child_environment(settings), "PYTHONPATH": str(ROOT), **environ}
    argv = [sys.executable, "-P", "-m", "cli", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", [*COMMANDS, *PROCESSES])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: facewarden" in shown
    assert name in PROCESSES or "example:\n  ./facewarden" in shown


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("test", "verify")])
def test_the_examples_of_the_help_are_commands_that_exist(name: str) -> None:
    text = importlib.import_module(f"cli.commands.{name}").__doc__ or ""
    lines = [line.split("./facewarden ", 1)[1] for line in text.splitlines() if "./facewarden " in line]
    parser = make_parser((name,))
    assert lines
    for line in lines:
        words = shlex.split(line.split("   ")[0])
        if words[0] == name:
            parser.parse_args(words)


def test_the_help_lists_what_people_use_and_not_what_the_supervisor_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n    {name} " in shown for name in COMMANDS)
    assert not any(f"\n    {name} " in shown for name in PROCESSES)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["crawl", "nowhere.toml"], "card_missing", "cannot read"),
        (["enrol", "--address", "no address", "--photo", "PHOTO"], "address_invalid", "no e-mail address"),
        (["enrol", "--address", "a@b.example\r\nBcc: c@d.example", "--photo", "PHOTO"], "address_invalid", ""),
        (["enrol", "--address", "a@b.example", "--photo", "/nowhere.jpg"], "photo_unreadable", "cannot read"),
        (["withdraw", "--address", "nobody@b.example"], "subject_unknown", "nobody is enrolled"),
        (["alerts", "--seal", "12345678-1234-5678-1234-567812345678"], "evidence_invalid", "no such alert"),
        (["models", "add", "insightface:x", "--licence", "research-only", "--from", "/nowhere.zip"], "model_", ""),
        (["demo", "--faces", "/nowhere", "--exit"], "setting_invalid", "no folder"),
        (["demo", "--lab", "10.0.0.1:80"], "setting_invalid", "not a loopback"),
        (["demo", "--port", "0"], "setting_invalid", "between 1 and 65535"),
        (["demo", "--port", "-5"], "setting_invalid", "between 1 and 65535"),
        (["demo", "--port", "99999"], "setting_invalid", "between 1 and 65535"),
        (["demo", "--port", "65534"], "setting_invalid", "the markets need the next 3 ports"),
        (["demo", "--workers", "-1"], "setting_invalid", "workers: must be 0 or more"),
        (["demo", "--json", "/nowhere/x.json"], "setting_invalid", "--json: /nowhere/x.json"),
        (["demo", "--results", "/tmp"], "setting_invalid", "--results: /tmp"),
        (["up", "--workers", "-1"], "setting_invalid", "workers: must be 0 or more"),
        (["up", "--port", "0"], "setting_invalid", "between 1 and 65535"),
        (["up", "--home", ""], "setting_invalid", "--home is empty"),
        (["up", "--home", "~nosuchuser/x"], "setting_invalid", "nosuchuser"),
        (["up", "--home", "/etc"], "setting_invalid", "other things in it"),
        (["source", "list", "--home", ""], "setting_invalid", "--home is empty"),
        (["alerts", "--seal", "%"], "evidence_invalid", "no such alert"),
        (["alerts", "--seal", ""], "evidence_invalid", "no such alert"),
        (["alerts", "--not-me", "nonsense"], "evidence_invalid", "no such alert"),
        (["alerts", "--take-back", ""], "evidence_invalid", "no such alert"),
    ],
)
def test_a_trouble_is_one_line_with_a_code_and_exit_code_2(
    settings: Settings, keys: Keys, tmp_path: Path, arguments: list[str], code: str, words: str
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(portrait("astronaut"))
    done = facewarden(settings, *[str(photo) if each == "PHOTO" else each for each in arguments])
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"facewarden: {code}" in done.stderr
    assert words in done.stderr
    assert code != "setting_invalid" or "\n  fix: " in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wokers = 2", "did you mean 'workers'"),
        ("[web]\nport = 'x'", "a whole number"),
        ("[web]\nport = 0", "between 1 and 65535"),
        ("[faces]\npack = 'none'", "none"),
        ("workers = ", "TOML"),
        ("home = '/x'", "--home"),
    ],
)
def test_a_wrong_setting_names_file_and_mend(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "f.toml"
    config.write_text(text)
    argv = [sys.executable, "-P", "-m", "cli", "up", "--home", str(tmp_path / "home"), "--config", str(config)]
    done = subprocess.run(
        argv, env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_word_in_the_environment_is_named(settings: Settings) -> None:
    done = facewarden(settings, "status", FACEWARDEN_WORKERS="many")
    assert done.returncode == 2
    assert "FACEWARDEN_WORKERS: 'many' is not a number" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACEWARDEN_WORKERS", "1.2.3"),
        ("FACEWARDEN_WEB_PORT", "."),
        ("REDIS_URL", "foo://:hunter2@x"),
        ("DATABASE_URL", "postgresql://u:hunter2@h:port/d"),
        ("FACEWARDEN_CRAWL_HASH_LISTS", "/nowhere/list"),
    ],
)
@pytest.mark.parametrize("command", [["up"], ["demo", "--exit"]])
def test_a_wrong_word_in_the_environment_stops_a_start(
    settings: Settings, tmp_path: Path, command: list[str], name: str, value: str
) -> None:
    own = settings.replace("servers", database_url="", redis_url="").replace("", home=tmp_path / "own")
    port = find_ports()
    done = facewarden(own, *command, "--port", str(port), **{name: value})
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert "facewarden: setting_invalid" in done.stderr
    assert "\n  fix: " in done.stderr
    assert not (own.home / "postgres").exists(), "before anything runs"


def test_passwords_of_the_servers_are_shown_to_nobody(settings: Settings, keys: Keys) -> None:
    url = settings.servers.database_url.replace("facewarden@", "facewarden:hunter2@")
    known = settings.replace("servers", database_url=url, redis_url="redis://:hunter2@127.0.0.1:9/0")
    supervisor = Supervisor(settings=known)
    with supervisor.running():
        supervisor.start(Child(name="x", role="x", argv=["/bin/sleep", "60"], environ={}))
        shown = facewarden(known, "status", "--json")
        assert json.loads(shown.stdout)["redis_url"] == "redis://:***@127.0.0.1:9/0"
        for done in (shown, facewarden(known, "status")):
            assert done.returncode == 0, done.stderr
            assert "***" in done.stdout
            assert "hunter2" not in done.stdout + done.stderr


def test_many_processes_of_a_kind_are_one_line_and_times_have_seconds() -> None:
    each = {"name": "postgres-backend", "role": "postgres-backend", "restarts": 0}
    rows = fold_processes(
        [{"name": "web", "role": "web", "pid": 1, "restarts": 0, "rss_mb": 1.0}]
        + [{**each, "pid": pid, "rss_mb": float(pid)} for pid in (2, 3, 4)]
    )
    assert [(row["role"], row["name"]) for row in rows] == [("web", "web"), ("postgres-backend", "3 processes")]
    assert rows[1]["rss_mb"] == "4.0 at most"
    assert show_value(dt.datetime(2026, 1, 2, 3, 4, 5, 678, dt.UTC)) == "2026-01-02 03:04:05+00:00"


@pytest.mark.parametrize(
    "arguments",
    [["models", "list"], ["source", "list"], ["source", "key", "new", "--name", "a"], ["models", "add", "x"],
     ["ledger", "verify"], ["status"], ["alerts"]],
)  # fmt: skip
def test_home_and_config_may_stand_anywhere(arguments: list[str]) -> None:
    parser = make_parser((arguments[0],))
    more = ["--licence", "l", "--from", "f"] if "add" in arguments else []
    for words in (
        [*arguments, *more, "--home", "H", "--config", "C"],
        ["--home", "H", *arguments, *more, "--config", "C"],
        [arguments[0], "--home", "H", "--config", "C", *arguments[1:], *more],
    ):
        args = parser.parse_args(words)
        assert (args.home, args.config) == ("H", "C")
    assert not hasattr(parser.parse_args([*arguments, *more]), "home")


def test_the_value_of_home_is_never_taken_for_the_command(settings: Settings, tmp_path: Path) -> None:
    assert find_command(["--home", "demo", "status", "x"]) == "status"
    assert find_command(["--config=demo", "--home=up", "alerts"]) == "alerts"
    assert find_command(["--home"]) == find_command([]) == find_command(["--help"]) == ""
    done = facewarden(settings, "--home", str(tmp_path / "demo"), "status")
    assert done.returncode in (0, 1), done.stderr


@pytest.mark.parametrize(("word", "guess"), [("statsu", "did you mean 'status'"), ("xyzzy", "commands are: demo, up")])
def test_an_unknown_command_is_told_what_people_use(word: str, guess: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert guess in told
    assert not any(name in told for name in ("worker", "clock", "crawler", "health", "web"))


# -- alerts -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def alerts(conn: Connection, keys: Keys, settings: Settings) -> list[str]:
    """Three alerts of one person; two of their ids begin alike."""
    ids = ["3f0c0000-0000-4000-8000-000000000001", "3f0d0000-0000-4000-8000-000000000002",
           "a0000000-0000-4000-8000-000000000003"]  # fmt: skip
    with conn.transaction():
        subject_id = save_subject(conn, keys, "a@b.example", "w", "test", b"photo", settings.faces.pack)
    for number, alert_id in enumerate(ids):
        listing_id = make_listing(conn, f"source-{number}")
        conn.execute(
            """insert into alert (alert_id, subject_id, dataset_id, band)
               select %s, %s, dataset_id, 'strong' from listing where listing_id = %s""",
            [alert_id, subject_id, listing_id],
        )
    conn.execute("update listing_version set title = '[bold]x[/] :smile: ' || %s", ["long " * 40])
    return ids


def test_ids_of_alerts_are_whole_on_a_narrow_terminal(settings: Settings, alerts: list[str]) -> None:
    done = facewarden(settings, "alerts", COLUMNS="40")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines[1::2]} == set(alerts)
    assert "[bold]x[/] :smile: long" in lines[2], "a market's words are shown as they are"


def test_an_alert_is_known_by_the_first_letters_of_its_id_when_only_one_begins_so(
    conn: Connection, alerts: list[str]
) -> None:
    for prefix, number in (("3f0c", 0), ("3F0D-", 1), ("a", 2), (alerts[0], 0), (alerts[1].replace("-", ""), 1)):
        assert str(find_alert(conn, prefix)) == alerts[number]
    with pytest.raises(EvidenceError, match="several"):
        find_alert(conn, "3f0")
    for prefix in ("b", "", "-", "%", alerts[0] + "0"):
        with pytest.raises(EvidenceError, match="no such alert"):
            find_alert(conn, prefix)


# -- datasets ---------------------------------------------------------------------------------------------------------


def test_datasets_are_listed_and_one_that_was_merged_is_found(settings: Settings, keys: Keys, conn: Connection) -> None:
    first, second = make_listing(conn, "one"), make_listing(conn, "two")
    make_listing(conn, "three")
    merged = count(conn, "select dataset_id from listing where listing_id = %s", second)
    with conn.transaction():
        lock_datasets(conn, change=True)
        join_datasets(conn, Link(listing_id=second, other_id=first, reason="overlap", shared=5, listing_size=6))
    (row,) = json.loads(facewarden(settings, "datasets", "--json").stdout)
    assert (row["listings"], row["sources"], row["sellers"]) == (2, 2, 1)
    assert len(json.loads(facewarden(settings, "datasets", "--all", "--json").stdout)) == 2
    done = facewarden(settings, "datasets", str(merged))
    assert done.stdout.splitlines()[0] == f"dataset {row['dataset_id']}"
    assert f"listing {second} joined (shares 5 of its 6 pictures with listing {first}" in done.stdout
    refused = facewarden(settings, "datasets", "999")
    assert refused.returncode == 2
    assert "there is no dataset 999" in refused.stderr


# -- loopback ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "lab"),
    [
        (["127.0.0.1:8601"], ("127.0.0.1:8601",)),
        (["127.0.0.1:08601", "127.0.0.1:8601"], ("127.0.0.1:8601",)),
        (["127.9.9.9:1"], ("127.9.9.9:1",)),
        (["[::1]:8601"], ("[::1]:8601",)),
        (["[0:0::1]:08601", "127.0.0.1:2"], ("[::1]:8601", "127.0.0.1:2")),
    ],
)
def test_a_pair_is_spelt_as_the_guard_compares_it(pairs: list[str], lab: tuple[str, ...]) -> None:
    assert check_lab(pairs) == lab
    assert check_lab(list(lab)) == lab, "told on to a crawl it stays the same"
    for pair in lab:
        target, _ = parse_target(f"http://{pair}/")
        check_address(ipaddress.ip_address(target.host), target, Policy(hosts=(pair,), lab=lab))


@pytest.mark.parametrize("pair", ["[::1%1]:80", "[::ffff:127.0.0.1]:80", "[::1]", "[::2]:80", "127.0.0.1:65536", ":80"])
def test_a_pair_that_could_never_match_is_refused(pair: str) -> None:
    with pytest.raises(SettingError, match="not a loopback address"):
        check_lab([pair])


def test_a_database_that_is_not_there_is_one_line(settings: Settings) -> None:
    done = facewarden(settings, "ledger", "verify", DATABASE_URL="postgresql://127.0.0.1:9/none?connect_timeout=1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    argv = [sys.executable, "-P", "-m", "cli", "up", "--home", str(tmp_path / "file/home")]
    done = subprocess.run(
        argv, env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "fix:" in done.stderr


def test_enrolling_tells_the_terminal_nothing_about_the_person(context: Context, tmp_path: Path) -> None:
    """Whether it matches is told to the confirmed address only; of the photo it is said whether it will do."""
    shown = []
    for number, name in enumerate(("astronaut", "blank")):
        photo = tmp_path / f"{name}.jpg"
        photo.write_bytes(portrait(name) if name in PEOPLE else b"\xff\xd8\xff not a picture")
        arguments = ("--address", f"p{number}@test.example", "--photo", str(photo), "--wait", "0")
        done = facewarden(context.settings, "enrol", *arguments)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    assert shown[0].replace("p0@", "p1@") == shown[1]
    while make_templates(context) or deliver(context):
        pass
    assert count(context.conn, "select count(*) from consent where confirmed_at is not null") == 0
    mails = [path.read_text(encoding="utf-8") for path in context.settings.mail_folder.glob("*.eml")]
    assert sum("/me/confirm/" in mail for mail in mails) == 2


def test_the_ledger_verifies_and_a_changed_row_is_named(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(portrait("astronaut"))
    assert (
        facewarden(settings, "enrol", "--address", "a@b.example", "--photo", str(photo), "--wait", "0").returncode == 0
    )
    done = facewarden(settings, "ledger", "verify")
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    conn.execute("alter table ledger disable trigger user")
    conn.execute("update ledger set entry = replace(entry, 'recorded', 'forgotten')")
    done = facewarden(settings, "ledger", "verify")
    assert done.returncode == 1
    assert "FAILED" in done.stdout


def test_status_gives_pid_and_role_of_every_process(tmp_path: Path) -> None:
    made = Settings(home=tmp_path / "home", key_file=tmp_path / "home.key")
    supervisor = Supervisor(settings=made)
    with supervisor.running():
        supervisor.start_servers()
        supervisor.start_command("clock", "clock", ["clock"])
        done = facewarden(made, "status", "--json")
        table = json.loads(done.stdout)
        roles = {each["role"]: each["pid"] for each in table["processes"]}
        assert {"supervisor", "postgres", "redis", "clock"} <= set(roles)
        clock = supervisor.children["clock"].process
        assert clock is not None
        assert roles["clock"] == clock.pid
    assert facewarden(made, "status").returncode == 1


def test_doctor_says_what_is_active(settings: Settings, keys: Keys) -> None:
    done = facewarden(settings, "doctor", COLUMNS="200")
    assert done.returncode == 0, done.stdout
    for word in ("box: limits", "box: probes", "all refused", "opencv-zoo", "key file"):
        assert word in done.stdout, word


def test_models_list_shows_licence_and_digests(settings: Settings) -> None:
    done = facewarden(settings, "models", "list", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4" in done.stdout
    assert "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79" in done.stdout
    assert "Apache-2.0" in done.stdout


def test_a_research_pack_is_refused_in_commercial_mode(settings: Settings, tmp_path: Path) -> None:
    commercial = settings.replace("faces", commercial=True)
    done = facewarden(commercial, "models", "add", "insightface:x", "--licence", "research-only", "--from", "x.zip")
    assert done.returncode == 2
    assert "commercial = true" in done.stderr


def test_up_brings_everything_up_and_stops_on_a_signal(tmp_path: Path) -> None:
    home, port = tmp_path / "home", find_ports()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", "up", "--home", str(home), "--port", str(port), "--workers", "1"],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ctrl-C stops" in line:
                break
        assert all(
            list_pids(home, role) for role in ("postgres", "redis", "web", "worker", "people", "clock", "crawler")
        )
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert list_pids(home, "postgres") == []


def test_up_has_no_flag_that_opens_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stderr(sys.stdout):
        main(["up", "--lab", "127.0.0.1:8601"])
    assert ended.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().out


def test_an_operator_notes_what_a_person_said_and_its_end(context: Context) -> None:
    conn = context.conn
    alert_id = str(raise_alert(context, make_listing(conn)))
    told = [facewarden(context.settings, "alerts", "--not-me", alert_id[:8]) for _ in range(2)]
    assert [done.stdout for done in told] == [
        "Noted: faces like these do not alert this person.\n",
        "This was noted already.\n",
    ]
    (row,) = json.loads(facewarden(context.settings, "alerts", "--json").stdout)
    assert row["judgement"] == "not me"
    assert "person says not me" in facewarden(context.settings, "alerts").stdout
    assert count(conn, "select count(*) from judgement where operator <> ''") == 1
    told = [facewarden(context.settings, "alerts", "--take-back", alert_id) for _ in range(2)]
    assert [done.stdout for done in told] == [
        "Taken back: what was held back alerts them now.\n",
        "There was nothing to take back.\n",
    ]
    conn.execute("insert into withdrawal (subject_id) select subject_id from subject")
    gone = facewarden(context.settings, "alerts", "--not-me", alert_id)
    assert (gone.returncode, "facewarden: alert_unknown" in gone.stderr) == (2, True)
