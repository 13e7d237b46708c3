"""A worker process: Celery with one task a step, on one thread. Start as many as there are cores.

A hint makes a worker take batches of that step for up to TURN_SECONDS; if there is more, it hints again, so that the
other steps get their turn. A lost lease or a database that restarts ends the turn quietly: the rows are still there.
"""

import errno
import gc
import logging
import time
from collections.abc import Callable
from functools import partial

from celery import Celery, Task
from celery.signals import task_revoked

from vault.disks import check_disks
from vault.errors import FacewardenError, LeaseLost, ServerError, Unavailable
from vault.log import get_logger
from vault.settings import Settings
from vault.steps import QUEUE, Step, make_celery, name_queue
from vault.store import Conflict, DatabaseError, DatabaseGone, OutOfRoom, TooLong
from vault.store.deployment import check_deployment
from vault.store.pauses import clear_pause, save_pause
from vault.store.times import accept_clocks, check_clocks
from workers.answer_requests import answer_requests
from workers.build_gallery import build_gallery
from workers.build_segments import build_segments
from workers.chain_ledger import chain_ledger
from workers.context import Context
from workers.deliver import deliver
from workers.drop_expired import drop_expired
from workers.embed_samples import embed_samples
from workers.erase_subjects import erase_subjects
from workers.hunt_faces import hunt_faces
from workers.link_datasets import link_datasets
from workers.make_negatives import make_negatives
from workers.make_templates import make_templates
from workers.match_faces import match_faces
from workers.open_archives import open_archives
from workers.seal_bundles import seal_bundles

TURN_SECONDS = 2.0
# What fills the disk and can wait; the others free it, or are small and awaited by people
FILLING = frozenset((Step.OPEN_ARCHIVES, Step.EMBED_SAMPLES, Step.LINK_DATASETS, Step.SEAL_BUNDLES, Step.BUILD_SEGMENTS,
                     Step.HUNT_FACES))  # fmt: skip
CONFLICT_SECONDS = 0.5
AWAY = (*DatabaseGone, ServerError, Unavailable, OSError)  # none of them says anything of a row

STEPS: dict[Step, Callable[[Context], int]] = {
    Step.OPEN_ARCHIVES: open_archives,
    Step.EMBED_SAMPLES: embed_samples,
    Step.LINK_DATASETS: link_datasets,
    Step.MATCH_FACES: match_faces,
    Step.MAKE_TEMPLATES: make_templates,
    Step.MAKE_NEGATIVES: make_negatives,
    Step.DELIVER: deliver,
    Step.SEAL_BUNDLES: seal_bundles,
    Step.ERASE_SUBJECTS: erase_subjects,
    Step.BUILD_GALLERY: build_gallery,
    Step.BUILD_SEGMENTS: build_segments,
    Step.HUNT_FACES: hunt_faces,
    Step.CHAIN_LEDGER: chain_ledger,
    Step.DROP_EXPIRED: drop_expired,
    Step.ANSWER_REQUESTS: answer_requests,
}

SILENT = (Step.DELIVER, Step.MAKE_NEGATIVES)  # they have rows when somebody was found, or judges
UNTIMED = (Step.MATCH_FACES, Step.HUNT_FACES)  # they take longer then

log = get_logger(__name__)


def take_turn(context: Context, step: Step) -> int:
    """Work on a step until nothing is left or the turn is over; returns how many rows were taken up."""
    if context.pauses.is_paused(step):
        return 0
    total, started = 0, time.monotonic()
    try:
        check_clocks(context.conn)
        if step in FILLING:
            check_disks(context.settings)
        while count := STEPS[step](context):
            total += count
            if time.monotonic() - started > TURN_SECONDS:
                context.asker.ask(step)
                break
        context.let_go()
        if context.pauses.resume(step):
            clear_pause(context.conn, step.value, context.pauses.host)
    except LeaseLost as exc:
        log.warning("a lease was lost; somebody else has the rows", step=step.value, why=exc.message)
        context.let_go()
    except Conflict as exc:
        log.info("a step gave way to somebody else; its rows will be tried again", step=step.value, why=str(exc))
        put_back(context, "conflict", str(exc), CONFLICT_SECONDS)
    except TooLong as exc:
        log.warning("a statement took too long; its rows will be tried again", step=step.value, why=str(exc))
        give_back(context)
    except AWAY as exc:
        log.warning("a step pauses; its rows are not charged", step=step.value, error=type(exc).__name__, why=str(exc))
        pause(context, step, exc)
    except (DatabaseError, FacewardenError) as exc:
        log.warning(
            "a step failed; its rows will be tried again", step=step.value, error=type(exc).__name__, why=str(exc)
        )
        give_back(context)
    except Exception:  # the outer edge of a step
        log.exception("a step failed in a way nobody foresaw; its rows will be tried again", step=step.value)
        give_back(context)
    if total:
        log_turn(context, step, total, time.monotonic() - started)
    return total


