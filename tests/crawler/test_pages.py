"""A page test is a folder: saved pages and `expected.json`. Every source passes the same contract."""

import datetime as dt
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from parsel import Selector

from crawler.cards import LOCAL, Card, parse_card
from crawler.kinds import READERS, parse_answer
from crawler.pages import canonical_url, find_paragraphs, parse_page

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("sources")
SOURCES = sorted(path.name for path in FOLDER.iterdir())
PIECES = (b"null", b"[]", b"{}", b"<a>", b"\xff", b'"', b"\n\n")
TYPES = {".html": "text/html", ".json": "application/json", ".eml": "message/rfc822"}


def open_card(name: str) -> Card:
    """The card beside the saved pages, or that of a source which the program ships."""
    path = FOLDER / name / "card.toml"
    text = (path if path.exists() else ROOT / "crawler/sources" / name / "card.toml").read_text(encoding="utf-8")
    return parse_card(text.replace("PORT", "8601"), name, dt.date(2026, 11, 1))


def list_pages(name: str) -> list[Path]:
    return sorted(path for path in (FOLDER / name).iterdir() if path.name not in ("card.toml", "expected.json"))


def test_every_source_and_every_kind_has_its_saved_pages() -> None:
    shipped = {path.name for path in (ROOT / "crawler/sources").iterdir() if path.is_dir()}
    assert shipped < set(SOURCES)
    assert {open_card(name).kind for name in SOURCES} == READERS.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_a_saved_page_gives_what_is_expected(name: str) -> None:
    card = open_card(name)
    expected: dict[str, Any] = json.loads((FOLDER / name / "expected.json").read_text(encoding="utf-8"))
    assert sorted(expected) == [path.name for path in list_pages(name)]
    for path in list_pages(name):
        wanted = expected[path.name]
        url = wanted.pop("url", f"http://127.0.0.1:8601/at/{path.stem}")
        found = parse_answer(path.read_bytes(), url, TYPES.get(path.suffix, ""), card)
        listings = [json.loads(json.dumps(asdict(listing), default=str)) for listing in found.parsed.listings]
        assert all(each.pop("pictures") == [] for each in listings), "those that lie in a page the reader adds"
        assert {"links": list(found.parsed.links), "listings": listings} == wanted
        assert not found.problem


@pytest.mark.parametrize("name", SOURCES)
def test_reading_is_pure_and_stays_on_http(name: str) -> None:
    card = open_card(name)
    schemes = ("ingest:///",) if card.kind in LOCAL else ("http://", "https://")
    url = "ingest:///x/a" if card.kind in LOCAL else "http://x.example/a"
    for path in list_pages(name):
        first, second = (parse_answer(path.read_bytes(), url, TYPES.get(path.suffix, ""), card) for _ in range(2))
        assert first.parsed == second.parsed
        offered = [address for each in first.parsed.listings for address in (*each.images, *each.archives)]
        assert all(address.startswith(schemes) for address in (*first.parsed.links, *offered))


