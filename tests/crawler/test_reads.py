"""A crawl reads and never acts: real crawls, with a member's session, of boards on which every link of an index, a
topic and a profile is there to be followed, and each act is counted where it would be done."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.supervisor import ROOT
from crawler.browser import find_chromium
from crawler.cards import parse_card
from crawler.kinds import parse_answer
from tests.crawler.test_acts import LINKS
from tests.crawler.test_cards import GOOD, TODAY
from tests.crawler.test_crawl import CARD, html, pages, sign
from tests.fakes import NOT_FOUND, Answer, Site
from tests.samples import count, png
from vault.errors import CardError
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection

MakeSite = Callable[[Callable[[str], Answer]], Site]
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def made_keys(keys: Keys) -> None:
    """Every crawl needs the key file."""


# What boards write on their pages, {key}: the key of the session, {n}: the topic. Drawn after MyBB, SMF and Discuz!.
MYBB = """<div id="panel"><a href="/usercp.php">User CP</a> <a href="/private.php">Messages</a>
<a href="/member.php?action=logout&logoutkey={key}">Log out</a> <a href="/misc.php?action=markread&my_post_key={key}">
Mark all read</a> <a href="/search.php?action=getnew">New posts</a></div><div class="ratings">{stars}</div>
<a href="/usercp2.php?action=addsubscription&tid={n}&my_post_key={key}">Subscribe</a>
<a href="/usercp2.php?action=addfavorite&tid={n}&my_post_key={key}">Favourite</a>
<a href="/polls.php?action=vote&pid={n}&option=1">Vote</a><a href="/newreply.php?tid={n}">Reply</a>
<a href="/usercp.php?action=do_editlists&manage=ignored&add_username=olga&my_post_key={key}">Ignore</a>
<a href="/usercp.php?action=do_editlists&manage=buddy&add_username=olga&my_post_key={key}">Add to contacts</a>
<a href="/reputation.php?action=add&uid=7">Rate</a><a href="/report.php?pid={n}">Report</a>
<a href="/member.php?action=profile&uid=7">olga</a><a href="/showthread.php?tid={n}&page=2">2</a>
<a href="/showthread.php?tid={n}&action=nextnewest">Next</a><a href="/forumdisplay.php?fid=2">Datasets</a>"""
SMF = """<a href="/index.php?action=logout;sesc={key}">Logout</a><a href="/index.php?action=markasread;sa=all;c8={key}">
Mark read</a><a href="/index.php?action=notify;sa=on;topic={n}.0;sesc={key}">Notify</a>
<a href="/index.php?action=vote;topic={n}.0;poll=1">Vote</a><a href="/index.php?action=buddy;u=7;sesc={key}">Buddy</a>
<a href="/index.php?action=pm;sa=send;u=7">PM</a><a href="/index.php?action=deletemsg;topic={n}.0;sesc={key}">x</a>
<a href="/index.php?action=likes;ltype=msg;sa=like;like={n};sesc={key}">Like</a><a href="/index.php?topic={n}.15">2</a>
<a href="/index.php?action=profile;u=7">olga</a><a href="/index.php?board=3.0">Datasets</a>"""
DISCUZ = """<a href="/member.php?mod=logging&action=logout&formhash={key}">Exit</a>
<a href="/home.php?mod=spacecp&ac=favorite&type=thread&id={n}&formhash={key}">Favourite</a>
<a href="/forum.php?mod=misc&action=recommend&do=add&tid={n}&hash={key}">Up</a>
<a href="/forum.php?mod=misc&action=votepoll&tid={n}">Vote</a><a href="/misc.php?mod=report&rid={n}">Report</a>
<a href="/home.php?mod=spacecp&ac=friend&op=add&uid=7">Friend</a>
<a href="/forum.php?mod=misc&action=pay&tid={n}">Pay</a>
<a href="/home.php?mod=space&uid=7&do=profile">olga</a><a href="/forum.php?mod=viewthread&tid={n}&page=2">2</a>
<a href="/forum.php?mod=redirect&tid={n}&goto=lastpost">Last</a>
<a href="/plugin.php?id=sign:sign&operation=qiandao">In</a>"""
SHOP = """<a href="/?add-to-cart={n}">Buy</a><a href="/cart/">Cart</a><a href="/checkout/">Checkout</a>
<a href="/item/{n}/buy">Buy now</a><a href="/wishlist/add/{n}">Wish</a><a href="/item/{n}?do_vote=1">Vote</a>
<a href="/item/{n}/report">Report</a><a href="/u/olga/follow">Follow</a><a href="/item/{n}?token=abc">One click</a>
<a href="/item/{n}?x={key}">More</a><a href="/u/olga">olga</a><a href="/list?page=2&sort=price&order=asc">2</a>"""
BOARDS = {"MyBB": MYBB, "SMF": SMF, "Discuz!": DISCUZ, "a shop": SHOP}
READS = {
    "MyBB": {"/member.php?action=profile&uid=7", "/forumdisplay.php?fid=2", "/search.php?action=getnew",
             "/showthread.php?tid=1&page=2", "/showthread.php?tid=1&action=nextnewest"},
    "SMF": {"/index.php?topic=1.15", "/index.php?action=profile;u=7", "/index.php?board=3.0"},
    "Discuz!": {"/home.php?mod=space&uid=7&do=profile", "/forum.php?mod=viewthread&tid=1&page=2",
                "/forum.php?mod=redirect&tid=1&goto=lastpost"},
    "a shop": {"/u/olga", "/list?page=2&sort=price&order=asc"},
}  # fmt: skip


def write_board(name: str) -> Callable[[str], Answer]:
    stars = "".join(f'<a href="/ratethread.php?tid={{n}}&rating={n}&my_post_key={{key}}">{n}</a>' for n in range(1, 6))
    topics = "".join(f'<a href="/topic/{n}">topic {n}</a>' for n in range(1, 4))

    def answer(path: str) -> Answer:
        if path == "/robots.txt":
            return NOT_FOUND
        number = path.rpartition("/")[2] if path.startswith("/topic/") else "1"
        body = BOARDS[name].replace("{stars}", stars).replace("{n}", number).replace("{key}", KEY)
        return html(f"{topics}<div id='content'>{body}<article><h1>5000 faces {number}</h1></article></div>")

    return answer


ALL = 'follow = ["a::attr(href)"]'
SOME = 'follow = ["a.next::attr(href)", "a.item::attr(href)"]'


def crawl_all(settings: Settings, site: Site, tmp_path: Path, top: str = "") -> "subprocess.CompletedProcess[str]":
    """A crawl whose card follows whatever is a link."""
    text = CARD.format(top=top, read="", pages=200, port=site.server_port).replace(SOME, ALL)
    card = tmp_path / "card.toml"
    card.write_text(sign(settings, text, tmp_path))
    return run_command(settings, "crawl", str(card), f"--lab=127.0.0.1:{site.server_port}")


def run_command(settings: Settings, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *words], env={**child_environment(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def list_acts(site: Site) -> list[str]:
    """The requests that acted, as the boards' own programs would see them: whatever is none of the reads."""
    known = {"/", "/robots.txt", *(f"/topic/{n}" for n in range(1, 4)), *set().union(*READS.values())}
    allowed = known | {path.replace("=1&", f"={n}&").replace("=1.", f"={n}.") for path in known for n in "23"}
    return sorted(set(site.hits) - allowed)


