"""A skill tried out: a question to the definition as it stands in the form, without keeping a conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from console.api import ApiError
from console.context import Context
from console.naming import tool_title
from console.texts import number
from console.theme import box, prose, text


class Trial:
    """A field for the question and what the skill answered. `draft` gives the definition, `name` whose it is."""

    def __init__(self, context: Context, name: Callable[[], str], draft: Callable[[], Mapping[str, Any]]) -> None:
        self._context, self._name, self._draft = context, name, draft
        t = context.t
        with box("card stack"):
            text(t("skills.try"), "strong")
            text(t("skills.try_text"), "faint small")
            self._question = ui.textarea(t("chat.ask")).props("outlined autogrow dense").mark("trial-question")
            self._button = ui.button(t("skills.ask"), icon="play_arrow", on_click=self._ask, color=None)
            self._button.props("flat no-caps").classes("outline").mark("trial-ask")
            self._answer = box("stack").style("gap:10px")

    async def _ask(self) -> None:
        question, name = (self._question.value or "").strip(), self._name()
        if not question or not name:
            return
        self._button.props("loading")
        try:
            body = {"question": question, "definition": dict(self._draft())}
            answer = await self._context.api.call("POST", f"/v1/skills/{name}/test", json=body)
        except ApiError as error:
            self._answer.clear()
            with self._answer:
                text(self._context.explain(error), "notice bad small").props("role=alert")
            return
        finally:
            self._button.props(remove="loading")
        self._answer.clear()
        with self._answer:
            self._draw(answer)

    def _draw(self, answer: Mapping[str, Any]) -> None:
        t, used = self._context.t, answer["used_tokens"]
        prose(str(answer["answer"]).replace("[", "\\[")).classes("small").mark("trial-answer")
        for call in answer["tools_called"]:
            with box("row-line small"):
                text(tool_title(str(call["name"]), t), "grow one-line")
                denied = call["status"] == "denied"
                status = "skills.not_run" if denied else f"status.{call['status']}"
                text(t(status), f"chip {'warn' if denied else ''}", "span")
        tokens = sum(used.get(kind) or 0 for kind in ("prompt", "completion"))
        facts = [t("chat.tokens", n=number(tokens, self._context.preferences.language))]
        model = (answer.get("meta") or {}).get("model")
        text(" · ".join([*facts, *([str(model)] if model else [])]), "faint small")
