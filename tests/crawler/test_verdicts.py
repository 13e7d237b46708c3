"""What a page really is: walls, gone pages and other layouts in four languages, and pages that only look like them."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crawler.bodies import Kind, judge_body
from crawler.pages import Tree, canonical_url, open_page, parse_page, read_page
from crawler.verdicts import Known, Verdict, judge_page, measure_text
from tests.crawler.test_pages import open_card
from tests.samples import png

HAD = Known(listings=3, links=10, text=2000)
NEW = Known()
LONG = "An offer of many words about nothing in particular. " * 40
FORM = '<form action="/login"><input name="user"><input type="password" name="p"><button>Go</button></form>'


def judge(inner: str, known: Known = HAD) -> Verdict:
    return judge_bytes(f"<html><body>{inner}</body></html>".encode(), "text/html", known)


def judge_bytes(body: bytes, content_type: str, known: Known) -> Verdict:
    root, base = open_page(body, "http://x.example/", content_type)
    return judge_page(
        root, measure_text(root), read_page(Tree(root, base), "http://x.example/", open_card("demo_shop")), known
    )


WALLS = [
    (f"<h1>Log in</h1>{FORM}", Verdict.LOGIN_WALL),
    (f"<p>You must be logged in to view this board.</p>{FORM}", Verdict.LOGIN_WALL),
    (f"<p>请先登录后再查看</p>{FORM}", Verdict.LOGIN_WALL),
    (f"<p>Войдите, чтобы продолжить</p>{FORM}", Verdict.LOGIN_WALL),
    ("<p>Inicia sesión para ver</p><form><input name=u></form>", Verdict.LOGIN_WALL),
    (f"<h1>Sign in</h1>{FORM}{LONG}", Verdict.LOGIN_WALL),
    ('<p>Members only</p><a href="/login">here</a>', Verdict.LOGIN_WALL),
    ('<div class="g-recaptcha" data-sitekey="x"></div>', Verdict.CAPTCHA),
    ('<iframe src="https://hcaptcha.com/x"></iframe>', Verdict.CAPTCHA),
    ('<div class="cf-turnstile"></div><p>Checking your browser</p>', Verdict.CAPTCHA),
    ("<p>Please verify that you are human</p>", Verdict.CAPTCHA),
    ("<p>请完成安全验证</p>", Verdict.CAPTCHA),
    ('<img src="/captcha.php"><input name="code">', Verdict.CAPTCHA),
    ("<p>Докажите, что вы: я не робот</p>", Verdict.CAPTCHA),
    ("<h1>Access denied</h1><p>Your IP has been blocked.</p>", Verdict.BLOCKED),
    ("<h1>访问被拒绝</h1>", Verdict.BLOCKED),
    ("<h1>Доступ запрещён</h1>", Verdict.BLOCKED),
    ("<p>Too many requests</p>", Verdict.BLOCKED),
]


@pytest.mark.parametrize(("inner", "verdict"), WALLS)
@pytest.mark.parametrize("known", [HAD, NEW])
def test_a_wall_is_named_whether_the_page_was_known_or_not(inner: str, verdict: Verdict, known: Known) -> None:
    assert judge(inner, known) is verdict


@pytest.mark.parametrize(
    "inner",
    [
        f"<header>{FORM}</header><li class='product'><a href='/item/1'>x</a></li>",
        f"<header>{FORM}</header><article class='product-page'><h1>captcha solver, log in data</h1></article>",
        f"<p>{LONG} To order, you must be logged in. Access denied is what others get.</p>",
        "<article class='product-page'><h1>Access denied photos, 404 of them</h1></article>",
    ],
)
def test_content_that_speaks_of_walls_is_content(inner: str) -> None:
    assert judge(inner, NEW) is Verdict.CONTENT


def test_a_page_that_lost_its_listings_is_gone_empty_or_rebuilt() -> None:
    assert judge("<h1>This item is no longer available</h1>") is Verdict.GONE
    assert judge("<p>商品不存在</p>") is Verdict.GONE
    assert judge("<h1>Our shop</h1><p>Nothing here yet.</p>") is Verdict.EMPTY
    assert judge(f"<div class='card-v2'><h2>5000 faces</h2><p>{LONG}</p></div>") is Verdict.LAYOUT
    assert judge(f"<div class='card-v2'><h2>5000 faces</h2><p>{LONG}</p></div>", NEW) is Verdict.CONTENT


def test_a_page_with_more_listings_than_are_read_says_so() -> None:
    body = ("<html><body>" + "<article class='product-page'><h1>x</h1></article>" * 5000 + "</body></html>").encode()
    assert len(parse_page(body, "http://x.example/", "text/html", open_card("demo_shop")).listings) == 1000
    assert judge_bytes(body, "text/html", NEW) is Verdict.CUT


def test_a_wall_in_another_encoding_is_read_all_the_same() -> None:
    body = f"<html><body><p>请先登录后再查看</p>{FORM}{'很长的说明文字。' * 200}</body></html>".encode("gbk")
    assert judge_bytes(body, "text/html; charset=gbk", HAD) is Verdict.LOGIN_WALL


@pytest.mark.parametrize(
    "body", [png(20, 20), b"\xff\xd8\xff\xe0x", b"PK\x03\x04x", b"7z\xbc\xaf\x27\x1c", b"%PDF-1.7"]
)
def test_a_file_is_no_page_whatever_it_is_called(body: bytes) -> None:
    assert judge_body(body, "text/html").kind is not Kind.PAGE
    assert judge_body(b"x", "image/png").kind is not Kind.PAGE
    assert judge_body(b"<html>", "text/html").kind is Kind.PAGE
    assert judge_body(b"<html>", "").kind is Kind.PAGE


@hypothesis_settings(deadline=None, max_examples=100)
@given(st.text(max_size=300), st.sampled_from([HAD, NEW]))
def test_no_page_breaks_the_verdict(text: str, known: Known) -> None:
    assert judge(text, known) in Verdict


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://x.example/a?PHPSESSID=0123456789abcdef0123", "http://x.example/a", True),
        ("http://x.example/a;jsessionid=0A1B?x=1", "http://x.example/a?x=1", True),
        ("http://x.example/a?x=1&utm_source=y", "http://x.example/a?x=1", True),
        ("http://x.example/a?sid=0123456789abcdef0123", "http://x.example/a", True),
        ("http://x.example/a?sid=7", "http://x.example/a", False),
        ("http://x.example/a?fbclid=x", "http://x.example/a", True),
        ("http://x.example/?s=faces-for-sale-2024", "http://x.example/", False),
        ("http://x.example/a?s=0123456789abcdef0123&t=5", "http://x.example/a?t=5", True),
        ("http://x.example/a?s=lots", "http://x.example/a", False),
        ("http://x.example/a?page=2", "http://x.example/a", False),
        ("http://x.example/a?q=%E5%BC%A0", "http://x.example/a?q=张", True),
    ],
)
def test_what_names_a_visit_is_no_part_of_an_address(one: str, other: str, same: bool) -> None:
    assert (canonical_url(one) == canonical_url(other)) is same
