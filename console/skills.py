"""The page of skills: the agents of the organisation, each with what it is for and what it may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from console.context import Context
from console.naming import tool_title
from console.texts import TEXTS
from console.theme import box, page_head, text

SOURCES: Final = {"operator": "", "override": "accent", "organization": "accent"}
"""The colour of whose a skill is."""
NEW: Final = "/new-skill"


class SkillsPage:
    """All skills, those of the installation first."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        skills = (await context.api.call("GET", "/v1/skills"))["skills"]
        with box("page"):
            with box("row-line"):
                page_head(t("skills.title"), t("skills.lead"))
                if context.visitor.manages:
                    ui.button(t("skills.new"), icon="add", on_click=lambda: ui.navigate.to(NEW), color=None).props(
                        "flat no-caps"
                    ).classes("solid").mark("skill-new")
            with box("cards"):
                for skill in skills:
                    self._card(skill)

    def _card(self, skill: Mapping[str, Any]) -> None:
        t, definition = self._context.t, skill["definition"]
        with ui.link(target=f"/skills/{skill['name']}").classes("card stack card-link").style("gap:8px").mark("skill"):
            with box("row-line").style("flex-wrap:nowrap"):
                text(skill_title(self._context, skill), "strong one-line grow")
                if not skill["enabled"]:
                    text(t("skills.off"), "chip", "span")
                text(t(f"skills.source.{skill['source']}"), f"chip {SOURCES[skill['source']]}", "span")
            text(_about(self._context, skill), "muted small clamp")
            names = [tool_title(name, t) for name in definition.get("tools") or ()]
            names += [f"MCP: {name}" for name in definition.get("mcp_servers") or ()]
            text(", ".join(names) or t("skills.no_tools"), "faint small")


def skill_title(context: Context, skill: Mapping[str, Any]) -> str:
    """What people call a skill, in their language."""
    titles = skill["definition"].get("title") or {}
    return str(titles.get(context.preferences.language) or skill["name"])


def _about(context: Context, skill: Mapping[str, Any]) -> str:
    """When a skill is asked. The built-in ones say so to a model, in words of both languages: people are told shorter."""
    key = f"skills.about.{skill['name']}"
    own = skill["source"] != "operator" or key not in TEXTS
    return str(skill["definition"]["description"]) if own else context.t(key)
