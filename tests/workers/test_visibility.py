"""What one operator alone chose, through the steps: its person is told, nobody else learns anything; the signature of a
second approver opens it, pictures and evidence included."""

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from crawler.ingest import run_ingest
from evidence.verify import check_bundle
from tests.approvers import TWO, approve, approve_enrolment, sign_by, trust_two
from tests.crawler.test_crawl import CARD as MARKET
from tests.crawler.test_crawl import html, run_command
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import add_sample, capture_listing, count, enrol_person, make_listing, portrait, run_steps
from tests.vault.packing import pack
from tests.workers.test_hunts import add_faces, build, draw_strangers, hunt, plant
from vault.records import Band
from vault.store import Connection
from vault.store.alerts import raise_alert
from vault.store.blobs import list_litter
from vault.store.bundles import ask_bundle, get_bundle_file
from vault.store.datasets import get_dataset
from vault.store.hunts import list_hunts
from workers.context import Context

ONE = TWO[:1]
WEAK = 0.38  # above the cut for one template, in the lowest band
FOLDER = """name = "seized"\nkind = "folder"\n[why]\npurpose = "Files that a test makes"
legal_basis = "Made by the test itself"\nvalid_until = 2099-12-31\n"""


def write_card(context: Context, tmp_path: Path, *names: str, text: str = FOLDER) -> Path:
    path = tmp_path / "card.toml"
    path.write_text(approve(context.settings, text, *names))
    return path


def ingest(context: Context, root: Path, card: Path) -> str:
    lines: list[str] = []
    assert run_ingest(context.settings, root, card, lines.append) == 0, lines
    run_steps(context)
    return "\n".join(lines)


def rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return conn.execute(query.encode()).fetchall()


def count_files(context: Context) -> int:
    return sum(path.is_file() for path in context.blobs.rglob("*"))


def find_mails(context: Context, words: str) -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in context.settings.mail_folder.glob("*.eml")]
    return [text for text in texts if words in text]


# -- private ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["a picture", "an archive"])
def test_what_one_operator_hands_in_is_told_to_its_person_only(context: Context, tmp_path: Path, form: str) -> None:
    conn = context.conn
    trust_two(conn, context.keys)
    subject_id = enrol_person(context, "astronaut")
    root = tmp_path / "seized"
    root.mkdir()
    if form == "a picture":
        (root / "a.jpg").write_bytes(portrait("astronaut", 60))
    else:
        (root / "a.zip").write_bytes(pack("zip", [("a.jpg", portrait("astronaut", 60))]))
    run_steps(context)
    entries = count(conn, "select count(*) from ledger where entry not like '%%\"capture\"%%'")
    told = ingest(context, root, write_card(context, tmp_path, "tester"))
    assert "approved by tester: what is found is told to its person only" in told
    assert rows(conn, "select subject_id, visibility from alert join listing using (dataset_id) join source "
                      "using (source_id)") == [(subject_id, "private")]  # fmt: skip
    assert rows(conn, "select outcome, template is null, exact from face") == [("private", True, True)]
    assert rows(conn, "select * from shown_alert") == []
    (mail,) = find_mails(context, "has found a face that may be yours")
    assert not any(word in mail.lower() for word in ("handed", "seized", "sale", "dataset", "folder"))
    assert (count(conn, "select count(*) from blob"), list_litter(conn), count_files(context)) == (0, [], 0)
    after = count(conn, "select count(*) from ledger where entry not like '%%\"capture\"%%'")
    assert after == entries, "neither message nor match is in the ledger"


