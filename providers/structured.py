"""Structured output: how a model is asked for JSON, and how JSON is read from what it says.

Reading takes the text as it is where it is JSON. Otherwise the JSON is taken out of code fences and prose, and mended where that
needs no guess at what was meant.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from domain.text import clean_json
from providers.json_schema import Problem, measure, problems

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from domain.catalogue import ProviderSpec

Repaired = Literal["none", "local", "model"]
"""What it took: nothing; taking the JSON out of the text or mending it; asking a model again."""
MAX_DEPTH = 100
MAX_FENCES = 20
MAX_READS = 500_000
"""Characters that mending a text may look at; 100,000 mend some 25 KB."""
_LIMIT = 2**63
_STRICT_KEYWORDS = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "items",
        "properties",
        "required",
    }
    | {"title", "type"}
)


# Asking


@dataclass(frozen=True, slots=True)
class JsonPrompts:
    """What a model is told: `answer` always; `schema` (with a place `{schema}`) where the provider doesn't enforce it;
    `repair` (with `{errors}`) where its answer was wrong."""

    answer: str
    schema: str
    repair: str


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """An answer is to be one JSON value, valid against `schema` where there is one."""

    schema: dict[str, Any] | None
    prompts: JsonPrompts

    def for_model(
        self, spec: ProviderSpec, model: str, prompt: list[BaseMessage], *, tools: bool
    ) -> tuple[list[BaseMessage], dict[str, Any]]:
        """The prompt and the further keyword arguments of a call of one model. The extractive provider can't be told: it quotes."""
        if spec.family == "extractive":
            return prompt, {}
        options = native_options(spec, model, self.schema, tools=tools)
        return self.instructed(prompt, with_schema=options is None), options or {}

    def instructed(self, prompt: Sequence[BaseMessage], *, with_schema: bool = True) -> list[BaseMessage]:
        """The prompt with what the model has to be told; `with_schema` False where the provider enforces the schema."""
        from langchain_core.messages import SystemMessage

        told = self.prompts.answer.strip()
        if self.schema is not None and with_schema:
            told += "\n" + self.prompts.schema.strip().replace("{schema}", json.dumps(self.schema, ensure_ascii=False))
        if prompt and isinstance(prompt[0], SystemMessage):
            return [SystemMessage(f"{prompt[0].text}\n\n{told}", id=prompt[0].id), *prompt[1:]]
        return [SystemMessage(told), *prompt]


def native_options(
    spec: ProviderSpec, model: str, schema: dict[str, Any] | None, *, tools: bool
) -> dict[str, Any] | None:
    """Keyword arguments of the vendor's class that make the provider keep to JSON, or to the schema; None where it can't be asked.

    OpenAI's wire takes only schemas of objects; Anthropic's only those that `is_strict` knows, and it has no mode for JSON of any
    kind. Ollama would keep to the schema where a tool is to be called.
    """
    if spec.model(model).capabilities.structured_output is not True:
        return None
    if spec.family == "openai_compatible":
        if schema is None:
            return {"response_format": {"type": "json_object"}}
        if schema.get("type") != "object":
            return None
        named = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if spec.family == "anthropic" and schema is not None and schema.get("type") == "object" and is_strict(schema):
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    if spec.family == "ollama" and not tools:
        return {"format": schema or "json"}
    return None


