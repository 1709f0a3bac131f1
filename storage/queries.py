"""Named SQL: each file of storage/sql is one noun; each query in it starts with `-- name: ...` and a one-line purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


class Queries(Mapping[str, str]):
    """The queries of one noun by name. Raises KeyError for a name that isn't in the file."""

    def __init__(self, noun: str, text: str) -> None:
        self._noun = noun
        parts = _NAME.split(text)
        self._sql = {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}

    def __getitem__(self, name: str) -> str:
        if name not in self._sql:
            raise KeyError(f"no query '{name}' in storage/sql/{self._noun}.sql")
        return self._sql[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sql)

    def __len__(self) -> int:
        return len(self._sql)


@cache
def load(noun: str) -> Queries:
    """The queries of storage/sql/{noun}.sql."""
    return Queries(noun, files("storage").joinpath(f"sql/{noun}.sql").read_text("utf-8"))
