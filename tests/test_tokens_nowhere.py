"""Every kind of secret is made, everything runs and fails in every way, and then none of them is found anywhere.

Links, sessions, forms, the guard's password: all of them tokens of `vault/tokens.py`, so that those are found, too, of
which no test knows the value. The token of `/metrics`, an approver's passphrase, the cookies of an imported login.
"""

import base64
import contextlib
import gzip
import http.client
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.disturb import find_ports, list_pids
from cli.setup import prepare_database, prepare_keys
from cli.supervisor import ROOT, Child, Supervisor
from tests.crawler.test_cookies import SECRET, Forum, import_session, write_card
from tests.dashboards.test_requests import enrol
from tests.fakes import Answer, Site
from vault.embedded import postgres_service
from vault.errors import ServerError
from vault.guard import USER
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection, DatabaseError, connect
from vault.store.access import make_link
from vault.store.alerts import ask_delivery
from workers.deliver import CONFIRM_LASTS

METRICS_TOKEN, PASSPHRASE = "metrics-token-of-this-test", "passphrase-of-this-test"
TOKEN = re.compile(rb"fwt_[A-Za-z0-9_-]{20,}")
GUARDS = base64.b64encode(f"{USER}:fwt_".encode())[:12]  # how its password begins in a header
COOKIE = "facewarden_session"
BROKEN = "alter table {0} rename to away_{0}"
MENDED = "alter table away_{0} rename to {0}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Supervisor]:
    """A deployment without models, its supervisor looked after by a thread."""
    home = tmp_path / "home"
    settings = Settings(home=home, key_file=tmp_path / "home.key")
    supervisor = Supervisor(settings=settings.replace("web", port=find_ports(), metrics_token=METRICS_TOKEN))
    with supervisor.running():
        keys = prepare_keys(settings)
        settings = supervisor.start_servers()
        prepare_database(settings, keys).close()
        supervisor.start_command("web", "web", ["web"])
        supervisor.start_command("clock", "clock", ["clock"])
        supervisor.start_command("people", "people", ["worker", "--people", "--name", "people"])
        stop = threading.Event()
        keeper = threading.Thread(target=keep_running, args=(supervisor, stop))
        keeper.start()
        try:
            wait_for(lambda: ask(settings, "GET", "/health")[0] == 200)
            yield supervisor
        finally:
            stop.set()
            keeper.join()


def keep_running(supervisor: Supervisor, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        supervisor.poll()


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, ServerError, DatabaseError):
            if happened():
                return
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def ask(
    settings: Settings, method: str, path: str, form: dict[str, str] | None = None, cookie: str = "", bearer: str = ""
) -> tuple[int, str, str]:
    """Status, the session's cookie, body. Raises OSError, HTTPException."""
    headers = {"Cookie": f"{COOKIE}={cookie}", "Authorization": f"Bearer {bearer}", "Connection": "close"}
    body = None if form is None else urllib.parse.urlencode(form)
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", settings.web.port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        given = answer.headers.get("Set-Cookie", "").partition(";")[0].partition("=")[2]
        return answer.status, given, answer.read().decode("utf-8", "replace")


def make_links(conn: Connection, keys: Keys, number: int) -> list[str]:
    """A path of each purpose."""
    known = enrol(conn, keys, f"ada{number}@test.example")
    fresh = enrol(conn, keys, f"una{number}@test.example", confirmed=False)
    return [
        "/enter/" + make_link(conn, "operator", CONFIRM_LASTS, operator="olga"),
        "/me/enter/" + make_link(conn, "subject", CONFIRM_LASTS, subject_id=known),
        "/me/confirm/" + make_link(conn, "confirm", CONFIRM_LASTS, subject_id=fresh),
    ]


def visit(settings: Settings, path: str, cookies: list[str]) -> int:
    """Spend a link, then use what it gave: pages, forms, a sign-out that is refused."""
    ask(settings, "GET", path)
    status, cookie, _ = ask(settings, "POST", path)
    if status == 303:
        cookies.append(cookie)
        page = ask(settings, "GET", "/security/alerts" if path.startswith("/enter") else "/me", cookie=cookie)[2]
        for token in re.findall(r'name="form_token" value="([^"]+)"', page):
            ask(settings, "POST", "/leave", {"form_token": token, "x": token}, cookie=cookie + "x")
            ask(settings, "POST", "/me/withdraw", {"form_token": token}, cookie=cookie)
    ask(settings, "GET", f"/nowhere/{path}?next={path}", cookie=cookie)
    ask(settings, "GET", "/metrics", bearer=METRICS_TOKEN)
    return status


@contextlib.contextmanager
def visited(settings: Settings, links: list[str]) -> Iterator[list[int]]:
    """Visitors follow these links again and again while the block runs; the statuses they saw."""
    stop, seen = threading.Event(), []

    def follow() -> None:
        while not stop.is_set():
            for link in (each for each in links if not stop.is_set()):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    seen.append(visit(settings, link, []))

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield seen
    stop.set()
    for thread in threads:
        thread.join()


def answers(settings: Settings) -> bool:
    with connect(settings) as conn:
        return conn.execute("select 1").fetchone() is not None and ask(settings, "GET", "/health")[0] == 200


def kill_database(settings: Settings) -> None:
    for pid in list_pids(settings.home, "postgres"):
        os.kill(pid, signal.SIGQUIT)


