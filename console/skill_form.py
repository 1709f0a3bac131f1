"""The fields of a skill: what it is called, when it is asked, how it works, what it may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement

from console.api import ApiError
from console.context import Context
from console.naming import tool_title
from console.theme import box, text

AUTO: Final = ""
_APPROVALS: Final = ("none", "outside_effects", "side_effects")
_PLAIN: Final = "outlined"


class SkillForm:
    """Draws the fields of a definition; `value` is the definition as it stands, with what has no field as it was."""

    def __init__(
        self,
        context: Context,
        definition: Mapping[str, Any],
        *,
        tools: Sequence[Mapping[str, Any]],
        servers: Sequence[Mapping[str, Any]],
        models: Sequence[str],
        writable: bool,
    ) -> None:
        self._context, self._given = context, definition
        self._fields: dict[str, ValidationElement] = {}
        t, titles = context.t, definition.get("title") or {}
        with box("pair"):
            self._ru = self._text("title", t("skills.title_ru"), titles.get("ru", ""), limit=100)
            self._en = self._text("title.en", t("skills.title_en"), titles.get("en", ""), limit=100)
        self._description = self._lines(
            "description",
            t("skills.description"),
            definition.get("description", ""),
            2_000,
            t("skills.description_hint"),
        )
        if writable or "prompt" in definition:
            self._prompt = self._lines(
                "prompt", t("skills.prompt"), definition.get("prompt", ""), 50_000, t("skills.prompt_hint")
            )
        names = {str(tool["name"]): tool_title(str(tool["name"]), t) for tool in tools if not tool.get("server")}
        self._tools = self._several("tools", t("skills.tools"), names, definition.get("tools") or ())
        programs = {str(one["name"]): str(one["name"]) for one in servers}
        self._servers = self._several(
            "mcp_servers", t("skills.servers"), programs, definition.get("mcp_servers") or (), t("skills.servers_hint")
        )
        self._draw_model(models)
        retrieval = definition.get("retrieval") or {}
        with box("pair"):
            self._passages = self._number("passages", t("skills.passages"), retrieval.get("passages", 6), 50)
            self._notes = self._number("notes", t("skills.notes"), retrieval.get("notes", 20), 500)
        self._draw_approvals()
        if not writable:
            for field in self._fields.values():
                field.props("readonly")
            self._local.disable()

    def _draw_model(self, models: Sequence[str]) -> None:
        t, policy = self._context.t, self._given.get("model") or {}
        provider, model = policy.get("provider"), policy.get("model")
        chosen = "/".join(one for one in (provider, model) if one)
        options = {
            AUTO: t("skills.model_auto"),
            **{name: name for name in models},
            **({chosen: chosen} if chosen else {}),
        }
        select = ui.select(options, value=chosen, label=t("skills.model")).props(f"{_PLAIN} stack-label")
        self._model, self._fields["model"], self._fields["provider"] = select, select, select
        self._local = ui.switch(t("skills.local_only"), value=bool(policy.get("local_only")))

    def _draw_approvals(self) -> None:
        """Only where the server knows of approvals: a list of tools has no field and stays as it is."""
        t, given = self._context.t, self._given.get("approvals")
        self._approvals: ui.select | None = None
        if isinstance(given, str):
            options = {one: t(f"skills.approvals.{one}") for one in _APPROVALS}
            self._approvals = ui.select(options, value=given, label=t("skills.approvals")).props(_PLAIN)
            self._fields["approvals"] = self._approvals

    def value(self) -> dict[str, Any]:
        """The definition to be sent."""
        provider, _, model = str(self._model.value or "").partition("/")
        policy = {**(self._given.get("model") or {}), "provider": provider or None, "model": model or None}
        policy["local_only"] = bool(self._local.value)
        definition: dict[str, Any] = {
            **self._given,
            "title": {"ru": (self._ru.value or "").strip(), "en": (self._en.value or "").strip()},
            "description": (self._description.value or "").strip(),
            "prompt": (self._prompt.value or "").strip(),
            "tools": list(self._tools.value or []),
            "mcp_servers": list(self._servers.value or []),
            "model": policy,
            "retrieval": {
                **(self._given.get("retrieval") or {}),
                "passages": int(self._passages.value or 0),
                "notes": int(self._notes.value or 0),
            },
        }
        return definition if self._approvals is None else {**definition, "approvals": self._approvals.value}

    def refused(self, error: ApiError) -> bool:
        """Say at its field what the API refuses; whether there is such a field."""
        for field in self._fields.values():
            field.props(remove="error error-message")
        parts = str(error.details.get("field") or "").split(".")
        found = next((self._fields[part] for part in reversed(parts) if part in self._fields), None)
        if found is None:
            return False
        found.props["error"], found.props["error-message"] = True, error.message
        found.run_method("focus")
        return True

    def _text(self, name: str, label: str, value: str, *, limit: int) -> ui.input:
        field = ui.input(label, value=value).props(f"{_PLAIN} maxlength={limit}").mark(f"skill-{name}")
        self._fields[name] = field
        return field

    def _lines(self, name: str, label: str, value: str, limit: int, hint: str) -> ui.textarea:
        with box():
            field = ui.textarea(label, value=value).props(f"{_PLAIN} autogrow maxlength={limit}").mark(f"skill-{name}")
            field.classes("lines")
            text(hint, "faint small field-hint")
        self._fields[name] = field
        return field

    def _several(
        self, name: str, label: str, options: Mapping[str, str], chosen: Sequence[str], hint: str = ""
    ) -> ui.select:
        # What is named but isn't there any more is still shown, to be taken out.
        known = {**options, **{one: one for one in chosen if one not in options}}
        field = ui.select(known, value=list(chosen), label=label, multiple=True).props(f"{_PLAIN} use-chips")
        if hint:
            field.props["hint"] = hint
        self._fields[name] = field.mark(f"skill-{name}")
        return field

    def _number(self, name: str, label: str, value: int, most: int) -> ui.number:
        field = ui.number(label, value=value, min=0, max=most, precision=0).props(_PLAIN).mark(f"skill-{name}")
        self._fields[name] = field
        return field
