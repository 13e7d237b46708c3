"""Listings find their dataset: resales join, strangers do not, and nothing known of either is lost."""

import threading
import time
from collections.abc import Iterable
from uuid import UUID

import pytest

from tests.samples import add_sample, count, draw_picture, encode, enrol_person, make_listing, portrait, run_steps
from vault.box import Box
from vault.phash import hash_picture
from vault.records import PageKind, State
from vault.steps import Step
from vault.store import Connection, connect
from vault.store.bundles import Asked, ask_bundle, get_bundle_file
from vault.store.datasets import (
    Link,
    find_dataset,
    get_dataset,
    join_datasets,
    list_datasets,
    list_timeline,
    lock_datasets,
)
from vault.store.hashes import ask_linking, save_hashes
from vault.store.receipts import list_bundle_files
from vault.store.samples import NewSample, save_samples
from vault.store.withdrawals import withdraw_consent
from workers.app import take_turn
from workers.context import Context
from workers.deliver import deliver
from workers.embed_samples import embed_samples
from workers.link_datasets import link_datasets
from workers.match_faces import match_faces
from workers.pauses import Pauses


def offer(context: Context, name: str, pictures: Iterable[bytes]) -> int:
    """A listing on a source of its own that shows these pictures."""
    listing_id = make_listing(context.conn, name)
    for picture in pictures:
        add_sample(context, listing_id, picture)
    return listing_id


def drawn(seeds: Iterable[int], quality: int = 90, scale: float = 1.0) -> list[bytes]:
    return [encode(draw_picture(seed), quality, scale) for seed in seeds]


def open_and_link(context: Context) -> None:
    while embed_samples(context) + link_datasets(context):
        pass


def datasets(conn: Connection) -> list[set[int]]:
    """Which listings are together."""
    found: dict[int, set[int]] = {}
    for listing_id, dataset_id in conn.execute("select listing_id, dataset_id from listing").fetchall():
        found.setdefault(dataset_id, set()).add(listing_id)
    return sorted(found.values(), key=min)


# -- who joins --------------------------------------------------------------------------------------------------------


def test_resales_of_a_third_a_half_and_most_join_and_strangers_do_not(context: Context) -> None:
    first = offer(context, "first", drawn(range(20)))
    resales = [
        offer(context, f"resale-{share}", [*drawn(range(share), 40, 0.6), *drawn(range(100 * share, 99 * share + 20))])
        for share in (6, 10, 14)
    ]
    strangers = [offer(context, f"other-{number}", drawn(range(number, number + 20))) for number in (5000, 6000, 7000)]
    open_and_link(context)
    assert datasets(context.conn) == [{first, *resales}, *({each} for each in strangers)]
    rows = context.conn.execute("select shared, exact, listing_size from dataset_link").fetchall()
    assert len(rows) == 3
    assert all(shared >= 6 and exact == 0 and size == 20 for shared, exact, size in rows)


def test_what_several_listings_show_from_one_address_is_furniture(context: Context) -> None:
    """Badges and banners of a shop's pages, beside one own picture each; an archive behind one link is no furniture."""
    conn = context.conn
    first, second = offer(context, "one", drawn([1])), offer(context, "two", drawn([2]))
    (page_id,) = conn.execute("select min(page_id) from page").fetchone() or (0,)
    badges = [NewSample(kind=PageKind.IMAGE, sha256=f"{number:064d}", size=1) for number in range(8)]
    save_hashes(conn, {f"{number:064d}": bytes([number * 20 + 7] * 32) for number in range(8)})
    for listing_id in (first, second):
        save_samples(conn, listing_id, page_id, badges)
    conn.execute("update sample set state = 'done' where size = 1")
    open_and_link(context)
    assert len(datasets(conn)) == 2
    archive = NewSample(kind=PageKind.ARCHIVE, sha256="a" * 64, size=9)
    for listing_id in (first, second):
        save_samples(conn, listing_id, page_id, [archive])
    conn.execute(
        """update sample set state = 'done',
                  archive_id = (select sample_id from sample as packed
                                where packed.listing_id = sample.listing_id and size = 9)
           where size = 1"""
    )
    conn.execute("update sample set state = 'done' where size = 9")
    ask_linking(conn, [first])
    open_and_link(context)
    assert len(datasets(conn)) == 1


