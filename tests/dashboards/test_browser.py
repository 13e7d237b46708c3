"""The pages in a real browser, against the real web server: what a test client, which sends no Origin and runs no
layout, cannot see. People press buttons, some with the keyboard alone; hostile listings try to run scripts."""

import email
import email.policy
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from cli.supervisor import ROOT
from crawler.browser import find_chromium
from tests.dashboards.test_requests import answer_all
from tests.samples import (
    capture_listing,
    count,
    enrol_person,
    make_listing,
    raise_alert,
    run_steps,
)
from vault.settings import Settings, child_environment
from vault.store.access import make_link
from vault.store.judgements import judge_alert
from workers.context import Context
from workers.deliver import CONFIRM_LASTS

START_SECONDS = 30.0
PHONE, DESK = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=900)
LONG = "很长" * 40 + "unbroken" * 30
SCRIPTS = {
    "title": "<script>alert(1)</script><img src=x onerror=alert(2)>" + LONG,
    "seller": "\"><svg onload=alert(3)>{{7*7}}' onmouseover='alert(4)\u202egnp.exe" + LONG,
    "description": "</p></details><iframe srcdoc='<script>parent.alert(5)</script>'></iframe>\n" + LONG,
    "price_text": "<body onload=alert(6)>" + LONG,
    "said": "<script>alert(7)</script><img src=y onerror=alert(8)>" + LONG,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium(Settings(home=Path("/nowhere"), key_file=Path("/nowhere")))
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.getuid() != 0)
        yield launched
        launched.close()


