"""Tables of spellings, each written before the reader of numbers was read: what is missed is refused, not wrong."""

import json
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from crawler.listing import make_listing
from crawler.numbers import Bound, Counted, find_price, parse_price, read_claims, read_prices, sum_up

PATHS = sorted((Path(__file__).parent / "tables").glob("unseen_numbers_*.json"))
TABLES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in PATHS}
COUNTS = [row for table in TABLES.values() for row in table["counts"]]
PRICES = [row for table in TABLES.values() for row in table["prices"]]
PER = {Counted.PHOTO_PER_PERSON, Counted.PHOTO_PER_SET}


class Outcome(StrEnum):
    RIGHT = "right"
    REFUSED = "refused"
    WRONG = "wrong"


def judge_count(row: dict[str, Any]) -> Outcome:
    """Every claim of the wanted kind must be an acceptable answer, and so must the one number that a listing keeps."""
    accepted = [row["want"], *row.get("also", [])]
    people = row["of"] == "people"
    claims = [each for each in read_claims(row["text"]) if each.of not in PER and (each.of is Counted.PERSON) is people]
    said = [describe(each.low, each.high, each.bound) for each in claims]
    number = sum_up(read_claims(row["text"])).count
    numbers = {number_of(want) for each in COUNTS if each["text"] == row["text"] for want in answers(each)}
    if any(each not in accepted for each in said) or (number is not None and number not in numbers):
        return Outcome.WRONG
    return Outcome.RIGHT if said or None in accepted else Outcome.REFUSED


def answers(row: dict[str, Any]) -> list[Any]:
    return [row["want"], *row.get("also", [])]


def describe(low: int, high: int, bound: Bound) -> Any:
    if low != high:
        return {"low": low, "high": high}
    if bound is Bound.AT_LEAST:
        return {"low": low, "high": None}
    return {"low": None, "high": high} if bound is Bound.AT_MOST else low


def number_of(want: Any) -> int | None:
    """The number that stands for an open range; none for a closed one."""
    if isinstance(want, dict):
        return None if None not in want.values() else want["low"] or want["high"]
    return want if want is None else int(want)


def judge_price(row: dict[str, Any]) -> Outcome:
    """Amount, currency and what it is for; a missing currency is a refusal, a wrong one is wrong."""
    text = find_price(row["text"]) if row["where"] == "text" else row["text"]
    amount, currency = parse_price(text) if text else (None, None)
    if amount is None:
        return Outcome.RIGHT if None in answers(row) else Outcome.REFUSED
    pers = {money.per_count if money.per else None for money in read_prices(text) if money is not None} or {None}
    outcome = Outcome.WRONG
    for want in answers(row):
        if want is None or Decimal(want.get("amount") or want["low"] or want["high"]) != amount:
            continue
        if ("high" in want and want["high"] is not None) or pers != {want.get("per")}:
            continue
        if currency == want["currency"]:
            return Outcome.RIGHT
        if currency is None:
            outcome = Outcome.REFUSED
    return outcome


@pytest.mark.parametrize("row", COUNTS, ids=[row["id"] for row in COUNTS])
def test_a_count_of_an_unseen_table_is_never_a_wrong_number(row: dict[str, Any]) -> None:
    assert judge_count(row) is not Outcome.WRONG


@pytest.mark.parametrize("row", PRICES, ids=[row["id"] for row in PRICES])
def test_a_price_of_an_unseen_table_is_never_a_wrong_number(row: dict[str, Any]) -> None:
    assert judge_price(row) is not Outcome.WRONG


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_of_each_unseen_table_19_in_20_are_right(table: dict[str, Any]) -> None:
    outcomes = [judge_count(row) for row in table["counts"]] + [judge_price(row) for row in table["prices"]]
    assert outcomes.count(Outcome.RIGHT) >= 0.95 * len(outcomes)


@pytest.mark.parametrize("row", COUNTS, ids=[row["id"] for row in COUNTS])
def test_a_count_that_is_not_read_is_named_and_kept_as_it_is(row: dict[str, Any]) -> None:
    listing = make_listing(url="http://x.example/", title="x", count_text=row["text"])
    if all(each.what in PER for each in listing.counts):
        assert "count" in listing.invalid_fields
    assert listing.claimed_text


@pytest.mark.parametrize("row", PRICES, ids=[row["id"] for row in PRICES])
def test_a_price_that_is_not_read_is_named_and_kept_as_it_is(row: dict[str, Any]) -> None:
    listing = make_listing(url="http://x.example/", title="x", price_text=row["text"])
    assert ("price" in listing.invalid_fields) is (listing.price is None)
    assert listing.price_text
