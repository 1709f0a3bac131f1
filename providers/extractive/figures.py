"""A tool's result as people read it: its JSON as lines and tables, nothing added up or left out but ids."""

from __future__ import annotations

import json
from typing import Any

from providers.extractive.lexicon import Language, Lexicon

MOST_ROWS = 30
MOST_CHARACTERS = 4000
_SCALARS = (str, int, float, bool)


def show(content: str, language: Language, lexicon: Lexicon) -> str:
    """The result in Markdown, at most MOST_CHARACTERS; what is no JSON stands as it is."""
    try:
        value = json.loads(content)
    except ValueError:
        value = content.strip()
    shown = "\n".join(_Writer(language, lexicon).lines(value, ""))
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS].rstrip()} …"


class _Writer:
    def __init__(self, language: Language, lexicon: Lexicon) -> None:
        self._language = language
        self._labels = lexicon.labels if language == "ru" else {}

    def lines(self, value: Any, label: str) -> list[str]:
        if isinstance(value, dict):
            return self._object(value, label)
        if isinstance(value, list):
            return self._list(value, label)
        return [] if value is None else [f"{label}: {self._scalar(value)}" if label else self._scalar(value)]

    def _object(self, value: dict[str, Any], label: str) -> list[str]:
        """Its values in one line, what has more to it below."""
        plain = [key for key in _columns([value]) if value[key] is not None]
        inline = ", ".join(f"{self._label(key)} {self._scalar(value[key])}" for key in plain)
        nested = [line for key, inner in value.items() if _deep(inner) for line in self.lines(inner, self._label(key))]
        if label:
            return [f"{label}: {inline}", *nested] if inline else [f"{label}:", *nested]
        return [*(f"{self._label(key)}: {self._scalar(value[key])}" for key in plain), *nested]

    def _list(self, value: list[Any], label: str) -> list[str]:
        heading = [f"{label}:"] if label else []
        rows = [row for row in value if isinstance(row, dict)]
        if rows and not any(_deep(inner) for row in rows for inner in row.values()):
            return [*heading, "", *self._table(rows), ""]
        if rows:
            return [*heading, *(line for row in rows[:MOST_ROWS] for line in ("", *self._object(row, "")))]
        said = ", ".join(self._scalar(item) for item in value[:MOST_ROWS] if isinstance(item, _SCALARS))
        return [f"{label}: {said}" if label else said]

    def _table(self, rows: list[dict[str, Any]]) -> list[str]:
        columns = _columns(rows)
        head = f"| {' | '.join(self._label(column) for column in columns)} |"
        body = [f"| {' | '.join(self._scalar(row.get(column)) for column in columns)} |" for row in rows[:MOST_ROWS]]
        more = [f"… +{len(rows) - MOST_ROWS}"] if len(rows) > MOST_ROWS else []
        return [head, "|" + " --- |" * len(columns), *body, *more]

    def _label(self, key: str) -> str:
        return self._labels.get(key, key.replace("_", " "))

    def _scalar(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            word = "yes" if value else "no"
            return self._labels.get(word, word)
        if isinstance(value, int | float):
            grouped = f"{value:,}"
            return grouped.replace(",", " ") if self._language == "ru" else grouped
        text = " ".join(str(value).split()).replace("|", "/")
        return self._labels.get(text, text)


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """The fields that hold plain values in the order they come, ids left out: they say nothing to people."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, _SCALARS))
    named = [key for key in keys if key != "id" and not key.endswith("_id")]
    return named or list(keys)


def _deep(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)
