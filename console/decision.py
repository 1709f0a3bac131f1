"""An action that waits for a person: approved, changed or rejected where the conversation stands.

Understands both forms of LangChain's human-in-the-loop requests: one interrupt a call (`tool_approval`) and one a turn
(`action_requests`, answered together).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from console.context import Context
from console.naming import tool_title
from console.theme import box, text

Decide = Callable[[Any], Awaitable[None]]
"""Goes on with the run; takes what `resume` is to be."""


@dataclass(frozen=True, slots=True)
class Action:
    """What an agent wants to do. `allowed` are the kinds of answers that are taken."""

    name: str
    arguments: Any
    description: str
    allowed: frozenset[str]


def actions_of(value: Any) -> list[Action]:
    """The actions an interrupt asks about, in order; [] for an interrupt that asks something else."""
    if not isinstance(value, Mapping):
        return []
    requests = value.get("action_requests")
    if isinstance(requests, list):
        allowed = {one.get("action_name"): one.get("allowed_decisions") for one in value.get("review_configs") or []}
        return [_action(one, allowed.get(one.get("name"))) for one in requests]
    return [_action(value, value.get("allowed_decisions"))] if value.get("name") else []


def resume_of(interrupt: Mapping[str, Any], decisions: list[dict[str, Any]]) -> dict[str, Any]:
    """What answers this interrupt and no other that waits."""
    batched = isinstance(interrupt.get("value"), Mapping) and "action_requests" in interrupt["value"]
    answer = {"decisions": decisions} if batched else decisions[0]
    return {str(interrupt["id"]): answer}


def _action(request: Mapping[str, Any], allowed: Any) -> Action:
    kinds = frozenset(allowed) if isinstance(allowed, list) else frozenset({"approve", "edit", "reject"})
    arguments = request.get("args", request.get("arguments", {}))
    return Action(str(request.get("name")), arguments, str(request.get("description") or ""), kinds)


class Decision:
    """The cards of one interrupt. The run goes on once each of its actions is decided."""

    def __init__(self, context: Context, interrupt: Mapping[str, Any], decide: Decide) -> None:
        self._context, self._interrupt, self._decide = context, interrupt, decide
        self._actions = actions_of(interrupt.get("value"))
        self._answers: dict[int, dict[str, Any]] = {}
        if not self._actions:
            text(json.dumps(interrupt.get("value"), ensure_ascii=False, indent=2), "code", "pre")
        for at, action in enumerate(self._actions):
            self._card(at, action)

    def _card(self, at: int, action: Action) -> None:
        t = self._context.t
        with box("card stack").mark("approval") as card:
            with box("row-line"):
                ui.icon("gpp_maybe", size="20px").style("color:var(--warn)")
                text(t("approval.title"), tag="b")
            text(t("approval.text", name=tool_title(action.name, t)), "muted")
            if action.description:
                text(action.description, "small anywhere")
            given = json.dumps(action.arguments, ensure_ascii=False, indent=2)
            field = ui.textarea(t("approval.arguments"), value=given).props("outlined autogrow").classes("mono")
            field.mark("approval-arguments").set_enabled("edit" in action.allowed)
            with box("row-line"):
                if "approve" in action.allowed:
                    approve = ui.button(t("approval.approve"), color=None).props("flat no-caps").classes("solid")
                    approve.mark("approve").on_click(lambda: self._approved(at, card, field, given))
                if "reject" in action.allowed:
                    reject = ui.button(t("approval.reject"), color=None).props("flat no-caps").classes("outline")
                    reject.mark("reject").on_click(lambda: self._answered(at, card, {"type": "reject"}))

    async def _approved(self, at: int, card: ui.element, field: ui.textarea, given: str) -> None:
        if field.value == given:
            await self._answered(at, card, {"type": "approve"})
            return
        try:
            arguments = json.loads(field.value or "")
        except ValueError as wrong:
            ui.notify(self._context.t("approval.not_json", message=wrong), type="warning")
            return
        edited = {"name": self._actions[at].name, "args": arguments}
        await self._answered(at, card, {"type": "edit", "edited_action": edited})

    async def _answered(self, at: int, card: ui.element, answer: dict[str, Any]) -> None:
        self._answers[at] = answer
        card.set_visibility(False)
        if len(self._answers) == len(self._actions):
            answers = [self._answers[n] for n in range(len(self._actions))]
            await self._decide(resume_of(self._interrupt, answers))
