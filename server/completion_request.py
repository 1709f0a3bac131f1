"""An OpenAI chat completion request at the door: what is passed on, what is ours to do, what can't be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from domain.errors import InvalidInput, InvalidJson, Unsupported
from domain.usage import estimate_tokens

PASSED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
"""Parameters that go to the provider as they came. A closed list: some that providers know choose other models, or what they keep."""
_OWN = frozenset({"model", "stream", "stream_options", "n"})
_ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_MODEL_CHARS = 300
MAX_TOOLS = 128
MAX_OUTPUT_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A checked request. `parameters` go to the provider, messages and tools among them; `ignored` are names that go nowhere."""

    model: str
    parameters: dict[str, Any]
    stream: bool
    include_usage: bool
    ignored: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.parameters["messages"]
        return messages

    @property
    def max_output_tokens(self) -> int | None:
        most: int | None = self.parameters.get("max_completion_tokens") or self.parameters.get("max_tokens")
        return most

    @property
    def response_format(self) -> str:
        """`text`, `json_object` or `json_schema`."""
        return str((self.parameters.get("response_format") or {}).get("type") or "text")

    def prompt_tokens(self) -> int:
        """An upper-leaning count of messages and tools."""
        tools = self.parameters.get("tools")
        texts = sum(_tokens(message) for message in self.messages)
        return texts + (estimate_tokens(orjson.dumps(tools).decode()) if tools else 0)


def read_completion(body: bytes, content_type: str) -> CompletionRequest:
    """The request in a body. Raises InvalidInput naming the parameter, InvalidJson, Unsupported."""
    sent = json_object(body, content_type)
    model = sent.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise InvalidInput("model", f"is required: an agent or a model, at most {MAX_MODEL_CHARS} characters")
    if sent.get("n") not in (None, 1):
        raise InvalidInput("n", "only one answer a request is served; leave it out, or ask again for another")
    for old, now in (("functions", "tools"), ("function_call", "tool_choice")):
        if sent.get(old) is not None:
            raise InvalidInput(old, f"is not served; use `{now}`")
    stream = sent.get("stream")
    if stream not in (None, True, False):
        raise InvalidInput("stream", "must be true or false")
    shown = sent.get("stream_options")
    if shown is not None and not isinstance(shown, dict):
        raise InvalidInput("stream_options", "must be an object")
    parameters = {name: value for name, value in sent.items() if name in PASSED and value is not None}
    _check_messages(parameters.get("messages"))
    _check_tools(parameters)
    _check_limits(parameters)
    return CompletionRequest(
        model=model,
        parameters=parameters,
        stream=bool(stream),
        include_usage=bool(shown and shown.get("include_usage")),
        ignored=tuple(sorted(name for name in sent if name not in PASSED and name not in _OWN)),
    )


def json_object(body: bytes, content_type: str) -> dict[str, Any]:
    """The object a JSON body is. Raises Unsupported, InvalidJson, InvalidInput."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Unsupported("Send the body as application/json.", supported=["application/json"])
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise InvalidJson(wrong.msg, position=wrong.pos) from None
    if not isinstance(sent, dict):
        raise InvalidInput("body", "must be a JSON object")
    return sent


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("messages", "is required: a list of at least one message")
    for n, message in enumerate(messages):
        if not isinstance(message, dict):
            _wrong(n, "", "must be an object with role and content")
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES:
            _wrong(n, ".role", f"must be one of {', '.join(_ROLES)}")
        if isinstance(content, list):
            if not all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content):
                _wrong(n, ".content", "must be a string or a list of parts, each with a type")
        elif content is None:
            if role != "assistant" or not (message.get("tool_calls") or message.get("refusal")):
                _wrong(n, ".content", "is required")
        elif not isinstance(content, str):
            _wrong(n, ".content", "must be a string or a list of parts")
        if role == "tool" and not isinstance(message.get("tool_call_id"), str):
            _wrong(n, ".tool_call_id", "is required: the id of the call this answers")
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(map(_is_call, calls))):
            _wrong(n, ".tool_calls", "must be a list of calls: id, type, and function with name and arguments")


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(call.get("id"), str)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )


def _check_tools(parameters: Mapping[str, Any]) -> None:
    tools = parameters.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list) or not 0 < len(tools) <= MAX_TOOLS:
        raise InvalidInput("tools", f"must be a list of 1 to {MAX_TOOLS} tools")
    for n, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise InvalidInput(f"tools[{n}]", "must be {type: function, function: {name, description, parameters}}")


def _check_limits(parameters: Mapping[str, Any]) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        most = parameters.get(name)
        if most is not None and (type(most) is not int or not 0 < most <= MAX_OUTPUT_TOKENS):
            raise InvalidInput(name, f"must be a whole number from 1 to {MAX_OUTPUT_TOKENS}")
    shape = parameters.get("response_format")
    if shape is not None and (
        not isinstance(shape, dict) or shape.get("type") not in ("text", "json_object", "json_schema")
    ):
        raise InvalidInput("response_format.type", "must be one of text, json_object, json_schema")
    if shape is not None and shape["type"] == "json_schema":
        named = shape.get("json_schema")
        if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
            raise InvalidInput("response_format.json_schema.schema", "is required: a JSON Schema")


def _wrong(n: int, field: str, problem: str) -> NoReturn:
    raise InvalidInput(f"messages[{n}]{field}", problem)


def _tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    tokens = 4  # what a message costs beside its text
    if isinstance(content, str):
        tokens += estimate_tokens(content)
    elif isinstance(content, list):
        tokens += sum(_part_tokens(part) for part in content)
    for call in message.get("tool_calls") or ():
        tokens += estimate_tokens(f"{call['function']['name']} {call['function']['arguments']}")
    return tokens


IMAGE_TOKENS = 1500
"""Of an image or a file, whose real cost only its provider knows."""


def _part_tokens(part: Mapping[str, Any]) -> int:
    return estimate_tokens(str(part.get("text") or "")) if part["type"] == "text" else IMAGE_TOKENS
