"""Rendered pages: Chromium through scrapy-playwright, started so that the guard is its only way out."""

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psutil
from playwright.async_api import Error as BrowserError
from playwright.async_api import TimeoutError as NotInTime
from scrapy_playwright.page import PageMethod

from crawler.capture import Answer
from crawler.cards import Card
from crawler.cookies import Jar
from crawler.proxy import GuardProcess
from crawler.renderer import TABS
from vault.embedded import make_private_folder
from vault.errors import ServerError
from vault.log import get_logger
from vault.settings import Settings, child_environment, write_environment

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "apt-get install chromium"
RENDER_MS = 30_000
WAIT_MS = 15_000
DOWNLOAD_MS = 2_000  # in which Chromium says that a download, which it may not save, was cancelled
MOST_RESIDENT = 700 << 20  # bytes of one browser process; a page that wants more is ended
ANSWER_SECONDS = 2.0
SHOT_MS = 10_000
SHOT_ATTEMPTS = 2  # of a page; after that it is read without, in case it was the screenshot that ended the browser
SHOT_SIZE = {"x": 0, "y": 0, "width": 1280, "height": 10_000}
SHOT_QUALITY = 60
MOST_SHOT_BYTES = 4 << 20
MOST_ANSWER_BYTES = 32 << 20
# whatever shows pixels that came as pixels; requests of pictures are aborted anyway, this is for data: and blob:
NO_PICTURES = """
    img, picture, svg image, video, canvas, object, embed, input[type=image] { visibility: hidden !important }
    *, *::before, *::after { background-image: none !important; border-image: none !important }
"""
UNWANTED = {"image", "media", "font"}  # pictures are fetched by the frontier, one by one
ARGUMENTS = [
    "--proxy-bypass-list=<-loopback>",  # Chromium would otherwise reach loopback without the proxy
    # WebRTC: no UDP past the proxy. The switch lost its "force-" on the way to Chromium 156; an unknown one is ignored
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-domain-reliability", "--disable-client-side-phishing-detection", "--dns-prefetch-disable",
    "--js-flags=--max-old-space-size=384",
    "--no-first-run", "--disable-crash-reporter", "--no-pings", "--disable-gpu", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]  # fmt: skip

log = get_logger(__name__)


def find_chromium(settings: Settings) -> str | None:
    """The system's Chromium, or None."""
    if settings.crawl.chromium:
        return settings.crawl.chromium if os.access(settings.crawl.chromium, os.X_OK) else None
    return next((path for name in CANDIDATES if (path := shutil.which(name))), None)


def browser_settings(settings: Settings, guard: GuardProcess) -> dict[str, Any]:
    """Scrapy settings for rendering. Raises ServerError where there is no Chromium."""
    handler = "crawler.renderer.Renderer"
    return {
        "DOWNLOAD_HANDLERS": {"http": handler, "https": handler},
        "PLAYWRIGHT_BROWSER_TYPE": "chromium",
        "PLAYWRIGHT_LAUNCH_OPTIONS": launch_options(settings, guard),
        "PLAYWRIGHT_MAX_PAGES_PER_CONTEXT": TABS,
        "PLAYWRIGHT_DEFAULT_NAVIGATION_TIMEOUT": RENDER_MS,
        "PLAYWRIGHT_ABORT_REQUEST": is_unwanted,
        "PLAYWRIGHT_DOWNLOAD_TIMEOUT": DOWNLOAD_MS,
        "RENDER_SECONDS": settings.crawl.render_seconds,
    }


def launch_options(settings: Settings, guard: GuardProcess) -> dict[str, Any]:
    """How Chromium is started so that the guard is its only way out. Raises ServerError where there is none."""
    executable = find_chromium(settings)
    if executable is None:
        raise ServerError("this card needs a browser and there is no Chromium", mend=INSTALL)
    ours = write_environment(settings).keys()
    scratch = find_scratch(settings)
    return {
        "executable_path": Path(__file__).with_name("chromium.sh"),
        # none of our addresses and passwords: by default it would inherit our whole environment
        "env": {
            **{name: value for name, value in child_environment(settings).items() if name not in ours},
            "HOME": str(scratch),
            "CHROMIUM": executable,
        },
        "headless": True,
        "args": ARGUMENTS,
        "ignore_default_args": ["--disable-popup-blocking"],  # Playwright's own: a page could open a thousand windows
        "proxy": {"server": guard.address, "username": guard.user, "password": guard.password},
        "chromium_sandbox": os.getuid() != 0,
        "timeout": RENDER_MS,
    }