def log_turn(context: Context, step: Step, rows: int, seconds: float) -> None:
    """What a turn did. Of steps in which it shows whether somebody was found only a demo is told that and how long."""
    if step not in (*SILENT, *UNTIMED) or context.is_demo:
        log.info("turn", step=step.value, rows=rows, seconds=round(seconds, 3))
    elif step in UNTIMED:
        log.info("turn", step=step.value, rows=rows)


def give_back(context: Context) -> None:
    """Free the claimed rows, which are charged, if the database is there; otherwise their lease ends by itself."""
    context.check_connection()
    try:
        context.give_back()
    except (DatabaseError, ServerError):
        log.warning("the database does not answer; the rows wait for their lease to end")
        context.drop_connection()


def put_back(context: Context, code: str, reason: str, wait: float) -> bool:
    """Free the claimed rows uncharged. False if the database does not answer; then their lease ends by itself."""
    context.check_connection()
    try:
        context.put_back(code, reason, wait)
    except (DatabaseError, ServerError):
        log.warning("the database does not answer; the rows wait for their lease to end")
        context.drop_connection()
        return False
    return True


def pause(context: Context, step: Step, exc: Exception) -> None:
    """What the step needs is away: its rows go back uncharged, and it pauses, with the reason for `status`."""
    code, reason = name_trouble(exc)
    wait = context.pauses.pause(step)
    if put_back(context, code, reason, wait):
        save_pause(context.conn, step.value, context.pauses.host, code, reason, wait)


def name_trouble(exc: Exception) -> tuple[str, str]:
    """The stable code of what is away, and what was said."""
    if isinstance(exc, FacewardenError):
        return exc.stable_code, exc.message
    if isinstance(exc, OSError):
        return ("disk_full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "system"), str(exc)
    return ("disk_full" if isinstance(exc, OutOfRoom) else "database_gone"), str(exc)


def make_worker(settings: Settings, queue: str = QUEUE) -> Celery:
    """The Celery application with every step of a queue as a task. Loads what they need first, so that a wrong digest,
    a refused licence or another deployment's key file stops the worker at start: the models, but for the steps that
    people wait for. Raises ModelError, KeyFileError, CalibrationError, ServerError."""
    app = make_celery(settings)
    context = Context(settings)
    check_deployment(context.conn, context.keys)
    accept_clocks(context.conn)
    if queue == QUEUE:
        _ = (context.engine, context.gate)
    gc.collect()
    gc.freeze()  # what was loaded so far stays: the collector need not go through it again and again
    for step in Step:
        if name_queue(step) == queue:
            app.task(name=step.value, bind=False)(_make_task(context, step))
    task_revoked.connect(partial(look_at_expired, context), weak=False)
    return app


def look_at_expired(context: Context, sender: Task | None = None, *, expired: bool = False, **_facts: object) -> None:
    """Celery drops a hint that is old by this machine's clock, before any step looks at the clocks: where they differ,
    the step pauses with that reason, so that a worker whose clock is ahead does not rest in silence."""
    step = Step(sender.name) if expired and sender is not None else None
    if step is None or context.pauses.is_paused(step):
        return
    try:
        check_clocks(context.conn)
    except AWAY as exc:
        log.warning("hints are dropped as old", step=step.value, error=type(exc).__name__, why=str(exc))
        pause(context, step, exc)


def _make_task(context: Context, step: Step) -> Callable[[], None]:
    def run() -> None:
        take_turn(context, step)

    return run


def run_worker(settings: Settings, name: str, queue: str = QUEUE) -> None:
    """Serve one queue until SIGTERM; the running turn is finished first."""
    app = make_worker(settings, queue)
    logging.getLogger("workers").setLevel(logging.INFO)  # Celery's own --loglevel is for everybody else
    app.worker_main(
        ["worker", "--pool=solo", "--concurrency=1", "--loglevel=WARNING", f"--hostname={name}@facewarden",
         f"--queues={queue}", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )  # fmt: skip
