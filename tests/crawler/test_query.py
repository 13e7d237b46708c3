"""JMESPath expressions that were written, or meet an answer that was written, to take long."""

import contextlib
import datetime as dt
import json
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from crawler.kinds import parse_answer
from crawler.query import Queries, QueryTooLong
from crawler.verdicts import Known, Verdict, judge_page
from tests.crawler.test_pages import open_card

MANY = list(range(30_000))
NESTED: Any = MANY[:40]
for _ in range(5):
    NESTED = [{"b": NESTED}] * 12
BOMBS: dict[str, tuple[str, Any]] = {
    "doubling lists": ("|".join(["[@,@][]"] * 60), [1, 2]),
    "doubling texts": ("|".join(["join('', [@, @])"] * 60), "x" * 10),
    "nested projections": ("[*].b" * 12, NESTED),
    "every two": ("[*].{x: length(join('', map(&to_string(@), `[1,2,3]`)))}", MANY * 40),
    "contains of each": ("[?contains(@, `0`)] | [?!contains(`[1]`, @)]", [MANY] * 200),
    "sort of each": ("[*].sort(@)[*].to_string(@)", [MANY] * 60),
    "quoted again and again": ("|".join(["to_string([@])"] * 60), "\\\"" * 10),
    "products": ("[*].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][].[@,@,@,@][]", MANY),
    "reversed": ("|".join(["[reverse(@), reverse(@)][]"] * 60), MANY),
    "merged": ("|".join(["[merge(@, @), @]|[0]"] * 600), {str(n): n for n in MANY}),
    "values": ("*" + ".*" * 30, {str(n): {str(n): {str(n): MANY} for n in range(90)} for n in range(90)}),
}  # fmt: skip


@pytest.mark.parametrize(("expression", "value"), BOMBS.values(), ids=BOMBS)
def test_an_expression_that_takes_long_ends_within_seconds_and_megabytes(expression: str, value: Any) -> None:
    began = time.thread_time()
    with contextlib.suppress(QueryTooLong):
        Queries().find(expression, value)
    assert time.thread_time() - began < 8
    tracemalloc.start()
    with contextlib.suppress(QueryTooLong):
        Queries(seconds=1.0).find(expression, value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20


@pytest.mark.parametrize(
    ("expression", "value", "found"),
    [
        ("goods[*].name", {"goods": [{"name": "a"}, {"name": "b"}]}, ["a", "b"]),
        ("a || b", {"b": 1}, 1),
        ("sum(@)", ["no number"], None),
        ("length(@)", MANY * 40, 1_200_000),
        ("items[].pics[]", {"items": [{"pics": ["x"] * 100}] * 1000}, ["x"] * 100_000),
    ],
)
def test_an_expression_finds_what_it_found_before(expression: str, value: Any, found: Any) -> None:
    assert Queries().find(expression, value) == found


def test_an_answer_that_takes_too_long_is_a_page_that_is_too_complex() -> None:
    card = open_card("json_shop")
    read = replace(card.read, listing="goods" + "|[@,@][]" * 60)
    body = json.dumps({"goods": [{"name": "5000 faces"}]}).encode()
    reading = parse_answer(
        body, "http://a.example/", "application/json", replace(card, read=read), seen=dt.date(2026, 11, 1)
    )
    assert reading.parsed.cut
    assert judge_page(None, reading.text, reading.parsed, Known(), reading.said) is Verdict.CUT
