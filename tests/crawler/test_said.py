"""What is read from a listing besides title and price: each value with its text, nothing guessed, nothing lost."""

import datetime as dt
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crawler.addresses import split_number
from crawler.cards import Card, Read
from crawler.pages import parse_page, pick_largest
from crawler.propose.paging import name_parameter
from crawler.said import find_passwords, list_contacts
from tests.crawler.test_pages import open_card, page
from vault.records import Listing, Said

SEEN = dt.date(2026, 11, 24)
URL = "http://x.example/item"


def read(inner: str, **selectors: object) -> Listing:
    card = open_card("demo_shop")
    fields: dict[str, Any] = {"date": "time", "count": "i.count", "password": "kbd", **selectors}
    made = replace(card, read=replace(card.read, **fields))
    (listing,) = parse_page(page(f"<h1>lot</h1>{inner}"), URL, "text/html", made, seen=SEEN).listings
    return listing


def test_every_value_keeps_the_text_it_came_from() -> None:
    card = open_card("demo_shop")
    text = "手持身份证, 活体视频. tg: @Olga_K or TG: olga_k, olga@x.example. Updated 12 March 2026, or yesterday"
    body = page(f"<h1>over 5000 photos of 500 people $120</h1><div class=text>{text}</div>")
    (listing,) = parse_page(body, URL, "text/html", card, seen=SEEN).listings
    assert listing.counts == (
        Said(what="photo", value="5000+", text="over 5000 photos"),
        Said(what="person", value="500", text="500 people"),
    )
    assert (listing.claimed_count, listing.claimed_people, listing.unit_price) == (5000, 500, Decimal("0.024"))
    assert [(each.what, each.text) for each in listing.kinds] == [("card_in_hand", "手持"), ("liveness_video", "活体")]
    assert listing.contacts == (
        Said(what="telegram", value="Olga_K", text="tg: @Olga_K"),
        Said(what="email", value="olga@x.example", text="olga@x.example"),
    )
    assert listing.dates == (
        Said(what="named", value="2026-03-12", text="12 March 2026"),
        Said(what="named", value="2026-11-23", text="yesterday"),
    )
    assert listing.invalid_fields == ()
    without = parse_page(body, URL, "text/html", card).listings[0]
    assert [each.text for each in without.dates] == ["12 March 2026"], "without the page's day yesterday is none"


def test_where_the_title_claims_nothing_the_description_may() -> None:
    listing = read("<div class=text>Fresh today: 5000 selfies, $10 for all</div>")
    assert (listing.claimed_count, listing.claimed_text) == (5000, "5000 selfies")
    far = read(f"<div class=text>{'words ' * 200} 5000 selfies</div>")
    assert (far.claimed_count, far.counts) == (None, ())


@pytest.mark.parametrize(
    ("inner", "field"),
    [
        *((f"<p class=price>{raw}</p>", "price") for raw in ("1e309", "$1e309", "NaN", "-1", "-$1", "$0", "ask me")),
        *((f"<time>{raw}</time>", "date") for raw in ("0000-00-00", "9999-12-31", "2026-02-30", "03/04/2026", "soon")),
        *((f"<i class=count>{raw}</i>", "count") for raw in ("NaN", "-5", "1e309", "photos: 500, photos: 600", "many")),
    ],
)
def test_a_value_that_cannot_be_read_is_invalid_and_kept_raw(inner: str, field: str) -> None:
    listing = read(inner)
    raw = inner.split(">")[1].split("<")[0]
    assert listing.invalid_fields == (field,)
    kept = {"price": listing.price_text, "count": listing.claimed_text,
            "date": "".join(each.text for each in listing.dates if not each.value)}  # fmt: skip
    assert kept[field] == raw
    assert (listing.price, listing.claimed_count, listing.unit_price) == (None, None, None)


def test_values_that_can_be_read_are_not_invalid() -> None:
    listing = read("<p class=price>$5</p><time>3 days ago</time><i class=count>500-800 photos</i>")
    assert listing.invalid_fields == ()
    assert listing.dates == (Said(what="posted", value="2026-11-21", text="3 days ago"),)
    assert (listing.claimed_count, listing.counts[0].value) == (None, "500-800")


def test_a_contact_is_said_once_however_it_is_spelled() -> None:
    assert list_contacts("tg: @Olga_K, t.me/olga_k, qq 12345678") == (
        Said(what="telegram", value="Olga_K", text="tg: @Olga_K"),
        Said(what="qq", value="12345678", text="qq 12345678"),
    )


