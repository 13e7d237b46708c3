"""Numbers for Prometheus: right, without a name of anybody, and not for everybody."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from dashboards.app import make_app
from tests.samples import (
    STRANGERS,
    add_sample,
    count,
    draw_picture,
    encode,
    make_listing,
    png,
    portrait,
    raise_alert,
    run_steps,
)
from vault.errors import SettingError
from vault.records import PageKind
from workers.context import Context

TOKEN = "a-token-of-this-test"
HERE = ("127.0.0.1", 50000)
Numbers = dict[tuple[str, ...], float]


@pytest.fixture
def client(context: Context) -> Iterator[TestClient]:
    settings = context.settings.replace("web", metrics_token=TOKEN, public_url="https://fw.example.org")
    with TestClient(make_app(settings), base_url="http://127.0.0.1:8600", client=HERE) as made:
        yield made


def read(text: str) -> Numbers:
    """Name and label values (in the order of the labels' names) -> number."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_numbers_are_those_of_the_rows_and_name_nobody(context: Context, client: TestClient) -> None:
    conn = context.conn
    listing_id = make_listing(conn)
    subject = raise_alert(context, listing_id)
    add_sample(context, listing_id, b"<html>no picture</html>")
    add_sample(context, listing_id, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90))
    add_sample(context, listing_id, encode(draw_picture(1), 90)[:-2])
    run_steps(context)
    conn.execute("update sample set faces_left_out = 7 where truncated")
    conn.execute("insert into passed_over select source_id, 'x', 'MP4', 3 from source")
    add_sample(context, listing_id, portrait(STRANGERS[0].name))
    add_sample(context, listing_id, png(40, 40), PageKind.ARCHIVE)
    conn.execute("update source set state = 'paused'")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = read(answer.text)
    expected = {
        ("facewarden_pages", "page", "done"): 1, ("facewarden_listings", "offered"): 1,
        ("facewarden_samples", "image", "done"): 2, ("facewarden_samples", "image", "ready"): 1,
        ("facewarden_samples", "image", "quarantined"): 2, ("facewarden_samples", "archive", "ready"): 1,
        ("facewarden_faces", "matched", "done"): 1, ("facewarden_matches", "strong", ""): 1,
        ("facewarden_alerts", "open"): 1, ("facewarden_queue", "embed_samples"): 1,
        ("facewarden_queue", "open_archives"): 1, ("facewarden_queue", "match_faces"): 0,
        ("facewarden_queue", "crawl"): 0, ("facewarden_queue", "deliver"): 0,
        ("facewarden_refused", "format_not_allowed"): 2, ("facewarden_formats_not_read", "HTML"): 1,
        ("facewarden_formats_not_read", "HEIC"): 1, ("facewarden_samples_truncated",): 1,
        ("facewarden_faces_left_out",): 7, ("facewarden_passed_over", "test-source"): 3,
        ("facewarden_source_health", "paused", "test-source"): 1,
        ("facewarden_blobs",): count(conn, "select count(*) from blob"),
        ("facewarden_blob_bytes",): count(conn, "select sum(size)::bigint from blob"),
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert found["facewarden_queue", "chain_ledger"] == count(
        conn, "select count(*) from ledger where position is null"
    )
    assert "astronaut" not in answer.text
    assert str(subject) not in answer.text


@pytest.mark.parametrize(
    ("host", "client_host", "headers", "status"),
    [
        ("127.0.0.1:8600", "127.0.0.1", {}, 200),
        ("localhost", "127.0.0.1", {}, 200),
        ("fw.example.org", "127.0.0.1", {}, 404),  # a proxy on this machine that keeps the name
        ("127.0.0.1:8600", "127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 404),
        ("127.0.0.1:8600", "127.0.0.1", {"Forwarded": "for=203.0.113.9"}, 404),
        ("127.0.0.1:8600", "203.0.113.9", {}, 404),
        ("127.0.0.1:8600", "10.1.2.3", {}, 404),
        ("fw.example.org", "203.0.113.9", {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("fw.example.org", "203.0.113.9", {"Authorization": f"Bearer {TOKEN}x"}, 404),
        ("fw.example.org", "203.0.113.9", {"Authorization": "Bearer "}, 404),
        ("fw.example.org", "203.0.113.9", {"Authorization": "Bearer \xe9"}, 404),
    ],
)
def test_they_are_for_this_machine_and_for_whoever_has_the_token(
    context: Context, host: str, client_host: str, headers: dict[str, str], status: int
) -> None:
    settings = context.settings.replace("web", metrics_token=TOKEN, public_url="https://fw.example.org")
    sent = {"Host": host, **{name: value.encode("latin-1") for name, value in headers.items()}}
    with TestClient(make_app(settings), base_url="http://127.0.0.1:8600", client=(client_host, 1)) as client:
        assert client.get("/metrics", headers=sent).status_code == status  # type: ignore[arg-type]


def test_without_a_token_no_token_fits(context: Context) -> None:
    with TestClient(make_app(context.settings), base_url="http://127.0.0.1:8600", client=("10.0.0.1", 1)) as client:
        for given in ("", "Bearer", "Bearer "):
            assert client.get("/metrics", headers={"Authorization": given}).status_code == 404


def test_a_token_that_can_be_guessed_is_refused(context: Context) -> None:
    with pytest.raises(SettingError, match="metrics_token"):
        context.settings.replace("web", metrics_token="short")
