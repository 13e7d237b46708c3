"""Only what an approver has seen is crawled: a card that is unsigned, changed, expired or signed by a stranger is
refused everywhere, and the refusal is in the ledger. Signatures of several approvers are counted, each once."""

import datetime as dt
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cli.commands.crawler import list_due
from cli.supervisor import ROOT
from crawler.approval import (
    check_signatures,
    is_sealed,
    load_approver_key,
    make_approver_key,
    make_policy,
    open_card,
    sign_card,
)
from crawler.cards import hash_card, parse_card, split_signatures
from tests.approvers import KEYS, PUBLIC, approve, sign_by, trust_two
from tests.cli.test_commands import facewarden
from tests.crawler.test_cards import GOOD, TODAY
from tests.crawler.test_crawl import command, html, pages
from tests.fakes import Answer, Site
from tests.samples import count, png
from vault import egress
from vault.errors import CardError, EgressRefused
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection
from vault.store.approvers import Approver

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def signed() -> str:
    return sign_by(GOOD, "tester", now=NOW)


def make_approver(name: str = "tester", *, key: str = "", counts: bool = True) -> Approver:
    return Approver(
        public_key=key or PUBLIC[name], name=name, trusted_at=NOW, counts_from=NOW, signed_by=None, signature=None,
        removed_at=None, mac="", counts=counts,
    )  # fmt: skip


TRUSTED = (make_approver(),)


def code_of(text: str, approvers: Sequence[Approver] = TRUSTED) -> str:
    try:
        check_signatures(text, "card.toml", approvers)
        parse_card(text, "card.toml", TODAY)
    except CardError as exc:
        return exc.stable_code
    return "ok"


def test_a_signed_card_is_accepted_and_read_as_before(signed: str) -> None:
    assert check_signatures(signed, "card.toml", TRUSTED) == TRUSTED
    assert parse_card(signed, "card.toml", TODAY) == parse_card(GOOD, "card.toml", TODAY)
    assert hash_card(signed) == hash_card(GOOD), "to sign again changes nothing of the card"


def test_signing_again_replaces_ones_own_signature(signed: str) -> None:
    again = sign_by(signed, "tester", now=NOW + dt.timedelta(days=1))
    assert again.count("[[signature]]") == 1
    assert again != signed


def move_first_line(text: str) -> str:
    """The same bytes are signed, but the card would be another one."""
    first, rest = text.split("\n", 1)
    return re.sub('signed_at = "(.*)"', lambda found: f'signed_at = "{found[1]}\\n{json_text(first)}"', rest)


def json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


CHANGES: list[tuple[str, Callable[[str], str], str]] = [
    ("unsigned", lambda text: text.split("[[signature]]")[0], "card_unsigned"),
    ("one letter", lambda text: text.replace("shop.example/list", "shop.example/lisT"), "card_changed"),
    ("a comment", lambda text: "# hello\n" + text, "card_changed"),
    ("a host", lambda text: text.replace('"shop.example"', '"shop.example", "evil.example"'), "card_changed"),
    ("a later end", lambda text: text.replace("2027-01-31", "2037-01-31"), "card_changed"),
    ("another approver", lambda text: text.replace('approver = "tester"', 'approver = "hans"'), "card_untrusted"),
    ("another time", lambda text: text.replace("2026-11-01T12", "2026-11-01T13"), "card_changed"),
    ("a table behind", lambda text: text + "[budget]\npages = 1000000\n", "card_invalid"),
    ("a field behind", lambda text: text + 'hosts = ["evil.example"]\n', "card_invalid"),
    ("no value", lambda text: text.split("value =")[0], "card_invalid"),
    ("a value that is none", lambda text: text.replace('value = "', 'value = "!!'), "card_changed"),
    ("an empty table between", lambda text: text.replace("[[signature]]", "[keep]\n[[signature]]"), "card_changed"),
    (
        "a table between two",
        lambda text: f"{text}[keep]\n[[signature]]{text.split('[[signature]]')[1]}",
        "card_invalid",
    ),
    ("a signature as one table", lambda text: text.replace("[[signature]]", "[signature]"), "card_unsigned"),
    (
        "seventeen signatures",
        lambda text: text + 16 * ("[[signature]]" + text.split("[[signature]]")[1]),
        "card_invalid",
    ),
    ("the first line made one of the time", move_first_line, "card_invalid"),
]


