"""What has changed at an MCP server since its tools were approved, put side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from console.context import Context
from console.dialogs import window
from console.theme import box, text

_WAITING: Final = frozenset({"changed", "new"})


async def review(context: Context, server: Mapping[str, Any]) -> bool:
    """Whether the visitor approves all that the server lists now, having seen what is new about it."""
    t = context.t
    with window() as dialog, box("form wide").props(f'role=dialog aria-label="{t("mcp.review_title")}"'):
        text(t("mcp.review_title"), tag="h2")
        text(t("mcp.review_text", name=server["name"]), "muted anywhere")
        with box("stack scroll"):
            for tool in server["tools"]:
                if tool["status"] in _WAITING:
                    _tool(context, tool)
        with box("end"):
            ui.button(t("cancel"), on_click=lambda: dialog.submit(False), color=None).props("flat no-caps").classes(
                "outline"
            )
            ui.button(t("mcp.approve"), on_click=lambda: dialog.submit(True), color=None).props("flat no-caps").classes(
                "solid"
            ).mark("mcp-approve")
    answer = await dialog
    dialog.delete()
    return bool(answer)


def _tool(context: Context, tool: Mapping[str, Any]) -> None:
    t = context.t
    with box("card stack").style("gap:8px").mark("mcp-changed-tool"):
        with box("row-line"):
            text(tool["name"], "mono strong anywhere")
            text(t(f"mcp.tool.{tool['status']}"), "chip warn", "span")
            if tool["side_effect"]:
                text(t("tools.side_effect"), "chip warn", "span")
        approved = tool["approved_description"]
        if approved is not None and approved != tool["description"]:
            _labelled(t("mcp.before"), approved)
            _labelled(t("mcp.now"), tool["description"])
        else:
            if approved is not None:
                text(t("mcp.same_description"), "notice small")
            _labelled(t("mcp.now"), tool["description"])
        with ui.expansion(t("tools.parameters")).props("dense").classes("step"):
            text(json.dumps(tool["parameters"], ensure_ascii=False, indent=2), "code", "pre").props("tabindex=0")


def _labelled(label: str, content: str) -> None:
    with box():
        text(label, "field-name")
        text(content or "—", "code")
