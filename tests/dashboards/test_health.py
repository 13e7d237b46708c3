"""A full disk and a clock that is wrong: `/health` says so, and visitors are told what to do."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboards.app import make_app
from tests.dashboards.test_requests import enrol
from tests.samples import count
from vault.disks import look_at
from vault.errors import DiskFull, Unavailable
from vault.store import Connection, make_disk_full
from vault.store.access import make_link
from workers.context import Context
from workers.deliver import CONFIRM_LASTS

HERE, ELSEWHERE = "http://127.0.0.1:8600", "10.1.1.1"
FILL = """create function fill() returns trigger language plpgsql as $$
    begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
    create trigger fill before insert or update or delete on {} for each statement execute function fill()"""
EMPTY = "drop function fill cascade"


@pytest.fixture
def client(context: Context) -> Iterator[TestClient]:
    app = make_app(context.settings)
    with TestClient(
        app, base_url=HERE, client=("127.0.0.1", 5), follow_redirects=False, raise_server_exceptions=False
    ) as made:
        yield made


def test_health_names_a_full_disk_and_is_well_again_by_itself(context: Context, small: Path) -> None:
    settings = context.settings.replace("delivery", mail_folder=small)
    with TestClient(make_app(settings), base_url=HERE, client=("127.0.0.1", 5)) as client:
        assert client.get("/health").json()["disk"] == "ok"
        filler = small / "filler"
        filler.write_bytes(bytes(look_at(small).free))
        time.sleep(1.1)  # a look is good for a second
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["state"]) == (200, "degraded")
        assert answer.json()["disk"] == f"disk_full: {small} is on a disk of 42 MB with 0 MB left"
        passed_on = client.get("/health", headers={"X-Forwarded-For": ELSEWHERE})
        assert passed_on.json()["disk"] == "disk_full", "who comes from elsewhere sees no path"
        filler.unlink()
        time.sleep(1.1)
        assert client.get("/health").json() == dict.fromkeys(("state", "database", "clock", "redis", "disk"), "ok")


@pytest.mark.parametrize(("seconds", "said"), [(90, "90 seconds ahead"), (-40 * 86_400, "40 days behind"), (30, "")])
def test_health_says_when_the_clocks_differ(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, seconds: float, said: str
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    answer = client.get("/health")
    assert answer.status_code == 200
    clock = f"clock_differs: this machine's clock is {said} of the database's" if said else "ok"
    assert answer.json()["clock"] == clock
    assert answer.json()["state"] == ("degraded" if said else "ok")


def test_health_is_answered_while_the_database_can_write_nothing(client: TestClient, conn: Connection) -> None:
    conn.execute(FILL.format("clock_mark").encode())
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["database"]) == (200, "disk_full")


def test_what_a_full_disk_refuses_is_said_and_works_later(client: TestClient, context: Context) -> None:
    conn = context.conn
    subject_id = enrol(conn, context.keys, "ada@test.example")
    link = "/me/enter/" + make_link(conn, "subject", CONFIRM_LASTS, subject_id=subject_id)
    for table, path, form in (("session", link, {}), ("request", "/me/link", {"address": "ada@test.example"})):
        conn.execute(FILL.format(table).encode())
        answer = client.post(path, data=form)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "disk_full" in answer.text
        assert "was not kept" in answer.text
        assert "facewarden status" in answer.text
        assert client.get("/").status_code < 400, "what needs no disk is served"
        conn.execute(EMPTY)
        assert client.post(path, data=form).status_code in (200, 303)
    assert count(conn, "select count(*) from session") == 1


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 503, "disk_full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), 503, "disk_full"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), 500, "unexpected"),
        (Unavailable("disk_full", "/secret/path"), 503, "disk_full"),
        (Unavailable("blobs_away", "/secret/path"), 503, "files_away"),
        (make_disk_full("No space left on device"), 503, "disk_full"),
        (DiskFull("/secret/path"), 503, "disk_full"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Exception) else None,
)
def test_each_error_of_a_disk_has_its_page(context: Context, exc: Exception, status: int, code: str) -> None:
    app = make_app(context.settings)

    @app.get("/failing")
    def fail() -> None:
        raise exc

    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        answer = client.get("/failing")
    assert answer.status_code == status
    assert f"<small>{code}</small>" in answer.text
    assert "secret" not in answer.text
