import datetime as dt
import os
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cards import parse_card, read_text
from vault.errors import CardError
from vault.toml import Misfit, parse_toml

TODAY = dt.date(2026, 11, 1)
GOOD = """\
name = "shop-1"
kind = "shop"

[why]
purpose = "Watch a market that sells face datasets"
legal_basis = "Legitimate interest, see record 7"
valid_until = 2027-01-31

[where]
hosts = ["shop.example", "*.cdn.example", "alt.example:8080"]
start = ["https://shop.example/list"]

[read]
listing = "article"
title = "h1::text"
"""


def test_a_card_with_only_what_is_needed_is_enough() -> None:
    card = parse_card(GOOD, "card.toml", TODAY)
    assert card.keep.policy == "ephemeral"
    assert card.why.robots == "obey"
    assert card.pace.delay > 0


WRONG = [
    ('name = "shop-1"', 'name = "Shop 1"', "name", "small letters", 1),
    ('kind = "shop"', 'kind = "bazaar"', "kind", "'shop', 'forum'", 2),
    ('kind = "shop"', "", "kind", "missing field", None),
    ("purpose = ", "porpoise = ", "why.porpoise", "did you mean 'purpose'", 5),
    ('"Watch a market that sells face datasets"', '"x"', "why.purpose", "must say something", 5),
    ("valid_until = 2027-01-31", "", "why.valid_until", "missing field", None),
    ("2027-01-31", '"2027-01-31"', "why.valid_until", "date", 7),
    ("[read]", "[why2]\nx = 1\n[read]", "why2", "unknown field", 13),
    ("2027-01-31", '2027-01-31\nrobots = "ignore"', "why.robots_reason", "needs a reason", None),
    ('"shop.example", ', '"http://shop.example", ', "where.hosts", "not a host", 10),
    ('"*.cdn.example"', '"*"', "where.hosts", "not a host", 10),
    ('"https://shop.example/list"', '"file:///etc/passwd"', "where.start", "scheme", 11),
    ('start = ["https://shop.example/list"]', "start = []", "where.start", "at least one", 11),
    ('start = ["https://shop.example/list"]', 'start = "https://shop.example/"', "where.start", "a list", 11),
    ("[read]", 'proxy = "http://p.example:1"\n[read]', "where.proxy", "socks5h", None),
    ('"h1::text"', '"h1["', "read.title", "no CSS selector", 15),
    ('title = "h1::text"', "", "read.title", "missing field", None),
    ("[read]", '[keep]\npolicy = "retro"\n[read]', "keep.days", "retro needs", None),
    ("[read]", '[keep]\npolicy = "forever"\n[read]', "keep.policy", "'ephemeral', 'retro'", 14),
    ("[read]", "[keep]\npolicy = 'retro'\ndays = 2000\n[read]", "keep.days", "1095", 15),
    ("[read]", "[budget]\npages = 0\n[read]", "budget.pages", "1 or more", 14),
    ("[read]", "[pace]\nconcurrency = 1000\n[read]", "pace.concurrency", "1 to 64", 14),
    ("[read]", "[read", "", "not valid TOML", 13),
    ('"h1::text"', '"//h1["', "read.title", "no XPath", 15),
    ("start = [", 'image_hosts = ["http://x"]\nstart = [', "where.image_hosts", "not a host", 11),
    ("[read]", 'approved_by = "x"\n[read]', "where.approved_by", "unknown field", 13),
]


API = GOOD.replace('kind = "shop"', 'kind = "jsonapi"').replace("h1::text", "name")
HANDED_IN = GOOD[: GOOD.index("[where]")].replace('kind = "shop"', 'kind = "folder"')
SOCKS = GOOD.replace("[read]", 'proxy = "socks5h://127.0.0.1:9050"\n[read]')
WRONG_FOR_KIND = [
    (SOCKS, "127.0.0.1:9050", "127.0.0.1:0", "where.proxy", "socks5h", None),
    (SOCKS, '"shop.example"', '"nas.local"', "where.hosts", "inside the proxy's own network", 10),
    (SOCKS, '"shop.example"', '"intranet"', "where.hosts", "inside the proxy's own network", 10),
    (SOCKS, '"*.cdn.example"', '"*.internal"', "where.hosts", "inside the proxy's own network", 10),
    (API, 'title = "name"', 'title = "name["', "read.title", "no JMESPath", 15),
    (API, 'title = "name"', "", "read.title", "missing field", 13),
    (API, 'title = "name"', 'title = "name"\nwait_for = "p"', "read.wait_for", "without a browser", 16),
    (API, 'title = "name"', 'title = "name"\npage_url = "/p?n={}"', "read.page_url", "next page", 16),
    (API, 'title = "name"', 'title = "name"\nnext = "n"\npage_url = "/p?n="', "read.page_url", "not one {}", 17),
    (API, 'title = "name"', 'title = "name"\nimage_url = "/{+1}.jpg"', "read.image_url", "not one {}", 16),
    (API, 'kind = "jsonapi"', 'kind = "jsonapi"\nrendering = "browser"', "rendering", "without a browser", 3),
    (GOOD, 'title = "h1::text"', 'title = "h1"\nnext = "a"', "read.next", "only kind jsonapi", 16),
    (GOOD, 'title = "h1::text"', 'title = "h1"\ngroup = "whole"', "read.group", "leave group out", 16),
    (GOOD, 'kind = "shop"', 'kind = "opendir"', "read.listing", "leave listing out", 14),
    (GOOD, GOOD[GOOD.index("[where]") : GOOD.index("[read]")], "", "where.start", "at least one host", None),
    (HANDED_IN, "\n[why]", '\n[where]\nhosts = ["x.example"]\n[why]', "where.hosts", "nothing is fetched", 5),
    (HANDED_IN, "\n[why]", '\n[read]\ngroup = "each"\n[why]', "read.group", "'folders', 'whole'", 5),
    (HANDED_IN, "\n[why]", '\n[read]\nlisting = "x"\n[why]', "read.listing", "leave listing out", 5),
]


