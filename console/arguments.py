"""The arguments of a tool call as fields a person can read and change, by the tool's JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.disableable_element import DisableableElement

from console.context import Context
from console.naming import field_label, option_label
from console.theme import text


class Arguments:
    """The fields of one call, drawn where it is made. Texts, numbers, choices and switches; what is nested is JSON."""

    def __init__(self, context: Context, tool: str, given: Any, schema: Any) -> None:
        self._t, self._tool = context.t, tool
        self._given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        known = schema.get("properties") if isinstance(schema, Mapping) else None
        properties: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
        self._read: dict[str, Callable[[], Any]] = {}
        self._fields: dict[str, DisableableElement] = {}
        for name in dict.fromkeys((*self._given, *properties)):
            about = properties.get(name)
            self._draw(name, about if isinstance(about, Mapping) else {}, shown=name in self._given)
        if not self._given and not properties:
            text(self._t("approval.no_arguments"), "faint small")

    def allow(self, editing: bool) -> None:
        """Let them be changed, also those that were left out; or not."""
        for name, field in self._fields.items():
            if isinstance(field, ui.switch):
                field.set_enabled(editing)
            else:
                # What can't be changed is still to be read: a field that is off would be pale.
                field.props(remove="readonly") if editing else field.props("readonly")
            field.set_visibility(editing or name in self._given)

    def value(self) -> dict[str, Any]:
        """The arguments as they stand; those left out stay out while their field is empty. Raises ValueError, naming the field."""
        found = {}
        for name, read in self._read.items():
            try:
                value = read()
            except ValueError as wrong:
                label = field_label(self._tool, name, self._t)
                raise ValueError(self._t("approval.not_json", name=label, message=wrong)) from wrong
            if name in self._given or value not in (None, "", False):
                found[name] = value
        return found

    def _draw(self, name: str, about: Mapping[str, Any], *, shown: bool) -> None:
        value = self._given.get(name)
        label = field_label(self._tool, name, self._t, about.get("title"))
        kind, options = about.get("type"), about.get("enum")
        field: DisableableElement
        if isinstance(options, list) and options and (value is None or value in options):
            labels = {one: option_label(self._tool, one, self._t) for one in options}
            choice = ui.select(labels, value=value, label=label, clearable=value is None).props("outlined dense")
            field, self._read[name] = choice, lambda: choice.value
        elif isinstance(value, bool) or (value is None and kind == "boolean"):
            switch = ui.switch(label, value=bool(value))
            field, self._read[name] = switch, lambda: bool(switch.value)
        elif isinstance(value, int | float) or (value is None and kind in ("integer", "number")):
            number = ui.number(label, value=value, precision=0 if kind == "integer" else None).props("outlined dense")
            field, self._read[name] = number, lambda: _number(number.value, value, kind)
        elif isinstance(value, str) or (value is None and kind == "string"):
            line = ui.textarea(label, value=value or "").props("outlined dense autogrow rows=1")
            field, self._read[name] = line, lambda: line.value or ""
        else:
            written = "" if value is None and not shown else json.dumps(value, ensure_ascii=False, indent=2)
            raw = ui.textarea(label, value=written).props("outlined dense autogrow rows=1").classes("mono")
            field, self._read[name] = raw, lambda: json.loads(raw.value) if raw.value else None
        field.mark("approval-argument", f"argument-{name}")
        self._fields[name] = field


def _number(value: float | None, given: Any, kind: Any) -> float | int | None:
    """A whole number stays one, for fields of a browser know no difference."""
    if value is None:
        return None
    whole = kind == "integer" or (isinstance(given, int) and float(value).is_integer())
    return int(value) if whole else value
