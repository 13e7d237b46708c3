"""What is handed in and cannot be read whole: named, counted, and never plain ok."""

import datetime as dt
import json
import time
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cards import parse_card
from crawler.health import CycleFacts, Health, judge_source
from crawler.ingest import run_ingest
from crawler.kinds import parse_answer, telegram
from crawler.run import DONE, TRUNCATED
from tests.crawler.test_crawl import sign
from tests.samples import count, draw_picture, encode, png, run_steps
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection
from vault.store.passed_over import count_passed_over
from vault.store.samples import count_formats
from workers.context import Context

CARD = """name = "handed-in"\nkind = "{kind}"\n[why]\npurpose = "Files that a test makes"
legal_basis = "Made by the test itself"\nvalid_until = 2099-12-31\n"""
BOXES = {
    "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90),
    "phone2": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(91),
    "clip.mp4": b"\0\0\0\x18ftypisom\0\0\0\0isomavc1",
    "liveness.bin": b"\x1aE\xdf\xa3" + bytes(90),
    "notes.txt": b"for sale",
    "price list": "出售".encode("gb18030"),
    "train.rec": b"\x0a\x23\xd7\xce" + bytes(90),
    "passport.pdf": b"%PDF-1.7\n",
}


def take_in(settings: Settings, path: Path, tmp_path: Path, kind: str) -> tuple[int, str]:
    card = tmp_path / f"{kind}.toml"
    card.write_text(sign(settings, CARD.format(kind=kind), tmp_path))
    time.sleep(1 - time.time() % 1)  # a WARC file is named by the second
    lines: list[str] = []
    return run_ingest(settings, path, card, lines.append), "\n".join(lines)


def read_health(conn: Connection) -> tuple[str, str]:
    row = conn.execute("select health, health_reason from source").fetchone()
    assert row is not None
    return row


def test_every_file_of_a_folder_is_a_sample_or_counted_by_what_it_is(
    context: Context, settings: Settings, tmp_path: Path
) -> None:
    """Whatever it is called: a picture called .txt is a sample, a line break before it changes nothing."""
    root = tmp_path / "seized"
    root.mkdir()
    for name, data in BOXES.items():
        (root / name).write_bytes(data)
    for number, name in enumerate(("a.txt", "b.dat", "c.jpg", "d")):
        (root / name).write_bytes(b"\n" * number + png(40, 40, "RGB", (number, 2, 3)))
    code, told = take_in(settings, root, tmp_path, "folder")
    passed = {"text": 2, "MP4": 1, "Matroska": 1, "PDF": 1, "RecordIO": 1}
    assert code == DONE
    assert count_passed_over(context.conn) == {"handed-in": passed}
    assert "passed over: 2 text, 1 MP4, 1 Matroska, 1 PDF, 1 RecordIO" in told
    run_steps(context)
    assert count_formats(context.conn) == {"HEIC": 2}
    assert count(context.conn, "select count(*) from sample where state = 'done'") == 4
    assert take_in(settings, root, tmp_path, "folder")[0] == DONE
    assert count_passed_over(context.conn) == {"handed-in": passed}


def test_an_open_directory_counts_by_name_what_it_does_not_fetch() -> None:
    names = ["a.jpg", "b.HEIC", "c.mp4", "d.MP4", "readme", "pack.zip", "e.tar.unknownending", "f.txt"]
    body = "<html><title>Index of /</title><pre>" + "\n".join(f'<a href="{name}">{name}</a>' for name in names)
    card = CARD.format(kind="opendir") + '[where]\nhosts = ["x.example"]\nstart = ["http://x.example/"]\n'
    parsed = parse_answer(body.encode(), "http://x.example/", "text/html", parse_card(card, "x", dt.date(2026, 11, 1)))
    assert parsed.passed_over == {"mp4": 2, "no ending": 2, "txt": 1}
    assert [url.rpartition("/")[2] for url in parsed.parsed.listings[0].images] == ["a.jpg", "b.HEIC"]