@pytest.mark.parametrize(("good", "old", "new", "field", "words", "line"), WRONG_FOR_KIND)
def test_what_a_kind_needs_or_has_no_use_for_is_said(
    good: str, old: str, new: str, field: str, words: str, line: int | None
) -> None:
    parse_card(good, "card.toml", TODAY)
    test_a_wrong_card_names_line_field_and_mend(old, new, field, words, line, good)


@pytest.mark.parametrize(("old", "new", "field", "words", "line"), WRONG)
def test_a_wrong_card_names_line_field_and_mend(
    old: str, new: str, field: str, words: str, line: int | None, good: str = GOOD
) -> None:
    assert old in good
    with pytest.raises(CardError) as caught:
        parse_card(good.replace(old, new, 1), "card.toml", TODAY)
    shown = f"{caught.value.message} {caught.value.mend}"
    assert caught.value.stable_code == "card_invalid"
    assert field in shown
    assert words in shown
    if line is not None:
        assert f"card.toml:{line}:" in shown, shown


N = 50_000
BOMBS = {
    "lists": "a=" + "[" * 100_000, "closed lists": "a=" + "[" * N + "]" * N, "tables": "a=" + "{a=" * N,
    "dots": "a" + ".a" * N + "=1", "quoted dots": "'a'" + ".'a'" * N + "=1", "header": "[" + "a." * N + "a]",
    "header of a list": "[[" + "a." * N + "a]]", "dots in a table": "a={b" + ".c" * N + "=1}",
    "spaced dots": "a" + " . a" * N + "=1", "behind a text": 'a = """\n]]]"""\nb=' + "[" * N,
    "a name": "a" * 200_000 + "=1", "a number": "a=" + "9" * 100_000, "a hex number": "a=0x" + "f" * 100_000,
    "a text": 'name="' + "x" * 5_000_000 + '"', "100 MB": "#" * 100_000_000, "escapes": 'a="' + "\\" * 100_001,
    "signatures": "[signature]\n" * 20_000, "infinity": GOOD + "[pace]\ndelay = inf", "nan": GOOD + "[pace]\ndelay=nan",
    "a large number": GOOD + "[budget]\nseconds = 9223372036854775807", "ages": GOOD + "[pace]\nevery_hours = 1e9",
    "many selectors": GOOD.replace('title = "h1::text"', f'title = "h1"\nfollow = {["a:not(b)"] * 3000}'),
    "a long selector": GOOD.replace("h1::text", ":not(" * 4000 + ")" * 4000),
    "a deep selector": GOOD.replace("h1::text", ":not(" * 600 + "a" + ")" * 600),
    "a deep path": GOOD.replace("h1::text", "//" + "a[" * 900 + "b" + "]" * 900),
    "a deep query": GOOD.replace('"shop"', '"jsonapi"').replace("h1::text", "[" * 3000),
    "a deep literal": GOOD.replace('"shop"', '"jsonapi"').replace("h1::text", "`" + "[" * 3000 + "`"),
    "a deep group": GOOD.replace('"shop"', '"jsonapi"').replace("h1::text", "(" * 3000 + "a" + ")" * 3000),
}  # fmt: skip


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_card_made_to_take_long_is_refused_at_once_in_one_line(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(CardError) as caught:
        parse_card(text, "card.toml", TODAY)
    assert time.monotonic() - began < 2  # 0.2 s on a machine that does nothing else
    assert caught.value.stable_code == "card_invalid"
    assert len(str(caught.value)) < 9_000
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="[]{}=.'\"#\n\\a1 ", max_size=200))
def test_what_the_bounds_let_through_is_what_toml_says(text: str) -> None:
    """No TOML that is not deep is refused by the bounds, whatever its strings and comments hold."""
    try:
        wanted = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return
    try:
        assert parse_toml(text) == wanted
    except Misfit as exc:
        assert exc.message == "nested too deeply"
        assert max(map(text.count, "[{.")) > 16


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_no_card_and_nobody_waits_for_it(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "card.toml")
    with pytest.raises(CardError) as caught:
        read_text(tmp_path / "card.toml")
    assert caught.value.stable_code == "card_missing"


def test_a_file_of_100_mb_is_not_read_as_a_card(tmp_path: Path) -> None:
    with (tmp_path / "card.toml").open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(CardError, match="larger than 256 KiB") as caught:
        read_text(tmp_path / "card.toml")
    assert caught.value.stable_code == "card_invalid"


def test_an_expired_card_is_refused_from_the_next_day_on() -> None:
    parse_card(GOOD, "card.toml", dt.date(2027, 1, 31))
    with pytest.raises(CardError) as caught:
        parse_card(GOOD, "card.toml", dt.date(2027, 2, 1))
    assert caught.value.stable_code == "card_expired"


def test_a_card_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CardError) as caught:
        read_text(tmp_path / "none.toml")
    assert caught.value.stable_code == "card_missing"
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(CardError):
        read_text(tmp_path / "latin.toml")


def test_no_card_opens_loopback_by_itself() -> None:
    """A card may name 127.0.0.1, but only --lab on the command line lets the guard dial it (see test_egress)."""
    card = parse_card(GOOD.replace("shop.example", "127.0.0.1:8601"), "card.toml", TODAY)
    assert not any("lab" in name for name in card.where.__dataclass_fields__)
