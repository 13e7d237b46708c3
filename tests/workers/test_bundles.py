"""Bundles are of the case as it is: alerts that grow, alerts whose pictures are gone, and who asked."""

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from fastapi.testclient import TestClient

from cli.commands.alerts import list_sealed, wait_for_bundle
from dashboards.app import make_app
from evidence.verify import ABSENT, PASSED, Report, check_bundle
from tests.dashboards.test_pages import sign_in_operator
from tests.samples import (
    add_sample,
    capture_listing,
    count,
    enrol_person,
    make_listing,
    portrait,
    raise_alert,
    run_steps,
)
from vault.errors import EvidenceError
from vault.ledger import Kind
from vault.records import Bundle, Policy
from vault.store import Connection, connect
from vault.store.audit import verify_ledger
from vault.store.bundles import Asked, ask_bundle, describe_case, get_bundle_file, list_versions
from vault.store.judgements import judge_alert, take_back_judgement
from vault.store.ledger import write_entries
from vault.store.receipts import list_bundle_files
from vault.store.withdrawals import withdraw_consent
from workers.context import Context
from workers.seal_bundles import name_growth, seal_bundles


@pytest.fixture
def alert_id(context: Context) -> UUID:
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    return raise_alert(context, listing_id)


@pytest.fixture
def hunted(context: Context) -> UUID:
    """An alert that a hunt found among faces kept under `retro`, whose picture was not kept."""
    conn = context.conn
    listing_id = make_listing(conn, "kept", policy=Policy.RETRO, days=30)
    capture_listing(context, listing_id)
    add_sample(context, listing_id, portrait("astronaut", 80))
    run_steps(context)
    enrol_person(context, "astronaut")
    run_steps(context)
    (found,) = conn.execute("select alert_id from alert").fetchone() or (None,)
    assert isinstance(found, UUID)
    return found


def seal(context: Context, alert_id: UUID, by: str = "test", why: str = "") -> Path:
    ask_bundle(context.conn, alert_id, by, why)
    while seal_bundles(context):
        pass
    state, file, code = get_bundle_file(context.conn, alert_id)
    assert (state, code) == ("done", None)
    return context.settings.home / str(file)


def check(path: Path) -> Report:
    report = check_bundle(path.read_bytes())
    assert report.failed == []
    return report


def read(path: Path, name: str) -> Any:
    with zipfile.ZipFile(path) as bundle:
        return json.loads(bundle.read(name))


def manifest(path: Path) -> Any:
    return read(path, "manifest.json")


# -- pictures that are gone -------------------------------------------------------------------------------------------


def test_an_alert_of_a_hunt_is_sealed_with_what_there_is(context: Context, hunted: UUID) -> None:
    path = seal(context, hunted)
    report = check(path)
    digest = read(path, "matches.json")[0]["sha256"]
    answers = {row.what: (row.answer, row.detail) for row in report.rows}
    assert answers[f"samples/{digest}"] == (ABSENT, "the picture was not kept (policy retro)")
    assert answers[f"receipt of samples/{digest}"][0] == PASSED, "that it was received is proven all the same"
    assert answers["capture of captures/000001.warc.gz"][0] == PASSED
    assert read(path, "matches.json")[0]["picture"] == "the picture was not kept (policy retro)"
    with zipfile.ZipFile(path) as bundle:
        assert "the picture was not kept (policy retro)" in bundle.read("README.txt").decode()
        assert not [name for name in bundle.namelist() if digest in name]


def test_an_alert_of_a_hunt_shows_no_broken_picture(context: Context, hunted: UUID) -> None:
    with TestClient(make_app(context.settings), base_url="http://127.0.0.1:8600", follow_redirects=False) as client:
        sign_in_operator(client, context.conn)
        page = client.get(f"/security/alerts/{hunted}").text
    assert "The picture was not kept (policy retro)" in page
    assert "/security/faces/" not in page


