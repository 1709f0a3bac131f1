"""OpenAI's chat completions: chunks of a model's answer, a run's event log as chunks, whole answers, errors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain.errors import ConsiliumError
from domain.knowledge import SourceCitation
from domain.runs import Event
from domain.text import clean_json
from domain.usage import Usage
from retrieval.cite import passage_url
from server.render.serialize import jsonable

Chunk = dict[str, Any]
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": waiting\n\n"


def sse(value: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def usage_json(usage: Usage) -> dict[str, int]:
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.total}


class ModelAnswer:
    """A model's chunks as the client gets them: complete in their form, usage apart.

    `usage` is the provider's own object, with what it tells beside the counts; None where it sent none.
    """

    def __init__(self, call_id: str) -> None:
        self._head: Chunk = {"id": f"chatcmpl-{call_id}", "created": int(time.time()), "model": ""}
        self.usage: dict[str, Any] | None = None

    def take(self, chunk: Chunk, model: str) -> Chunk | None:
        """The chunk to show; None for one of usage alone. `model` is what was asked for."""
        told = chunk.get("usage")
        if isinstance(told, dict):
            self.usage = told
        shown = {key: value for key, value in chunk.items() if key != "usage" and value is not None}
        shown["object"] = "chat.completion.chunk"
        for key, value in self._head.items():
            shown[key] = shown.get(key) or (model if key == "model" else value)
        self._head = {key: shown[key] for key in self._head}
        return shown if chunk.get("choices") else None

    def usage_chunk(self, counted: Usage) -> Chunk:
        """The last chunk of a stream that was asked for its usage; `counted` stands in for a provider that told none."""
        told = self.usage or usage_json(counted)
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": told}


def whole_answer(chunks: Iterable[Chunk], usage: Mapping[str, Any]) -> dict[str, Any]:
    """The completion that the chunks of one answer make up."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": None}
    head: Chunk = {}
    for chunk in chunks:
        head |= {key: value for key, value in chunk.items() if key != "choices"}
        for part in chunk["choices"]:
            _join(message, part.get("delta") or {})
            choice |= {key: value for key, value in part.items() if key not in ("delta", "logprobs", "index") and value}
            if part.get("logprobs"):
                choice["logprobs"] = _joined_logprobs(choice["logprobs"], part["logprobs"])
    return {**head, "object": "chat.completion", "choices": [choice], "usage": dict(usage)}


