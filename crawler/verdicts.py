"""What a page really is, whatever its status says: in come a page and what is known of it, out goes a verdict.

A login form, a captcha or a wall instead of a listing must never look like "nothing found". Pure functions; the words
are those that such pages use in Chinese, English, Russian and Spanish.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from lxml.etree import XPath
from parsel import Selector

from crawler.pages import ParsedPage

CAPTCHA_PARTS = (
    "iframe[src*='recaptcha'], iframe[src*='hcaptcha'], iframe[src*='turnstile'], .g-recaptcha, .h-captcha, "
    ".cf-turnstile, #challenge-form, [id*='captcha' i], [class*='captcha' i], [class*='geetest' i], "
    "input[name*='captcha' i], img[src*='captcha' i], script[src*='challenge-platform']"
)
CAPTCHA_WORDS = re.compile(
    r"are you (?:a )?(?:human|robot)|verify (?:that )?you are (?:a )?human|checking your browser|"
    r"(?:enter|type|solve) the (?:captcha|characters|letters)|验证码|人机验证|滑动验证|安全验证|"
    r"введите (?:код|символы)|я не робот|no soy un robot|demuestra que eres humano",
    re.IGNORECASE,
)
LOGIN_WORDS = re.compile(
    r"\b(?:log|sign)[ -]?in\b|members only|you must be (?:logged|signed) in|registration required|"
    r"登录|登陆|请先登|войти|войдите|авториз|iniciar sesi[oó]n|inicia sesi[oó]n|acceder a tu cuenta",
    re.IGNORECASE,
)
BLOCK_WORDS = re.compile(
    r"access (?:is )?denied|you (?:have been|are) blocked|your ip (?:address )?(?:has been|is)|forbidden|"
    r"too many requests|unusual traffic|ddos protection|访问被拒|禁止访问|您的访问|доступ (?:запрещ|ограничен)|"
    r"acceso denegado",
    re.IGNORECASE,
)
GONE_WORDS = re.compile(
    r"\b404\b|not found|no longer (?:exists?|available)|"
    r"(?:has been|was) (?:removed|deleted)|page does(?:n't| not) exist|"
    r"不存在|已删除|已下架|页面找不到|не найден|удален[оа]?\b|no (?:existe|encontrad[oa])|eliminad[oa]",
    re.IGNORECASE,
)
READ_TEXT = XPath("//body//text()[not(ancestor::script or ancestor::style or ancestor::noscript)]", smart_strings=False)
UNAUTHORISED_WORDS = re.compile(  # in answers for machines
    r"\bunauthori[sz]ed\b|not (?:authenticated|authori[sz]ed)|authentication required|"
    r"(?:token|session) (?:has )?expired|(?:invalid|missing) (?:access )?token|"
    r"未登录|未授权|登录已过期|требуется авторизация|no autorizado",
    re.IGNORECASE,
)
HTML_HEAD = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.{0,200}?-->\s*)?<(?:!doctype\s+html|html|head|body)[\s>]", re.I | re.S
)
SHORT_TEXT = 600  # letters; walls and error pages say little
SHRUNK = 0.5  # of the text it had: a page that lost its listings and most of its text has emptied, not been rebuilt


class Verdict(StrEnum):
    """What a page is. `CONTENT`: what it should be; `TRUNCATED`: the beginning of it."""

    CONTENT = ""
    LOGIN_WALL = "login_wall"
    CAPTCHA = "captcha"
    BLOCKED = "blocked"
    GONE = "soft_404"
    EMPTY = "empty"
    LAYOUT = "layout_changed"
    CUT = "page_too_complex"
    TRUNCATED = "truncated"


WALLS = (Verdict.LOGIN_WALL, Verdict.CAPTCHA, Verdict.BLOCKED)  # something stands between us and the content


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What a page was when it was last read: counts of its listings, of links followed from it, letters of text."""

    listings: int = 0
    links: int = 0
    text: int = 0


def is_html(head: bytes) -> bool:
    """Is it a page, whatever it is called? A login that came instead of an attachment is no sample."""
    return HTML_HEAD.match(head[:1024]) is not None


def measure_text(root: Selector) -> str:
    """The text of a page that a reader sees, spaces collapsed."""
    return " ".join(" ".join(READ_TEXT(root.root)).split())


def judge_page(root: Selector | None, text: str, parsed: ParsedPage, known: Known, said: str = "") -> Verdict:
    """What came back with status 200. A page that shows listings is content, whatever else it says; one that never had
    any is judged only by what walls look like. Without a tree: by what an answer for machines has `said`."""
    if parsed.cut:
        return Verdict.CUT
    if parsed.listings:
        return Verdict.CONTENT
    # many sites carry a login form in their head: a page whose links the card follows is no wall
    if not parsed.links:
        wall = find_wall(root, text) if root is not None else find_refusal(said)
        if wall is not Verdict.CONTENT:
            return wall
    had_something = known.listings > 0 or known.links > 0
    if not had_something or parsed.links:
        return Verdict.CONTENT
    if len(text) < SHORT_TEXT and GONE_WORDS.search(text):
        return Verdict.GONE
    return Verdict.EMPTY if len(text) < SHRUNK * known.text else Verdict.LAYOUT


def find_refusal(said: str) -> Verdict:
    """The same in the words with which an answer for machines says why it holds nothing."""
    if CAPTCHA_WORDS.search(said) or "captcha" in said.lower():
        return Verdict.CAPTCHA
    if LOGIN_WORDS.search(said) or UNAUTHORISED_WORDS.search(said):
        return Verdict.LOGIN_WALL
    return Verdict.BLOCKED if BLOCK_WORDS.search(said) else Verdict.CONTENT


def find_wall(root: Selector, text: str) -> Verdict:
    """A login, a captcha or a refusal where content should be."""
    if root.css(CAPTCHA_PARTS) or (len(text) < SHORT_TEXT and CAPTCHA_WORDS.search(text)):
        return Verdict.CAPTCHA
    if root.css("input[type='password' i]") and (len(text) < SHORT_TEXT or LOGIN_WORDS.search(text)):
        return Verdict.LOGIN_WALL
    if len(text) < SHORT_TEXT and LOGIN_WORDS.search(text) and root.css("form, a[href*='login' i]"):
        return Verdict.LOGIN_WALL
    if len(text) < SHORT_TEXT and BLOCK_WORDS.search(text):
        return Verdict.BLOCKED
    return Verdict.CONTENT