def test_pictures_that_are_kept_are_shown_and_sealed_as_before(context: Context, alert_id: UUID) -> None:
    path = seal(context, alert_id)
    check(path)
    assert "absent" not in manifest(path)
    assert read(path, "matches.json")[0]["picture"].startswith("samples/")
    with TestClient(make_app(context.settings), base_url="http://127.0.0.1:8600", follow_redirects=False) as client:
        sign_in_operator(client, context.conn)
        page = client.get(f"/security/alerts/{alert_id}").text
    assert "/security/faces/" in page
    assert "not kept" not in page
    assert "version 1" in page


def test_a_picture_and_a_screenshot_that_go_later_are_absent_from_later_bundles(
    context: Context, alert_id: UUID
) -> None:
    conn = context.conn
    first = seal(context, alert_id)
    screenshot = add_sample(context, make_listing(conn, "other"), portrait("t1-1"))
    conn.execute(
        """insert into blob_capture (page_id, sha256, shows, keep_until, captured_at)
           select page_id, %s, capture_id, now(), now() from capture order by capture_id limit 1""",
        [screenshot],
    )
    conn.execute("delete from blob")
    conn.execute("update alert set band = 'possible'")
    path = seal(context, alert_id)
    report = check(path)
    absent = {row.what: row.detail for row in report.rows if row.answer == ABSENT}
    assert absent["captures/000001-screenshot.warc.gz"] == "the screenshot was dropped on its day"
    assert "the picture is kept no more" in absent.values()
    assert "absent" not in manifest(first), "the first version is as it was"


# -- versions ---------------------------------------------------------------------------------------------------------


def grow_match(context: Context, alert_id: UUID) -> None:
    listing_id = count(context.conn, "select min(listing_id) from listing")
    add_sample(context, listing_id, portrait("astronaut", 70))
    run_steps(context)


def grow_version(context: Context, alert_id: UUID) -> None:
    """The listing's words change: a new version of it."""
    context.conn.execute(
        """insert into listing_version (listing_id, version, capture_id, title, seller, description, price_text, price,
                                        currency, claimed_text, claimed_count, invalid_fields, seen_at)
           select listing_id, version + 1, capture_id, title, seller, description, '20元', 20, currency, claimed_text,
                  claimed_count, invalid_fields, now() from listing_version"""
    )


def grow_listing(context: Context, alert_id: UUID) -> None:
    other = make_listing(context.conn, "resale")
    capture_listing(context, other)
    context.conn.execute("update listing set dataset_id = (select dataset_id from alert)")


def grow_band(context: Context, alert_id: UUID) -> None:
    context.conn.execute("update alert set band = case band when 'likely' then 'strong' else 'likely' end")


def judge(context: Context, alert_id: UUID) -> None:
    with context.conn.transaction():
        (subject_id,) = context.conn.execute("select subject_id from alert").fetchone() or (None,)
        judge_alert(context.conn, context.keys, subject_id, alert_id, days=30)


Grow = Callable[[Context, UUID], None]
GROWTH: list[tuple[Grow, str]] = [
    (grow_match, "1 more match"), (grow_version, "1 more version of a listing"),
    (grow_listing, "1 more listing, 1 more version of a listing"), (grow_band, "it changed"), (judge, "it changed"),
]  # fmt: skip


@pytest.mark.parametrize(("grow", "why"), GROWTH)
def test_an_alert_that_grew_is_sealed_as_it_is_now(context: Context, alert_id: UUID, grow: Grow, why: str) -> None:
    first = seal(context, alert_id, by="ada")
    before = first.read_bytes()
    grow(context, alert_id)
    second = seal(context, alert_id, by="bob")
    assert second != first
    assert first.read_bytes() == before, "the version before is kept"
    report = check(second)
    versions = list_versions(context.conn, [alert_id])
    assert [(each.version, each.asked_by, each.why) for each in versions] == [(1, "ada", "the first"), (2, "bob", why)]
    assert (report.version, report.previous_sha256) == (2, versions[0].sha256)
    assert (manifest(second)["version"], manifest(first)["version"]) == (2, 1)
    assert seal(context, alert_id) == second, "and now it has not changed any more"


