"""Rows as records: psycopg's `class_row`, with words of the database turned into the StrEnum that the record names."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_type_hints

from psycopg import Cursor
from psycopg.rows import RowMaker

T = TypeVar("T")


def record_row(cls: type[T]) -> Callable[[Cursor[Any]], RowMaker[T]]:
    """A row factory for a dataclass of `vault/records.py`: columns and fields have the same names."""
    words = {name: kind for name, hint in get_type_hints(cls).items() if (kind := find_enum(hint)) is not None}

    def make_rows(cursor: Cursor[Any]) -> RowMaker[T]:
        names = [column.name for column in cursor.description or ()]
        kinds = [words.get(name) for name in names]

        def make_row(values: Sequence[Any]) -> T:
            fields = {
                name: value if kind is None or value is None else kind(value)
                for name, kind, value in zip(names, kinds, values, strict=True)
            }
            return cls(**fields)

        return make_row

    return make_rows


def find_enum(hint: Any) -> type[StrEnum] | None:
    """The StrEnum in a type hint such as `Band` or `Band | None`."""
    for kind in get_args(hint) or (hint,):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return kind
    return None
