"""Anthropic's messages, as they are streamed: events in, fewer and checked events out."""

from __future__ import annotations

from typing import Any

import orjson

from domain.errors import (
    ProviderError,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderUnavailable,
)
from domain.usage import Usage
from providers.failures import of_status, quote
from providers.meter import Meter
from providers.wire.arguments import is_object

Event = dict[str, Any]
_TEXT = {"text_delta": "text", "thinking_delta": "thinking"}
_STATUS = {"authentication_error": 401, "permission_error": 403, "not_found_error": 404, "invalid_request_error": 400,
           "request_too_large": 413}  # fmt: skip


class AnthropicDialect:
    """One answer. Text and thinking of a block are merged; a tool's input goes out whole, at the end of its block."""

    def __init__(self, provider: str, model: str, tools: frozenset[str], meter: Meter) -> None:
        self.provider = provider
        self.closed = False
        self._model = model
        self._tools = tools
        self._meter = meter
        self._out: list[tuple[str, int, Any]] = []
        """What waits: (delta type, block, text parts) or ("event", -1, event), in order."""
        self._inputs: dict[int, tuple[str, list[str]]] = {}
        self._ids: set[str] = set()
        self._spoken = False
        self._finish: str | None = None

    @property
    def held(self) -> bool:
        return bool(self._out)

    @property
    def finished(self) -> bool:
        return self._finish is not None

    def take(self, frame: bytes) -> bool:
        try:
            event = orjson.loads(frame)
        except orjson.JSONDecodeError:
            raise self._broken("sent something that is not JSON", "bad_json") from None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise self._broken("sent something malformed", "malformed")
        try:
            return self._event(event)
        except (AttributeError, TypeError, KeyError, ValueError) as odd:
            raise self._broken(f"sent something malformed ({type(odd).__name__})", "malformed") from odd

    def _event(self, event: Event) -> bool:
        match event.get("type"):
            case "ping":
                return False
            case "error":
                raise self._failure(event.get("error") or {})
            case "message_start":
                usage = event["message"].get("usage") or {}
                self._meter.prompt_tokens = _prompt_tokens(usage) or self._meter.prompt_tokens
                self._pass(event)
                return False
            case "content_block_start":
                return self._block(event)
            case "content_block_delta":
                return self._delta(event)
            case "content_block_stop":
                self._close_input(int(event["index"]))
            case "message_delta":
                self._end_of(event)
            case "message_stop":
                self.closed = True
        self._pass(event)
        return True

    def _pass(self, event: Event) -> None:
        self._out.append(("event", -1, event))

    def _block(self, event: Event) -> bool:
        block = event["content_block"]
        if block["type"] == "tool_use":
            name, identifier = block.get("name") or "", block.get("id") or ""
            if name not in self._tools:
                raise self._broken(f"called the tool '{name[:80]}', which was not offered", "unknown_tool")
            if not identifier:
                raise self._broken(f"called '{name}' without an id", "no_tool_call_id")
            if identifier in self._ids:
                raise self._broken(f"called '{name}' with an id it had used already", "repeated_tool_call_id")
            self._ids.add(identifier)
            self._inputs[int(event["index"])] = (name, [])
            self._spoken = True
        self._pass(event)
        # an empty block only announces what comes
        return block["type"] not in ("text", "thinking") or bool(block.get("text") or block.get("thinking"))

    def _delta(self, event: Event) -> bool:
        index, delta = int(event["index"]), event["delta"]
        kind = delta["type"]
        if kind in _TEXT:
            text = str(delta[_TEXT[kind]])
            self._meter.received(text)
            self._spoken = self._spoken or (kind == "text_delta" and bool(text))
            if self._out and self._out[-1][:2] == (kind, index):
                self._out[-1][2].append(text)
            else:
                self._out.append((kind, index, [text]))
            return bool(text)
        if kind == "input_json_delta":
            if index not in self._inputs:
                raise self._broken("sent a tool's input outside its block", "bad_tool_call")
            self._meter.received(delta["partial_json"])
            self._inputs[index][1].append(delta["partial_json"])
            return True
        self._pass(event)
        return True

    def _close_input(self, index: int) -> None:
        if index not in self._inputs:
            return
        name, parts = self._inputs.pop(index)
        raw = "".join(parts)
        if not is_object(raw):
            raise self._broken(f"sent arguments for '{name}' that are not a JSON object", "bad_arguments")
        whole = {"type": "input_json_delta", "partial_json": raw or "{}"}
        self._pass({"type": "content_block_delta", "index": index, "delta": whole})

    def _end_of(self, event: Event) -> None:
        reason = event["delta"].get("stop_reason")
        usage = event.get("usage") or {}
        if isinstance(usage.get("output_tokens"), int):
            prompt = _prompt_tokens(usage) or self._meter.prompt_tokens
            self._meter.reported(Usage(prompt, usage["output_tokens"], "provider"))
        if not reason:
            return
        self._finish = self._meter.finish_reason = str(reason)
        if self._inputs:
            raise self._broken("ended in the middle of a tool call", "bad_arguments")
        if self._finish == "tool_use" and not self._ids:
            raise self._broken("announced tool calls and sent none", "no_tool_call")
        if self._finish == "end_turn" and not self._spoken:
            raise self._broken("finished without a word", "empty")

    def flush(self) -> list[bytes]:
        out, self._out = self._out, []
        events = [value if kind == "event" else self._merged(kind, index, value) for kind, index, value in out]
        return [b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), orjson.dumps(event)) for event in events]

    def _merged(self, kind: str, index: int, parts: list[str]) -> Event:
        return {
            "type": "content_block_delta", "index": index, "delta": {"type": kind, _TEXT[kind]: "".join(parts)},
        }  # fmt: skip

    def end(self) -> None:
        if self._finish is None or not self.closed:
            raise self._broken("ended its stream without a finish reason", "no_finish")

    def _failure(self, error: dict[str, Any]) -> ProviderError:
        kind, text = str(error.get("type")), quote(str(error.get("message") or ""))
        if kind in _STATUS:
            return of_status(_STATUS[kind], {}, text, self.provider, self._model)
        if kind in ("rate_limit_error", "overloaded_error"):
            return ProviderRateLimited(self.provider, f"has too many requests: {text}", retry_after=None)
        return ProviderUnavailable(self.provider, f"broke off with an error: {text}", reason="stream_error")

    def _broken(self, what: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self.provider, what, reason=reason, finish_reason=self._finish)


def _prompt_tokens(usage: dict[str, Any]) -> int:
    """With what was written to and read from the cache."""
    counted = (usage.get(key) for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
    return sum(count for count in counted if isinstance(count, int))
