"""Addresses in logs, rows and the ledger carry nothing that lets anybody in."""

import io
import json
import logging
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.log import get_logger, set_up_logging
from vault.urls import hide_urls, looks_random, show_url

TOKEN = "kX3vT9qLw2Zr8PbN5yHd"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/t/5?page=2&key=abc", "https://a.example/t/5?page=…&key=…"),
        ("http://olga:secret@a.example:8080/x", "http://a.example:8080/x"),
        ("http://a.example/x?a=1#access_token=abc", "http://a.example/x?a=…"),
        (f"http://a.example/reset/{TOKEN}", "http://a.example/reset/…"),
        (f"http://a.example/x.php?{TOKEN}", "http://a.example/x.php?…"),
        (f"http://a.example/x?{TOKEN}=1", "http://a.example/x?…=…"),
        ("http://a.example/i.php?action=post2;topic=1.0;sesc=abc", "http://a.example/i.php?action=…;topic=…;sesc=…"),
        ("http://a.example/x;jsessionid=ABC?y", "http://a.example/x;jsessionid=…?y"),
        ("http://a.example/showthread.php?12-faces", "http://a.example/showthread.php?12-faces"),
        ("http://a.example", "http://a.example"),
        ("data:text/html;base64,aGVsbG8=", "data:…"),
        ("javascript:go('abc')", "javascript:…"),
        ("a.example:443", "a.example:443"),
        ("/t?key=abc", "/t?key=…"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_what_could_be_a_token(url: str, shown: str) -> None:
    assert show_url(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        'Page.goto: net::ERR_ABORTED at http://a.example/x?key={}\nCall log:\n - navigating to "http://a.example/x?key={}"',
        "GET /x?a=1&key={} HTTP/1.1",
        "<GET http://a.example/r/{}>: DNS lookup failed",
        "Cancelling download of http://u:{}@a.example/y?z={}: expected response size (1) larger than (2).",
        "wss://a.example/socket?ticket={}",
    ],
)
def test_a_text_with_addresses_loses_their_tokens(text: str) -> None:
    shown = hide_urls(text.replace("{}", TOKEN))
    assert TOKEN not in shown
    assert shown.count("…") == text.count("{}") + text.count("a=1") or "u:{}" in text


@pytest.mark.parametrize("text", ["no address here? none", "a; b=c; d", "{'status': 403, 'reason': b'card_expired'}"])
def test_a_text_without_addresses_stays_as_it_is(text: str) -> None:
    assert hide_urls(text) == text


@given(st.text(max_size=200))
def test_any_text_is_shown_without_an_error(text: str) -> None:
    hide_urls(text)
    show_url(text)


def test_tokens_of_the_usual_makers_look_random_and_names_do_not() -> None:
    makers = (secrets.token_urlsafe, secrets.token_hex)
    made = [make(size) for make in makers for size in (16, 24, 32) for _ in range(200)]
    assert sum(map(looks_random, made)) > 0.97 * len(made)
    names = ("5000-faces-from-china-with-selfies-2024", "IMG_20241102_123456_Burst001", "MyGreatFacesPack2024Edition",
             "index_of_photos_2024_11_02", "WhatsAppImage2024-11-02at12.34.56.jpeg", "thread-12345-1-1.html",
             "20241102123456789012345", "verified-kyc-id-card-set-100k", "如何购买人脸数据集一万张")  # fmt: skip
    assert [name for name in names if looks_random(name)] == []


def test_no_log_line_shows_a_token_whichever_library_wrote_it() -> None:
    wire = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        set_up_logging("test", to=wire)
        url = f"http://u:{TOKEN}@a.example/reset/{TOKEN}?key={TOKEN}&page=2"
        get_logger("x").info("a fetch failed", detail=f"cannot have {url}", url=url)
        logging.getLogger("scrapy.core").warning("Cancelling download of %(url)s", {"url": url})
        try:
            raise ValueError(url)
        except ValueError:
            get_logger("x").exception("a page could not be read")
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    lines = wire.getvalue().splitlines()
    assert len(lines) == 3
    assert all("a.example" in json.loads(line).get("detail", line) for line in lines)
    assert TOKEN not in wire.getvalue()
