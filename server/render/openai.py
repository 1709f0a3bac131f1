"""OpenAI's chat completions: chunks of a model's answer, a run's event log as chunks, whole answers, errors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson

from domain.errors import ConsiliumError, ProviderUnavailable
from domain.knowledge import SourceCitation
from domain.runs import TERMINAL, Event
from domain.text import clean_json
from domain.usage import Usage
from retrieval.cite import passage_url
from server.render.serialize import jsonable

Chunk = dict[str, Any]
FAULT = "The server failed. Its log tells why, under this trace_id."
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


class AnswerFailed(Exception):
    """An answer ended without being one; `told` is the error as it is told, `{error_code, message, details}`."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told.get("message"))
        self.told = {"error_code": told.get("error_code") or told.get("error") or ConsiliumError.code, **told}
        self.status = _statuses().get(str(self.told["error_code"]), 500)


@cache
def _statuses() -> Mapping[str, int]:
    """HTTP statuses by error code."""
    found, waiting = {"timeout": 504, "run_ended": 503}, [ConsiliumError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind.status
        waiting.extend(kind.__subclasses__())
    return found


@dataclass(slots=True)
class AgentAnswer:
    """A run's events as the chunks of one answer, in the agent's name.

    With `live` the text goes out as the agent's model writes it, otherwise once it is final. The last chunk carries the finish, and
    the citations where there are any: `annotations` in OpenAI's form, `citations` in ours.
    """

    agent: str
    run_id: str
    live: bool
    created: int = field(default_factory=lambda: int(time.time()))
    _failure: AnswerFailed | None = None
    _streamed: dict[str, str] = field(default_factory=dict)
    _usage: dict[str, tuple[int, int]] = field(default_factory=dict)
    _answer: Mapping[str, Any] | None = None
    _citations: list[dict[str, Any]] = field(default_factory=list)

    def read(self, event: Event) -> Iterator[Chunk]:
        """What an event adds. Raises AnswerFailed, also where text that was sent is void."""
        if event.method == "messages" and not event.ns and self.live:
            yield from self._message(jsonable(event.data[0]))
        elif event.method == "custom" and not event.ns and isinstance(event.data, Mapping):
            self._check_retraction(event.data)
        elif event.method == "updates" and isinstance(event.data, Mapping):
            self._updates(jsonable(event.data), root=not event.ns)
        elif event.method == "error":
            told = event.data if isinstance(event.data, Mapping) else {"message": str(event.data)}
            self._failure = AnswerFailed(told)
        elif event.terminal:
            yield from self._end(str(event.data.get("status")))

    def usage(self) -> dict[str, int]:
        """Tokens of all the run's model calls, specialists' included."""
        prompt, completion = (
            (sum(counts) for counts in zip(*self._usage.values(), strict=True)) if self._usage else (0, 0)
        )
        return usage_json(Usage(prompt, completion, "provider"))

    def usage_chunk(self) -> Chunk:
        return {**self._head(), "choices": [], "usage": self.usage()}

    def _message(self, message: Mapping[str, Any]) -> Iterator[Chunk]:
        key = str(message.get("id"))
        # Whole messages (tools' results, what a node says) come in the updates as well.
        text = text_of(message)
        if message.get("type") == "AIMessageChunk" and text:
            begins = key not in self._streamed and any(self._streamed.values())
            self._streamed[key] = self._streamed.get(key, "") + text
            yield self._chunk({"content": f"\n\n{text}" if begins else text})

    def _check_retraction(self, told: Mapping[str, Any]) -> None:
        """OpenAI's stream has no word for text that is void: the client has to ask again."""
        if told.get("type") == "retraction" and self._streamed.get(str(told.get("message_id"))):
            problem = f"{told.get('provider')}: failed in the middle of its answer, and another model began it anew; ask again"
            details = {key: told.get(key) for key in ("provider", "model", "chars")}
            code = ProviderUnavailable.code
            raise AnswerFailed({"error_code": code, "message": problem, "details": {**details, "reason": "retracted"}})

    def _updates(self, data: Mapping[str, Any], *, root: bool) -> None:
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
        if self._failure is not None:
            raise self._failure
        if status not in TERMINAL:
            problem = "This server lets go of the run; ask again."
            raise AnswerFailed({"error_code": "run_ended", "message": problem})
        if status != "success" or self._answer is None:
            raise AnswerFailed({"error_code": "run_ended", "message": f"The run ended without an answer ({status})."})
        whole, shown = text_of(self._answer), self._streamed.get(str(self._answer.get("id")), "")
        rest = whole.removeprefix(shown)
        if shown and rest == whole:  # what was streamed has been corrected: the whole counts
            rest = "" if whole.strip() == shown.strip() else f"\n\n{whole}"
        if rest:
            yield self._chunk({"content": rest})
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
    content: dict[str, Any] = clean_json({"error": {**error, **more}})
    return content


def error_event(failed: Exception, trace_id: str) -> bytes:
    """The event that ends a stream which can't go on."""
    told = as_failed(failed)
    content = openai_error(told.status, {**told.told, "trace_id": trace_id})
    return b"data: " + orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n\n"


def as_failed(failed: Exception) -> AnswerFailed:
    """Any failure as it is told. A fault of ours tells no more than that it was one."""
    if isinstance(failed, AnswerFailed):
        return failed
    if isinstance(failed, ConsiliumError) and type(failed) is not ConsiliumError:
        return AnswerFailed({"error_code": failed.code, "message": failed.message, "details": failed.details})
    return AnswerFailed({"error_code": ConsiliumError.code, "message": FAULT})