def test_a_second_signature_opens_what_was_there_with_its_pictures_and_evidence(
    context: Context, tmp_path: Path
) -> None:
    conn = context.conn
    trust_two(conn, context.keys)
    enrol_person(context, "astronaut")
    enrol_person(context, "t1-1")
    root = tmp_path / "seized"
    (root / "set").mkdir(parents=True)
    (root / "a.jpg").write_bytes(portrait("astronaut", 60))
    (root / "nobody.jpg").write_bytes(portrait("t1-4", 60))
    members = [("b.jpg", portrait("t1-1", 60)), ("nobody.jpg", portrait("t1-5", 60))]
    (root / "set/b.zip").write_bytes(pack("zip", members))
    card = write_card(context, tmp_path, "tester")
    ingest(context, root, card)
    assert count_files(context) == 0
    card.write_text(sign_by(card.read_text(), "second"))
    told = ingest(context, root, card)
    assert "approved by tester and second: what is found is shown to operators" in told
    run_steps(context)
    assert rows(conn, "select outcome, count(*) from face group by 1 order by 1") == [("matched", 2), ("unmatched", 2)]
    assert rows(conn, "select is_open from shown_alert") == [(True,), (True,)]
    kept = rows(conn, "select count(*) from sample join blob using (sha256) join face using (sample_id) "
                      "where outcome = 'matched'")  # fmt: skip
    assert kept == [(2,)], "the pictures were taken in once more"
    assert count(conn, "select count(*) from blob join sample using (sha256) where kind = 'archive'") == 0
    for (alert_id,) in rows(conn, "select alert_id from shown_alert"):
        ask_bundle(conn, alert_id, "test")
    run_steps(context)
    for state, file in rows(conn, "select state, file from bundle"):
        assert state == "done"
        verdict = check_bundle((context.settings.home / file).read_bytes())
        assert verdict.failed == []
    acts = rows(conn, "select entry::jsonb->'facts'->>'act' from ledger where about = 'source:seized'")
    assert acts == [("open",)]
    # and without the second signature it is closed again
    card.write_text(write_card(context, tmp_path, "tester").read_text())
    ingest(context, root, card)
    assert rows(conn, "select * from shown_alert") == []


