"""source cards: keys of approvers, proposing, signing and trying a card, sessions, health

Nothing is fetched without a card that a trusted approver has signed. A card says why, where and how a source may be
crawled; docs/sources.md walks through the making of one.

example:
  ./facewarden source key new --name olga           (once a person; the key stays with them)
  ./facewarden source trust olga 64-HEX-DIGITS      (the first approver of a deployment)
  ./facewarden source trust hans 64-HEX-DIGITS --key OLGAS-KEY-FILE    (each further one, by one who is there)
  ./facewarden source approvers
  ./facewarden source new http://shop.example/list --out cards/shop.toml     (proposes a card; a person decides)
  ./facewarden source sign cards/shop.toml          (a second approver's signature opens what is found to operators)
  ./facewarden source test cards/shop.toml          (ten pages, nothing kept)
  ./facewarden source session cards/forum.toml cookies.txt    (a login that you made in your browser)
  ./facewarden source pause forum-3 --why "its operator asked us to wait for the court"
  ./facewarden source list
"""

import argparse
import datetime as dt
import getpass
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.commands.crawl import add_lab, check_lab
from cli.servers import open_database
from cli.setup import is_set_up, name_user
from cli.supervisor import ROOT
from crawler.approval import (
    distrust_approver,
    is_sealed,
    load_approver_key,
    make_approver_key,
    make_policy,
    open_card,
    sign_card,
    trust_approver,
)
from crawler.cards import LOCAL, Card, Login, Rendering, accept_header, parse_card, read_text, split_signatures
from crawler.cookies import Cookie, Jar, choose_cookies, list_rules, parse_cookies, write_cookies
from vault.egress import REFUSAL_TEXT
from vault.errors import CardError
from vault.files import write_whole
from vault.ledger import Kind
from vault.letters import count_of
from vault.money import convert, show_amount
from vault.records import Listing, Said
from vault.settings import Money, Settings, config_folder
from vault.store.approvers import list_approvers
from vault.store.ledger import write_entry
from vault.store.logins import forget_login, reopen_walled, save_login
from vault.store.sources import get_source, pause_source, resume_source
from vault.store.status import list_sources
from vault.terminal import Grid, Screen, say, say_json
from vault.urls import show_url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from crawler.propose import Proposal

