"""No search oracle by an operator alone: two deployments that differ in nothing but whom of two people they know, the
same picture, and everything that an operator can see of both. With one signature it is the same to the byte; with two
it is not, which shows that the walk would see an answer where there is one."""

import contextlib
import difflib
import json
import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from cli.__main__ import COMMANDS, main
from cli.commands.crawler import list_due
from dashboards.app import list_routes, make_app
from tests.approvers import let_in, sign_by, trust_one
from tests.conftest import make_settings
from tests.crawler.test_crawl import CARD as MARKET
from tests.crawler.test_crawl import html, run_command
from tests.dashboards.test_pages import sign_in_operator, sign_in_subject
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import add_sample, draw_picture, encode, enrol_person, make_listing, portrait, run_steps
from vault.keys import make_key_file
from vault.log import set_up_logging
from vault.records import Policy
from vault.settings import Servers, child_environment
from vault.steps import Step
from vault.store.deployment import check_deployment
from workers.app import take_turn
from workers.context import Context
from workers.faces.engine import Engine

FOLDER = """name = "seized"\nkind = "folder"\n[why]\npurpose = "Files that a test makes"
legal_basis = "Made by the test itself"\nvalid_until = 2099-12-31\n[keep]\npolicy = "{policy}"\n{days}"""
# what differs between two deployments whatever is found in them: ids, digests, times, and how long something took
RANDOM = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?", "TIME"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"\b\d\d:\d\d\b", "HOUR"),
    (r"\d{8}T\d{6}Z-\d+", "NAME"),
    (r'"seconds": [0-9.]+', "SECONDS"),
    (r"(facewarden_scrape_seconds|facewarden_source_crawled_timestamp_seconds\{[^}]*\}) [0-9.e+]+", r"\1 S"),
    (r'"(created|cycle)_at": [0-9.]+', "AT"),
    (r"[0-9.]+ MB", "MB"),
    (r"\d+/s\b", "N/s"),
    (r'name="form_token" value="[^"]+"', "FORM"),
    (r"/tmp/\S*?/(one|other)/", "/FOLDER/"),
    (r"(127\.0\.0\.1|localhost):\d+", "HOST:PORT"),
    (r"\btest_\d+\b", "DATABASE"),
    (r"(?m)^│ [0-9a-f]{8} ", "│ PERSON "),  # of the one who is enrolled, in `people`
]

TOKEN = "of-whoever-reads-metrics"

World = Context
MakeWorld = Callable[[str, str], World]


@pytest.fixture
def make_world(
    servers: Servers, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeWorld]:
    """A deployment of its own by its name, in which this person is enrolled."""
    with contextlib.ExitStack() as stack:

        def make(name: str, person: str) -> World:
            (tmp_path / name).mkdir()
            settings = stack.enter_context(make_settings(servers, tmp_path / name))
            make_key_file(settings.key_file)
            (settings.home / "logs").mkdir()  # where commands write what they do not print
            world = Context(settings)
            world.__dict__["engine"] = engine
            stack.callback(world.close)
            check_deployment(world.conn, world.keys)
            trust_one(world.conn, world.keys)
            let_in(world.conn, world.keys, "second")
            enrol_person(world, person)
            run_steps(world)
            return world

        yield make


# -- everything that an operator can see -----------------------------------------------------------------------------


def leave_out_random(text: str) -> str:
    for pattern, name in RANDOM:
        text = re.sub(pattern, name, text)
    return text