def _join(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for key, value in delta.items():
        if value is None or key == "role":
            continue
        if key == "tool_calls":
            calls = [{k: v for k, v in call.items() if k != "index"} for call in value]
            message[key] = [*message.get(key, ()), *calls]
        elif isinstance(value, str) and isinstance(message.get(key), str):
            message[key] += value
        elif isinstance(value, list) and isinstance(message.get(key), list):
            message[key] = [*message[key], *value]
        else:
            message[key] = value


def _joined_logprobs(known: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(known or {})
    for key, value in more.items():
        joined[key] = [*(joined.get(key) or ()), *value] if isinstance(value, list) else value
    return joined


class AnswerRetracted(ConsiliumError):
    """A part of the answer that was already sent is void: its provider failed in the middle. Repair: ask again, or without `stream`."""

    code = "answer_retracted"
    status = 503


class RunFailed(ConsiliumError):
    """The run behind an answer ended without one; `code` and `status` are those of what ended it."""

    def __init__(self, told: Mapping[str, Any], status: int) -> None:
        super().__init__(str(told.get("message") or "The run failed."), **dict(told.get("details") or {}))
        self.code = str(told.get("error_code") or told.get("error") or ConsiliumError.code)  # type: ignore[misc]
        self.status = status  # type: ignore[misc]


@dataclass(slots=True)
class AgentAnswer:
    """A run's events as the chunks of one answer, in the agent's name.

    With `live` the text goes out as the agent's model writes it, otherwise once it is final. The last chunk carries the finish, and
    the citations where there are any: `annotations` in OpenAI's form, `citations` in ours.
    """

    agent: str
    run_id: str
    live: bool
    errors: Mapping[str, int]
    """HTTP statuses by error code."""
    created: int = field(default_factory=lambda: int(time.time()))
    finished: bool = False
    _streamed: dict[str, str] = field(default_factory=dict)
    _usage: dict[str, tuple[int, int]] = field(default_factory=dict)
    _answer: Mapping[str, Any] | None = None
    _citations: list[dict[str, Any]] = field(default_factory=list)

    def read(self, event: Event) -> Iterator[Chunk]:
        """What an event adds. Raises RunFailed, and AnswerRetracted where text that was sent is void."""
        if event.method == "messages" and not event.ns and self.live:
            yield from self._message(jsonable(event.data[0]))
        elif event.method == "updates" and isinstance(event.data, Mapping):
            yield from self._updates(jsonable(event.data), root=not event.ns)
        elif event.method == "error":
            told = event.data if isinstance(event.data, Mapping) else {"message": str(event.data)}
            code = str(told.get("error_code") or told.get("error"))
            raise RunFailed(told, self.errors.get(code, 500))
        elif event.terminal:
            yield from self._end(str(event.data.get("status")))

    def usage(self) -> dict[str, int]:
        """Tokens of all the run's model calls, specialists' included."""
        prompt, completion = (sum(counts) for counts in zip(*self._usage.values(), strict=True)) if self._usage else (0, 0)
        return usage_json(Usage(prompt, completion, "provider"))

    def usage_chunk(self) -> Chunk:
        return {**self._head(), "choices": [], "usage": self.usage()}

    def _message(self, message: Mapping[str, Any]) -> Iterator[Chunk]:
        key = str(message.get("id"))
        if message.get("type") == "remove" and self._streamed.get(key):
            raise AnswerRetracted("The model failed in the middle of its answer, and another one began it anew. Ask again.")
        # Whole messages (tools' results, what a node says) come in the updates as well.
        text = text_of(message)
        if message.get("type") == "AIMessageChunk" and text:
            begins = key not in self._streamed and any(self._streamed.values())
            self._streamed[key] = self._streamed.get(key, "") + text
            yield self._chunk({"content": f"\n\n{text}" if begins else text})

    def _updates(self, data: Mapping[str, Any], *, root: bool) -> Iterator[Chunk]:
        for node, update in data.items():
            if not isinstance(update, Mapping):
                continue
            messages = update.get("messages") or []
            for message in messages if isinstance(messages, list) else [messages]:
                counted = message.get("usage_metadata")
                if message.get("type") == "ai" and counted:
                    self._usage[str(message.get("id"))] = (counted["input_tokens"], counted["output_tokens"])
                if root and node == "finish" and message.get("type") == "ai":
                    self._answer = message
            if root and node == "finish":
                self._citations = list(update.get("citations") or ())

    def _end(self, status: str) -> Iterator[Chunk]:
        if status != "success" or self._answer is None:
            raise RunFailed({"message": f"The run ended without an answer ({status})."}, 503)
        whole, shown = text_of(self._answer), self._streamed.get(str(self._answer.get("id")), "")
        if whole.startswith(shown):
            rest = whole[len(shown) :]
        else:  # what was streamed has been corrected: the whole counts
            rest = "" if whole.strip() == shown.strip() else f"\n\n{whole}"
        if rest:
            yield self._chunk({"content": rest})
        self.finished = True
        reason = str((self._answer.get("response_metadata") or {}).get("stop_reason") or "completed")
        delta: dict[str, Any] = {}
        if self._citations:
            delta = {"annotations": [_annotation(one) for one in self._citations], "citations": self._citations}
        yield self._chunk(delta, "stop" if reason in ("completed", "not_found") else "length", stop_reason=reason)

    def _head(self) -> Chunk:
        return {
            "id": f"chatcmpl-{self.run_id}",
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.agent,
        }

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> Chunk:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish, **more}
        return {**self._head(), "choices": [choice]}


def _annotation(citation: Mapping[str, Any]) -> dict[str, Any]:
    cited = SourceCitation.model_validate(citation)
    place = {"start_index": cited.answer_start, "end_index": cited.answer_end}
    return {"type": "url_citation", "url_citation": {**place, "title": cited.title, "url": passage_url(cited)}}


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message whose content is a string or blocks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "".join(block if isinstance(block, str) else str(block.get("text", "")) for block in blocks)


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    "unauthenticated": "invalid_api_key",
    "unknown_model": "model_not_found",
    "quota_exceeded": "insufficient_quota",
    "rate_limited": "rate_limit_exceeded",
}
"""Our codes for which OpenAI has a word; clients look for theirs."""


def openai_error(status: int, told: Mapping[str, Any]) -> dict[str, Any]:
    """One of our errors (`error_code`, `message`, `trace_id`, `details`) in OpenAI's form, ours beside it."""
    code = str(told.get("error_code") or ConsiliumError.code)
    details = told.get("details") or {}
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    if code == "quota_exceeded":
        kind = "insufficient_quota"
    param = "model" if code in ("unknown_model", "no_provider") else details.get("field")
    error = {"message": told.get("message"), "type": kind, "param": param, "code": _CODES.get(code, code)}
    more = {key: told.get(key) for key in ("error_code", "trace_id", "details")}
    return clean_json({"error": {**error, **more}})


def error_event(failed: BaseException, trace_id: str) -> bytes:
    """The event that ends a stream which can't go on. A fault of ours tells no more than its trace id."""
    if isinstance(failed, ConsiliumError) and type(failed) is not ConsiliumError:
        told = {"error_code": failed.code, "message": failed.message, "details": failed.details}
        return _event(failed.status, told, trace_id)
    return _event(500, {"error_code": ConsiliumError.code, "message": "The server failed; its log tells why."}, trace_id)


def _event(status: int, told: Mapping[str, Any], trace_id: str) -> bytes:
    content = openai_error(status, {**told, "trace_id": trace_id})
    return b"data: " + orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n\n"
