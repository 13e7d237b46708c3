"""Amounts in another currency: only by the operator's own dated rates."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from vault.errors import SettingError
from vault.money import Worth, convert, parse_rate, show_amount
from vault.settings import load_settings, write_environment

RATES = [parse_rate(each) for each in ("2026-01-01 CNY 0.12", "2026-11-02 CNY 0.13", "2026-11-02 USD 0.92")]
DAY = dt.date(2026, 11, 24)


@pytest.mark.parametrize(
    ("amount", "currency", "on", "worth"),
    [
        ("10", "CNY", DAY, ("1.3", dt.date(2026, 11, 2))),
        ("10", "CNY", dt.date(2026, 11, 1), ("1.2", dt.date(2026, 1, 1))),  # as it was worth then
        ("10", "CNY", dt.date(2025, 12, 31), None),  # before the table begins
        ("10", "EUR", DAY, ("10", None)),
        ("10", "RUB", DAY, None),
        ("10", None, DAY, None),
        ("0.000001", "CNY", DAY, ("0", dt.date(2026, 11, 2))),
        ("NaN", "CNY", DAY, None),
        ("Infinity", "CNY", DAY, None),
        ("1E+999", "CNY", DAY, None),
        ("-1", "CNY", DAY, None),
    ],
)
def test_an_amount_is_worth_what_the_newest_rate_of_its_day_says(
    amount: str, currency: str | None, on: dt.date, worth: tuple[str, dt.date | None] | None
) -> None:
    found = convert(Decimal(amount), currency, "EUR", RATES, on)
    assert found == (None if worth is None else Worth(amount=Decimal(worth[0]), currency="EUR", day=worth[1]))


def test_without_a_currency_nothing_is_converted() -> None:
    assert convert(Decimal(10), "CNY", "", RATES, DAY) is None
    assert convert(None, "CNY", "EUR", RATES, DAY) is None


@pytest.mark.parametrize(("amount", "text"), [("0.002400", "0.0024"), ("1200", "1200"), ("1E+3", "1000"), ("0", "0")])
def test_an_amount_is_shown_without_the_zeros_at_its_end(amount: str, text: str) -> None:
    assert show_amount(Decimal(amount)) == text


def test_the_rates_of_the_settings_reach_a_child(tmp_path: Path) -> None:
    (tmp_path / "facewarden.toml").write_text(
        '[money]\ncurrency = "EUR"\nrates = ["2026-11-02 USD 0.92", "2026-11-02 CNY 0.13"]\n'
    )
    settings = load_settings(home=tmp_path, environ={})
    assert [rate.worth for rate in settings.money.list_rates()] == [Decimal("0.92"), Decimal("0.13")]
    assert load_settings(environ=write_environment(settings)) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('currency = "eur"', "money.currency"),
        ('rates = ["2026-11-02 USD 0.92"]', "money.rates"),  # worth what?
        ('currency = "EUR"\nrates = ["USD 0.92"]', "money.rates"),
        ('currency = "EUR"\nrates = ["2026-13-02 USD 0.92"]', "money.rates"),
        ('currency = "EUR"\nrates = ["2026-11-02 USD 0"]', "money.rates"),
        ('currency = "EUR"\nrates = ["2026-11-02 USD NaN"]', "money.rates"),
        ('currency = "EUR"\nrates = ["2026-11-02 USD -1"]', "money.rates"),
    ],
)
def test_a_rate_that_is_none_is_a_wrong_setting(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "facewarden.toml").write_text(f"[money]\n{text}\n")
    with pytest.raises(SettingError) as caught:
        load_settings(home=tmp_path, environ={})
    assert words in str(caught.value)