FIELDS = ("title", "price_text", "currency", "claimed_count", "seller", "images", "archives")  # missed where missing
LABELS = dict(zip(FIELDS, ("title", "price", "currency", "faces", "seller", "pictures", "archives"), strict=True))
SAID = ("unit_price", "claimed_people", "language", "kinds", "contacts", "dates", "invalid_fields")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    key = actions.add_parser("key", help="make an approver's key").add_subparsers(dest="key_action", required=True)
    new = key.add_parser("new", help="make a key for one person; it never lies in the repository or the state folder")
    new.add_argument("--name", required=True, help="the approver, as their signature names them")
    new.add_argument("--out", type=Path, help="the key file (default: in the person's configuration folder)")
    new.add_argument("--no-passphrase", action="store_true", help="protect it by its file mode (0600) only")
    trust = actions.add_parser("trust", help="let an approver's signature count in this deployment")
    trust.add_argument("name")
    trust.add_argument("public_key", metavar="key", help="the public key, as `source key new` shows it")
    trust.add_argument("--key", type=Path, help="your key file, for every approver but the first: you let them in")
    distrust = actions.add_parser("distrust", help="remove an approver; what their signature had opened is closed")
    distrust.add_argument("name")
    distrust.add_argument("--key", type=Path, help="your key file (default: the only one in your folder)")
    approvers = actions.add_parser("approvers", help="whose signature counts, and since when")
    approvers.add_argument("--json", action="store_true")
    propose = actions.add_parser("new", help="look at a place once, through the guard, and propose a card for it")
    propose.add_argument("url", help="where its list of offers or threads begins")
    propose.add_argument("--out", type=Path, help="write the card there (default: print it)")
    propose.add_argument(
        "--browser", action="store_true", help="look with Chromium: the page is empty without JavaScript"
    )
    add_lab(propose)
    sign = actions.add_parser("sign", help="approve a card: add your signature to it as it is")
    sign.add_argument("card", type=Path)
    sign.add_argument("--key", type=Path, help="the approver's key file (default: the only one in your folder)")
    sign.add_argument("--name", help="the approver (default: from the key file's name)")
    test = actions.add_parser("test", help="crawl up to ten pages of a signed card, keep nothing, show what is read")
    test.add_argument("card", type=Path)
    test.add_argument("--json", action="store_true", help="print everything that was read as JSON")
    add_lab(test)
    session = actions.add_parser(
        "session",
        help="import a login that a person made, as cookies; or forget it",
        description="Log in with your own browser, export the cookies of that site, import them here: docs/sources.md",
    )
    session.add_argument("card", type=Path, help='a signed card with why.login = "session"')
    what = session.add_mutually_exclusive_group(required=True)
    what.add_argument("cookies", type=Path, nargs="?", help="cookies.txt, or a browser extension's JSON")
    what.add_argument("--forget", action="store_true", help="erase the session and its key")
    decisions = {"pause": "fetch nothing of a source until it is resumed", "resume": "let it be crawled again"}
    for name, meaning in decisions.items():
        parser = actions.add_parser(name, help=meaning)
        parser.add_argument("name", help="as `source list` shows it")
        parser.add_argument("--why", required=True, help="kept in the ledger with your name")
    listing = actions.add_parser("list", help="every source and how it is")
    listing.add_argument("--json", action="store_true")


def run(args: argparse.Namespace, settings: Settings) -> int:
    actions = {"key": make_key, "trust": trust, "distrust": distrust, "approvers": show_approvers, "new": propose,
               "sign": sign, "test": test, "session": session, "pause": switch, "resume": switch,
               "list": show_sources}  # fmt: skip
    return actions[args.action](args, settings)


def switch(args: argparse.Namespace, settings: Settings) -> int:
    """Pause or resume: a crawl that runs stops within seconds, and goes on where it was."""
    pausing = args.action == "pause"
    why = " ".join(args.why.split())
    if not why:
        raise CardError("card_invalid", "no reason is given", mend='say why, for whoever asks later: --why "..."')
    with open_database(settings) as (_settings, _keys, conn):
        source = get_source(conn, args.name)
        if source is None:
            raise CardError("card_missing", f"there is no source {args.name}", mend="see ./facewarden source list")
        if pausing == (source.state == "paused"):
            say(f"{args.name} {'is paused already' if pausing else 'is not paused'}{pausing * f': {source.reason}'}")
            return 0
        with conn.transaction():
            if pausing:
                pause_source(conn, source.source_id, why)
            else:
                resume_source(conn, source.source_id)
            write_entry(conn, Kind.SOURCE, about=f"source:{args.name}", what=f"{args.action}d", why=why[:500],
                        by=name_user())  # fmt: skip
    before = f" (it was paused: {source.reason})" if not pausing else ""
    say(f"{args.name} is {'paused' if pausing else 'no longer paused'}{before}")
    return 0


# -- approval ---------------------------------------------------------------------------------------------------------


def make_key(args: argparse.Namespace, settings: Settings) -> int:
    path = (args.out or config_folder() / f"approver-{args.name}.pem").expanduser().absolute()
    for folder, what in ((ROOT, "the program's folder"), (settings.home, "the state folder")):
        if path.is_relative_to(folder):
            raise CardError("key_exists", f"{path} lies in {what}", mend="keep it elsewhere: choose another --out")
    passphrase = "" if args.no_passphrase else ask_new_passphrase()
    public = make_approver_key(path, passphrase)
    say(f"key file   {path}", f"public key {public}")
    say(f"once a deployment: ./facewarden source trust {args.name} {public}")
    say("  (for every approver but the first, by one who is there: with --key THEIR-KEY-FILE)")
    return 0


