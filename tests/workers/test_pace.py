"""Sources share the time, not the rows."""

import pytest

from tests.samples import add_sample, count, draw_picture, encode, make_listing, portrait
from tests.vault.bombs import SIDE, draw_scans
from vault.box import Picture
from vault.records import PageKind
from vault.store.work import IMAGES
from workers.context import Context
from workers.embed_samples import embed_samples
from workers.pace import SHARE_SECONDS, Shares


def test_a_dear_source_has_few_rows_at_once_and_a_cheap_one_many() -> None:
    shares = Shares()
    shares.note(1, 4, 8.0)
    shares.note(2, 100, 0.3)
    found = {each.key: each for each in shares.list(256)}
    assert (found[1].most, found[2].most) == (int(SHARE_SECONDS / 2.0), 256)
    assert found[1].spent > 7 and found[2].spent == pytest.approx(0.3)


def test_what_a_source_had_is_forgotten_as_others_are_worked_at() -> None:
    shares = Shares()
    shares.note(1, 1, 600.0)
    for _ in range(200):
        shares.note(2, 10, 5.0)
    found = {each.key: each.spent for each in shares.list(256)}
    assert found.get(1, 0.0) < 1 < found[2] < 200


def test_a_row_that_takes_for_ever_is_still_taken_one_at_a_time() -> None:
    shares = Shares()
    shares.note(1, 1, 1e9)
    assert [each.most for each in shares.list(256)] == [1]
    shares.note(2, 1, 0.0)
    assert {each.most for each in shares.list(256)} <= {1, 256}


def test_a_source_of_slow_pictures_takes_no_more_than_its_share(context: Context) -> None:
    """Forty of a source whose pictures take a second each beside thirty of another: one claim has all those."""
    conn = context.conn
    slow, quick = make_listing(conn, "slow"), make_listing(conn, "quick")
    for number in range(40):
        add_sample(context, slow, portrait("t1-2", 30 + number), PageKind.IMAGE)
    for number in range(30):
        add_sample(context, quick, portrait("astronaut", 30 + number), PageKind.IMAGE)
    (source_id,) = conn.execute("select source_id from listing where listing_id = %s", [slow]).fetchone() or (0,)
    context.shares(IMAGES).note(source_id, 1, 1.0)  # as measured in an earlier claim
    embed_samples(context)
    done = conn.execute("select listing_id, count(*) from sample where state = 'done' group by 1").fetchall()
    assert dict(done) == {slow: int(SHARE_SECONDS), quick: 30}


def test_the_seconds_that_a_picture_took_are_counted_for_its_source(context: Context) -> None:
    large = encode(draw_picture(1, (3000, 2400)), 92)  # a small one may take no time that the kernel has counted yet
    add_sample(context, make_listing(context.conn), large, PageKind.IMAGE)
    embed_samples(context)
    (share,) = context.shares(IMAGES).list(256)
    assert 0 < share.spent < 30
    with context.box.batch() as child:
        (picture,) = child.open_pictures([large])
        assert isinstance(picture, Picture) and picture.seconds > 0


def test_a_picture_that_takes_too_long_costs_no_other_source_an_attempt(context: Context) -> None:
    """Those that were asked for together are charged together."""
    conn = context.conn
    dear, good = make_listing(conn, "dear"), make_listing(conn, "good")
    for number in range(6):
        add_sample(context, dear, draw_scans(50, SIDE - 8 * number), PageKind.IMAGE)
    for number in range(6):
        add_sample(context, good, portrait("astronaut", 30 + number), PageKind.IMAGE)
    for _ in range(4):
        embed_samples(context)
    rows = conn.execute("select attempts, state from sample where listing_id = %s", [good]).fetchall()
    assert rows == [(1, "done")] * 6
    assert count(conn, "select count(*) from sample where listing_id = %s and error_code is not null", dear) > 0