@pytest.mark.parametrize(("change", "code"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_a_changed_card_is_refused(signed: str, change: Callable[[str], str], code: str) -> None:
    assert change(signed) != signed
    assert code_of(change(signed)) == code


@hypothesis_settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_no_flipped_bit_of_the_card_is_accepted(data: st.DataObject) -> None:
    signed = sign_by(GOOD, "tester", "second", now=NOW)
    at = data.draw(st.integers(0, len(signed) - 2))
    other = signed[:at] + chr(ord(signed[at]) ^ 1 << data.draw(st.integers(0, 6))) + signed[at + 1 :]
    verdict = code_of(other, (make_approver(), make_approver("second")))
    # spaces and quotes of the signatures' own tables may differ; nothing of the card may
    assert verdict != "ok" or other.split("[[signature]]")[0] == GOOD


def test_a_key_nobody_trusts_is_refused(signed: str) -> None:
    assert code_of(signed, ()) == "card_untrusted"
    assert code_of(signed, [make_approver(key="ab" * 32)]) == "card_untrusted"
    assert code_of(signed, [make_approver(counts=False)]) == "card_untrusted", "let in a moment ago"


BOTH = (make_approver(), make_approver("second"))
CARDS: list[tuple[str, Callable[[], str], tuple[Approver, ...], list[str]]] = [
    ("two", lambda: sign_by(GOOD, "tester", "second"), BOTH, ["tester", "second"]),
    ("in another order", lambda: sign_by(GOOD, "second", "tester"), BOTH, ["second", "tester"]),
    ("one of them is no approver", lambda: sign_by(GOOD, "tester", "third"), BOTH, ["tester"]),
    ("a stranger signed first", lambda: sign_by(GOOD, "third", "tester", "second"), BOTH, ["tester", "second"]),
    ("one person signed twice", lambda: sign_by(GOOD, "tester", "tester"), BOTH, ["tester"]),
    ("one signature was copied", lambda: repeat_signature(sign_by(GOOD, "tester")), BOTH, ["tester"]),
    ("one key has two names", lambda: sign_as(GOOD, "tester", "second", key="tester"), BOTH, ["tester"]),
    ("one key is trusted under two names", lambda: sign_as(GOOD, "tester", "twin", key="tester"),
     (make_approver(), make_approver("twin", key=PUBLIC["tester"])), ["twin"]),
    ("the second does not count yet", lambda: sign_by(GOOD, "tester", "second"),
     (make_approver(), make_approver("second", counts=False)), ["tester"]),
    ("the second signed an older text", lambda: outdate(sign_by(GOOD, "second"), "tester"), BOTH, ["tester"]),
    ("edited, and signed again by one", lambda: sign_by(edit(sign_by(GOOD, "tester", "second")), "tester"), BOTH,
     ["tester"]),
]  # fmt: skip


def edit(text: str) -> str:
    return text.replace("2027-01-31", "2027-02-01")


def repeat_signature(text: str) -> str:
    return text + "[[signature]]" + text.split("[[signature]]")[1]


def sign_as(text: str, *names: str, key: str) -> str:
    """Signatures of one key in several names; one that is signed later leaves the earlier where it is."""
    tails = [sign_card(text, KEYS[key], name, NOW).split("[[signature]]")[1] for name in names]
    return text + "".join(f"[[signature]]{tail}" for tail in tails)


def outdate(signed: str, name: str) -> str:
    """Somebody's signature of a card that was changed since, put back behind that of `name`."""
    old = signed.split("[[signature]]")[1]
    return sign_by(edit(GOOD), name) + f"[[signature]]{old}"


@pytest.mark.parametrize(("make", "approvers", "names"), [each[1:] for each in CARDS], ids=[each[0] for each in CARDS])
def test_each_approver_counts_once_and_only_for_what_they_signed(
    make: Callable[[], str], approvers: tuple[Approver, ...], names: list[str]
) -> None:
    assert [each.name for each in check_signatures(make(), "card.toml", approvers)] == names


def test_to_sign_adds_a_signature_and_leaves_out_what_holds_no_more() -> None:
    both = sign_by(GOOD, "tester", "second")
    assert [each.approver for each in split_signatures(both)[1]] == ["tester", "second"]
    assert split_signatures(both)[0] == GOOD
    changed = edit(both)
    assert code_of(changed, BOTH) == "card_changed"
    assert [each.approver for each in split_signatures(sign_by(changed, "third"))[1]] == ["third"]


def test_an_approvers_key_is_sealed_or_only_ours(tmp_path: Path) -> None:
    sealed, plain = tmp_path / "sealed.pem", tmp_path / "plain.pem"
    make_approver_key(sealed, "correct horse")
    make_approver_key(plain, "")
    assert (is_sealed(sealed), is_sealed(plain)) == (True, False)
    assert sealed.stat().st_mode & 0o777 == plain.stat().st_mode & 0o777 == 0o600
    load_approver_key(sealed, "correct horse")
    with pytest.raises(CardError) as caught:
        load_approver_key(sealed, "battery staple")
    assert caught.value.stable_code == "key_wrong"
    with pytest.raises(CardError) as caught:
        make_approver_key(plain, "")
    assert caught.value.stable_code == "key_exists"
    plain.chmod(0o644)
    with pytest.raises(CardError) as caught:
        load_approver_key(plain, "")
    assert caught.value.stable_code == "key_open"


def test_the_guard_lets_nothing_through_once_the_card_has_expired(tmp_path: Path, signed: str) -> None:
    card = tmp_path / "card.toml"
    card.write_text(signed)
    policy = make_policy(open_card(TRUSTED, card, NOW), ())
    target, _ = egress.parse_target("https://shop.example/")
    egress.check_target(target, policy)
    assert policy.until == dt.datetime(2027, 1, 31, 23, 59, 59, 999999, dt.UTC).timestamp()
    expired = egress.Policy(hosts=policy.hosts, until=0.0)
    with pytest.raises(EgressRefused) as caught:
        egress.check_target(target, egress.Policy.from_json(expired.to_json()))
    assert caught.value.stable_code == "card_expired"
    assert egress.Policy.from_json(egress.Policy(hosts=()).to_json()).until == float("inf")


@pytest.mark.parametrize(("name", "change", "code"), [CHANGES[0], CHANGES[1], ("old", lambda t: t, "card_expired")])
def test_crawl_and_schedule_refuse_alike_and_the_ledger_says_so(
    settings: Settings, conn: Connection, keys: Keys, signed: str, name: str, change: Callable[[str], str], code: str
) -> None:
    if code == "card_expired":
        signed = sign_by(GOOD.replace("2027", "2025"), "tester")
    trust_two(conn, keys)
    settings.cards_folder.mkdir()
    card = settings.cards_folder / "card.toml"
    card.write_text(change(signed))
    done = facewarden(settings, "crawl", str(card))
    assert done.returncode == 2
    assert code in done.stderr
    told: dict[Path, str] = {}
    assert list_due(settings, keys, told) == list_due(settings, keys, told) == []
    about = "select count(*) from ledger where about = 'card:card.toml' and entry like %s"
    assert count(conn, about, f'%"code":"{code}"%') == 2, "once by the crawl, once by the schedule"


def test_pictures_may_lie_on_image_hosts_where_no_page_is_fetched(
    settings: Settings, conn: Connection, keys: Keys, tmp_path: Path,
    make_site: Callable[[Callable[[str], Answer]], Site],
) -> None:  # fmt: skip
    images = make_site(
        lambda path: (200, {"Content-Type": "image/png"}, png(40, 40)) if path == "/a.png" else html("x")
    )
    site = make_site(
        lambda path: html(f'<a class="item" href="{images.url}/page">x</a><article><h1>lot</h1>'
                          f'<img src="{images.url}/a.png"></article>')
    )  # fmt: skip
    argv = command(settings, site, tmp_path)
    card = Path(argv[5])
    text = card.read_text().replace("start = [", f'image_hosts = ["127.0.0.1:{images.server_port}"]\nstart = [')
    card.write_text(approve(settings, text))
    env = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    lab = ["--lab", f"127.0.0.1:{images.server_port}"]
    assert subprocess.run([*argv, *lab], env=env, check=False, capture_output=True).returncode == 0
    assert set(images.hits) - {"/robots.txt"} == {"/a.png"}
    assert count(conn, "select count(*) from sample") == 1
    assert set(pages(conn)) == {"/", "/a.png"}
