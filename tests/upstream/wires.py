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
    "cut",  # the stream ends cleanly after so many chunks
    "half_chunk",  # the same, in the middle of a chunk
    "error_midway",  # the provider reports an error after so many chunks and ends the stream
    "stall",
    "keepalives",
    "reset_at_end",  # the connection breaks after the last chunk, before the response's end
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
        named = {"id": "" if fault == "empty_id" else call.id, "type": "function", "function": first}
        signed = {"extra_content": call.extra} if call.extra else {}
        yield event({"tool_calls": [{**place, **named, **signed}]})
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


def anthropic_sse(reply: Reply, model: str, *, fault: StreamFault | None = None) -> Iterator[bytes]:
    """message_start, the blocks, message_delta with the reason and the usage, message_stop."""
    usage = {"input_tokens": reply.prompt_tokens, "output_tokens": 1}
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
               "stop_sequence": None, "usage": usage}  # fmt: skip
    yield _event({"type": "message_start", "message": message})
    yield _event({"type": "ping"})
    index = 0
    if reply.reasoning:
        block: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
        yield _event({"type": "content_block_start", "index": index, "content_block": block})
        for delta in (*({"type": "thinking_delta", "thinking": thought} for thought in reply.reasoning),
                      {"type": "signature_delta", "signature": "c2ln"}):  # fmt: skip
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
        index += 1
    if reply.pieces:
        yield _event({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
        for piece in reply.pieces:
            delta = {"type": "text_delta", "text": piece}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
        index += 1
    for call in reply.calls:
        identifier = "" if fault == "empty_id" else call.id
        block = {"type": "tool_use", "id": identifier, "name": call.name, "input": {}}
        yield _event({"type": "content_block_start", "index": index, "content_block": block})
        parts = [call.arguments[i : i + SPLIT] for i in range(0, len(call.arguments), SPLIT)]
        if fault in ("eof_in_arguments", "length_in_arguments"):
            parts = parts[:-1]
        for part in parts:
            delta = {"type": "input_json_delta", "partial_json": part}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        if fault != "length_in_arguments":
            yield _event({"type": "content_block_stop", "index": index})
        index += 1
    if fault in ("eof", "eof_in_arguments", "no_index", "repeated_names"):
        return
    if fault == "bad_json":
        yield b'event: message_delta\ndata: {"type": "message_de\n\n'
        return
    reasons = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}
    reason = "max_tokens" if fault == "length_in_arguments" else reasons.get(reply.finish_reason, reply.finish_reason)
    spent = {"input_tokens": reply.prompt_tokens, "output_tokens": reply.completion_tokens}
    yield _event({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": spent})
    yield _event({"type": "message_stop"})


def error(media_type: str) -> bytes:
    """The error a provider reports in the middle of a stream, on any of the wires."""
    told = {"type": "overloaded_error", "message": "Overloaded"}
    if "event-stream" in media_type:
        return _event({"type": "error", "error": told})
    return _line({"error": told["message"]})


def as_openai(body: dict[str, Any]) -> dict[str, Any]:
    """A request in Anthropic's form in OpenAI's, for the policies."""
    messages: list[dict[str, Any]] = []
    if system := body.get("system"):
        messages.append({"role": "system", "content": _text(system)})
    for message in body["messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else [_text_block(message["content"])]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        calls = [
            {"id": b["id"], "type": "function", "function": {"name": b["name"], "arguments": json.dumps(b["input"])}}
            for b in blocks
            if b["type"] == "tool_use"
        ]
        for block in blocks:
            if block["type"] == "tool_result":
                messages.append(
                    {"role": "tool", "tool_call_id": block["tool_use_id"], "content": _text(block.get("content", ""))}
                )
        if texts or calls:
            plain = {"role": message["role"], "content": "".join(texts)}
            messages.append({**plain, "tool_calls": calls} if calls else plain)
    tools = [
        {"type": "function", "function": {"name": t["name"], "description": t.get("description", ""),
                                          "parameters": t["input_schema"]}}
        for t in body.get("tools", [])
    ]  # fmt: skip
    return {**body, "messages": messages, "tools": tools}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def _text_block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\n".encode() + _sse(value)


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