# -- passwords ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Password: abc123.", ("abc123", "abc123.")), ("解压密码：人脸2026，请联系", ("人脸2026",)),
        ("解压密码 abc", ("abc",)), ("密码abc123", ("abc123",)), ("密码是abc123联系微信", ("abc123联系微信", "abc123")),
        ("Пароль от архива: qwerty", ("qwerty",)), ("contraseña: hola", ("hola",)), ("पासवर्ड: x1", ("x1",)),
        ("pass: 'my pass'", ("my pass",)), ("archive password “faces”", ("faces",)), ("pw = zz", ("zz",)),
        ("the password is s3cret", ("s3cret",)), ("pass abc123", ("abc123",)),
        ("password protected archive", ()), ("no pass", ()), ("compass: north", ()), ("Pass:", ()), ("", ()),
    ],
)  # fmt: skip
def test_a_password_is_what_stands_behind_a_word_for_one(text: str, found: tuple[str, ...]) -> None:
    assert find_passwords(f"5000 photos. {text}") == found


def test_the_cards_passwords_come_first_and_ten_are_kept() -> None:
    inner = "<a class=pack href=/a.zip>a</a><kbd>there</kbd>" + "".join(f"password: printed{n} " for n in range(20))
    found = read(inner, passwords=("card", "second")).passwords
    assert found[:4] == ("card", "second", "there", "printed0")
    assert len(found) == 10
    assert read(inner, archive="").passwords == (), "without archives there is nothing to try"


@pytest.mark.parametrize("text", ["password" * 20_000, "密码" * 80_000, "pass to a a a " * 10_000, "pw = " * 40_000])
def test_a_hostile_text_costs_no_time(text: str) -> None:
    started = time.process_time()
    find_passwords(text)
    assert time.process_time() - started < 1.0


# -- pages of one listing ----------------------------------------------------------------------------------------------

PAGED = [  # parameter, a further page, the first page, the number
    ("page", "http://x.example/t/5/?page=2", "http://x.example/t/5/", 2),
    ("page", "http://x.example/t?sort=a&page=3&id=5", "http://x.example/t?sort=a&id=5", 3),
    ("start", "http://x.example/t?id=5&start=20", "http://x.example/t?id=5", 20),
    ("page-{n}", "http://x.example/threads/homepage-7.3/page-2", "http://x.example/threads/homepage-7.3/", 2),
    ("/page-{n}", "http://x.example/t/5/page-12", "http://x.example/t/5", 12),
    ("page/{n}/", "http://x.example/t/5/page/2/", "http://x.example/t/5/", 2),
    ("-{n=1}-1.html", "http://x.example/thread-5-2-1.html", "http://x.example/thread-5-1-1.html", 2),
]


@pytest.mark.parametrize(("parameter", "url", "first", "number"), PAGED)
def test_a_further_page_has_the_address_of_the_first(parameter: str, url: str, first: str, number: int) -> None:
    assert split_number(url, parameter) == (first, number)
    assert split_number(first, parameter) == (first, 1)
    assert split_number(url, "") == (url, 1)


@pytest.mark.parametrize(("parameter", "url", "first", "number"), PAGED)
def test_what_numbers_the_pages_is_found_from_two_of_them(parameter: str, url: str, first: str, number: int) -> None:
    named = name_parameter(url, first)
    assert split_number(url, named) == (first, number)
    assert named == parameter


@pytest.mark.parametrize(
    ("url", "current"),
    [("http://x.example/t/6", "http://x.example/t/5"), ("http://x.example/t?tid=6", "http://x.example/t?tid=5"),
     ("http://x.example/t?tid=2", "http://x.example/t?tid=1"), ("http://x.example/t/5/2", "http://x.example/t/5"),
     ("http://x.example/item-5-2.html", "http://x.example/item-5-1.html"),
     ("http://x.example/t?a=1&b=2", "http://x.example/t")],
)  # fmt: skip
def test_another_listing_is_no_further_page(url: str, current: str) -> None:
    assert name_parameter(url, current) == ""


@pytest.mark.parametrize("text", ["{n}", "{n=1}", "a b", "/p-{n}?x", "{n}-{n}", "{m}", "x{n=7}", "?page"])
def test_a_parameter_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="page_parameter"):
        Read(listing="a", title="b", page_parameter=text)


@given(st.text(max_size=60), st.sampled_from([parameter for parameter, *_ in PAGED]))
def test_no_address_breaks_the_splitting(path: str, parameter: str) -> None:
    url = f"http://x.example/{path.replace('[', '').replace(']', '')}"
    first, number = split_number(url, parameter)
    assert number >= 1
    assert first.startswith("http://x.example/")


