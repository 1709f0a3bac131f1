"""Ollama's chat, as it is streamed: JSON lines in, fewer and checked lines out."""

from __future__ import annotations

from typing import Any

import orjson

from domain.errors import ProviderProtocolError, ProviderUnavailable
from domain.usage import Usage
from providers.failures import quote
from providers.meter import Meter

Line = dict[str, Any]


class OllamaDialect:
    """One answer. Text and thinking are merged; tool calls come whole on this wire."""

    def __init__(self, provider: str, tools: frozenset[str], meter: Meter) -> None:
        self.provider = provider
        self.closed = False
        self._tools = tools
        self._meter = meter
        self._head: Line = {}
        self._out: list[tuple[str, Any]] = []
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
            line = orjson.loads(frame)
        except orjson.JSONDecodeError:
            raise self._broken("sent something that is not JSON", "bad_json") from None
        if not isinstance(line, dict):
            raise self._broken("sent something malformed", "malformed")
        if line.get("error"):
            text = quote(str(line["error"]))
            raise ProviderUnavailable(self.provider, f"broke off with an error: {text}", reason="stream_error")
        try:
            return self._line(line)
        except (AttributeError, TypeError, KeyError, ValueError) as odd:
            raise self._broken(f"sent something malformed ({type(odd).__name__})", "malformed") from odd

    def _line(self, line: Line) -> bool:
        message = line.get("message") or {}
        if not self._head:
            self._head = {key: value for key, value in line.items() if key in ("model", "created_at")}
        moved = False
        for kind in ("thinking", "content"):
            if text := message.get(kind):
                self._say(kind, str(text))
                self._spoken = self._spoken or kind == "content"
                moved = True
        if calls := message.get("tool_calls"):
            self._check(calls)
            self._spoken = moved = True
            kept = {key: value for key, value in message.items() if key not in ("thinking", "content")}
            self._out.append(("line", {**self._head, "message": {"content": "", **kept}, "done": False}))
        if line.get("done") is True:
            self._end_of(line)
            moved = True
        return moved

    def _say(self, kind: str, text: str) -> None:
        self._meter.received(text)
        if self._out and self._out[-1][0] == kind:
            self._out[-1][1].append(text)
        else:
            self._out.append((kind, [text]))

    def _check(self, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            name, arguments = call["function"].get("name"), call["function"].get("arguments")
            if name not in self._tools:
                raise self._broken(f"called the tool '{str(name)[:80]}', which was not offered", "unknown_tool")
            if not isinstance(arguments, dict):
                raise self._broken(f"sent arguments for '{name}' that are not a JSON object", "bad_arguments")
            self._meter.received(orjson.dumps(arguments).decode())

    def _end_of(self, line: Line) -> None:
        self._finish = str(line.get("done_reason") or "stop")
        self._meter.finish_reason = self._finish
        prompt, completion = line.get("prompt_eval_count"), line.get("eval_count")
        if isinstance(completion, int):
            # a prompt that was cached isn't counted by some versions
            known = isinstance(prompt, int)
            self._meter.reported(
                Usage(prompt if isinstance(prompt, int) else self._meter.prompt_tokens, completion,
                      "provider" if known else "estimated")
            )  # fmt: skip
        if not self._spoken and self._finish != "length":
            raise self._broken("finished without a word", "empty")
        message = {"role": "assistant", "content": ""}
        self._out.append(("line", {**line, "message": message}))
        self.closed = True

    def flush(self) -> list[bytes]:
        out, self._out = self._out, []
        return [orjson.dumps(value if kind == "line" else self._merged(kind, value)) + b"\n" for kind, value in out]

    def _merged(self, kind: str, parts: list[str]) -> Line:
        return {**self._head, "message": {"role": "assistant", "content": "", kind: "".join(parts)}, "done": False}

    def end(self) -> None:
        if self._finish is None:
            raise self._broken("ended its stream without a finish reason", "no_finish")

    def _broken(self, what: str, reason: str) -> ProviderProtocolError:
        return ProviderProtocolError(self.provider, what, reason=reason, finish_reason=self._finish)
