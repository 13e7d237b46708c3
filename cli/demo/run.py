"""The demo from end to end: in come options, out come figures and an exit code.

Sets up servers and markets, enrols people through the same door as everybody, crawls, waits until every row is in a
final state, seals one bundle, and holds the alerts against what was planted.
"""

import contextlib
import email
import email.policy
import json
import re
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import psutil
from rich.live import Live

from cli.commands.enrol import enrol
from cli.commands.up import Stop, listen_for_stop, show_door, start_base, start_parts, wait_for_web
from cli.demo.outcome import Outcome, find_people, is_settled, list_results, read_outcome
from cli.demo.people import ADDRESS
from cli.demo.plant import FORUM, MARKETS, SHOP, SPA, Plan, write_markets
from cli.setup import check_port
from cli.supervisor import ROOT, Child, Supervisor
from crawler.approval import DemoApprovers
from crawler.browser import INSTALL, find_chromium
from evidence.verify import check_bundle
from matcher.calibration import derive_cut, load_calibration
from vault.errors import EnrolmentError, FacewardenError, ServerError
from vault.keys import Keys, load_keys
from vault.letters import count_of
from vault.quiet import QUIET
from vault.settings import Settings
from vault.store import Connection, DatabaseError, connect
from vault.store.bundles import ask_bundle, get_bundle_file
from vault.store.deployment import DeploymentKind
from vault.store.status import count_live_templates, count_states
from vault.terminal import Grid, Screen, working

MARKET_PORTS = {SHOP: 1, FORUM: 2, SPA: 3}  # added to the dashboard's port
CARDS = {SHOP: "demo_shop", FORUM: "demo_forum", SPA: "demo_spa"}
PATIENCE_SECONDS = 1800.0  # for a step of the demo that does not move
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")  # proc(5)
LINK = re.compile(r"http://\S+/me/confirm/\S+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    exit: bool
    json_file: Path | None = None
    results_file: Path | None = None
    faces: bool = False


@dataclass(kw_only=True)
class Demo:
    """One run."""

    settings: Settings
    plan: Plan
    options: Options
    console: Screen  # what is being done
    results: Screen = field(default_factory=Screen)  # what came of it
    markets: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    crawl_exits: dict[str, int] = field(default_factory=dict)
    lab: tuple[str, ...] = ()  # loopback pairs that somebody opened beside the markets' own
    withdrawn_before: bool = False  # had anybody withdrawn here before this run?

    @property
    def ports(self) -> dict[str, int]:
        return {market: self.settings.web.port + MARKET_PORTS[market] for market in MARKETS}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self.console.print(name, style="bold")
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


def run_demo(demo: Demo) -> int:
    """Returns 0 when the alerts are what was planted, else 1. Raises FacewardenError."""
    started = time.monotonic()
    listen_for_stop()
    folder = Path(tempfile.mkdtemp(prefix="facewarden-markets-"))
    try:
        with Supervisor(settings=demo.settings).running() as supervisor:
            conn, keys = set_up(demo, supervisor, folder)
            demo.withdrawn_before = has_withdrawn(conn)
            with demo.stage("enrol"):
                people = enrol_people(demo, supervisor, conn, keys)
            with demo.stage("crawl and match"):
                start_crawls(demo, supervisor, folder, DemoApprovers(conn, keys))
                conn = wait_until_settled(demo, supervisor)
            with demo.stage("seal and verify"):
                bundle, verified = seal_one(demo, supervisor, conn)
            outcome = read_outcome(conn, people)
            if demo.options.results_file:
                text = json.dumps(list_results(conn, people), ensure_ascii=False, indent=0)
                demo.options.results_file.write_text(text, encoding="utf-8")
            figures = make_figures(demo, conn, outcome, bundle, verified, time.monotonic() - started)
            code = report(demo, figures)
            if not demo.options.exit:
                stay(demo, supervisor)
            return code
    except Stop:
        demo.console.print("stopped")
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- set up -----------------------------------------------------------------------------------------------------------


def set_up(demo: Demo, supervisor: Supervisor, folder: Path) -> tuple[Connection, Keys]:
    """Servers, workers, web, and the three markets."""
    with demo.stage("set up"):
        for market in MARKETS:
            check_port("127.0.0.1", demo.ports[market], "--port")
        check_port(demo.settings.web.host, demo.settings.web.port, "--port")
        demo.settings = start_base(supervisor, demo.console, DeploymentKind.DEMO)
        start_parts(supervisor, ("web", "worker", "people"))
        write_markets(demo.plan, folder)
        for market in demo.markets:
            start_market(supervisor, market, folder / market, demo.ports[market])
        wait_for_web(supervisor)
    return connect(demo.settings, patience=10.0), load_keys(demo.settings.key_file)


def start_market(supervisor: Supervisor, market: str, folder: Path, port: int) -> None:
    """A program of its own that knows nothing of us."""
    script = ROOT / "cli/demo/markets" / f"{market}.py"
    argv = [sys.executable, str(script), "--folder", str(folder), "--port", str(port)]
    supervisor.start(
        Child(name=f"market-{market}", role="market", argv=argv, environ={**QUIET, "PATH": "/usr/bin:/bin"})
    )
    wait_for_port(port)


def wait_for_port(port: int, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as exc:
            if time.monotonic() > deadline:
                raise ServerError(f"nothing answers on port {port}", mend="see the logs folder") from exc
            time.sleep(0.05)


# -- enrolment --------------------------------------------------------------------------------------------------------


def enrol_people(demo: Demo, supervisor: Supervisor, conn: Connection, keys: Keys) -> dict[UUID, str]:
    """Everybody of the plan enrols as anybody would: consent recorded, mail sent, link followed, template made."""
    addresses = {name: make_address(name) for name in demo.plan.enrolled}
    for name, photo in demo.plan.enrolled.items():
        with contextlib.suppress(EnrolmentError):  # enrolled by an earlier run
            enrol(conn, keys, demo.settings, addresses[name], photo, recorded_by="demo")
    followed: set[str] = set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    with working("waiting for their photos to be looked at", demo.console) as tell:
        while (live := count_live_templates(conn, demo.settings.faces.pack)) < (usable := count_usable(conn)):
            supervisor.poll()
            followed |= follow_links(demo, followed)
            if time.monotonic() > deadline:
                raise ServerError("the enrolments do not become templates", mend="see the workers' logs")
            tell(f"{live} of {usable}")
            time.sleep(0.1)
    people = find_people(conn, keys, addresses)
    refused = count_states(conn).get("template", {}).get("quarantined", 0)
    demo.console.print(f"  {count_of(len(people), 'person', 'people')}, {count_of(refused, 'photo')} refused")
    return people


def has_withdrawn(conn: Connection) -> bool:
    """Has anybody withdrawn here? Whoever enrols again is not searched in the faces that were closed before."""
    return conn.execute("select 1 from withdrawal limit 1").fetchone() is not None


def make_address(name: str) -> str:
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())}@{ADDRESS}"


