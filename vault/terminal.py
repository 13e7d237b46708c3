"""The one way to a terminal: lines, JSON, tables. Whatever text comes in, what goes out is shown and never obeyed.

Nothing else in the rooms prints (tests/test_architecture.py).
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from vault.letters import dump_json, show_text

TOLD_SECONDS = 10.0  # between lines about the same work, where they are not renewed


def say(*lines: str, to: TextIO | None = None) -> None:
    """Print lines: results to standard output, what is told beside them to `to`."""
    for line in lines:
        print(show_text(line), file=to or sys.stdout, flush=True)


def say_json(value: Any, **options: Any) -> None:
    print(dump_json(value, **options), flush=True)  # noqa: T201


class Grid(Table):
    """A table whose cells are text of ours or of others, each of them one line."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(show_text(cell) if isinstance(cell, str) else cell for cell in cells), **options)


class Screen(Console):
    """Rich's console for plain text: no markup, no emoji names, no highlighting. A string is one line; whatever else it
    is given to draw, the letters in it are shown as `show_text` shows them."""

    def __init__(self, **options: Any) -> None:
        """`options` of Rich's console, such as `stderr=True`."""
        super().__init__(**{**options, "highlight": False, "markup": False, "emoji": False})

    def print(self, *objects: Any, wrap: bool = False, **options: Any) -> None:
        """`wrap`: break lines at the terminal's width; by default they are left whole, for whoever copies them."""
        shown = [show_text(each) if isinstance(each, str) else each for each in objects]
        whole = not wrap and all(isinstance(each, str) for each in objects)
        super().print(*shown, soft_wrap=whole, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean_segment(segment.text))


@contextlib.contextmanager
def working(
    what: str, screen: Screen | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str], None]]:
    """Say on standard error what takes a while: at a terminal a line that is renewed and then gone, elsewhere a plain
    one. The function that is given says how far it is; elsewhere than at a terminal every ten seconds."""
    screen = screen or Screen(stderr=True)
    if screen.is_terminal:
        with screen.status(show_text(what)) as status:
            yield lambda how_far: status.update(show_text(f"{what}: {how_far}"))
        return
    screen.print(what)
    told = clock()

    def tell(how_far: str) -> None:
        nonlocal told
        if clock() - told >= TOLD_SECONDS:
            told = clock()
            screen.print(f"{what}: {how_far}")

    yield tell


def clean_segment(text: str) -> str:
    return "\n".join(map(show_text, text.split("\n")))


def set_up_streams() -> None:
    """A terminal or a file that cannot take a letter gets its number instead of an end of the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
