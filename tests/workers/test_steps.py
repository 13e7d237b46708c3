"""The steps on real rows: refusals, retries, groups, lost consents, withdrawal to the last byte."""

import email
import email.policy
import importlib.util
import io
import json
import os
import re
import signal
import time
import zipfile
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cli.demo.people import HTML_AS_JPG, open_t1, save_jpeg
from evidence.verify import check_bundle
from matcher.gallery import Gallery
from tests.approvers import trust_two
from tests.samples import (
    ENROLLED,
    PEOPLE,
    STRANGERS,
    add_sample,
    ask_link,
    capture_listing,
    count,
    enrol_person,
    make_listing,
    png,
    portrait,
    run_steps,
)
from vault.blobs import blob_path
from vault.box import Child
from vault.errors import EnrolmentError, InputRefused, SettingError
from vault.gate import HashGate, hash_pdq, load_gate
from vault.keys import decrypt
from vault.records import PageKind
from vault.settings import Settings
from vault.steps import Step
from vault.store import Connection
from vault.store.audit import verify_ledger
from vault.store.bundles import ask_bundle
from vault.store.pauses import list_pauses
from vault.store.subjects import confirm_consent
from vault.store.withdrawals import withdraw_consent
from vault.store.work import MOST_ATTEMPTS
from workers.app import STEPS, take_turn
from workers.context import Context
from workers.deliver import deliver
from workers.embed_samples import embed_samples
from workers.erase_subjects import erase_subjects
from workers.link_datasets import link_datasets
from workers.match_faces import match_faces
from workers.open_archives import open_archives
from workers.pauses import Pauses
from workers.seal_bundles import seal_bundles


def ends(conn: Connection) -> dict[str, str | None]:
    rows = conn.execute("select sha256, state || coalesce(':' || error_code, '') from sample").fetchall()
    return dict(rows)


def test_file_function_and_task_of_a_step_bear_one_name() -> None:
    import importlib

    assert set(STEPS) == set(Step)
    for step, function in STEPS.items():
        assert function.__name__ == step.value
        assert getattr(importlib.import_module(f"workers.{step.value}"), step.value) is function


# -- samples to faces -------------------------------------------------------------------------------------------------


def test_a_batch_of_good_and_hostile_samples_ends_each_in_its_own_way(context: Context) -> None:
    listing_id = make_listing(context.conn)
    group = add_sample(context, listing_id, save_jpeg(open_t1(), 90))
    empty = add_sample(context, listing_id, png(64, 64))
    html = add_sample(context, listing_id, HTML_AS_JPG)
    cut = add_sample(context, listing_id, portrait("astronaut")[:630])
    assert embed_samples(context) == 4
    assert ends(context.conn) == {
        group: "done",
        empty: "done",
        html: "quarantined:format_not_allowed",
        cut: "quarantined:image_truncated",
    }
    assert count(context.conn, "select count(*) from face where state = 'ready' and template is not null") == 6
    assert count(context.conn, "select count(*) from blob where sha256 = %s", empty) == 0, (
        "what shows nobody is not kept"
    )
    assert count(context.conn, "select count(*) from blob where sha256 = any(%s)", [html, cut]) == 2, "for some days"


def test_a_decoder_that_dies_costs_one_attempt_and_the_batch_goes_on(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing_id = make_listing(context.conn)
    victim = add_sample(context, listing_id, portrait("astronaut"))
    other = add_sample(context, listing_id, portrait("t1-1"))
    original = Child._send

    def kill_over_victim(self: Child, request: dict[str, Any], payload: bytes, *rest: Any) -> None:
        if portrait("astronaut") in payload:
            self.probe("environment")
            os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.05)
        original(self, request, payload, *rest)

    monkeypatch.setattr(Child, "_send", kill_over_victim)
    assert embed_samples(context) == 2
    assert ends(context.conn) == {victim: "ready:decoder_died", other: "done"}
    assert count(context.conn, "select attempts from sample where sha256 = %s", victim) == 1
    monkeypatch.setattr(Child, "_send", original)
    context.conn.execute("update sample set not_before = null")
    assert embed_samples(context) == 1
    assert ends(context.conn)[victim] == "done"


