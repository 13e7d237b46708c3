"""A page that hangs, kills or fills its reader ends in a typed code, with its evidence kept, and costs its
neighbours nothing."""

import contextlib
import datetime as dt
import gzip
import os
import pickle
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from crawler.capture import WarcFile
from crawler.cards import Card, hash_card, parse_card
from crawler.kinds.reading import NOTHING
from crawler.pages import ParsedPage
from crawler.pipeline import Keeper
from crawler.reader import ENDS, Read, Reader, ReadPage, Request, Unread, open_pictures, open_said
from crawler.verdicts import Known, Verdict
from tests.approvers import TWO
from tests.crawler.test_batches import Desk
from tests.crawler.test_crawl import CARD
from tests.samples import count, open_warcs
from vault.blobs import BlobWriter
from vault.gate import HashGate
from vault.keys import Keys
from vault.quiet import QUIET
from vault.records import Policy
from vault.settings import Settings
from vault.steps import Asker
from vault.store import Connection
from vault.store.sources import SourceCard, save_source

DAY = dt.date(2026, 12, 1)
READ = """listing = "article"
title = "h1"
seller = ".seller"
price = ".price"
description = ".text"
count = ".count"
date = ".date"
link = "a.own::attr(href)"
image = "img::attr(src)"
archive = "a.pack::attr(href)"
follow = ["a.next::attr(href)", "div a.item::attr(href)"]
"""
KINDS = {
    "shop": f'kind = "shop"\n{{}}[read]\n{READ}',
    "auto": 'kind = "shop"\n{}[read]\nlisting = "auto"\ntitle = "auto"\n',
    "opendir": 'kind = "opendir"\n{}',
    "jsonapi": 'kind = "jsonapi"\n{}[read]\nlisting = "@"\ntitle = "a"\n',
    "export": 'kind = "export"\n{}',
}
WHY = '[why]\npurpose = "Pages that a test makes"\nlegal_basis = "Made by the test"\nvalid_until = 2099-12-31\n'
WHERE = '[where]\nhosts = ["x.example"]\nstart = ["http://x.example/"]\n'
LIST = b"<article><h1>5000 faces</h1><b class=price>10 USD</b></article>"


def open_card(kind: str) -> Card:
    text = KINDS[kind].format(WHY + (WHERE if kind != "export" else ""))
    return parse_card(f'name = "x"\n{text}', "x", DAY)


def make_request(url: str = "http://x.example/") -> Request:
    return Request(url=url, media_type="text/html", known=Known(), seen=DAY)


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader(open_card("shop")) as made:
        yield made


def measure_seconds(pid: int) -> float:
    """Of processor time that a process has had. Raises OSError, IndexError, where there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Meter(threading.Thread):
    """What a reader takes while it works: processor seconds, most resident bytes."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(daemon=True)
        self._folder = Path(f"/proc/{reader.pid}")
        self._over = threading.Event()
        self.seconds, self.most = 0.0, 0

    def run(self) -> None:
        with contextlib.suppress(OSError, IndexError):  # it has ended
            while not self._over.wait(0.01):
                self.seconds = measure_seconds(int(self._folder.name))
                status = (self._folder / "status").read_text()
                self.most = int(status.partition("VmHWM:")[2].split()[0]) << 10

    def stop(self) -> None:
        self._over.set()
        self.join()


# -- pages that are nested ---------------------------------------------------------------------------------------------

DEEP = 900
ITEM = b"<div itemscope itemtype='http://schema.org/Product'>"
MESSAGE = b"<div class=body><div class=text>x</div></div>"
SHAPES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "listings in each other, around a long text": (
        "shop", lambda: b"<article><h1>5000 faces</h1>" * 1000 + b"<p>" + b"word 12345 " * 180_000),
    "listings in each other, around many short texts": (
        "shop", lambda: b"<article><h1>5000 faces</h1>" * 600 + (b"<p>" + b"word 12345 " * 100 + b"</p>") * 3000),
    "listings in each other, around many links": (
        "shop", lambda: b"<article><h1>x</h1>" * DEEP + b"<a class='own pack item next' href=/1>x</a>" * 70_000),
    "listings in each other, around many pictures": (
        "shop", lambda: b"<article><h1>x</h1>" * DEEP + b"<img src=/a.jpg>" * 140_000),
    "listings in each other, beside a long attribute": (
        "shop", lambda: b"<article><h1>x</h1>" * 1000 + b"<p title='" + b"x" * 5_000_000 + b"'>y"),
    "descriptions in each other, all empty": (
        "shop", lambda: LIST[:-10] + b"<i class=text>" * 1900 + b"<b class=text></b>" * 70_000),
    "hidden elements in each other": ("shop", lambda: LIST + b"<div hidden>" * 1900 + b"<a href=/x>y</a>" * 70_000),
    "texts below many elements": ("auto", lambda: b"<div>" * 1900 + b"<i>x</i>" * 70_000),
    "items in each other": (
        "auto", lambda: ITEM * 1900 + b"<i itemprop=name>x</i>" * 70_000),
    "rows in each other": ("opendir", lambda: b"<ul><li>" * DEEP + b"<a href=x>y</a>" * 19_000),
    "messages in each other": (
        "export", lambda: b"<div class='message default'>" * 1900 + MESSAGE * 35_000),
    "no JSON, but elements in each other": ("jsonapi", lambda: b"<div>" * 1900 + b"<i>x</i>" * 70_000),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_nested_page_is_read_in_part_or_refused_within_its_seconds_and_bytes(shape: str) -> None:
    kind, make = SHAPES[shape]
    with Reader(open_card(kind)) as reader:
        meter = Meter(reader)
        meter.start()
        read = reader.read(make(), make_request()).said
        meter.stop()
    assert isinstance(read, ReadPage), read
    assert 0 < meter.seconds < 7, "of ten and the start, so that a slower machine has room"
    assert 0 < meter.most <= 200 << 20
    if kind != "jsonapi":
        assert read.verdict is Verdict.CUT, "and it says so"


