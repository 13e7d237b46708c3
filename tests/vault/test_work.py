import contextlib
import threading

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg import sql

from tests.samples import count, make_listing
from vault.errors import LeaseLost
from vault.records import PageKind
from vault.settings import Settings
from vault.store import Connection, connect
from vault.store.samples import NewSample, save_samples
from vault.store.work import (
    FRESH,
    IMAGES,
    MOST_ATTEMPTS,
    TRIED,
    Claim,
    Share,
    claim_rows,
    count_claimable,
    extend_lease,
    fail_row,
    finish_rows,
    give_back_rows,
    make_claim,
    put_back_rows,
    quarantine_exhausted,
)


def add_images(conn: Connection, number: int) -> None:
    listing_id = make_listing(conn)
    (page_id,) = conn.execute("select page_id from page").fetchone() or (0,)
    samples = [NewSample(kind=PageKind.IMAGE, sha256=f"{index:064d}", size=1) for index in range(number)]
    save_samples(conn, listing_id, page_id, samples)


def expire(conn: Connection) -> None:
    conn.execute("update sample set lease_until = now() - interval '1 second' where state = 'running'")


def states(conn: Connection) -> list[str]:
    return [state for (state,) in conn.execute("select state::text from sample order by sample_id").fetchall()]


def test_a_claim_takes_a_batch_under_one_token_and_raises_attempts_first(conn: Connection) -> None:
    add_images(conn, 10)
    claim = claim_rows(conn, IMAGES, 4)
    assert claim is not None
    assert len(claim.ids) == 4
    assert count(conn, "select count(*) from sample where token = %s and attempts = 1", claim.token) == 4
    second = claim_rows(conn, IMAGES, 100)
    assert second is not None
    assert len(second.ids) == 6
    assert second.token != claim.token
    assert claim_rows(conn, IMAGES, 4) is None


def test_a_lease_that_ended_is_claimed_again_and_the_first_worker_may_not_write(conn: Connection) -> None:
    add_images(conn, 1)
    first = claim_rows(conn, IMAGES, 1)
    assert first is not None
    expire(conn)
    second = claim_rows(conn, IMAGES, 1)
    assert second is not None
    with pytest.raises(LeaseLost):
        finish_rows(conn, IMAGES, first.ids, first.token)
    with pytest.raises(LeaseLost):
        fail_row(conn, IMAGES, first.ids[0], first.token, "x", "", final=True)
    with pytest.raises(LeaseLost):
        extend_lease(conn, IMAGES, first.ids, first.token)
    finish_rows(conn, IMAGES, second.ids, second.token)
    assert states(conn) == ["done"]


def test_rows_that_were_tried_are_claimed_one_by_one(conn: Connection) -> None:
    add_images(conn, 5)
    claim_rows(conn, IMAGES, 5)
    expire(conn)
    for _ in range(5):
        claim = claim_rows(conn, IMAGES, 5)
        assert claim is not None
        assert len(claim.ids) == 1


def test_five_attempts_then_quarantine_with_the_reason(conn: Connection) -> None:
    add_images(conn, 1)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        conn.execute("update sample set not_before = null")
        claim = claim_rows(conn, IMAGES, 1)
        assert claim is not None, attempt
        fail_row(conn, IMAGES, claim.ids[0], claim.token, "decoder_died", "SIGKILL", final=False)
    assert states(conn) == ["quarantined"]
    assert conn.execute("select error_code, error_text from sample").fetchone() == ("decoder_died", "SIGKILL")


def test_a_row_whose_fifth_attempt_never_reports_back_is_quarantined(conn: Connection) -> None:
    add_images(conn, 1)
    for _ in range(MOST_ATTEMPTS):
        assert claim_rows(conn, IMAGES, 1)
        expire(conn)
    assert claim_rows(conn, IMAGES, 1) is None
    assert quarantine_exhausted(conn, IMAGES) == 1
    assert conn.execute("select state, error_code from sample").fetchone() == ("quarantined", "attempts_exhausted")


def test_a_failed_row_waits_before_it_is_tried_again(conn: Connection) -> None:
    add_images(conn, 1)
    claim = claim_rows(conn, IMAGES, 1)
    assert claim is not None
    fail_row(conn, IMAGES, claim.ids[0], claim.token, "x", "", final=False)
    assert claim_rows(conn, IMAGES, 1) is None
    conn.execute("update sample set not_before = now()")
    assert claim_rows(conn, IMAGES, 1) is not None