@pytest.mark.parametrize(
    ("code", "attempts"),
    [("decoder_died", MOST_ATTEMPTS), ("decoder_memory", 2), ("decoder_timeout", 2)],
)
def test_a_poison_sample_is_quarantined_with_its_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch, code: str, attempts: int
) -> None:
    """After five attempts; what is too much for the box also when it is alone, after that one."""
    digest = add_sample(context, make_listing(context.conn), portrait("astronaut"))

    def die(self: Child, *_: object) -> object:
        raise InputRefused(code)

    monkeypatch.setattr(Child, "_read_group", die)
    monkeypatch.setattr(Child, "open_picture", die)
    for _ in range(attempts):
        assert embed_samples(context) == 1
        context.conn.execute("update sample set not_before = null")
    assert embed_samples(context) == 0
    assert ends(context.conn) == {digest: f"quarantined:{code}"}


def test_a_step_that_fails_gives_its_rows_back_at_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    add_sample(context, make_listing(context.conn), portrait("astronaut"))

    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr("workers.embed_samples.save_faces", fail)
    assert take_turn(context, Step.EMBED_SAMPLES) == 0
    row = context.conn.execute("select state, attempts, error_code from sample").fetchone()
    assert row == ("ready", 1, "step_failed")
    monkeypatch.undo()
    context.conn.execute("update sample set not_before = null")
    assert take_turn(context, Step.EMBED_SAMPLES) == 1


def test_a_database_that_goes_away_in_mid_batch_leaves_nothing_half_written(context: Context) -> None:
    add_sample(context, make_listing(context.conn), portrait("astronaut"))
    original = context.engine.find_all

    def cut_off(pixels: object) -> object:
        context.conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid = pg_backend_pid()")
        return original(pixels)  # type: ignore[arg-type]

    context.engine.find_all = cut_off  # type: ignore[method-assign, assignment]
    try:
        assert take_turn(context, Step.EMBED_SAMPLES) == 0
    finally:
        context.engine.find_all = original  # type: ignore[method-assign]
    assert count(context.conn, "select count(*) from face") == 0
    assert context.conn.execute("select state, attempts from sample").fetchone() == ("ready", 0), "not its fault"
    context.conn.execute("update sample set not_before = null")
    context.pauses = Pauses()
    assert take_turn(context, Step.EMBED_SAMPLES) == 1
    assert count(context.conn, "select count(*) from face") == 1


# -- archives ---------------------------------------------------------------------------------------------------------


