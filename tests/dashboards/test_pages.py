"""The pages as a visitor, an operator, a person and an enemy see them."""

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient

from dashboards.app import list_routes, make_app
from dashboards.headers import HEADERS
from dashboards.pages import show_day, show_time
from dashboards.security.charts import draw_prices
from tests.approvers import TWO, let_in
from tests.samples import (
    add_sample,
    capture_listing,
    count,
    enrol_person,
    make_listing,
    portrait,
    raise_alert,
    run_steps,
)
from vault.store import Connection
from vault.store.access import make_link
from vault.store.alerts import ask_delivery
from vault.store.datasets import Happening, Link, join_datasets, lock_datasets
from vault.store.judgements import judge_alert
from vault.store.subjects import drop_enrolment
from vault.store.withdrawals import withdraw_consent
from workers.context import Context
from workers.deliver import CONFIRM_LASTS

NOBODYS = UUID("00000000-0000-4000-8000-000000000000")  # the id of no alert and no person


@pytest.fixture
def client(context: Context) -> Iterator[TestClient]:
    settings = context.settings.replace("money", currency="EUR", rates=("2026-11-02 CNY 0.13", "2099-01-01 CNY 9"))
    with TestClient(make_app(settings), base_url="http://127.0.0.1:8600", follow_redirects=False) as made:
        yield made


def sign_in_operator(client: TestClient, conn: Connection) -> None:
    token = make_link(conn, "operator", CONFIRM_LASTS, operator="olga")
    assert client.get(f"/enter/{token}").status_code == 200
    assert client.post(f"/enter/{token}").headers["location"] == "/security/alerts"


def sign_in_subject(client: TestClient, conn: Connection, subject_id: UUID) -> None:
    token = make_link(conn, "subject", CONFIRM_LASTS, subject_id=subject_id)
    assert client.post(f"/me/enter/{token}").headers["location"] == "/me"


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@pytest.fixture
def alert(context: Context) -> UUID:
    """One alert, with a listing whose title is hostile."""
    listing_id = make_listing(context.conn)
    capture_listing(context, listing_id)
    context.conn.execute(
        "update listing_version set title = %s, description = %s",
        ["<script>alert(1)</script> 5000张 =cmd()", "\u202e<img src=x onerror=alert(2)>"],
    )
    context.conn.execute(
        """update listing_version set unit_price = 0.0020, claimed_people = 500, language = 'zh',
           counts = '[{"what": "photo", "value": "5000", "text": "5000张"}]',
           kinds = '[{"what": "id_card_front", "value": "", "text": "<b>身份证正面</b>"}]',
           contacts = '[{"what": "telegram", "value": "<b>olga_k", "text": "tg: @<b>olga_k"}]',
           dates = '[{"what": "posted", "value": "", "text": "0000-00-00"}]',
           invalid_fields = '{date}'"""
    )
    return raise_alert(context, listing_id)