def test_listings_that_lie_in_each_other_a_few_deep_are_all_read(reader: Reader) -> None:
    thread = b"<article><h1>%d faces</h1><p class=text>words of it</p>" * 6 + b"</article>" * 6
    body = b"".join(thread % tuple(range(number, number + 6)) for number in range(0, 900, 6))
    read = reader.read(body, make_request()).said
    assert isinstance(read, ReadPage)
    assert (len(read.parsed.listings), read.verdict) == (900, Verdict.CONTENT)


def test_a_page_that_is_deeper_than_a_parser_goes_says_that_it_was_cut(reader: Reader) -> None:
    read = reader.read(b"<div>" * 3000 + LIST, make_request()).said
    assert isinstance(read, ReadPage)
    assert (read.verdict, read.parsed.listings) == (Verdict.CUT, ())
    read = reader.read(LIST + b"<font>" * 3000, make_request()).said
    assert isinstance(read, ReadPage)
    assert (read.verdict, len(read.parsed.listings)) == (Verdict.CUT, 1), "what was not cut is read"


# -- pages that end their reader ---------------------------------------------------------------------------------------

HANG = b"<article " + b" ".join(b"a%d=1" % number for number in range(200_000)) + b">"  # each is compared with all


@contextlib.contextmanager
def killing(reader: Reader, number: signal.Signals, times: int, after: float) -> Iterator[set[int]]:
    """End the process that reads, as often as there is another one, each time with this signal, once it has had so many
    seconds of processor time: it has begun, and is at the page. Gives those that were ended."""
    done: set[int] = set()
    over = threading.Event()

    def kill() -> None:
        while len(done) < times and not over.is_set():
            pid = reader.pid
            with contextlib.suppress(OSError, IndexError):  # it is gone, or there is none
                if pid and pid not in done and measure_seconds(pid) > after:
                    os.kill(pid, number)
                    done.add(pid)
            time.sleep(0.005)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join(10)


def test_a_page_that_takes_too_long_is_ended_and_named(reader: Reader) -> None:
    first = reader.pid
    read = reader.read(HANG, make_request()).said
    assert read == Unread(code="page_too_complex", text="reading it takes more than 10 s")
    assert reader.pid == 0
    after = reader.read(LIST, make_request()).said
    assert isinstance(after, ReadPage)
    assert after.parsed.listings[0].title == "5000 faces"
    assert reader.pid not in (0, first)


def test_a_page_that_takes_too_much_memory_is_named() -> None:
    with Reader(open_card("shop")) as reader:
        read = reader.read(b"<p>" + b"ab cd " * 5_000_000, make_request()).said
        assert read == Unread(code="page_too_complex", text="reading it takes more than 502 MB")
        assert isinstance(reader.read(LIST, make_request()).said, ReadPage)


@pytest.mark.parametrize(
    ("number", "times", "expected"),
    [
        (signal.SIGKILL, 1, None),  # as the kernel does where memory is short: that says nothing of the page
        (signal.SIGSEGV, 1, None),
        (signal.SIGSEGV, 2, Unread(code="page_unreadable", text="its reader died (signal 11)", final=True)),
        (signal.SIGKILL, 2, Unread(code="page_unreadable", text="its reader died (signal 9)", final=False)),
    ],
)
def test_a_page_whose_reader_dies_is_read_once_more(
    reader: Reader, number: signal.Signals, times: int, expected: Unread | None
) -> None:
    slow = LIST + b"<article><h1>x</h1>" + b"<p class=text>" * 1000 + b"<img src=/%d.jpg>" * 100_000
    reader.read(LIST, make_request())
    after = measure_seconds(reader.pid) + 0.1 if times == 1 else 1.2
    with killing(reader, number, times, after) as ended:
        read = reader.read(slow if times == 1 else HANG, make_request()).said
    assert len(ended) == times
    if expected is None:
        assert isinstance(read, ReadPage), read
    else:
        assert read == expected


