"""Taking in what a person hands in: real files on disk, hostile ones among them, and kills in mid-run."""

import datetime as dt
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from cli.__main__ import main
from cli.supervisor import ROOT
from crawler.cards import Card, parse_card
from crawler.handed import Handed, NotOpened, make_url, split_url
from crawler.ingest import run_ingest
from crawler.kinds import mail, parse_answer, telegram
from tests.crawler.test_crawl import sign
from tests.samples import count, open_warcs, png
from vault.errors import CardError
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection

CARD = """name = "handed-in-{kind}"\nkind = "{kind}"\n[why]\npurpose = "Files that a test makes"
legal_basis = "Made by the test itself"\nvalid_until = 2099-12-31\n{more}"""
TABLES = ("page", "listing", "listing_version", "listing_event", "sample", "blob", "key", "ledger", "capture")


def write_card(settings: Settings, tmp_path: Path, kind: str = "folder", more: str = "") -> Path:
    path = tmp_path / f"{kind}.toml"
    path.write_text(sign(settings, CARD.format(kind=kind, more=more), tmp_path))
    return path


def open_card(kind: str) -> Card:
    return parse_card(CARD.format(kind=kind, more=""), kind, dt.date(2026, 11, 1))


def take_in(settings: Settings, path: Path, card: Path) -> tuple[int, str]:
    lines: list[str] = []
    code = run_ingest(settings, path, card, lines.append)
    return code, "\n".join(lines)


def count_rows(conn: Connection) -> dict[str, int]:
    return {table: count(conn, f"select count(*) from {table}") for table in TABLES}


def show_samples(conn: Connection) -> list[tuple[Any, ...]]:
    return conn.execute(
        """select listing.url, title, page.url from sample join listing using (listing_id)
           join listing_version using (listing_id) join page on page.page_id = sample.page_id order by 1, 3"""
    ).fetchall()


