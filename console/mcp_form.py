"""The form by which an MCP server is added or changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from console.agents import Agents
from console.api import ApiError
from console.context import Context
from console.dialogs import window
from console.fields import clear, refuse, refused
from console.texts import TEXTS
from console.theme import box, text

EVERY_AGENT: Final = "*"
_TRANSPORTS: Final = {"streamable_http": "Streamable HTTP", "sse": "SSE"}
_IDENTITIES: Final = ("user", "organization", "none")
_AUTHORIZATION: Final = "Authorization"
_NAME: Final = re.compile("[a-z][a-z0-9-]{0,23}")


class ServerForm:
    """A window with the fields of a server; what the API refuses is said at its field. Without `server` it adds one."""

    def __init__(self, context: Context, agents: Agents, server: Mapping[str, Any] | None = None) -> None:
        self._context, self._agents, self._server = context, agents, server

    async def open(self) -> bool:
        """Whether it was added or changed."""
        t, server = self._context.t, self._server
        with window() as self._dialog, box("form wide").props("role=dialog"):
            text(t("mcp.add" if server is None else "mcp.edit"), tag="h2")
            if server is None:
                text(t("mcp.add_text"), "muted small")
            with box("stack scroll"):
                self._draw_fields(server or {})
            with box("end"):
                ui.button(t("cancel"), on_click=lambda: self._dialog.submit(False), color=None).props(
                    "flat no-caps"
                ).classes("outline")
                self._save = ui.button(t("save" if server else "mcp.connect"), on_click=self._send, color=None)
                self._save.props("flat no-caps").classes("solid").mark("mcp-save")
        answer = await self._dialog
        self._dialog.delete()
        return bool(answer)

    def _draw_fields(self, server: Mapping[str, Any]) -> None:
        t = self._context.t
        self._name = ui.input(t("mcp.name"), value=server.get("name", "")).mark("mcp-name")
        self._name.props(f'outlined autofocus maxlength=24 hint="{t("mcp.name_hint")}"').set_visibility(not server)
        self._url = ui.input(t("mcp.url"), value=server.get("url") or "").props("outlined maxlength=2000 type=url")
        self._url.mark("mcp-url")
        self._transport = ui.select(
            _TRANSPORTS, value=server.get("transport", "streamable_http"), label=t("mcp.transport")
        ).props("outlined")
        known = _AUTHORIZATION in (server.get("header_names") or ())
        self._secret = ui.input(t("mcp.authorization"), password=True).props("outlined autocomplete=off")
        self._secret.props["hint"] = t("mcp.authorization_kept" if known else "mcp.authorization_hint")
        options = {EVERY_AGENT: t("mcp.every_agent"), **self._agents.titles}
        # An agent that isn't there any more is still shown, to be taken out.
        options |= {name: name for name in server.get("agents", ()) if name not in options}
        chosen = list(server.get("agents", [EVERY_AGENT]))
        self._for = ui.select(options, value=chosen, label=t("mcp.agents"), multiple=True).props("outlined use-chips")
        identities = {one: t(f"mcp.identity.{one}") for one in _IDENTITIES}
        self._identity = ui.select(identities, value=server.get("identity", "user"), label=t("mcp.identity"))
        self._identity.props("outlined")
        self._local = ui.switch(t("mcp.on_premises"), value=bool(server.get("on_premises")))
        self._said = text("", "notice bad").props("role=alert").mark("mcp-refused")
        self._said.set_visibility(False)

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "url": (self._url.value or "").strip(),
            "transport": self._transport.value,
            "agents": list(self._for.value or []),
            "identity": self._identity.value,
            "on_premises": bool(self._local.value),
        }
        if secret := (self._secret.value or "").strip():
            body["headers"] = {_AUTHORIZATION: secret if " " in secret else f"Bearer {secret}"}
        if self._server is None:
            body["name"] = (self._name.value or "").strip()
        return body

    async def _send(self) -> None:
        fields = {"name": self._name, "url": self._url, "agents": self._for, "headers": self._secret}
        clear(fields.values())
        self._said.set_visibility(False)
        if not self._passable():
            return
        self._save.props("loading")
        path = "/v1/mcp/servers" if self._server is None else f"/v1/mcp/servers/{self._server['server_id']}"
        try:
            await self._context.api.call("POST" if self._server is None else "PATCH", path, json=self._body())
        except ApiError as error:
            at = fields.get(str(error.details.get("field") or "").rpartition(".")[2])
            if at is not None:
                known = f"mcp.reason.{error.details.get('reason')}"
                if known in TEXTS:
                    refuse(at, self._context.t(known), error.message)
                else:
                    refused(at, self._context.refusal(error))
            else:
                self._said.set_text(self._context.explain(error))
                self._said.set_visibility(True)
            return
        finally:
            self._save.props(remove="loading")
        self._dialog.submit(True)

    def _passable(self) -> bool:
        """Whether it is worth asking the server; what isn't is marked."""
        t, wrong = self._context.t, []
        if self._server is None and not _NAME.fullmatch((self._name.value or "").strip()):
            wrong.append((self._name, t("mcp.name_hint")))
        if not (self._url.value or "").strip().startswith(("http://", "https://")):
            wrong.append((self._url, t("mcp.url_wrong")))
        for field, problem in wrong:
            refuse(field, problem)
        return not wrong
