"""Pictures that take as long to decode as is just allowed, and pictures far above that, of one source, beside a
thousand good ones of another; meanwhile people withdraw."""

import json
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

from bench.faults.deployment import Deployment, count
from bench.faults.material import LEAVER, write_material
from bench.faults.place import Place
from bench.faults.tally import count_mails_left
from tests.vault.bombs import SIDE, draw_scans
from vault.formats import JPEG
from vault.outlines import read_outline
from vault.pictures import MOST_SECONDS

COSTLY = 64  # of each kind
FAR_ABOVE = 200  # scans
GOOD, FEWER_GOOD = 1000, 300
WITHDRAW_EVERY = 4.0  # seconds
LEAVERS = 12
LATER = 10.0  # seconds that the good ones may be done later than with half of the machine's time, which is their share
TAKEN_IN_SECONDS = 120.0
DONE_SECONDS = 600.0


def run(place: Place) -> None:
    good = write_material(place.folder / "good", FEWER_GOOD if place.seconds else GOOD, seed=3000)
    dear = write_costly(place.folder / "dear")
    with place.make_deployment("costly-alone").running() as alone:
        alone.enrol_people()
        without = time_good(alone, good, [], {})
        alone.wait_settled()
        expected = alone.list_rows()
    deployment = place.make_deployment("costly")
    with deployment.running():
        deployment.enrol_people()
        people = deployment.enrol({f"leaver-{number}": LEAVER for number in range(LEAVERS)})
        deployment.ingest(dear, dear.name)
        beside = time_good(deployment, good, place.tally.withdrawals, people)
        place.tally.note_withdrawn(deployment, list(people))
        place.tally.touched += count_mails_left(deployment, list(people.values()))
        with deployment.connect() as conn:
            left = count(conn, WAITING, dear.name)
            opened = count(conn, OF_SOURCE + " and sample.state = 'done'", dear.name)
            deployment.wait_until(lambda: count(conn, UNDECIDED) == 0, TAKEN_IN_SECONDS, "faces wait")
        found = deployment.list_rows()
    report = place.report
    report.add("costly.good_without", round(without, 1), f"s for {len(list(good.rglob('*.jpg')))} good pictures")
    report.add("costly.good_later", round(beside - 2 * without, 1), "s beside the costly ones, more than twice as long",
               bar=f"<= {LATER}")  # fmt: skip
    report.add("costly.left", left, f"of {2 * COSTLY} costly ones waited when the good ones were done")
    report.add("costly.opened", opened, "of them were opened by then")
    # the costly ones have rows of their own, under another listing
    found = Counter({row: number for row, number in found.items() if json.loads(row)[0].startswith(LISTED)})
    differing = place.tally.compare(expected, found)
    report.add("costly.rows_differing", differing, f"of {expected.total()} rows", bar="== 0")


LISTED = "ingest:///good/"
OF_SOURCE = """select count(*) from sample join listing using (listing_id) join source using (source_id)
               where source.name = %s"""
UNDECIDED = "select count(*) from face where state in ('ready', 'running')"
WAITING = OF_SOURCE + " and sample.state in ('ready', 'running')"


def time_good(deployment: Deployment, good: Path, seconds: list[float], people: dict[UUID, str]) -> float:
    """Seconds from when all good pictures are taken in until the last is opened. Meanwhile people withdraw; their
    seconds are kept."""
    if code := deployment.ingest(good, good.name):
        raise RuntimeError(f"ingest ended with {code}")
    started = withdraw_at = time.monotonic()
    leaving = list(people)
    with deployment.connect() as conn:
        while count(conn, WAITING, good.name):
            deployment.check()
            if leaving and time.monotonic() >= withdraw_at:
                seconds.append(deployment.withdraw(leaving.pop()))
                withdraw_at += WITHDRAW_EVERY
            if time.monotonic() - started > DONE_SECONDS:
                return time.monotonic() - started
            time.sleep(0.1)
        taken = time.monotonic() - started
        for each in leaving:
            seconds.append(deployment.withdraw(each))
        done = "select count(*) from delivery where kind = 'receipt' and state = 'done'"
        deployment.wait_until(lambda: count(conn, done) == len(people), TAKEN_IN_SECONDS, "receipts wait")
    return taken


def write_costly(folder: Path) -> Path:
    """As long as is just allowed, and far above; no two the same."""
    (folder / "offer").mkdir(parents=True)
    for number in range(COSTLY):
        side = SIDE - 8 * number
        (folder / "offer" / f"just-{number:02}.jpg").write_bytes(draw_just_allowed(side))
        (folder / "offer" / f"above-{number:02}.jpg").write_bytes(draw_scans(FAR_ABOVE, side))
    return folder


def draw_just_allowed(side: int) -> bytes:
    """As many scans as the foreseen cost allows: it grows by the same for each."""
    one, eleven = (read_outline(JPEG, draw_scans(scans, side)).seconds for scans in (1, 11))
    return draw_scans(1 + int((MOST_SECONDS - one) / ((eleven - one) / 10)), side)