@pytest.fixture
def site(context: Context) -> Iterator[str]:
    """The web server as the supervisor starts it, on this test's database; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context.settings = context.settings.replace("web", port=port)
    environ = {**child_environment(context.settings), "PYTHONPATH": str(ROOT)}
    log = context.settings.home.with_name("web.log")
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "web"], env=environ, stdout=out, stderr=out, cwd=context.settings.home
        )
    try:
        wait_for_site(context.settings.public_url, server, log)
        yield context.settings.public_url
    finally:
        server.terminate()
        server.wait(20)
    assert b"Traceback" not in log.read_bytes()


def wait_for_site(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx2.get(f"{address}/health", trust_env=False, timeout=2).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    pytest.fail(f"the web server does not answer: {log.read_text(errors='replace')[-2000:]}")


class Visit:
    """One person's browser window. Whatever goes wrong in it unseen is kept and fails the test."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(viewport=DESK, **options)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("dialog", self._note_dialog)
        self.page.on("console", lambda each: self.faults.append(each.text) if each.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("response", lambda answer: self._note_refusal(answer.status, answer.url))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.hosts: set[str] = set()

    def _note_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_refusal(self, status: int, url: str) -> None:
        if status >= 400:
            self.faults.append(f"{status} {url}")

    def press(self, name: str) -> None:
        """Press a button with the mouse, and wait for what comes."""
        self.page.get_by_role("button", name=name).click()
        self.page.wait_for_load_state()

    def tab_to(self, role_name: str) -> None:
        """Move with Tab alone to a link, button or field, by its name; each stop on the way must be seen."""
        for _ in range(40):
            self.page.keyboard.press("Tab")
            name, ring, offset = self.page.evaluate(
                """() => { const e = document.activeElement, s = getComputedStyle(e);
                   const name = e.labels && e.labels.length ? e.labels[0].innerText : e.innerText || e.ariaLabel || "";
                   return [name.trim(), s.outlineStyle + " " + s.outlineWidth, s.outlineOffset]; }"""
            )
            assert (ring, offset) == ("solid 3px", "2px"), f"{name}: no focus ring"
            if role_name in name:
                return
        raise AssertionError(f"Tab does not reach {role_name}")

    def heading(self) -> str:
        return self.page.locator("h1").inner_text()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    made = Visit(browser)
    yield made
    made.context.close()
    assert made.faults == []


@pytest.fixture
def alert(context: Context) -> UUID:
    """One alert on a listing whose every text is hostile and longer than any line."""
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    context.conn.execute(
        """update listing_version set title = %(title)s, seller = %(seller)s, description = %(description)s,
           price_text = %(price_text)s, unit_price = 0.0024, claimed_people = 500, language = 'zh',
           counts = %(said_list)s, kinds = %(said_list)s, contacts = %(said_list)s, dates = %(said_list)s,
           invalid_fields = array['price', 'date']""",
        SCRIPTS | {"said_list": json.dumps([{"what": "x", "value": SCRIPTS["said"], "text": SCRIPTS["said"]}] * 2)},
    )
    context.conn.execute("update listing set url = url || %s", ["/" + "a" * 300])
    return raise_alert(context, listing_id)


def find_link(context: Context, word: str) -> str:
    """The link in the newest message whose subject has `word`."""
    paths = sorted(context.settings.mail_folder.glob("*.eml"), key=lambda path: -path.stat().st_mtime_ns)
    for path in paths:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        part = message.get_body()
        if word in str(message["Subject"]) and part is not None:
            found = re.search(r"http://\S+/me/\w+/\S+", part.get_content())
            assert found is not None
            return found[0]
    raise AssertionError(f"no message about {word}")


def operator_link(context: Context) -> str:
    return f"{context.settings.public_url}/enter/{make_link(context.conn, 'operator', CONFIRM_LASTS, operator='olga')}"


# -- what people do ---------------------------------------------------------------------------------------------------


def test_an_operator_enters_sees_the_blurred_face_and_leaves(
    visit: Visit, context: Context, site: str, alert: UUID
) -> None:
    page = visit.page
    page.goto(operator_link(context))
    visit.press("Sign in")
    assert (page.url, visit.heading()) == (f"{site}/security/alerts", "Alerts")
    page.get_by_role("table").get_by_role("link").click()
    page.wait_for_load_state("networkidle")
    assert page.url == f"{site}/security/alerts/{alert}"
    assert re.fullmatch(r"A face that may be person [0-9a-f]{8}’s was found in a dataset on sale", visit.heading())
    face = page.locator(".faces img")
    assert face.evaluate("image => [image.complete, image.naturalWidth > 0]") == [True, True]
    with context.box.batch() as child:
        picture = child.open_picture(page.request.get(f"{site}{face.get_attribute('src')}").body())
    assert context.engine.find_faces(picture.pixels) == []
    visit.press("Sign out")
    assert (page.url, visit.heading()) == (f"{site}/", "Facewarden")
    page.goto(f"{site}/security/alerts")
    assert page.url == f"{site}/", "the session is over"
    assert visit.hosts == {site.split("/")[2]}, "every asset is our own"


def test_a_person_confirms_and_withdraws_with_the_keyboard_alone(visit: Visit, context: Context, site: str) -> None:
    enrol_person(context, "astronaut", confirmed=False)
    run_steps(context)
    page, conn = visit.page, context.conn
    page.goto(find_link(context, "confirm"))
    visit.tab_to("Skip to content")
    visit.tab_to("Yes, tell me")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/me")
    assert "confirmed on" in page.locator("main").inner_text()
    assert count(conn, "select count(*) from consent where confirmed_at is not null") == 1
    visit.tab_to("Yes, erase everything about me")
    page.keyboard.press("Space")
    visit.tab_to("Withdraw")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/me/withdraw")
    assert visit.heading() == "You have withdrawn"
    assert count(conn, "select count(*) from withdrawal") == 1
    run_steps(context)
    (last,) = context.settings.mail_folder.glob("*.eml")
    assert "erased" in last.read_text(), "the receipt, and no other message any more"


def test_a_person_says_not_me_and_takes_it_back_with_the_keyboard_alone(
    visit: Visit, context: Context, site: str, alert: UUID
) -> None:
    page, conn = visit.page, context.conn
    (subject_id,) = conn.execute("select subject_id from alert").fetchone() or (None,)
    page.goto(f"{site}/me/enter/{make_link(conn, 'subject', CONFIRM_LASTS, subject_id=subject_id)}")
    visit.press("Sign in")
    assert page.locator("main img").count() == 0
    button = page.get_by_role("button", name="This is not me")
    told = page.locator(f"#{button.get_attribute('aria-describedby')}").inner_text()
    assert re.match(r"On \d{4}-\d\d-\d\d: a face that", told), "which one it is about is said to those who only hear it"
    visit.tab_to("This is not me")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/me#alert-{alert}")
    assert "that this is not you. This is being taken up now." in page.locator("main").inner_text()
    assert conn.execute("select state from alert").fetchone() == ("dismissed",)
    run_steps(context)
    page.reload()
    assert "do not alert you until" in page.locator("main").inner_text()
    visit.tab_to("Take that back")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="This is not me").wait_for()
    assert conn.execute("select state from alert").fetchone() == ("open",)
    assert count(conn, "select count(*) from negative") == 0


