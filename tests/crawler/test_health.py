"""How a source is, as a pure table; and one real shop that goes through every state."""

from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.health import CycleFacts, Health, judge_source
from tests.crawler.test_crawl import crawl, html
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection

FIELDS = ("seller", "price", "image")


@pytest.mark.parametrize(
    ("facts", "health", "words"),
    [
        (CycleFacts(ended={}), Health.NEW, "no page"),
        (CycleFacts(ended={"ok": 10}, listings=8), Health.OK, ""),
        (CycleFacts(ended={"ok": 10, "gone": 30}, listings=8, before=38), Health.OK, ""),
        (CycleFacts(ended={"captcha": 6, "ok": 4}, listings=2), Health.CAPTCHA, "captcha at 60%"),
        (CycleFacts(ended={"login_wall": 10}), Health.LOGIN_WALL, "login_wall at 100%"),
        (CycleFacts(ended={"http_401": 9}), Health.LOGIN_WALL, "http_401 at 100%"),
        (CycleFacts(ended={"http_403": 9, "ok": 1}), Health.BLOCKED, "http_403"),
        (CycleFacts(ended={"http_429": 3, "blocked": 3, "ok": 2}), Health.BLOCKED, "75%"),
        (CycleFacts(ended={"name_unknown": 1}), Health.DEAD, "name_unknown"),
        (CycleFacts(ended={"fetch_timeout": 5, "http_502": 3}), Health.DEAD, "fetch_timeout"),
        (CycleFacts(ended={"ok": 90, "login_wall": 1}, starts={"login_wall": 1}, listings=9), Health.LOGIN_WALL,
         "where the crawl starts"),
        (CycleFacts(ended={"ok": 5}, before=12), Health.EMPTY, "12 were on offer"),
        (CycleFacts(ended={"ok": 5}), Health.EMPTY, "no listing has been found"),
        (CycleFacts(ended={"layout_changed": 4, "ok": 2}, before=9), Health.DEGRADED, "layout drift: 4 of 6"),
        (CycleFacts(ended={"ok": 9}, listings=10, missing={"price": 8}), Health.DEGRADED, "price missing in 80%"),
        (CycleFacts(ended={"ok": 9}, listings=10, missing={"description": 10}), Health.OK, ""),
        (CycleFacts(ended={"ok": 9}, listings=2, missing={"price": 2}), Health.OK, ""),
        (CycleFacts(ended={"ok": 7, "http_500": 3}, listings=9), Health.DEGRADED, "http_500 at 30%"),
        (CycleFacts(ended={"ok": 7, "page_too_complex": 3}, listings=9), Health.DEGRADED, "page_too_complex"),
    ],
)  # fmt: skip
def test_a_source_is_judged_by_its_cycle(facts: CycleFacts, health: Health, words: str) -> None:
    verdict = judge_source(facts, FIELDS, 0)
    assert verdict.health is health
    assert words in verdict.reason


def test_fewer_listings_than_the_card_expects_is_degraded() -> None:
    assert judge_source(CycleFacts(ended={"ok": 9}, listings=9), FIELDS, 10).health is Health.DEGRADED
    assert judge_source(CycleFacts(ended={"ok": 9}, listings=10), FIELDS, 10).health is Health.OK


FILLER = "<p>" + "Sample photos are shown below; the archive is sent after payment. " * 12 + "</p>"


def show_shop(path: str) -> Answer:
    if path == "/":
        return html("".join(f'<a class="item" href="/{number}">lot {number}</a>' for number in range(4)))
    if path[1:].isdigit():
        return html(f"<article><h1>lot {path[1:]}, 500 photos</h1><b>10元</b>{FILLER}<img src='/one.png'></article>")
    return NOT_FOUND


LOGIN = '<h1>Log in</h1><form><input name="user"><input type="password" name="password"></form>'
STATES: list[tuple[str, Callable[[str], Answer], str, str]] = [
    ("login page", lambda path: html(LOGIN), "login_wall", "login_wall"),
    ("captcha", lambda path: html('<div class="h-captcha"></div><p>Verify you are human</p>'), "captcha", "captcha"),
    ("forbidden", lambda path: (403, {}, b"no"), "blocked", "http_403"),
    ("empty list", lambda path: html("<p>no offers</p>") if path == "/" else NOT_FOUND, "empty", "no listing"),
    ("gone", lambda path: NOT_FOUND, "dead", "http_404"),
    ("another layout",
     lambda path: show_shop("/") if path == "/" else html(f"<div class='v2'><h3>lot, 500 photos</h3>{FILLER}</div>"),
     "degraded", "layout drift"),
    ("a field less", lambda path: html(show_shop(path)[2].decode().replace("<b>10元</b>", "")), "degraded", "price"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "health", "words"), [each[1:] for each in STATES], ids=[each[0] for each in STATES])
def test_a_shop_that_changes_is_seen_within_one_cycle_and_so_is_its_recovery(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path,
    make_site: Callable[[Callable[[str], Answer]], Site], change: Callable[[str], Answer], health: str, words: str,
) -> None:  # fmt: skip
    def robots_aside(answer: Callable[[str], Answer]) -> Callable[[str], Answer]:
        return lambda path: NOT_FOUND if path == "/robots.txt" else answer(path)

    def look() -> tuple[str, str, str]:
        crawl(settings, site, tmp_path)
        row = conn.execute(
            "select health, health_reason, coalesce((select url from page where page_id = health_page), '') from source"
        ).fetchone()
        assert row is not None
        return row

    site = make_site(robots_aside(show_shop))
    assert look()[:2] == ("ok", "")
    site.answer = robots_aside(change)
    state, reason, example = look()
    assert (state, words in reason) == (health, True), f"{state}: {reason}"
    if health in ("login_wall", "captcha"):
        assert example.startswith(site.url)
        assert count(conn, "select count(*) from capture join source on page_id = health_page") >= 1, (
            "shown by a capture"
        )
        assert count(conn, "select count(*) from listing where state = 'offered'") == 4, "a wall removes nothing"
    site.answer = robots_aside(show_shop)
    assert look()[:2] == ("ok", "")
    assert count(conn, "select count(*) from listing where state = 'offered'") == 4