def count_usable(conn: Connection) -> int:
    """Templates that can still become searchable: not refused, not withdrawn."""
    row = conn.execute(
        """select count(*) from template where state <> 'quarantined'
             and not exists (select from withdrawal where withdrawal.subject_id = template.subject_id)"""
    ).fetchone()
    return int(row[0]) if row else 0


def follow_links(demo: Demo, known: set[str]) -> set[str]:
    """Read the mailbox as the people would, and follow each confirmation link once."""
    done = set()
    for path in demo.settings.mail_folder.glob("*.eml"):
        if path.name in known:
            continue
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        body = message.get_body()
        found = LINK.search(body.get_content()) if body is not None else None
        if found is not None:
            with contextlib.suppress(httpx2.HTTPError):
                with httpx2.Client(trust_env=False, timeout=20) as browser:
                    browser.get(found[0]).raise_for_status()
                    answer = browser.post(found[0], headers={"Origin": demo.settings.public_url})
                if answer.status_code not in (303, 410):  # 410: followed in an earlier run
                    continue
        done.add(path.name)
    return done


# -- crawl ------------------------------------------------------------------------------------------------------------


def start_crawls(demo: Demo, supervisor: Supervisor, folder: Path, approvers: DemoApprovers) -> None:
    """The demo's own approvers sign its cards."""
    demo.console.print(f"  lab: loopback open for {', '.join(list_lab(demo, demo.markets))}")
    for market in demo.markets:
        card = (ROOT / "crawler/sources" / CARDS[market] / "card.toml").read_text(encoding="utf-8")
        path = folder / f"{market}.toml"
        path.write_text(approvers.sign(card.replace("PORT", str(demo.ports[market]))), encoding="utf-8")
        start_crawl(demo, supervisor, market, path)


def start_crawl(demo: Demo, supervisor: Supervisor, market: str, card: Path) -> None:
    arguments = ["crawl", str(card), "--service"]
    for pair in list_lab(demo, (market,)):
        arguments += ["--lab", pair]
    supervisor.start_command(f"crawl-{market}", "crawl", arguments, keep=False)


