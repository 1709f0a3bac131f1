"""A column of values for `unnest`: one parameter, dumped in binary at once.

psycopg looks at every element of a list twice, and escapes text and JSON with a regular expression: for the rows of a turn's
checkpoints that was a tenth of the turn. The layout is array_send's, src/backend/utils/adt/arrayfuncs.c of PostgreSQL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, ClassVar

from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.postgres import types
from psycopg.pq import Format

_HEAD = struct.Struct("!iiIii")
"""Dimensions, whether there are nulls, the elements' type, length, index of the first."""
_LENGTH = struct.Struct("!i")
_INTEGER = struct.Struct("!ii")
_NULL = _LENGTH.pack(-1)


class Column:
    """Values of one type; None is null."""

    element: ClassVar[str]

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = tuple(values)

    def dumped(self) -> bytes:
        """The array in Postgres's binary format."""
        parts: list[bytes] = []
        for value in self._values:
            parts.append(_NULL if value is None else self._dump(value))
        head = _HEAD.pack(1, _NULL in parts, types[self.element].oid, len(parts), 1)
        return head + b"".join(parts)

    def _dump(self, value: Any) -> bytes:
        """One value with its length before it."""
        raise NotImplementedError


class Texts(Column):
    element = "text"

    def _dump(self, value: str) -> bytes:
        data = value.encode()
        return _LENGTH.pack(len(data)) + data


class Bytes(Column):
    element = "bytea"

    def _dump(self, value: bytes) -> bytes:
        return _LENGTH.pack(len(value)) + value


class Jsons(Column):
    """Of documents that are JSON already."""

    element = "jsonb"

    def _dump(self, value: bytes) -> bytes:
        return _LENGTH.pack(len(value) + 1) + b"\x01" + value  # the version of the format


class Integers(Column):
    element = "int4"

    def _dump(self, value: int) -> bytes:
        return _INTEGER.pack(4, value)


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> Buffer | None:
        return obj.dumped()


def register(conn: AsyncConnection[Any]) -> None:
    """Let the connection take columns as parameters."""
    for column in (Texts, Bytes, Jsons, Integers):
        dumper = type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": types[column.element].array_oid})
        conn.adapters.register_dumper(column, dumper)
