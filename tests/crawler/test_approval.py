"""Only what an approver has seen is crawled: a card that is unsigned, changed, expired or signed by a stranger is
refused everywhere, and the refusal is in the ledger."""

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cli.commands.crawler import list_due
from cli.supervisor import ROOT
from crawler.approval import (
    check_signature,
    is_sealed,
    load_approver_key,
    make_approver_key,
    make_policy,
    open_card,
    read_approvers,
    sign_card,
    trust_approver,
)
from crawler.cards import hash_card, parse_card
from tests.cli.test_commands import facewarden
from tests.crawler.test_cards import GOOD, TODAY
from tests.crawler.test_crawl import command, html, pages, sign
from tests.fakes import Answer, Site
from tests.samples import count, png
from vault import egress
from vault.errors import CardError, EgressRefused
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    make_approver_key(tmp_path / "olga.pem", "")
    return tmp_path / "olga.pem"


@pytest.fixture
def signed(key_file: Path) -> str:
    return sign_card(GOOD, load_approver_key(key_file, ""), "olga", NOW)


@pytest.fixture
def approvers(signed: str) -> dict[str, str]:
    return {"olga": signed.split('key = "')[1][:64]}


def code_of(text: str, approvers: dict[str, str]) -> str:
    try:
        check_signature(text, "card.toml", approvers)
        parse_card(text, "card.toml", TODAY)
    except CardError as exc:
        return exc.stable_code
    return "ok"


def test_a_signed_card_is_accepted_and_read_as_before(signed: str, approvers: dict[str, str]) -> None:
    assert check_signature(signed, "card.toml", approvers) == "olga"
    assert parse_card(signed, "card.toml", TODAY) == parse_card(GOOD, "card.toml", TODAY)
    assert hash_card(signed) == hash_card(GOOD), "to sign again changes nothing of the card"


def test_signing_again_replaces_the_signature(signed: str, key_file: Path) -> None:
    again = sign_card(signed, load_approver_key(key_file, ""), "olga", NOW + dt.timedelta(days=1))
    assert again.count("[signature]") == 1
    assert again != signed


CHANGES: list[tuple[str, Callable[[str], str], str]] = [
    ("unsigned", lambda text: text.split("[signature]")[0], "card_unsigned"),
    ("one letter", lambda text: text.replace("shop.example/list", "shop.example/lisT"), "card_changed"),
    ("a comment", lambda text: "# hello\n" + text, "card_changed"),
    ("a host", lambda text: text.replace('"shop.example"', '"shop.example", "evil.example"'), "card_changed"),
    ("a later end", lambda text: text.replace("2027-01-31", "2037-01-31"), "card_changed"),
    ("another approver", lambda text: text.replace('approver = "olga"', 'approver = "hans"'), "card_untrusted"),
    ("another time", lambda text: text.replace("2026-11-01T12", "2026-11-01T13"), "card_changed"),
    ("a table behind", lambda text: text + "[budget]\npages = 1000000\n", "card_invalid"),
    ("a field behind", lambda text: text + 'hosts = ["evil.example"]\n', "card_invalid"),
    ("no value", lambda text: text.split("value =")[0], "card_invalid"),
    ("a value that is none", lambda text: text.replace('value = "', 'value = "!!'), "card_changed"),
    ("an empty table between", lambda text: text.replace("[signature]", "[keep]\n[signature]"), "card_changed"),
    ("two signatures", lambda text: text + "[signature]" + text.split("[signature]")[1], "card_changed"),
]


@pytest.mark.parametrize(("change", "code"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_a_changed_card_is_refused(
    signed: str, approvers: dict[str, str], change: Callable[[str], str], code: str
) -> None:
    assert change(signed) != signed
    assert code_of(change(signed), approvers) == code


@hypothesis_settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_no_flipped_bit_of_the_card_is_accepted(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("flip")
    public = make_approver_key(folder / "k.pem", "")
    signed = sign_card(GOOD, load_approver_key(folder / "k.pem", ""), "olga", NOW)
    at = data.draw(st.integers(0, len(signed) - 2))
    other = signed[:at] + chr(ord(signed[at]) ^ 1 << data.draw(st.integers(0, 6))) + signed[at + 1 :]
    verdict = code_of(other, {"olga": public})
    # spaces and quotes of the signature's own table may differ; nothing of the card may
    assert verdict != "ok" or other.split("[signature]")[0] == GOOD


def test_a_key_nobody_trusts_is_refused(signed: str, tmp_path: Path) -> None:
    assert code_of(signed, {}) == "card_untrusted"
    assert code_of(signed, {"olga": make_approver_key(tmp_path / "other.pem", "")}) == "card_untrusted"


def test_trust_is_a_file_that_only_we_write(settings: Settings, signed: str, approvers: dict[str, str]) -> None:
    trust_approver(settings, "olga", approvers["olga"])
    trust_approver(settings, "hans.m", "ab" * 32)
    assert read_approvers(settings) == {**approvers, "hans.m": "ab" * 32}
    assert settings.approvers_file.stat().st_mode & 0o077 == 0
    card = settings.home / "card.toml"
    card.write_text(signed)
    assert open_card(settings, card, NOW).approver == "olga"
    with pytest.raises(CardError):
        trust_approver(settings, "Olga!", "ab" * 32)
    settings.approvers_file.write_text('olga = "short"\n')
    with pytest.raises(CardError):
        open_card(settings, card, NOW)


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


def test_the_guard_lets_nothing_through_once_the_card_has_expired(settings: Settings, signed: str) -> None:
    trust_approver(settings, "olga", signed.split('key = "')[1][:64])
    card = settings.home / "card.toml"
    card.write_text(signed)
    policy = make_policy(open_card(settings, card, NOW), ())
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
    settings: Settings, conn: Connection, keys: Keys, signed: str, key_file: Path, name: str,
    change: Callable[[str], str], code: str,
) -> None:  # fmt: skip
    if code == "card_expired":
        signed = sign_card(GOOD.replace("2027", "2025"), load_approver_key(key_file, ""), "olga", NOW)
    trust_approver(settings, "olga", signed.split('key = "')[1][:64])
    settings.cards_folder.mkdir()
    card = settings.cards_folder / "card.toml"
    card.write_text(change(signed))
    done = facewarden(settings, "crawl", str(card))
    assert done.returncode == 2
    assert code in done.stderr
    told: dict[Path, str] = {}
    assert list_due(settings, told) == list_due(settings, told) == []
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
    card.write_text(sign(settings, text, tmp_path))
    env = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    lab = ["--lab", f"127.0.0.1:{images.server_port}"]
    assert subprocess.run([*argv, *lab], env=env, check=False, capture_output=True).returncode == 0
    assert set(images.hits) - {"/robots.txt"} == {"/a.png"}
    assert count(conn, "select count(*) from sample") == 1
    assert set(pages(conn)) == {"/", "/a.png"}