@pytest.mark.parametrize("name", SOURCES)
@hypothesis_settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_damaged_page_of_any_kind_is_read_within_limits(name: str, data: st.DataObject) -> None:
    """Cut, doubled or with bytes swapped: it gives listings or none, never an error."""
    body = bytearray(data.draw(st.sampled_from(list_pages(name))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(st.binary(max_size=8) | st.sampled_from(PIECES))
        body[at : at + data.draw(st.integers(0, 40))] = piece
        body = body or bytearray(b" ")
    for content_type in ("", "text/html; charset=no", "application/json"):
        reading = parse_answer(bytes(body), "http://x.example/a/", content_type, open_card(name))
        assert all(listing.title for listing in reading.parsed.listings)


def page(*inner: str) -> bytes:
    """A page with a listing for each text."""
    articles = "".join(f'<article class="product-page">{each}</article>' for each in inner)
    return f"<html><body>{articles}</body></html>".encode()


def test_addresses_that_are_no_pages_are_dropped() -> None:
    card = open_card("demo_shop")
    sources = ("javascript:alert(1)", "data:image/png;base64,AA", "file:///etc/passwd", "a.jpg", "ftp://x/y",
               "//other.example/b.jpg", "a.jpg#x", " c.jpg ", "http://[bad")  # fmt: skip
    images = "".join(f'<img src="{src}">' for src in sources)
    found = parse_page(page(f"<h1>t</h1><div class=gallery>{images}</div>"), "http://x.example/d/", "text/html", card)
    assert found.listings[0].images == (
        "http://x.example/d/a.jpg",
        "http://other.example/b.jpg",
        "http://x.example/d/c.jpg",
    )


def test_hostile_text_is_cleaned_cut_and_marked() -> None:
    card = open_card("demo_shop")
    title = "a\x1b[31mred\r\nline\u202eevil\0" + "x" * 2_000_000
    listing = parse_page(page(f"<h1>{title}</h1>"), "http://x.example/", "text/html", card).listings[0]
    assert len(listing.title) == 300
    assert listing.title.endswith("…")
    assert not set("\x1b\r\n\u202e\0") & set(listing.title)


@pytest.mark.parametrize(
    ("html", "selector", "text"),
    [
        ("<h2>Text</h2><p></p><ul><li>JPEG</ul><p>Soon</p><div>x</div><p>More</p>", "h2 ~ *", "JPEG Soon"),
        ("<h2>Text</h2><p>One</p><p> </p><p>Two</p>", "h2 ~ p", "One Two"),
        ("<p>One</p><h3>and</h3><p>Two</p>", "p", "One"),
        ("<div class=post>First</div><div class=post>Answer</div>", "div.post", "First"),
        ("<div><p>First</p></div><div><p>Answer</p></div>", "p", "First"),
        ("<i title=One></i><i title=Two></i>", "i::attr(title)", "One"),
        ("<p> </p>", "p", ""),
    ],
)
def test_paragraphs_that_follow_each_other_are_one_text(html: str, selector: str, text: str) -> None:
    assert find_paragraphs(Selector(text=html, type="html"), selector, 100) == text


def test_a_listing_without_a_title_is_none() -> None:
    assert parse_page(page("<p>x</p>"), "http://x.example/", "text/html", open_card("demo_shop")).listings == ()


def test_two_listings_on_one_page_have_two_addresses() -> None:
    body = page("<h1>a</h1>", "<h1>b</h1>")
    found = parse_page(body, "http://x.example/", "text/html", open_card("demo_shop"))
    assert [listing.url for listing in found.listings] == ["http://x.example/", "http://x.example/#1"]


def test_a_page_of_nested_tags_is_read_within_limits() -> None:
    body = b"<div>" * 200_000 + b"<h1>deep</h1>"
    assert parse_page(body, "http://x.example/", "text/html", open_card("demo_shop")).listings == ()


@hypothesis_settings(deadline=None, max_examples=100)
@given(
    st.binary(max_size=500), st.sampled_from(["text/html", "text/html; charset=gbk", "", "x", "text/html; charset=no"])
)
def test_no_bytes_break_the_reading(body: bytes, content_type: str) -> None:
    parse_page(body, "http://x.example/", content_type, open_card("demo_shop"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("http://x.example/?b=1&a=2", "http://x.example/?a=2&b=1"), ("http://X.example/a#top", "http://x.example/a"),
     ("http://x.example/a b", "http://x.example/a%20b")],
)  # fmt: skip
def test_addresses_that_mean_the_same_have_one_spelling(one: str, other: str) -> None:
    assert canonical_url(one) == canonical_url(other)


def test_a_session_in_an_address_is_neither_kept_nor_followed() -> None:
    visit = "0123456789abcdef0123456789abcdef"
    body = f"""<a class="item" href="/t.php?tid=5&sid={visit}">x</a>
        <a class="item" href="/u;jsessionid={visit}?p=2">y</a>
        <article><h1>lot</h1><img src="/i.php?PHPSESSID={visit}&id=7"></article>"""
    card = open_card("demo_shop")
    read = replace(card.read, follow=("a.item::attr(href)",), listing="article", title="h1", image="img::attr(src)")
    page = parse_page(body.encode(), f"http://a.example/?sid={visit}", "text/html", replace(card, read=read))
    assert page.links == ("http://a.example/t.php?tid=5", "http://a.example/u?p=2")
    assert page.listings[0].images == ("http://a.example/i.php?id=7",)
    assert visit not in str(page)
