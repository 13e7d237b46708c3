"""Whoever asks for a link learns nothing of who is enrolled: not by the answer, what was done for it, nor any queue."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg_pool import ConnectionPool

from dashboards.app import make_app
from tests.fakes import RecordingConnection
from tests.samples import count, enrol_person
from vault.addresses import name_network
from vault.keys import Keys
from vault.steps import Step
from vault.store import VISIT, WORK, Connection, limit_session
from vault.store.requests import (
    JITTER_SECONDS,
    MOST_OF_ADDRESS,
    MOST_OF_NETWORK,
    MOST_WAITING,
    RequestKind,
    save_request,
)
from vault.store.subjects import confirm_consent, save_subject
from vault.store.withdrawals import withdraw_consent
from workers.answer_requests import answer_requests
from workers.clock import sweep
from workers.context import Context
from workers.deliver import deliver

KNOWN, UNCONFIRMED, LEFT, NOBODY = (f"{name}@test.example" for name in ("ada", "una", "lea", "nobody"))
EVERYBODY = (KNOWN, UNCONFIRMED, LEFT, NOBODY)


@pytest.fixture
def client(context: Context) -> Iterator[TestClient]:
    with TestClient(make_app(context.settings), base_url="http://127.0.0.1:8600", follow_redirects=False) as made:
        yield made


def enrol(conn: Connection, keys: Keys, address: str, *, confirmed: bool = True) -> UUID:
    """The rows of somebody who enrolled; their picture is never looked at."""
    with conn.transaction():
        subject_id = save_subject(conn, keys, address, "wording", "test", b"picture", "opencv-zoo")
        if confirmed:
            confirm_consent(conn, subject_id)
    return subject_id


@pytest.fixture
def known(context: Context) -> UUID:
    """The three kinds of people who have an address here; the one who may be written to."""
    known = enrol(context.conn, context.keys, KNOWN)
    enrol(context.conn, context.keys, UNCONFIRMED, confirmed=False)
    withdraw_consent(context.conn, enrol(context.conn, context.keys, LEFT))
    return known


def ask(client: TestClient, address: str) -> str:
    answer = client.post("/me/link", data={"address": address})
    assert answer.status_code == 200
    return answer.text


def visit_from(client: TestClient, host: str) -> TestClient:
    """Another visitor of the same application."""
    return TestClient(client.app, base_url="http://127.0.0.1:8600", client=(host, 1))


def age_requests(conn: Connection, seconds: int = 4) -> None:
    conn.execute(
        """update request set asked_at = asked_at - make_interval(secs => %(age)s),
                              answered_at = answered_at - make_interval(secs => %(age)s)""",
        {"age": seconds},
    )


def answer_all(context: Context) -> None:
    """As if so much time had passed that everything is answered and every message has left."""
    age_requests(context.conn)
    answer_requests(context)
    context.conn.execute("update delivery set not_before = null")
    deliver(context)


# -- what is done ------------------------------------------------------------------------------------------------------


def test_whoever_asks_gets_the_same_answer_and_only_the_live_consent_gets_a_message(
    client: TestClient, context: Context, known: UUID
) -> None:
    answers = {
        ask(client, address)
        for address in (
            *EVERYBODY, "Ada@TEST.example ", "x" * 5000, "a@b.example\r\nBcc: c@d.example", "\0", "\u202e",
        )
    }  # fmt: skip
    assert len(answers) == 1
    assert count(context.conn, "select count(*) from delivery") == 0, "nothing is done in the web process"
    answer_all(context)
    assert context.conn.execute("select subject_id, kind, state from delivery").fetchall() == [(known, "link", "done")]


def test_a_request_is_one_row_of_keyed_digests_whoever_is_meant_and_is_gone_in_a_minute(
    client: TestClient, context: Context, known: UUID
) -> None:
    conn = context.conn
    for address in EVERYBODY:
        ask(client, address)
    rows = conn.execute("select kind, digest, network, answered_at from request").fetchall()
    assert [(kind, len(digest), len(network), at) for kind, digest, network, at in rows] == [("link", 64, 64, None)] * 4
    text = str(conn.execute("select request::text from request").fetchall())
    assert not any(word in text for word in (*EVERYBODY, "ada", "testclient", str(known)))
    age_requests(conn)
    answer_requests(context)
    assert count(conn, "select count(*) from request where answered_at is not null") == 4
    age_requests(conn, 50)
    answer_requests(context)
    assert count(conn, "select count(*) from request") == 0


def test_a_request_is_answered_on_the_beat_and_not_before(client: TestClient, context: Context, known: UUID) -> None:
    ask(client, KNOWN)
    answer_requests(context)
    assert count(context.conn, "select count(*) from request where answered_at is null") == 1
    assert Step.ANSWER_REQUESTS not in sweep(context, 1)
    age_requests(context.conn)
    assert sweep(context, 1)[Step.ANSWER_REQUESTS] == 1
    assert answer_requests(context) == 1
    assert answer_requests(context) == 0


def test_a_message_leaves_some_seconds_later(client: TestClient, context: Context, known: UUID) -> None:
    conn = context.conn
    ask(client, KNOWN)
    age_requests(conn)
    answer_requests(context)
    assert deliver(context) == 0
    least, most = JITTER_SECONDS
    assert count(
        conn,
        """select count(*) from delivery where kind = 'link'
           and not_before between created_at + make_interval(secs => %s) and created_at + make_interval(secs => %s)""",
        least,
        most + 1,
    )


# -- what it takes -----------------------------------------------------------------------------------------------------


class Recorder(RecordingConnection):
    """Of this file."""


def take_said() -> list[str]:
    said, Recorder.said = Recorder.said, []
    return said


def test_the_web_runs_the_same_statements_for_everybody_and_none_looks_at_people(
    client: TestClient, context: Context, known: UUID
) -> None:
    url = limit_session(context.settings.servers.database_url, VISIT)
    with ConnectionPool(url, connection_class=Recorder, kwargs={"autocommit": True}) as pool:
        client.app.state.pool = pool  # type: ignore[attr-defined]
        pool.wait()
        take_said()
        said = []
        for address in EVERYBODY:
            ask(client, address)
            said.append(take_said())
    assert said == [said[0]] * len(EVERYBODY)
    assert len(said[0]) == 1
    assert not re.search(r"subject|consent|delivery|withdrawal", said[0][0])


def test_a_batch_runs_the_same_statements_whoever_is_asked_for(
    client: TestClient, context: Context, known: UUID
) -> None:
    url = limit_session(context.settings.servers.database_url, WORK)
    said = []
    with psycopg.connect(url, autocommit=True) as other:
        for address in (*EVERYBODY, None, KNOWN):  # the last one has been sent a link just now
            if address is not None:
                other.execute("delete from request")
                ask(client, address)
                age_requests(other)
            with Recorder.connect(url, autocommit=True) as recording:
                context._conn = recording
                take_said()
                answer_requests(context)
                said.append(take_said())
                context._conn = None
    assert said == [said[0]] * len(said)


@pytest.mark.parametrize("address", EVERYBODY)
def test_no_number_that_others_see_tells_whether_somebody_is_enrolled(
    client: TestClient, context: Context, known: UUID, address: str
) -> None:
    context.conn.execute("delete from template")  # enrolment pictures wait for no step here

    def look() -> tuple[str, ...]:
        numbers = [line for line in read_numbers().splitlines() if "scrape_seconds" not in line]
        return (*numbers, client.get("/health").text)

    def read_numbers() -> str:
        answer = visit_from(client, "127.0.0.1").get("/metrics")
        assert answer.status_code == 200
        return answer.text

    before = look()
    ask(client, address)
    asked = look()
    assert [each for each in asked if each not in before] == ['facewarden_queue{step="answer_requests"} 1.0']
    age_requests(context.conn)
    answer_requests(context)
    assert look() == before, "answered, and the message waits"
    context.conn.execute("update delivery set not_before = null")
    deliver(context)
    assert look() == before, "the message has left, and its entry waits to be placed"


# -- limits ------------------------------------------------------------------------------------------------------------


def post_as(client: TestClient, host: str, address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    answer = visit_from(client, host).post("/me/link", data={"address": address}, headers=headers)
    return answer.status_code, dict(answer.headers), answer.content


def test_beyond_the_limit_of_an_address_the_answer_is_the_same_for_everybody(
    client: TestClient, context: Context, known: UUID
) -> None:
    seen = []
    for number, address in enumerate(EVERYBODY):
        answers = [post_as(client, f"10.0.{number}.1", address) for _ in range(MOST_OF_ADDRESS + 2)]
        assert [status for status, _, _ in answers] == [200] * MOST_OF_ADDRESS + [429] * 2
        seen.append(answers)
    assert seen == [seen[0]] * len(seen)
    _, headers, body = seen[0][-1]
    assert int(headers["retry-after"]) > 0
    assert b"Too many requests" in body
    age_requests(context.conn, 60)
    assert post_as(client, "10.0.0.1", KNOWN)[0] == 200, "for a while only"


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (("198.51.100.1", "198.51.100.254"), "198.51.101.1"),
        (("2001:db8:0:100::1", "2001:db8:0:1ff:ffff::2"), "2001:db8:0:200::1"),
        (("::ffff:203.0.113.1", "203.0.113.77"), "203.0.114.1"),
    ],
)
def test_a_network_has_a_limit_whatever_addresses_it_asks_for(
    client: TestClient, same: tuple[str, str], other: str
) -> None:
    for number in range(MOST_OF_NETWORK):
        assert post_as(client, same[number % 2], f"p{number}@test.example")[0] == 200
    assert {post_as(client, host, "q@test.example")[0] for host in same} == {429}
    assert post_as(client, same[0], "q@test.example", **{"X-Forwarded-For": "192.0.2.7"})[0] == 429
    assert post_as(client, other, "q@test.example")[0] == 200


def test_what_others_ask_for_the_same_address_cannot_be_seen(client: TestClient, context: Context, known: UUID) -> None:
    """A limit over all networks would tell that its owner asks, who is enrolled."""
    for number in range(MOST_OF_ADDRESS + 1):
        assert post_as(client, f"10.0.{number}.1", KNOWN)[0] == 200
    assert post_as(client, "10.1.0.1", KNOWN)[0] == 200


def test_so_many_wait_and_no_more(client: TestClient, context: Context, known: UUID) -> None:
    conn = context.conn
    for number in range(MOST_WAITING):
        assert save_request(conn, RequestKind.LINK, f"{number}", f"{number % 100}")
    answers = [post_as(client, f"10.{number}.0.1", address) for number, address in enumerate(EVERYBODY)]
    assert {status for status, _, _ in answers} == {429}
    assert answers == [answers[0]] * len(answers)
    assert count(conn, "select count(*) from request") == MOST_WAITING
    age_requests(conn)
    answer_requests(context)
    assert ask(client, KNOWN)


def test_a_form_on_another_site_asks_for_no_link(client: TestClient, context: Context) -> None:
    for origin in ("http://evil.example", "null"):
        data = {"address": KNOWN}
        assert client.post("/me/link", data=data, headers={"Origin": origin}).status_code == 403
    assert count(context.conn, "select count(*) from request") == 0


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("198.51.100.77", "198.51.100.0/24"),
        ("::ffff:198.51.100.77", "198.51.100.0/24"),
        ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("::1", "::/56"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_a_network_is_a_24_or_a_56(host: str, network: str) -> None:
    assert name_network(host) == network


# -- the message -------------------------------------------------------------------------------------------------------


def test_a_link_is_sent_at_most_once_in_ten_minutes_and_opens_the_page(client: TestClient, context: Context) -> None:
    conn = context.conn
    enrol_person(context, "astronaut")
    deliver(context)
    mailed = set(context.settings.mail_folder.iterdir())
    for _ in range(5):
        ask(client, "astronaut@test.example")
        answer_all(context)
    (mail,) = set(context.settings.mail_folder.iterdir()) - mailed
    found = re.search(r"/me/enter/[\w-]{40,}", mail.read_text().replace("=\n", ""))
    assert found is not None
    assert client.post(found[0]).headers["location"] == "/me"
    assert "Withdraw" in client.get("/me").text
    conn.execute("update delivery set created_at = created_at - interval '11 minutes'")
    age_requests(conn, 60)
    ask(client, "astronaut@test.example")
    answer_all(context)
    assert count(conn, "select count(*) from delivery where kind = 'link'") == 2


def test_two_processes_that_answer_at_once_bring_one_message(client: TestClient, context: Context, known: UUID) -> None:
    for _ in range(MOST_OF_ADDRESS):
        ask(client, KNOWN)
    age_requests(context.conn)
    others = [Context(context.settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as many:
        list(many.map(answer_requests, others))
    for other in others:
        other.close()
    assert count(context.conn, "select count(*) from delivery where kind = 'link'") == 1


def test_an_answer_that_fails_is_given_later(
    client: TestClient, context: Context, known: UUID, conn: Connection
) -> None:
    ask(client, KNOWN)
    age_requests(conn)
    conn.execute("alter table delivery rename to away")
    with pytest.raises(psycopg.errors.UndefinedTable):
        answer_requests(context)
    assert count(conn, "select count(*) from request where answered_at is null") == 1
    conn.execute("alter table away rename to delivery")
    assert answer_requests(context) == 1
    assert count(conn, "select count(*) from delivery") == 1
