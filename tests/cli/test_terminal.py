"""Whatever a source says, no command hands it to the terminal: planted escapes, run through every command on a pty."""

import io
import json
import os
import pty
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.__main__ import say_error
from cli.supervisor import ROOT
from crawler.propose.toml import quote
from tests.crawler.test_crawl import CARD, sign
from tests.samples import make_listing, portrait, raise_alert
from vault.keys import Keys
from vault.letters import SHAPELESS, count_of, dump_json, is_visible, show_text
from vault.settings import Settings, child_environment
from vault.store import Connection
from vault.terminal import TOLD_SECONDS, Grid, Screen, working
from vault.toml import parse_toml
from workers.context import Context

ATTACKS = {
    "OSC 52 fills the clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "OSC 8 hides a link": "\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "OSC 0 names the window": "\x1b]0;OWNED\x07",
    "CSI clears and moves": "\x1b[2J\x1b[1;1H",
    "DCS": "\x1bP$q q\x1b\\",
    "C1 CSI": "\x9b2J",
    "C1 OSC": "\x9d52;c;eA==\x9c",
    "bell, return, backspace": "\x07\r\b\b\bok",
    "a line of its own": "\nfacewarden: all good",
    "other line breaks": "\x85\u2028\u2029\x0b\x0c",
    "bidi": "\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c",
    "zero width": "pay\u200bpal\u200d\u2060\ufeff",
    "tags": "".join(chr(0xE0000 + ord(letter)) for letter in "ignore this"),
    "no shape": "\u3164\u115f\u2800\u034f\U000e0101",
    "delete, shift": "\x7f\x0e\x0f",
}
EVERYTHING = "T" + "|".join(ATTACKS.values()) + "Z"
IN_A_FILE_NAME = EVERYTHING.replace("/", "")[:100]
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


# -- letters ----------------------------------------------------------------------------------------------------------


@given(st.text())
def test_only_visible_letters_are_shown(text: str) -> None:
    assert all(map(is_visible, show_text(text)))


@pytest.mark.parametrize("text", ["5000张人脸 10元", "Лица, 170 тыс.", "चेहरे", "café ñ", "👨 ok", "a\\b", ""])
def test_what_people_write_is_left_as_it_is(text: str) -> None:
    assert show_text(text) == text or "\u200d" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\u3000b\u00a0c", "a b c"), ("\x1b[2J", "\\x1b[2J"), ("\u202e", "\\u202e"), ("\U000e0041", "\\U000e0041"),
     ("\ud800", "\\ud800"), ("\t", "\\x09"), ("\n", "\\x0a"), ("\ufe0f", "\ufe0f")],
)  # fmt: skip
def test_a_letter_that_cannot_be_seen_is_shown_by_its_number(text: str, shown: str) -> None:
    assert show_text(text) == shown


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.text(), inner)))  # fmt: skip
def test_json_reads_as_the_same_value_and_holds_no_letter_that_acts(value: object) -> None:
    text = dump_json(value, indent=1)
    assert json.loads(text) == value
    assert all(is_visible(letter) or letter in "\n\u00a0\u3000" for letter in text)
    text.encode()


@each_attack
def test_a_screen_and_a_grid_show_no_letter_that_acts(attack: str) -> None:
    out = io.StringIO()
    screen = Screen(file=out, width=60)
    grid = Grid(attack, title=attack)
    grid.add_row(attack)
    screen.print(attack, attack, sep=" ")
    screen.print(grid)
    assert all(is_visible(letter) or letter == "\n" for letter in out.getvalue())
    assert out.getvalue().splitlines()[0].count(show_text(attack)) == 2, "a string is one line"


@each_attack
def test_a_proposed_card_reads_as_what_it_holds_and_shows_it(attack: str) -> None:
    written = quote(f"a{attack}b'\"")
    assert parse_toml(f"x = {written}") == {"x": f"a{attack}b'\""}
    assert all(map(is_visible, written))


def test_a_noun_follows_its_number() -> None:
    assert [count_of(number, "page") for number in (0, 1, 2, 1200)] == ["0 pages", "1 page", "2 pages", "1,200 pages"]
    assert count_of(2, "match", "matches") == "2 matches"