def list_lab(demo: Demo, markets: tuple[str, ...]) -> tuple[str, ...]:
    """The loopback pairs that are open while these markets are crawled: theirs, and those of the command line."""
    return tuple(dict.fromkeys((*(f"127.0.0.1:{demo.ports[market]}" for market in markets), *demo.lab)))


def wait_until_settled(demo: Demo, supervisor: Supervisor) -> Connection:
    """Look after the processes until every crawl has ended and every row is in a final state. A crawl that ended early
    (its database went away, it was killed) is started again: it goes on where it was."""
    conn: Connection | None = None
    quiet_since = moved = time.monotonic()
    last: dict[str, dict[str, int]] = {}
    with Live(console=demo.console, refresh_per_second=4, transient=True) as live:
        while True:
            for child in supervisor.poll():
                market = child.name.removeprefix("crawl-")
                demo.crawl_exits[market] = child.exit_code or 0
                if child.exit_code != 0:
                    start_crawl(demo, supervisor, market, Path(child.argv[5]))
            watch_memory(demo, supervisor)
            try:
                conn = conn if conn is not None and not conn.broken else connect(demo.settings, patience=30.0)
                states = count_states(conn)
            except (DatabaseError, FacewardenError):
                conn = None
                continue
            live.update(show_progress(states))
            now = time.monotonic()
            if states != last:
                last, moved = states, now
            crawling = any(child.role == "crawl" for child in supervisor.children.values())
            if crawling or not is_settled(states):
                quiet_since = now
            if now - quiet_since > 0.5:
                return conn
            if now - moved > PATIENCE_SECONDS:
                raise ServerError("nothing has moved for half an hour", mend="see the logs folder")
            time.sleep(0.2)


def show_progress(states: dict[str, dict[str, int]]) -> Grid:
    grid = Grid("", "waiting", "at work", "done", "refused", box=None)
    for name in ("page", "sample", "face", "delivery"):
        counts = states.get(name, {})
        grid.add_row(name + "s", *(str(counts.get(key, 0)) for key in ("ready", "running", "done", "quarantined")))
    return grid