# -- who may see what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/security/alerts", f"/security/alerts/{NOBODYS}", "/security/faces/1.png", "/me"])
def test_a_visitor_who_is_not_signed_in_is_sent_to_the_start(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_person_sees_no_operators_page_and_an_operator_no_persons(
    client: TestClient, context: Context, alert: UUID
) -> None:
    (subject_id,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    assert isinstance(subject_id, UUID)
    sign_in_subject(client, context.conn, subject_id)
    for path in ("/security/alerts", f"/security/alerts/{alert}", "/security/faces/1.png"):
        assert client.get(path).status_code == 403
    client.cookies.clear()
    sign_in_operator(client, context.conn)
    assert client.get("/me").status_code == 403


FORMS = {"/enter/{token}", "/leave", "/me/confirm/{token}", "/me/enter/{token}", "/me/link", "/me/withdraw",
         "/me/alerts/{alert_id}/not-me", "/me/alerts/{alert_id}/take-back"}  # fmt: skip


def test_there_is_no_page_that_takes_a_picture(client: TestClient) -> None:
    """No search oracle: nothing in the application accepts an upload."""
    routes = list_routes(client.app)  # type: ignore[arg-type]
    assert {path for method, path in routes if method == "POST"} == FORMS
    assert {method for method, _ in routes} == {"GET", "POST"}
    for path in ("/docs", "/redoc", "/openapi.json", "/search", "/metrics"):
        assert client.get(path).status_code == 404


def test_a_link_works_once_and_only_for_its_purpose(client: TestClient, context: Context) -> None:
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    token = make_link(context.conn, "confirm", CONFIRM_LASTS, subject_id=subject_id)
    assert client.post(f"/enter/{token}").status_code == 410
    assert client.post(f"/me/enter/{token}").status_code == 410
    for _ in range(3):
        assert client.get(f"/me/confirm/{token}").status_code == 200  # a mail scanner spends nothing
    assert client.post(f"/me/confirm/{token}").status_code == 303
    assert client.post(f"/me/confirm/{token}").status_code == 410
    assert client.post("/me/confirm/guess").status_code == 410
    old = make_link(context.conn, "subject", CONFIRM_LASTS, subject_id=subject_id)
    context.conn.execute("update link set expires_at = now() - interval '1 second'")
    assert client.post(f"/me/enter/{old}").status_code == 410


def test_tokens_are_kept_as_digests_only(client: TestClient, context: Context) -> None:
    sign_in_operator(client, context.conn)
    cookie = client.cookies["facewarden_session"]
    assert count(context.conn, "select count(*) from session where token_sha256 = %s", cookie) == 0
    assert count(context.conn, "select count(*) from session") == 1


def test_a_form_from_elsewhere_is_refused(client: TestClient, context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    sign_in_subject(client, context.conn, subject_id)
    token = form_token(client.get("/me").text)
    other = {"form_token": token, "sure": "yes"}
    assert client.post("/me/withdraw", data={"form_token": "guess", "sure": "yes"}).status_code == 403
    assert client.post("/me/withdraw", data=other, headers={"Origin": "http://evil.example"}).status_code == 403
    for origin in ("null", "http://127.0.0.1", "http://127.0.0.1:8601", "http://[", "x"):
        assert client.post("/leave", data=other, headers={"Origin": origin}).status_code == 403, origin
    assert count(context.conn, "select count(*) from withdrawal") == 0


def test_signing_out_ends_the_session(client: TestClient, context: Context) -> None:
    sign_in_operator(client, context.conn)
    token = form_token(client.get("/security/alerts").text)
    assert client.post("/leave", data={"form_token": token}).status_code == 303
    assert client.get("/security/alerts").status_code == 303
    assert count(context.conn, "select count(*) from session") == 0


def test_the_cookie_cannot_be_read_by_a_script_and_goes_nowhere_else(client: TestClient, context: Context) -> None:
    token = make_link(context.conn, "operator", CONFIRM_LASTS, operator="olga")
    cookie = client.post(f"/enter/{token}").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


# -- what the pages show ----------------------------------------------------------------------------------------------


def test_every_answer_carries_the_headers(client: TestClient) -> None:
    for path in ("/", "/health", "/nowhere", "/static/facewarden.css", "/security/alerts"):
        headers = client.get(path).headers
        for name, value in HEADERS.items():
            if name != "Cache-Control":
                assert headers[name] == value, (path, name)
    policy = HEADERS["Content-Security-Policy"]
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_asset_is_our_own(client: TestClient, context: Context, alert: UUID) -> None:
    sign_in_operator(client, context.conn)
    for path in ("/", "/security/alerts", f"/security/alerts/{alert}"):
        page = client.get(path).text
        for link in re.findall(r'(?:src|href|action)="([^"]+)"', page):
            outside = link == context.settings.organisation.privacy_url  # which people follow; nothing is loaded of it
            assert outside or link.startswith(("/", "#", "?")), link
            if link.startswith("/static/"):
                assert client.get(link).status_code == 200


def test_the_alert_page_says_that_a_capture_was_erased(client: TestClient, context: Context, alert: UUID) -> None:
    sign_in_operator(client, context.conn)
    assert "erased" not in client.get(f"/security/alerts/{alert}").text
    context.conn.execute("update key set wrapped = null, erased_at = now() where kind = 'capture'")
    page = client.get(f"/security/alerts/{alert}").text
    assert "with the pictures inside it" in page
    assert ".warc.gz" not in page


def test_the_alert_page_shows_the_listing_escaped_and_the_face_blurred(
    client: TestClient, context: Context, alert: UUID
) -> None:
    sign_in_operator(client, context.conn)
    page = client.get(f"/security/alerts/{alert}").text
    assert "<script>" not in page
    assert "onerror=alert(2)&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 5000张 =cmd()" in page
    assert "astronaut" not in page
    assert "strong" in page
    assert re.search(
        r"<h1>A face that may be person <code>[0-9a-f]{8}</code>’s was found in a dataset on sale</h1>", page
    )
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.replace("</dt>", " ")))
    for told in (
        "0.002 CNY, 0.00026 EUR (rate of 2026-11-02)",
        "5,000 faces or photos, 500 people",
        "5000 photo (“5000张”)",
        "id card front (“&lt;b&gt;身份证正面&lt;/b&gt;”)",
        "Seller’s contacts telegram &lt;b&gt;olga_k (“tg: @&lt;b&gt;olga_k”)",
        "posted on a day that cannot be read (“0000-00-00”)",
        "Chinese (a guess)",
        "Could not be read date",
    ):
        assert told in text  # fmt: skip
    isolated = re.search('<bdi dir="auto" lang="[a-z]*">\u202e&lt;img', page)
    assert isolated, "the seller's direction ends where the seller's text does"
    (picture,) = re.findall(r'src="(/security/faces/\d+\.png)"', page)
    answer = client.get(picture)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with context.box.batch() as child:
        pixels = child.open_picture(answer.content).pixels
    assert context.engine.find_faces(pixels) == []


def test_the_alert_page_tells_who_sold_the_dataset_when_and_for_how_much(
    client: TestClient, context: Context, alert: UUID
) -> None:
    conn = context.conn
    first = count(conn, "select listing_id from listing")
    second = make_listing(conn, "resale")
    conn.execute(
        "update listing_version set seller = '<b>eve</b>', price = 250, currency = 'USD' where listing_id = %s",
        [second],
    )
    conn.execute("update listing_version set price = 100, currency = 'USD' where listing_id = %s", [first])
    with conn.transaction():
        lock_datasets(conn, change=True)
        link = Link(
            listing_id=second, other_id=first, reason="overlap", shared=7, groups=7, listing_size=9, other_size=8
        )
        join_datasets(conn, link)
    sign_in_operator(client, conn)
    page = client.get(f"/security/alerts/{alert}").text
    assert "2 listings sell this dataset" in page
    assert "Prices asked in USD, from 100 to 250" in page
    assert page.count("<circle") == 2
    (table,) = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    lines = [" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in table.split("<tr>")[2:]]
    assert len(lines) == 3
    assert "first seen" in lines[1]
    assert "&lt;b&gt;eve&lt;/b&gt;" in lines[1]
    assert "250 USD" in lines[1]
    assert f"joined this dataset shares 7 of its 9 pictures with listing {first}, which has 8" in lines[2]
    for number in re.findall(r'href="#listing-(\d+)"', table):
        assert f'id="listing-{number}"' in page


def make_happening(day: int, price: int | None, currency: str | None = "USD", kind: str = "new") -> Happening:
    return Happening(
        at=dt.datetime(2026, 11, day, tzinfo=dt.UTC), kind=kind, detail="", listing_id=day, url="", source="", title="",
        seller="", price_text="", price=None if price is None else Decimal(price), currency=currency,
        claimed_count=None,
    )  # fmt: skip


def test_a_chart_shows_the_prices_of_one_currency_and_says_how_many_it_leaves_out() -> None:
    chart = draw_prices(
        [make_happening(1, 100), make_happening(2, 7, "CNY"), make_happening(3, None),
         make_happening(4, 999, kind="sold"), make_happening(5, 25, kind="changed")]
    )  # fmt: skip
    assert chart is not None
    assert [(point.x, point.y) for point in chart.points] == [(12, 12), (628, 114)]
    assert (chart.currency, chart.lowest, chart.highest, chart.left_out) == ("USD", Decimal(25), Decimal(100), 1)


@pytest.mark.parametrize(
    "timeline",
    [[], [make_happening(1, 5)], [make_happening(1, 5), make_happening(2, 5, "EUR")], [make_happening(1, None)]],
)
def test_one_price_is_no_chart(timeline: list[Happening]) -> None:
    assert draw_prices(timeline) is None


@pytest.mark.parametrize("price", [0, 10**30])
def test_prices_that_cannot_be_are_drawn_all_the_same(price: int) -> None:
    chart = draw_prices([make_happening(1, price), make_happening(1, price)])
    assert chart is not None
    assert all(0 <= point.x <= 640 and 0 <= point.y <= 160 for point in chart.points)


def test_the_alert_page_says_what_of_a_picture_was_not_seen(client: TestClient, context: Context, alert: UUID) -> None:
    sign_in_operator(client, context.conn)
    page = client.get(f"/security/alerts/{alert}").text
    assert "ends early" not in page
    assert "not looked at" not in page
    context.conn.execute("update sample set truncated = true, faces_left_out = 1234 where state = 'done'")
    page = client.get(f"/security/alerts/{alert}").text
    assert "its file ends early or is damaged" in page
    assert "1,234 more faces in it were not looked at" in page
    assert "Passed over" not in page
    context.conn.execute(
        """insert into passed_over select source_id, url, what, files
           from page, (values ('MP4', 1200), ('<b>text', 3)) as new (what, files) where page.kind = 'page'"""
    )
    page = client.get(f"/security/alerts/{alert}").text
    assert "1,200 MP4, 3 &lt;b&gt;text" in page or "3 &lt;b&gt;text, 1,200 MP4" in page


def test_a_look_at_an_alert_is_logged(client: TestClient, context: Context, alert: UUID) -> None:
    sign_in_operator(client, context.conn)
    client.get(f"/security/alerts/{alert}")
    (entry,) = context.conn.execute("select entry from ledger where about = %s", [str(alert)]).fetchone() or ("",)
    assert '"kind":"view"' in entry
    assert '"by":"olga"' in entry


def test_only_faces_of_alerts_can_be_asked_for(client: TestClient, context: Context, alert: UUID) -> None:
    add_sample(context, make_listing(context.conn, "other"), portrait("t1-4"))
    run_steps(context)
    sign_in_operator(client, context.conn)
    stranger = count(context.conn, "select face_id from face where outcome = 'unmatched'")
    for face_id in (stranger, 0, -1, 10**6, 2**63, 10**30, "x", "1/../2"):
        assert client.get(f"/security/faces/{face_id}.png").status_code == 404, face_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/security/alerts/nonsense", 404),
        ("GET", f"/security/alerts/{NOBODYS}", 404),
        ("GET", "/security/faces/x.png", 404),
        ("GET", "/security/alerts?page=0", 400),
        ("GET", "/security/alerts?page=x", 400),
        ("GET", "/security/alerts?page=1e9", 400),
        ("GET", "/nowhere", 404),
        ("GET", "/static/nowhere.css", 404),
        ("PUT", "/leave", 405),
        ("POST", "/leave", 400),
        ("POST", "/enter/guess", 410),
        ("GET", "/me", 403),
    ],
)
def test_what_makes_no_sense_gets_our_error_page_with_the_way_back(
    client: TestClient, context: Context, method: str, path: str, status: int
) -> None:
    sign_in_operator(client, context.conn)
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "Traceback" not in answer.text
    assert "detail" not in answer.text
    assert 'href="/security/alerts"' in answer.text, "the navigation"
    assert "olga" in answer.text


