"""The names of the worker steps and how to ask for one. A message is only a hint that there is work; the work is rows.

In comes the name of a step, out goes a Celery message. Redis may be down, hung or empty: asking never fails the
asker, never waits longer than two seconds, and the sweeper asks again.
"""

import time
from enum import StrEnum

import redis
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from vault.errors import ServerError
from vault.log import get_logger
from vault.settings import Settings

QUEUE = "facewarden"
PEOPLE_QUEUE = "people"  # of steps that people wait for: a process of its own, which no backlog of pictures delays
HINT_SECONDS = 30  # an older hint says nothing that the sweeper has not said since
SOCKET_SECONDS = 2.0
PAUSE_SECONDS = 3.0  # after a failed hint, how long no other is tried

BrokerGone = redis.RedisError  # so that other rooms need not import redis

log = get_logger(__name__)


class Step(StrEnum):
    """One file each in `workers/`; file, function and task bear this name."""

    OPEN_ARCHIVES = "open_archives"
    EMBED_SAMPLES = "embed_samples"
    LINK_DATASETS = "link_datasets"
    MATCH_FACES = "match_faces"
    MAKE_TEMPLATES = "make_templates"
    MAKE_NEGATIVES = "make_negatives"
    DELIVER = "deliver"
    SEAL_BUNDLES = "seal_bundles"
    ERASE_SUBJECTS = "erase_subjects"
    BUILD_GALLERY = "build_gallery"
    BUILD_SEGMENTS = "build_segments"
    HUNT_FACES = "hunt_faces"
    CHAIN_LEDGER = "chain_ledger"
    DROP_EXPIRED = "drop_expired"
    ANSWER_REQUESTS = "answer_requests"


PEOPLE_STEPS = frozenset((Step.ANSWER_REQUESTS, Step.DELIVER, Step.ERASE_SUBJECTS))


def name_queue(step: Step) -> str:
    return PEOPLE_QUEUE if step in PEOPLE_STEPS else QUEUE


def make_celery(settings: Settings) -> Celery:
    """The Celery application of this process: JSON only, no results, hints that expire, direct queues that need no
    binding in Redis (so FLUSHALL cannot lose them)."""
    app = Celery("facewarden", broker=settings.servers.redis_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_queues=[Queue(name, exchange=Exchange(""), routing_key=name) for name in (QUEUE, PEOPLE_QUEUE)],
        task_default_queue=QUEUE,
        task_default_exchange="",
        task_default_routing_key=QUEUE,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "visibility_timeout": 3600,
            "max_retries": 0,  # of opening a channel: whoever asks must not wait; a worker's own loop reconnects
        },
    )
    return app


class Asker:
    """Sends hints. One a process; a broker that does not answer is left alone for a few seconds."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_celery(settings)
        self._quiet_until = 0.0
        self.failed = 0

    def ask(self, step: Step, times: int = 1) -> bool:
        """Hint that `step` has work. False if the hint could not be sent; the sweeper will send another."""
        if time.monotonic() < self._quiet_until:
            return False
        try:
            for _ in range(times):
                self._app.send_task(step.value, queue=name_queue(step), expires=HINT_SECONDS, retry=False)
        except (OperationalError, redis.RedisError, OSError) as exc:
            self._quiet_until = time.monotonic() + PAUSE_SECONDS
            self.failed += 1
            log.warning("a hint could not be sent", step=step.value, error=type(exc).__name__)
            return False
        return True


def client_url(url: str) -> str:
    """Celery's address of a broker in redis-py's form."""
    if url.startswith("redis+socket://"):
        path, _, query = url.removeprefix("redis+socket://").partition("?")
        database = next((p.split("=")[1] for p in query.split("&") if p.startswith("virtual_host=")), "0")
        return f"unix://{path}?db={database}"
    return url


def connect_redis(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(
        client_url(settings.servers.redis_url), socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS
    )


def check_broker(settings: Settings, patience: float = 0.0) -> None:
    """Wait for Redis and refuse any eviction policy but `noeviction`, which would drop messages. Raises ServerError."""
    deadline = time.monotonic() + patience
    while True:
        try:
            policy = connect_redis(settings).config_get("maxmemory-policy").get("maxmemory-policy")
            break
        except redis.RedisError as exc:
            if time.monotonic() >= deadline:
                raise ServerError(f"Redis does not answer: {exc}", mend="is it running, is REDIS_URL right?") from exc
            time.sleep(0.1)
    if policy != "noeviction":
        raise ServerError(
            f"Redis evicts keys ({policy}) and would drop work hints", mend="set maxmemory-policy noeviction"
        )


def count_hints(settings: Settings) -> dict[str, int]:
    """How many hints wait in each queue. Raises redis.RedisError."""
    client = connect_redis(settings)
    return {name: int(client.llen(name)) for name in (QUEUE, PEOPLE_QUEUE)}
