"""What a scripted model answers, whatever wire it goes over, and the policy that behaves like a competent model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages

from domain.usage import estimate_tokens
from providers.extractive.decide import CallTools, Say
from providers.extractive.model import build


@dataclass(frozen=True)
class Call:
    """A tool call; `arguments` is the raw text that goes over the wire, valid JSON or not."""

    name: str
    arguments: str
    id: str = "call_1"
    extra: dict[str, Any] | None = None
    """`extra_content`, as Gemini signs its calls on OpenAI's wire."""


@dataclass(frozen=True)
class Reply:
    """One answer. `pieces` are its text deltas."""

    pieces: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    prompt_tokens: int = 10
    completion_tokens: int = 5
    finish: str | None = None
    """None: 'tool_calls' where there are calls, else 'stop'."""
    stall_after: int | None = None
    """The stream falls silent after so many chunks, until the client leaves."""

    @property
    def finish_reason(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")


Policy = Callable[[dict[str, Any]], Reply]
"""From a request's JSON body to the answer."""


def fixed(*pieces: str, **kwargs: Any) -> Policy:
    """Always the same text."""
    reply = Reply(list(pieces), **kwargs)
    return lambda body: reply


def script(*replies: Reply) -> Policy:
    """The replies in turn, then the last again and again."""
    left = list(replies)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]


def competent(analyse: Callable[[str], list[str]]) -> Policy:
    """Delegates, searches, quotes with [n], finishes and saves notes: the extractive decisions behind a network
    wire."""
    model = build(analyse)

    def answer(body: dict[str, Any]) -> Reply:
        messages = _messages(body["messages"])
        prompt = sum(estimate_tokens(message.text) for message in messages)
        match model.decide(messages, body.get("tools") or []):
            case Say(text, _):
                words = text.split(" ")
                pieces = [word + (" " if i + 1 < len(words) else "") for i, word in enumerate(words)]
                return Reply(pieces, prompt_tokens=prompt, completion_tokens=estimate_tokens(text))
            case CallTools(calls, _):
                made = [Call(c.name, json.dumps(c.arguments, ensure_ascii=False), c.id) for c in calls]
                spent = sum(estimate_tokens(call.arguments) for call in made)
                return Reply(calls=made, prompt_tokens=prompt, completion_tokens=spent)

    return answer


def _messages(wire: list[dict[str, Any]]) -> list[BaseMessage]:
    """OpenAI's and Ollama's messages alike. Ollama gives arguments as objects and its calls no ids."""
    plain: list[dict[str, Any]] = []
    unanswered: list[str] = []
    for number, message in enumerate(wire):
        message = {
            key: value for key, value in message.items() if value is not None and key not in ("images", "thinking")
        }
        calls = []
        for i, call in enumerate(message.get("tool_calls") or []):
            function = dict(call["function"])
            if not isinstance(function["arguments"], str):
                function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
            call_id = call.get("id") or f"{number}-{i}"
            unanswered.append(call_id)
            calls.append({"type": "function", "id": call_id, "function": function})
        if calls:
            message["tool_calls"] = calls
        if message["role"] == "tool" and message.get("tool_call_id") not in unanswered and unanswered:
            message["tool_call_id"] = unanswered[0]
        if message["role"] == "tool":
            unanswered.remove(message["tool_call_id"])
        plain.append({"content": "", **message})
    return list(convert_to_messages(plain))