def ask_new_passphrase() -> str:
    if not sys.stdin.isatty():
        raise CardError("key_wrong", "nobody can type a passphrase here", mend="use a terminal, or --no-passphrase")
    first = getpass.getpass("passphrase: ")
    if len(first) < 8 or first != getpass.getpass("once more: "):
        raise CardError("key_wrong", "the passphrases differ, or are shorter than 8 letters", mend="try again")
    return first


def trust(args: argparse.Namespace, settings: Settings) -> int:
    signer = open_key(args.key) if args.key else None
    with open_database(settings) as (settings, _keys, _conn):
        added = trust_approver(settings, args.name, args.public_key, signer, by=name_user())
    since = "now" if added.counts else f"{show_time(added.counts_from)} UTC"
    say(f"{added.name} may approve cards and enrolments from {since} on")
    return 0


def distrust(args: argparse.Namespace, settings: Settings) -> int:
    signer = open_key(args.key or find_key())
    with open_database(settings) as (_settings, keys, conn):
        gone = distrust_approver(conn, keys, args.name, signer, by=name_user())
    say(f"{gone.name} approves nothing any more; what needs their signature is closed")
    return 0


def show_approvers(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (_settings, keys, conn):
        found = list_approvers(conn, keys)
    names = {each.public_key: each.name for each in found}
    told = [
        {
            "name": each.name,
            "key": each.public_key,
            "trusted": each.trusted_at,
            "counts_from": each.counts_from,
            "counts": each.counts,
            "let_in_by": names.get(each.signed_by or "", each.signed_by),
        }
        for each in found
    ]
    if args.json:
        say_json(told, indent=1, default=str)
        return 0
    say(f"{count_of(len(found), 'approver')}; two open what is found to operators")
    for each in found:
        by = f"let in by {names.get(each.signed_by, each.signed_by)}" if each.signed_by else "the first"
        say(f"{each.name}  {each.public_key}")
        say(f"    trusted {show_time(each.trusted_at)}, {by}; counts from {show_time(each.counts_from)} UTC on")
    return 0


def sign(args: argparse.Namespace, settings: Settings) -> int:
    """Shows what is approved before it is signed: the card is read and checked as a crawl would."""
    path = args.key or find_key()
    name = args.name or path.stem.removeprefix("approver-")
    now = dt.datetime.now(dt.UTC)
    text = read_text(args.card)
    card = parse_card(text, str(args.card), now.date())
    signed = sign_card(text, open_key(path), name, now)
    write_whole(args.card, signed.encode())
    where = ", ".join(card.where.hosts) or f"kind {card.kind}"
    before, after = ([each.approver for each in split_signatures(each)[1]] for each in (text, signed))
    say(f"{args.card}: {card.name}, {where}, until {card.why.valid_until}; signed by {', '.join(after)}")
    for gone in sorted({*before} - {*after}):
        say(f"  the card has changed since {gone} signed it: their signature was removed")
    if len(after) == 1:
        say("  one signature: what is found is not shown to operators whole; a second approver's opens it")
    return 0


def open_key(path: Path) -> "Ed25519PrivateKey":
    """An approver's key; asks for the passphrase of a sealed one. Raises CardError."""
    passphrase = getpass.getpass(f"passphrase of {path.name}: ") if is_sealed(path) else ""
    return load_approver_key(path, passphrase)


def find_key() -> Path:
    found = sorted(config_folder().glob("approver-*.pem"))
    if len(found) != 1:
        what = "no key" if not found else count_of(len(found), "key")
        raise CardError("key_missing", f"{what} in {config_folder()}", mend="give one with --key")
    return found[0]


# -- proposing a card -------------------------------------------------------------------------------------------------


def propose(args: argparse.Namespace, settings: Settings) -> int:
    """Looks at the address and the few pages that make the proposal better: somebody's act, and a row of the ledger."""
    from crawler.look import host_policy, open_looker
    from crawler.propose import MOST_PAGES, SavedPage, propose_card, write_card

    if args.out and args.out.exists():
        raise CardError("card_exists", f"{args.out} is there already", mend="choose another --out")
    lab = check_lab(args.lab)
    policy = host_policy(args.url, lab)
    if is_set_up(settings):
        with open_database(settings) as (_settings, _keys, conn):
            write_entry(conn, Kind.VIEW, about=f"look:{show_url(args.url)[:500]}", by=name_user())
    else:
        say("no deployment is set up here, so this look is in no ledger", to=sys.stderr)
    pages: list[SavedPage] = []
    wants: tuple[str, ...] = (args.url,)
    with open_looker(settings, policy, Rendering.BROWSER if args.browser else Rendering.HTML) as looker:
        while wants and len(pages) < MOST_PAGES:
            for url in wants:
                look = looker.fetch_page(url, obey_robots=True)
                say(f"{look.url}: {look.problem or count_of(len(look.body), 'byte')}", to=sys.stderr)
                if not look.problem:
                    pages.append(SavedPage(url=look.url, body=look.body, content_type=look.content_type))
            if not pages:
                raise CardError(
                    "look_refused",
                    f"{args.url} could not be looked at: {explain(look.problem)}",
                    mend="another address; or --lab 127.0.0.1:PORT, if it is a server of your own on this machine",
                )
            known = {page.url for page in pages}
            proposal = propose_card(pages)
            wants = tuple(url for url in proposal.wants if url not in known)[: MOST_PAGES - len(pages)]
    show_proposal(proposal)
    text = write_card(proposal)
    if args.out:
        write_whole(args.out, text.encode())
        say(f"{args.out}: decide the lines marked DECIDE; then ./facewarden source sign {args.out}")
    else:
        say(*text.removesuffix("\n").split("\n"))
    return 0


def show_proposal(proposal: "Proposal") -> None:
    """Up to five listings as the proposed card reads them, and what is missing; beside the card, not in it."""
    console = Screen(stderr=True)
    found = count_of(proposal.listings, "listing")
    table = Grid("title", "seller", "price", "pictures", "archives", title=f"{found}, for example")
    for each in proposal.examples:
        cells = (each.title, each.seller or "-", each.price_text or "-", len(each.images), len(each.archives))
        table.add_row(*map(str, cells))
    console.print(table)
    for name in proposal.weak:
        console.print(f"{name}: found in {proposal.shares.get(name, 0):.0%} of the listings only")
    for note in proposal.notes:
        console.print(f"note: {note}")


# -- trying a card ----------------------------------------------------------------------------------------------------


def test(args: argparse.Namespace, settings: Settings) -> int:
    from crawler.look import open_looker, try_card

    lab = check_lab(args.lab)
    with open_database(settings) as (_settings, keys, conn):
        approved = open_card(list_approvers(conn, keys), args.card, dt.datetime.now(dt.UTC))
    card, rows = approved.card, []
    if card.kind in LOCAL:
        raise CardError("card_kind", f"kind {card.kind} is handed in", mend="./facewarden ingest PATH --card CARD")
    policy = make_policy(approved, lab)
    problems: list[str] = []
    pages = 0
    if lab:
        say(f"lab: loopback open for {', '.join(lab)}", to=sys.stderr)
    jar = load_session(settings, card)
    with open_looker(
        settings, policy, card.rendering, card.read.wait_for, accept_header(card), jar, card.find_act
    ) as looker:
        for look, parsed in try_card(looker, card):
            pages += 1
            problems += [look.problem] if look.problem else []
            state = look.problem or count_of(len(parsed.listings) if parsed else 0, "listing")
            say(f"{look.url}: {state}", to=sys.stderr)
            rows += [(look.url, listing) for listing in (parsed.listings if parsed else ())]
        say(*looker.left_alone.show(), to=sys.stderr)
    if args.json:
        names = (*FIELDS, *SAID, "counts", "later")
        told = [
            {name: show_field(getattr(listing, name)) for name in names}
            | {"worth": show_worth(listing, settings.money), "page": url}
            for url, listing in rows
        ]
        say_json(told, indent=1, default=str)
        return int(not rows)
    console = Screen()
    if rows:
        console.print("", count_of(len(rows), "listing"), sep="\n")
    for url, listing in rows:
        console.print(*show_listing(url, listing, settings.money), sep="\n  ")
    for name in FIELDS:
        missing = sum(not getattr(listing, name) for _url, listing in rows)
        if rows and missing:
            console.print(f"{LABELS[name]}: missing in {missing} of {len(rows)}")
    if not rows:
        console.print(explain_nothing(pages, problems))
    return int(not rows)


def show_listing(url: str, listing: Listing, money: Money) -> list[str]:
    """A listing in a few lines of a narrow terminal: what was found and what was not (-)."""
    facts = {
        "price": listing.price_text, "one face": show_worth(listing, money), "faces": listing.claimed_count,
        "people": listing.claimed_people, "seller": listing.seller, "pictures": listing.images,
        "archives": listing.archives,
    }  # fmt: skip
    said = {name: getattr(listing, name) for name in ("language", "kinds", "contacts", "dates")}
    said["cannot be read"] = ", ".join(listing.invalid_fields)
    return [
        listing.title or "-",
        url,
        "; ".join(f"{name} {show_cell(value)}" for name, value in facts.items()),
        *("; ".join(f"{name}: {show_cell(value)}" for name, value in said.items() if value),),
    ]


def explain_nothing(pages: int, problems: list[str]) -> str:
    """Why a look gave no listings: nothing came, or nothing was found in what came."""
    if len(problems) < pages:
        return "nothing was read: are read.listing and read.follow right for these pages?"
    told = ", ".join(map(explain, sorted({*problems})))
    return f"none of {count_of(pages, 'page')} could be had: {told}"


def explain(code: str) -> str:
    return f"{code} ({REFUSAL_TEXT[code]})" if code in REFUSAL_TEXT else code


def show_field(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(each) if isinstance(each, Said) else each for each in value]
    return value


def show_cell(value: Any) -> str:
    """What was said, in short; of pictures and archives how many."""
    if isinstance(value, tuple) and value and isinstance(value[0], Said):
        return ", ".join(each.value if each.what in ("posted", "named") else f"{each.what} {each.value}".strip()
                         for each in value)  # fmt: skip
    return str(len(value)) if isinstance(value, tuple) else str(value or "-")


def show_worth(listing: Listing, money: Money) -> str:
    """What one face costs: as the listing says it, and in the currency of the settings where the rates have it."""
    if listing.unit_price is None:
        return ""
    own = f"{show_amount(listing.unit_price)} {listing.currency or ''}".strip()
    today = dt.datetime.now(dt.UTC).date()
    worth = convert(listing.unit_price, listing.currency, money.currency, money.list_rates(), today)
    return f"{own} ({show_amount(worth.amount)} {worth.currency}, {worth.day})" if worth and worth.day else own


# -- sessions ---------------------------------------------------------------------------------------------------------


def session(args: argparse.Namespace, settings: Settings) -> int:
    """Cookies of the card's hosts are kept, sealed; whose act it was is a row of the ledger, what they are is not."""
    if args.forget:
        card = parse_card(read_text(args.card), str(args.card), dt.date.min)  # an expired card's session goes as well
        with open_database(settings) as (_settings, _keys, conn), conn.transaction():
            count = forget_login(conn, card.name)
            if count:
                write_entry(
                    conn, Kind.LOGIN, about=f"source:{card.name}", act="forgotten", by=name_user(), cookies=count
                )
        say(f"{card.name}: {count_of(count, 'cookie') + ' erased' if count else 'no session was kept'}")
        return 0
    now = dt.datetime.now(dt.UTC)
    with open_database(settings) as (_settings, keys, conn):
        card = open_card(list_approvers(conn, keys), args.card, now).card
    if card.why.login is not Login.SESSION:
        raise CardError(
            "session_not_allowed", f"{card.name}: the card allows no login",
            mend='a person decides: why.login = "session" with a login_reason, then sign the card again',
        )  # fmt: skip
    chosen = choose_cookies(read_cookie_file(args.cookies), list_rules(card.where), now.timestamp())
    dropped = f"{chosen.foreign} of other hosts and {chosen.expired} expired dropped"
    if not chosen.cookies:
        raise CardError(
            "session_empty", f"{args.cookies}: no cookie for this card; {dropped}",
            mend="log in at the card's hosts, then export the cookies of that browser",
        )  # fmt: skip
    count = len(chosen.cookies)
    expires = None if chosen.expires is None else dt.datetime.fromtimestamp(chosen.expires, dt.UTC)
    with open_database(settings) as (_settings, keys, conn), conn.transaction():
        save_login(conn, keys, card.name, write_cookies(chosen.cookies), count=count, by=name_user(), expires=expires)
        again = reopen_walled(conn, card.name)
        write_entry(conn, Kind.LOGIN, about=f"source:{card.name}", act="imported", by=name_user(), cookies=count)
    say(
        f"{card.name}: {count_of(count, 'cookie')} kept, {dropped}; "
        f"{count_of(again, 'page')} that {'was' if again == 1 else 'were'} refused {'is' if again == 1 else 'are'} "
        "fetched again"
    )
    end = show_time(expires) if expires else "when the site ends it"
    say(f"it ends {end}; whoever has {args.cookies} is logged in: delete it")
    return 0


def read_cookie_file(path: Path) -> tuple[Cookie, ...]:
    try:
        return parse_cookies(path.read_bytes())
    except OSError as exc:
        raise CardError("session_invalid", f"cannot read {path}: {exc.strerror}", mend="check the path") from exc


def load_session(settings: Settings, card: Card) -> Jar | None:
    """The session that a card allows; the database is opened for it only."""
    from crawler.run import open_session

    if card.why.login is not Login.SESSION:
        return None
    with open_database(settings) as (_settings, keys, conn):
        return open_session(conn, keys, card)


# -- health -----------------------------------------------------------------------------------------------------------


def show_sources(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (_settings, _keys, conn):
        sources = [{**each, "fix": mend_source(each)} for each in list_sources(conn)]
    if args.json:
        say_json(sources, indent=1, default=str)
        return 0
    found = count_of(len(sources), "source")
    table = Grid("source", "health", "since", "shown", "pages", "listings", "last crawled", title=found)
    for each in sources:
        health = f"{each['health']} ({each['reason']})" if each["reason"] else each["health"]
        table.add_row(each["name"], health, show_time(each["health_since"]), each["visibility"],
                      str(each["pages"]), str(each["listings"]), show_time(each["last_crawl_at"]))  # fmt: skip
    console = Screen()
    console.print(table)
    for each in sources:
        if each["fix"]:
            console.print(f"{each['name']}: {each['fix']}")
    return 0


def mend_source(source: dict[str, Any]) -> str:
    """What a person can do about a source that waits for one."""
    if source["health"] == "paused":
        return f'if it may go on: ./facewarden source resume {source["name"]} --why "..."'
    if source["health"] != "login_wall":
        return ""
    if source["session_since"] is None:
        return 'it wants a login; if that may be: why.login = "session" on its card, then ./facewarden source session'
    since = show_time(source["session_since"])
    return f"the session of {since} has ended: log in, then import a session again: ./facewarden source session"


def show_time(at: dt.datetime | None) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M") if at else "never"
