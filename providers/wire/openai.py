"""OpenAI's chat completions, as they are streamed: chunks in, fewer and checked chunks out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from domain.errors import ProviderError, ProviderProtocolError, ProviderRateLimited, ProviderUnavailable
from domain.usage import Usage
from providers.failures import of_status, quote
from providers.meter import Meter
from providers.wire.arguments import is_object

Chunk = dict[str, Any]
_KNOWN = frozenset({"role", "content", "reasoning_content", "reasoning", "tool_calls", "refusal", "function_call"})


@dataclass(slots=True)
class _Call:
    index: int
    id: str
    name: str
    arguments: str = ""
    extra: Any = None
    """What the server wants back with the call: Gemini's signature."""


class OpenAIDialect:
    """One answer. Text and reasoning are merged; tool calls are held back until the finish and go out whole, if they are.

    `tools` are the names offered. `reasoning` goes out as `reasoning_content`, whatever the server calls it.
    """

    def __init__(self, provider: str, model: str, tools: frozenset[str], meter: Meter) -> None:
        self.provider = provider
        self.closed = False
        self._model = model
        self._tools = tools
        self._meter = meter
        self._head: Chunk = {}
        self._out: list[tuple[str, Any]] = []
        """What waits: (kind, text parts) or ("chunk", a whole chunk), in order."""
        self._calls: list[_Call] = []
        self._spoken = False
        self._finish: str | None = None

    @property
    def held(self) -> bool:
        return bool(self._out)

    @property
    def finished(self) -> bool:
        return self._finish is not None

    def take(self, frame: bytes) -> bool:
        if frame == b"[DONE]":
            self.closed = True
            return False
        try:
            chunk = orjson.loads(frame)
        except orjson.JSONDecodeError:
            raise self._broken("sent something that is not JSON", "bad_json") from None
        if not isinstance(chunk, dict):
            raise self._broken("sent something malformed", "malformed")
        if chunk.get("error"):
            raise self.failure(chunk["error"])
        usage = self._usage(chunk.get("usage"))
        choices = chunk.get("choices")
        if not choices:
            if usage:
                self._out.append(("chunk", chunk))
            return usage
        try:
            return self._choice(chunk, choices[0]) or usage
        except (AttributeError, TypeError, KeyError, IndexError, ValueError) as odd:
            raise self._broken(f"sent something malformed ({type(odd).__name__})", "malformed") from odd

    def _choice(self, chunk: Chunk, choice: Mapping[str, Any]) -> bool:
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
                self._pass(chunk, choice, {"content": text})
        for part in delta.get("tool_calls") or ():
            self._tool_call(part)
            moved = True
        others = {key: value for key, value in delta.items() if key not in _KNOWN or (key == "refusal" and value)}
        if others:
            self._spoken = self._spoken or "refusal" in others
            self._pass(chunk, choice, others)
            moved = True
        finish = choice.get("finish_reason")
        if finish and self._finish is None:
            self._finish = str(finish)
            self._meter.finish_reason = self._finish
            self._close_calls()
            self._out.append(("chunk", {**chunk, "choices": [{**choice, "delta": {}, "logprobs": None}]}))
            moved = True
        return moved

    def _say(self, kind: str, text: str) -> None:
        self._meter.received(text)
        if self._out and self._out[-1][0] == kind:
            self._out[-1][1].append(text)
        else:
            self._out.append((kind, [text]))

    def _pass(self, chunk: Chunk, choice: Mapping[str, Any], delta: Chunk) -> None:
        """Something that isn't merged keeps its place."""
        kept = {**choice, "delta": delta, "finish_reason": None}
        self._out.append(("chunk", {**chunk, "choices": [kept], "usage": None}))

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
                raise self._broken("announced tool calls and sent none", "no_tool_call")
            if self._finish == "stop" and not self._spoken:
                raise self._broken("finished without a word", "empty")
            return
        seen: set[str] = set()
        for call in self._calls:
            self._check(call, seen)
            seen.add(call.id)
        whole = [
            {
                "index": n,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
                **({"extra_content": call.extra} if call.extra else {}),
            }
            for n, call in enumerate(self._calls)
        ]
        delta = {"role": "assistant", "tool_calls": whole}
        self._out.append(("chunk", {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))

    def _check(self, call: _Call, seen: set[str]) -> None:
        if call.name not in self._tools:
            raise self._broken(f"called the tool '{call.name[:80]}', which was not offered", "unknown_tool")
        if not call.id:
            raise self._broken(f"called '{call.name}' without an id", "no_tool_call_id")
        if call.id in seen:
            raise self._broken(f"called '{call.name}' with an id it had used already", "repeated_tool_call_id")
        if not is_object(call.arguments):
            raise self._broken(f"sent arguments for '{call.name}' that are not a JSON object", "bad_arguments")

    def flush(self) -> list[Chunk]:
        out, self._out = self._out, []
        return [value if kind == "chunk" else self._merged(kind, value) for kind, value in out]

    def _merged(self, kind: str, parts: list[str]) -> Chunk:
        delta = {"role": "assistant", kind: "".join(parts)}
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def end(self) -> None:
        if self._finish is None:
            raise self._broken("ended its stream without a finish reason", "no_finish")

    def _usage(self, usage: Any) -> bool:
        if not isinstance(usage, dict):
            return False
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not isinstance(prompt, int) or not isinstance(completion, int):
            return False
        self._meter.reported(Usage(prompt, completion, "provider"))
        return True

    def failure(self, error: Any) -> ProviderError:
        """The failure a server reports in the body or in the middle of the stream."""
        told: Mapping[str, Any] = error if isinstance(error, dict) else {"message": str(error)}
        text, code = quote(str(told.get("message") or "")), told.get("code")
        kind = f"{told.get('type') or ''} {code or ''}".lower()
        if isinstance(code, int) and 400 <= code < 600:
            return of_status(code, {}, text, self.provider, self._model)
        if "rate_limit" in kind or "overloaded" in kind:
            return ProviderRateLimited(self.provider, f"has too many requests: {text}", retry_after=None)
        return ProviderUnavailable(self.provider, f"broke off with an error: {text}", reason="stream_error")

    def _broken(self, what: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self.provider, what, reason=reason, finish_reason=self._finish)


def whole_answer(body: Chunk) -> list[bytes]:
    """An answer that came in one piece, as the frames of a stream: for servers that ignore `stream`."""
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