def find_scratch(settings: Settings) -> Path:
    """A folder for what a browser would write into somebody's home: of the state folder, or, where none is set up yet,
    of the temporary one. Raises ServerError, where that belongs to somebody else."""
    if settings.servers.database_url or (settings.home / "run").is_dir():
        scratch = settings.home / "run/browser"
    else:
        scratch = Path(tempfile.gettempdir()) / f"facewarden-browser-{os.getuid()}"
    make_private_folder(scratch)
    return scratch


def is_unwanted(request: Any) -> bool:
    return request.resource_type in UNWANTED


def page_meta(card: Card, attempts: int, jar: Jar | None = None) -> dict[str, Any]:
    """The request meta that has a page rendered, waited for, and a screenshot taken of it. The context's options come
    with every request: after a crash the browser makes its context anew, and from Scrapy's settings it would not."""
    seen: list[tuple[dt.datetime, Any]] = []

    def note(response: Any) -> None:
        if response.request.is_navigation_request():
            seen.append((dt.datetime.now(dt.UTC), response))

    methods = [PageMethod(wait_for_content, card.read.wait_for), PageMethod(read_answer, seen)]
    if card.keep.screenshots and attempts <= SHOT_ATTEMPTS:
        methods.append(PageMethod(take_screenshot))
    return {
        "playwright": True,
        "playwright_page_methods": methods,
        "playwright_page_event_handlers": {"response": note},
        "playwright_context_kwargs": context_options(jar),
    }


def context_options(jar: Jar | None = None) -> dict[str, Any]:
    """No downloads, no service worker; and the cookies of a session, which the guard keeps to the card's hosts."""
    options: dict[str, Any] = {"accept_downloads": False, "service_workers": "block"}
    return {**options, "storage_state": {"cookies": jar.for_browser(), "origins": []}} if jar else options


async def wait_for_content(page: Any, selector: str) -> None:
    """Until the element is there (or, without one, the network is quiet). If it does not come the page is read as it
    is: what stands there instead - a login, an error - is evidence as well."""
    try:
        if selector:
            await page.wait_for_selector(selector, state="attached", timeout=WAIT_MS)
        else:
            await page.wait_for_load_state("networkidle", timeout=WAIT_MS)
    except NotInTime as exc:
        log.info("a page was read before it was what the card expects", error=type(exc).__name__)


async def read_answer(page: Any, seen: list[tuple[dt.datetime, Any]]) -> Answer | None:
    """What the server sent last for the page itself, not for its frames; None where the browser holds it no more."""
    for at, response in reversed(seen):
        if response.frame != page.main_frame or 300 <= response.status < 400:
            continue
        try:
            async with asyncio.timeout(ANSWER_SECONDS):  # it may be a download, or one that never ends
                body = await response.body()
                headers = tuple((each["name"], each["value"]) for each in await response.headers_array())
        except (BrowserError, TimeoutError) as exc:
            log.info("an answer behind a rendered page could not be read", error=type(exc).__name__)
            continue
        media_type = next((value for name, value in headers if name.lower() == "content-type"), "text/html")
        if len(body) > MOST_ANSWER_BYTES:
            return None
        return Answer(
            url=response.url, status=response.status, headers=headers, body=body, media_type=media_type, at=at
        )
    return None


async def take_screenshot(page: Any) -> bytes:
    """The page from top to bottom as a JPEG, its pictures left out; b"" where it cannot be taken, which costs the page
    nothing."""
    try:
        shot: bytes = await page.screenshot(
            full_page=True, clip=SHOT_SIZE, type="jpeg", quality=SHOT_QUALITY, style=NO_PICTURES, animations="allow",
            caret="initial", timeout=SHOT_MS,
        )  # fmt: skip
    except BrowserError as exc:
        log.info("no screenshot could be taken", error=type(exc).__name__)
        return b""
    return shot if len(shot) <= MOST_SHOT_BYTES else b""


def end_swollen() -> int:
    """Kill those of our browser's processes that hold too much memory; their page fails and the crawl goes on. Returns
    how many."""
    killed = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.memory_info().rss > MOST_RESIDENT and "--type=renderer" in process.cmdline():
                process.kill()
                killed += 1
    return killed
