"""Anthropic's messages, as they are streamed: events in, fewer and checked events out."""

from __future__ import annotations

import orjson

from domain.errors import ProviderError
from domain.usage import Usage
from providers.failures import of_status, quote
from providers.meter import Meter
from providers.wire.dialect import Dialect, Json

_TEXT = {"text_delta": "text", "thinking_delta": "thinking"}
_STATUS = {"authentication_error": 401, "permission_error": 403, "not_found_error": 404, "invalid_request_error": 400,
           "request_too_large": 413}  # fmt: skip


class AnthropicDialect(Dialect[bytes]):
    """One answer. Text and thinking of a block are merged; a tool's input goes out whole, at the end of its block."""

    def __init__(self, provider: str, model: str, tools: frozenset[str], meter: Meter) -> None:
        super().__init__(provider, model, tools, meter)
        self._inputs: dict[int, tuple[str, list[str]]] = {}
        """Name and parts of the tool calls whose blocks are open."""

    def _read(self, told: Json) -> bool:
        match told["type"]:
            case "ping":
                return False
            case "error":
                raise self._failure(told.get("error") or {})
            case "message_start":
                usage = told["message"].get("usage") or {}
                self._meter.prompt_tokens = _prompt_tokens(usage) or self._meter.prompt_tokens
                self._pass(told)
                return False
            case "content_block_start":
                return self._block(told)
            case "content_block_delta":
                return self._delta(told)
            case "content_block_stop":
                self._close_input(int(told["index"]))
            case "message_delta":
                self._close(told)
            case "message_stop":
                self.closed = True
            case str():
                pass
            case _:
                raise TypeError("an event's type is a text")
        self._pass(told)
        return True

    def _block(self, event: Json) -> bool:
        block = event["content_block"]
        if block["type"] == "tool_use":
            name = block.get("name") or ""
            self._offered(name)
            self._identified(name, block.get("id") or "")
            self._inputs[int(event["index"])] = (name, [])
            self._spoken = True
        self._pass(event)
        # an empty block only announces what comes
        return block["type"] not in ("text", "thinking") or bool(block.get("text") or block.get("thinking"))

    def _delta(self, event: Json) -> bool:
        index, delta = int(event["index"]), event["delta"]
        kind = delta["type"]
        if kind in _TEXT:
            text = str(delta[_TEXT[kind]])
            self._say((kind, index), text)
            self._spoken = self._spoken or (kind == "text_delta" and bool(text))
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
        whole = {"type": "input_json_delta", "partial_json": self._whole_arguments(name, "".join(parts))}
        self._pass({"type": "content_block_delta", "index": index, "delta": whole})

    def _close(self, event: Json) -> None:
        reason = event["delta"].get("stop_reason")
        usage = event.get("usage") or {}
        if isinstance(usage.get("output_tokens"), int):
            prompt = _prompt_tokens(usage) or self._meter.prompt_tokens
            self._meter.reported(Usage(prompt, usage["output_tokens"], "provider"))
        if not reason:
            return
        self._ends(str(reason))
        if self._inputs:
            raise self._broken("ended in the middle of a tool call", "bad_arguments")
        if self._finish == "tool_use" and not self._ids:
            raise self._no_calls()
        if self._finish == "end_turn" and not self._spoken:
            raise self._wordless()

    def _merged(self, of: tuple[str, int], text: str) -> Json:
        kind, index = of
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, _TEXT[kind]: text}}

    def _written(self, frame: Json) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (str(frame["type"]).encode(), orjson.dumps(frame))

    def end(self) -> None:
        if not self.closed:
            raise self._broken("ended its stream without its last event", "no_finish")
        super().end()

    def _failure(self, error: Json) -> ProviderError:
        kind, text = str(error.get("type")), quote(str(error.get("message") or ""))
        if kind in _STATUS:
            return of_status(_STATUS[kind], {}, text, self.provider, self._model)
        if kind in ("rate_limit_error", "overloaded_error"):
            return self._too_many_requests(text)
        return self._broke_off(text)


def _prompt_tokens(usage: Json) -> int:
    """With what was written to and read from the cache."""
    counted = (usage.get(key) for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
    return sum(count for count in counted if isinstance(count, int))
