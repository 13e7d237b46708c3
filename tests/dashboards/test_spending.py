"""A one-time link is spent with what it was spent for, or not at all; and its token shows nowhere but in the link."""

import io
import logging
import re
from collections.abc import Iterator
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from dashboards.app import list_routes, make_app
from tests.dashboards.test_requests import enrol
from tests.samples import count
from vault.log import set_up_logging
from vault.store import Connection
from vault.store.access import make_link
from workers.context import Context
from workers.deliver import CONFIRM_LASTS

PURPOSES = {"operator": "/enter/", "subject": "/me/enter/", "confirm": "/me/confirm/"}
HOST = "http://127.0.0.1:8600"


@pytest.fixture
def client(context: Context) -> Iterator[TestClient]:
    app = make_app(context.settings)
    with TestClient(app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def links(context: Context) -> dict[str, str]:
    """A link's path for each purpose."""
    conn = context.conn
    known = enrol(conn, context.keys, "ada@test.example")
    fresh = enrol(conn, context.keys, "una@test.example", confirmed=False)
    whose: dict[str, dict[str, UUID]] = {
        "operator": {},
        "subject": {"subject_id": known},
        "confirm": {"subject_id": fresh},
    }
    return {
        purpose: PURPOSES[purpose] + make_link(conn, purpose, CONFIRM_LASTS, operator=None if who else "olga", **who)
        for purpose, who in whose.items()
    }


each_purpose = pytest.mark.parametrize("purpose", PURPOSES)


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What is logged during a test."""
    before, told = (logging.root.level, logging.root.handlers[:]), io.StringIO()
    set_up_logging("web", to=told)
    yield told
    logging.root.setLevel(before[0])
    logging.root.handlers[:] = before[1]


def count_written(conn: Connection) -> int:
    return count(
        conn,
        """select (select count(*) from session) + (select count(*) from link where used_at is not null)
                  + (select count(*) from ledger) + (select count(*) from live_consent)""",
    )


@each_purpose
@pytest.mark.parametrize("table", ["session", "ledger", "link", "consent"])
def test_a_link_whose_sign_in_fails_half_way_works_later(
    client: TestClient, context: Context, links: dict[str, str], purpose: str, table: str
) -> None:
    conn, before = context.conn, count_written(context.conn)
    conn.execute(f"alter table {table} rename to away".encode())
    status = client.post(links[purpose]).status_code
    conn.execute(f"alter table away rename to {table}".encode())
    if status == 303:
        return  # this one does not need that table
    assert status == 500
    assert count_written(conn) == before, "nothing of it was kept"
    assert client.post(links[purpose]).status_code == 303
    assert client.post(links[purpose]).status_code == 410


@each_purpose
def test_a_link_works_later_when_the_database_died_in_the_middle(
    client: TestClient, context: Context, links: dict[str, str], purpose: str
) -> None:
    conn, before = context.conn, count_written(context.conn)
    conn.execute(
        """create function die() returns trigger language plpgsql as $$
           begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"""
    )
    conn.execute("create trigger dying before insert on session for each row execute function die()")
    answer = client.post(links[purpose])
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)
    assert "set-cookie" not in answer.headers
    conn.execute("drop trigger dying on session")
    assert count_written(conn) == before
    assert client.post(links[purpose]).status_code == 303


def test_every_route_that_takes_a_token_is_logged_by_its_name_only(context: Context, log_lines: io.StringIO) -> None:
    gone = context.settings.replace("servers", database_url="postgresql://x@/x?host=/nowhere")
    app = make_app(gone)
    named = [(method, path) for method, path in list_routes(app) if "{" in path]
    assert len(named) == 10
    with TestClient(app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False) as client:
        client.cookies.set("facewarden_session", "a-secret-cookie")
        for method, path in named:
            client.request(method, re.sub(r"\{[^}]+\}", "a-secret-path", path), data={"form_token": "a-secret-form"})
    told = log_lines.getvalue()
    assert "a-secret" not in told
    assert "/me/enter/{token}" in told


@each_purpose
def test_no_row_holds_a_token_of_a_link_a_session_or_a_form(
    client: TestClient, context: Context, links: dict[str, str], purpose: str
) -> None:
    conn = context.conn
    assert client.post(links[purpose]).status_code == 303
    page = client.get("/security/alerts" if purpose == "operator" else "/me").text
    (form_token, *_) = re.findall(r'name="form_token" value="([^"]+)"', page)
    tokens = [links[purpose].rsplit("/", 1)[1], client.cookies["facewarden_session"], form_token]
    assert all(len(token) >= 43 for token in tokens)
    for (table,) in conn.execute("select tablename from pg_tables where schemaname = 'public'").fetchall():
        text = str(conn.execute(f"select t::text from {table} t".encode()).fetchall())
        assert not [token for token in tokens if token in text or token.encode().hex() in text], table
    answer = client.post("/leave", data={"form_token": form_token})
    assert answer.status_code == 303, "the form's token is known again without being kept"
