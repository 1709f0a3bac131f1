"""The page of what agents work with: tools and why one is missing, servers of the Model Context Protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from console.agents import Agents
from console.context import Context
from console.mcp_servers import McpServers
from console.naming import missing, tool_about, tool_title
from console.theme import box, page_head, text


class ToolsPage:
    """The product's own tools, and those of MCP servers under their server."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        self._agents = await Agents.load(context.api, context.preferences.language)
        tools = (await context.api.call("GET", "/v1/tools"))["tools"]
        servers = McpServers(context, self._agents)
        await servers.load()
        with box("page"):
            page_head(t("tools.title"), t("tools.lead"))
            text(t("tools.own"), "section", "h2")
            with box("cards"):
                for tool in tools:
                    if not tool.get("server"):
                        self._tool(tool)
            servers.draw()

    def _tool(self, tool: Mapping[str, Any]) -> None:
        t = self._context.t
        with box("card stack").style("gap:8px").mark("tool"):
            name = tool["name"]
            with box("row-line").style("flex-wrap:nowrap"):
                text(tool_title(name, t, tool["title"]), "grow one-line strong")
                known = "available" if tool["available"] else "unavailable"
                text(t(f"tools.{known}"), f"chip {'good' if tool['available'] else 'warn'}", "span")
            text(tool_about(name, t, tool["description"]), "muted small anywhere")
            if tool["unavailable_reason"]:
                text(missing(str(tool["unavailable_reason"]), t), "notice warn small")
            text(t("tools.agents", agents=", ".join(self._agents.title(one) for one in tool["agents"])), "faint small")
            if tool["side_effect"]:
                text(t("tools.side_effect"), "chip", "span").style("align-self:flex-start")
            with ui.expansion(t("tools.for_model")).props("dense").classes("step small"):
                text(name, "mono anywhere")
                text(tool["description"], "muted small anywhere")
                text(json.dumps(tool["parameters"], ensure_ascii=False, indent=2), "code", "pre").props("tabindex=0")