def test_a_person_whose_links_ended_asks_for_a_new_one(visit: Visit, context: Context, site: str) -> None:
    enrol_person(context, "astronaut")
    page = visit.page
    page.goto(site)
    visit.tab_to("The address you enrolled with")
    page.keyboard.type("astronaut@test.example")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/me/link")
    assert visit.heading() == "Look into your mail"
    answer_all(context)
    page.goto(find_link(context, "the link you asked for"))
    visit.press("Sign in")
    assert page.url == f"{site}/me"
    assert page.get_by_role("button", name="Withdraw").is_visible()


def test_a_form_on_another_site_does_nothing(browser: Browser, context: Context, site: str) -> None:
    """The browser says where the form was sent from, and that is not here."""
    subject_id = enrol_person(context, "astronaut")
    link = f"{site}/me/enter/{make_link(context.conn, 'subject', CONFIRM_LASTS, subject_id=subject_id)}"
    window = browser.new_context()
    page = window.new_page()
    page.route("http://evil.test/**", lambda route: route.fulfill(
        content_type="text/html", body=f"<form method=post action='{link}'><button>win</button></form>"
    ))  # fmt: skip
    page.goto("http://evil.test/")
    with page.expect_response(link) as answered:
        page.get_by_role("button").click()
    assert answered.value.status == 403
    assert count(context.conn, "select count(*) from session") == 0
    window.close()


# -- hostile listings -------------------------------------------------------------------------------------------------


def test_no_script_of_a_listing_runs(visit: Visit, context: Context, site: str, alert: UUID) -> None:
    page = visit.page
    page.goto(operator_link(context))
    visit.press("Sign in")
    for path, shown in (("/security/alerts", ["title"]), (f"/security/alerts/{alert}", list(SCRIPTS))):
        page.goto(f"{site}{path}")
        for summary in page.locator("summary").all():
            summary.click()
        page.mouse.move(300, 300)
        text = page.locator("main").inner_text()
        isolated = page.locator("bdi[dir=auto]").evaluate_all("all => all.map(each => each.textContent)")
        for name in shown:
            assert SCRIPTS[name].split("\n")[0] in text, f"{name} is shown as it is"
            assert SCRIPTS[name] in isolated, f"the direction of {name} ends with it"
        assert page.locator("script, iframe, svg, main [onerror], main [onload], main [onmouseover]").count() == 0
    page.wait_for_timeout(200)
    assert visit.faults == []


def test_the_policy_stops_a_script_that_got_in_all_the_same(browser: Browser, context: Context, site: str) -> None:
    """As if escaping had failed: inline scripts, handlers, foreign scripts, styles and frames put into the page."""
    visit = Visit(browser)
    page = visit.page
    page.goto(operator_link(context))
    visit.press("Sign in")
    visit.faults.clear()
    blocked = page.evaluate(
        """async () => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", event => seen.push(event.effectiveDirective));
            const add = (name, more) => document.body.append(Object.assign(document.createElement(name), more));
            add("script", {textContent: "window.hit = 1"});
            add("script", {src: "/static/x.js"});
            add("style", {textContent: "body { display: none }"});
            add("iframe", {src: "/"});
            const div = document.createElement("div");
            div.innerHTML = "<img src='/nothing.png' onerror='window.hit = 2'>";
            document.body.append(div);
            await new Promise(done => setTimeout(done, 700));
            return [window.hit ?? null, [...new Set(seen)].sort()];
        }"""
    )
    assert blocked == [None, ["frame-src", "script-src-attr", "script-src-elem", "style-src-elem"]]
    assert [fault for fault in visit.faults if fault.startswith("dialog")] == []
    visit.context.close()