def is_strict(schema: Any) -> bool:
    """Whether a schema is of the subset that OpenAI and Anthropic enforce: every object closed, all its properties required."""
    if not isinstance(schema, dict) or set(schema) - _STRICT_KEYWORDS:
        return False
    fields = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(fields)
    if (schema.get("type") == "object" or "properties" in schema) and not closed:
        return False
    if schema.get("type") == "array" and "items" not in schema:
        return False
    inner = [*fields.values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    return all(map(is_strict, [*inner, *([schema["items"]] if "items" in schema else [])]))


# Reading


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON read from a text: its value, and as text. Both mean nothing where there are `problems`."""

    value: Any
    text: str
    repaired: Repaired
    problems: list[Problem]


def read(text: str, schema: dict[str, Any] | None, *, complete: bool = True) -> Answer:
    """The one JSON value of a model's answer.

    Valid JSON is taken as it is. Of several values in a text the first that is valid against the schema is meant, without a schema
    the largest. An answer that isn't `complete`, having been cut off at the limit of tokens, is never mended. Raises InvalidInput
    where the schema can't be used.
    """
    found = list(_candidates(text.lstrip("\ufeff").strip(), mend=complete))
    if not found:
        problem = "there is no JSON in the answer" if complete else "the answer was cut off at the limit of its tokens"
        return Answer(None, "", "none", [Problem("$", problem)])
    largest = max(found, key=lambda one: len(one.text))
    if schema is None:
        return largest
    for answer in found:
        answer.problems.extend(() if answer.problems else problems(answer.value, schema))
        if not answer.problems:
            return answer
    return largest


def _candidates(text: str, *, mend: bool) -> Iterator[Answer]:
    """The values that may be meant, the likelier first."""
    try:
        value, end = _decode(text, 0)
    except ValueError:
        pass
    else:
        if end == len(text):
            yield _answer(value, text)
            return
    for fence in islice(_FENCE.finditer(text), MAX_FENCES):
        try:
            value, end = _decode(text, fence.end())
        except ValueError:
            continue
        if _FENCE_END.match(text, end):
            yield _answer(value, None)
            return
    at = 0
    while opening := _OPENING.search(text, at):
        try:
            value, at = _decode(text, opening.start())
        except ValueError:
            if mend:
                yield from _mended(text[opening.start() :])
            return
        yield _answer(value, None)


def _answer(value: Any, text: str | None) -> Answer:
    """`text` where the answer was nothing but the value's JSON."""
    if wrong := _unfit(value):
        return Answer(None, text or "", "none", [Problem("$", wrong)])
    clean = clean_json(value)
    if text is not None and clean == value:
        return Answer(value, text, "none", [])
    return Answer(clean, json.dumps(clean, ensure_ascii=False), "local", [])


def _unfit(value: Any) -> str | None:
    """What of a value can't be kept: neither the database nor most readers have numbers beyond 64 bits."""
    if measure(value)[1] > MAX_DEPTH:
        return f"it is nested deeper than {MAX_DEPTH} levels"
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            waiting.extend(one.values() if isinstance(one, dict) else one)
        elif isinstance(one, int | float) and not (math.isfinite(one) and -_LIMIT <= one < _LIMIT):
            return "it has a number beyond 64 bits"
    return None


_FENCE = re.compile(r"(?:```+|~~~+)[ \t]*(?:[A-Za-z][\w+-]*)?\s*")
_FENCE_END = re.compile(r"\s*(?:```|~~~)")
_OPENING = re.compile(
    r"""\{(?=\s*(?:["'}]|[\w$-]+\s*:|//|/\*))|\[(?=\s*(?:["'\[{\]-]|\d|true|false|null|True|False|None|//|/\*))"""
)
_NOISE = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_SLIPS = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])|\b(?:True|False|None)\b', re.DOTALL)
_PYTHON = {"True": "true", "False": "false", "None": "null"}


def _mended(broken: str) -> Iterator[Answer]:
    """Comments, trailing commas and Python's constants first, which never touches a string; then json-repair."""
    tidy = _NOISE.sub(lambda m: m[0] if m[0].startswith('"') else " ", broken)
    tidy = _SLIPS.sub(lambda m: m[0] if m[0].startswith('"') else _PYTHON.get(m[0], ""), tidy)
    try:
        yield _answer(_decode(tidy, 0)[0], None)
        return
    except ValueError:
        pass
    from json_repair import repair_json

    try:
        value = repair_json(_Metered(broken), return_objects=True, skip_json_loads=True)
    except (RecursionError, ValueError):
        return
    if isinstance(value, dict | list):
        yield _answer(value, None)


class _Metered(str):
    """A text that may be looked at MAX_READS times: json-repair can take quadratic time. Raises ValueError after that."""

    left = MAX_READS

    def __getitem__(self, at: Any) -> str:
        self.left -= 1
        if self.left < 0:
            raise ValueError("too broken to be mended")
        return super().__getitem__(at)


def _decode(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at a place of a text, and where it ends. Raises ValueError."""
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _integer(digits: str) -> int:
    """Of numbers far too long only that they are: reading them takes quadratic time."""
    return int(digits) if len(digits) <= 20 else 2 * _LIMIT


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_int=_integer)
