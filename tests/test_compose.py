"""compose.yaml and the Dockerfile, read as text: who may write, who may reach out, where the secrets come from.

No library of the lock reads YAML, so `read_yaml` reads what the file uses of it and refuses the rest; where Docker's
compose is installed, it reads the file, too.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import COMMANDS, PROCESSES, make_parser
from cli.commands import health
from cli.commands.crawler import stop_crawls
from crawler.browser import launch_options
from crawler.proxy import GuardProcess
from vault.egress import Policy
from vault.quiet import QUIET
from vault.settings import Settings, list_paths, variable_name
from vault.store import Connection
from workers.faces.runtimes import Runtime

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("vault", "matcher", "evidence", "crawler", "workers", "dashboards", "cli")
SERVERS = ("postgres", "redis")
ONE_SHOT = "migrate"
LOCKS = ["requirements.lock", "requirements-gpu.lock"]
HOME = "/var/lib/facewarden"
REQUIRED = {"POSTGRES_PASSWORD": "p", "REDIS_PASSWORD": "r", "KEY_FOLDER": "/tmp/key", "CONFIG_FOLDER": "/tmp/config"}
CONTENT = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^"#]|(?<=\S)#)*')  # of a line, without its comment
REQUIRED_VARIABLE = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL")


# -- a reader of as much YAML as compose.yaml uses ------------------------------------------------------------------


def read_yaml(text: str) -> dict[str, Any]:
    """Block mappings and lists of scalars, quoted or plain; one-line lists; anchors, aliases and `<<`. All scalars come
    as text. Raises ValueError for anything else."""
    lines = [found for line in text.splitlines() if (found := CONTENT.match(line)) and found[0].strip()]
    rest = [(len(line[0]) - len(line[0].lstrip()), line[0].strip()) for line in lines]
    table = read_block(rest, {})
    if rest or not isinstance(table, dict):
        raise ValueError(f"not understood: {rest[:1]}")
    return table


def read_block(rest: list[tuple[int, str]], anchors: dict[str, Any]) -> Any:
    """The block that begins with the first line of `rest`, which is used up on the way."""
    indent = rest[0][0]
    if rest[0][1].startswith("- "):
        items = []
        while rest and rest[0][0] == indent:
            items.append(read_scalar(rest.pop(0)[1].removeprefix("- "), anchors))
        return items
    table: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    while rest and rest[0][0] == indent:
        key, mark, value = rest.pop(0)[1].partition(":")
        if not mark or key in table or (value and not value.startswith(" ")):
            raise ValueError(f"not a key of its own: {key}")
        found = re.fullmatch(r" *(?:&([a-z]+))? *(.*)", value)
        assert found is not None
        inside = read_block(rest, anchors) if not found[2] and rest and rest[0][0] > indent else None
        if key == "<<":
            merged = read_scalar(found[2], anchors)
            continue
        table[key] = inside if inside is not None else read_scalar(found[2], anchors)
        if found[1]:
            anchors[found[1]] = table[key]
    return {**merged, **table}


def read_scalar(text: str, anchors: dict[str, Any]) -> Any:
    if text.startswith("*"):
        return anchors[text[1:]]
    if text == "{}":
        return {}
    if text.startswith("["):
        return json.loads(re.sub(r"(?<=[\[ ])[a-z_]+(?=[,\]])", lambda word: f'"{word[0]}"', text))
    if text.startswith('"'):
        return json.loads(text)
    if text[:1] in ("'", "|", ">", "{", "&", "!", "%", "@") or ": " in text:
        raise ValueError(f"not understood: {text}")
    return text


COMPOSE = read_yaml((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(SERVICES.keys() - set(SERVERS))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)


def list_mounts(name: str) -> dict[str, tuple[str, bool]]:
    """Place inside -> (what is mounted there, may it be written)."""
    mounts = {}
    for text in SERVICES[name].get("volumes", []):
        source, place, mode = re.fullmatch(r"(\$\{[^}]+\}|[a-z]+):(/[^:]+)(:ro)?", text).groups()  # type: ignore[union-attr]
        mounts[place] = source, mode is None
    return mounts


@pytest.mark.parametrize("text", ["a: 'b'", "a: |", "a: {b: c}", "a: b: c", "a: b\na: c", "a:b", "- a\nb: c"])
def test_the_reader_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ValueError):
        read_yaml(text)


def test_the_reader_knows_comments_anchors_and_merges() -> None:
    text = 'a: &one  # a comment\n  b: "# none"\n  c: [x, "y"]\nd:\n  <<: *one\n  b: p#q\ne:\n  - *one\n'
    one = {"b": "# none", "c": ["x", "y"]}
    assert read_yaml(text) == {"a": one, "d": {"b": "p#q", "c": ["x", "y"]}, "e": [one]}


# -- who may do what ------------------------------------------------------------------------------------------------


def test_everything_that_runs_has_its_service() -> None:
    assert set(SERVICES) == {*SERVERS, ONE_SHOT, "clock", "worker", "people", "gpu", "crawler", "web"}


@each_service
def test_a_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] == "true"
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(int(number) > 0 for number in service["user"].split(":")), "runs as root"


@each_service
def test_a_service_is_limited_restarted_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"]) and int(service["pids_limit"]) <= 600
    if name == ONE_SHOT:
        assert service["restart"] == "no" and service["healthcheck"] == {"disable": "true"}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@each_service
def test_a_service_gets_its_secrets_from_outside_the_file(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        if SECRET_NAME.search(variable):
            assert REQUIRED_VARIABLE.fullmatch(value), variable
        password = re.search(r"://[^/@:]*:((?:\$\{[^}]*\}|[^@])*)@", value)
        if password:
            assert REQUIRED_VARIABLE.fullmatch(password[1]), variable


def test_nothing_in_the_files_looks_like_a_secret() -> None:
    for name in ("compose.yaml", "Dockerfile", "docs/deploy.md"):
        assert not re.findall(r"[0-9a-fA-F]{24,}|[A-Za-z0-9+/]{40,}=*", (ROOT / name).read_text(encoding="utf-8")), name


def test_only_the_web_server_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8600:8600"]}


def test_only_the_crawler_and_the_web_server_are_on_a_network_with_a_way_out() -> None:
    closed = {name for name, network in COMPOSE["networks"].items() if network.get("internal") == "true"}
    opened = {name: sorted(set(service["networks"]) - closed) for name, service in SERVICES.items()}
    assert {name: networks for name, networks in opened.items() if networks} == {
        "crawler": ["outside"],
        "web": ["front"],
    }
    assert COMPOSE["networks"]["front"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    assert all("network_mode" not in service for service in SERVICES.values())


def test_the_key_lies_apart_and_only_the_one_shot_may_make_it() -> None:
    places = {name: mounts["/key"] for name in SERVICES if "/key" in (mounts := list_mounts(name))}
    assert set(places) == {ONE_SHOT, "worker", "people", "gpu", "crawler", "web"}  # not the clock, not the servers
    assert {name for name, (_, writable) in places.items() if writable} == {ONE_SHOT}
    assert all(source.startswith("${KEY_FOLDER:?") for source, _ in places.values())
    assert "FACEWARDEN_KEY_FILE=/key/" in DOCKERFILE


def test_the_redis_evicts_nothing_and_asks_for_a_password() -> None:
    (_, _, command) = SERVICES["redis"]["command"]
    assert "--maxmemory-policy noeviction" in command and '--requirepass "$$REDIS_PASSWORD"' in command


# -- what runs ------------------------------------------------------------------------------------------------------


@each_of_ours
def test_a_command_is_one_of_ours(name: str) -> None:
    checked = SERVICES[name]["healthcheck"].get("test", ["CMD", "facewarden", "health"])
    assert checked[:2] == ["CMD", "facewarden"]
    for arguments in (SERVICES[name]["command"], checked[2:]):
        assert arguments[0] in (*COMMANDS, *PROCESSES)
        make_parser((arguments[0],)).parse_args(arguments)


@each_of_ours
def test_a_variable_is_one_that_the_settings_read(name: str) -> None:
    known = {variable_name(path) for path, _ in list_paths(Settings)}
    libraries = {"PGPASSWORD", "PGSSLMODE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", *QUIET}
    assert set(SERVICES[name]["environment"]) <= known | libraries


@each_service
def test_a_volume_is_declared_and_mounted_where_its_user_may_write(name: str) -> None:
    made = re.search(r"install -d -m 0700 -o 10001 -g 10001 ([a-z ]+) \\\n", DOCKERFILE)
    assert made is not None
    for place, (source, _) in list_mounts(name).items():
        if not source.startswith("$"):
            assert source in COMPOSE["volumes"]
        if place == HOME:
            assert name == ONE_SHOT
        elif place.startswith(HOME):
            assert place.removeprefix(HOME + "/") == source and source in made[1].split()


@each_of_ours
def test_an_image_is_a_stage_of_the_dockerfile(name: str) -> None:
    target = SERVICES[name]["build"]["target"]
    assert f" AS {target}\n" in DOCKERFILE
    assert SERVICES[name]["image"] == f"facewarden-{target}"
    assert target == (name if name in ("crawler", "gpu") else "app")


def test_images_are_plain_names_of_a_stated_version() -> None:
    names = [service["image"] for name, service in SERVICES.items() if name in SERVERS]
    stages = re.findall(r" AS (\w+)\n", DOCKERFILE)
    names += [name for name in re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) if name not in stages]
    for name in names:
        assert re.fullmatch(r"(valkey/)?[a-z]+:\d+(-slim)?", name), name


def test_the_images_install_their_locks_and_nothing_else() -> None:
    installs = re.findall(r"pip(?: --python \S+)? install ((?:.*\\\n)*.*)", DOCKERFILE)
    assert [words.split()[-1] for words in re.findall(r"-r \S+", DOCKERFILE)] == LOCKS
    assert len(installs) == len(re.findall(r"\binstall --no-cache-dir", DOCKERFILE)) == len(LOCKS)
    assert all({"--no-deps", "--require-hashes", "--no-cache-dir"} <= set(install.split()) for install in installs)
    assert "chromium" not in DOCKERFILE.split(" AS crawler\n")[0].partition("\n\n")[2]


def test_the_gpu_worker_is_a_worker_that_embeds_on_a_gpu_when_it_is_asked_for() -> None:
    own = {"profiles", "scale", "build", "image", "environment", "deploy", "mem_limit"}
    gpu, worker = SERVICES["gpu"], SERVICES["worker"]
    assert gpu.keys() - worker.keys() == {"profiles", "deploy"} and gpu["profiles"] == ["gpu"]
    assert {key for key in worker if gpu[key] != worker[key]} == own - {"profiles", "deploy"}
    assert gpu["environment"] == worker["environment"] | {"FACEWARDEN_FACES_RUNTIME": Runtime.CUDA.value}
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert not any("profiles" in service or "deploy" in service for name, service in SERVICES.items() if name != "gpu")


def test_the_locks_of_the_gpu_image_do_not_name_a_package_twice() -> None:
    names = [re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(encoding="utf-8"), re.M) for lock in LOCKS]
    assert not set(names[0]) & set(names[1])
    assert "onnxruntime" in names[0] and "onnxruntime-gpu" in names[1]
    assert "uninstall -y --quiet onnxruntime " in DOCKERFILE
    assert "://" not in (ROOT / LOCKS[1]).read_text(encoding="utf-8")


def test_the_image_runs_as_an_ordinary_user_and_holds_every_room() -> None:
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]:
        if re.match(r"\S+ AS (build|cuda)\n", stage):
            continue
        assert re.findall(r"^USER (\S+)", stage, re.M)[-1] == "10001:10001"
    assert set(re.findall(r"^COPY (\w+) /app/\1$", DOCKERFILE, re.M)) == set(ROOMS)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == {*ROOMS, "facewarden", *LOCKS}
    assert next(line for line in ignored if not line.startswith("#")) == "*"


# -- Docker's own reader, where it is installed ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            continue
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


def run_reader(reader: list[str], folder: Path, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    nothing = folder / "empty.env"  # so that nobody's own `.env` is read
    nothing.touch()
    command = [
        *reader,
        "--env-file",
        str(nothing),
        "-f",
        str(ROOT / "compose.yaml"),
        "--profile",
        "gpu",
        "config",
        "-q",
    ]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_docker_compose_accepts_the_file(reader: list[str], tmp_path: Path) -> None:
    done = run_reader(reader, tmp_path, REQUIRED)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", REQUIRED)
def test_docker_compose_says_which_variable_is_missing(reader: list[str], tmp_path: Path, missing: str) -> None:
    done = run_reader(reader, tmp_path, {name: value for name, value in REQUIRED.items() if name != missing})
    assert done.returncode != 0
    assert "docs/deploy.md" in done.stderr


# -- what the containers ask of our commands ---------------------------------------------------------------------------


def test_health_is_good_while_database_and_redis_answer(settings: Settings, conn: Connection) -> None:
    assert health.run(argparse.Namespace(web=False), settings) == 0


@pytest.mark.parametrize(
    ("broken", "url"),
    [("database", "postgresql://facewarden@127.0.0.1:1/facewarden"), ("redis", "redis://127.0.0.1:1/0")],
)
def test_health_names_the_server_that_does_not_answer(
    settings: Settings, capsys: pytest.CaptureFixture[str], broken: str, url: str
) -> None:
    ill = dataclasses.replace(settings, servers=dataclasses.replace(settings.servers, **{f"{broken}_url": url}))
    assert health.run(argparse.Namespace(web=False), ill) == 1
    told = json.loads(capsys.readouterr().out)
    assert [part for part, state in told.items() if state != "ok"] == [broken]


def test_health_is_bad_without_a_web_server(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.run(argparse.Namespace(web=True), settings.replace("web", port=1)) == 1
    assert "does not answer" in capsys.readouterr().out


def test_a_crawl_that_waits_for_a_slow_answer_does_not_hold_up_the_stop() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    crawls = [subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) for _ in range(2)]
    for crawl in crawls:
        assert crawl.stdout is not None and crawl.stdout.readline()
    started = time.monotonic()
    stop_crawls(crawls, patience=0.5)
    assert time.monotonic() - started < 5.0
    assert all(crawl.poll() is not None for crawl in crawls)


def test_chromium_gets_none_of_our_addresses_and_passwords(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "not for the browser")
    with GuardProcess(Policy(hosts=("example.org",))) as guard:
        options = launch_options(settings.replace("crawl", chromium=sys.executable), guard)
    assert {"PATH"} <= options["env"].keys() <= {"PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "CHROMIUM", *QUIET}
