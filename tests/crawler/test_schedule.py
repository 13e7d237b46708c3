"""The schedule goes on whatever lies in the cards folder."""

import os
import time
from pathlib import Path

import pytest

from cli.commands.crawler import list_due
from crawler.run import open_approved
from tests.crawler.test_crawl import CARD, sign
from tests.samples import count
from vault.errors import SettingError, Unavailable
from vault.keys import Keys
from vault.settings import Settings, load_settings
from vault.store import Connection


def test_a_card_nested_100_000_deep_is_told_once_and_the_others_are_crawled(
    settings: Settings, conn: Connection, keys: Keys, tmp_path: Path
) -> None:
    folder = settings.cards_folder
    folder.mkdir()
    (folder / "good.toml").write_text(sign(settings, CARD.format(top="", read="", pages=9, port=80), tmp_path))
    (folder / "deep.toml").write_text("a=" + "[" * 100_000)
    (folder / "dots.toml").write_text("a" + ".a" * 50_000 + "=1")
    (folder / "latin.toml").write_bytes(b"name = '\xff'")
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "pipe.toml")
    with (folder / "large.toml").open("wb") as file:
        file.truncate(1 << 30)
    told: dict[Path, str] = {}
    began = time.monotonic()
    for _ in range(3):
        assert list_due(settings, keys, told) == [folder / "good.toml"]
    assert time.monotonic() - began < 10
    refused = 'select count(*) from ledger where entry like \'%%"place":"schedule"%%\''
    assert count(conn, refused) == len(told) == 6
    assert count(conn, refused + " and about = 'card:deep.toml' and entry like '%%card_invalid%%'") == 1


@pytest.mark.parametrize("text", ["a=" + "[" * 100_000, "[web]\n" + "port" + ".a" * 50_000 + "=1", "#" * (1 << 20)])
def test_a_settings_file_made_to_take_long_is_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "facewarden.toml").write_text(text)
    began = time.monotonic()
    with pytest.raises(SettingError) as caught:
        load_settings(home=tmp_path, environ={})
    assert time.monotonic() - began < 2
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("days", [400, -400], ids=["ahead", "behind"])
def test_no_card_is_judged_by_a_wrong_clock(
    settings: Settings, conn: Connection, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """It has a last day, and another clock has another day."""
    settings.cards_folder.mkdir()
    card = settings.cards_folder / "good.toml"
    card.write_text(sign(settings, CARD.format(top="", read="", pages=9, port=80), tmp_path))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)
    for judge in (lambda: list_due(settings, keys, {}), lambda: open_approved(conn, keys, card)):
        with pytest.raises(Unavailable) as caught:
            judge()
        assert caught.value.stable_code == "clock_differs"
    assert count(conn, "select count(*) from ledger where entry like '%%refusal%%'") == 0
