"""Messages at the door: any form clients send, made into the one form runs are started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from langchain_core.messages import BaseMessage, RemoveMessage, convert_to_messages

from domain.errors import InvalidInput, TooLarge
from domain.ids import new_id
from domain.text import clean, clean_json

TYPES = {
    "human": "human",
    "user": "human",
    "ai": "ai",
    "assistant": "ai",
    "system": "system",
    "developer": "system",
    "tool": "tool",
}
"""The types and roles a message may come with, and the type it gets."""
_KEPT = ("name", "tool_calls", "tool_call_id", "status", "artifact", "additional_kwargs", "response_metadata")
_IDS = UUID("0b7e5a2e-6a53-5d0c-8b0e-5b6f0f4b7d11")
_MODEL_BLOCKS = frozenset({"reasoning", "thinking", "tool_use", "tool_call", "refusal"})


def canonical_messages(
    value: Any, field: str, *, max_chars: int, removable: bool = False, seed: str | None = None
) -> list[dict[str, Any]]:
    """`value` as message dicts with `type`, `content` and an `id` (the client's, or a fresh one).

    Takes a list or a single message; a message is a dict with `type` or `role`, a `[role, content]` pair, or a string (human).
    With `removable`, `{type: remove, id}` is taken, too. With `seed` the ids given are always the same for it, so that a
    repeated request is the same request. Raises InvalidInput naming the message and the field that is wrong, or
    TooLarge where all texts together have more than `max_chars` characters.
    """
    items = value if isinstance(value, list) else [value]
    if not items:
        raise InvalidInput(field, "must have at least one message")
    messages = [_message(item, f"{field}[{index}]", removable, seed) for index, item in enumerate(items)]
    length = sum(_length(message.get("content", "")) for message in messages)
    if length > max_chars:
        raise TooLarge(
            f"{field}: {length} characters; at most {max_chars} are taken.",
            limit=max_chars,
            unit="characters",
            field=field,
        )
    return messages


def revive(messages: Sequence[Mapping[str, Any]]) -> list[BaseMessage]:
    """LangChain messages of canonical dicts."""
    return [
        RemoveMessage(id=message["id"]) if message["type"] == "remove" else convert_to_messages([dict(message)])[0]
        for message in messages
    ]


def _message(item: Any, field: str, removable: bool, seed: str | None) -> dict[str, Any]:
    if isinstance(item, str):
        item = {"type": "human", "content": item}
    elif isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
        item = {"role": item[0], "content": item[1]}
    if not isinstance(item, dict):
        raise InvalidInput(field, "must be an object with type and content, a [role, content] pair, or a string")
    name = "type" if "type" in item or "role" not in item else "role"
    if removable and item.get(name) == "remove" and isinstance(item.get("id"), str):
        return {"type": "remove", "id": clean(item["id"])}
    kind = TYPES.get(item[name]) if isinstance(item.get(name), str) else None
    if kind is None:
        raise InvalidInput(f"{field}.{name}", f"must be one of {', '.join(TYPES)}", given=str(item.get(name))[:100])
    identifier = item.get("id")
    if identifier is not None and not (isinstance(identifier, str) and 0 < len(identifier) <= 200):
        raise InvalidInput(f"{field}.id", "must be a string of at most 200 characters")
    message = {
        "type": kind,
        "content": _content(item.get("content"), kind, f"{field}.content"),
        "id": clean(identifier) if identifier else _fresh_id(seed, field),
        **{key: clean_json(item[key]) for key in _KEPT if item.get(key) is not None},
    }
    calls = message.get("tool_calls", [])
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise InvalidInput(f"{field}.tool_calls", "must be a list of objects with name, args and id")
    try:
        convert_to_messages([message])
    except (ValueError, TypeError, KeyError, AttributeError) as bad:
        raise InvalidInput(field, _reason(bad)) from bad
    return message


def _fresh_id(seed: str | None, field: str) -> str:
    return new_id() if seed is None else str(uuid5(_IDS, f"{seed}\n{field}"))


def _content(content: Any, kind: str, field: str) -> str | list[Any]:
    if content is None and kind == "ai":
        return ""
    if isinstance(content, str):
        return clean(content)
    if not isinstance(content, list):
        raise InvalidInput(field, "must be a string or a list of content blocks")
    return [_block(block, kind, f"{field}[{index}]") for index, block in enumerate(content)]


def _block(block: Any, kind: str, field: str) -> Any:
    if isinstance(block, str):
        return clean(block)
    if not isinstance(block, dict):
        raise InvalidInput(field, "must be a string or an object with a type")
    named = block.get("type")
    if named == "text":
        if not isinstance(block.get("text"), str):
            raise InvalidInput(f"{field}.text", "must be a string")
        return clean_json(block)
    if kind == "ai" and named in _MODEL_BLOCKS:
        return clean_json(block)
    raise InvalidInput(
        f"{field}.type", "only text blocks are taken; upload documents to /v1/documents", supported=["text"]
    )


def _length(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(len(block) if isinstance(block, str) else len(str(block.get("text", ""))) for block in content)


def _reason(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if callable(errors):
        return (
            "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in errors(include_url=False))
            or "is wrong"
        )
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
