"""Ollama's chat, as it is streamed: JSON lines in, fewer and checked lines out."""

from __future__ import annotations

import orjson

from domain.usage import Usage
from providers.failures import quote
from providers.meter import Meter
from providers.wire.dialect import Dialect, Json


class OllamaDialect(Dialect[bytes]):
    """One answer. Text and thinking are merged; tool calls come whole on this wire, as objects and without ids."""

    def __init__(self, provider: str, model: str, tools: frozenset[str], meter: Meter) -> None:
        super().__init__(provider, model, tools, meter)
        self._head: Json = {}

    def _read(self, told: Json) -> bool:
        if told.get("error"):
            raise self._broke_off(quote(str(told["error"])))
        message = told.get("message") or {}
        if not self._head:
            self._head = {key: value for key, value in told.items() if key in ("model", "created_at")}
        moved = False
        for kind in ("thinking", "content"):
            if text := message.get(kind):
                self._say(kind, str(text))
                self._spoken = self._spoken or kind == "content"
                moved = True
        if calls := message.get("tool_calls"):
            for call in calls:
                self._check(call["function"])
            self._spoken = moved = True
            kept = {key: value for key, value in message.items() if key not in ("thinking", "content")}
            self._pass({**self._head, "message": {"content": "", **kept}, "done": False})
        if told.get("done") is True:
            self._close(told)
            moved = True
        return moved

    def _check(self, function: Json) -> None:
        name, arguments = str(function.get("name")), function.get("arguments")
        self._offered(name)
        if not isinstance(arguments, dict):
            raise self._no_arguments(name)
        self._meter.received(orjson.dumps(arguments).decode())

    def _close(self, told: Json) -> None:
        self._ends(str(told.get("done_reason") or "stop"))
        prompt, completion = told.get("prompt_eval_count"), told.get("eval_count")
        if isinstance(completion, int):
            # a prompt that was cached isn't counted by some versions
            known = isinstance(prompt, int)
            self._meter.reported(
                Usage(prompt if isinstance(prompt, int) else self._meter.prompt_tokens, completion,
                      "provider" if known else "estimated")
            )  # fmt: skip
        if not self._spoken and self._finish != "length":
            raise self._wordless()
        self._pass({**told, "message": {"role": "assistant", "content": ""}})
        self.closed = True

    def _merged(self, of: str, text: str) -> Json:
        return {**self._head, "message": {"role": "assistant", "content": "", of: text}, "done": False}

    def _written(self, frame: Json) -> bytes:
        return orjson.dumps(frame) + b"\n"
