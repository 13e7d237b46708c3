"""What lets somebody in (one-time links, sessions, keys in addresses) is in no row and no log of a crawl."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.browser import find_chromium
from tests.crawler.test_crawl import crawl, html
from tests.fakes import NOT_FOUND, Answer, Site
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection

TOKEN = "kX3vT9qLw2Zr8PbN5yHd"
ELSEWHERE = f"http://u:{TOKEN}@elsewhere.example/reset/{TOKEN}?key={TOKEN}"
VISIT = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def made_keys(keys: Keys, settings: Settings) -> None:
    """Every crawl needs the key file, and logs into its folder if there is one."""
    (settings.home / "logs").mkdir()


def read_rows(conn: Connection) -> str:
    """Everything that the database says, as one text."""
    tables = conn.execute("select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace")
    names = [name for (name,) in tables.fetchall()]
    rows = [row for name in names for row in conn.execute(f'select t::text from "{name}" t').fetchall()]
    return "\n".join(text for (text,) in rows)


def check_told(settings: Settings, done: "subprocess.CompletedProcess[str]", conn: Connection) -> str:
    rows = read_rows(conn)
    logs = [path.read_text() for path in settings.home.rglob("*.log")]
    assert any("a fetch failed" in log or "refused" in log for log in logs)
    for where in (done.stdout, done.stderr, rows, *logs):
        assert TOKEN not in where, where[max(0, where.index(TOKEN) - 300) :][:400]
        assert VISIT not in where, where[max(0, where.index(VISIT) - 300) :][:400]
    return rows


def test_no_refused_redirect_or_broken_answer_leaves_a_token_in_a_row_or_log(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    redirects = {
        "/away": ELSEWHERE, "/scheme": f"ftp://elsewhere.example/{TOKEN}", "/script": f"javascript:x('{TOKEN}')",
        "/data": f"data:text/html,{TOKEN}", "/port": f"http://127.0.0.1:1/x?token={TOKEN}",
        "/visit": f"/visited?sid={VISIT}&a=1",
    }  # fmt: skip

    def answer(path: str) -> Answer:
        if path == "/":
            return html("".join(f'<a class="item" href="{each}">x</a>' for each in (*redirects, "/hops0", "/big")))
        if path in redirects:
            return 302, {"Location": redirects[path]}, b""
        if path.startswith("/hops"):
            return 302, {"Location": f"/hops{int(path[5:]) + 1}"}, b""
        if path == "/big":
            return 200, {"Content-Length": str(99 << 20)}, b"x"
        return html("<article><h1>lot</h1></article>") if path.startswith("/visited") else NOT_FOUND

    site = make_site(answer)
    done = crawl(settings, site, tmp_path)
    rows = check_told(settings, done, conn)
    assert rows.count("redirect_refused") >= 5
    assert "http://elsewhere.example/reset/…?key=…" in rows, "where it led is told all the same"
    assert "/visited?a=1" in site.hits, "a session in an address is not sent back"


def test_no_refusal_of_the_guard_leaves_a_token_in_the_ledger(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    calls = f"""fetch('http://elsewhere.example/in/{TOKEN}?key={TOKEN}').catch(() => 0);
        fetch('/moved').catch(() => 0); setTimeout(() => {{ location = '{ELSEWHERE}' }}, 300);"""

    def answer(path: str) -> Answer:
        if path == "/moved":
            return 302, {"Location": f"http://elsewhere.example/then/{TOKEN}?key={TOKEN}"}, b""
        return html(f"<article><h1>lot</h1></article><script>{calls}</script>") if path == "/" else NOT_FOUND

    done = crawl(settings, make_site(answer), tmp_path, top='rendering = "browser"')
    rows = check_told(settings, done, conn)
    assert "elsewhere.example/in/…?key=…" in rows
