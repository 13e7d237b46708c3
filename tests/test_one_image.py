"""One image, front to back: from a market's page to a bundle that anybody can verify, and the row of every step."""

from collections.abc import Callable
from pathlib import Path

from fastapi.testclient import TestClient

from dashboards.app import make_app
from evidence.verify import check_bundle
from tests.crawler.test_crawl import crawl, html
from tests.dashboards.test_pages import sign_in_operator
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import STRANGERS, count, enrol_person, portrait, run_steps
from vault.store.audit import verify_ledger
from vault.store.bundles import ask_bundle, get_bundle_file
from workers.context import Context

LISTING = """<article><h1>5000张人脸 10元</h1><b>10元</b>
<img src="/one.jpg"><img src="/two.jpg"><img src="/three.jpg"></article>"""


def answer(path: str) -> Answer:
    pictures = {
        "/one.jpg": portrait("astronaut", 60),
        "/two.jpg": portrait(STRANGERS[0].name),
        "/three.jpg": b"%PDF-1.7",
    }
    if path == "/":
        return html(LISTING)
    return (200, {"Content-Type": "image/jpeg"}, pictures[path]) if path in pictures else NOT_FOUND


def test_one_image_front_to_back(
    context: Context, tmp_path: Path, make_site: Callable[[Callable[[str], Answer]], Site]
) -> None:
    conn = context.conn
    subject_id = enrol_person(context, "astronaut")

    # 1-3 the page is fetched through the guard and read, the listing kept, page and samples captured
    done = crawl(context.settings, make_site(answer), tmp_path)
    assert done.returncode == 0, done.stderr
    assert conn.execute("select kind, state, count(*) from page group by 1, 2 order by 1").fetchall() == [
        ("image", "done", 3),
        ("page", "done", 1),
    ]
    assert conn.execute("select title, claimed_count, price::int, currency from listing_version").fetchall() == [
        ("5000张人脸 10元", 5000, 10, "CNY")
    ]
    assert count(conn, "select count(*) from capture") == 1
    assert conn.execute("select state, count(*) from sample group by 1").fetchall() == [("ready", 3)]

    # 4-6 faces are found, embedded, searched; one alert for the person, nothing for or about the stranger
    run_steps(context)
    assert conn.execute("select state, error_code, count(*) from sample group by 1, 2 order by 1").fetchall() == [
        ("done", None, 2),
        ("quarantined", "format_not_allowed", 1),
    ]
    assert conn.execute("select outcome, count(*) from face group by 1 order by 1").fetchall() == [
        ("matched", 1),
        ("unmatched", 1),
    ]
    assert conn.execute("select subject_id from match").fetchall() == [(subject_id,)]
    assert count(conn, "select count(*) from alert where subject_id = %s", subject_id) == 1
    assert count(conn, "select count(*) from face where outcome = 'unmatched' and template is not null") == 0
    mails = [path.read_text(encoding="utf-8") for path in context.settings.mail_folder.glob("*.eml")]
    assert len(mails) == 2, "the confirmation and the alert"
    assert not any("127.0.0.1:8601" in mail or "5000张" in mail for mail in mails)

    # 7 a person looks, and the look is logged
    with TestClient(make_app(context.settings), base_url="http://127.0.0.1:8600", follow_redirects=False) as client:
        sign_in_operator(client, conn)
        (alert_id,) = conn.execute("select alert_id from alert").fetchone() or (None,)
        shown = client.get(f"/security/alerts/{alert_id}")
        assert shown.status_code == 200
        assert "5000张人脸" in shown.text
    assert count(conn, "select count(*) from ledger where entry like '%%\"view\"%%'") >= 1

    # 8 the proof is sealed and checked without us
    ask_bundle(conn, alert_id, "test")
    run_steps(context)
    _state, file, _code = get_bundle_file(conn, alert_id)
    assert file is not None
    verdict = check_bundle((context.settings.home / file).read_bytes())
    assert verdict.failed == []
    assert verify_ledger(conn, context.keys) == []
    assert count(conn, 'select count(*) from ledger where entry not like \'%%"by":"_%%\'') == 0
