"""The schema keeps promises that code could forget: migrations, consent, one blob a content, retention."""

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.samples import add_sample, count, enrol_person, make_listing
from vault.blobs import FileWriter, blob_path
from vault.errors import BlobError, ConsentMissing, EnrolmentError, KeyFileError, StoreError
from vault.keys import load_keys, make_key_file
from vault.records import Band, Match, Policy
from vault.settings import Servers
from vault.store import Connection, DatabaseError
from vault.store.alerts import raise_alert, save_calibration, save_match
from vault.store.blobs import (
    copy_leftover,
    drop_files,
    get_place,
    keep_filed,
    list_leftovers,
    list_litter,
    list_places,
    list_unneeded,
    read_blob,
    read_blobs,
    release_blobs,
    take_apart,
)
from vault.store.deployment import check_deployment
from vault.store.faces import count_kept_templates, drop_expired_templates
from vault.store.migrate import FOLDER, list_migrations, migrate
from vault.store.subjects import list_live_ids
from vault.store.withdrawals import withdraw_consent
from workers.context import Context
from workers.embed_samples import embed_samples
from workers.match_faces import match_faces

# -- migrations ------------------------------------------------------------------------------------------------------


def describe_schema(conn: Connection) -> list[tuple[object, ...]]:
    """Everything the catalogue says of our schema, in an order that does not depend on how it came about."""
    found: list[tuple[object, ...]] = []
    for query in (
        """select table_name, column_name, data_type, is_nullable, column_default, is_identity
           from information_schema.columns where table_schema = 'public'""",
        "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'",
        """select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
           where connamespace = 'public'::regnamespace""",
        """select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal""",
        "select viewname, definition from pg_views where schemaname = 'public'",
        "select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace",
        "select sequencename::text, data_type::text from pg_sequences where schemaname = 'public'",
    ):
        found += conn.execute(query.encode()).fetchall()
    return sorted((row for row in found if "migration" not in str(row[0])), key=repr)


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[Connection]:
    admin_url = servers.database_url.replace("/facewarden?", "/postgres?")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("create database empty_one")
        with psycopg.connect(admin_url.replace("/postgres?", "/empty_one?"), autocommit=True) as conn:
            yield conn
        admin.execute("drop database empty_one with (force)")


def test_the_schema_and_the_migrations_end_at_the_same_database(empty_database: Connection, conn: Connection) -> None:
    empty_database.execute((FOLDER.parent / "schema.sql").read_bytes())
    assert describe_schema(empty_database) == describe_schema(conn)


def test_migrations_run_once_and_in_order(empty_database: Connection) -> None:
    names = [path.name for path in list_migrations()]
    assert migrate(empty_database) == names
    assert migrate(empty_database) == []


