"""A reply as the chunks of a stream: OpenAI's server-sent events and Ollama's JSON lines. Also what goes wrong in
streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from tests.upstream.reply import Reply

StreamFault = Literal[
    "eof",  # the stream ends cleanly, without a finish
    "eof_in_arguments",
    "length_in_arguments",  # finish_reason "length" in the middle of a call's arguments
    "no_index",
    "empty_id",
    "repeated_names",
    "bad_json",
    "reset_midway",
    "stall",
    "keepalives",
]
SPLIT = 12
"""Characters of arguments in one delta."""


def openai_sse(reply: Reply, model: str, *, usage: bool, fault: StreamFault | None = None) -> Iterator[bytes]:
    """The role, the deltas, the finish, the usage where asked for, [DONE]."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse({**head, "choices": [choice], **({"usage": None} if usage else {})})

    yield event({"role": "assistant", "content": ""})
    for thought in reply.reasoning:
        yield event({"reasoning_content": thought})
    for piece in reply.pieces:
        yield event({"content": piece})
    for index, call in enumerate(reply.calls):
        place = {} if fault == "no_index" else {"index": index}
        first = {"name": call.name, "arguments": ""}
        yield event(
            {
                "tool_calls": [
                    {**place, "id": "" if fault == "empty_id" else call.id, "type": "function", "function": first}
                ]
            }
        )
        parts = [call.arguments[i : i + SPLIT] for i in range(0, len(call.arguments), SPLIT)]
        if fault in ("eof_in_arguments", "length_in_arguments"):
            parts = parts[:-1]
        for part in parts:
            again = {"name": call.name} if fault == "repeated_names" else {}
            yield event({"tool_calls": [{**place, "function": {**again, "arguments": part}}]})
    if fault in ("eof", "eof_in_arguments"):
        return
    if fault == "bad_json":
        yield b'data: {"id": "chatcmpl-1", "choices": [{"ind\n\n'
        return
    yield event({}, "length" if fault == "length_in_arguments" else reply.finish_reason)
    if usage:
        yield _sse({**head, "choices": [], "usage": openai_usage(reply)})
    yield b"data: [DONE]\n\n"


def openai_usage(reply: Reply) -> dict[str, int]:
    total = reply.prompt_tokens + reply.completion_tokens
    return {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens, "total_tokens": total}


def openai_json(reply: Reply, model: str) -> dict[str, Any]:
    """The answer in one piece."""
    calls = [
        {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in reply.calls
    ]
    message = {
        "role": "assistant",
        "content": "".join(reply.pieces) or None,
        **({"tool_calls": calls} if calls else {}),
    }
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    return {**head, "choices": [choice], "usage": openai_usage(reply)}


def ollama_lines(reply: Reply, model: str, *, fault: StreamFault | None = None) -> Iterator[bytes]:
    """One JSON object a line, the last with `done`. Tool calls come whole, with arguments as objects and without
    ids."""

    def line(message: dict[str, Any], **rest: Any) -> bytes:
        body = {"model": model, "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", **message}}
        return _line({**body, "done": False, **rest})

    for thought in reply.reasoning:
        yield line({"content": "", "thinking": thought})
    for piece in reply.pieces:
        yield line({"content": piece})
    if reply.calls:
        calls = [{"function": {"name": c.name, "arguments": json.loads(c.arguments)}} for c in reply.calls]
        yield line({"content": "", "tool_calls": calls})
    if fault in ("eof", "eof_in_arguments", "length_in_arguments", "no_index", "empty_id", "repeated_names"):
        return
    if fault == "bad_json":
        yield b'{"model": "m", "message": {"ro\n'
        return
    reason = "stop" if reply.calls else reply.finish_reason  # as Ollama does
    counts = {"prompt_eval_count": reply.prompt_tokens, "eval_count": reply.completion_tokens}
    yield line({"content": ""}, done=True, done_reason=reason, total_duration=1, **counts)


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