def test_a_crawl_of_ones_own_server_is_private_until_two_have_signed(
    context: Context, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    def answer(path: str) -> Answer:
        if path == "/":
            return html('<article><h1>5000张人脸 10元</h1><b>10元</b><img src="/one.jpg"></article>')
        if path == "/one.jpg":
            return 200, {"Content-Type": "image/jpeg", "ETag": '"1"'}, portrait("astronaut", 60)
        return NOT_FOUND

    conn = context.conn
    trust_two(conn, context.keys)
    enrol_person(context, "astronaut")
    site = make_site(answer)
    text = MARKET.format(top="", read="", pages=10, port=site.server_port)
    card = write_card(context, tmp_path, "tester", text=text)
    lab = f"127.0.0.1:{site.server_port}"
    done = run_command(context.settings, "crawl", str(card), "--lab", lab)
    assert (done.returncode, "told to its person only" in done.stdout) == (0, True), done.stderr
    run_steps(context)
    assert rows(conn, "select outcome from face") == [("private",)]
    assert (rows(conn, "select * from shown_alert"), count(conn, "select count(*) from alert")) == ([], 1)
    assert len(find_mails(context, "has found a face")) == 1
    card.write_text(sign_by(card.read_text(), "second"))
    assert run_command(context.settings, "crawl", str(card), "--lab", lab).returncode == 0
    run_steps(context)
    assert rows(conn, "select is_open from shown_alert") == [(True,)]
    assert count(conn, "select count(*) from blob join sample using (sha256)") == 1, "fetched once more, past its ETag"
    assert len(find_mails(context, "has found a face")) == 1, "told once"


def test_a_private_source_of_weak_matches_holds_nothing_elsewhere(context: Context) -> None:
    """Five weak matches in five datasets are a flood; planted in material of one's own they must not show elsewhere."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut", signed=False)
    for number in range(8):
        make_listing(conn, f"mine-{number}", signers=ONE, alone=True)
    conn.execute("update listing set source_id = (select min(source_id) from source)")
    conn.execute(
        """insert into alert (alert_id, subject_id, dataset_id, band)
           select gen_random_uuid(), %s, dataset_id, 'possible' from listing""",
        [subject_id],
    )
    add_faces(context, plant(context, subject_id, [WEAK]), name="open")
    approve_enrolment(conn, context.keys, subject_id)
    hunt(context)
    assert rows(conn, "select band, held from match") == [("possible", None)]


# -- labelled ---------------------------------------------------------------------------------------------------------


def read_bundle(context: Context, alert_id: object) -> dict[str, Any]:
    state, file, _ = get_bundle_file(context.conn, alert_id)  # type: ignore[arg-type]
    assert (state, file is not None) == ("done", True)
    path = context.settings.home / str(file)
    assert check_bundle(path.read_bytes()).failed == []
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def test_two_alerts_of_one_person_in_labelled_sources_have_nothing_in_common(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    digest = context.keys.digest_text(f"subject:{subject_id}")
    for number, quality in enumerate((60, 80)):
        time.sleep(1 - time.time() % 1)  # a WARC file is named by the second
        listing_id = make_listing(conn, f"market-{number}", signers=ONE)
        capture_listing(context, listing_id)
        add_sample(context, listing_id, portrait("astronaut", quality))
    run_steps(context)
    assert rows(conn, "select outcome from face") == [("matched",), ("matched",)]
    alerts = rows(conn, "select alert_id, label, is_open from shown_alert")
    assert [is_open for _, _, is_open in alerts] == [False, False]
    for alert_id, _, _ in alerts:
        ask_bundle(conn, alert_id, "test")
    run_steps(context)
    bundles = [read_bundle(context, alert_id) for alert_id, _, _ in alerts]
    for (_, label, _), bundle in zip(alerts, bundles, strict=True):
        about = json.loads(bundle["alert.json"])
        assert about.keys() == {"alert_id", "dataset_id", "band", "created_at", "label"}
        assert about["label"] == label
        assert not any(digest.encode() in content for content in bundle.values())
        assert "matched_at" not in json.loads(bundle["matches.json"])[0]
    entries = [entry for (entry,) in rows(conn, "select entry from ledger where entry like '%subject%'")]
    assert not any('"what":"alert"' in entry for entry in entries), "when they were told joins them"


def test_what_is_held_in_a_labelled_source_counts_as_unmatched(context: Context) -> None:
    """A flood of one person's weak matches joins the datasets that it is held in."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut", signed=False)
    add_faces(context, plant(context, subject_id, [WEAK]), name="market")
    for number in range(8):
        make_listing(conn, f"listing-{number}")
    conn.execute("update listing set source_id = (select source_id from source where name = 'market')")
    conn.execute("update source set visibility = 'labelled'")
    conn.execute(
        """insert into alert (alert_id, subject_id, dataset_id, band)
           select gen_random_uuid(), %s, dataset_id, 'possible' from listing
           where not exists (select from sample where sample.listing_id = listing.listing_id)""",
        [subject_id],
    )
    approve_enrolment(conn, context.keys, subject_id)
    hunt(context)
    assert rows(conn, "select held, outcome from match join face using (face_id)") == [("template_flood", "unmatched")]
    assert rows(conn, "select * from shown_match") == []


# -- hunts ------------------------------------------------------------------------------------------------------------


def test_a_new_enrolment_is_hunted_once_two_approvers_have_signed_it(context: Context) -> None:
    conn, keys = context.conn, context.keys
    trust_two(conn, keys)
    subject_id = enrol_person(context, "astronaut", signed=False)
    build(context, add_faces(context, plant(context, subject_id, [0.9])))
    hunt(context)
    approve_enrolment(conn, keys, subject_id, "tester")
    hunt(context)
    assert (list_hunts(conn, 9, open_only=False), count(conn, "select count(*) from match")) == ([], 0)
    add_sample(context, make_listing(conn, "new"), portrait("astronaut", 60))
    run_steps(context)
    assert count(conn, "select count(*) from match") == 1, "what is found from now on is compared"
    approve_enrolment(conn, keys, subject_id, "second")
    hunt(context)
    assert [(row.state, row.matches) for row in list_hunts(conn, 9, open_only=False)] == [("done", 1)]
    assert count(conn, "select count(*) from match") == 2


def test_a_hunt_counts_matches_in_open_sources_only_and_shows_labelled_ones_over_a_day(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut", confirmed=True, signed=False)
    strangers = draw_strangers(context, [subject_id], 5)
    for name, signers, visibility in (("whole", 2, "open"), ("labelled", 1, "labelled"), ("private", 1, "private")):
        add_faces(context, plant(context, subject_id, [0.9]), name=name)
        add_faces(context, strangers, name=name)
        conn.execute("update source set visibility = %s where name = %s", [visibility, name])
        assert signers
    trust_two(conn, context.keys)
    approve_enrolment(conn, context.keys, subject_id)
    hunt(context)
    assert count(conn, "select count(*) from match where held is null") == 3
    assert [(row.state, row.matches) for row in list_hunts(conn, 9, open_only=False)] == [("done", 1)]
    assert rows(conn, "select is_open from shown_alert") == [(True,)]
    outcomes = rows(conn, "select distinct name, outcome from face join sample using (sample_id) join listing using "
                          "(listing_id) join source using (source_id) order by 1, 2")  # fmt: skip
    assert outcomes == [
        ("labelled", "unmatched"), ("private", "unmatched"), ("whole", "matched"), ("whole", "unmatched"),
    ]  # fmt: skip
    conn.execute("update alert set shown_from = shown_from - interval '1 day'")
    assert sorted(rows(conn, "select is_open from shown_alert")) == [(False,), (True,)]


# -- messages ---------------------------------------------------------------------------------------------------------


def alert_in(
    context: Context, subject_id: UUID, name: str, *, signers: tuple[str, ...] = TWO, alone: bool = False
) -> None:
    listing_id = make_listing(context.conn, name, signers=signers, alone=alone)
    with context.conn.transaction():
        raise_alert(context.conn, subject_id, get_dataset(context.conn, listing_id), Band.LIKELY)


def hourly(context: Context) -> None:
    context.settings = context.settings.replace("delivery", alert_minutes=60)


def count_sent(context: Context) -> int:
    return len(find_mails(context, "has found a face that may be yours"))


@pytest.mark.parametrize("kind", [{"signers": ONE}, {"signers": ONE, "alone": True}], ids=["labelled", "private"])
def test_a_message_about_an_open_find_does_not_wait_for_one_that_operators_may_not_know_of(
    context: Context, kind: dict[str, Any]
) -> None:
    """They see when it is sent: an hour later, the person had been found just before, by what was handed in."""
    conn = context.conn
    hourly(context)
    subject_id = enrol_person(context, "astronaut")
    run_steps(context)
    alert_in(context, subject_id, "mine", **kind)
    run_steps(context)
    assert count_sent(context) == 1
    alert_in(context, subject_id, "market")
    run_steps(context)
    assert count_sent(context) == 2
    assert rows(conn, "select count(*) from shown_delivery where kind = 'alert' and state = 'done'") == [(1,)]
    alert_in(context, subject_id, "second-market")
    alert_in(context, subject_id, "also-mine", **kind)
    run_steps(context)
    assert count_sent(context) == 2, "both wait, an hour at most"
    conn.execute("update delivery set sent_at = sent_at - interval '1 hour', not_before = now()")
    run_steps(context)
    assert count_sent(context) == 3, "one tells of both"
    assert rows(conn, "select count(*) from delivery where state <> 'done'") == [(0,)]


def test_a_quiet_message_tells_of_quiet_finds_only(context: Context) -> None:
    conn = context.conn
    hourly(context)
    subject_id = enrol_person(context, "astronaut")
    run_steps(context)
    for name, alone in (("mine", True), ("also-mine", True), ("market", False)):
        alert_in(context, subject_id, name, signers=ONE if alone else TWO, alone=alone)
    conn.execute(  # those come first
        """update delivery set created_at = created_at - interval '1 minute'
           where alert_id not in (select alert_id from shown_alert)"""
    )
    run_steps(context)
    assert count_sent(context) == 2
    sent = rows(conn, "select count(*) filter (where covered_by is null), count(*) from delivery where kind = 'alert'")
    assert sent == [(2, 3)]


def test_a_mail_folder_that_is_away_pauses_nothing_for_a_quiet_message(context: Context) -> None:
    """Whoever takes the folder away would be told by the pause that there is somebody to write to."""
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    run_steps(context)
    folder = context.settings.mail_folder
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    alert_in(context, subject_id, "mine", signers=ONE, alone=True)
    run_steps(context)
    assert (rows(conn, "select * from pause"), count_sent_in(folder.with_name("away"))) == ([], 0)
    folder.unlink()
    folder.with_name("away").rename(folder)
    conn.execute("update delivery set not_before = now() where state = 'ready'")
    run_steps(context)
    assert count_sent(context) == 1


def count_sent_in(folder: Path) -> int:
    return sum("has found a face" in path.read_text(encoding="utf-8") for path in folder.glob("*.eml"))
