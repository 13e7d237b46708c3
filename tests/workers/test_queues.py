"""Steps that people wait for have a queue and a process of their own, which no backlog of pictures delays."""

import pytest

from vault.keys import Keys
from vault.settings import Settings
from vault.steps import PEOPLE_QUEUE, PEOPLE_STEPS, QUEUE, Asker, Step, connect_redis, count_hints, name_queue
from vault.store import Connection
from workers.app import make_worker
from workers.clock import MOST_WAITING, sweep
from workers.context import Context


def own_tasks(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("celery.")}


def test_erasures_and_messages_are_asked_for_in_a_queue_of_their_own(settings: Settings) -> None:
    asker = Asker(settings)
    for step in Step:
        asker.ask(step)
    assert count_hints(settings) == {QUEUE: len(Step) - len(PEOPLE_STEPS), PEOPLE_QUEUE: len(PEOPLE_STEPS)}
    assert {Step.DELIVER, Step.ERASE_SUBJECTS} <= PEOPLE_STEPS


def test_the_process_for_people_loads_no_models_and_takes_no_other_step(
    settings: Settings, conn: Connection, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("models are loaded")

    monkeypatch.setattr("workers.context.load_engine", load)
    app = make_worker(settings, PEOPLE_QUEUE)
    assert own_tasks(set(app.tasks)) == {step.value for step in PEOPLE_STEPS}


def test_a_full_queue_of_pictures_keeps_no_hint_from_people(context: Context) -> None:
    conn = context.conn
    for _ in range(MOST_WAITING + 1):
        context.asker.ask(Step.EMBED_SAMPLES)
    connect_redis(context.settings).delete(PEOPLE_QUEUE)
    conn.execute(
        """with key_ as (insert into key (key_id, kind, wrapped) values (gen_random_uuid(), 'subject', 'x')
                         returning key_id),
                person as (insert into subject (subject_id, key_id) select gen_random_uuid(), key_id from key_
                           returning subject_id)
           insert into delivery (delivery_id, subject_id, kind) select gen_random_uuid(), subject_id, 'receipt'
           from person"""
    )
    conn.execute("insert into withdrawal (subject_id) select subject_id from subject")
    sent = sweep(context, 1)
    assert set(sent) == {Step.DELIVER, Step.ERASE_SUBJECTS}
    assert count_hints(context.settings)[PEOPLE_QUEUE] == 2


@pytest.mark.parametrize("step", Step)
def test_every_step_has_one_queue(step: Step) -> None:
    assert name_queue(step) in (QUEUE, PEOPLE_QUEUE)