def test_a_migration_that_fails_leaves_nothing(empty_database: Connection, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("create table good (x int);")
    (tmp_path / "0002_bad.sql").write_text("create table half (x int); select 1 / 0;")
    with pytest.raises(StoreError, match="division by zero"):
        migrate(empty_database, tmp_path)
    tables = [row[0] for row in empty_database.execute("select tablename from pg_tables where schemaname = 'public'")]
    assert sorted(tables) == ["good", "migration"]
    (tmp_path / "0002_bad.sql").write_text("create table whole (x int);")
    assert migrate(empty_database, tmp_path) == ["0002_bad.sql"]


def test_a_migration_that_has_run_may_not_change(empty_database: Connection, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("create table a (x int);")
    migrate(empty_database, tmp_path)
    (tmp_path / "0001_a.sql").write_text("create table a (x bigint);")
    with pytest.raises(StoreError, match="has changed"):
        migrate(empty_database, tmp_path)


def test_older_code_does_not_start_on_a_newer_schema(empty_database: Connection, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("create table a (x int);")
    (tmp_path / "0002_b.sql").write_text("create table b (x int);")
    migrate(empty_database, tmp_path)
    (tmp_path / "0002_b.sql").unlink()
    with pytest.raises(StoreError, match=r"newer version .*0002_b\.sql"):
        migrate(empty_database, tmp_path)


def test_two_processes_migrate_one_after_the_other(empty_database: Connection) -> None:
    url = f"host={empty_database.info.host} user={empty_database.info.user} dbname={empty_database.info.dbname}"
    ran: list[list[str]] = []

    def run() -> None:
        with psycopg.connect(url, autocommit=True) as own:
            ran.append(migrate(own))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, ran)) == [0, 0, 0, len(list_migrations())]


def test_another_key_file_is_refused(conn: Connection, tmp_path: Path) -> None:
    make_key_file(tmp_path / "other.key")
    with pytest.raises(KeyFileError) as caught:
        check_deployment(conn, load_keys(tmp_path / "other.key"))
    assert caught.value.stable_code == "key_wrong"


# -- consent ---------------------------------------------------------------------------------------------------------


def make_face(context: Context) -> int:
    """A face of a stranger, waiting for the matcher; its id."""
    from tests.samples import portrait

    add_sample(context, make_listing(context.conn), portrait("t1-4"))
    assert embed_samples(context) == 1
    return count(context.conn, "select face_id from face")


def make_match(context: Context, face_id: int, subject_id: UUID) -> Match:
    row = context.conn.execute(
        "select template_id, consent_id from template join consent using (subject_id) where subject_id = %s",
        [subject_id],
    ).fetchone()
    assert row is not None
    save_calibration(context.conn, "c", "opencv-zoo", {})
    return Match(
        face_id=face_id, subject_id=subject_id, template_id=row[0], consent_id=row[1], calibration_id="c",
        pack="opencv-zoo", score=0.6, cut=0.5, band=Band.POSSIBLE, held=None,
    )  # fmt: skip


def write_match(context: Context, match: Match) -> None:
    with context.conn.transaction():
        dataset_id = count(context.conn, "select dataset_id from dataset")
        save_match(context.conn, match, raise_alert(context.conn, match.subject_id, dataset_id, match.band))


def test_the_database_refuses_a_match_before_the_consent_is_confirmed(context: Context) -> None:
    match = make_match(context, make_face(context), enrol_person(context, "astronaut", confirmed=False))
    with pytest.raises(ConsentMissing):
        write_match(context, match)
    assert count(context.conn, "select count(*) from match") == 0
    assert count(context.conn, "select count(*) from alert") == 0
    assert count(context.conn, "select count(*) from delivery where kind = 'alert'") == 0


def test_the_database_refuses_a_match_after_the_consent_was_withdrawn(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    match = make_match(context, make_face(context), subject_id)
    withdraw_consent(context.conn, subject_id)
    with pytest.raises(ConsentMissing):
        write_match(context, match)
    assert list_live_ids(context.conn, "opencv-zoo") == {}


def test_the_database_refuses_a_match_with_another_persons_consent(context: Context) -> None:
    first, second = enrol_person(context, "astronaut"), enrol_person(context, "t1-1")
    face_id = make_face(context)
    own, other = make_match(context, face_id, first), make_match(context, face_id, second)
    wrong = Match(**{**{name: getattr(own, name) for name in own.__slots__}, "consent_id": other.consent_id})
    with pytest.raises(ConsentMissing):
        write_match(context, wrong)


def test_a_match_row_cannot_be_moved_to_somebody_else(context: Context) -> None:
    first, second = enrol_person(context, "astronaut"), enrol_person(context, "t1-1")
    write_match(context, make_match(context, make_face(context), first))
    with pytest.raises(DatabaseError, match="no live consent"):
        context.conn.execute("update match set subject_id = %s", [second])


def test_an_address_enrols_once(context: Context) -> None:
    enrol_person(context, "astronaut")
    with pytest.raises(EnrolmentError) as caught:
        enrol_person(context, "astronaut")
    assert caught.value.stable_code == "already_enrolled"
    assert "./facewarden withdraw" in caught.value.mend and "new link" in caught.value.mend, "there is a way on"
    assert count(context.conn, "select count(*) from key where kind = 'subject'") == 1


def release(conn: Connection, digests: list[str]) -> list[UUID]:
    with conn.transaction():
        return release_blobs(conn, digests)


# -- blobs and retention -----------------------------------------------------------------------------------------------


def test_the_same_content_is_kept_once_and_dropped_when_nobody_needs_it(context: Context) -> None:
    conn = context.conn
    digests = {add_sample(context, make_listing(conn, name), b"the same bytes") for name in ("one", "two")}
    (digest,) = digests
    assert count(conn, "select count(*) from blob") == 1
    assert read_blob(conn, context.keys, context.blobs, digest) == b"the same bytes"
    assert release(conn, [digest]) == []
    assert list_unneeded(conn) == []
    conn.execute("update sample set state = 'done'")
    assert list_unneeded(conn) == [digest]
    key_id = get_place(conn, digest).key_id
    drop_files(conn, context.blobs, release(conn, [digest]))
    assert not blob_path(context.blobs, key_id).exists()
    with pytest.raises(BlobError):
        read_blob(conn, context.keys, context.blobs, digest)
    assert count(conn, "select count(*) from key where wrapped is null and erased_at is not null") == 1


@pytest.mark.parametrize(("policy", "days", "kept"), [(Policy.EPHEMERAL, 0, 0), (Policy.RETRO, 30, 1)])
def test_a_strangers_template_is_kept_only_as_the_policy_says(
    context: Context, policy: Policy, days: int, kept: int
) -> None:
    from tests.samples import portrait

    conn = context.conn
    add_sample(context, make_listing(conn, policy=policy, days=days), portrait("t1-4"))
    embed_samples(context)
    match_faces(context)
    assert count(conn, "select count(*) from face where template is not null") == kept
    assert count(conn, "select count(*) from blob") == 0, "no picture of a stranger is kept under any policy"
    assert count_kept_templates(conn) == {"kept": kept, "overdue": 0}
    conn.execute("update face set expires_at = expires_at - interval '31 days'")
    assert count_kept_templates(conn)["overdue"] == kept
    assert drop_expired_templates(conn) == kept
    assert count_kept_templates(conn) == {"kept": 0, "overdue": 0}


def test_a_shared_file_goes_with_the_last_of_its_blobs_and_few_that_are_left_move_out(context: Context) -> None:
    conn, folder = context.conn, context.blobs
    contents = [bytes([number]) * 1000 for number in range(8)]
    with FileWriter(folder) as file:
        filed = [file.add(content) for content in contents]
        file.seal()
    with conn.transaction():
        assert len(keep_filed(conn, context.keys, filed)) == 8
    digests = [each.sha256 for each in filed]
    assert list(read_blobs(conn, context.keys, folder, digests, list_places(conn, digests))) == contents
    assert release(conn, digests[:5]) == [], "three are left in the file"
    assert list_leftovers(conn) == [], "and three of eight are worth it"
    assert release(conn, digests[5:6]) == []
    (leftover,) = list_leftovers(conn)
    assert copy_leftover(folder, leftover)
    with conn.transaction():
        assert take_apart(conn, leftover)
    drop_files(conn, folder, list_litter(conn))
    assert not blob_path(folder, file.file_id).exists()
    found = list(read_blobs(conn, context.keys, folder, digests, list_places(conn, digests)))
    assert found[6:] == contents[6:], "each has a file of its own now"
    assert all(isinstance(each, BlobError) for each in found[:6])
    drop_files(conn, folder, release(conn, digests[6:]))
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert count(conn, "select count(*) from blob_file") == 0
    assert count(conn, "select count(*) from blob_litter") == 0
