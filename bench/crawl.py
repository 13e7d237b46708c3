"""How fast is a crawl beside a bare Scrapy spider, and how much memory does a long frontier take?

The same site (written pages, served from memory by a small server of this file), the same concurrency, no rate limit,
one after the other in the same run, as often as `--runs` says; the figures are medians. The bare spider only counts:
it follows the same links, keeps nothing, and nothing stands between it and the site. Ours goes through the egress
guard, writes and syncs evidence, reads listings by selectors and keeps rows in a PostgreSQL that syncs its own.

    .venv/bin/python -m bench.crawl
    .venv/bin/python -m bench.crawl --only static --pages 5000 --runs 3 --json bench/out/crawl.json
    .venv/bin/python -m bench.crawl --only frontier --urls 1000000
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.children import Process, check_process, keep_alive, run_watched
from bench.programs import clean_environment, find_port, run_servers, sign
from cli.supervisor import ROOT, read_state
from crawler.run import PAGES_LEFT
from vault.settings import Servers, Settings
from vault.store import Connection, connect

PARTS = ("static", "rendered", "frontier")
FIRST_PORT = 9300
A_LIST = 50  # listings on a page of the list
CONCURRENCY = 16
RUN_SECONDS = 1800.0
FRONTIER_SECONDS = 30.0  # that the crawl of the long frontier runs
PARTS_USED = ("scrapy", "scrapy-playwright", "playwright", "psycopg", "parsel", "warcio")
WORDS = ("genuine", "fresh", "selfies", "faces", "album", "dataset", "photo", "seller", "escrow", "delivery", "sample",
         "archive", "verified", "people")  # fmt: skip
CARD = """\
name = "bench-crawl"
kind = "shop"
rendering = "{rendering}"
[why]
purpose = "Measure how fast a crawl is"
legal_basis = "Our own server with invented pages"
valid_until = 2099-12-31
robots = "ignore"
robots_reason = "the bare spider asks for none either"
[where]
hosts = ["127.0.0.1:{port}"]
start = ["http://127.0.0.1:{port}/list/0"]
[read]
follow = ["a.next::attr(href)", "a.item::attr(href)"]
listing = "article"
title = "h1"
seller = ".seller"
price = ".price"
count = ".count"
description = ".text"
wait_for = "{wait_for}"
[pace]
delay = 0.0
concurrency = {concurrency}
[budget]
pages = {budget}
depth = 100000
seconds = {seconds}
"""


# -- the site ---------------------------------------------------------------------------------------------------------


def write_site(pages: int, rendered: bool) -> dict[str, bytes]:
    """Path -> page. Lists of 50 that lead to one page a listing, `pages` in all."""
    lists = max(1, round(pages / (A_LIST + 1)))
    site = {}
    items = pages - lists
    for number in range(lists):
        links = [f'<li><a class="item" href="/item/{i}">offer {i}</a></li>' for i in range(number, items, lists)]
        after = f'<a class="next" href="/list/{number + 1}">next</a>' if number + 1 < lists else ""
        site[f"/list/{number}"] = f"<ul>{''.join(links)}</ul>{after}"
    for number in range(items):
        text = " ".join(WORDS[(number * 7 + step * step) % len(WORDS)] for step in range(400))
        site[f"/item/{number}"] = (
            f'<article><h1>{number + 100} faces, set {number}</h1><p class="seller">seller{number % 97}</p>'
            f'<p class="price">{5 + number % 90} USD</p><p class="count">{number + 100} faces</p>'
            f'<div class="text">{text}</div></article>'
        )
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>shop</title></head><body>'
    menu = "".join(f'<a href="/page/{name}">{name}</a> ' for name in WORDS)
    frame = "<nav>{menu}</nav><main id=main>{inside}</main><footer>{menu}</footer></body></html>"
    if rendered:
        frame = frame.replace("{inside}", "</main><script>document.getElementById('main').innerHTML={inside}</script>")
    return {
        path: (head + frame.format(menu=menu, inside=json.dumps(inside) if rendered else inside)).encode()
        for path, inside in site.items()
    }


class StaticServer(asyncio.Protocol):
    """Answers GETs from memory, connections kept alive, as a file server with a warm cache would."""

    answers: dict[bytes, bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self._transport.write(self.answers.get(head.split(b" ", 2)[1], self.answers[b""]))
            if b"\nconnection: close" in head.lower():
                self._transport.close()


async def serve(pages: int, port: int, rendered: bool) -> None:
    answers = {path.encode(): write_answer(200, body) for path, body in write_site(pages, rendered).items()}
    StaticServer.answers = {**answers, b"": answers[b"/item/0"]}
    server = await asyncio.get_running_loop().create_server(StaticServer, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


def write_answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


# -- the bare spider --------------------------------------------------------------------------------------------------


def run_bare(url: str, rendered: bool) -> None:
    """Counts the pages it reaches and prints how many."""
    import scrapy
    from scrapy.crawler import AsyncCrawlerProcess

    meta = {"playwright": True} if rendered else {}

    class Bare(scrapy.Spider):
        name = "bare"
        count = 0

        async def start(self):  # type: ignore[no-untyped-def]
            yield scrapy.Request(url, meta=meta)

        def parse(self, response):  # type: ignore[no-untyped-def]
            Bare.count += 1
            for link in response.css("a.next::attr(href), a.item::attr(href)").getall():
                yield response.follow(link, meta=meta)

    options: dict[str, Any] = {
        "CONCURRENT_REQUESTS": CONCURRENCY,
        "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
        "DOWNLOAD_DELAY": 0,
        "LOG_LEVEL": "WARNING",
        "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
    }
    if rendered:
        from crawler.browser import find_chromium, is_unwanted

        handler = "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler"
        options |= {
            "DOWNLOAD_HANDLERS": {"http": handler, "https": handler},
            "PLAYWRIGHT_LAUNCH_OPTIONS": {
                "executable_path": find_chromium(Settings(home=Path("/none"), key_file=Path("/none"))),
                "chromium_sandbox": False,
            },
            "PLAYWRIGHT_MAX_PAGES_PER_CONTEXT": 2,
            "PLAYWRIGHT_ABORT_REQUEST": is_unwanted,
        }
    process = AsyncCrawlerProcess(options)
    process.crawl(Bare)
    process.start()
    print(Bare.count)


# -- measuring --------------------------------------------------------------------------------------------------------


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "bench.crawl", *words]


@contextlib.contextmanager
def run_site(pages: int, port: int, rendered: bool) -> Iterator[None]:
    words = ["--serve", str(port), "--pages", str(pages), *(["--rendered"] if rendered else [])]
    environ = clean_environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(command(*words), env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the site does not start")
            with keep_alive(partial(check_process, process)):
                yield
        finally:
            process.terminate()


def time_command(argv: list[str], code: int = 0) -> tuple[float, str, int]:
    """(seconds, output, highest resident memory of its process in bytes); start and end of the process included."""
    peak = 0

    def weigh(process: Process) -> None:
        nonlocal peak
        with contextlib.suppress(psutil.Error):
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)

    started = time.monotonic()
    ended, told = run_watched(argv, RUN_SECONDS, watch=weigh, env=clean_environment(PYTHONPATH=str(ROOT)))
    seconds = time.monotonic() - started
    if ended != code:
        raise RuntimeError(f"{argv} ended with {ended}: {told[-2000:]}")
    return seconds, told, peak


def write_card(home: Path, port: int, pages: int, rendered: bool, seconds: float) -> Path:
    text = CARD.format(
        port=port, rendering="browser" if rendered else "html", wait_for="article, .item" if rendered else "",
        concurrency=CONCURRENCY, budget=pages, seconds=int(seconds),
    )  # fmt: skip
    card = home.parent / "card.toml"
    card.write_text(sign(text, home), encoding="utf-8")
    return card


def crawl_command(home: Path, card: Path, port: int) -> list[str]:
    return [sys.executable, "-P", "-m", "cli", "crawl", str(card), "--lab", f"127.0.0.1:{port}", "--home", str(home)]


def connect_home(home: Path) -> Connection:
    state = read_state(home)
    assert state is not None
    servers = Servers(database_url=state["database_url"])
    return connect(Settings(home=home, key_file=home / "none", servers=servers))


def crawl_once(folder: Path, port: int, pages: int, rendered: bool) -> tuple[float, int]:
    """One whole crawl by ours in a fresh state folder: (seconds, highest resident memory). Raises RuntimeError if it
    missed a page."""
    home = folder / "home"
    card = write_card(home, port, 10 * pages, rendered, RUN_SECONDS)
    with run_servers(home, find_port(port + 1)):
        seconds, told, peak = time_command(crawl_command(home, card, port))
        with connect_home(home) as conn:
            row = conn.execute(
                """select (select count(*) from page where state = 'done'),
                          (select count(distinct page_id) from capture), (select count(*) from listing),
                          (select setting from pg_settings where name = 'fsync')"""
            ).fetchone()
    items = pages - max(1, round(pages / (A_LIST + 1)))
    if row != (pages, pages, items, "on"):
        raise RuntimeError(f"{row} of {pages} pages: {told}")
    return seconds, peak


def fill_frontier(urls: int) -> dict[str, Any]:
    """A crawl that has `urls` addresses before it: how fast it is, and its highest resident memory."""
    folder = Path(tempfile.mkdtemp(prefix="facewarden-crawl-"))
    home, port = folder / "home", find_port(FIRST_PORT)
    try:
        card = write_card(home, port, 100 * urls, rendered=False, seconds=FRONTIER_SECONDS)
        with run_site(2, port, rendered=False), run_servers(home, find_port(port + 1)), contextlib.ExitStack() as stack:
            time_command(crawl_command(home, card, port))
            conn = stack.enter_context(connect_home(home))
            conn.execute(
                """insert into page (source_id, url, url_key, kind, depth)
                   select source_id, address, encode(sha256(address::bytea), 'hex'), 'page', 1
                   from source, generate_series(1, %(urls)s) as number,
                        lateral (select %(start)s || number as address) as made""",
                {"urls": urls, "start": f"http://127.0.0.1:{port}/item/more"},
            )
            seconds, _, peak = time_command(crawl_command(home, card, port), code=PAGES_LEFT)
            done, left = conn.execute(
                "select count(*) filter (where state = 'done'), count(*) filter (where state = 'ready') from page"
            ).fetchone() or (0, 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"urls": urls, "peak_mb": round(peak / 1e6, 1), "pages_per_second": round(done / seconds, 1), "left": left}


def compare(pages: int, runs: int, rendered: bool) -> dict[str, Any]:
    """Bare and ours in turns."""
    table: dict[str, Any] = {"pages": pages, "bare": [], "ours": [], "peak_mb": 0.0}
    port = find_port(FIRST_PORT)
    with run_site(pages, port, rendered):
        for _ in range(runs):
            url = f"http://127.0.0.1:{port}/list/0"
            seconds, told, _ = time_command(command("--bare", url, *(["--rendered"] if rendered else [])))
            if int(told.split()[-1]) != pages:
                raise RuntimeError(f"the bare spider found {told.split()[-1]} of {pages} pages")
            table["bare"].append(round(pages / seconds, 1))
            folder = Path(tempfile.mkdtemp(prefix="facewarden-crawl-"))
            try:
                seconds, peak = crawl_once(folder, port, pages, rendered)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            table["ours"].append(round(pages / seconds, 1))
            print(f"bare {table['bare'][-1]}, ours {table['ours'][-1]} pages a second", file=sys.stderr, flush=True)
            table["peak_mb"] = max(table["peak_mb"], round(peak / 1e6, 1))
    table["ratio"] = round(statistics.median(table["ours"]) / statistics.median(table["bare"]), 3)
    return table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--pages", type=int, default=5000, help="of the static site")
    parser.add_argument("--rendered-pages", type=int, default=200)
    parser.add_argument("--urls", type=int, default=1_000_000, help="in the long frontier")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    parser.add_argument("--rendered", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(args.pages, args.serve, args.rendered))
        return 0
    if args.bare:
        run_bare(args.bare, args.rendered)
        return 0
    parts, figures, tables = args.only or PARTS, {}, {}
    if "static" in parts:
        tables["static"] = compare(args.pages, args.runs, rendered=False)
        figures["crawl.ratio_static"] = tables["static"]["ratio"]
    if "rendered" in parts:
        tables["rendered"] = compare(args.rendered_pages, args.runs, rendered=True)
        figures["crawl.ratio_rendered"] = tables["rendered"]["ratio"]
    if "frontier" in parts:
        tables["frontier"] = fill_frontier(args.urls)
        figures["crawl.frontier_peak_mb"] = tables["frontier"]["peak_mb"]
    for name, table in tables.items():
        print(f"{name:10} {json.dumps(table)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cpu": read_cpu(), "cores": os.cpu_count(), "python": platform.python_version()}
        told = {
            "machine": machine,
            "versions": {name: version(name) for name in PARTS_USED},
            "figures": figures,
            **tables,
        }
        args.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0


def read_cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
