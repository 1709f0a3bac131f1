"""One skill: changed by whoever may, tried out before it is saved, taken back to an earlier version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import ui

from console.api import ApiError
from console.context import Context
from console.dialogs import ask_text, confirm
from console.fields import clear, refuse, refused
from console.skill_form import SkillForm
from console.skill_trial import Trial
from console.skills import SOURCES, skill_title
from console.theme import box, page_head, text

MAIN: Final = "main"
_NAME: Final = re.compile("[a-z][a-z0-9_]{1,62}")
_EMPTY: Final[Mapping[str, Any]] = {"tools": ["search_documents"], "approvals": "outside_effects"}
"""A new skill asks before it changes another system: the servers that are connected later may well do that."""


class SkillPage:
    """The skill of this name; without one, a new one."""

    def __init__(self, context: Context, name: str | None) -> None:
        self._context, self._name = context, name
        self._skill: dict[str, Any] | None = None

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        writes = context.visitor.manages
        if self._name is not None:
            self._skill = await context.api.call("GET", f"/v1/skills/{self._name}")
        tools = (await context.api.call("GET", "/v1/tools"))["tools"]
        servers = (await context.api.call("GET", "/v1/mcp/servers"))["servers"]
        providers = (await context.api.call("GET", "/v1/providers"))["providers"]
        models = [f"{one['provider']}/{m['name']}" for one in providers if one["usable"] for m in one["models"]]
        versions = []
        if self._skill is not None and writes:
            versions = (await context.api.call("GET", f"/v1/skills/{self._name}/versions"))["versions"]
        with box("page"):
            ui.link(t("skills.all"), "/skills").classes("small back")
            self._draw_head()
            with box("halves"):
                with box("stack").style("gap:16px"):
                    if self._skill is None:
                        self._new_name = ui.input(t("skills.name")).mark("skill-name")
                        self._new_name.props(f'outlined maxlength=63 autofocus hint="{t("skills.name_hint")}"')
                    definition = _EMPTY if self._skill is None else self._skill["definition"]
                    self._form = SkillForm(
                        context, definition, tools=tools, servers=servers, models=models, writable=writes
                    )
                    if writes:
                        self._draw_save()
                    else:
                        text(t("skills.read_only"), "notice")
                if writes:
                    with box("stack").style("gap:16px"):
                        Trial(context, self._asked_name, self._form.value)
                        self._draw_versions(versions)

    def _draw_head(self) -> None:
        t, skill = self._context.t, self._skill
        if skill is None:
            page_head(t("skills.new"), t("skills.new_text"))
            return
        with box("row-line"):
            page_head(skill_title(self._context, skill), "").style("flex:0 1 auto")
            text(t(f"skills.source.{skill['source']}"), f"chip {SOURCES[skill['source']]}", "span")
            text(skill["name"], "mono faint")
            box("grow")
            if self._context.visitor.manages and skill["name"] != MAIN:
                switch = ui.switch(t("skills.enabled"), value=skill["enabled"]).mark("skill-enabled")
                switch.on_value_change(lambda event: self._enable(bool(event.value)))

    def _draw_save(self) -> None:
        t, skill = self._context.t, self._skill
        with box("row-line"):
            self._button = ui.button(t("save" if skill else "skills.create"), on_click=self._save, color=None)
            self._button.props("flat no-caps").classes("solid").mark("skill-save")
            if skill is not None and skill["source"] != "operator":
                own = skill["source"] == "organization"
                label = t("delete") if own else t("skills.reset")
                ui.button(label, on_click=self._delete, color=None).props("flat no-caps").classes("outline").mark(
                    "skill-delete"
                )

    def _draw_versions(self, versions: list[dict[str, Any]]) -> None:
        if len(versions) < 2:
            return
        t = self._context.t
        with box("card stack").style("gap:10px"):
            text(t("skills.versions"), "strong")
            for version in versions:
                with box("ruled row-line").style("flex-wrap:nowrap").mark("skill-version"):
                    with box("grow"):
                        n = version["version"]
                        text(t("passage.version", n=n) if n else t("skills.operators"), "small")
                        by = [version["created_by"], self._context.moment(version["created_at"]), version["comment"]]
                        text(" · ".join(str(one) for one in by if one), "faint small anywhere")
                    if version["current"]:
                        text(t("skills.current"), "chip good", "span")
                    else:
                        ui.button(t("skills.activate"), on_click=partial(self._activate, n), color=None).props(
                            "flat no-caps"
                        ).classes("outline tiny")

    def _asked_name(self) -> str:
        return self._name or (self._new_name.value or "").strip() or "draft"

    async def _save(self) -> None:
        t, skill = self._context.t, self._skill
        if not self._passable():
            return
        comment = None
        if skill is not None:
            comment = await ask_text(t, t("skills.save_title"), t("skills.comment"), "", limit=300)
            if comment is None:
                return
        self._button.props("loading")
        try:
            if skill is None:
                name = (self._new_name.value or "").strip()
                await self._context.api.call(
                    "POST", "/v1/skills", json={"name": name, "definition": self._form.value()}
                )
            else:
                name = str(skill["name"])
                body = {"version": skill["version"], "definition": self._form.value(), "comment": comment or None}
                await self._context.api.call("PUT", f"/v1/skills/{name}", json=body)
        except ApiError as error:
            self._told(error)
            return
        finally:
            self._button.props(remove="loading")
        ui.notify(t("skills.saved"), type="positive")
        ui.navigate.to(f"/skills/{name}")

    def _passable(self) -> bool:
        """Whether it is worth asking the server; what isn't is marked."""
        complete = self._form.complete()
        if self._skill is not None:
            return complete
        clear([self._new_name])
        named = _NAME.fullmatch((self._new_name.value or "").strip()) is not None
        if not named:
            refuse(self._new_name, self._context.t("skills.name_wrong"))
        return complete and named

    def _told(self, error: ApiError) -> None:
        t, field = self._context.t, str(error.details.get("field") or "")
        if error.status == 409 and self._skill is not None and "version" in error.details:
            by = error.details.get("updated_by") or t("unknown")
            ui.notify(
                t("skills.conflict", user=by), type="warning", multi_line=True, close_button=t("close"), timeout=0
            )
        elif self._skill is None and (field.rpartition(".")[2] == "name" or error.status == 409):
            refused(self._new_name, self._context.refusal(error))
        elif not self._form.refused(error):
            self._context.tell(error)

    async def _enable(self, enabled: bool) -> None:
        with self._context.telling():
            await self._context.api.call("POST", f"/v1/skills/{self._name}/{'enable' if enabled else 'disable'}")
            ui.notify(self._context.t("skills.now_on" if enabled else "skills.now_off"), type="positive")

    async def _activate(self, version: int) -> None:
        with self._context.telling():
            await self._context.api.call("POST", f"/v1/skills/{self._name}/versions/{version}/activate")
            ui.navigate.to(f"/skills/{self._name}")

    async def _delete(self) -> None:
        t, own = self._context.t, self._skill is not None and self._skill["source"] == "organization"
        title, content = ("skills.delete", "skills.delete_text") if own else ("skills.reset", "skills.reset_text")
        if await confirm(t, t(title), t(content), t("delete") if own else t("skills.reset")):
            with self._context.telling():
                await self._context.api.call("DELETE", f"/v1/skills/{self._name}")
                ui.navigate.to("/skills" if own else f"/skills/{self._name}")
