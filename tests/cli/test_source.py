"""`./facewarden source`: from a key to a signed card to a table of what it reads."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.commands.source import explain_nothing
from crawler.browser import find_chromium
from tests.approvers import PUBLIC, approve, let_in, sign_by, trust_one, trust_two, write_key
from tests.cli.test_commands import facewarden
from tests.crawler.test_crawl import CARD, html
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, enrol_person
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection
from workers.context import Context

MakeSite = Callable[[Callable[[str], Answer]], Site]


def answer(path: str) -> Answer:
    if path == "/robots.txt":
        return 200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /private\n"
    if path == "/":
        return html(
            '<a class="item" href="/1">1</a><a class="item" href="/private">p</a><a class="item" href="/9">9</a>'
        )
    if path == "/1":
        return html(
            '<article><h1>5000张人脸</h1><b>10元</b><img src="/a.png"><img src="/b.png"><p>tg: @olga_k</p></article>'
        )
    return NOT_FOUND


def write_card(tmp_path: Path, site: Site, top: str = "", read: str = "") -> Path:
    card = tmp_path / "market.toml"
    card.write_text(CARD.format(top=top, read=read, pages=100, port=site.server_port))
    return card


def test_a_card_is_approved_tried_and_shown_and_nothing_is_kept(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(answer)
    settings = settings.replace("money", currency="EUR", rates=("2026-01-01 CNY 0.13",))
    card, key = write_card(tmp_path, site, read='description = "p"'), tmp_path / "keys/approver-olga.pem"
    lab = ("--lab", f"127.0.0.1:{site.server_port}")
    refused = facewarden(settings, "source", "test", str(card), *lab)
    assert (refused.returncode, "card_unsigned" in refused.stderr) == (2, True)
    assert site.hits == {}

    made = facewarden(settings, "source", "key", "new", "--name", "olga", "--out", str(key), "--no-passphrase")
    assert made.returncode == 0, made.stderr
    public = made.stdout.split("public key ")[1][:64]
    assert facewarden(settings, "source", "sign", str(card), "--key", str(key)).returncode == 0
    refused = facewarden(settings, "source", "test", str(card), *lab)
    assert "card_untrusted" in refused.stderr
    assert facewarden(settings, "source", "trust", "olga", public).returncode == 0

    done = facewarden(settings, "source", "test", str(card), "--json", *lab)
    assert done.returncode == 0, done.stderr
    (listing,) = json.loads(done.stdout)
    assert (listing["title"], listing["price_text"], listing["claimed_count"]) == ("5000张人脸", "10元", 5000)
    assert (listing["unit_price"], listing["worth"]) == ("0.002000", "0.002 CNY (0.00026 EUR, 2026-01-01)")
    assert listing["counts"] == [{"what": "photo", "value": "5000", "text": "5000张"}]
    assert listing["contacts"] == [{"what": "telegram", "value": "olga_k", "text": "tg: @olga_k"}]
    assert [url.rpartition("/")[2] for url in listing["images"]] == ["a.png", "b.png"]
    assert "/private: robots_refused" in done.stderr
    assert "/9: http_404" in done.stderr
    assert set(site.hits) == {"/robots.txt", "/", "/1", "/9"}, "no picture is fetched, nothing that robots.txt forbids"
    assert count(conn, "select count(*) from page") == 0
    shown = facewarden(settings, "source", "test", str(card), *lab)
    assert shown.stdout.startswith(
        f"\n1 listing\n5000张人脸\n  {site.url}/1\n  price 10元; one face 0.002 CNY (0.00026 EUR, 2026-01-01);"
        " faces 5000; people -; seller -; pictures 2; archives 0\n"
    ), "in lines that a terminal of 80 columns can show"
    assert "contacts: telegram olga_k" in shown.stdout
    assert "\nseller: missing in 1 of 1\n" in shown.stdout
    assert f"lab: loopback open for {lab[1]}\n" in shown.stderr
    assert "{" not in shown.stderr, "a person at a terminal is not shown the guard's log"
    closed = facewarden(settings, "source", "test", str(card))
    assert closed.returncode == 1
    assert "none of 1 page could be had: address_refused (the name leads to an address inside" in closed.stdout
    assert "nothing was read" not in closed.stdout
    assert "{" not in closed.stderr
    listed = facewarden(settings, "source", "list", "--json")
    assert json.loads(listed.stdout) == []


def test_a_rendered_page_can_be_tried(settings: Settings, keys: Keys, tmp_path: Path, make_site: MakeSite) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    script = (
        "setTimeout(() => { document.body.innerHTML = '<article class=x><h1>drawn 500 photos</h1></article>' }, 200)"
    )
    site = make_site(lambda path: NOT_FOUND if path == "/robots.txt" else html(f"<script>{script}</script>"))
    card = write_card(tmp_path, site, 'rendering = "browser"', 'wait_for = "article.x"')
    key = tmp_path / "approver-olga.pem"
    public = facewarden(
        settings, "source", "key", "new", "--name", "olga", "--out", str(key), "--no-passphrase"
    ).stdout.split("public key ")[1][:64]
    facewarden(settings, "source", "trust", "olga", public)
    facewarden(settings, "source", "sign", str(card), "--key", str(key))
    done = facewarden(settings, "source", "test", str(card), "--json", "--lab", f"127.0.0.1:{site.server_port}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["claimed_count"] == 500


def test_an_approvers_key_never_lies_in_the_state_folder_or_unsealed_by_accident(
    settings: Settings, keys: Keys, tmp_path: Path
) -> None:
    inside = facewarden(
        settings, "source", "key", "new", "--name", "a", "--out", str(settings.home / "a.pem"), "--no-passphrase"
    )
    assert inside.returncode == 2
    assert "lies in the state folder" in inside.stderr
    nobody = facewarden(settings, "source", "key", "new", "--name", "a", "--out", str(tmp_path / "a.pem"))
    assert nobody.returncode == 2
    assert "--no-passphrase" in nobody.stderr
    assert not (tmp_path / "a.pem").exists()


def test_approvers_are_let_in_listed_and_removed_each_by_one_who_is_there(
    settings: Settings, keys: Keys, tmp_path: Path
) -> None:
    own = {name: str(write_key(tmp_path, name)) for name in PUBLIC}
    first = facewarden(settings, "source", "trust", "tester", PUBLIC["tester"])
    assert (first.returncode, "from now on" in first.stdout) == (0, True), first.stderr
    alone = facewarden(settings, "source", "trust", "second", PUBLIC["second"])
    assert (alone.returncode, "approver_needed" in alone.stderr, "--key" in alone.stderr) == (2, True, True)
    itself = facewarden(settings, "source", "trust", "second", PUBLIC["second"], "--key", own["second"])
    assert (itself.returncode, "approver_unknown" in itself.stderr) == (2, True)
    for name, by in (("second", "tester"), ("third", "second")):
        done = facewarden(settings, "source", "trust", name, PUBLIC[name], "--key", own[by])
        assert done.returncode == 0, done.stderr
    told = json.loads(facewarden(settings, "source", "approvers", "--json").stdout)
    assert [(each["name"], each["let_in_by"], each["counts"]) for each in told] == [
        ("tester", None, True), ("second", "tester", True), ("third", "second", True)
    ]  # fmt: skip
    assert "3 approvers" in facewarden(settings, "source", "approvers").stdout
    gone = facewarden(settings, "source", "distrust", "second", "--key", own["third"])
    assert (gone.returncode, "second approves nothing any more" in gone.stdout) == (0, True), gone.stderr
    assert "let in by " + PUBLIC["second"] in facewarden(settings, "source", "approvers").stdout, "third's"


def test_a_second_approver_signs_the_same_card_and_a_changed_one_loses_what_no_longer_holds(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path
) -> None:
    trust_two(conn, keys)
    card = tmp_path / "market.toml"
    card.write_text(CARD.format(top="", read="", pages=100, port=9))
    first = facewarden(settings, "source", "sign", str(card), "--key", str(write_key(tmp_path, "tester")))
    assert (first.returncode, "signed by tester\n" in first.stdout) == (0, True), first.stderr
    assert "one signature: what is found is not shown to operators whole" in first.stdout
    both = facewarden(settings, "source", "sign", str(card), "--key", str(write_key(tmp_path, "second")))
    assert "signed by tester, second\n" in both.stdout
    assert "one signature" not in both.stdout
    card.write_text(card.read_text().replace("pages = 100", "pages = 101"))
    changed = facewarden(settings, "source", "sign", str(card), "--key", str(write_key(tmp_path, "second")))
    assert "signed by second\n" in changed.stdout
    assert "the card has changed since tester signed it: their signature was removed" in changed.stdout


def test_a_new_approver_is_told_from_when_they_count(context: Context, tmp_path: Path) -> None:
    trust_one(context.conn, context.keys)
    let_in(context.conn, context.keys, "second")
    enrol_person(context, "astronaut")
    key = str(write_key(tmp_path, "tester"))
    done = facewarden(context.settings, "source", "trust", "third", PUBLIC["third"], "--key", key)
    assert done.returncode == 0, done.stderr
    day = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=72)).date()
    assert f"from {day}" in done.stdout


@pytest.mark.parametrize(
    ("pages", "problems", "words"),
    [
        (
            3,
            ["http_404", "http_404", "card_expired"],
            "none of 3 pages could be had: card_expired (the source card has",
        ),
        (2, ["http_404", "http_404"], "none of 2 pages could be had: http_404"),
        (2, ["http_404"], "nothing was read"),
        (1, [], "nothing was read"),
    ],
)
def test_a_look_without_listings_says_why(pages: int, problems: list[str], words: str) -> None:
    assert explain_nothing(pages, problems).startswith(words)


def test_a_markets_words_are_shown_as_they_are(
    settings: Settings, keys: Keys, tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(lambda path: html("<article><h1>[/red] :smile:</h1><b>1</b></article>"))
    card = write_card(tmp_path, site)
    card.write_text(approve(settings, card.read_text(), "tester"))
    done = facewarden(settings, "source", "test", str(card), "--lab", f"127.0.0.1:{site.server_port}", COLUMNS="300")
    assert done.returncode == 0, done.stderr
    assert "[/red] :smile:" in done.stdout


def test_a_card_is_proposed_for_a_place_nobody_has_described(
    settings: Settings, keys: Keys, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    def shop(path: str) -> Answer:
        if path == "/":
            tiles = "".join(
                f'<div class="tile"><a class="name" href="/lot/{n}">{n}00 photos</a></div>' for n in range(1, 9)
            )
            return html(f'<div class="grid">{tiles}</div>')
        if path.startswith("/lot/"):
            number = path[5:]
            return html(f'<div class="offer"><h1>{number}00 photos of faces</h1><span class="cost">¥{number}0</span>'
                        f'<div class="about">{"Long words about the lot. " * 9}</div><div class="shots">'
                        f'<img src="/i/{number}a.jpg"><img src="/i/{number}b.jpg"></div></div>')  # fmt: skip
        return NOT_FOUND

    site = make_site(shop)
    lab = ("--lab", f"127.0.0.1:{site.server_port}")
    card = tmp_path / "proposed.toml"
    done = facewarden(settings, "source", "new", f"{site.url}/", "--out", str(card), *lab)
    assert done.returncode == 0, done.stderr
    assert "photos of faces" in done.stderr
    text = card.read_text(encoding="utf-8")
    assert text.count("DECIDE") >= 4
    assert sum(site.hits.values()) <= 8
    assert not any(path.startswith("/i/") for path in site.hits), "no picture is fetched"
    assert count(conn, "select count(*) from ledger where about = %s", f"look:{site.url}/") == 1

    key = tmp_path / "approver-olga.pem"
    made = facewarden(settings, "source", "key", "new", "--name", "olga", "--out", str(key), "--no-passphrase")
    facewarden(settings, "source", "trust", "olga", made.stdout.split("public key ")[1][:64])
    undecided = facewarden(settings, "source", "sign", str(card), "--key", str(key))
    assert undecided.returncode == 2
    decisions = {"purpose": '"Watch what is sold there"', "legal_basis": '"Our own test server"',
                 "valid_until": "2099-01-01", "robots": '"obey"'}  # fmt: skip
    lines = [line if (name := line.split(" = ")[0]) not in decisions else f"{name} = {decisions[name]}"
             for line in text.splitlines()]  # fmt: skip
    card.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert facewarden(settings, "source", "sign", str(card), "--key", str(key)).returncode == 0
    tried = facewarden(settings, "source", "test", str(card), "--json", *lab)
    listings = json.loads(tried.stdout)
    assert len(listings) >= 8
    assert all(each["title"].endswith("photos of faces") and len(each["images"]) == 2 for each in listings)
    assert facewarden(settings, "source", "new", f"{site.url}/", "--out", str(card), *lab).returncode == 2


@pytest.mark.parametrize(
    "url", ["ftp://x.example/", "nonsense", "http://", "http://169.254.169.254/", "http://localhost/"]
)
def test_a_look_at_what_may_not_be_looked_at_is_refused(settings: Settings, keys: Keys, url: str) -> None:
    done = facewarden(settings, "source", "new", url)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("or --lab 127.0.0.1:PORT" in done.stderr) == ("could not be looked at" in done.stderr)


def test_a_crawl_without_a_server_says_at_once_what_starts_one(settings: Settings, tmp_path: Path) -> None:
    alone = settings.replace("", home=tmp_path / "alone").replace("servers", database_url="")
    card = tmp_path / "market.toml"
    card.write_text(sign_by(CARD.format(top="", read="", pages=100, port=9), "tester"))
    (alone.home / "postgres").mkdir(parents=True)
    (alone.home / "postgres/PG_VERSION").write_text("18")
    done = facewarden(alone, "crawl", str(card))
    assert done.returncode == 2
    assert "server_unavailable: nothing runs on" in done.stderr
    assert "fix: ./facewarden up" in done.stderr