class Walk:
    """What one deployment shows, by where it is seen; without what is random in all of them."""

    def __init__(self, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._world, self._capsys, self._monkeypatch = world, capsys, monkeypatch
        self.seen: dict[str, str] = {}

    def note(self, where: str, text: str) -> None:
        where = leave_out_random(where)
        while where in self.seen:
            where += " again"
        self.seen[where] = leave_out_random(text)

    def command(self, *arguments: str) -> None:
        """A command of an operator: what it prints, and its exit code."""
        for name, value in child_environment(self._world.settings).items():
            self._monkeypatch.setenv(name, value)
        self._capsys.readouterr()
        code = main([*arguments, "--home", str(self._world.settings.home)])
        told = self._capsys.readouterr()
        self.note(" ".join(arguments[:3]), f"{code}\n{told.out}\n{told.err}")

    def steps(self, name: str) -> None:
        """The logs of the workers, of every step."""
        self._capsys.readouterr()
        set_up_logging("worker", level=logging.INFO, to=sys.stdout)
        while sum(take_turn(self._world, step) for step in Step):
            pass
        told = self._capsys.readouterr()
        self.note(f"logs of {name}", told.out + told.err)

    def routes(self) -> None:
        """Every page that can be asked for, of faces every one there is."""
        app = make_app(self._world.settings.replace("web", metrics_token=TOKEN))
        with TestClient(app, base_url="http://127.0.0.1:8600", follow_redirects=False) as client:
            sign_in_operator(client, self._world.conn)
            faces = [row[0] for row in self._world.conn.execute("select face_id from face")]
            alerts = [row[0] for row in self._world.conn.execute("select alert_id from alert order by created_at")]
            alerts = alerts or [uuid4()]
            for path in [path for method, path in list_routes(app) if method == "GET"]:
                for number in (*faces, 10**6) if "{face_id}" in path else (0,):
                    # whoever knows the id of an alert that is its person's, and whoever does not, get one answer
                    for alert_id in alerts if "{alert_id}" in path else (0,):
                        asked = path.format(face_id=number, alert_id=alert_id, token="0")
                        self._ask(client, asked, f"{path} {number}")
            assert {"/metrics 0", "/security/alerts 0", "/security/faces/{face_id}.png 1"} <= self.seen.keys()

    def _ask(self, client: TestClient, path: str, where: str) -> None:
        answer = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"} if path == "/metrics" else {})
        body = answer.text if "text" in answer.headers.get("content-type", "") else answer.content.hex()
        self.note(where, f"{answer.status_code} {sorted(answer.headers)} {body}")

    def files(self) -> None:
        """What lies in the state folder; but for `mail`, of which SECURITY.md speaks."""
        home = self._world.settings.home
        found = sorted(
            f"{path.relative_to(home).parts[0]}/{path.stat().st_size if 'blobs' in path.parts else ''}"
            for path in home.rglob("*")
            if path.is_file() and path.relative_to(home).parts[0] not in ("mail", "run")
        )
        self.note("files", "\n".join(found))
        for path in sorted((home / "logs").iterdir()):
            self.note(f"log of {path.name}", path.read_text(encoding="utf-8"))

    def everything(self) -> dict[str, str]:
        for line in (
            "alerts", "alerts --json", "alerts --held --json", "datasets", "datasets --all --json", "hunts --all",
            "hunts --json", "status", "status --json", "source list --json", "source list", "source approvers",
            "calibrate", "people", "ledger show --last 999", "ledger verify",
        ):  # fmt: skip
            self.command(*line.split())
        for number in range(1, 8):
            self.command("datasets", str(number), "--json")
        for (source,) in self._world.conn.execute("select name from source order by name").fetchall():
            self.command(
                "warc", "export", source, "--out", str(self._world.settings.home.parent / f"pages of {source}")
            )
        alerts = self._world.conn.execute("select alert_id from alert order by created_at").fetchall()
        for what in ("--seal", "--not-me", "--take-back"):
            self.command("alerts", what, str(alerts[0][0] if alerts else uuid4()))
            self.command("alerts", what, "zz")
        self.routes()
        self.files()
        return self.seen


def test_the_walk_knows_every_command() -> None:
    """A new one comes to the list here, or is one that shows nothing of what is found."""
    walked = {"alerts", "datasets", "hunts", "status", "source", "calibrate", "ledger", "ingest", "crawl", "people",
              "warc"}  # fmt: skip
    silent = {"demo", "up", "doctor", "enrol", "withdraw", "keys", "login", "models", "verify", "test"}
    assert set(COMMANDS) == walked | silent


# -- what an operator does -------------------------------------------------------------------------------------------


def prepare_market(world: World) -> None:
    """An open market that sells the three drawn pictures that the operator hands in as well."""
    listing_id = make_listing(world.conn, "market")
    for seed in range(3):
        add_sample(world, listing_id, encode(draw_picture(seed), 90))
    run_steps(world)


def fill_folder(folder: Path) -> Path:
    """A picture of the person whom one of the deployments knows, one of a stranger, and what the market sells."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jpg").write_bytes(portrait("astronaut", 60))
    (folder / "b.jpg").write_bytes(portrait("t1-4", 60))
    for seed in range(3):
        (folder / f"c{seed}.jpg").write_bytes(encode(draw_picture(seed), 80))
    return folder


def hand_in(walk: Walk, world: World, folder: Path, *names: str, policy: Policy = Policy.EPHEMERAL) -> None:
    days = "days = 30\n" if policy is Policy.RETRO else ""
    card = folder.parent / "card.toml"
    card.write_text(sign_by(FOLDER.format(policy=policy.value, days=days), *names))
    walk.command("ingest", str(fill_folder(folder)), "--card", str(card))
    walk.steps("ingest")


def answer(path: str) -> Answer:
    if path == "/":
        return html('<article><h1>5000张人脸 10元</h1><b>10元</b><img src="/one.jpg"><img src="/two.jpg"></article>')
    if path in ("/one.jpg", "/two.jpg"):
        name = "astronaut" if path == "/one.jpg" else "t1-4"
        return 200, {"Content-Type": "image/jpeg"}, portrait(name, 60)
    return NOT_FOUND


def crawl_own(walk: Walk, world: World, site: Site, folder: Path, *names: str) -> None:
    card = folder / "market.toml"
    card.write_text(sign_by(MARKET.format(top="", read="", pages=10, port=site.server_port), *names))
    done = run_command(world.settings, "crawl", str(card), "--lab", f"127.0.0.1:{site.server_port}", "--quiet")
    walk.note("crawl", f"{done.returncode}\n{done.stdout}\n{done.stderr}")
    shutil.copy(card, world.settings.home / "cards") if (world.settings.home / "cards").is_dir() else None
    walk.note("schedule", str(list_due(world.settings, world.keys, {})))
    walk.steps("crawl")


def compare(one: dict[str, str], other: dict[str, str]) -> dict[str, list[str]]:
    """Where they differ, and in which lines."""
    assert one.keys() == other.keys()
    return {
        where: [line for line in difflib.ndiff(one[where].splitlines(), other[where].splitlines()) if line[0] in "+-"]
        for where in one
        if one[where] != other[where]
    }


@pytest.mark.parametrize(
    ("names", "policy"),
    [
        (("tester",), Policy.EPHEMERAL),
        (("tester",), Policy.RETRO),
        (("tester", "second"), Policy.EPHEMERAL),
    ],
    ids=["one approver", "one approver, kept", "two approvers"],
)
def test_handed_in_material_answers_operators_only_with_a_second_signature(
    make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...], policy: Policy,
) -> None:  # fmt: skip
    seen = []
    for name, person in (("one", "astronaut"), ("other", "t1-1")):
        world = make_world(name, person)
        prepare_market(world)
        walk = Walk(world, capsys, monkeypatch)
        hand_in(walk, world, tmp_path / name / "seized", *names, policy=policy)
        seen.append(walk.everything())
        told = world.conn.execute("select count(*) from alert").fetchone()
        assert told == (int(person == "astronaut"),), "the picture is of the person whom one of them knows"
    different = compare(*seen)
    if len(names) == 1:
        assert different == {}
        assert "market" not in seen[0]["datasets 2 --json"], "nothing is linked to other sources"
    else:
        assert {"alerts", "alerts --json", "status --json", "/metrics 0", "files", "ledger show --last"} <= {*different}
        assert "market" in seen[0]["datasets 1 --json"]
        assert "seized" in seen[0]["datasets 1 --json"]


@pytest.mark.parametrize("names", [("tester",), ("tester", "second")], ids=["one approver", "two approvers"])
def test_a_server_of_ones_own_answers_operators_only_with_a_second_signature(
    make_world: MakeWorld, make_site: Callable[[Callable[[str], Answer]], Site], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...],
) -> None:  # fmt: skip
    seen, site = [], make_site(answer)
    for name, person in (("one", "astronaut"), ("other", "t1-1")):
        world = make_world(name, person)
        prepare_market(world)
        walk = Walk(world, capsys, monkeypatch)
        crawl_own(walk, world, site, tmp_path / name, *names)
        crawl_own(walk, world, site, tmp_path / name, *names)  # what is kept shows in what is fetched again
        seen.append(walk.everything())
    different = compare(*seen)
    if len(names) == 1:
        assert different == {}
    else:
        assert "alerts --json" in different


def test_a_crawled_page_of_ones_own_shows_a_label_an_alert_and_the_person_sees_it_too(
    make_world: MakeWorld, make_site: Callable[[Callable[[str], Answer]], Site], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Crawled outside, under one signature: two of one's own markets, each with the person, and nothing joins them."""
    world = make_world("one", "astronaut")
    (subject_id,) = world.conn.execute("select subject_id from subject").fetchone() or (None,)
    assert isinstance(subject_id, UUID)
    digest = world.keys.digest_text(f"subject:{subject_id}")
    for name in ("mine", "also-mine"):
        add_sample(world, make_listing(world.conn, name, signers=("1" * 64,)), portrait("astronaut", 60))
        run_steps(world)
    walk = Walk(world, capsys, monkeypatch)
    walk.everything()
    walk.command("alerts", "--json")
    told = json.loads(re.sub(r"^0\n", "", walk.seen["alerts --json"]).strip())
    assert sorted(each["source"] for each in told) == ["also-mine", "mine"]
    assert len({each["person"] for each in told}) == 2
    assert all(each["labelled"] and each["told"] is None and each["judgement"] is None for each in told)
    entries = [entry for (entry,) in world.conn.execute("select entry from ledger where entry like '%%subject%%'")]
    assert not [entry for entry in entries if digest in entry and '"what":"alert"' in entry]
    with TestClient(make_app(world.settings), base_url="http://127.0.0.1:8600", follow_redirects=False) as client:
        sign_in_operator(client, world.conn)
        page = client.get("/security/alerts").text
        assert digest[:8] not in page
        for each in told:
            assert each["person"] in page
            assert digest[:8] not in client.get(f"/security/alerts/{each['alert']}").text
        client.cookies.clear()
        sign_in_subject(client, world.conn, subject_id)
        assert client.get("/me").text.count("in a dataset offered for sale.") == 2