# -- exports that break off -------------------------------------------------------------------------------------------


def make_chat(messages: int = 40) -> dict[str, object]:
    return {
        "name": "market",
        "type": "public_channel",
        "id": 1,
        "messages": [
            {"id": number, "type": "message", "date": f"2026-11-01T10:{number:02d}:00", "from": "olga",
             "photo": f"photos/{number}.png", "text": f"set {number}: 5000 faces, 10 USDT \" ] }} [ {{"}
            for number in range(messages)
        ],
    }  # fmt: skip


def write_chat(root: Path, body: bytes, photos: int = 3) -> Path:
    (root / "photos").mkdir(parents=True)
    for number in range(photos):
        (root / f"photos/{number}.png").write_bytes(png(40, 40, "RGB", (number, 9, 9)))
    (root / "result.json").write_bytes(body)
    return root


@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_telegram_export_that_breaks_off_keeps_what_was_read_and_says_so(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, share: float
) -> None:
    body = json.dumps(make_chat(), indent=1).encode()
    root = write_chat(tmp_path / "ChatExport", body[: int(len(body) * share)], photos=40)
    code, told = take_in(settings, root, tmp_path, "export")
    assert code == TRUNCATED
    assert "truncated: 1" in told
    health, reason = read_health(conn)
    assert health == "degraded"
    assert reason.startswith("truncated: 1 of 1 documents")
    listings = count(conn, "select count(*) from listing")
    assert 40 * share - 3 <= listings <= 40 * share + 1
    assert count_passed_over(conn) == {"handed-in": {"PNG": 40 - listings}}, "pictures that no message shows any more"
    assert take_in(settings, root, tmp_path, "export")[0] == TRUNCATED, "it still is"
    (root / "result.json").write_bytes(body)
    assert take_in(settings, root, tmp_path, "export")[0] == DONE
    assert read_health(conn)[0] == "ok"
    assert count(conn, "select count(*) from listing") == 40
    assert count_passed_over(conn) == {}


ACCOUNT = {"about": "x", "personal_information": {"bio": "a ] } {"}, "chats": {"about": "y", "list": [
    make_chat(3), make_chat(5)]}, "left_chats": {"list": []}}  # fmt: skip


@given(st.booleans(), st.integers(0, 4000), st.sampled_from([make_chat(4), ACCOUNT]))
def test_an_export_is_truncated_exactly_when_it_lacks_something(whole: bool, missing: int, value: object) -> None:
    body = json.dumps(value, indent=1, ensure_ascii=False).encode()
    cut = body if whole else body[: max(0, len(body) - 1 - missing)]
    chats = telegram.Chats(cut + b"\n")
    read = list(chats)
    assert chats.truncated is (not whole and bool(cut.strip()))
    assert len(read) <= 8


@pytest.mark.parametrize("piece", [b'\\"', b'"', b'{"', b"[", b'"messages": [', b'{"messages": [1,', b"\\"])
def test_the_end_of_a_hostile_export_is_found_in_seconds(piece: bytes) -> None:
    started = time.process_time()
    list(telegram.Chats(b'{"messages": [], "x": "' + piece * 300_000))
    assert time.process_time() - started < 5