def test_a_listing_is_compared_when_all_its_samples_were_opened(context: Context) -> None:
    first = offer(context, "first", drawn(range(4)))
    second = offer(context, "second", drawn(range(4), 50))
    conn = context.conn
    conn.execute("update sample set not_before = now() + interval '1 hour', attempts = 1 where sample_id = 8")
    assert embed_samples(context) == 7
    assert link_datasets(context) == 1
    assert link_datasets(context) == 0, "the second has a sample that waits"
    conn.execute("update sample set not_before = null")
    assert embed_samples(context) == 1
    assert link_datasets(context) == 1
    assert datasets(conn) == [{first, second}]


def test_samples_that_come_while_a_listing_is_compared_are_compared_too(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = offer(context, "first", drawn(range(4)))
    open_and_link(context)

    def come_late(conn: Connection, listing_id: int) -> int:
        monkeypatch.undo()
        with connect(context.settings) as other:
            ask_linking(other, [listing_id])
        return get_dataset(conn, listing_id)

    ask_linking(context.conn, [first])
    monkeypatch.setattr("workers.link_datasets.get_dataset", come_late)
    assert link_datasets(context) == 1
    assert context.conn.execute("select state, again from linking").fetchone() == ("ready", False)
    assert link_datasets(context) == 1
    assert link_datasets(context) == 0


def test_a_step_that_dies_in_the_middle_of_a_merge_leaves_nothing_of_it(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(context, "first", drawn(range(4)))
    offer(context, "second", drawn(range(4), 50))
    while embed_samples(context):
        pass

    def die(conn: Connection, *_: object) -> None:
        conn.execute("select pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr("workers.link_datasets.renew_linking", die)
    assert take_turn(context, Step.LINK_DATASETS) == 0
    assert len(datasets(context.conn)) == 2
    assert count(context.conn, "select count(*) from dataset_link") == 0
    monkeypatch.undo()
    context.conn.execute("update linking set not_before = null")
    context.pauses = Pauses()
    assert take_turn(context, Step.LINK_DATASETS) == 2
    assert len(datasets(context.conn)) == 1


def test_workers_that_merge_at_once_end_at_one_dataset(context: Context) -> None:
    """A chain: each listing shares half with the next, so every merge meets another that is going on."""
    conn = context.conn
    with Box() as box, box.batch() as child:
        hashes = {}
        for seed, body in enumerate(drawn(range(44))):
            picture = child.open_picture(body)
            phash = hash_picture(picture.grey, picture.width, picture.height)
            assert phash is not None
            hashes[f"{seed:064d}"] = phash
    save_hashes(conn, hashes)
    ids = []
    for number in range(10):
        ids.append(make_listing(conn, f"m{number}"))
        (page_id,) = conn.execute("select max(page_id) from page").fetchone() or (0,)
        shown = [
            NewSample(kind=PageKind.IMAGE, sha256=f"{seed:064d}", size=1) for seed in range(number * 4, number * 4 + 8)
        ]
        save_samples(conn, ids[-1], page_id, shown)
    conn.execute("update sample set state = 'done'")
    ask_linking(conn, ids)
    subject_id = enrol_person(context, "astronaut")
    for listing_id in ids:
        conn.execute(
            """insert into alert (alert_id, subject_id, dataset_id, band)
               select gen_random_uuid(), %s, dataset_id, 'possible' from listing where listing_id = %s""",
            [subject_id, listing_id],
        )

    def work() -> None:
        own = Context(context.settings)
        while take_turn(own, Step.LINK_DATASETS):
            pass
        own.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    conn.execute("update linking set not_before = null")
    work()
    assert datasets(conn) == [set(ids)]
    assert count(conn, "select count(*) from linking where state <> %s", State.DONE) == 0
    assert count(conn, "select count(*) from dataset_link") == 9
    assert count(conn, "select count(*) from dataset") == 1
    assert count(conn, "select count(*) from alert") == 1


def test_a_merge_gives_way_to_a_crawl_that_holds_its_listings(context: Context) -> None:
    first = offer(context, "first", drawn(range(4)))
    offer(context, "second", drawn(range(4), 50))
    while embed_samples(context):
        pass
    with connect(context.settings) as crawl:
        with crawl.transaction():
            crawl.execute("update listing set last_seen = now()")
            assert take_turn(context, Step.LINK_DATASETS) == 0, "it does not wait for the end of the crawl"
            assert len(datasets(crawl)) == 2
        ask_linking(crawl, [first])
    context.conn.execute("update linking set not_before = null")
    assert take_turn(context, Step.LINK_DATASETS) == 2
    assert len(datasets(context.conn)) == 1


# -- what becomes of alerts -------------------------------------------------------------------------------------------


@pytest.fixture
def pair(context: Context) -> tuple[int, int, UUID]:
    """Two listings of one set, opened but not compared yet, each with an alert about the same person."""
    subject_id = enrol_person(context, "astronaut")
    deliver(context)
    first = offer(context, "first", [*drawn(range(4)), portrait("astronaut", 80)])
    second = offer(context, "second", [*drawn(range(4), 50), portrait("astronaut", 50)])
    while embed_samples(context) + match_faces(context):
        pass
    assert count(context.conn, "select count(*) from alert") == 2
    return first, second, subject_id


def count_mails(context: Context) -> int:
    return count(context.conn, "select count(*) from delivery where kind = 'alert' and sent_at is not null")


def test_a_message_waits_until_its_listing_has_found_its_dataset_and_is_sent_once(
    context: Context, pair: tuple[int, int, UUID]
) -> None:
    conn = context.conn
    assert deliver(context) == 0
    link_datasets(context)
    assert deliver(context) == 0, "one of the two is still to be compared"
    open_and_link(context)
    assert count(conn, "select count(*) from alert") == 1
    assert count(conn, "select count(*) from match where alert_id = (select alert_id from alert)") == 2
    run_steps(context)
    assert count_mails(context) == 1
    assert count(conn, "select count(*) from delivery where kind = 'alert'") == 1


def test_a_message_waits_ten_minutes_at_most(context: Context, pair: tuple[int, int, UUID]) -> None:
    context.conn.execute("update delivery set created_at = now() - interval '11 minutes'")
    assert deliver(context) == 2


@pytest.mark.parametrize(("older_sent", "younger_sent"), [(True, False), (False, True), (True, True)])
def test_of_two_alerts_the_older_stays_and_no_second_message_is_sent(
    context: Context, pair: tuple[int, int, UUID], older_sent: bool, younger_sent: bool
) -> None:
    conn = context.conn
    (older, younger) = [each for (each,) in conn.execute("select alert_id from alert order by created_at").fetchall()]
    for alert_id, sent in ((older, older_sent), (younger, younger_sent)):
        if sent:
            conn.execute(
                "update delivery set state = 'done', sent_at = now(), attempts = 1 where alert_id = %s", [alert_id]
            )
    conn.execute("update alert set band = 'strong' where alert_id = %s", [younger])
    open_and_link(context)
    run_steps(context)
    assert conn.execute("select alert_id, band, state from alert").fetchall() == [(older, "strong", "open")]
    assert count_mails(context) == older_sent + younger_sent
    assert count(conn, "select count(*) from delivery where alert_id = %s and state = 'done'", older) == 1
    assert count(conn, "select count(*) from match where alert_id = %s", older) == 2


def test_sealed_evidence_of_both_alerts_is_kept_until_the_person_leaves(
    context: Context, pair: tuple[int, int, UUID]
) -> None:
    conn = context.conn
    (older, younger) = [each for (each,) in conn.execute("select alert_id from alert order by created_at").fetchall()]
    for alert_id in (younger, older):
        ask_bundle(conn, alert_id, "test")
    conn.execute("update bundle set state = 'done', sealed_at = now(), file = 'bundles/' || alert_id")
    open_and_link(context)
    files = {each.file for each in list_bundle_files(conn, pair[2])}
    assert files == {f"bundles/{older}", f"bundles/{younger}"}
    assert get_bundle_file(conn, older) == ("done", f"bundles/{older}", None), "the one that was asked for last"
    assert ask_bundle(conn, older, "test") == Asked.NEW, "the alert has grown since: it is another case"
    assert {each.file for each in list_bundle_files(conn, pair[2])} == {*files, None}


def test_datasets_merge_even_if_the_person_has_withdrawn_and_is_still_to_be_erased(
    context: Context, pair: tuple[int, int, UUID]
) -> None:
    withdraw_consent(context.conn, pair[2])
    open_and_link(context)
    assert len(datasets(context.conn)) == 1
    run_steps(context)
    assert count(context.conn, "select count(*) from alert") == 0
    assert count(context.conn, "select count(*) from match") == 0


def test_an_alert_never_ends_on_a_dataset_that_was_merged_away(context: Context) -> None:
    """The matcher has its faces when the merge begins, and writes its alert after it."""
    enrol_person(context, "astronaut")
    first = offer(context, "first", drawn(range(4)))
    second = offer(context, "second", [portrait("astronaut", 60)])
    while embed_samples(context):
        pass
    merged = get_dataset(context.conn, second)
    other = Context(context.settings)
    other.__dict__["engine"] = context.engine
    thread = threading.Thread(target=lambda: match_faces(other))
    with context.conn.transaction():
        lock_datasets(context.conn, change=True)
        assert join_datasets(context.conn, Link(listing_id=second, other_id=first, reason="overlap"))
        thread.start()
        deadline = time.monotonic() + 20
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        with connect(context.settings) as watch:
            while not count(watch, waiting) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert count(watch, waiting), "the matcher did not wait"
    thread.join()
    other.close()
    rows = context.conn.execute("select dataset_id from alert").fetchall()
    assert rows == [(get_dataset(context.conn, first),)]
    assert merged != rows[0][0]


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_timeline_tells_who_offered_it_when_for_how_much_and_who_joined_why(context: Context) -> None:
    conn = context.conn
    first = offer(context, "first", drawn(range(5)))
    second = offer(context, "second", drawn(range(5), 50))
    merged = get_dataset(conn, second)
    conn.execute("update listing_version set seller = 'other', price = 3 where listing_id = %s", [second])
    open_and_link(context)
    dataset_id = get_dataset(conn, first)
    assert [
        (each.kind, each.listing_id, each.source, each.seller, each.price)
        for each in list_timeline(conn, dataset_id, 100)
    ] == [
        ("new", first, "first", "seller", None),
        ("new", second, "second", "other", 3),
        ("joined", second, "second", "other", 3),
    ]
    detail = list_timeline(conn, dataset_id, 100)[-1].detail
    assert detail == f"shares 5 of its 5 pictures with listing {first}, which has 5; 0 are the same byte for byte"
    assert find_dataset(conn, merged) == find_dataset(conn, dataset_id) == dataset_id
    assert find_dataset(conn, 10**9) is None
    (row,) = list_datasets(conn, 10, resold=True)
    assert (row.dataset_id, row.listings, row.sources, row.sellers, row.alerts) == (dataset_id, 2, 2, 2, 0)