@pytest.mark.parametrize("form", [{}, {"sure": "yes"}])
def test_a_form_that_lacks_a_field_gets_our_error_page(
    client: TestClient, context: Context, form: dict[str, str]
) -> None:
    sign_in_subject(client, context.conn, enrol_person(context, "astronaut"))
    answer = client.post("/me/withdraw", data=form)
    assert (answer.status_code, "does not make sense" in answer.text) == (400, True)
    assert 'href="/me"' in answer.text
    assert client.post("/me/link", data={}).status_code == 400


def test_a_host_that_is_not_ours_is_not_answered(client: TestClient) -> None:
    answer = client.get("/", headers={"Host": "rebound.evil.example"})
    assert answer.status_code == 400
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_crash_gets_our_error_page_and_the_headers(context: Context) -> None:
    app = make_app(context.settings)

    def crash() -> None:
        raise RuntimeError("secret")

    app.add_api_route("/crash", crash)
    with TestClient(app, base_url="http://127.0.0.1:8600", raise_server_exceptions=False) as client:
        answer = client.get("/crash")
    assert (answer.status_code, "Something went wrong" in answer.text, "secret" in answer.text) == (500, True, False)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_times_are_shown_in_utc_whatever_zone_the_database_gives_them_in() -> None:
    moment = dt.datetime(2026, 11, 25, 4, 30, 7, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert show_time(moment) == '<time datetime="2026-11-24T20:30:07+00:00">2026-11-24 20:30 UTC</time>'
    assert "20:30:07 UTC" in show_time(moment, seconds=True)
    assert show_day(moment) == '<time datetime="2026-11-24">2026-11-24</time>'


def test_the_list_has_pages(client: TestClient, context: Context, alert: UUID) -> None:
    for number in range(60):
        make_listing(context.conn, f"source-{number}")
    context.conn.execute(
        """insert into alert (alert_id, subject_id, dataset_id, band)
           select gen_random_uuid(), subject_id, dataset_id, 'possible' from subject, dataset on conflict do nothing"""
    )
    sign_in_operator(client, context.conn)
    first, second = client.get("/security/alerts").text, client.get("/security/alerts?page=2").text
    assert "Page 1 of 2" in first
    assert 'href="?page=2"' in first
    assert first.count("<tr>") + second.count("<tr>") == 61 + 2


# -- the person's page ------------------------------------------------------------------------------------------------


def test_a_person_confirms_sees_their_status_and_withdraws(client: TestClient, context: Context) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    listing_id = make_listing(conn)
    add_sample(context, listing_id, portrait("astronaut", 60))
    run_steps(context)
    assert count(conn, "select count(*) from match") == 0, "nothing is searched before the confirmation"
    token = make_link(conn, "confirm", CONFIRM_LASTS, subject_id=subject_id)
    assert client.post(f"/me/confirm/{token}").status_code == 303
    page = client.get("/me").text
    assert "confirmed on" in page
    assert "nothing" in page
    add_sample(context, listing_id, portrait("astronaut", 50))
    run_steps(context)
    page = client.get("/me").text
    assert "1 dataset with a face that may be yours" in page
    for secret in ("test-source", "5000", "score", "0."):
        assert secret not in page.split("<main")[1]
    data = {"form_token": form_token(page), "sure": ""}
    assert client.post("/me/withdraw", data=data).status_code == 303
    assert client.post("/me/withdraw", data={**data, "sure": "yes"}).status_code == 200
    add_sample(context, listing_id, portrait("astronaut", 40))
    run_steps(context)
    assert count(conn, "select count(*) from match") == 0
    assert client.get("/me").status_code == 303, "the session ended with the erasure"


def test_a_photo_that_will_not_do_is_told_to_the_person_only(client: TestClient, context: Context) -> None:
    from cli.commands.enrol import enrol
    from tests.samples import png

    enrol(context.conn, context.keys, context.settings, "x@test.example", png(100, 100), recorded_by="test")
    run_steps(context)
    (subject_id,) = context.conn.execute("select subject_id from subject").fetchone() or (None,)
    assert isinstance(subject_id, UUID)
    sign_in_subject(client, context.conn, subject_id)
    page = client.get("/me").text
    assert "No face could be found in your picture" in page
    assert "do it again with another picture" in page


def test_a_person_sees_and_withdraws_nobody_elses_consent(client: TestClient, context: Context, alert: UUID) -> None:
    """Two people, one browser after the other: every address and token of the first, tried as the second."""
    conn = context.conn
    (first,) = conn.execute("select subject_id from alert").fetchone() or (None,)
    assert isinstance(first, UUID)
    second = enrol_person(context, "t1-1")
    sign_in_subject(client, conn, first)
    page = client.get("/me").text
    assert "1 dataset with a face" in page
    other_token = form_token(page)
    client.cookies.clear()
    sign_in_subject(client, conn, second)
    own = client.get("/me").text
    assert "1 dataset" not in own
    for path in (f"/me/{first}", f"/me?subject_id={first}", f"/me/withdraw/{first}", f"/security/alerts/{alert}"):
        shown = client.get(path)
        assert shown.status_code in (403, 404) or "1 dataset" not in shown.text, path
    data = {"form_token": other_token, "sure": "yes"}
    assert client.post("/me/withdraw", data=data).status_code == 403
    assert count(conn, "select count(*) from withdrawal") == 0
    data = {"form_token": form_token(own), "sure": "yes", "subject_id": str(first)}
    assert client.post(f"/me/withdraw?subject_id={first}", data=data).status_code == 200
    withdrawn = conn.execute("select subject_id from withdrawal").fetchall()
    assert withdrawn == [(second,)]


# -- "this is not me" -------------------------------------------------------------------------------------------------


def read_text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main")[1].split("<details>")[0]).split())


def owner(conn: Connection) -> UUID:
    (subject_id,) = conn.execute("select subject_id from alert").fetchone() or (None,)
    assert isinstance(subject_id, UUID)
    return subject_id


def test_a_person_says_that_it_is_not_them_and_takes_it_back(client: TestClient, context: Context, alert: UUID) -> None:
    sign_in_subject(client, context.conn, owner(context.conn))
    page = client.get("/me").text
    assert "Take that back" not in read_text(page)
    data = {"form_token": form_token(page)}
    answer = client.post(f"/me/alerts/{alert}/not-me", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/me#alert-{alert}")
    assert client.post(f"/me/alerts/{alert}/not-me", data=data).status_code == 303, "twice is once"
    page = client.get("/me").text
    assert f'<li id="alert-{alert}">' in page
    assert re.search(r"You said on \S+ that this is not you\. This is being taken up now\.", read_text(page))
    assert "nothing; you said of 1 dataset that the face is not yours" in read_text(page)
    assert "This is not me" not in read_text(page)
    run_steps(context)
    assert re.search(
        r"do not alert you until \d{4}-\d\d-\d\d ; none were kept back so far", read_text(client.get("/me").text)
    )
    add_sample(context, make_listing(context.conn, "again"), portrait("astronaut", 60))
    run_steps(context)
    assert "1 was kept back so far" in read_text(client.get("/me").text)
    for secret in ("test-source", "5000", "score", "0.", "<img"):
        assert secret not in client.get("/me").text.split("<main")[1]
    context.conn.execute("update negative set sealed = null, state = 'quarantined'")
    assert "another picture of it may alert you again" in read_text(client.get("/me").text)
    assert client.post(f"/me/alerts/{alert}/take-back", data=data).status_code == 303
    assert client.post(f"/me/alerts/{alert}/take-back", data=data).status_code == 303
    page = read_text(client.get("/me").text)
    assert "2 datasets with a face that may be yours" in page, "what was kept back is shown"
    assert "This is not me" in page
    assert count(context.conn, "select count(*) from judgement") == 0


def test_a_person_who_has_withdrawn_can_judge_nothing(client: TestClient, context: Context, alert: UUID) -> None:
    sign_in_subject(client, context.conn, owner(context.conn))
    data = {"form_token": form_token(client.get("/me").text)}
    withdraw_consent(context.conn, owner(context.conn))
    assert "This is not me" not in read_text(client.get("/me").text)
    for word in ("not-me", "take-back"):
        assert client.post(f"/me/alerts/{alert}/{word}", data=data).status_code == 404


@pytest.mark.parametrize("word", ["not-me", "take-back"])
def test_nobody_else_judges_an_alert(client: TestClient, context: Context, alert: UUID, word: str) -> None:
    conn = context.conn
    path = f"/me/alerts/{alert}/{word}"
    assert client.post(path, data={"form_token": "x"}).headers["location"] == "/", "not signed in"
    sign_in_subject(client, conn, enrol_person(context, "t1-1"))
    data = {"form_token": form_token(client.get("/me").text)}
    assert client.post(path, data=data).status_code == 404
    assert client.post(f"/me/alerts/{NOBODYS}/{word}", data=data).status_code == 404
    assert client.post(f"/me/alerts/x/{word}", data=data).status_code in (400, 404)
    client.cookies.clear()
    sign_in_operator(client, conn)
    data = {"form_token": form_token(client.get("/security/alerts").text)}
    assert client.post(path, data=data).status_code == 403
    client.cookies.clear()
    sign_in_subject(client, conn, owner(conn))
    own = {"form_token": form_token(client.get("/me").text)}
    assert client.post(path, data={"form_token": "guess"}).status_code == 403
    assert client.post(path, data=own, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get(path).status_code == 405
    assert count(conn, "select count(*) from judgement") == 0


def test_the_desk_sees_what_was_said_and_by_whom(client: TestClient, context: Context, alert: UUID) -> None:
    conn = context.conn
    sign_in_operator(client, conn)
    assert "<td>nothing</td>" in client.get("/security/alerts").text
    with conn.transaction():
        judge_alert(conn, context.keys, owner(conn), alert, days=1)
    run_steps(context)
    add_sample(context, make_listing(conn, "again"), portrait("astronaut", 60))  # the very face that was judged
    run_steps(context)
    page = read_text(client.get("/security/alerts").text)
    assert " not me " in page
    assert "1 face not alerted about: the person said of such a face that it is not them." in page
    assert "held for review" not in page, "nobody has to review that"
    assert "The person said on" in read_text(client.get(f"/security/alerts/{alert}").text)
    conn.execute("update judgement set operator = '<b>olga'")
    conn.execute("update alert set state = 'open'")
    assert "not me, before another face came" in client.get("/security/alerts").text
    page = client.get(f"/security/alerts/{alert}").text
    assert "&lt;b&gt;olga noted for the person on" in page
    assert "another face has been found here since" in page
    client.cookies.clear()
    sign_in_subject(client, conn, owner(conn))
    page = read_text(client.get("/me").text)
    assert "Whoever runs Facewarden noted on your behalf on" in page
    assert "Since then another face was found in the same dataset." in page
    assert "This is not me" in page
    assert "Take that back" in page


# -- links ------------------------------------------------------------------------------------------------------------


def test_a_spent_link_says_how_to_get_a_new_one(client: TestClient) -> None:
    for path in ("/me/enter/guess", "/me/confirm/guess", "/enter/guess"):
        answer = client.post(path)
        assert answer.status_code == 410
        assert 'href="/#new-link"' in answer.text
        assert "./facewarden login" in answer.text
    assert 'id="new-link"' in client.get("/").text


def test_a_confirmation_that_comes_too_late_confirms_nothing(client: TestClient, context: Context) -> None:
    subject_id = enrol_person(context, "astronaut", confirmed=False)
    token = make_link(context.conn, "confirm", CONFIRM_LASTS, subject_id=subject_id)
    with context.conn.transaction():
        assert drop_enrolment(context.conn, subject_id)
    assert client.post(f"/me/confirm/{token}").status_code == 410
    assert count(context.conn, "select count(*) from session") == 0
    assert count(context.conn, "select count(*) from consent where confirmed_at is not null") == 0


# -- when servers are gone --------------------------------------------------------------------------------------------


def test_health_says_degraded_without_redis_and_503_without_the_database(context: Context) -> None:
    no_redis = context.settings.replace("servers", redis_url="redis+socket:///nowhere.sock?virtual_host=0")
    with TestClient(make_app(no_redis), base_url="http://127.0.0.1:8600") as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["state"]) == (200, "degraded")
        assert client.get("/").status_code == 200
    no_database = context.settings.replace("servers", database_url="postgresql://x@/x?host=/nowhere")
    with TestClient(make_app(no_database), base_url="http://127.0.0.1:8600") as client:
        assert client.get("/health").status_code == 503
        client.cookies.set("facewarden_session", "x")
        answer = client.get("/security/alerts")
        assert answer.status_code == 503
        assert "Nothing is lost" in answer.text
        assert answer.headers["retry-after"] == "5"


def test_withdrawal_is_kept_even_when_redis_is_gone(context: Context) -> None:
    subject_id = enrol_person(context, "astronaut")
    ask_delivery(context.conn, subject_id, "confirmation")
    gone = context.settings.replace("servers", redis_url="redis+socket:///nowhere.sock?virtual_host=0")
    with TestClient(make_app(gone), base_url="http://127.0.0.1:8600", follow_redirects=False) as client:
        sign_in_subject(client, context.conn, subject_id)
        data = {"form_token": form_token(client.get("/me").text), "sure": "yes"}
        assert client.post("/me/withdraw", data=data).status_code == 200
    assert count(context.conn, "select count(*) from withdrawal") == 1


# -- empty states say what is so -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "enrolled", "sql", "words"),
    [
        (False, True, "", "Nothing is watched yet: there is no source"),
        (True, False, "update source set health = 'ok', last_crawl_at = now()", "Nobody is searched for yet"),
        (True, True, "", "Nothing can be said yet: no source was crawled to its end"),
        (True, True, "update source set health = 'ok', last_crawl_at = now()", "1 of 1 source could be read"),
        (True, True, "update source set health = 'login_wall', last_crawl_at = now()", "0 of 1 source could be read"),
        (True, True, "update source set health = 'login_wall', last_crawl_at = now()", "1 behind a login"),
        (True, True, "update source set health = 'ok', last_crawl_at = now() - interval '8 days'", "1 not crawled in"),
        (True, True, "update source set state = 'paused', last_crawl_at = now()", "1 paused"),
    ],
)
def test_a_list_without_alerts_says_why(
    client: TestClient, context: Context, made: bool, enrolled: bool, sql: str, words: str
) -> None:
    if made:
        make_listing(context.conn)
    if enrolled:
        enrol_person(context, "astronaut")
    if sql:
        context.conn.execute(sql.encode())
    sign_in_operator(client, context.conn)
    page = read_text(client.get("/security/alerts").text)
    assert words in page
    assert ("Nothing was found so far" in page) == ((made and enrolled and bool(sql) and "interval" not in sql)
                                                    or "interval" in sql)  # fmt: skip


def test_a_list_with_work_waiting_does_not_say_that_there_is_nothing(client: TestClient, context: Context) -> None:
    listing_id = make_listing(context.conn)
    enrol_person(context, "astronaut")
    context.conn.execute("update source set health = 'ok', last_crawl_at = now()")
    add_sample(context, listing_id, portrait("astronaut", 60))
    sign_in_operator(client, context.conn)
    assert "but 1 picture or face still waits to be looked at" in read_text(client.get("/security/alerts").text)


def test_a_page_after_the_last_is_not_an_empty_list(client: TestClient, context: Context) -> None:
    raise_alert(context, make_listing(context.conn))
    sign_in_operator(client, context.conn)
    page = read_text(client.get("/security/alerts?page=7").text)
    assert "There is no page 7: the alerts end on page 1" in page
    assert "Nothing was found" not in page


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("delete from capture; delete from page; delete from source", "nothing: no place is watched yet"),
        ("", "nothing: no place was read to its end yet"),
        ("update source set health = 'ok', last_crawl_at = now()", "This week we could read 1 of 1 place."),
        ("update source set health = 'captcha', last_crawl_at = now()", "This week we could read 0 of 1 place. In the"),
        ("update template set sealed = null, state = 'ready'", "nothing is searched yet"),
    ],
)
def test_a_person_with_nothing_found_reads_how_much_was_looked_at(
    client: TestClient, context: Context, sql: str, words: str
) -> None:
    make_listing(context.conn)
    if sql.startswith("delete"):
        context.conn.execute("truncate source cascade")
        sql = ""
    subject_id = enrol_person(context, "astronaut")
    if sql:
        context.conn.execute(sql.encode())
    sign_in_subject(client, context.conn, subject_id)
    assert words in read_text(client.get("/me").text)


