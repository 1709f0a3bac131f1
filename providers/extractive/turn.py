"""What the extractive model reads in the messages it is given: the question, the material, the tools, the results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from domain.sources import SourceText, read_notes, read_sources
from providers.extractive.lexicon import Language, language_of

_CONTEXT = "\n\nContext: "
_TODAY = re.compile(r"^Organisation: .*?\. Today is (\d{4}-\d{2}-\d{2})\.", re.MULTILINE)
_FEW_WORDS = 4
_FURTHEST = 3
"""Questions back."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tool call of this turn and what came back. `content` is empty where it failed, `problem` None where it did
    not."""

    name: str
    arguments: dict[str, Any]
    content: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of the model. `background` is what the question may lean on: a task's context and the questions
    before it."""

    question: str
    background: str
    language: Language
    sources: list[SourceText]
    notes: list[str]
    tools: Mapping[str, dict[str, Any]]
    outcomes: list[Outcome]
    today: date | None
    """As the prompt states it."""


def read(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]) -> Turn:
    """Read a conversation whose last human message is the question; what follows it is this turn's tool traffic."""
    last = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=-1)
    asked = messages[last].text if last >= 0 else ""
    question, _, context = asked.partition(_CONTEXT)
    before = [m.text.partition(_CONTEXT)[0] for m in messages[: max(last, 0)] if isinstance(m, HumanMessage)]
    system = "\n\n".join(m.text for m in messages if isinstance(m, SystemMessage))
    outcomes = _outcomes(messages[last + 1 :])
    sources = {source.n: source for source in read_sources(system)}
    for outcome in outcomes:
        sources.update((source.n, source) for source in read_sources(outcome.content))
    known = (language_of(text) for text in (question, *reversed(before)))
    language: Language = next((found for found in known if found is not None), "en")
    return Turn(
        question=question.strip(),
        background="\n".join([*_leant_on(before), context]).strip(),
        language=language,
        sources=list(sources.values()),
        notes=read_notes(system),
        tools={tool["function"]["name"]: dict(tool["function"]) for tool in tools if "function" in tool},
        outcomes=outcomes,
        today=_today(system),
    )


def _today(system: str) -> date | None:
    stated = _TODAY.search(system)
    try:
        return date.fromisoformat(stated[1]) if stated else None
    except ValueError:
        return None


def _leant_on(before: Sequence[str]) -> list[str]:
    """The question before, and while that is but a few words the one before it."""
    first = len(before) - 1
    while first > 0 and len(before[first].split()) <= _FEW_WORDS and len(before) - first < _FURTHEST:
        first -= 1
    return list(before[max(first, 0) :])


def _outcomes(messages: Sequence[BaseMessage]) -> list[Outcome]:
    calls = {call["id"]: call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls}
    outcomes = []
    for message in messages:
        if isinstance(message, ToolMessage):
            call = calls.get(message.tool_call_id)
            name = call["name"] if call else message.name or ""
            content, problem = _result(message)
            outcomes.append(Outcome(name, dict(call["args"]) if call else {}, content, problem))
    return outcomes


def _result(message: ToolMessage) -> tuple[str, str | None]:
    """The content and the problem of a tool's result, which is a ToolResult as JSON, or from elsewhere plain text."""
    text = message.text
    value = _object(text)
    if value is None or "status" not in value:
        return (text, None) if message.status == "success" else ("", text)
    if value["status"] == "error":
        error = value.get("error") or {}
        return "", str(error.get("message") or value.get("content") or "unknown error")
    content = str(value.get("content") or "")
    inner = _object(content)
    if inner is not None and isinstance(inner.get("summary"), str):
        content = inner["summary"]
    return content, None


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
