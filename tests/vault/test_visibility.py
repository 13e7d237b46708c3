"""Who is told of what is found in a source: decided in one place, from signatures that count and from who chose the
material; and what follows from it for datasets, alerts and counts."""

import hashlib
from uuid import UUID

import pytest

from tests.approvers import TWO
from tests.samples import add_sample, count, enrol_person, make_listing, portrait, run_steps
from vault.errors import EvidenceError, JudgementError
from vault.records import Band, Policy, Visibility
from vault.store import Connection
from vault.store.alerts import list_recent, raise_alert
from vault.store.bundles import ask_bundle
from vault.store.datasets import Link, get_dataset, join_datasets, list_datasets, lock_datasets
from vault.store.faces import list_unmatched_faces
from vault.store.hashes import list_hashed_samples, list_sightings, save_hashes
from vault.store.judgements import get_owner, judge_alert, take_back_judgement
from vault.store.metrics import read_numbers
from vault.store.sources import SourceCard, get_source, save_source
from vault.store.status import count_states
from vault.store.visibility import decide_visibility, is_open_alert, is_private, list_scopes, reveal_source
from workers.context import Context

ONE = TWO[:1]
OPEN, LABELLED, PRIVATE = Visibility.OPEN, Visibility.LABELLED, Visibility.PRIVATE


# -- the decision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signatures", "alone", "places", "closed_places", "expected"),
    [
        (0, False, (), (), LABELLED),
        (0, True, (), (), PRIVATE),
        (1, False, (), (), LABELLED),
        (1, True, (), (), PRIVATE),
        (2, False, (), (), OPEN),
        (2, True, (), (), OPEN),
        (3, True, ("a",), ("a",), OPEN),
        (2, False, ("a", "b"), ("a",), OPEN),
        (2, False, ("a",), ("a", "b"), LABELLED),
        (2, True, ("a",), ("b",), PRIVATE),
    ],
)
def test_a_source_is_open_by_two_signatures_that_name_all_places(
    signatures: int, alone: bool, places: tuple[str, ...], closed_places: tuple[str, ...], expected: Visibility
) -> None:
    assert decide_visibility(signatures, alone=alone, places=places, closed_places=closed_places) is expected


def read(conn: Connection, places: tuple[str, ...] = (), *, signers: tuple[str, ...] = TWO, alone: bool = False) -> str:
    """The source `market`, read by a card of these places."""
    digest = hashlib.sha256(repr(places).encode()).hexdigest()
    with conn.transaction():
        card = SourceCard(name="market", text="card", sha256=digest, policy=Policy.EPHEMERAL, signers=signers,
                          alone=alone, places=places)  # fmt: skip
        return save_source(conn, card).visibility.value


def test_a_source_opens_and_closes_with_its_second_signature(conn: Connection) -> None:
    steps = [(ONE, "labelled"), (TWO, "open"), ((TWO[0], TWO[0]), "labelled"), (TWO, "open"), ((), "labelled")]
    assert [read(conn, ("shop",), signers=signers) for signers, _ in steps] == [expected for _, expected in steps]


def test_what_was_read_once_by_one_operators_choice_stays_private_without_a_second_signature(conn: Connection) -> None:
    assert read(conn, ("127.0.0.1:1",), signers=ONE, alone=True) == "private"
    assert read(conn, ("127.0.0.1:1",), signers=ONE) == "private", "crawled without --lab"
    assert read(conn, ("127.0.0.1:1",)) == "open"
    assert read(conn, ("127.0.0.1:1",), signers=ONE) == "private", "the signature was lost"


@pytest.mark.parametrize("mine", [("handed in",), ("shop", "mine"), ("mine",)])
@pytest.mark.parametrize("before", ["a card that two have signed was there", "it is new"])
def test_a_card_of_the_same_name_does_not_open_what_another_card_has_read(
    conn: Connection, mine: tuple[str, ...], before: str
) -> None:
    """One operator reads their own material under a name, then lets a card of that name be signed that says nothing of
    it, or takes up again the one that two have signed."""
    if before != "it is new":
        assert read(conn, ("shop",)) == "open"
    assert read(conn, mine, signers=ONE, alone="handed in" in mine) != "open"
    assert read(conn, ("shop",)) != "open"
    assert read(conn, ("shop",)) != "open", "nor the next time"
    assert read(conn, ("shop", *mine)) == "open", "two have signed all of it"


