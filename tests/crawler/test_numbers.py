from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.numbers import find_price, parse_count, parse_price


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("5000张人脸 10元", 5000), ("170k face photos + ID", 170_000), ("17万张 身份证", 170_000), ("3.2w张", 32_000),
        ("170,000 photos", 170_000), ("30000 photos $50", 30_000), ("1.2 lakh selfies", 120_000), ("12 фото", 12),
        ("120 тыс. фото", 120_000), ("500份", 500), ("人脸 5000张 10元 实名", 5000), ("1.5m faces", 1_500_000),
        ("liveness set, 1200 people", 1200), ("30 000 photos", 30_000), ("1.234.567 fotos", 1_234_567),
        ("2 sets of 500 photos", None), ("Face dataset", None), ("2026", None), ("$120", None), ("", None),
        ("0 photos", None), ("1.5 photos", None), ("9" * 40 + " photos", None),
    ],
)  # fmt: skip
def test_a_claimed_count_is_read_or_left_alone(text: str, count: int | None) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("¥10", "10", "CNY"), ("10元", "10", "CNY"), ("35 块", "35", "CNY"), ("$1,200.50", "1200.50", "USD"),
        ("US$ 30", "30", "USD"), ("€ 12,50", "12.50", "EUR"), ("120 USDT", "120", "USDT"), ("₽ 500", "500", "RUB"),
        ("₹999", "999", "INR"), ("free", None, None), ("1e309", None, None), ("NaN", None, None), ("-1 $", None, "USD"),
        ("$ -5", None, "USD"), ("9" * 30 + "元", None, "CNY"), ("", None, None),
    ],
)  # fmt: skip
def test_a_price_is_read_or_left_alone(text: str, amount: str | None, currency: str | None) -> None:
    assert parse_price(text) == (Decimal(amount) if amount else None, currency)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("5000张人脸 10元", "10元"), ("fresh 2026 $80", "$80"), ("30000 photos $50", "$50"), ("¥800 四件套", "¥800"),
        ("10元 or $2", ""), ("170k face photos", ""), ("2026", ""), ("price 50€.", "50€"),
    ],
)  # fmt: skip
def test_a_price_in_a_title_is_found_only_when_it_is_clear(text: str, price: str) -> None:
    assert find_price(text) == price


@given(st.text(max_size=200))
def test_no_text_breaks_them(text: str) -> None:
    count = parse_count(text)
    assert count is None or count > 0
    amount, _currency = parse_price(text)
    assert amount is None or (amount.is_finite() and amount >= 0)
    assert find_price(text) in text or not find_price(text)
