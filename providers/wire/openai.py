"""OpenAI's chat completions, as they are streamed: chunks in, fewer and checked chunks out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from domain.errors import ProviderError
from domain.usage import Usage
from providers.failures import of_status, quote
from providers.meter import Meter
from providers.wire.dialect import Dialect, Json
from providers.wire.framing import Whole

Chunk = Json
_KNOWN = frozenset({"role", "content", "reasoning_content", "reasoning", "tool_calls", "function_call"})


@dataclass(slots=True)
class _Call:
    index: int
    id: str
    name: str
    arguments: str = ""
    extra: Any = None
    """What the server wants back with the call: Gemini's signature."""


class OpenAIDialect(Dialect[Json]):
    """One answer. Text and reasoning are merged; tool calls are held back until the finish.

    `reasoning` goes out as `reasoning_content`, whatever the server calls it.
    """

    LAST = b"[DONE]"

    def __init__(self, provider: str, model: str, tools: frozenset[str], meter: Meter) -> None:
        super().__init__(provider, model, tools, meter)
        self._head: Json = {}
        self._calls: list[_Call] = []

    def _read(self, told: Json) -> bool:
        if told.get("error"):
            raise self._failure(told["error"])
        usage = self._usage(told.get("usage"))
        choices = told.get("choices")
        if choices:
            return self._choice(told, choices[0]) or usage
        if usage:
            self._pass(told)
        return usage

    def _choice(self, chunk: Json, choice: Mapping[str, Any]) -> bool:
        delta: Mapping[str, Any] = choice.get("delta") or {}
        if not self._head:
            self._head = {key: value for key, value in chunk.items() if key not in ("choices", "usage", "error")}
        moved = False
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            self._say("reasoning_content", thought)
            moved = True
        text = delta.get("content")
        if text:
            self._spoken = moved = True
            if isinstance(text, str) and not choice.get("logprobs"):
                self._say("content", text)
            else:
                self._meter.received(text if isinstance(text, str) else str(text))
                self._pass_delta(chunk, choice, {"content": text})
        for part in delta.get("tool_calls") or ():
            self._tool_call(part)
            moved = True
        others = {} if _KNOWN.issuperset(delta) else _others(delta)
        if others:
            self._spoken = self._spoken or "refusal" in others
            self._pass_delta(chunk, choice, others)
            moved = True
        finish = choice.get("finish_reason")
        if finish and self._finish is None:
            self._ends(str(finish))
            self._close_calls()
            self._pass({**chunk, "choices": [{**choice, "delta": {}, "logprobs": None}]})
            moved = True
        return moved

    def _pass_delta(self, chunk: Json, choice: Mapping[str, Any], delta: Json) -> None:
        self._pass({**chunk, "choices": [{**choice, "delta": delta, "finish_reason": None}], "usage": None})

    def _tool_call(self, part: Mapping[str, Any]) -> None:
        """A piece of a call. Without an index a new id begins a new call, anything else goes on with the last one."""
        function = part.get("function") or {}
        name, arguments, identifier = function.get("name") or "", function.get("arguments"), part.get("id") or ""
        index = part.get("index")
        if index is None:
            last = self._calls[-1] if self._calls else None
            begins = last is None or (identifier and identifier != last.id) or (not identifier and bool(name))
            call = self._begun(len(self._calls), identifier, name) if begins or last is None else last
        else:
            known = next((call for call in self._calls if call.index == index), None)
            call = known or self._begun(int(index), identifier, name)
        call.id = call.id or identifier
        call.extra = part.get("extra_content") or call.extra
        if name and name != call.name:
            if call.name and call.arguments:
                raise self._broken(f"changed the name of its call of '{call.name[:80]}'", "bad_tool_call")
            call.name += name
        if arguments is None:
            return
        raw = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        self._meter.received(raw)
        call.arguments += raw

    def _begun(self, index: int, identifier: str, name: str) -> _Call:
        call = _Call(index, identifier, name)
        self._calls.append(call)
        return call

    def _close_calls(self) -> None:
        if not self._calls:
            if self._finish == "tool_calls":
                raise self._no_calls()
            if self._finish == "stop" and not self._spoken:
                raise self._wordless()
            return
        whole = [self._whole(n, call) for n, call in enumerate(self._calls)]
        delta = {"role": "assistant", "tool_calls": whole}
        self._pass({**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def _whole(self, n: int, call: _Call) -> Json:
        self._offered(call.name)
        self._identified(call.name, call.id)
        return {
            "index": n,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": self._whole_arguments(call.name, call.arguments)},
            **({"extra_content": call.extra} if call.extra else {}),
        }

    def _merged(self, of: str, text: str) -> Json:
        delta = {"role": "assistant", of: text}
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def _written(self, frame: Json) -> Json:
        return frame

    def _usage(self, usage: Any) -> bool:
        if not isinstance(usage, dict):
            return False
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not isinstance(prompt, int) or not isinstance(completion, int):
            return False
        self._meter.reported(Usage(prompt, completion, "provider"))
        return True

    def _failure(self, error: Any) -> ProviderError:
        """The failure a server reports in the body or in the middle of the stream."""
        told: Mapping[str, Any] = error if isinstance(error, dict) else {"message": str(error)}
        text, code = quote(str(told.get("message") or "")), told.get("code")
        kind = f"{told.get('type') or ''} {code or ''}".lower()
        if isinstance(code, int) and 400 <= code < 600:
            return of_status(code, {}, text, self.provider, self._model)
        return self._too_many_requests(text) if "rate_limit" in kind or "overloaded" in kind else self._broke_off(text)


def _others(delta: Mapping[str, Any]) -> Json:
    """What the guard has no own way with; a refusal only where there is one."""
    return {key: value for key, value in delta.items() if key not in _KNOWN and (key != "refusal" or value)}


class WholeAnswer(Whole):
    """The frames of a stream out of an answer that comes in one piece: for servers that ignore `stream`."""

    def close(self) -> list[bytes]:
        [read] = super().close()
        body = orjson.loads(read)
        return _as_stream(body) if isinstance(body, dict) else [read]


def _as_stream(body: Json) -> list[bytes]:
    choices = body.get("choices") or [{}]
    message = dict(choices[0].get("message") or {})
    if message.get("tool_calls"):
        message["tool_calls"] = [{"index": n, **call} for n, call in enumerate(message["tool_calls"])]
    head = {key: value for key, value in body.items() if key not in ("choices", "usage")}
    told = {"index": 0, "delta": message, "finish_reason": choices[0].get("finish_reason")}
    frames = [orjson.dumps({**head, "choices": [told]})] if body.get("choices") else [orjson.dumps(body)]
    if body.get("usage"):
        frames.append(orjson.dumps({**head, "choices": [], "usage": body["usage"]}))
    return [*frames, b"[DONE]"]
