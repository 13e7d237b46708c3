"""JMESPath: in come an expression of a card and a JSON value, out comes what it finds there, within limits.

An expression can double what it has with each of its parts, so the steps and what they make are counted.
"""

import time
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

MOST_SECONDS = 4.0  # of processor time, for one answer
MOST_MADE = 2_000_000  # elements and letters that the expressions of one answer may make
CLOCK_STEPS = 1000  # between two looks at the clock
# what makes something; all other steps hand on what is there
MAKING = frozenset(
    ("flatten", "projection", "filter_projection", "value_projection", "multi_select_list", "multi_select_dict",
     "function_expression", "slice")
)  # fmt: skip


class QueryTooLong(Exception):
    """The expressions of a card take more time or room on an answer than it may."""


class Queries(TreeInterpreter):  # type: ignore[misc]
    """The expressions of a card on one answer, within the limits for all of them together."""

    def __init__(self, seconds: float = MOST_SECONDS, most_made: int = MOST_MADE) -> None:
        super().__init__()
        self._until = time.thread_time() + seconds
        self._room = most_made
        self._steps = 0

    def find(self, expression: str, value: Any) -> Any:
        """What the expression finds; None where the value is not as it expects (no number to sum, no list to join).
        Raises QueryTooLong."""
        try:
            return self.visit(compile_query(expression).parsed, value)
        except (JMESPathError, RecursionError, TypeError, ValueError):
            return None

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        found = super().visit(node, *args, **kwargs)
        self._steps += 1
        if node["type"] in MAKING:
            self._room -= len(found) if isinstance(found, list | dict | str) else 1
        slow = node["type"] == "function_expression" or self._steps % CLOCK_STEPS == 0
        if self._room < 0 or (slow and time.thread_time() > self._until):
            raise QueryTooLong
        return found


@lru_cache(maxsize=256)
def compile_query(expression: str) -> Any:
    return jmespath.compile(expression)


def check_query(name: str, expression: str) -> None:
    """Raises ValueError for what is no JMESPath."""
    try:
        compile_query(expression)
    except (JMESPathError, ValueError, RecursionError) as exc:
        reason = str(exc).splitlines()[0]
        raise ValueError(f"{name}: {expression!r} is no JMESPath: {reason}", "see jmespath.org/tutorial") from exc
