"""Strict TOML: in comes text, out comes a frozen dataclass or an error that names line, field and mend.

Used for the settings and for source cards. An unknown field, a missing one or one of another type is never passed over.
"""

import dataclasses
import datetime as dt
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

MOST_BYTES = 256 << 10  # of a file; the longest card that we know has 4 KiB
MOST = 2**53  # of a number; no infinity either
MOST_DEPTH = 16  # of tables and lists in each other
MOST_DOTS = 16  # of one key; the time that `tomllib` takes grows with their square
LONGEST_MESSAGE, LONGEST_FIELD = 300, 100  # letters of an error
WORDS = re.compile(  # in which brackets and dots mean nothing (TOML 1.0, strings and comments)
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)


class Misfit(Exception):
    """What is wrong with one field, where, and how to mend it. Callers turn it into their own error."""

    def __init__(self, message: str, *, field: str = "", line: int | None = None, mend: str = "") -> None:
        super().__init__(message)
        self.message, self.field = cut(message, LONGEST_MESSAGE), cut(field, LONGEST_FIELD)
        self.line, self.mend = line, mend


def read_record(cls: type[T], text: str) -> T:
    """Parse `text` as TOML and build `cls` from it. Raises Misfit."""
    return build_record(cls, parse_toml(text), text)


def parse_toml(text: str) -> dict[str, Any]:
    """`text` as a table. Raises Misfit with the line that is not TOML, or nests deeper than anything of ours."""
    check_bounds(text)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as exc:  # the second: a number of 5,000 digits
        line = re.search(r"line (\d+)", str(exc))
        raise Misfit(
            f"not valid TOML: {exc}", line=int(line[1]) if line else None, mend="mend the TOML syntax"
        ) from exc


def check_bounds(text: str) -> None:
    """Refuse in milliseconds what would take the parser long. Raises Misfit."""
    if len(text) > MOST_BYTES:
        raise Misfit(f"longer than {MOST_BYTES >> 10} KiB", mend="nothing of ours is so long: is it the right file?")
    depth, line = 0, 1
    for found in re.finditer(r"[][{}\n]|[^][{}\n=,]+", WORDS.sub(hide_words, text)):
        piece = found[0]
        line += piece == "\n"
        depth += (piece in "[{") - (piece in "]}")
        if depth > MOST_DEPTH or piece.count(".") > MOST_DOTS:
            raise Misfit("nested too deeply", line=line, mend="mend the TOML syntax")


def hide_words(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def build_record(cls: type[T], table: Mapping[str, Any], text: str = "", path: tuple[str, ...] = ()) -> T:
    """Build the dataclass `cls` from a parsed table. `text` is only used to find line numbers. Raises Misfit."""
    assert dataclasses.is_dataclass(cls)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in table:
        if name not in fields:
            near = difflib.get_close_matches(name[:LONGEST_FIELD], fields, 1)
            mend = f"did you mean {near[0]!r}?" if near else f"fields here are: {', '.join(fields)}"
            line = find_line(text, path, name) if len(name) <= LONGEST_FIELD else None
            raise Misfit("unknown field", field=dotted(path, name), line=line, mend=mend)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        where = dotted(path, name)
        if name in table:
            values[name] = convert_value(hints[name], table[name], text, (*path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise Misfit("missing field", field=where, line=find_line(text, path, None), mend=f"add {name} = ...")
    try:
        return cls(**values)
    except ValueError as exc:  # a record's own __post_init__ check: "field: what is wrong", and perhaps a mend
        told = str(exc.args[0]) if exc.args else str(exc)
        name, _, message = told.partition(": ")
        *inside, last = name.split(".")
        if name.split(".")[0] not in fields:
            inside, last, message = [], "", told
        raise Misfit(
            message,
            field=dotted((*path, *inside), last),
            line=find_line(text, (*path, *inside), last or None),
            mend=str(exc.args[1]) if len(exc.args) > 1 else "",
        ) from exc


def convert_value(kind: Any, value: Any, text: str, path: tuple[str, ...]) -> Any:
    """One TOML value as `kind`: str, int, float, bool, Path, date, StrEnum, tuple[X, ...], X | None or a dataclass."""
    if get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(k for k in get_args(kind) if k is not type(None))
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise misfit_type("a table", value, text, path)
        return build_record(typing.cast(type[Any], kind), value, text, path)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise misfit_type("a list", value, text, path)
        return tuple(convert_value(get_args(kind)[0], item, text, path) for item in value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError as exc:
            allowed = ", ".join(repr(str(k)) for k in kind)
            raise Misfit(
                f"{value!r} is not allowed",
                field=".".join(path),
                line=find_line(text, path[:-1], path[-1]),
                mend=f"one of {allowed}",
            ) from exc
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if isinstance(value, int | float) and not isinstance(value, bool) and not -MOST <= value <= MOST:
        raise misfit_type(f"a number up to {MOST}", value, text, path)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is dt.date and isinstance(value, dt.datetime):
        raise misfit_type("a date such as 2027-01-31", value, text, path)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    names = {str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
    raise misfit_type(names.get(kind, getattr(kind, "__name__", str(kind))), value, text, path)


def misfit_type(wanted: str, value: Any, text: str, path: tuple[str, ...]) -> Misfit:
    return Misfit(
        f"{value!r} is not {wanted}",
        field=".".join(path),
        line=find_line(text, path[:-1], path[-1]),
        mend=f"write {wanted}",
    )


def dotted(path: tuple[str, ...], name: str) -> str:
    return ".".join((*path, name)) if name else ".".join(path)


def find_line(text: str, path: tuple[str, ...], name: str | None) -> int | None:
    """The 1-based line of key `name` in table `path` (of its header when `name` is None or not found)."""
    section: tuple[str, ...] = ()
    best: int | None = None
    header = re.compile(r"^\s*\[+([^\]]+)\]+")
    for number, line in enumerate(text.splitlines(), 1):
        found = header.match(line)
        if found:
            section = tuple(part.strip().strip("\"'") for part in found[1].split("."))
            best = number if section == path else best
            if name and (*path, name) == section:
                return number
        elif name and section == path and re.match(rf"^\s*[\"']?{re.escape(name)}[\"']?\s*[=.]", line):
            return number
    return best