def watch_memory(demo: Demo, supervisor: Supervisor) -> None:
    """The highest resident memory seen of each kind of process, in MB (the kernel's own high-water mark)."""
    from cli.commands.status import name_role

    known = {child.process.pid: child.role for child in supervisor.children.values() if child.process}
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                role = known.get(process.pid) or name_role(" ".join(process.cmdline()))
                peak = PEAK.search(Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"))
                if peak:  # absent for a process that has just ended
                    demo.peak_mb[role] = max(demo.peak_mb.get(role, 0.0), round(int(peak[1]) / 1000, 1))


# -- evidence ---------------------------------------------------------------------------------------------------------


def seal_one(demo: Demo, supervisor: Supervisor, conn: Connection) -> tuple[str | None, bool]:
    """One evidence bundle, of the oldest alert, sealed by a worker and checked here: (path, verified)."""
    row = conn.execute("select alert_id from alert order by created_at, alert_id limit 1").fetchone()
    if row is None:
        return None, False
    ask_bundle(conn, row[0], "demo")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        supervisor.poll()
        state, file, code = get_bundle_file(conn, row[0])
        if state == "done" and file:
            path = demo.settings.home / file
            return str(path), not check_bundle(path.read_bytes()).failed
        if state == "quarantined":
            raise ServerError(f"the bundle could not be sealed: {code}", mend="see the workers' logs")
        time.sleep(0.1)
    raise ServerError("the bundle was not sealed in time", mend="see the workers' logs")


# -- report -----------------------------------------------------------------------------------------------------------


def make_figures(
    demo: Demo, conn: Connection, outcome: Outcome, bundle: str | None, verified: bool, seconds: float
) -> dict[str, Any]:
    expected = demo.plan.expected_alerts(demo.markets, demo.ports)
    found, false = outcome.alerts & expected, outcome.alerts - expected
    matching = demo.settings.matching
    cut = derive_cut(
        load_calibration(demo.settings.faces.pack),
        false_alerts=matching.false_alerts_per_day,
        faces=matching.faces_per_day,
        templates=count_live_templates(conn, demo.settings.faces.pack),
    )
    figures: dict[str, Any] = {
        "pages": outcome.pages,
        "listings": outcome.listings,
        "samples": outcome.samples,
        "faces": outcome.faces,
        "refused": outcome.refused,
        "matches": outcome.matches,
        "held": outcome.held,
        "expected_alerts": len(expected),
        "found_alerts": len(found),
        "false_alerts": len(false),
        "missed": sorted(f"{name} in {url}" for name, url in expected - found),
        "false": sorted(f"{name} in {url}" for name, url in false),
        "seconds": round(seconds, 2),
        "stages": demo.seconds,
        "images_per_second": round(outcome.samples / max(demo.seconds["crawl and match"], 0.01), 1),
        "bundle": bundle,
        "bundle_verified": verified,
        "cut": round(cut.score, 4),
        "calibration": cut.calibration_id,
        "markets": {market: "crawled" if market in demo.markets else "skipped" for market in MARKETS},
        "peak_mb": demo.peak_mb,
    }
    if demo.options.faces:
        planted = demo.plan.expected_photos(demo.markets, demo.ports)
        alerted = {name for name, _ in found}
        wanted = {name for name, _ in expected}
        figures |= {
            "recall_photos": round(len(planted & outcome.photos) / max(len(planted), 1), 4),
            "photos_expected": len(planted),
            "false_photos": len(outcome.photos - planted),
            "people_expected": len(wanted),
            "people_alerted": len(alerted),
        }
    return figures


def report(demo: Demo, figures: dict[str, Any]) -> int:
    """The table, the JSON file, and the exit code."""
    table = Grid("", "", title="what came of it", show_header=False)
    for name in ("pages", "listings", "samples", "faces", "matches", "held"):
        table.add_row(name, str(figures[name]))
    for code, count in figures["refused"].items():
        table.add_row(f"refused: {code}", str(count))
    table.add_row("alerts expected / found / false",
                  f"{figures['expected_alerts']} / {figures['found_alerts']} / {figures['false_alerts']}")  # fmt: skip
    if demo.options.faces:
        table.add_row(
            "photos of enrolled people found", f"{figures['recall_photos']:.1%} of {figures['photos_expected']}"
        )
        table.add_row("photos with a false match", str(figures["false_photos"]))
        table.add_row("people alerted", f"{figures['people_alerted']} of {figures['people_expected']}")
    table.add_row("cut", f"{figures['cut']} from {figures['calibration']}")
    for name, seconds in figures["stages"].items():
        table.add_row(f"time: {name}", f"{seconds:.1f} s")
    table.add_row("time: everything", f"{figures['seconds']:.1f} s")
    table.add_row("images per second", str(figures["images_per_second"]))
    table.add_row("evidence bundle", "verified" if figures["bundle_verified"] else "NOT VERIFIED")
    demo.results.print(table)
    if figures["bundle"]:
        demo.results.print(f"evidence bundle: {figures['bundle']}")
    for market, state in figures["markets"].items():
        if state == "skipped":
            demo.results.print(f"market {market} was skipped: no Chromium here; install it with: {INSTALL}")
    for missed in figures["missed"][:20]:
        demo.results.print(f"missed: {missed}")
    for each in figures["false"][:20]:
        demo.results.print(f"false: {each}")
    if figures["missed"] and demo.withdrawn_before:
        demo.results.print(
            "somebody withdrew here before this run: who enrols again is not searched in what was crawled before, so "
            f"this run cannot find everybody; remove {demo.settings.home} or choose another --home for a whole one",
        )
    if demo.options.json_file:
        demo.options.json_file.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return judge(demo, figures)


def judge(demo: Demo, figures: dict[str, Any]) -> int:
    """0 when alerts equal the planted truth. Real faces never all match: there, 90 % of the photos found, at most 3
    false alerts and at most a tenth of the people missed."""
    if not figures["bundle_verified"]:
        return 1
    if not demo.options.faces:
        return int(figures["expected_alerts"] != figures["found_alerts"] or figures["false_alerts"] > 0)
    missed = figures["people_expected"] - figures["people_alerted"]
    good = figures["recall_photos"] >= 0.9 and figures["false_alerts"] <= 3
    return int(not good or missed > figures["people_expected"] / 10)


def stay(demo: Demo, supervisor: Supervisor) -> None:
    """Until Ctrl-C."""
    for name in [name for name, child in supervisor.children.items() if child.role == "market"]:
        supervisor.children[name].keep = True
    show_door(demo.settings)
    more = shlex.join(["./facewarden", "status", "--home", str(demo.settings.home)])
    demo.console.print(f"  more: {more}")
    demo.console.print("Ctrl-C stops everything; the data stay for the next run")
    while True:
        supervisor.poll()
        time.sleep(0.3)


def choose_markets(settings: Settings) -> tuple[str, ...]:
    return MARKETS if find_chromium(settings) else (SHOP, FORUM)