def test_an_alert_without_a_message_is_not_on_its_way(client: TestClient, context: Context) -> None:
    alert_id = raise_alert(context, make_listing(context.conn))
    context.conn.execute("delete from delivery where kind = 'alert'")
    sign_in_operator(client, context.conn)
    assert "<td>no message</td>" in client.get("/security/alerts").text
    assert "has no message about it" in client.get(f"/security/alerts/{alert_id}").text


@pytest.mark.parametrize(("language", "shown"), [("zh", 'lang="zh"'), ("ru", 'lang="ru"'), (None, 'lang=""')])
def test_a_markets_words_have_their_own_language(
    client: TestClient, context: Context, language: str | None, shown: str
) -> None:
    alert_id = raise_alert(context, make_listing(context.conn))
    context.conn.execute("update listing_version set language = %s", [language])
    sign_in_operator(client, context.conn)
    for path in ("/security/alerts", f"/security/alerts/{alert_id}"):
        page = client.get(path).text
        titles = re.findall(r"<bdi[^>]*>5000张人脸 10元</bdi>", page)
        assert titles and all(f'<bdi dir="auto" {shown}>' in title for title in titles)
        assert not re.search(r'<bdi dir="auto">', page), "no foreign text in our own language"


# -- who is told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signers", "alone", "words"),
    [
        (TWO, False, "in a dataset offered for sale."),
        (TWO[:1], False, "in a dataset offered for sale."),
        (TWO[:1], True, "in material handed to Test Bank. Nobody but you is told."),
        (TWO, True, "in a dataset offered for sale."),
    ],
    ids=["open", "labelled", "private", "opened"],
)
def test_a_person_sees_every_alert_and_in_what_kind_of_material(
    client: TestClient, context: Context, signers: tuple[str, ...], alone: bool, words: str
) -> None:
    subject_id = enrol_person(context, "astronaut")
    listing_id = make_listing(context.conn, "market", signers=signers, alone=alone)
    add_sample(context, listing_id, portrait("astronaut", 60))
    run_steps(context)
    sign_in_subject(client, context.conn, subject_id)
    assert words in read_text(client.get("/me").text)