# -- datasets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "one_source", "joined"),
    [
        (TWO, TWO, False, True),
        (ONE, ONE, True, True),
        (ONE, TWO, False, False),
        (TWO, ONE, False, False),
        (ONE, ONE, False, False),
    ],
)
def test_listings_join_within_a_source_and_between_open_ones_only(
    context: Context, first: tuple[str, ...], second: tuple[str, ...], one_source: bool, joined: bool
) -> None:
    conn = context.conn
    one, other = make_listing(conn, "one", signers=first), make_listing(conn, "two", signers=second)
    if one_source:
        conn.execute("update listing set source_id = (select min(source_id) from source)")
    for listing_id in (one, other):
        digest = add_sample(context, listing_id, b"%d" % listing_id)
        save_hashes(conn, {digest: bytes(32)})
    conn.execute(  # not the furniture of one page
        "update sample set page_id = page.page_id from page where sample.listing_id = %s and page.url like '%%two%%'",
        [other],
    )
    seen = [each.listing_id for each in list_sightings(conn, list_hashed_samples(conn, one))]
    assert seen == ([other] if joined else [])
    with conn.transaction():
        lock_datasets(conn, change=True)
        for reason in ("overlap", "moved"):
            assert join_datasets(conn, Link(listing_id=other, other_id=one, reason=reason)) is (
                joined and reason == "overlap"
            )


def test_a_dataset_of_which_a_source_was_closed_takes_in_no_further_one(conn: Connection) -> None:
    listings = [make_listing(conn, name) for name in ("one", "two", "three")]
    with conn.transaction():
        lock_datasets(conn, change=True)
        assert join_datasets(conn, Link(listing_id=listings[1], other_id=listings[0], reason="overlap"))
        conn.execute("update source set visibility = 'labelled' where name = 'one'")
        assert not join_datasets(conn, Link(listing_id=listings[2], other_id=listings[1], reason="overlap"))
    assert list_scopes(conn, [get_dataset(conn, each) for each in listings[1:]]) == {
        get_dataset(conn, listings[1]): count(conn, "select source_id from source where name = 'one'"),
        get_dataset(conn, listings[2]): 0,
    }


# -- alerts and counts ------------------------------------------------------------------------------------------------


def alert_about(conn: Connection, subject_id: UUID, listing_id: int, band: Band = Band.LIKELY, **how: bool) -> UUID:
    with conn.transaction():
        return raise_alert(conn, subject_id, get_dataset(conn, listing_id), band, **how)


def alert_in(context: Context, subject_id: UUID, name: str, *, signers: tuple[str, ...], alone: bool = False) -> UUID:
    listing_id = make_listing(context.conn, name, signers=signers, alone=alone)
    return alert_about(context.conn, subject_id, listing_id)


