"""From a conversation's state to the messages a model is called with.

Of earlier turns only what was said remains: questions and answers without their markers, whose numbers meant other sources. Of
the turn in progress everything remains, tool calls and results included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from domain.knowledge import Source
from domain.skills import Skill
from domain.sources import render_notes, render_sources
from nodes.budget import Parts
from nodes.remembered import Remembered
from nodes.state import State, Summary
from nodes.texts import text
from tools.delegation import FINISH, SWITCH

CHILD_KEY = "child_thread_id"
"""In `additional_kwargs` of messages that were exchanged with a child, shown to the reader, not to the supervisor's model."""
CONSULTATIONS = 10
"""Of a conversation's children, the latest that a prompt names."""
_MARKER = re.compile(r"\s?\[\d+(?:\s*,\s*\d+)*\](?!\()")


def last_question(messages: Sequence[BaseMessage]) -> int:
    """The index of the last human message; -1 where there is none."""
    return next((i for i in range(len(messages) - 1, -1, -1) if isinstance(messages[i], HumanMessage)), -1)


def pending_calls(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The tool calls of the last AI message that have no tool message yet."""
    for i in range(len(messages) - 1, -1, -1):
        message = messages[i]
        if isinstance(message, AIMessage):
            answered = {m.tool_call_id for m in messages[i + 1 :] if isinstance(m, ToolMessage)}
            return [dict(call) for call in message.tool_calls if call["id"] not in answered]
        if not isinstance(message, ToolMessage):
            return []
    return []


def calling_message(messages: Sequence[BaseMessage]) -> AIMessage:
    """The message of the step in progress: the last AI message."""
    return next(message for message in reversed(messages) if isinstance(message, AIMessage))


def build(state: State, skill: Skill, organization_name: str) -> list[AnyMessage]:
    """The whole prompt, nothing trimmed: the system message, then the conversation."""
    return assemble(parts(state, skill, organization_name))


def parts(state: State, skill: Skill, organization_name: str) -> Parts:
    """What the prompt is made of. Of what the summary covers the messages themselves are no part."""
    messages, turn = state["messages"], state["turn"]
    start = max(last_question(messages), 0)
    summary = state.get("summary")
    covered = _covered(messages[:start], summary)
    current = [message for message in messages[start:] if not message.additional_kwargs.get(CHILD_KEY)]
    opening = [
        skill.prompt.strip(),
        f"Organisation: {organization_name}. Today is {datetime.now(UTC).date().isoformat()}. "
        + text("answer_in", turn["language"]),
    ]
    if known := _consultations(messages):
        opening.append("Earlier consultations of this conversation, to continue by id:\n" + "\n".join(known))
    reason = turn["stop_reason"]
    return Parts(
        frame="\n\n".join(opening),
        closing="" if reason is None else text("limit_reached", turn["language"]).format(reason=reason),
        summary=summary["text"] if summary and covered else None,
        notes=turn["notes"],
        passages=[
            Source.model_validate(source) for source in state.get("sources", []) if source.get("in_context", True)
        ],
        history=[said for message in messages[covered:start] if (said := as_said(message)) is not None],
        turn=current,
        cited=_cited(current[1:]),
    )


def assemble(given: Parts) -> list[AnyMessage]:
    """The messages that the parts make."""
    system = [given.frame]
    if given.summary:
        told = given.summary.replace("<", "‹").replace(">", "›")
        system.append(f"What was said earlier in this conversation, in short:\n<summary>\n{told}\n</summary>")
    if given.notes:
        system.append(f"What the organisation asked to remember:\n{render_notes(given.notes)}")
    if given.passages:
        system.append(f"Numbered sources found for this question:\n{render_sources(given.passages)}")
    if given.closing:
        system.append(given.closing)
    return [SystemMessage("\n\n".join(system)), *given.history, *given.turn]


def _covered(earlier: Sequence[BaseMessage], summary: Summary | None) -> int:
    """How many messages the summary stands for; 0 where the last of them is no longer there, which makes it worthless."""
    if summary is None:
        return 0
    return next((i + 1 for i in range(len(earlier) - 1, -1, -1) if earlier[i].id == summary["until"]), 0)


def _cited(step: Sequence[BaseMessage]) -> frozenset[int]:
    """The source numbers in what the models have said in this turn, children included."""
    said = (m.text for m in step if isinstance(m, AIMessage) or (isinstance(m, ToolMessage) and m.name == SWITCH))
    return frozenset(int(n) for words in said for group in _MARKER.findall(words) for n in re.findall(r"\d+", group))


def without_markers(said: str) -> str:
    """A text without its [n]: elsewhere the numbers mean other sources."""
    return _MARKER.sub("", said) if "[" in said else said


def as_said(message: BaseMessage) -> AnyMessage | None:
    """A message of an earlier turn as it is remembered, the same for every prompt it is part of; None where nothing was said."""
    return _SAID.get(message, _as_said)


_SAID: Remembered[AnyMessage | None] = Remembered()


def _as_said(message: BaseMessage) -> AnyMessage | None:
    if message.additional_kwargs.get(CHILD_KEY):
        return None
    if isinstance(message, HumanMessage):
        return message
    if isinstance(message, AIMessage):
        said = message.text or next(
            (c["args"].get("summary", "") for c in message.tool_calls if c["name"] == FINISH), ""
        )
        return AIMessage(without_markers(said), id=message.id) if said else None
    return None


def _consultations(messages: Sequence[BaseMessage]) -> list[str]:
    seen: dict[str, str] = {}
    # its class is looked at first: of a thousand messages hardly one is a tool's, and isinstance of a model takes ten times as long
    results = [message for message in messages[: max(last_question(messages), 0)] if type(message) is ToolMessage]
    for message in results:
        if isinstance(message.artifact, dict) and CHILD_KEY in message.artifact:
            child = message.artifact[CHILD_KEY]
            seen[child] = f"- {message.artifact['agent']}, child_thread_id {child}: {message.artifact['task'][:200]}"
    return list(seen.values())[-CONSULTATIONS:]