def test_many_workers_never_share_a_row(settings: Settings, conn: Connection) -> None:
    add_images(conn, 200)
    taken: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with connect(settings) as own:
            while (claim := claim_rows(own, IMAGES, 7)) is not None:
                finish_rows(own, IMAGES, claim.ids, claim.token)
                with lock:
                    taken.extend(claim.ids)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 200
    assert states(conn) == ["done"] * 200


def test_a_claim_looks_only_at_rows_that_are_left(conn: Connection) -> None:
    """Both ways to claim have an index, so that a long queue does not make each claim slower."""
    add_images(conn, 50)
    conn.execute("set enable_seqscan = off")
    values = {"limit": 16, "most": MOST_ATTEMPTS, "lease": 30.0, "shares": [], "mosts": [], "spent": [], "unknown": 32}
    for which, index in ((TRIED, "sample_tried"), (FRESH, "sample_fresh")):
        plan = "\n".join(row[0] for row in conn.execute(sql.SQL("explain ") + make_claim(IMAGES, which), values))
        assert index in plan
        assert "sample_pkey" in plan, "and the rows that were picked are found by their key"


def test_no_history_of_claims_loses_or_doubles_a_row(conn: Connection) -> None:
    """A state machine: workers claim, finish, fail, vanish, come back late. Each row ends once, and only its holder
    could say how."""

    class Workers(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            conn.execute("truncate sample cascade")
            conn.execute("truncate listing cascade")
            conn.execute("truncate page cascade")
            conn.execute("truncate source cascade")
            add_images(conn, 6)
            self.claims: list[Claim] = []
            self.finished: list[int] = []

        @rule(limit=st.integers(1, 4))
        def claim(self, limit: int) -> None:
            claim = claim_rows(conn, IMAGES, limit)
            if claim is not None:
                self.claims.append(claim)

        @rule(data=st.data())
        def finish(self, data: st.DataObject) -> None:
            if self.claims:
                claim = data.draw(st.sampled_from(self.claims))
                try:
                    with conn.transaction():
                        finish_rows(conn, IMAGES, claim.ids, claim.token)
                    self.finished += claim.ids
                except LeaseLost:
                    pass

        @rule(data=st.data(), final=st.booleans())
        def fail(self, data: st.DataObject, final: bool) -> None:
            if self.claims:
                claim = data.draw(st.sampled_from(self.claims))
                with contextlib.suppress(LeaseLost):
                    fail_row(conn, IMAGES, claim.ids[0], claim.token, "x", "", final=final)

        @rule(data=st.data())
        def give_back(self, data: st.DataObject) -> None:
            if self.claims:
                give_back_rows(conn, IMAGES, data.draw(st.sampled_from(self.claims)))

        @rule()
        def time_passes(self) -> None:
            expire(conn)
            conn.execute("update sample set not_before = null")
            quarantine_exhausted(conn, IMAGES)

        @invariant()
        def every_row_is_somewhere(self) -> None:
            found = states(conn)
            assert len(found) == 6
            assert len(self.finished) == len(set(self.finished))
            assert found.count("done") == len(self.finished)
            assert count(conn, "select count(*) from sample where attempts > 5") == 0

        def teardown(self) -> None:
            for _ in range(60):  # whatever happened, everything comes to an end
                self.time_passes()
                claim = claim_rows(conn, IMAGES, 4)
                if claim is None:
                    break
                finish_rows(conn, IMAGES, claim.ids, claim.token)
            self.time_passes()
            assert set(states(conn)) <= {"done", "quarantined"}
            assert count_claimable(conn, IMAGES, 10) == 0

    run_state_machine_as_test(
        Workers,
        settings=hypothesis_settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_each_source_has_its_share_of_a_claim(conn: Connection) -> None:
    """A backlog of one source holds nobody up who comes later."""
    add_images(conn, 500)
    other = make_listing(conn, "other")
    (page_id,) = conn.execute("select page_id from listing where listing_id = %s", [other]).fetchone() or (0,)
    few = [NewSample(kind=PageKind.IMAGE, sha256=f"{index:064x}", size=1) for index in range(1000, 1010)]
    save_samples(conn, other, page_id, few)
    claim = claim_rows(conn, IMAGES, 32)
    assert claim is not None
    rows = conn.execute(
        "select count(*) from sample where sample_id = any(%s) group by share_id order by 1", [list(claim.ids)]
    ).fetchall()
    assert rows == [(10,), (16,)], "all of the few, and of the many no more than their share"
    claim = claim_rows(conn, IMAGES, 32)
    assert claim is not None
    assert len(claim.ids) == 32, "who is alone takes it all"


def add_few(conn: Connection, count: int) -> tuple[int, int]:
    """Images of a second source beside those of a first; the keys of both."""
    add_images(conn, 500)
    other = make_listing(conn, "other")
    (page_id,) = conn.execute("select page_id from listing where listing_id = %s", [other]).fetchone() or (0,)
    few = [NewSample(kind=PageKind.IMAGE, sha256=f"{index:064x}", size=1) for index in range(1000, 1000 + count)]
    save_samples(conn, other, page_id, few)
    first, second = conn.execute("select distinct share_id from sample order by 1").fetchall()
    return first[0], second[0]


def count_claimed(conn: Connection, limit: int, *shares: Share) -> dict[int, int]:
    claim = claim_rows(conn, IMAGES, limit, shares=shares)
    assert claim is not None
    return dict(
        conn.execute(
            "select share_id, count(*) from sample where sample_id = any(%s) group by 1", [list(claim.ids)]
        ).fetchall()
    )


def test_a_source_whose_rows_are_dear_has_few_of_a_claim_and_the_others_have_the_rest(conn: Connection) -> None:
    dear, cheap = add_few(conn, 100)
    shares = (Share(key=dear, most=2, spent=9.0), Share(key=cheap, most=1000, spent=0.1))
    assert count_claimed(conn, 64, *shares) == {dear: 2, cheap: 62}
    assert count_claimed(conn, 64, *shares) == {dear: 2, cheap: 38}, "all there are"
    assert count_claimed(conn, 64, *shares) == {dear: 2}, "who is alone takes as much as may be taken at once"


def test_a_claim_of_one_row_is_of_whoever_had_the_least_of_our_time(conn: Connection) -> None:
    first, second = add_few(conn, 3)
    assert count_claimed(conn, 1, Share(key=first, most=9, spent=600.0), Share(key=second, most=9, spent=5.0)) == {
        second: 1
    }
    assert count_claimed(conn, 1, Share(key=first, most=9, spent=600.0)) == {second: 1}, "nothing is known of it"
    assert count_claimed(conn, 1, Share(key=first, most=9, spent=4.0), Share(key=second, most=9, spent=5.0)) == {
        first: 1
    }


def test_a_claim_of_one_row_is_drawn_among_sources(conn: Connection) -> None:
    add_images(conn, 50)
    other = make_listing(conn, "other")
    (page_id,) = conn.execute("select page_id from listing where listing_id = %s", [other]).fetchone() or (0,)
    few = [NewSample(kind=PageKind.IMAGE, sha256=f"{index:064x}", size=1) for index in range(1000, 1010)]
    save_samples(conn, other, page_id, few)
    for _ in range(20):
        assert claim_rows(conn, IMAGES, 1)
    rows = conn.execute("select count(*) from sample where state = 'running' group by share_id").fetchall()
    assert len(rows) == 2


def test_a_row_that_was_put_back_waits_and_is_not_charged(conn: Connection) -> None:
    add_images(conn, 2)
    claim = claim_rows(conn, IMAGES, 2)
    assert claim is not None
    assert put_back_rows(conn, IMAGES, claim.ids, claim.token, "blobs_away", "", wait=60) == 2
    assert conn.execute("select state, attempts, error_code from sample").fetchone() == ("ready", 0, "blobs_away")
    assert claim_rows(conn, IMAGES, 2) is None
    conn.execute("update sample set not_before = now()")
    assert claim_rows(conn, IMAGES, 2) is not None


def test_fresh_rows_can_go_before_those_that_were_tried(conn: Connection) -> None:
    add_images(conn, 3)
    first = claim_rows(conn, IMAGES, 1)
    assert first is not None
    fail_row(conn, IMAGES, first.ids[0], first.token, "decoder_died", "", final=False)
    conn.execute("update sample set not_before = null")
    fresh = claim_rows(conn, IMAGES, 1, fresh_first=True)
    assert fresh is not None
    assert (fresh.ids != first.ids, fresh.tried) == (True, False)
    tried = claim_rows(conn, IMAGES, 5)
    assert tried is not None
    assert (tried.ids, tried.tried) == (first.ids, True)