def test_pictures_that_were_left_out_of_an_export_are_counted(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    chat = make_chat(4)
    for message in chat["messages"][1:]:  # type: ignore[index]
        message["photo"] = "(File not included. Change data exporting settings to download.)"
    root = write_chat(tmp_path / "ChatExport", json.dumps(chat).encode(), photos=1)
    (root / "video_files").mkdir()
    (root / "video_files/clip.mp4").write_bytes(BOXES["clip.mp4"])
    assert take_in(settings, root, tmp_path, "export")[0] == DONE
    assert count_passed_over(conn) == {"handed-in": {"not in the export": 3, "MP4": 1}}


HTML = """<html><body><div class="page_header"><div class="text bold">market</div></div>
<div class="history">{}</div></body></html>"""
SHOWN = """<div class="message default clearfix" id="message{0}"><div class="body"><div class="pull_right date details"
title="01.11.2026 10:{0:02d}:00">10</div><div class="from_name">olga</div><div class="text">{0}000 faces</div></div>
</div>"""


@pytest.mark.parametrize(("share", "code"), [(1.0, DONE), (0.6, TRUNCATED), (0.999, TRUNCATED)])
def test_an_html_export_that_breaks_off_says_so(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, share: float, code: int
) -> None:
    body = HTML.format("".join(SHOWN.format(number) for number in range(1, 30))).encode()
    root = tmp_path / "ChatExport"
    root.mkdir()
    (root / "messages.html").write_bytes(body[: int(len(body) * share)])
    assert take_in(settings, root, tmp_path, "export")[0] == code
    assert count(conn, "select count(*) from listing") >= 15
    assert (read_health(conn)[0] == "ok") is (code == DONE)


def make_mail(number: int) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "olga@shop.example", f"{number}000 faces"
    message.set_content("5000 faces, 10 USDT")
    picture = encode(draw_picture(number), 92)
    message.add_attachment(picture, maintype="image", subtype="jpeg", filename="a.jpg")
    message.add_attachment(b"%PDF-1.7\n", maintype="application", subtype="pdf", filename="offer.pdf")
    message.add_attachment(BOXES["phone.heic"], maintype="application", subtype="octet-stream", filename="IMG_1")
    message.add_attachment(b"\n" + png(40, 40, "RGB", (number, 1, 1)), maintype="application", subtype="octet-stream")
    return bytes(message)


def test_attachments_are_samples_by_their_bytes_and_the_rest_is_counted(
    context: Context, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "offer.eml").write_bytes(make_mail(1))
    assert take_in(settings, tmp_path / "offer.eml", tmp_path, "export")[0] == DONE
    run_steps(context)
    assert count_passed_over(context.conn) == {"handed-in": {"PDF": 1}}
    assert count_formats(context.conn) == {"HEIC": 1}
    assert count(context.conn, "select count(*) from sample where state = 'done'") == 2


@pytest.mark.parametrize("name", ["offer.eml", "offers.mbox"])
@pytest.mark.parametrize("missing", [30, 400, 4000])
def test_mail_that_breaks_off_keeps_what_was_read_and_says_so(
    context: Context, settings: Settings, tmp_path: Path, name: str, missing: int
) -> None:
    """Cut in an attachment, whose picture is shown as far as it goes."""
    last = make_mail(2)
    at = last.index(b"offer.pdf")
    body = last[: last.rindex(b"--", 0, at) - missing]
    before = b"From a Sun Nov  1 10:00:00 2026\n" + make_mail(1) + b"\nFrom b Sun Nov  1 10:00:01 2026\n"
    (tmp_path / name).write_bytes((before if name.endswith(".mbox") else b"") + body)
    code, told = take_in(settings, tmp_path / name, tmp_path, "export")
    assert code == TRUNCATED
    assert "truncated: 1" in told
    health, reason = read_health(context.conn)
    assert health == "degraded"
    assert reason.startswith("truncated: 1 of ")
    assert count(context.conn, "select count(*) from listing") == (2 if name.endswith(".mbox") else 1)
    run_steps(context)
    assert count(context.conn, "select count(*) from sample where truncated and state = 'done'") == 1


def test_a_source_with_a_truncated_document_is_degraded_whatever_else_was_read() -> None:
    facts = CycleFacts(ended={"ok": 99, "truncated": 1}, example={"truncated": 7}, listings=500)
    verdict = judge_source(facts, (), 0)
    assert (verdict.health, verdict.page_id) == (Health.DEGRADED, 7)
    assert "truncated: 1 of 100" in verdict.reason
    empty = judge_source(CycleFacts(ended={"truncated": 1}), (), 0)
    assert empty.health is Health.DEGRADED