def pack(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def test_an_archives_pictures_become_samples_and_the_archive_is_dropped(context: Context) -> None:
    archive = pack(
        {
            "a.jpg": portrait("astronaut"),
            "../b.jpg": portrait("t1-1"),
            "c.txt": b"text",
            "again.jpg": portrait("astronaut"),
            "inner.zip": pack({"x": b"x"}),
        }
    )
    digest = add_sample(context, make_listing(context.conn), archive, PageKind.ARCHIVE)
    assert open_archives(context) == 1
    rows = context.conn.execute(
        "select member, state, error_code, notice from sample where archive_id is not null order by member"
    ).fetchall()
    assert rows == [
        (0, "ready", None, None),
        (1, "ready", None, "archive_name_unsafe"),
        (4, "quarantined", "archive_nested", None),
    ]
    assert ends(context.conn)[digest] == "done"
    assert count(context.conn, "select count(*) from blob where sha256 = %s", digest) == 0


def test_an_archive_that_was_interrupted_is_begun_again_without_doubles(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.open_archives.PORTION", 3)
    members = {f"{number}.png": png(32, 32, "RGB", (number, 0, 0)) for number in range(10)}
    add_sample(context, make_listing(context.conn), pack(members), PageKind.ARCHIVE)
    original = Child.open_archive

    def stop_half_way(self: Child, *args: object) -> object:
        for number, member in enumerate(original(self, *args)):  # type: ignore[arg-type]
            if number == 7:
                raise RuntimeError("killed")
            yield member

    monkeypatch.setattr(Child, "open_archive", stop_half_way)
    assert take_turn(context, Step.OPEN_ARCHIVES) == 0
    assert count(context.conn, "select count(*) from sample where archive_id is not null") == 6
    monkeypatch.setattr(Child, "open_archive", original)
    context.conn.execute("update sample set not_before = null")
    assert take_turn(context, Step.OPEN_ARCHIVES) == 1
    assert count(context.conn, "select count(*) from sample where archive_id is not null") == 10
    files = [path for path in context.blobs.rglob("*") if path.is_file()]
    shared = "select count(distinct file_id) from blob"
    assert len(files) == count(context.conn, shared) == count(context.conn, "select count(*) from blob_file") == 4


@pytest.mark.parametrize(("content", "code"), [(b"Rar!\x1a\x07\x01\x00", "archive_unsupported"),
                                               (pack({"a": b"a"})[:-8], "archive_corrupt")])  # fmt: skip
def test_a_hostile_archive_ends_in_its_code_and_is_dropped_after_some_days(
    context: Context, content: bytes, code: str
) -> None:
    digest = add_sample(context, make_listing(context.conn), content, PageKind.ARCHIVE)
    open_archives(context)
    assert ends(context.conn) == {digest: f"quarantined:{code}"}
    assert count(context.conn, "select count(*) from blob") == 1
    context.conn.execute("update sample set not_before = now() - interval '8 days'")
    take_turn(context, Step.DROP_EXPIRED)
    assert count(context.conn, "select count(*) from blob") == 0


def test_a_listed_picture_in_an_archive_is_never_stored_and_stops_the_source(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    bad = png(40, 40)
    md5 = hashlib.md5(bad, usedforsecurity=False).hexdigest()
    context.__dict__["gate"] = HashGate(digests=frozenset({md5}))
    add_sample(context, make_listing(context.conn), pack({"bad.png": bad, "b.png": png(41, 41)}), PageKind.ARCHIVE)
    open_archives(context)
    digest = hashlib.sha256(bad).hexdigest()
    assert ends(context.conn)[digest] == "quarantined:hash_listed"
    assert count(context.conn, "select count(*) from blob where sha256 = %s", digest) == 0
    assert context.conn.execute("select state from source").fetchone() == ("paused",)
    assert digest in (context.settings.home / f"reports/{digest}.txt").read_text()
    assert (
        count(context.conn, "select count(*) from ledger where about = %s and entry like '%%hash_listed%%'", digest)
        == 1
    )


class Seeing(HashGate):
    """A gate whose list has every picture."""

    def is_similar(self, pixels: object) -> bool:
        return True


def test_a_picture_that_looks_like_a_listed_one_is_erased_before_anything_is_made_of_it(context: Context) -> None:
    conn = context.conn
    first, second = make_listing(conn, "first"), make_listing(conn, "second")
    digest = add_sample(context, first, portrait("astronaut"))
    add_sample(context, second, portrait("astronaut"))
    conn.execute("update sample set state = 'done' where listing_id = %s", [second])
    (key_id,) = conn.execute("select key_id from blob").fetchone() or (UUID(int=0),)
    assert blob_path(context.blobs, key_id).exists()
    context.__dict__["gate"] = Seeing(digests=frozenset(), pdq=np.zeros((1, 32), np.uint8))
    embed_samples(context)
    assert conn.execute("select state, error_code from sample").fetchall() == [("quarantined", "hash_listed")] * 2
    assert count(conn, "select count(*) from face") == 0
    assert count(conn, "select count(*) from blob") == 0
    assert not blob_path(context.blobs, key_id).exists()
    assert conn.execute("select name, state from source order by name").fetchall() == [
        ("first", "paused"),
        ("second", "active"),
    ]
    draft = (context.settings.home / f"reports/{digest}.txt").read_text()
    assert "found by: PDQ" in draft
    assert "http://first.example/item/1" in draft


def test_a_listed_picture_is_known_again_when_it_was_made_smaller_mirrored_or_saved_anew(tmp_path: Path) -> None:
    pytest.importorskip("pdqhash", reason="pdqhash is not installed (facewarden[pdq])")
    pixels = np.asarray(PEOPLE["astronaut"].portrait)[:, :, ::-1]
    other = np.asarray(STRANGERS[0].portrait)[:, :, ::-1]
    (tmp_path / "list").write_text(f"pdq:{hash_pdq(pixels)[0].tobytes().hex()}\n")
    home = Settings(home=tmp_path, key_file=tmp_path / "k")
    gate = load_gate(home.replace("crawl", hash_lists=(tmp_path / "list",)))
    assert not gate.digests
    assert gate.is_similar(pixels)
    assert gate.is_similar(pixels[::2, ::2])
    assert gate.is_similar(pixels[:, ::-1])
    assert gate.is_similar(np.rot90(pixels))
    assert not gate.is_similar(other)
    assert not gate.is_similar(np.zeros((200, 200, 3), np.uint8)), "an empty picture is like everything and nothing"


def test_pdq_hashes_without_the_library_that_makes_them_stop_everything(tmp_path: Path) -> None:
    if importlib.util.find_spec("pdqhash"):
        pytest.skip("pdqhash is installed")
    (tmp_path / "list").write_text("pdq:" + "0" * 64)
    home = Settings(home=tmp_path, key_file=tmp_path / "k")
    with pytest.raises(SettingError, match="pdqhash is not installed"):
        load_gate(home.replace("crawl", hash_lists=(tmp_path / "list",)))


@pytest.mark.parametrize(("bits", "near"), [(0, True), (31, True), (32, False), (256, False)])
def test_pdq_hashes_are_the_same_within_31_bits(bits: int, near: bool) -> None:
    listed = np.packbits(np.arange(256) % 3 == 0).reshape(1, 32)
    flipped = np.packbits(np.arange(256) < bits).reshape(1, 32)
    far = np.full((1, 32), 0x0F, np.uint8) ^ listed
    assert HashGate(digests=frozenset(), pdq=np.vstack([far, listed])).is_near(listed ^ flipped) is near


# -- faces to alerts --------------------------------------------------------------------------------------------------


def test_one_alert_a_person_and_dataset_however_often_the_face_is_there(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    first, second = make_listing(context.conn, "one"), make_listing(context.conn, "two")
    for quality in (40, 60, 80):
        add_sample(context, first, portrait("astronaut", quality))
    add_sample(context, second, portrait("astronaut", 50))
    add_sample(context, second, portrait(STRANGERS[0].name))
    run_steps(context)
    conn = context.conn
    assert count(conn, "select count(*) from alert") == 2
    assert count(conn, "select count(*) from match where subject_id = %s and alert_id is not null", subject_id) == 4
    assert count(conn, "select count(*) from delivery where kind = 'alert' and state = 'done'") == 2
    assert count(conn, "select count(*) from face where outcome = 'unmatched' and template is null") == 1
    add_sample(context, first, portrait("astronaut", 90))
    run_steps(context)
    assert count(conn, "select count(*) from alert") == 2
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 2, "nobody is told twice"


def test_a_match_row_says_what_it_was_compared_with(context: Context) -> None:
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    run_steps(context)
    row = context.conn.execute(
        "select score, cut, band, pack, calibration_id in (select calibration_id from calibration) from match"
    ).fetchone()
    assert row is not None
    score, cut, band, pack_name, calibrated = row
    assert score > 0.8 > cut > 0.3
    assert (band, pack_name, calibrated) == ("strong", "opencv-zoo", True)


def test_a_consent_that_ends_between_search_and_write_leaves_no_match(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_id = enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    embed_samples(context)
    original = Gallery.search
    withdrawn: list[bool] = []

    def withdraw_after(self: Gallery, *args: object) -> object:
        found = original(self, *args)  # type: ignore[arg-type]
        if not withdrawn:
            withdrawn.append(withdraw_consent(context.conn, subject_id))
        return found

    monkeypatch.setattr(Gallery, "search", withdraw_after)
    assert match_faces(context) == 1
    conn = context.conn
    assert count(conn, "select count(*) from match") == 0
    assert count(conn, "select count(*) from alert") == 0
    assert conn.execute("select outcome, state from face").fetchone() == ("unmatched", "done")


def test_a_hub_is_held_for_review_and_nobody_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """One face above the cut for three people: forced here by a cut that every pair reaches."""
    for person in ENROLLED[:3]:
        enrol_person(context, person.name)
    add_sample(context, make_listing(context.conn), portrait(STRANGERS[0].name))
    embed_samples(context)
    cut = context.cut()
    from dataclasses import replace

    monkeypatch.setattr(Context, "cut", lambda self: replace(cut, score=-0.9))
    match_faces(context)
    conn = context.conn
    assert count(conn, "select count(*) from match where held = 'hub_suspect' and alert_id is null") == 3
    assert count(conn, "select count(*) from alert") == 0
    assert conn.execute("select outcome from face").fetchone() == ("held",)


# -- the outbox -------------------------------------------------------------------------------------------------------


def messages(context: Context) -> list[email.message.EmailMessage]:
    paths = sorted(context.settings.mail_folder.glob("*.eml"))
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]


def body(message: email.message.EmailMessage) -> str:
    part = message.get_body()
    assert part is not None
    return str(part.get_content())


def test_an_alert_shows_no_picture_no_marketplace_and_no_score(context: Context) -> None:
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn, "bad-market"), portrait("astronaut", 60))
    run_steps(context)
    (alert,) = (message for message in messages(context) if "something you should see" in str(message["Subject"]))
    assert not alert.is_multipart()
    text = body(alert)
    for secret in ("bad-market", "5000", "http://bad", "score", "strong", "img"):
        assert secret not in text
    assert re.search(r"/me/enter/[\w-]{40,}", text)
    assert alert["To"] == "astronaut@test.example"


def test_sending_again_changes_nothing(context: Context) -> None:
    enrol_person(context, "astronaut", confirmed=False)
    deliver(context)
    (first,) = context.settings.mail_folder.iterdir()
    context.conn.execute("update delivery set state = 'ready', attempts = 0")
    deliver(context)
    (second,) = context.settings.mail_folder.iterdir()
    assert first == second
    assert messages(context)[0]["Message-ID"].strip("<>").split("@")[0] == second.stem


def test_nothing_leaves_for_somebody_who_has_withdrawn(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    add_sample(context, make_listing(context.conn), portrait("astronaut", 60))
    deliver(context)
    sent = len(messages(context))
    embed_samples(context)
    link_datasets(context)
    match_faces(context)
    withdraw_consent(context.conn, subject_id)
    deliver(context)
    assert len(messages(context)) == sent
    row = context.conn.execute("select state, error_code from delivery where kind = 'alert'").fetchone()
    assert row == ("quarantined", "subject_unknown")


def test_a_mail_folder_that_cannot_be_written_is_tried_again(context: Context) -> None:
    enrol_person(context, "astronaut", confirmed=False)
    context.settings.mail_folder.write_text("a file where the folder should be")
    assert take_turn(context, Step.DELIVER) == 0
    row = context.conn.execute("select state, error_code, attempts from delivery").fetchone()
    assert row == ("ready", "mail_folder", 0), "the folder's trouble is not charged to the message"
    assert [each.code for each in list_pauses(context.conn)] == ["mail_folder"]
    context.settings.mail_folder.unlink()
    context.conn.execute("update delivery set not_before = null")
    deliver(context)
    assert len(messages(context)) == 1


# -- leaving ----------------------------------------------------------------------------------------------------------


def test_withdrawal_erases_everything_and_ends_with_a_signed_receipt(context: Context) -> None:
    conn, home = context.conn, context.settings.home
    stays, leaves = enrol_person(context, "t1-1"), enrol_person(context, "astronaut")
    listing_id = make_listing(conn)
    own = add_sample(context, listing_id, portrait("astronaut", 60))
    shared = add_sample(context, listing_id, portrait("t1-1", 60))
    capture_listing(context, listing_id)
    run_steps(context)
    (alert_id,) = conn.execute("select alert_id from alert where subject_id = %s", [leaves]).fetchone() or (None,)
    ask_bundle(conn, alert_id, "test")
    run_steps(context)
    (bundle,) = (home / "bundles").iterdir()
    vectors = {each: open_template(context, each) for each in (stays, leaves)}
    withdraw_consent(conn, leaves)
    run_steps(context)
    assert conn.execute("select state from subject where subject_id = %s", [leaves]).fetchone() == ("erased",)
    for table in ("match", "alert", "template"):
        assert count(conn, f"select count(*) from {table} where subject_id = %s", leaves) == 0
        assert count(conn, f"select count(*) from {table} where subject_id = %s", stays) == 1
    assert count(conn, "select count(*) from blob where sha256 = %s", own) == 0
    assert count(conn, "select count(*) from blob where sha256 = %s", shared) == 1
    assert not bundle.exists()
    index = b"".join(path.read_bytes() for path in (home / "index").iterdir())
    assert vectors[leaves] not in index
    row = conn.execute(
        "select address_digest, address_sealed, wrapped from subject join key using (key_id) where subject_id = %s",
        [leaves],
    ).fetchone()
    assert row == (None, None, None)
    (receipt,) = (message for message in messages(context) if "erased" in str(message["Subject"]))
    line, signature = (each for each in body(receipt).splitlines() if re.fullmatch(r"\{.*\}|[0-9a-f]{128}", each))
    assert context.keys.verify(line.encode(), bytes.fromhex(signature))
    assert '"matches":1' in line
    assert "astronaut" not in line
    assert verify_ledger(conn, context.keys) == []
    assert take_turn(context, Step.ERASE_SUBJECTS) == 0


def open_template(context: Context, subject_id: UUID) -> bytes:
    row = context.conn.execute(
        "select template_id, sealed, wrapped, key_id from template join subject using (subject_id) join key "
        "using (key_id) where subject_id = %s",
        [subject_id],
    ).fetchone()
    assert row is not None
    return decrypt(context.keys.unwrap_key(row[2], str(row[3])), row[1], b"template:%d" % row[0])


def test_withdrawal_erases_the_messages_that_were_sent_and_their_torn_parts(context: Context) -> None:
    conn, folder = context.conn, context.settings.mail_folder
    stays, leaves = enrol_person(context, "t1-1"), enrol_person(context, "astronaut")
    add_sample(context, make_listing(conn), portrait("astronaut", 60))
    run_steps(context)
    ask_link(context, "astronaut@test.example")
    run_steps(context)
    rows = conn.execute("select delivery_id from delivery where subject_id = %s", [leaves]).fetchall()
    assert len(rows) == 3
    (folder / f".{rows[0][0]}.eml.0123abcd.tmp").write_text("To: astronaut@test.ex")  # its writer was killed
    (folder / "notes.txt").write_text("not ours")
    withdraw_consent(conn, leaves)
    run_steps(context)
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    (receipt,) = (text for text in texts.values() if "astronaut" in text)
    assert "have been erased" in receipt
    told = " ".join(receipt.replace("=\n", "").split())
    assert "the earlier messages to you" in told
    assert "with your address on it, in the folder it is sent from until" in told
    assert '"messages":3' in told
    kept = conn.execute("select delivery_id from delivery where subject_id = %s", [stays]).fetchall()
    assert {f"{delivery_id}.eml" for (delivery_id,) in kept} | {"notes.txt"} < set(texts)
    assert len(texts) == 3


def test_an_enrolment_that_nobody_confirms_is_erased_when_its_link_has_expired(context: Context) -> None:
    """Quietly: nobody ever said that the address is theirs, so nothing is written to it again."""
    conn = context.conn
    pending = enrol_person(context, "astronaut", confirmed=False)
    confirmed = enrol_person(context, "t1-1")
    run_steps(context)
    conn.execute("update consent set granted_at = granted_at - interval '8 days'")
    run_steps(context)
    take_turn(context, Step.DROP_EXPIRED)
    assert count(conn, "select count(*) from erasure") == 0, "its link still works"
    conn.execute("update link set expires_at = now() - interval '1 second'")
    take_turn(context, Step.DROP_EXPIRED)
    run_steps(context)
    states: dict[UUID, str] = dict(conn.execute("select subject_id, state from subject").fetchall())
    assert states == {pending: "erased", confirmed: "active"}
    row = conn.execute(
        "select address_digest, address_sealed, wrapped from subject join key using (key_id) where subject_id = %s",
        [pending],
    ).fetchone()
    assert row == (None, None, None)
    assert count(conn, "select count(*) from template where subject_id = %s", pending) == 0
    assert [str(message["To"]) for message in messages(context)] == ["t1-1@test.example"]
    assert verify_ledger(conn, context.keys) == []
    assert enrol_person(context, "astronaut") != pending


def test_an_enrolment_whose_mail_is_still_to_be_sent_is_not_dropped(context: Context) -> None:
    enrol_person(context, "astronaut", confirmed=False)
    context.conn.execute("update consent set granted_at = granted_at - interval '8 days'")
    take_turn(context, Step.DROP_EXPIRED)
    assert count(context.conn, "select count(*) from erasure") == 0


def test_a_pending_enrolment_is_replaced_and_its_link_confirms_nothing(context: Context) -> None:
    conn = context.conn
    first = enrol_person(context, "astronaut", confirmed=False)
    run_steps(context)
    second = enrol_person(context, "astronaut", confirmed=False)
    confirm_consent(conn, first)
    run_steps(context)
    assert count(conn, "select count(*) from consent where confirmed_at is not null") == 0
    assert dict(conn.execute("select subject_id, state from subject").fetchall()) == {
        first: "erased",
        second: "pending",
    }
    (mail,) = messages(context)
    assert "confirm" in str(mail["Subject"])
    confirm_consent(conn, second)
    context.gallery.refresh(conn)
    assert context.gallery.template_count == 1
    entries = " ".join(row[0] for row in conn.execute("select entry from ledger"))
    assert '"what":"replaced"' in entries


def test_an_enrolment_whose_photo_was_refused_is_replaced_even_when_it_was_confirmed(context: Context) -> None:
    from cli.commands.enrol import enrol

    trust_two(context.conn, context.keys)
    enrol(context.conn, context.keys, context.settings, "astronaut@test.example", png(200, 200), recorded_by="test")
    run_steps(context)
    (refused,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    confirm_consent(context.conn, refused)
    better = enrol_person(context, "astronaut")
    run_steps(context)
    states: dict[UUID, str] = dict(context.conn.execute("select subject_id, state from subject").fetchall())
    assert states == {refused: "erased", better: "active"}


def test_an_enrolment_that_is_searched_or_about_to_be_is_never_replaced(context: Context) -> None:
    from cli.commands.enrol import enrol

    enrol_person(context, "astronaut")
    enrol(context.conn, context.keys, context.settings, "new@test.example", portrait("t1-1"), recorded_by="test")
    (new,) = context.conn.execute("select subject_id from template where state = 'ready'").fetchone() or (None,)
    confirm_consent(context.conn, new)
    for address in ("astronaut@test.example", "NEW@test.example"):
        with pytest.raises(EnrolmentError) as caught:
            enrol(context.conn, context.keys, context.settings, address, portrait("t1-2"), recorded_by="test")
        assert caught.value.stable_code == "already_enrolled"
    assert count(context.conn, "select count(*) from erasure") == 0
    assert count(context.conn, "select count(*) from subject") == 2


def test_no_link_leaves_for_somebody_who_withdrew_after_asking(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    deliver(context)
    ask_link(context, "astronaut@test.example")
    withdraw_consent(context.conn, subject_id)
    deliver(context)
    assert len(messages(context)) == 1
    assert count(context.conn, "select count(*) from link where purpose = 'subject'") == 0


def test_somebody_who_withdrew_can_enrol_again(context: Context) -> None:
    first = enrol_person(context, "astronaut")
    withdraw_consent(context.conn, first)
    run_steps(context)
    second = enrol_person(context, "astronaut")
    assert second != first
    assert context.gallery.refresh(context.conn)
    assert context.gallery.template_count == 1


def test_an_erasure_that_is_interrupted_is_finished(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    subject_id = enrol_person(context, "astronaut")
    withdraw_consent(context.conn, subject_id)

    def fail(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("workers.erase_subjects.save_receipt", fail)
    assert take_turn(context, Step.ERASE_SUBJECTS) == 0
    assert count(context.conn, "select count(*) from receipt") == 0
    monkeypatch.undo()
    context.conn.execute("update erasure set not_before = null")
    assert erase_subjects(context) == 1
    assert count(context.conn, "select count(*) from template") == 0
    (body,) = context.conn.execute("select body from receipt").fetchone() or ("",)
    assert json.loads(body)["erased"]["templates"] == 1, "what the first attempt erased counts"


def blur(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo)).filter(ImageFilter.GaussianBlur(9))


@pytest.mark.parametrize(
    ("photo", "code"),
    [
        (save_jpeg(open_t1(), 90), "several_faces"),
        (png(200, 200), "no_face"),
        (HTML_AS_JPG, "format_not_allowed"),
        (portrait("astronaut")[: len(portrait("astronaut")) * 3 // 4], "photo_truncated"),
        (portrait("astronaut")[:630], "image_truncated"),
        (save_jpeg(blur(portrait("astronaut")), 90), "face_unclear"),
    ],
)
def test_an_enrolment_photo_that_will_not_do_is_refused_with_its_reason(
    context: Context, photo: bytes, code: str
) -> None:
    from cli.commands.enrol import enrol
    from workers.make_templates import make_templates

    enrol(context.conn, context.keys, context.settings, "x@test.example", photo, recorded_by="test")
    assert make_templates(context) == 1
    assert context.conn.execute("select state, error_code from template").fetchone() == ("quarantined", code)
    (subject_id,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    confirm_consent(context.conn, subject_id)
    context.gallery.refresh(context.conn)
    assert context.gallery.template_count == 0


# -- evidence ---------------------------------------------------------------------------------------------------------


def test_a_bundle_that_cannot_be_written_is_tried_again_and_leaves_no_part(context: Context) -> None:
    enrol_person(context, "astronaut")
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    add_sample(context, listing_id, portrait("astronaut", 60))
    run_steps(context)
    (alert_id,) = context.conn.execute("select alert_id from alert").fetchone() or (None,)
    ask_bundle(context.conn, alert_id, "test")
    (context.settings.home / "bundles").write_text("a file where the folder should be")
    assert take_turn(context, Step.SEAL_BUNDLES) == 0
    row = context.conn.execute("select state, error_code, attempts from bundle").fetchone()
    assert row == ("ready", "system", 0)
    (context.settings.home / "bundles").unlink()
    context.conn.execute("update bundle set not_before = null")
    seal_bundles(context)
    (path,) = (context.settings.home / "bundles").iterdir()
    report = check_bundle(path.read_bytes())
    assert report.failed == []
    assert len([row for row in report.rows if row.what.startswith("capture of")]) == 3
    names = zipfile.ZipFile(path).namelist()
    assert "matches.json" in names
    text = b"".join(zipfile.ZipFile(path).read(name) for name in names if name.endswith(".json"))
    assert b"astronaut@" not in text, "the person appears as a keyed digest only"
