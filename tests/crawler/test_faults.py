"""Faults and hostile answers that a crawl must bear."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.supervisor import ROOT
from crawler.browser import find_chromium
from tests.apart import Apart, NotAllowed
from tests.crawler.test_crawl import CARD, chain_site, sign
from tests.fakes import Answer, Site, Socks
from tests.samples import count
from vault.keys import Keys
from vault.settings import Settings, child_environment
from vault.store import Connection

MakeSite = Callable[[Callable[[str], Answer]], Site]


@pytest.fixture(autouse=True)
def made_keys(keys: Keys) -> None:
    """Every crawl needs the key file."""


@pytest.fixture
def apart() -> Iterator[Apart]:
    try:
        with Apart() as made:
            yield made
    except NotAllowed as exc:
        pytest.skip(f"no network of its own for a test here: {exc}")


def crawl_argv(card: Path, *lab: int) -> list[str]:
    return [sys.executable, "-P", "-m", "cli", "crawl", str(card), *(f"--lab=127.0.0.1:{port}" for port in lab)]


def crawl_env(settings: Settings) -> dict[str, str]:
    return {**child_environment(settings), "PYTHONPATH": str(ROOT)}


# -- 16: hidden services, and a proxy that is down ---------------------------------------------------------------------


def onion_card(settings: Settings, tmp_path: Path, port: int, top: str = "") -> Path:
    text = CARD.format(top=top, read="", pages=100, port=80).replace("127.0.0.1:80", "market.onion")
    text = text.replace("[read]", f'proxy = "socks5h://127.0.0.1:{port}"\n[read]')
    card = tmp_path / "onion.toml"
    card.write_text(sign(settings, text, tmp_path))
    return card


def ask_name_and_dial() -> None:
    """What must never happen, done once by hand so that the listener is seen to hear it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"a name is asked for", ("10.255.255.53", 53))
    for address, family in (("93.184.216.34", socket.AF_INET), ("127.0.0.1", socket.AF_INET)):
        with socket.socket(family, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(0.2)
            sock.connect((address, 80))


def test_the_listener_hears_a_name_asked_for_and_an_address_dialled(apart: Apart) -> None:
    apart.do(ask_name_and_dial)
    time.sleep(0.2)
    assert apart.strays == {("udp", "10.255.255.53", 53), ("tcp", "93.184.216.34", 80)}


@pytest.mark.parametrize("top", ["", 'rendering = "browser"'])
def test_a_hidden_service_is_crawled_by_name_and_waits_while_its_proxy_is_down(
    settings: Settings, conn: Connection, tmp_path: Path, apart: Apart, top: str
) -> None:
    if top and find_chromium(settings) is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    size = 4 if top else 12
    site = apart.do(Site, chain_site(size))
    card = onion_card(settings, tmp_path, 9150, top)
    down = apart.run(crawl_argv(card), crawl_env(settings))
    assert (down.returncode, "stopped: upstream_unavailable" in down.stdout) == (3, True), down.stderr
    assert "source: dead (upstream_unavailable" in down.stdout
    assert conn.execute("select state, attempts, error_code from page").fetchall() == [
        ("ready", 0, "upstream_unavailable")
    ]
    assert apart.strays == set(), "no name was asked for, nothing was dialled"

    socks = apart.do(Socks, site.server_port, 9150)
    apart.do(socks.start)
    done = apart.run(crawl_argv(card), crawl_env(settings))
    assert done.returncode == 0, done.stderr
    assert count(conn, "select count(*) from listing") == size
    assert count(conn, "select count(*) from sample") == size
    assert set(socks.asked) == {(3, b"market.onion")}, "3: a name, which the proxy resolves"
    assert apart.strays == set()
    site.shutdown()