def test_operators_see_open_alerts_labelled_ones_and_no_private_ones(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    whole = alert_in(context, subject_id, "whole", signers=TWO)
    labelled = alert_in(context, subject_id, "labelled", signers=ONE)
    private = alert_in(context, subject_id, "private", signers=ONE, alone=True)
    shown: dict[UUID, bool] = dict(conn.execute("select alert_id, is_open from shown_alert").fetchall())
    assert shown == {whole: True, labelled: False}
    assert [is_open_alert(conn, each) for each in (whole, labelled, private)] == [True, False, False]
    assert read_numbers(conn).alerts == {("open",): 2}
    assert sum(row.alerts for row in list_datasets(conn, 10)) == 2
    for alert_id in (whole, labelled):
        ask_bundle(conn, alert_id, "test")
    with pytest.raises(EvidenceError, match="no such alert"):
        ask_bundle(conn, private, "test")
    assert {row[0] for row in conn.execute("select alert_id from bundle")} == {whole, labelled}
    assert is_private(conn, "private")
    assert not is_private(conn, "labelled")
    conn.execute("update source set visibility = 'open'")
    assert count(conn, "select count(*) from shown_alert where is_open") == 3


def test_each_alert_has_a_label_of_its_own(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    for number in range(20):
        alert_in(context, subject_id, f"market-{number}", signers=ONE)
    labels = [label for (label,) in context.conn.execute("select label from alert")]
    assert len(set(labels)) == 20
    assert all(len(label) == 8 and int(label, 16) >= 0 for label in labels)


def test_messages_and_judged_faces_of_alerts_that_are_not_open_are_not_counted(context: Context) -> None:
    conn, keys = context.conn, context.keys
    subject_id = enrol_person(context, "astronaut")
    listings = [make_listing(conn, name, signers=ONE, alone=name == "private") for name in ("labelled", "private")]
    run_steps(context)
    before = count_states(conn), read_numbers(conn).queue
    for listing_id in listings:
        alert_id = alert_about(conn, subject_id, listing_id)
        with conn.transaction():
            judge_alert(conn, keys, subject_id, alert_id, days=9)
    assert (count_states(conn), read_numbers(conn).queue) == before
    run_steps(context)
    assert count_states(conn) == before[0]


@pytest.mark.parametrize(("alone", "code"), [(False, "alert_closed"), (True, "alert_unknown")])
def test_an_operator_judges_for_a_person_what_they_may_see_whole_only(context: Context, alone: bool, code: str) -> None:
    """What a judgement holds back, and lets go when it is taken back, would say which alerts are one person's."""
    conn, keys = context.conn, context.keys
    subject_id = enrol_person(context, "astronaut")
    alert_id = alert_in(context, subject_id, "market", signers=ONE, alone=alone)

    def judge(operator: str | None) -> None:
        with conn.transaction():
            owner = get_owner(conn, alert_id) if operator else subject_id
            judge_alert(conn, keys, owner, alert_id, days=9, operator=operator)

    with pytest.raises(JudgementError) as caught:
        judge("olga")
    assert caught.value.stable_code == code
    judge(None)
    assert count(conn, "select count(*) from ledger where about = %s", str(alert_id)) == 0
    with pytest.raises(JudgementError), conn.transaction():
        take_back_judgement(conn, keys, subject_id, alert_id, operator="olga")
    with conn.transaction():
        assert take_back_judgement(conn, keys, subject_id, alert_id)


def test_what_one_search_of_a_person_finds_comes_to_operators_at_different_times(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    for number in range(12):
        listing_id = make_listing(conn, f"market-{number}", signers=TWO if number == 0 else ONE)
        alert_about(conn, subject_id, listing_id, spread=True)
    assert count(conn, "select count(*) from shown_alert where is_open") == 1, "at once"
    hours = [float(row[0]) for row in conn.execute("select extract(epoch from shown_from - now()) / 3600 from alert")]
    assert all(-1 <= each <= 24 for each in hours)
    assert max(hours) - min(hours) > 1, "by chance twelve times within an hour: once in 10^14"
    conn.execute("update alert set shown_from = shown_from - interval '24 hours'")
    assert count(conn, "select count(*) from shown_alert") == 12


def test_what_is_found_in_one_scope_does_not_count_in_another(context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")
    datasets = {}
    for name, signers, alone in (("whole", TWO, False), ("labelled", ONE, False), ("private", ONE, True)):
        listing_id = make_listing(conn, name, signers=signers, alone=alone)
        datasets[name] = get_dataset(conn, listing_id)
        alert_about(conn, subject_id, listing_id, Band.POSSIBLE)
    scopes = list_scopes(conn, datasets.values())
    assert scopes[datasets["whole"]] == 0
    assert len(set(scopes.values())) == 3
    for name, dataset_id in datasets.items():
        found, people = list_recent(conn, [subject_id], list(datasets.values()), 24, scopes[dataset_id])
        assert (found, people) == ({subject_id: {dataset_id}}, {dataset_id: {subject_id}}), name


# -- faces ------------------------------------------------------------------------------------------------------------


def test_faces_of_sources_that_are_not_open_are_no_calibration(context: Context) -> None:
    conn = context.conn
    for name, signers in (("whole", TWO), ("labelled", ONE)):
        listing_id = make_listing(conn, name, policy=Policy.RETRO, days=9, signers=signers)
        add_sample(context, listing_id, portrait("t1-4" if name == "whole" else "t1-5"))
    run_steps(context)
    kept = list_unmatched_faces(conn, "opencv-zoo", context.keys.matrix_id(128), 100)
    names = {row[0] for row in conn.execute("select name from source join listing using (source_id) where dataset_id = "
                                            "any(%s)", [[face.dataset_id for face in kept]])}  # fmt: skip
    assert (len(kept), names) == (1, {"whole"})


@pytest.mark.parametrize(
    ("visibility", "outcome", "told"),
    [
        ("open", "matched", "matched"),
        ("open", "held", "held"),
        ("labelled", "matched", "matched"),
        ("labelled", "held", "unmatched"),
        ("labelled", "unmatched", "unmatched"),
        ("private", "matched", "private"),
        ("private", "held", "private"),
        ("private", "unmatched", "private"),
        ("private", "low_quality", "low_quality"),
    ],
)
def test_a_face_says_of_its_outcome_what_its_source_may_tell(
    conn: Connection, visibility: str, outcome: str, told: str
) -> None:
    assert conn.execute("select told_outcome(%s, %s)", [visibility, outcome]).fetchone() == (told,)


def test_a_source_that_opens_says_what_became_of_its_faces(context: Context) -> None:
    conn = context.conn
    enrol_person(context, "astronaut")
    listing_id = make_listing(conn, "private", signers=ONE, alone=True)
    for name in ("astronaut", "t1-4"):
        add_sample(context, listing_id, portrait(name, 60))
    run_steps(context)
    assert conn.execute("select distinct outcome from face").fetchall() == [("private",)]
    source = get_source(conn, "private")
    assert source is not None
    with conn.transaction():
        lock_datasets(conn, change=True)
        conn.execute("update source set visibility = 'open'")
        reveal_source(conn, source.source_id)
    assert conn.execute("select outcome, count(*) from face group by 1 order by 1").fetchall() == [
        ("matched", 1), ("unmatched", 1)
    ]  # fmt: skip
