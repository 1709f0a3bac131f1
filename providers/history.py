"""A conversation in the form every provider accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def repair_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Copies where something had to change, the same objects where not.

    Text blocks (with their citations, which no provider takes back) become plain text; other blocks stay. Names are
    cut to what OpenAI allows. An assistant message with neither text nor tool calls is left out, as providers refuse
    it.
    """
    return [repaired for message in messages if (repaired := _repair(message)) is not None]


def _repair(message: BaseMessage) -> BaseMessage | None:
    changes: dict[str, Any] = {}
    content = message.content
    if isinstance(content, list):
        changes["content"] = content = _plain(content)
    name = message.name
    if name is not None:
        clean = _NOT_IN_NAME.sub("_", name).strip("_")[:64] or None
        if clean != name:
            changes["name"] = clean
    if message.type == "ai":
        if not content and not getattr(message, "tool_calls", None):
            return None
        if message.response_metadata.get("output_version") == "v1":
            metadata = {key: value for key, value in message.response_metadata.items() if key != "output_version"}
            changes["response_metadata"] = metadata
    return message.model_copy(update=changes) if changes else message


def _plain(blocks: list[str | dict[str, Any]]) -> str | list[str | dict[str, Any]]:
    """One string where all blocks are text; reasoning and tool-call blocks are dropped (the calls are on the
    message)."""
    kept: list[str | dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, str):
            kept.append(block)
        elif block.get("type") == "text":
            kept.append(str(block.get("text", "")))
        elif block.get("type") not in (
            "reasoning",
            "thinking",
            "tool_call",
            "tool_use",
            "invalid_tool_call",
            "tool_call_chunk",
        ):
            kept.append(block)
    if all(isinstance(block, str) for block in kept):
        return "".join(block for block in kept if isinstance(block, str))
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in kept]