def test_a_bundle_of_an_alert_that_grew_says_what_is_so_now(context: Context, alert_id: UUID) -> None:
    first = seal(context, alert_id)
    grow_version(context, alert_id)
    grow_match(context, alert_id)
    second = seal(context, alert_id)
    assert [len(read(path, "matches.json")) for path in (first, second)] == [1, 2]
    assert [row["price_text"] for row in read(second, "listings.json")] == ["10元", "20元"]


def test_sealing_again_without_a_change_gives_the_same_file(context: Context, alert_id: UUID) -> None:
    path = seal(context, alert_id)
    before = path.read_bytes()
    assert ask_bundle(context.conn, alert_id, "test") == Asked.SAME
    assert seal(context, alert_id) == path
    assert path.read_bytes() == before
    assert len(list((context.settings.home / "bundles").iterdir())) == 1


def test_a_connection_in_another_time_zone_makes_no_other_case(context: Context, alert_id: UUID) -> None:
    path = seal(context, alert_id)
    context.conn.execute("set time zone 'Asia/Tokyo'")
    assert ask_bundle(context.conn, alert_id, "test") == Asked.SAME
    assert seal(context, alert_id) == path


def test_a_picture_that_goes_makes_no_other_case(context: Context, alert_id: UUID) -> None:
    path = seal(context, alert_id)
    context.conn.execute("delete from blob")
    assert ask_bundle(context.conn, alert_id, "test") == Asked.SAME, "nothing came to it"
    assert seal(context, alert_id) == path


def test_a_judgement_that_is_taken_back_makes_the_old_case_another_version(context: Context, alert_id: UUID) -> None:
    """What was said is part of the case, and versions go on: the first is not handed out as the third."""
    seal(context, alert_id)
    judge(context, alert_id)
    seal(context, alert_id)
    with context.conn.transaction():
        (subject_id,) = context.conn.execute("select subject_id from alert").fetchone() or (None,)
        take_back_judgement(context.conn, context.keys, subject_id, alert_id)
    third = seal(context, alert_id)
    assert check(third).version == 3
    assert read(third, "alert.json")["verdict"] is None


def test_whoever_asks_is_named_with_the_reason(context: Context, alert_id: UUID) -> None:
    seal(context, alert_id, by="ada", why="asked for by the police")
    seal(context, alert_id, by="bob")
    rows = context.conn.execute("select entry from ledger order by ledger_id").fetchall()
    facts = [entry["facts"] for (text,) in rows if (entry := json.loads(text))["kind"] == "export"]
    (version,) = list_versions(context.conn, [alert_id])
    assert version.why == "asked for by the police"
    assert [(each["what"], each["by"], each["version"]) for each in facts] == [
        ("asked", "ada", 1), ("sealed", "ada", 1), ("asked", "bob", 1),
    ]  # fmt: skip
    assert facts[0]["why"] == "asked for by the police"
    sealed = facts[1]
    head = read(context.settings.home / version.file, "ledger.json")["head"]
    assert (sealed["sha256"], sealed["head_size"], sealed["head_root"]) == (
        version.sha256, head["tree_size"], head["root"],
    )  # fmt: skip
    assert verify_ledger(context.conn, context.keys) == []


def test_a_bundle_of_before_there_were_versions_is_sealed_anew(context: Context, alert_id: UUID) -> None:
    """Nobody knows of what case it was."""
    first = seal(context, alert_id)
    context.conn.execute("update bundle set case_sha256 = null, holds = '{}', why = ''")
    second = seal(context, alert_id)
    assert second != first
    assert [each.why for each in list_versions(context.conn, [alert_id])] == ["", "it changed"]


def test_a_bundle_that_could_not_be_sealed_can_be_asked_for_again(context: Context, alert_id: UUID) -> None:
    conn = context.conn
    ask_bundle(conn, alert_id, "test")
    conn.execute("update bundle set state = 'quarantined', attempts = 5, error_code = 'blob_changed'")
    assert ask_bundle(conn, alert_id, "ada") == Asked.NEW
    assert seal(context, alert_id).exists()
    assert [each.version for each in list_versions(conn, [alert_id])] == [1]


