"""JMESPath: in come an expression of a card and a JSON value, out comes what it finds there."""

from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError


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


def find_value(expression: str, value: Any) -> Any:
    """What the expression finds; None where the value is not as it expects (no number to sum, no list to join)."""
    try:
        return compile_query(expression).search(value)
    except (JMESPathError, RecursionError, TypeError, ValueError):
        return None
