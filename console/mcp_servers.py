"""The MCP servers of the organisation: how each does, what it offers, what of that waits for an approval."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import ui

from console.agents import Agents
from console.api import ApiError
from console.context import Context
from console.dialogs import confirm
from console.keyed import KeyedList, Row
from console.mcp_form import ServerForm
from console.mcp_review import review
from console.naming import missing, own_title, tool_about
from console.texts import TEXTS
from console.theme import box, menu_action, menu_button, text

_COLOURS: Final = {
    "ready": "good",
    "connecting": "accent",
    "unreachable": "bad",
    "wrong_protocol": "bad",
    "needs_sign_in": "warn",
    "changed": "warn",
}
_TOOL_COLOURS: Final = {"approved": "good", "changed": "warn", "new": "warn"}
_WAITING: Final = frozenset({"changed", "new"})
EVERY_AGENT: Final = "*"


class McpServers:
    """The part of the tools page that is about servers."""

    def __init__(self, context: Context, agents: Agents) -> None:
        self._context, self._agents = context, agents
        self._servers: list[dict[str, Any]] = []

    async def load(self) -> None:
        """Raises ApiError."""
        self._servers = (await self._context.api.call("GET", "/v1/mcp/servers"))["servers"]

    def draw(self) -> None:
        """Build the part; `load` was called."""
        t = self._context.t
        with box("row-line section-head"):
            with box("grow"):
                text(t("mcp.title"), "section", "h2")
                text(t("mcp.lead"), "muted small")
            if self._context.visitor.administers:
                ui.button(t("mcp.add"), icon="add", on_click=self._add, color=None).props("flat no-caps").classes(
                    "solid"
                ).mark("mcp-add")
        self._list = KeyedList(box("stack"))
        self._show()

    def _show(self) -> None:
        rows = [Row(one["server_id"], json.dumps(one), partial(self._card, one)) for one in self._servers]
        if not rows:
            rows.append(Row("none", None, partial(text, self._context.t("mcp.empty"), "card empty")))
        self._list.show(rows)

    async def _refresh(self) -> None:
        await self.load()
        self._show()

    def _card(self, server: dict[str, Any]) -> ui.element:
        t, mine = self._context.t, self._context.visitor.administers
        own = server["scope"] == "organization"
        with box("card stack").style("gap:10px").mark("mcp-server") as card:
            with box("row-line").style("flex-wrap:nowrap"):
                ui.icon("dns", size="20px").classes("faint")
                with box("row-line grow"):
                    text(server["name"], "strong")
                    state = server["state"]
                    text(t(f"mcp.state.{state}"), f"chip {_COLOURS.get(state, '')}", "span")
                    if not own:
                        text(t("mcp.operator"), "chip", "span").tooltip(t("mcp.operator_help"))
                if mine and own:
                    switch = ui.switch(value=server["enabled"]).props(f'dense aria-label="{t("mcp.enabled")}"')
                    switch.tooltip(t("mcp.enabled")).mark("mcp-enabled", f"enabled-{server['name']}")
                    switch.on_value_change(lambda event: self._change(server, {"enabled": bool(event.value)}))
                if mine:
                    name = t("documents.actions", title=server["name"])
                    menu_button("more_vert", name, lambda: self._actions(server, own)).mark(
                        "mcp-actions", f"actions-{server['name']}"
                    )
            text(" · ".join(self._facts(server)), "faint small anywhere")
            # What waits for an approval is told below, with the button for it.
            if server["reason"] and server["state"] != "changed":
                colour, key = _COLOURS.get(server["state"], ""), f"mcp.reason.{server['reason']['code']}"
                said = t(key) if key in TEXTS else missing(server["reason"]["message"], t)
                notice = text(said, f"notice small {'' if colour == 'good' else colour}")
                notice.tooltip(server["reason"]["message"])
            self._waiting(server)
            self._tools(server)
        return card

    def _facts(self, server: Mapping[str, Any]) -> list[str]:
        t, agents = self._context.t, server["agents"]
        facts = [str(server["url"])] if server["url"] else [t("mcp.program")]
        names = t("mcp.every_agent") if EVERY_AGENT in agents else ", ".join(self._agents.title(one) for one in agents)
        facts.append(t("tools.agents", agents=names or t("none")))
        if server["on_premises"]:
            facts.append(t("mcp.on_premises_short"))
        if server["checked_at"]:
            facts.append(t("mcp.checked", at=self._context.moment(server["checked_at"])))
        return facts

    def _waiting(self, server: dict[str, Any]) -> None:
        waiting = [tool for tool in server["tools"] if tool["status"] in _WAITING]
        if not waiting or not server["enabled"]:
            return
        t = self._context.t
        with box("notice warn row-line").mark("mcp-waiting"):
            text(t("mcp.waiting", names=", ".join(tool["name"] for tool in waiting)), "grow anywhere")
            if self._context.visitor.administers:
                ui.button(t("mcp.review"), on_click=lambda: self._review(server), color=None).props(
                    "flat no-caps"
                ).classes("outline tiny").mark("mcp-review")

    def _tools(self, server: Mapping[str, Any]) -> None:
        t, tools = self._context.t, server["tools"]
        if not tools:
            return
        listed = server["listed"] or len(tools)
        title = t("mcp.tools", n=len(tools)) if listed == len(tools) else t("mcp.tools_of", n=len(tools), all=listed)
        with ui.expansion(title).props("dense").classes("step").mark("mcp-tools"):
            for tool in tools:
                with box("ruled stack").style("gap:4px"):
                    with box("row-line"):
                        name, status = tool["exposed"], tool["status"]
                        text(own_title(name, t, tool["title"]), "anywhere strong")
                        text(t(f"mcp.tool.{status}"), f"chip {_TOOL_COLOURS.get(status, '')}", "span")
                        if tool["side_effect"]:
                            text(t("tools.side_effect"), "chip warn", "span")
                    said = tool["description"] or t("mcp.undescribed")
                    # What isn't approved is shown as it is: nobody has said that it does what we believe.
                    text(tool_about(name, t, said) if status == "approved" else said, "small muted anywhere")
                    text(name, "mono faint anywhere")
                    if tool["problem"]:
                        text(tool["problem"], "notice warn small")

    def _actions(self, server: dict[str, Any], own: bool) -> None:
        t = self._context.t
        menu_action("refresh", t("mcp.refresh"), lambda: self._ask(server))
        if own:
            menu_action("edit", t("edit"), lambda: self._edit(server))
            menu_action("delete", t("delete"), lambda: self._remove(server))

    async def _add(self) -> None:
        if await ServerForm(self._context, self._agents).open():
            await self._again()

    async def _edit(self, server: dict[str, Any]) -> None:
        if await ServerForm(self._context, self._agents, server).open():
            await self._again()

    async def _review(self, server: dict[str, Any]) -> None:
        if await review(self._context, server):
            try:
                body = {"fingerprint": server["fingerprint"]}
                await self._context.api.call("POST", f"/v1/mcp/servers/{server['server_id']}/approve", json=body)
                ui.notify(self._context.t("mcp.approved"), type="positive")
            except ApiError as error:
                said = self._context.t("mcp.changed_again") if error.status == 409 else self._context.explain(error)
                ui.notify(said, type="negative", multi_line=True)
        await self._again()

    async def _again(self) -> None:
        with self._context.telling():
            await self._refresh()

    async def _ask(self, server: Mapping[str, Any]) -> None:
        with self._context.telling():
            asking = ui.notification(self._context.t("mcp.asking"), spinner=True, timeout=None)
            try:
                await self._context.api.call("POST", f"/v1/mcp/servers/{server['server_id']}/refresh")
            finally:
                asking.dismiss()
            await self._refresh()

    async def _change(self, server: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        with self._context.telling():
            try:
                await self._context.api.call("PATCH", f"/v1/mcp/servers/{server['server_id']}", json=change)
            finally:
                await self._refresh()

    async def _remove(self, server: Mapping[str, Any]) -> None:
        t = self._context.t
        if await confirm(t, t("mcp.remove"), t("mcp.remove_text", name=server["name"]), t("delete")):
            with self._context.telling():
                await self._context.api.call("DELETE", f"/v1/mcp/servers/{server['server_id']}")
                await self._refresh()