def test_a_person_sees_how_many_approve_what_is_watched_and_since_when(client: TestClient, context: Context) -> None:
    conn, keys = context.conn, context.keys
    subject_id = enrol_person(context, "astronaut")
    sign_in_subject(client, conn, subject_id)
    today = dt.datetime.now(dt.UTC).date()

    def read_me() -> str:
        return read_text(client.get("/me").text).replace(" ;", ";")

    both = f"2 people, as far as Facewarden can tell: one since {today}; one since {today}"
    assert both in read_me()
    let_in(conn, keys, "third")
    assert f"; one since {today} (counts from {today + dt.timedelta(days=3)} on)" in read_me()


def test_operators_see_a_label_and_not_what_its_person_was_told_or_says(client: TestClient, context: Context) -> None:
    conn, keys = context.conn, context.keys
    listing_id = make_listing(conn, "market", signers=TWO[:1])
    subject_id = enrol_person(context, "astronaut")
    capture_listing(context, listing_id)
    add_sample(context, listing_id, portrait("astronaut", 60))
    run_steps(context)
    (alert_id, label) = conn.execute("select alert_id, label from alert").fetchone() or (None, None)
    assert isinstance(alert_id, UUID)
    with conn.transaction():
        judge_alert(conn, keys, subject_id, alert_id, days=9)
    sign_in_operator(client, conn)
    digest = keys.digest_text(f"subject:{subject_id}")[:8]
    for path in ("/security/alerts", f"/security/alerts/{alert_id}"):
        page = read_text(client.get(path).text)
        assert label in page
        assert digest not in page
        assert "not them" not in page
        assert "not me" not in page
        assert "was told" not in page
    assert client.get("/security/faces/1.png").status_code == 200
    conn.execute("update source set visibility = 'private'")
    assert client.get(f"/security/alerts/{alert_id}").status_code == 404
    assert client.get("/security/faces/1.png").status_code == 404
    conn.execute("update source set visibility = 'open'")
    assert digest in client.get("/security/alerts").text