def run_in_terminal(argv: list[str], env: dict[str, str], typed: str, lines: int) -> str:
    """Run a command that asks for `lines` at its terminal; what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, env)
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if select.select([terminal], [], [], 0.2)[0]:
                if not (part := os.read(terminal, 4096)):
                    break
                shown += part
                continue
        if lines and shown.rstrip().endswith(b":"):
            os.write(terminal, f"{typed}\n".encode())
            lines -= 1
        elif os.waitpid(pid, os.WNOHANG)[0]:
            break
    os.close(terminal)
    return shown.decode("utf-8", "replace")


def find_secrets(text: bytes, known: list[str]) -> set[bytes]:
    found = set(TOKEN.findall(text)) | ({GUARDS} if GUARDS in text else set())
    return found | {each.encode() for each in known if each.encode() in text or each.encode().hex().encode() in text}


def read_files(*folders: Path) -> Iterator[tuple[str, bytes]]:
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            yield str(path), data
            if path.suffix == ".gz":
                yield f"{path} unpacked", gzip.decompress(data)


def read_tables(conn: Connection) -> Iterator[tuple[str, bytes]]:
    for (table,) in conn.execute("select tablename from pg_tables where schemaname = 'public'").fetchall():
        rows = conn.execute(f'select t::text from "{table}" t'.encode()).fetchall()
        yield f"table {table}", "\n".join(row for (row,) in rows).encode()


def test_after_everything_has_failed_no_secret_is_in_any_log_file_or_row(
    site: Supervisor, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    settings = site.settings
    cookies: list[str] = []
    keys = prepare_keys(settings)
    conn = connect(settings)

    # what asks at a terminal
    env = {**child_environment(settings), "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    command = [sys.executable, "-P", "-m", "cli", "source", "key", "new", "--name", "olga"]
    assert "public key" in run_in_terminal(command, env, PASSPHRASE, 2)
    (key,) = (tmp_path / "config").rglob("*.pem")
    (tmp_path / "bad.toml").write_text("name = 'x'\n")
    run_in_terminal([*command[:5], "sign", str(tmp_path / "bad.toml"), "--key", str(key)], env, PASSPHRASE, 1)

    # all is well
    assert [visit(settings, link, cookies) for link in make_links(conn, keys, 0)] == [303, 303, 303]

    # pages and messages fail in the middle, with tokens at hand: 500s, steps that crash
    for number, table in enumerate(("session", "ledger", "consent", "delivery"), 1):
        links = make_links(conn, keys, number)
        conn.execute(BROKEN.format(table).encode())
        with visited(settings, links):
            time.sleep(1.0)
        conn.execute(MENDED.format(table).encode())
        with conn.transaction():
            for (subject_id,) in conn.execute("select subject_id from live_consent").fetchall():
                ask_delivery(conn, subject_id, "confirmation")

    # the mail folder cannot be written, workers are killed
    settings.mail_folder.rename(tmp_path / "mail-away")
    settings.mail_folder.write_text("in the way")
    time.sleep(1.5)
    for pid in list_pids(settings.home, "people"):
        os.kill(pid, signal.SIGKILL)
    settings.mail_folder.unlink()

    # Redis and the database die under requests and under a crawl with a login
    forum = Forum(make_site)
    card = write_card(settings, forum, tmp_path)
    import_session(settings, card, tmp_path)
    lab = [f"--lab=127.0.0.1:{each.server_port}" for each in (forum.site, forum.elsewhere)]
    crawl = [sys.executable, "-P", "-m", "cli", "crawl", str(card), *lab]
    links = make_links(conn, keys, 10)
    conn.close()
    site.start(Child(name="crawl", role="crawl", argv=crawl, environ=site.environ(), keep=False))
    with visited(settings, links) as seen:
        time.sleep(1.5)
        for pid in list_pids(settings.home, "redis"):
            os.kill(pid, signal.SIGKILL)
        kill_database(settings)
        time.sleep(1.0)
    assert set(seen) & {303, 410, 503}
    wait_for(lambda: answers(settings))
    spare = connect(settings)
    late = make_links(spare, keys, 11)
    spare.close()
    site.children["postgres"].keep = False  # so that the outage lasts
    kill_database(settings)
    wait_for(lambda: "postgres" not in site.children)
    assert {ask(settings, "POST", link)[0] for link in late} == {503}
    login = [sys.executable, "-P", "-m", "cli", "login"]
    subprocess.run(login, env=site.environ(), capture_output=True, timeout=60, check=False)
    site.start_service(postgres_service(settings.home))
    wait_for(lambda: answers(settings) and ask(settings, "GET", "/me", cookie="x")[0] == 303)
    assert [visit(settings, link, cookies) for link in late] == [303, 303, 303], "links that failed work later"

    wait_for(lambda: len(list(settings.mail_folder.iterdir())) > 0)
    mailed = b"".join(path.read_bytes() for path in settings.mail_folder.iterdir()).replace(b"=\r\n", b"")
    assert TOKEN.search(mailed), "the search finds one where it may be"
    known = [METRICS_TOKEN, PASSPHRASE, SECRET, *cookies, *(link.rsplit("/", 1)[1] for link in (*links, *late))]
    with connect(settings) as conn:
        places = [*read_tables(conn), *read_files(settings.home, tmp_path / "config")]
    found = {
        place: hits
        for place, text in places
        if not place.startswith(str(settings.mail_folder)) and (hits := find_secrets(text, known))
    }
    assert found == {}
    assert any("the database does not answer" in text.decode("utf-8", "replace") for _, text in places)
    assert any(b"UndefinedTable" in text for _, text in places), "there were crashes to be logged"
