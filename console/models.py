"""The page of models: who offers them, how they do, what they can and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from console.context import Context
from console.naming import missing
from console.texts import number
from console.theme import box, page_head, text

_CAPABILITIES: Final = ("tools", "vision", "reasoning", "structured_output", "embeddings")
_LOCATIONS: Final = frozenset({"cloud", "local", "embedded"})
SHOWN_MODELS: Final = 4


class ModelsPage:
    """Providers and their models: those that can be used first, the others with what is missing."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def open(self) -> None:
        """Raises ApiError."""
        context, t = self._context, self._context.t
        providers = (await context.api.call("GET", "/v1/providers"))["providers"]
        usable = [one for one in providers if one["usable"]]
        others = [one for one in providers if not one["usable"]]
        with box("page"):
            page_head(t("models.title"), t("models.lead"))
            with box("cards"):
                for provider in usable:
                    self._provider(provider)
            if others:
                text(t("models.others"), "section", "h2")
                with box("list"):
                    for provider in others:
                        self._missing(provider)

    def _missing(self, provider: Mapping[str, Any]) -> None:
        with box("item").mark("provider"):
            with box("grow"):
                text(provider["provider"], "strong")
                text(missing(str(provider["reason"]), self._context.t), "faint small anywhere")
            self._location(provider)

    def _location(self, provider: Mapping[str, Any]) -> None:
        location = str(provider["location"])
        text(self._context.t(f"location.{location}") if location in _LOCATIONS else location, "chip", "span")

    def _provider(self, provider: Mapping[str, Any]) -> None:
        t, breaker = self._context.t, provider["breaker"]
        health, colour = self._health(provider)
        with box("card stack").style("gap:10px").mark("provider"):
            with box("row-line"):
                text(provider["provider"], "grow one-line strong")
                self._location(provider)
                text(health, f"chip {colour}", "span")
            if breaker["failures"]:
                retry = (
                    f" · {t('health.retry', at=self._context.moment(breaker['retry_at']))}"
                    if breaker["retry_at"]
                    else ""
                )
                text(t("health.failures", n=breaker["failures"]) + retry, "small muted")
            # The default one first, so that it is seen.
            models = sorted(provider["models"], key=lambda one: one["name"] != provider["default_model"])
            for model in models[:SHOWN_MODELS]:
                self._model(model, model["name"] == provider["default_model"])
            if rest := models[SHOWN_MODELS:]:
                with ui.expansion(t("models.more", n=len(rest))).props("dense").classes("step"):
                    for model in rest:
                        self._model(model, False)

    def _health(self, provider: Mapping[str, Any]) -> tuple[str, str]:
        status = provider["breaker"]["status"]
        if status == "open":
            return self._context.t("health.open"), "bad"
        if status == "half_open":
            return self._context.t("health.half_open"), "warn"
        return self._context.t("health.usable"), "good"

    def _model(self, model: Mapping[str, Any], default: bool) -> None:
        t, able, price = self._context.t, model["capabilities"], model["price"]
        with box("ruled"):
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
