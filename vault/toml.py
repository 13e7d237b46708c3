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


class Misfit(Exception):
    """What is wrong with one field, where, and how to mend it. Callers turn it into their own error."""

    def __init__(self, message: str, *, field: str = "", line: int | None = None, mend: str = "") -> None:
        super().__init__(message)
        self.message, self.field, self.line, self.mend = message, field, line, mend


def read_record(cls: type[T], text: str) -> T:
    """Parse `text` as TOML and build `cls` from it. Raises Misfit."""
    return build_record(cls, parse_toml(text), text)


def parse_toml(text: str) -> dict[str, Any]:
    """`text` as a table. Raises Misfit with the line that is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        line = re.search(r"line (\d+)", str(exc))
        raise Misfit(
            f"not valid TOML: {exc}", line=int(line[1]) if line else None, mend="mend the TOML syntax"
        ) from exc


def build_record(cls: type[T], table: Mapping[str, Any], text: str = "", path: tuple[str, ...] = ()) -> T:
    """Build the dataclass `cls` from a parsed table. `text` is only used to find line numbers. Raises Misfit."""
    assert dataclasses.is_dataclass(cls)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in table:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            mend = f"did you mean {near[0]!r}?" if near else f"fields here are: {', '.join(fields)}"
            raise Misfit("unknown field", field=dotted(path, name), line=find_line(text, path, name), mend=mend)
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
