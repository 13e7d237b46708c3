"""Whatever is put where a number, an id, a token or a field belongs gets our page with a code, never a traceback."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from dashboards.app import list_routes, make_app
from dashboards.pages import TROUBLES
from tests.dashboards.test_requests import enrol
from vault.store.access import make_link
from workers.context import Context
from workers.deliver import CONFIRM_LASTS

HOSTILE = [
    "0", "-1", "1", str(2**31), str(2**63 - 1), str(2**63), str(-(2**63) - 1), "9" * 400, "9" * 3000, "1e309", "1.5",
    "NaN", "-Infinity", "null", "true", "[]", "{}", "0x10", "١", "𝟙", " 1", "1_000", "\0", "\r\nX-Evil: 1",
    "../../etc/passwd", "..\\..\\x", "' or 1=1 --", "%s%n", "{{7*7}}", "<script>", "\u202e", "\U0001f600", "a" * 3000,
    "00000000-0000-4000-8000-000000000000", "{00000000-0000-4000-8000-000000000000}", "urn:uuid:x", ".", "..", "",
]  # fmt: skip
RAW = ["%00", "%ff%fe", "%", "%zz", "%2e%2e%2f", "%E2%80%AE", "%F0%9F%98%80", "%ED%A0%80", "/", "//", "/.", "/%2e%2e"]
CODES = {trouble.code for trouble in TROUBLES.values()}


@pytest.fixture(params=["nobody", "olga", "ada"])
def client(context: Context, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A visitor: somebody who is not signed in, an operator, a person."""
    app = make_app(context.settings)
    with TestClient(
        app, base_url="http://127.0.0.1:8600", follow_redirects=False, raise_server_exceptions=False
    ) as made:
        conn = context.conn
        if request.param == "olga":
            made.post("/enter/" + make_link(conn, "operator", CONFIRM_LASTS, operator="olga"))
        elif request.param == "ada":
            subject_id = enrol(conn, context.keys, "ada@test.example")
            made.post("/me/enter/" + make_link(conn, "subject", CONFIRM_LASTS, subject_id=subject_id))
        assert bool(made.cookies) is (request.param != "nobody")
        yield made


def check(client: TestClient, method: str, path: str, **sent: str) -> None:
    answer = client.request(method, path, data=sent or None)
    assert answer.status_code < 500, (method, path, sent)
    assert "Traceback" not in answer.text
    assert "X-Evil" not in answer.headers
    if answer.status_code >= 400:
        (code,) = re.findall(r"<small>(\w+)</small></p>", answer.text)
        assert code in CODES, (method, path, sent)
    assert "<script>" not in answer.text
    assert "49" not in answer.text or "7*7" not in path


def test_every_place_of_every_path_takes_anything(client: TestClient) -> None:
    routes = list_routes(client.app)  # type: ignore[arg-type]
    named = [(method, path) for method, path in routes if "{" in path]
    assert len(named) == 10
    for method, path in named:
        for value in (*(quote(each, safe="") for each in HOSTILE), *RAW):
            check(client, method, re.sub(r"\{[^}]+\}", lambda _, value=value: value, path))  # type: ignore[misc]


def test_every_query_and_every_field_takes_anything(client: TestClient) -> None:
    for method, path in list_routes(client.app):  # type: ignore[arg-type]
        place = re.sub(r"\{[^}]+\}", "00000000-0000-4000-8000-000000000000", path)
        for value in HOSTILE:
            if method == "POST":
                check(client, method, place, address=value, form_token=value, sure=value)
            else:
                check(client, method, f"{place}?page={quote(value)}&limit={quote(value)}&{quote(value)}")
        for value in RAW:
            check(client, method, f"{place}?page={value}")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "BREW"])
def test_every_other_method_is_refused(client: TestClient, method: str) -> None:
    for _, path in list_routes(client.app):  # type: ignore[arg-type]
        answer = client.request(method, path.replace("{", "").replace("}", ""))
        assert answer.status_code in (404, 405), (method, path)


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "//", "/static", "/static/", "/static/nowhere", "/static/vendor", "/.env", "/me/", "/me/me", "/api/v1",
     "/static/" + "a" * 300, "/static/" + "a/" * 900, "/docs", "/openapi.json", "*", "/enter", "/enter/", "/enter/a/b",
     *(f"/static/{each}" for each in RAW), *(f"/{each}" for each in RAW)],
)  # fmt: skip
def test_a_path_that_is_nowhere_is_said_to_be_nowhere(client: TestClient, path: str) -> None:
    check(client, "GET", path)
    check(client, "POST", path)
