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

from console.agents import Agents
from console.arguments import Arguments
from console.context import Context
from console.dialogs import ask_text
from console.naming import tool_about, tool_title
from console.theme import box, text
from console.transcript import MAIN

Decide = Callable[[Any], Awaitable[None]]
"""Goes on with the run; takes what `resume` is to be."""


@dataclass(frozen=True, slots=True)
class Action:
    """What an agent wants to do. `allowed` are the kinds of answers that are taken, `schema` is the arguments', `title` is what the
    tool's server calls it; None if unknown."""

    name: str
    arguments: Any
    description: str
    allowed: frozenset[str]
    schema: Any = None
    title: str | None = None


def actions_of(value: Any) -> list[Action]:
    """The actions an interrupt asks about, in order; [] for an interrupt that asks something else."""
    if not isinstance(value, Mapping):
        return []
    requests = value.get("action_requests")
    if isinstance(requests, list):
        reviews = {one.get("action_name"): one for one in value.get("review_configs") or []}
        return [_action(one, reviews.get(one.get("name"), {})) for one in requests]
    return [_action(value, value)] if value.get("name") else []


def resume_of(interrupt: Mapping[str, Any], decisions: list[dict[str, Any]]) -> dict[str, Any]:
    """What answers this interrupt and no other that waits."""
    batched = isinstance(interrupt.get("value"), Mapping) and "action_requests" in interrupt["value"]
    answer = {"decisions": decisions} if batched else decisions[0]
    return {str(interrupt["id"]): answer}


def _action(request: Mapping[str, Any], review: Mapping[str, Any]) -> Action:
    allowed = review.get("allowed_decisions")
    kinds = frozenset(allowed) if isinstance(allowed, list) else frozenset({"approve", "edit", "reject"})
    arguments = request.get("args", request.get("arguments", {}))
    said = str(request.get("description") or "")
    return Action(str(request.get("name")), arguments, said, kinds, review.get("args_schema"), request.get("title"))


class Decision:
    """The cards of one interrupt. The run goes on once each of its actions is decided."""

    def __init__(self, context: Context, agents: Agents, interrupt: Mapping[str, Any], decide: Decide) -> None:
        self._context, self._agents, self._interrupt, self._decide = context, agents, interrupt, decide
        value = interrupt.get("value")
        self._actions = actions_of(value)
        self._agent = str(value["agent"]) if isinstance(value, Mapping) and value.get("agent") else MAIN
        self._answers: dict[int, dict[str, Any]] = {}
        if not self._actions:
            text(json.dumps(value, ensure_ascii=False, indent=2), "code", "pre")
        for at, action in enumerate(self._actions):
            self._card(at, action)

    def _card(self, at: int, action: Action) -> None:
        t = self._context.t
        with (
            box("card approval stack").props(f'role=group aria-label="{t("approval.title")}"').mark("approval") as card
        ):
            with box("row-line"):
                ui.icon("front_hand", size="20px").style("color:var(--warn)")
                text(t("approval.title"), "strong")
            name = tool_title(action.name, t, action.title)
            text(t("approval.text", agent=self._agents.title(self._agent), name=name), "anywhere").tooltip(action.name)
            if said := tool_about(action.name, t, action.description):
                text(said, "small muted anywhere")
            fields = Arguments(self._context, action.name, action.arguments, action.schema)
            fields.allow(False)
            with box("row-line"):
                if "approve" in action.allowed:
                    approve = _button(t("approval.approve"), "solid").mark("approve")
                    approve.on_click(lambda: self._answered(at, card, {"type": "approve"}))
                if "edit" in action.allowed:
                    changed = _button(t("approval.approve_changed"), "solid").mark("approve-changed")
                    changed.on_click(lambda: self._edited(at, card, fields)).set_visibility(False)
                    edit = _button(t("approval.edit"), "outline").mark("approval-edit")
                    shown = [one for one in (approve if "approve" in action.allowed else None, edit) if one is not None]
                    edit.on_click(lambda: _begin(fields, changed, shown))
                if "reject" in action.allowed:
                    reject = _button(t("approval.reject"), "outline").mark("reject")
                    reject.on_click(lambda: self._rejected(at, card))

    async def _edited(self, at: int, card: ui.element, fields: Arguments) -> None:
        try:
            arguments = fields.value()
        except ValueError as wrong:
            ui.notify(str(wrong), type="warning")
            return
        if arguments == self._actions[at].arguments:
            await self._answered(at, card, {"type": "approve"})
            return
        edited = {"name": self._actions[at].name, "args": arguments}
        await self._answered(at, card, {"type": "edit", "edited_action": edited})

    async def _rejected(self, at: int, card: ui.element) -> None:
        t = self._context.t
        why = await ask_text(
            t, t("approval.reject_title"), t("approval.why"), "", limit=2000, lines=True, action=t("approval.reject")
        )
        if why is not None:
            await self._answered(at, card, {"type": "reject", "message": why} if why else {"type": "reject"})

    async def _answered(self, at: int, card: ui.element, answer: dict[str, Any]) -> None:
        self._answers[at] = answer
        card.set_visibility(False)
        if len(self._answers) == len(self._actions):
            answers = [self._answers[n] for n in range(len(self._actions))]
            await self._decide(resume_of(self._interrupt, answers))


def _button(label: str, look: str) -> ui.button:
    return ui.button(label, color=None).props("flat no-caps").classes(look)


def _begin(fields: Arguments, changed: ui.button, shown: list[ui.button]) -> None:
    fields.allow(True)
    changed.set_visibility(True)
    for button in shown:
        button.set_visibility(False)
