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
from nodes.state import State
from nodes.texts import text
from tools.delegation import FINISH

CHILD_KEY = "child_thread_id"
"""In `additional_kwargs` of messages that were exchanged with a child, shown to the reader, not to the supervisor's model."""
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


def build(state: State, skill: Skill, organization_name: str) -> list[AnyMessage]:
    """The prompt: the system message, then the conversation."""
    messages = state["messages"]
    start = last_question(messages)
    earlier = [said for message in messages[:start] if (said := _as_said(message)) is not None]
    current = [message for message in messages[max(start, 0) :] if not message.additional_kwargs.get(CHILD_KEY)]
    return [SystemMessage(_system(state, skill, organization_name)), *earlier, *current]


def _system(state: State, skill: Skill, organization_name: str) -> str:
    turn = state["turn"]
    sources = [Source.model_validate(source) for source in state.get("sources", []) if source.get("in_context", True)]
    parts = [
        skill.prompt.strip(),
        f"Organisation: {organization_name}. Today is {datetime.now(UTC).date().isoformat()}. "
        + text("answer_in", turn["language"]),
    ]
    if turn["notes"]:
        parts.append(f"What the organisation asked to remember:\n{render_notes(turn['notes'])}")
    if sources:
        parts.append(f"Numbered sources found for this question:\n{render_sources(sources)}")
    if known := _consultations(state["messages"]):
        parts.append("Earlier consultations of this conversation, to continue by id:\n" + "\n".join(known))
    if turn["stop_reason"] is not None:
        parts.append(text("limit_reached", turn["language"]).format(reason=turn["stop_reason"]))
    return "\n\n".join(parts)


def _as_said(message: BaseMessage) -> AnyMessage | None:
    """A message of an earlier turn as it is remembered; None where nothing was said."""
    if message.additional_kwargs.get(CHILD_KEY):
        return None
    if isinstance(message, HumanMessage):
        return message
    if isinstance(message, AIMessage):
        said = message.text or next(
            (c["args"].get("summary", "") for c in message.tool_calls if c["name"] == FINISH), ""
        )
        return AIMessage(_MARKER.sub("", said), id=message.id) if said else None
    return None


def _consultations(messages: Sequence[BaseMessage]) -> list[str]:
    seen: dict[str, str] = {}
    for message in messages[: max(last_question(messages), 0)]:
        if isinstance(message, ToolMessage) and isinstance(message.artifact, dict) and CHILD_KEY in message.artifact:
            child = message.artifact[CHILD_KEY]
            seen[child] = f"- {message.artifact['agent']}, child_thread_id {child}: {message.artifact['task'][:200]}"
    return list(seen.values())