def test_several_listings_on_a_further_page_stay_apart() -> None:
    card = open_card("demo_shop")
    paged: Card = replace(card, read=replace(card.read, page_parameter="page"))
    body = page("<h1>a</h1>", "<h1>b</h1>")
    first, second = parse_page(body, f"{URL}?page=2", "text/html", paged).listings
    assert (first.url, first.later) == (URL, True)
    assert (second.url, second.later) == (f"{URL}?page=2#1", False)
    assert not any(each.later for each in parse_page(body, f"{URL}?page=1", "text/html", paged).listings)


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("srcset", "largest"),
    [
        ("a.jpg 1x, b.jpg 2x", "b.jpg"), ("a.jpg 480w, b.jpg 1080w , c.jpg 200w", "b.jpg"), ("a.jpg", "a.jpg"),
        ("a.jpg, b.jpg 2x", "b.jpg"), ("/a,b.jpg 2x, c.jpg", "/a,b.jpg"), ("a.jpg 100w 50h, b.jpg 300w", "b.jpg"),
        ("data:image/png;base64,AA 1x, b.jpg 2x", "b.jpg"), ("my picture.jpg", "my picture.jpg"), ("", ""),
        ("a.jpg 1.5x, b.jpg 1x", "a.jpg"), (" ,,, ", ""),
    ],
)  # fmt: skip
def test_the_largest_candidate_of_a_srcset_is_taken(srcset: str, largest: str) -> None:
    assert pick_largest(srcset) == largest


def test_a_picture_may_be_named_by_another_attribute() -> None:
    inner = '<div class=gallery><img srcset="a.jpg 1x, b.jpg 2x" data-src="c.jpg"></div>'
    assert read(inner, image="img::attr(srcset)").images == ("http://x.example/b.jpg",)
    assert read(inner, image="img::attr(data-src)").images == ("http://x.example/c.jpg",)
    assert read(inner, image="//img/@srcset").images == ("http://x.example/b.jpg",)


# -- pages that describe themselves ------------------------------------------------------------------------------------

DESCRIBED = """<html><head>{head}<title>x</title></head><body><p>nothing that a selector could name</p></body></html>"""
PRODUCT = """<script type="application/ld+json">{"@type": "Product", "name": "5000 selfies", "image": ["/a.jpg"],
"description": "tg: @olga_k", "offers": {"price": "120.00", "priceCurrency": "EUR", "seller": {"name": "olga"}}}
</script>"""
MICRODATA = """<div itemscope itemtype="https://schema.org/Product"><b itemprop="name">5000 selfies</b>
<meta itemprop="description" content="tg: @olga_k"><img itemprop="image" src="/a.jpg">
<i itemprop="offers" itemscope itemtype="https://schema.org/Offer"><meta itemprop="price" content="120.00">
<meta itemprop="priceCurrency" content="EUR"><u itemprop="seller">olga</u></i></div>"""
GRAPH = """<meta property="og:type" content="product"><meta property="og:title" content="5000 selfies">
<meta property="product:price:amount" content="120.00"><meta property="product:price:currency" content="EUR">
<meta property="og:image" content="/a.jpg"><meta property="og:description" content="tg: @olga_k">"""


@pytest.mark.parametrize(("head", "seller"), [(PRODUCT, "olga"), (MICRODATA, "olga"), (GRAPH, "")])
def test_a_page_that_describes_itself_needs_no_selectors(head: str, seller: str) -> None:
    card = open_card("demo_shop")
    auto = replace(card, read=Read(listing="auto", title="auto", follow=card.read.follow))
    (listing,) = parse_page(DESCRIBED.replace("{head}", head).encode(), URL, "text/html", auto).listings
    assert (listing.title, listing.seller, listing.price, listing.currency) == (
        "5000 selfies", seller, Decimal(120), "EUR",
    )  # fmt: skip
    assert (listing.unit_price, listing.images) == (Decimal("0.024"), ("http://x.example/a.jpg",))
    assert [each.value for each in listing.contacts] == ["olga_k"]
    own = replace(auto, read=replace(auto.read, title="p"))
    (named,) = parse_page(DESCRIBED.replace("{head}", head).encode(), URL, "text/html", own).listings
    assert named.title == "nothing that a selector could name", "what the card names comes first"


@pytest.mark.parametrize(
    "head", ["", PRODUCT + PRODUCT.replace("5000", "6000"), "<meta property='og:title' content='x'>"]
)
def test_a_page_that_describes_no_listing_or_several_shows_none(head: str) -> None:
    card = open_card("demo_shop")
    auto = replace(card, read=Read(listing="auto", title="auto"))
    assert parse_page(DESCRIBED.replace("{head}", head).encode(), URL, "text/html", auto).listings == ()


@hypothesis_settings(deadline=None, max_examples=100)
@given(st.text(max_size=300))
def test_no_description_breaks_the_reading(text: str) -> None:
    card = open_card("demo_shop")
    auto = replace(card, read=Read(listing="auto", title="auto"))
    head = f"<script type='application/ld+json'>{text}</script><div itemscope itemtype='x/Product'>{text}</div>"
    parse_page(DESCRIBED.replace("{head}", head).encode("utf-8", "ignore"), URL, "text/html", auto)
