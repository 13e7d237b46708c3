"""The sweeper: once a second it asks for every step that has rows, so that a hint lost anywhere is only a delay.

It also quarantines rows whose fifth attempt never reported back. Any number of clocks may run; they only hint.
"""

import signal
import threading
import time

from matcher.generations import read_manifest
from vault.errors import IndexFileError, ServerError, Unavailable
from vault.log import get_logger
from vault.settings import Settings
from vault.steps import PEOPLE_QUEUE, QUEUE, BrokerGone, Step, count_hints, name_queue
from vault.store import Connection, DatabaseError, DatabaseGone
from vault.store.clock import read_gallery_clock
from vault.store.ledger import count_unplaced
from vault.store.pauses import clear_pause, save_pause
from vault.store.requests import are_requests_due
from vault.store.sessions import end_stuck_sessions
from vault.store.times import check_clocks
from vault.store.withdrawals import has_new_withdrawals
from vault.store.work import (
    ARCHIVES,
    BUNDLES,
    DELIVERIES,
    ERASURES,
    FACES,
    HUNT_PARTS,
    IMAGES,
    LINKING,
    NEGATIVES,
    PAGES,
    TEMPLATES,
    count_claimable,
    quarantine_exhausted,
)
from workers.build_segments import segments_are_due
from workers.context import Context
from workers.heads import HeadKeeper
from workers.hunt_faces import hunts_are_due

SWEEPER = "sweeper"  # among the pauses of steps
TICK_SECONDS = 1.0
SLOW_TICKS = 60  # retention once a minute
SEGMENT_TICKS = 10
COUNT_TICKS = 300  # faces that are in no segment are looked for
MOST_WAITING = 64  # hints in the queue; more would say nothing new
HINTS_A_STEP = 4  # so that several workers take up one step

WORK = {
    Step.OPEN_ARCHIVES: ARCHIVES,
    Step.EMBED_SAMPLES: IMAGES,
    Step.LINK_DATASETS: LINKING,
    Step.MATCH_FACES: FACES,
    Step.MAKE_TEMPLATES: TEMPLATES,
    Step.MAKE_NEGATIVES: NEGATIVES,
    Step.HUNT_FACES: HUNT_PARTS,
    Step.DELIVER: DELIVERIES,
    Step.SEAL_BUNDLES: BUNDLES,
    Step.ERASE_SUBJECTS: ERASURES,
}

log = get_logger(__name__)


def sweep(context: Context, tick: int) -> dict[Step, int]:
    """One look at the rows; returns how many hints were sent for each step. Raises Unavailable: nothing is swept where
    the clocks differ."""
    conn = context.conn
    sent: dict[Step, int] = {}
    check_clocks(conn)
    for table in (PAGES, *WORK.values()):
        quarantine_exhausted(conn, table)
    end_stuck_sessions(conn)
    full = find_full_queues(context.settings)
    for step, table in WORK.items():
        waiting = 0 if name_queue(step) in full else count_claimable(conn, table, HINTS_A_STEP)
        if waiting and context.asker.ask(step, min(waiting, HINTS_A_STEP)):
            sent[step] = waiting
    if PEOPLE_QUEUE not in full and has_new_withdrawals(conn) and context.asker.ask(Step.ERASE_SUBJECTS):
        sent[Step.ERASE_SUBJECTS] = 1
    if PEOPLE_QUEUE not in full and are_requests_due(conn) and context.asker.ask(Step.ANSWER_REQUESTS):
        sent[Step.ANSWER_REQUESTS] = 1
    if QUEUE in full:
        return sent
    if count_unplaced(conn) and context.asker.ask(Step.CHAIN_LEDGER):
        sent[Step.CHAIN_LEDGER] = 1
    if hunts_are_due(context) and context.asker.ask(Step.HUNT_FACES):
        sent[Step.HUNT_FACES] = sent.get(Step.HUNT_FACES, 0) + 1
    segments_due = tick % COUNT_TICKS == 0 or (tick % SEGMENT_TICKS == 0 and segments_are_due(conn))
    if segments_due and context.asker.ask(Step.BUILD_SEGMENTS):
        sent[Step.BUILD_SEGMENTS] = 1
    if gallery_is_behind(context, conn) and context.asker.ask(Step.BUILD_GALLERY):
        sent[Step.BUILD_GALLERY] = 1
    if tick % SLOW_TICKS == 0 and context.asker.ask(Step.DROP_EXPIRED):
        sent[Step.DROP_EXPIRED] = 1
    return sent


def find_full_queues(settings: Settings) -> set[str]:
    """Queues in which so many hints wait that more would say nothing new. None if Redis does not answer: asking says
    it again, and better."""
    try:
        return {name for name, hints in count_hints(settings).items() if hints > MOST_WAITING}
    except BrokerGone:
        return set()


def gallery_is_behind(context: Context, conn: Connection) -> bool:
    """Has the gallery changed since the generation on disk was built, or is there none that can be read?"""
    try:
        generation = read_manifest(context.settings.home / "index")
    except IndexFileError:
        return True
    return generation is None or generation.clock != read_gallery_clock(conn).value


def sweep_or_pause(context: Context, tick: int, paused: bool) -> bool:
    """Sweep, or keep for `status` why not; is it paused now? Raises psycopg.Error, ServerError."""
    host = context.pauses.host
    try:
        sweep(context, tick)
    except Unavailable as exc:
        if not paused:
            log.warning("the sweeper pauses", code=exc.stable_code, why=exc.message)
        save_pause(context.conn, SWEEPER, host, exc.stable_code, exc.message, TICK_SECONDS)
        return True
    if paused:
        clear_pause(context.conn, SWEEPER, host)
    return False


def run_clock(settings: Settings) -> None:
    """Sweep until SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    context = Context(settings)
    heads = HeadKeeper()
    tick, paused = 0, True  # perhaps by a sweeper before this one
    while not stop.is_set():
        started = time.monotonic()
        try:
            paused = sweep_or_pause(context, tick, paused)
            heads.keep(context)
            tick += not paused
        except (*DatabaseGone, ServerError) as exc:
            log.warning("the database went away; sweeping again soon", error=type(exc).__name__)
            context.drop_connection()
        except DatabaseError:
            log.exception("a sweep failed")
            context.drop_connection()
        stop.wait(max(0.0, TICK_SECONDS - (time.monotonic() - started)))
    context.close()
