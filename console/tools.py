"""The page of what agents work with: tools and why one is missing, models and how they do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from console.agents import Agents
from console.context import Context
from console.texts import number
from console.theme import box, text

_CAPABILITIES: Final = ("tools", "vision", "reasoning", "structured_output", "embeddings")
_LOCATIONS: Final = frozenset({"cloud", "local", "embedded"})
SHOWN_MODELS: Final = 4


class ToolsPage:
    """Tools and models with their health."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        self._agents = await Agents.load(context.api, context.preferences.language)
        tools = (await context.api.call("GET", "/v1/tools"))["tools"]
        providers = (await context.api.call("GET", "/v1/providers"))["providers"]
        with box("page"):
            with box("page-head"):
                text(t("tools.title"), tag="h2")
                text(t("tools.lead"), tag="p")
            text(t("tools.tools"), "section", "h3")
            with box("cards"):
                for tool in tools:
                    self._tool(tool)
            text(t("tools.models"), "section", "h3")
            with box("cards"):
                for provider in sorted(providers, key=lambda one: not one["usable"]):
                    self._provider(provider)

    def _tool(self, tool: Mapping[str, Any]) -> None:
        t = self._context.t
        with box("card stack").style("gap:8px").mark("tool"):
            with box("row-line"):
                text(tool["name"], "mono grow one-line").style("font-weight:620")
                if tool["side_effect"]:
                    text(t("tools.side_effect"), "chip warn", "span")
                known = "available" if tool["available"] else "unavailable"
                text(t(f"tools.{known}"), f"chip {'good' if tool['available'] else 'bad'}", "span")
            if tool["unavailable_reason"]:
                text(str(tool["unavailable_reason"]), "notice warn small")
            text(tool["description"], "muted small anywhere")
            text(t("tools.agents", agents=", ".join(self._agents.title(one) for one in tool["agents"])), "faint small")
            with ui.expansion(t("tools.parameters")).props("dense").classes("step"):
                text(json.dumps(tool["parameters"], ensure_ascii=False, indent=2), "code", "pre").props("tabindex=0")

    def _provider(self, provider: Mapping[str, Any]) -> None:
        t, breaker = self._context.t, provider["breaker"]
        health, colour = self._health(provider)
        with box("card stack").style("gap:10px").mark("provider"):
            with box("row-line"):
                text(provider["provider"], "grow one-line").style("font-weight:620")
                location = provider["location"]
                text(t(f"location.{location}") if location in _LOCATIONS else str(location), "chip", "span")
                text(health, f"chip {colour}", "span")
            if not provider["usable"]:
                text(str(provider["reason"]), "faint small mono anywhere")
                return
            if breaker["failures"]:
                retry = (
                    f" · {t('health.retry', at=self._context.moment(breaker['retry_at']))}"
                    if breaker["retry_at"]
                    else ""
                )
                text(t("health.failures", n=breaker["failures"]) + retry, "small muted")
            for model in provider["models"][:SHOWN_MODELS]:
                self._model(model, model["name"] == provider["default_model"])
            if len(provider["models"]) > SHOWN_MODELS:
                text(t("models.more", n=len(provider["models"]) - SHOWN_MODELS), "faint small")

    def _health(self, provider: Mapping[str, Any]) -> tuple[str, str]:
        status = provider["breaker"]["status"]
        if not provider["usable"]:
            return self._context.t("health.unusable"), ""
        if status == "open":
            return self._context.t("health.open"), "bad"
        if status == "half_open":
            return self._context.t("health.half_open"), "warn"
        return self._context.t("health.usable"), "good"

    def _model(self, model: Mapping[str, Any], default: bool) -> None:
        t, able, price = self._context.t, model["capabilities"], model["price"]
        with box().style("border-top:1px solid var(--line);padding-top:8px"):
            with box("row-line"):
                text(model["name"], "mono one-line")
                if default:
                    text(t("tools.default"), "chip accent", "span")
            facts = [t(f"capability.{name}") for name in _CAPABILITIES if able.get(name)]
            if able.get("context_tokens"):
                facts.append(t("models.context", n=number(able["context_tokens"], self._context.preferences.language)))
            if model["first_token_ms"] is not None:
                facts.append(t("models.first_token", ms=model["first_token_ms"]))
            if price is not None and (price["prompt_micro_usd"] or price["completion_micro_usd"]):
                facts.append(
                    t(
                        "models.price",
                        prompt=_dollars(price["prompt_micro_usd"]),
                        completion=_dollars(price["completion_micro_usd"]),
                    )
                )
            text(" · ".join(facts), "faint small")


def _dollars(micro: int) -> str:
    return f"{micro / 1_000_000:.2f}"