def test_two_who_ask_at_once_get_one_version(context: Context, alert_id: UUID) -> None:
    conn = context.conn
    seal(context, alert_id)
    grow_band(context, alert_id)
    with connect(context.settings) as other:
        assert ask_bundle(conn, alert_id, "ada") == Asked.NEW
        assert ask_bundle(other, alert_id, "bob") == Asked.WAITING
    assert count(conn, "select count(*) from bundle where not replaced") == 1
    assert count(conn, "select count(*) from bundle") == 2


def test_nobody_asks_for_an_alert_that_is_gone(context: Context) -> None:
    with pytest.raises(EvidenceError):
        ask_bundle(context.conn, UUID(int=1), "test")
    assert count(context.conn, "select count(*) from ledger where entry like '%%export%%'") == 0


def test_all_versions_go_with_the_person(context: Context, alert_id: UUID) -> None:
    conn = context.conn
    seal(context, alert_id)
    grow_band(context, alert_id)
    seal(context, alert_id)
    (subject_id,) = conn.execute("select subject_id from alert").fetchone() or (None,)
    assert isinstance(subject_id, UUID)
    assert len(list_bundle_files(conn, subject_id)) == 2
    withdraw_consent(conn, subject_id)
    run_steps(context)
    assert list((context.settings.home / "bundles").iterdir()) == []
    assert count(conn, "select count(*) from bundle") == 0


def test_the_command_lists_versions_with_their_files(context: Context, alert_id: UUID) -> None:
    first = seal(context, alert_id, by="ada")
    grow_band(context, alert_id)
    second = seal(context, alert_id, by="bob", why="once more")
    listed = list_sealed(context.conn, context.settings, [alert_id])[alert_id]
    assert [(each["version"], each["by"], each["why"], each["file"]) for each in listed] == [
        (1, "ada", "the first", str(first)), (2, "bob", "once more", str(second)),
    ]  # fmt: skip
    json.dumps(listed)
    assert wait_for_bundle(context.conn, context.settings, alert_id) == second


def test_growth_is_told_in_words(context: Context, alert_id: UUID) -> None:
    seal(context, alert_id)
    (version,) = list_versions(context.conn, [alert_id])
    with context.conn.transaction():
        case = describe_case(context.conn, alert_id)
    assert case is not None
    larger = dataclasses.replace(case, matches=case.matches * 3)
    bundle = Bundle(bundle_id=UUID(int=1), alert_id=alert_id, attempts=1, token=1, previous_sha256=version.sha256)
    assert name_growth(context.conn, bundle, larger) == "2 more matches"


# -- the ledger under a bundle ----------------------------------------------------------------------------------------


def test_a_bundle_waits_for_its_own_entries_only(context: Context, alert_id: UUID) -> None:
    """Another sequencer is at work, and entries of others come all the time."""
    conn = context.conn
    seal(context, alert_id)
    grow_band(context, alert_id)
    write_entries(conn, Kind.VIEW, [{"about": f"x{number}"} for number in range(7_000)], by="test")
    with connect(context.settings) as other, other.transaction():
        other.execute("select pg_advisory_xact_lock(%s)", [0x46570002])
        path = seal(context, alert_id)
    check(path)


def test_a_ledger_that_does_not_give_its_root_seals_nothing(context: Context, alert_id: UUID) -> None:
    conn = context.conn
    run_steps(context)
    conn.execute("alter table ledger disable trigger ledger_is_append_only")
    conn.execute("update ledger set leaf = reverse(leaf) where position = 0")
    ask_bundle(conn, alert_id, "test")
    seal_bundles(context)
    row = conn.execute("select state, error_code from bundle").fetchone()
    assert row == ("ready", "evidence_invalid")
    assert list((context.settings.home / "bundles").glob("*")) == []


def test_the_database_has_one_bundle_that_counts(conn: Connection, context: Context, alert_id: UUID) -> None:
    ask_bundle(conn, alert_id, "test")
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute(
            "insert into bundle (bundle_id, alert_id, asked_by) select gen_random_uuid(), alert_id, 'x' from alert"
        )