@pytest.mark.parametrize("top", ["", 'rendering = "browser"'])
@pytest.mark.parametrize("name", BOARDS)
def test_a_crawl_that_follows_every_link_of_a_board_does_nothing_on_it(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite, name: str, top: str
) -> None:
    if top and (name != "MyBB" or find_chromium(settings) is None):
        pytest.skip("once is enough" if name != "MyBB" else "no Chromium on this machine (apt-get install chromium)")
    site = make_site(write_board(name))
    done = crawl_all(settings, site, tmp_path, top)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list_acts(site) == []
    assert READS[name] <= set(site.hits), "what reads is followed"
    assert count(conn, "select count(*) from listing") >= 4
    (line,) = [line for line in done.stdout.splitlines() if "that would do something" in line]
    assert line.startswith("left alone: ")
    assert KEY not in done.stdout
    rows = [url for (url,) in conn.execute("select url from page").fetchall()]
    assert not any(KEY in url or "logout" in url for url in rows), "they are no rows either"


REDIRECTS = {
    "/to/1": ("/member.php?action=logout&logoutkey=" + KEY, "redirect_acts"),
    "/to/2": ("/misc.php?action=markread&fid=2", "redirect_acts"),
    "/to/3": ("/topic/1?csrf_token=abc", "redirect_acts"),
    "/to/4": ("/member.php?action=login&url=%2Fto", "login_wall"),
    "/to/5": ("/users/sign_in", "login_wall"),
    "/to/6": ("/to/2?a=1", "redirect_acts"),
}