def test_long_work_is_told_on_standard_error_and_not_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 1.0, TOLD_SECONDS, TOLD_SECONDS, TOLD_SECONDS + 1])
    with working("comparing \x1b[2J faces", clock=lambda: next(moments)) as tell:
        for how_far in ("1 of 9", "2 of 9", "3 of 9"):
            tell(how_far)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "comparing \\x1b[2J faces\ncomparing \\x1b[2J faces: 2 of 9\n"


def test_a_fix_of_several_lines_stays_below_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("code", "what\x1b[2J", "add:\n    [web]\nfacewarden: forged")
    assert capsys.readouterr().err.splitlines() == [
        "facewarden: code: what [2J", "  fix: add:", "       [web]", "       facewarden: forged"]  # fmt: skip


# -- every command ----------------------------------------------------------------------------------------------------


class Market(socketserver.StreamRequestHandler):
    """Answers byte for byte what an attacker would: no library looks at these headers."""

    def handle(self) -> None:
        path = self.rfile.readline().split(b" ")[1]
        while self.rfile.readline().strip():
            pass
        raw = EVERYTHING.replace("\n", " ").replace("\r", " ").encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
        if path == b"/robots.txt":
            head = b"HTTP/1.1 404 No\r\n"
        if path.startswith(b"/away"):
            head = b"HTTP/1.1 302 " + raw + b"\r\nLocation: http://127.0.0.1:1/" + raw + b"\x9b2J\r\n"
        if path.startswith(b"/escape"):
            head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\x1b]0;OWNED\x07\x1b[2J\x9b2J\xe2\x80\xae\r\n"
        if path.startswith(b"/header"):
            head = b"HTTP/1.1 200 " + raw + b"\r\nX-" + raw + b": " + raw + b"\r\nContent-Type: " + raw + b"\r\n"
        text = "".join(f"&#{ord(letter)};" if letter not in "\x85\x9b\x9c\x9d" else letter for letter in EVERYTHING)
        body = (
            f"<html><h1>x</h1><a class=item href='/away1'>a</a><a class=item href='/header'>b</a>"
            f"<a class=item href='/escape'>e</a>"
            f"<a class=item href='/lot/{raw.decode()}'>c</a>"
            f"<article><h1>{text}</h1><h2>{EVERYTHING}</h2><b>{text} 10</b><p class=s>{text}</p>"
            f"<img src='/i/{raw.decode()}.png'><a class=zip href='/z/{raw.decode()}.zip'>z</a></article></html>"
        ).encode()
        self.wfile.write(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)


@pytest.fixture
def market() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Market) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def run_on_terminal(settings: Settings, *arguments: str, term: str = "dumb", typed: str = "") -> str:
    """What a person sees of a command: both streams on one pty; they type there, too, if they type anything."""
    ours, theirs = pty.openpty()
    env = {**child_environment(settings), "PYTHONPATH": str(ROOT), "TERM": term, "NO_COLOR": "1", "COLUMNS": "200",
           "LANG": "C.UTF-8"}  # fmt: skip
    argv = [sys.executable, "-P", "-m", "cli", *arguments]
    process = subprocess.Popen(
        argv, env=env, stdin=theirs if typed else subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = bytearray()
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the last writer has gone
            break
        if not piece:
            break
        shown += piece
    process.wait(60)
    os.close(ours)
    return shown.decode("utf-8", "surrogateescape")


def check_shown(shown: str) -> None:
    """Only letters that can be seen. JSON may hold spaces of other widths."""
    strange = {letter for letter in shown.replace("\r\n", "\n") if not is_visible(letter)} - set("\n\u00a0\u3000")
    assert strange == set(), shown[:2000]


def plant_rows(conn: Connection) -> None:
    """What a source can say, where no parser has cleaned it."""
    conn.execute("alter table ledger disable trigger user")
    for table, columns in {
        "listing_version": ("title", "seller", "description", "price_text", "claimed_text", "currency", "language"),
        "listing": ("url",),
        "page": ("url", "error_code", "error_text", "etag", "verdict"),
        "source": ("reason", "health_reason"),
        "sample": ("error_code", "error_text", "notice"),
        "bundle": ("error_code", "error_text"),
        "listing_event": ("detail",),
    }.items():
        for column in columns:
            conn.execute(f"update {table} set {column} = %s".encode(), [EVERYTHING])
    conn.execute("update sample set state = 'quarantined'")


def test_every_command_shows_what_was_planted_and_obeys_none_of_it(context: Context, tmp_path: Path) -> None:
    conn, settings = context.conn, context.settings
    listing_id = make_listing(conn)
    raise_alert(context, listing_id)
    make_listing(conn, "other")
    conn.execute("insert into listing_event (listing_id, kind) select listing_id, 'new' from listing")
    plant_rows(conn)
    (dataset_id,) = conn.execute("select dataset_id from alert").fetchone() or (0,)
    strange = tmp_path / IN_A_FILE_NAME.replace("\0", "")
    strange.write_bytes(b"x")
    commands: list[tuple[str, ...]] = [
        ("alerts",), ("alerts", "--json"), ("alerts", "--not-me", EVERYTHING),
        ("datasets", "--all"), ("datasets", "--all", "--json"), ("datasets", str(dataset_id)),
        ("datasets", str(dataset_id), "--json"), ("status",), ("status", "--json"), ("source", "list"),
        ("source", "list", "--json"), ("ledger", "show", "--last", "50"),
        ("verify", str(strange)), ("source", "sign", str(strange)),
        ("source", "new", f"http://127.0.0.1:1/{EVERYTHING}"),
        ("ingest", str(strange), "--card", str(strange)), ("crawl", str(strange)), (EVERYTHING,),
        ("status", EVERYTHING),
        ("enrol", "--address", EVERYTHING, "--photo", str(strange)), ("withdraw", "--address", EVERYTHING),
        ("models", "add", EVERYTHING, "--licence", "research-only", "--from", str(strange)), ("doctor",),
        ("source", "session", str(strange), str(strange)), ("status", "--config", str(strange)),
        ("demo", "--faces", str(strange)),
    ]  # fmt: skip
    for arguments in commands:
        shown = run_on_terminal(settings, *arguments)
        assert shown.strip(), arguments
        assert "Traceback" not in shown, shown
        check_shown(shown)
    listed = run_on_terminal(settings, "datasets", "--all", "--json")
    assert EVERYTHING in [row["title"] for row in json.loads(listed)], "nothing is lost, it is only not obeyed"


def test_a_terminal_that_obeys_gets_no_sequence_of_a_market(context: Context) -> None:
    """With colours and live lines our own sequences are there; none of the planted ones is."""
    make_listing(context.conn)
    plant_rows(context.conn)
    for arguments in (("source", "list"), ("datasets", "--all"), ("status",)):
        shown = run_on_terminal(context.settings, *arguments, term="xterm-256color")
        assert not [attack for attack in ATTACKS.values() if attack in shown]


def test_a_hostile_market_is_proposed_tried_and_crawled_without_a_sequence_of_its_own(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, market: int
) -> None:
    lab = ("--lab", f"127.0.0.1:{market}")
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, CARD.format(top="", read='seller = "p.s"', pages=20, port=market), tmp_path))
    for arguments in (
        ("source", "new", f"http://127.0.0.1:{market}/", *lab),
        ("source", "new", f"http://127.0.0.1:{market}/away1", *lab),
        ("source", "new", f"http://127.0.0.1:{market}/escape", *lab),
        ("source", "test", str(card), *lab),
        ("crawl", str(card), *lab),
        ("datasets", "--all"),
    ):
        shown = run_on_terminal(settings, *arguments)
        assert "Traceback" not in shown, shown
        check_shown(shown)


def test_names_in_what_is_handed_in_are_shown_and_not_obeyed(settings: Settings, keys: Keys, tmp_path: Path) -> None:
    folder = tmp_path / "handed"
    folder.mkdir()
    (folder / IN_A_FILE_NAME).write_bytes(b"no picture")
    (folder / f"{IN_A_FILE_NAME[:50]}.jpg").write_bytes(portrait("astronaut"))
    (folder / f"{IN_A_FILE_NAME[:50]}.zip").write_bytes(b"PK\3\4 no archive")
    text = CARD.split("[where]")[0].format(top="").replace('kind = "shop"', 'kind = "folder"')
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, text, tmp_path))
    shown = run_on_terminal(settings, "ingest", str(folder), "--card", str(card))
    assert "Traceback" not in shown, shown
    check_shown(shown)


def test_the_list_of_shapeless_letters_is_unicodes() -> None:
    """Those that `str.isprintable` lets through although no reader sees them."""
    for letter in "\u034f\u115f\u1160\u17b4\u180b\u2800\u3164\uffa0\U000e0100\U000e01ef":
        assert letter.isprintable() and SHAPELESS.match(letter)