def test_a_reader_knows_nothing_of_us(reader: Reader) -> None:
    reader.read(LIST, make_request())
    names = {each.partition(b"=")[0] for each in Path(f"/proc/{reader.pid}/environ").read_bytes().split(b"\0")}
    assert names - {b""} <= {b"PYTHONPATH", b"PATH", b"LANG", *map(str.encode, QUIET)}
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{reader.pid}/status").read_text().splitlines())
    assert status["NoNewPrivs"] == "1"
    assert " 0 " in Path(f"/proc/{reader.pid}/limits").read_text().partition("Max file size")[2].splitlines()[0]


class Planted:
    """What a reader that was taken over might answer with."""

    def __init__(self, call: object, *arguments: object) -> None:
        self._made = (call, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._made


@pytest.mark.parametrize(
    "answer",
    [
        pickle.dumps(Planted(os.system, "true")),
        pickle.dumps(Planted(subprocess.Popen, "true")),
        pickle.dumps(Planted(eval, "1")),
        pickle.dumps(Planted(BlobWriter, Path("/tmp"))),
        pickle.dumps(Planted(getattr, "words", "upper")),
        pickle.dumps(Planted(getattr, Verdict, "mro")),
        pickle.dumps(Planted(getattr, ParsedPage, "__init__")),
        pickle.dumps(Path("/tmp")),
        pickle.dumps("words"),
        pickle.dumps(ParsedPage(listings=(), links=())),
        b"",
        b"nonsense",
        ENDS,
    ],
)  # fmt: skip
def test_a_reader_can_answer_with_records_of_pages_only(answer: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        open_said(answer)
    with pytest.raises(pickle.UnpicklingError):
        open_pictures(answer)


def test_a_word_may_be_spelled_as_any_python_spells_it() -> None:
    """3.11.2, Debian's, by `getattr`; others by its value."""
    page = ReadPage(parsed=NOTHING, verdict=Verdict.CONTENT, letters=0, problem="")
    spelled = replace(page, verdict=Planted(getattr, Verdict, "CONTENT"))  # type: ignore[arg-type]
    assert open_said(pickle.dumps(page)) == open_said(pickle.dumps(spelled)) == page


# -- evidence ----------------------------------------------------------------------------------------------------------


class Watching(Reader):
    """Notes how much evidence lay on disk when a page was read."""

    def __init__(self, card: Card, folder: Path) -> None:
        super().__init__(card)
        self._folder = folder
        self.sizes: list[int] = []

    def read_all(self, pages: Sequence[tuple[Request, bytes]]) -> list[Read]:
        self.sizes += len(pages) * [sum(path.stat().st_size for path in self._folder.iterdir())]
        return super().read_all(pages)


@pytest.fixture
def watched(settings: Settings, keys: Keys, conn: Connection) -> Iterator[tuple[Desk, Watching]]:
    text = CARD.format(top="", read="", pages=20, port=8601)
    card = parse_card(text, "card", DAY)
    source = save_source(
        conn, SourceCard(name=card.name, text=text, sha256=hash_card(text), policy=Policy.EPHEMERAL, signers=TWO)
    )
    conn.execute("update source set cycle_at = now()")
    folder = settings.home / "warc"
    with WarcFile(folder, card.name) as warc, Watching(card, folder) as reader:
        keeper = Keeper(
            conn, settings, keys, HashGate(digests=frozenset()), Asker(settings), card=card, source=source, warc=warc,
            reader=reader, known_pages=0, read_again=False,
        )  # fmt: skip
        yield Desk(conn, keeper, source.source_id), reader


def test_every_record_of_a_batch_is_on_disk_before_the_first_page_is_read(
    watched: tuple[Desk, Watching], settings: Settings
) -> None:
    desk, reader = watched
    desk.open("/a", "/b", "/c")
    desk.answer({path: (200, {}, f"<article><h1>{path}</h1></article>") for path in ("/a", "/b", "/c")})
    end = count(desk.conn, "select max(warc_offset + warc_length) from capture")
    assert reader.sizes == [end] * 3


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_a_page_that_hangs_or_kills_the_parser_has_its_capture_and_a_code(
    watched: tuple[Desk, Watching], settings: Settings, keys: Keys, how: str
) -> None:
    desk, reader = watched
    desk.open("/good", "/bad", "/more")
    times = 2 if how == "dies" else 0
    good: tuple[int, dict[str, str], str] = (200, {}, "<article><h1>good</h1></article>")
    with killing(reader, signal.SIGSEGV, times, 1.2) as ended:
        desk.answer({"/bad": (200, {}, HANG.decode()), "/good": good, "/more": good})
    assert len(ended) == times
    code = "page_too_complex" if how == "hangs" else "page_unreadable"
    assert desk.states() == {"/good": "done", "/more": "done", "/bad": f"quarantined:{code}"}
    assert count(desk.conn, "select count(*) from capture join page using (page_id) where url like '%%/bad'") == 1
    (data,) = open_warcs(desk.conn, keys, settings)
    assert count(desk.conn, "select count(*) from capture") == 3
    assert HANG in gzip.decompress(data), "the evidence is what was sent"


def test_an_answer_that_failed_is_not_read(watched: tuple[Desk, Watching]) -> None:
    desk, reader = watched
    desk.open("/a")
    desk.answer({"/a": (404, {}, "gone")})
    assert reader.sizes == []