def test_a_redirect_to_what_acts_is_a_verdict_and_is_not_followed(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    def answer(path: str) -> Answer:
        if path == "/":
            return html("".join(f'<a href="{each}">x</a>' for each in REDIRECTS))
        if path.split("?")[0] in REDIRECTS:
            return 302, {"Location": REDIRECTS[path.split("?")[0]][0]}, b""
        return html("done") if path != "/robots.txt" else NOT_FOUND

    site = make_site(answer)
    done = crawl_all(settings, site, tmp_path)
    assert set(site.hits) == {"/", "/robots.txt", "/to/2?a=1", *REDIRECTS}, done.stderr
    found = pages(conn)
    assert {path: found[path] for path in REDIRECTS if path != "/to/6"} == {
        path: f"quarantined:{code}" for path, (_, code) in REDIRECTS.items() if path != "/to/6"
    }
    verdicts = conn.execute("select verdict from page where url like '%%/to/4'").fetchall()
    assert verdicts == [("login_wall",)]
    assert "left alone: 4 links that would do something" in done.stdout
    assert "left alone: 1 link with a token of the session" in done.stdout
    told = " ".join(text or "" for (text,) in conn.execute("select error_text from page").fetchall())
    assert KEY not in told
    assert "abc" not in told


def test_a_robots_txt_that_leads_to_what_acts_is_none(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    def answer(path: str) -> Answer:
        if path == "/robots.txt":
            return 302, {"Location": "/misc.php?action=markread"}, b""
        return html("<article><h1>lot</h1></article>")

    site = make_site(answer)
    assert crawl_all(settings, site, tmp_path).returncode == 0
    assert set(site.hits) == {"/", "/robots.txt"}


def test_pictures_and_archives_may_carry_a_token_and_never_an_action(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    fetched = (f"/attachment.php?aid=3&hash={KEY}", f"/img/{KEY}.png", "/x.png?token=abc&Signature=a1B2c3D4e5F6g7H8",
               "/moved.png", f"/stored?X-Amz-Signature={KEY}{KEY}")  # fmt: skip
    left = ("/img.php?action=markread", "/poll.php?vote=5&x=.png", "/member.php?action=logout&x=1", "/acting.png")
    body = "".join(f'<img src="{path}">' for path in (*fetched[:4], *left))
    for path in (f"/download.php?do=download&id=31&key={KEY}", "/buy.php?id=31"):
        body += f'<a class="zip" href="{path}">a</a>'

    def answer(path: str) -> Answer:
        if path == "/":
            return html(f"<article><h1>lot</h1>{body}</article>")
        moves = {"/moved.png": fetched[4], "/acting.png": "/misc.php?action=subscribe&tid=3"}
        if path in moves:
            return 302, {"Location": moves[path]}, b""
        return (200, {"Content-Type": "image/png"}, png(40, 40)) if path != "/robots.txt" else NOT_FOUND

    site = make_site(answer)
    done = crawl_all(settings, site, tmp_path)
    assert {*fetched, f"/download.php?do=download&id=31&key={KEY}"} <= set(site.hits), done.stdout
    assert set(site.hits) & {*left, "/buy.php?id=31", "/misc.php?action=subscribe&tid=3"} == {"/acting.png"}
    assert count(conn, "select count(*) from page where error_code = 'redirect_acts'") == 1


def test_an_address_that_acts_in_the_frontier_of_an_older_version_is_not_asked_for(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(lambda path: html("<article><h1>lot</h1></article>") if path != "/robots.txt" else NOT_FOUND)
    assert crawl_all(settings, site, tmp_path).returncode == 0
    urls = [f"{site.url}{path}" for path in ("/logout", "/x?key=aBcDeFgH", "/ok")]
    for url in urls:
        conn.execute(
            "insert into page (source_id, url, url_key, kind, depth) values (1, %(url)s, %(url)s, 'page', 1)",
            {"url": url},
        )
    assert crawl_all(settings, site, tmp_path).returncode == 0
    assert "/ok" in site.hits
    assert not {"/logout", "/x?key=aBcDeFgH"} & set(site.hits)
    assert count(conn, "select count(*) from page where error_code = 'redirect_acts'") == 2


def read_api(body: str, **read: str) -> tuple[str, ...]:
    lines = "".join(f"{name} = '{value}'\n" for name, value in read.items())
    text = GOOD.replace('kind = "shop"', 'kind = "jsonapi"').replace('title = "h1::text"', f'title = "name"\n{lines}')
    card = parse_card(text.replace('listing = "article"', 'listing = "goods"'), "card.toml", TODAY)
    return parse_answer(body.encode(), "https://shop.example/list", "application/json", card).parsed.links


def test_links_of_an_api_are_judged_alike_and_what_the_card_writes_down_is_free() -> None:
    body = f'{{"next": "/list?cursor={KEY}", "links": ["/vote/5", "/x?token=abc", "/list?page=2", "/item?action=buy"]}}'
    assert read_api(body, next="next") == (f"https://shop.example/list?cursor={KEY}",)
    assert read_api(body, next="links[0]") == ()
    assert read_api(body, next="links[1]", page_url="/list?token={}") == (
        "https://shop.example/list?token=%2Fx%3Ftoken%3Dabc",
    )
    start = GOOD.replace("https://shop.example/list", "https://shop.example/list?api_key=aBcDeFgH1234")
    card = parse_card(start, "card.toml", TODAY)
    assert card.find_act("https://shop.example/list?api_key=aBcDeFgH1234&page=2") is None
    assert card.find_act("https://shop.example/list?api_key=another&page=2") is not None


@pytest.mark.parametrize("start", ["/logout", "/list?action=markread", "/cart/", "/item.php?id=5&vote=1"])
def test_a_card_does_not_begin_with_what_acts(start: str) -> None:
    with pytest.raises(CardError, match="a crawl only reads") as caught:
        parse_card(GOOD.replace("https://shop.example/list", f"https://shop.example{start}"), "card.toml", TODAY)
    assert caught.value.stable_code == "card_invalid"


@pytest.mark.parametrize("more", ["&my_post_key=abc", "&action=markread", "&csrf_token=1", f"&x={KEY}", "&do_vote=1"])
def test_whatever_reads_acts_with_a_token_or_an_order_behind_it(more: str) -> None:
    card = parse_card(GOOD, "card.toml", TODAY)
    for verdict, path in LINKS:
        if verdict == "read" and "#" not in path:
            url = f"http://a.example{path}{more if '?' in path else '?' + more[1:]}"
            assert card.find_act(url) is not None, url


SCRIPTED = """<article><h1>lot</h1></article><img src="/act?action=vote&n=1">
<script src="/to/act?action=vote&n=2"></script><link rel=stylesheet href="/act?action=vote&n=3">
<link rel=prefetch href="/act?action=vote&n=4"><iframe src="/act?action=vote&n=5"></iframe>
<script type=speculationrules>{"prerender": [{"source": "list", "urls": ["/ahead"], "eagerness": "immediate"}],
  "prefetch": [{"source": "list", "urls": ["/ahead2"], "eagerness": "immediate"}]}</script>
<form id=f method=post action="/post"><input name=a value=b></form>
<form id=g action="/act"><input name=action value=vote></form>
<script>
  const go = (f) => { try { f() } catch (e) {} };
  go(() => fetch('/read').then(r => r.text()).then(t => document.body.append(t)));
  go(() => fetch('/post', {method: 'POST', body: 'x'}).catch(() => 0));
  go(() => fetch('/to/act?action=vote&n=6').catch(() => 0));
  go(() => navigator.sendBeacon('/post', 'x'));
  go(() => { const r = new XMLHttpRequest(); r.open('DELETE', '/post'); r.send(); });
  go(() => new Worker(URL.createObjectURL(new Blob(["fetch('SITE/to/act?action=vote&n=7', {mode: 'no-cors'})"]))));
  go(() => new EventSource('/act?action=vote&n=8'));
  go(() => fetch('/act?action=vote&n=9', {keepalive: true}).catch(() => 0));
  go(() => window.open('/act?action=vote&n=10'));
  onload = () => {
    setTimeout(() => go(() => document.getElementById('g').submit()), 50);
    setTimeout(() => go(() => document.getElementById('f').submit()), 200);
    setTimeout(() => { location = '/to/act?action=vote&n=11' }, 300);
  };
</script>"""


def test_a_rendered_page_reads_what_it_shows_and_does_nothing_by_its_scripts(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    if find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")

    def answer(path: str) -> Answer:
        if path in ("/", "/two"):
            links = "".join(f'<a href="{each}">x</a>' for each in ("/two", "/gone", "/away"))
            return html(SCRIPTED.replace("SITE", site.url) + links)
        if path == "/away":
            return html("<script>location = '/member.php?action=login'</script>")
        if path == "/gone":
            return 302, {"Location": "/member.php?action=logout&logoutkey=" + KEY}, b""
        if path.startswith("/to/"):
            return 302, {"Location": path.removeprefix("/to")}, b""
        return html("what it reads") if path != "/robots.txt" else NOT_FOUND

    site = make_site(answer)
    soon = settings.replace("crawl", render_seconds=15.0)
    done = crawl_all(soon, site, tmp_path, 'rendering = "browser"')
    assert [path for path in site.hits if path.startswith(("/act", "/member")) or "ahead" in path] == []
    assert site.other_methods == []
    assert "/read" in site.hits
    assert pages(conn) == {
        "/": "done", "/two": "done", "/gone": "quarantined:redirect_acts", "/away": "quarantined:login_wall",
    }, done.stderr  # fmt: skip
    texts = conn.execute("select count(*) from capture join page using (page_id) where media_type like '%%html%%'")
    assert texts.fetchall() != [(0,)]
    assert "that would do something" in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_source_test_says_what_it_left_alone(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(write_board("MyBB"))
    crawl_all(settings, site, tmp_path)
    site.hits.clear()
    done = run_command(settings, "source", "test", str(tmp_path / "card.toml"), f"--lab=127.0.0.1:{site.server_port}")
    assert list_acts(site) == []
    assert "left alone: " in done.stderr
    assert "that would do something, for example" in done.stderr
    assert KEY not in done.stderr + done.stdout


def test_a_source_of_nothing_but_acts_says_why_it_is_empty(
    settings: Settings, conn: Connection, tmp_path: Path, make_site: MakeSite
) -> None:
    site = make_site(lambda path: html('<a href="/buy/1">x</a><a href="/buy/2">y</a>') if path == "/" else NOT_FOUND)
    done = crawl_all(settings, site, tmp_path)
    assert "source: empty (no listing has been found yet; left alone, since they act: 2 links)" in done.stdout