# -- how it looks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_page_is_wider_than_its_window(
    browser: Browser, context: Context, site: str, alert: UUID, size: ViewportSize, scheme: str
) -> None:
    """Every page there is. With FACEWARDEN_SHOTS=<folder> each is also kept as a picture, to be looked at."""
    visit = Visit(browser, color_scheme=scheme)
    page, conn = visit.page, context.conn
    page.set_viewport_size(size)
    (subject_id,) = conn.execute("select subject_id from alert").fetchone() or (None,)
    with conn.transaction():
        judge_alert(conn, context.keys, subject_id, alert, days=180)
    run_steps(context)
    shots = os.environ.get("FACEWARDEN_SHOTS")

    def check(name: str) -> None:
        page.wait_for_load_state("networkidle")
        wide = page.evaluate("() => document.scrollingElement.scrollWidth - innerWidth")
        if shots:
            page.screenshot(path=f"{shots}/{name}-{size['width']}-{scheme}.png", full_page=True)
        assert wide <= 0, f"{name} is {wide} px too wide"
        for button in page.locator("main button[type=submit]").all():
            box = button.bounding_box()
            assert box is not None
            assert box["width"] <= 360, f"{name}: a button of {box['width']} px"
            assert box["height"] >= 24  # WCAG 2.2, 2.5.8

    def contrast(selector: str) -> float:
        """Of an element's border against the page (WCAG 2.2, 1.4.11)."""
        border, ground = page.locator(selector).evaluate(
            """element => { const paint = document.createElement("canvas").getContext("2d");
               const read = colour => { paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
                                        return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3); };
               return [read(getComputedStyle(element).borderTopColor),
                       read(getComputedStyle(document.documentElement).backgroundColor)]; }"""
        )
        bright, dark = sorted((luminance(border), luminance(ground)), reverse=True)
        return (bright + 0.05) / (dark + 0.05)

    page.goto(site)
    check("start")
    assert contrast("input[type=email]") >= 3
    page.keyboard.press("Tab")
    check("skip")
    page.fill("input[type=email]", "nobody@test.example")
    visit.press("Send me a new link")
    check("asked")
    page.goto(f"{site}/nowhere")
    check("error")
    page.goto(operator_link(context))
    check("enter")
    visit.press("Sign in")
    check("alerts")
    region = page.get_by_role("region", name="Alerts, newest first")
    assert region.get_attribute("tabindex") == "0"
    assert page.locator(".who").is_visible() is (size is DESK)
    for moment in page.locator("time").all():
        box = moment.bounding_box()
        assert box is not None
        assert box["height"] < 40, "a time that wraps"
        assert moment.inner_text().endswith("UTC")
    page.goto(f"{site}/security/alerts/{alert}")
    page.locator("summary").click()
    check("alert")
    page.goto(f"{site}/security/alerts?page=0")
    check("error-operator")
    page.context.clear_cookies()
    page.goto(f"{site}/me/confirm/x")
    check("confirm")
    visit.press("Yes, tell me")
    check("spent")
    page.goto(f"{site}/me/enter/{make_link(conn, 'subject', CONFIRM_LASTS, subject_id=subject_id)}")
    visit.press("Sign in")
    page.locator("summary").click()
    check("me-judged")
    visit.press("Take that back")
    check("me")
    assert contrast("input[type=checkbox]") >= 3
    page.get_by_role("checkbox").check()
    visit.press("Withdraw")
    check("withdrawn")
    visit.context.close()


def luminance(colour: list[int]) -> float:
    """Relative luminance of 8-bit sRGB (WCAG 2.2, definition of relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_picture_that_is_not_square_fills_its_tile(visit: Visit, context: Context, site: str, alert: UUID) -> None:
    context.conn.execute("update face set x = - 0.9 * width")  # the crop ends at the picture's edge
    page = visit.page
    page.goto(operator_link(context))
    visit.press("Sign in")
    page.goto(f"{site}/security/alerts/{alert}", wait_until="networkidle")
    tile = page.locator(".faces img")
    wide, high, fit = tile.evaluate("tile => [tile.naturalWidth, tile.naturalHeight, getComputedStyle(tile).objectFit]")
    assert wide < high / 2
    assert fit == "cover"
    if shots := os.environ.get("FACEWARDEN_SHOTS"):
        tile.screenshot(path=f"{shots}/tile.png")