def paint(number: int) -> bytes:
    return png(40, 40, "RGB", (number % 256, number // 256, 7))


def read_records(conn: Connection, keys: Keys, settings: Settings) -> list[tuple[str, str, bytes]]:
    found = []
    for data in open_warcs(conn, keys, settings):
        for record in ArchiveIterator(io.BytesIO(data)):
            uri = record.rec_headers.get_header("WARC-Target-URI") or ""
            found.append((record.rec_type, uri, record.content_stream().read()))
    return [each for each in found if each[0] != "warcinfo"]


def test_a_folder_becomes_listings_and_a_second_time_only_what_has_changed(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    root = tmp_path / "seized"
    (root / "set A 5000张/deep").mkdir(parents=True)
    (root / "set B").mkdir()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "mine.png").write_bytes(paint(99))
    (root / "own.png").write_bytes(paint(1))
    (root / "set A 5000张/a.PNG").write_bytes(paint(2))
    (root / "set A 5000张/deep/no extension").write_bytes(paint(3))
    (root / "set A 5000张/notes.txt").write_text("passed over")
    Path(os.fsdecode(os.fsencode(root / "set B") + b"/\xff\xfe?#%.png")).write_bytes(paint(4))
    (root / "set B/same.png").write_bytes(paint(4))
    (root / "set B/empty.jpg").write_bytes(b"")
    (root / "set B/pack.zip").write_bytes(b"PK\x03\x04 opened later, in the box")
    (root / "set B/link.png").symlink_to(secret / "mine.png")
    (root / "linked").symlink_to(secret)
    os.mkfifo(root / "set B/pipe.png")
    card = write_card(settings, tmp_path)

    code, told = take_in(settings, root, card)
    assert code == 0
    assert "listings 3" in told
    assert "refused: file_refused 3" in told
    a, b = "ingest:///seized/set%20A%205000%E5%BC%A0/", "ingest:///seized/set%20B/"
    assert show_samples(conn) == [
        ("ingest:///seized/", "seized", "ingest:///seized/own.png"),
        (a, "set A 5000张", a + "a.PNG"),
        (a, "set A 5000张", a + "deep/no%20extension"),
        (b, "set B", b + "%FF%FE%3F%23%25.png"),
        (b, "set B", b + "pack.zip"),
    ]
    assert conn.execute("select error_code from page where url like '%%empty.jpg'").fetchone() == ("body_empty",)
    assert count(conn, "select claimed_count from listing_version where title like 'set A%%'") == 5000
    assert not any(str(tmp_path) in url for (url,) in conn.execute("select url from page").fetchall())
    records = read_records(conn, keys, settings)
    assert {kind for kind, _url, _body in records} == {"resource"}
    assert len(records) == 3
    assert not any(b"PNG\r\n" in body for _kind, _url, body in records)
    assert any(b'"refused": "special"' in body for _kind, _url, body in records), "what was refused is evidence too"

    before = count_rows(conn)
    assert take_in(settings, root, card)[0] == 0
    assert count_rows(conn) == before

    (root / "set B/new.png").write_bytes(paint(5))
    (root / "own.png").write_bytes(paint(6))
    (root / "set A 5000张/a.PNG").unlink()
    assert take_in(settings, root, card)[0] == 0
    after = count_rows(conn)
    assert (after["sample"], after["blob"], after["listing"]) == (before["sample"] + 2, before["blob"] + 2, 3)
    assert count(conn, "select count(*) from listing where state = 'offered'") == 3, "what was handed in is not removed"


def test_what_vanishes_or_is_exchanged_in_mid_run_ends_in_a_code(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    root = tmp_path / "seized"
    root.mkdir()
    for name in ("gone", "link", "kept"):
        (root / f"{name}.png").write_bytes(paint(ord(name[0])))
    short = write_card(settings, tmp_path, more="[budget]\nbytes = 1\n")
    code, told = take_in(settings, root, short)
    assert (code, "stopped: budget_spent" in told) == (3, True), "the list of files was read, the files were not"
    (root / "gone.png").unlink()
    (root / "link.png").unlink()
    (root / "link.png").symlink_to("/etc/passwd")
    card = write_card(settings, tmp_path)
    assert take_in(settings, root, card)[0] == 0
    rows = conn.execute("select url, error_code from page where kind = 'image' order by url").fetchall()
    assert [code for _url, code in rows] == ["file_gone", None, "file_refused"]
    (root / "gone.png").write_bytes(paint(1))
    assert take_in(settings, root, card)[0] == 0
    assert count(conn, "select count(*) from sample") == 2


def test_kills_in_mid_run_lose_nothing(settings: Settings, keys: Keys, conn: Connection, tmp_path: Path) -> None:
    root, total = tmp_path / "seized", 2500
    for number in range(total):
        folder = root / f"set {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(paint(number))
    card = write_card(settings, tmp_path)
    words = [sys.executable, "-P", "-m", "cli", "ingest", str(root), "--card", str(card)]
    environ = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    for part in (0.1, 0.6):
        process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        while count(conn, "select count(*) from sample") < part * total and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    left = count(conn, "select count(*) from sample")
    assert left < total
    assert take_in(settings, root, card)[0] == 0
    assert count(conn, "select count(*) from sample") == count(conn, "select count(*) from blob") == total
    assert conn.execute("select state, count(*) from page where kind = 'image' group by 1").fetchall() == [
        ("done", total)
    ]
    assert count(conn, "select count(*) from listing") == 3


def test_exports_become_listings_with_their_pictures_sealed(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    root = tmp_path / "exports"
    for name in ("telegram_json/result.json", "telegram_html/messages.html"):
        folder = root / name.split("/")[0]
        (folder / "photos").mkdir(parents=True)
        (folder / "files").mkdir()
        (root / name).write_bytes((Path(__file__).with_name("sources") / name).read_bytes())
    stamp = "@01-03-2026_10-00-00.jpg"
    for number, name in enumerate((f"telegram_json/photos/photo_1{stamp}", f"telegram_json/photos/photo_2{stamp}",
                                   f"telegram_html/photos/photo_1{stamp}", "telegram_html/photos/photo_2 b.jpg",
                                   "telegram_html/files/pack.7z", "telegram_json/stickers.png")):  # fmt: skip
        (root / name).write_bytes(paint(number))
    (root / "Inbox").write_bytes(
        b"".join(b"From x@y Sun Mar  1 10:00:00 2026\n" + make_mail(number) + b"\n" for number in range(3))
    )
    (root / "one.eml").write_bytes(make_mail(9))
    card = write_card(settings, tmp_path, "export")
    code, told = take_in(settings, root, card)
    assert code == 0, told
    rows = conn.execute(
        """select split_part(listing.url, '/', 5), seller, claimed_count, count(sample_id)
           from listing join listing_version using (listing_id) left join sample using (listing_id)
           group by listing.listing_id, listing.url, seller, claimed_count order by listing.url"""
    ).fetchall()
    assert Counter(place.split("?")[0] for place, *_ in rows) == {
        "Inbox": 3, "one.eml": 1, "telegram_html": 2, "telegram_json": 4,
    }  # fmt: skip
    assert ("telegram_json", "数据小王", 170_000, 2) in rows
    assert ("telegram_html", "Face Factory", 170_000, 1) in rows
    assert sorted(row[1:] for row in rows if row[0].startswith("Inbox")) == [
        (f"seller{number}@x.example", 5000, 2) for number in range(3)
    ]
    assert count(conn, "select count(*) from page where url like '%%sticker%%'") == 0
    codes = conn.execute("select url, error_code from page where error_code is not null order by 1").fetchall()
    assert [code for _url, code in codes] == ["file_gone", "file_gone"], "a photo and a file that the export lacks"
    records = read_records(conn, keys, settings)
    assert len(records) == 6
    assert not any(b"PNG\r\n" in body or b"iVBORw0KGgo" in body for _kind, _url, body in records)
    before = count_rows(conn)
    assert take_in(settings, root, card)[0] == 0
    assert count_rows(conn) == {**before, "listing_event": before["listing_event"]}


def make_mail(number: int) -> bytes:
    made = EmailMessage()
    made["From"], made["Subject"] = f"seller{number}@x.example", f"lot {number}"
    made.set_content("5000 photos of faces\n\nFrom here on it is text.\n")
    made.add_attachment(paint(100 + number), maintype="image", subtype="png", filename="a.png")
    made.add_attachment(b"PK\x03\x04 %d" % number, maintype="application", subtype="zip", filename="b.zip")
    return made.as_bytes()


def test_one_archive_is_taken_in_by_itself(settings: Settings, keys: Keys, conn: Connection, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faces 800张.zip", "w") as archive:
        archive.writestr("a.png", paint(1))
    card = write_card(settings, tmp_path)
    assert take_in(settings, tmp_path / "faces 800张.zip", card)[0] == 0
    assert conn.execute("select title, claimed_count from listing_version").fetchone() == ("faces 800张.zip", 800)
    assert conn.execute("select kind, state from sample").fetchall() == [("archive", "ready")]
    _code, told = take_in(settings, tmp_path / "faces 800张.zip", write_card(settings, tmp_path, "export"))
    assert "nothing in it is a Telegram export" in told


def test_a_picture_on_a_list_stops_everything_and_is_not_kept(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    import hashlib

    root = tmp_path / "seized"
    root.mkdir()
    (root / "a.png").write_bytes(paint(1))
    (tmp_path / "list.txt").write_text(hashlib.sha256(paint(1)).hexdigest())
    gated = settings.replace("crawl", hash_lists=(tmp_path / "list.txt",))
    card = write_card(settings, tmp_path)
    _code, told = take_in(gated, root, card)
    assert "stopped: hash_listed" in told
    assert count(conn, "select count(*) from blob") == 0
    with pytest.raises(CardError, match="card_paused"):
        take_in(gated, root, card)


def test_only_what_is_handed_in_is_taken_in_and_only_by_a_card_for_it(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    card = write_card(settings, tmp_path)
    with pytest.raises(CardError) as caught:
        take_in(settings, tmp_path / "none", card)
    assert caught.value.stable_code == "handed_in"
    unsigned = tmp_path / "unsigned.toml"
    unsigned.write_text(CARD.format(kind="folder", more=""))
    with pytest.raises(CardError, match="card_unsigned"):
        take_in(settings, tmp_path, unsigned)
    assert count(conn, "select count(*) from ledger where entry like '%%card_unsigned%%ingest%%'") == 1
    for name, value in child_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert main(["crawl", str(card)]) == 2
    assert "card_kind" in (err := capsys.readouterr().err)
    assert "ingest PATH" in err


# -- names, places, mails ---------------------------------------------------------------------------------------------

NAME = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 0x2F} & set(name) and name not in (b".", b".."))


@given(st.lists(NAME, min_size=1, max_size=4).map(tuple))
def test_any_name_survives_its_address(names: tuple[bytes, ...]) -> None:
    url = make_url(names)
    assert url.isascii()
    assert split_url(url) == names


@pytest.mark.parametrize(
    "url",
    ["ingest:///other/a.png", "ingest:///seized/../secret.png", "ingest:///seized/%2e%2e/secret.png", "ingest:///seized/",
     "ingest:///seized//a.png", "ingest:///seized/a%2f..%2fb", "ingest:///seized/a%00", "file:///etc/passwd", "ingest:///",
     "ingest:///seized/link/secret.png", "ingest:///seized/link.png", "ingest:///seized/a.eml?part=99",
     "ingest:///seized/a.eml?part=x"],
)  # fmt: skip
def test_no_address_leads_out_of_what_was_handed_in(url: str, tmp_path: Path) -> None:
    root = tmp_path / "seized"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "a.eml").write_bytes(b"Subject: x\n\nx")
    with Handed(root, open_card("folder")) as handed, pytest.raises(NotOpened):
        handed.read_file(url, 1000)


MAIL_PIECES = st.binary(max_size=60) | st.sampled_from([b"\nFrom x 1:11\n", b"\r\n\r\nFrom y 1:11\r\n", b"From\n"])


@hypothesis_settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(MAIL_PIECES, max_size=8))
def test_an_mbox_of_any_bytes_is_split_into_all_of_itself(pieces: list[bytes], tmp_path: Path) -> None:
    data = b"From a 1:11\n" + b"\n\nFrom b 1:11\n".join(pieces)
    (tmp_path / "x.mbox").write_bytes(data)
    with Handed(tmp_path / "x.mbox", open_card("export")) as handed:
        mails = list(handed._split_mbox("ingest:///x.mbox"))
        assert b"".join(content or b"" for _start, _length, content, _cut in mails) == data
        for batch in handed.list_documents():
            assert all(each.failure is None for each in batch)


MESSAGES = st.dictionaries(st.text(max_size=8), st.text(max_size=30) | st.integers() | st.none(), max_size=4)


@hypothesis_settings(deadline=None)
@given(st.lists(MESSAGES, max_size=30), st.booleans())
def test_a_list_of_messages_is_read_whole_in_pieces(values: list[dict[str, Any]], ascii_only: bool) -> None:
    before, telegram.PIECE = telegram.PIECE, 17
    try:
        body = json.dumps({"messages": values, "more": [1]}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        found = telegram.Values(body, body.index(b"[") + 1)
        assert list(found) == json.loads(body.decode("utf-8", "replace"))["messages"]
        assert found.end <= len(body)
    finally:
        telegram.PIECE = before


def test_a_mail_that_is_only_html_is_read_block_by_block() -> None:
    body = mail.strip_mail(
        b"Subject: lot\nContent-Type: text/html\n\n<style>p{}</style><p>Take <b>5000</b> photos<br>for $10</p>&amp;"
    )
    (listing,) = parse_answer(body, "ingest:///x.eml", "message/rfc822", open_card("export")).parsed.listings
    assert (listing.claimed_text, listing.claimed_count) == ("Take 5000 photos", 5000)
    assert (listing.price_text, listing.description) == ("$10", "Take 5000 photos for $10 &")


HOSTILE_MAILS = {
    "nested": b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(5000)) + b"x",
    "many parts": b'Content-Type: multipart/mixed; boundary="b"\n\n' + b"--b\nContent-Type: image/png\n\nx\n" * 5_000,
    "headers": b"X: y\n" * 20_000 + b"\nbody",
    "one line": b"Subject: " + b"a" * 5_000_000 + b"\n\nx",
    "charset": b'Subject: =?x-none?B?/w==?=\nContent-Type: text/plain; charset="hex\n\n\xff\xfe\x00',
    "base64": b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n!!!not base64!!!",
    "name": b'Content-Type: image/png; name="=?utf-8?Q?=00=2F..=2Fa.png?="\n\nx',
    "uuencoded": b"Content-Type: image/png\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n!!!!!\nend\n",
    "no head": b"\n\n\n",
    "tags": b"Content-Type: text/html\n\n" + b"<" * 200_000 + b"<style" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE_MAILS)
def test_a_hostile_mail_costs_neither_time_nor_its_neighbours(name: str, tmp_path: Path) -> None:
    start = b"From a@x Sun Mar  1 10:00:00 2026\n"
    (tmp_path / "x.mbox").write_bytes(start + HOSTILE_MAILS[name] + b"\n\n" + start + make_mail(1))
    card = open_card("export")
    began = time.monotonic()
    with Handed(tmp_path / "x.mbox", card) as handed:
        bad, good = [document for batch in handed.list_documents() for document in batch]
        if bad.failure is None:
            reading = parse_answer(bad.body, bad.url, bad.media_type, card)
            for image in (image for listing in reading.parsed.listings for image in listing.images[:50]):
                handed.read_file(image, 1 << 20)
        (listing,) = parse_answer(good.body, good.url, good.media_type, card).parsed.listings
        assert handed.read_file(listing.images[0], 1 << 20)[0] == paint(101)
    assert time.monotonic() - began < 10
