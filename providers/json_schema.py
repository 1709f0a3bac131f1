"""JSON Schemas that clients send (draft 2020-12), and values checked against them. Neither can cost more than a bounded time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import regex
from jsonschema import ValidationError
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from domain.errors import InvalidInput
from providers.json_validator import MAX_STEPS, UnusableSchema, errors_in, errors_of

MAX_BYTES = 32_768
MAX_DEPTH = 40
"""Of the schema's own JSON."""
MAX_PARTS = 1_000
"""Objects and lists in a schema: checking one takes some 0.3 ms each."""
MAX_PATTERN_CHARS = 500
SAMPLE_STEPS = 5_000
"""Keywords applied to one value when a schema is checked itself."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_OF_ONE = (
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
_COSTLY = ("patternProperties", "$dynamicRef", "dependentSchemas")
"""Keywords that those above look into without end."""
_OF_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a value, and where: `path` is a JSON path from the value's root, `$`."""

    path: str
    problem: str

    def as_json(self) -> dict[str, str]:
        return {"path": self.path, "problem": self.problem}


def check_schema(schema: Any, field: str) -> dict[str, Any]:
    """`schema` as it may be used. Raises InvalidInput whose field is the path of what is wrong, from `field` on.

    Refused are: what isn't draft 2020-12; more than MAX_BYTES or MAX_DEPTH; references out of the schema or to nothing, `$id` and
    `$schema` inside it; patterns that don't compile; `unevaluated...` together with `patternProperties`, `$dynamicRef` or
    `dependentSchemas`.
    """
    if not isinstance(schema, dict):
        raise InvalidInput(field, "must be a JSON Schema: an object")
    size = len(json.dumps(schema, ensure_ascii=False).encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise InvalidInput(field, f"has {size} bytes; at most {MAX_BYTES} are taken", limit=MAX_BYTES, unit="bytes")
    parts, depth = measure(schema)
    if depth > MAX_DEPTH:
        raise InvalidInput(field, f"is nested deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH, unit="levels")
    if parts > MAX_PARTS:
        raise InvalidInput(field, f"has {parts} objects and lists; at most {MAX_PARTS} are taken", limit=MAX_PARTS)
    if str(schema.get("$schema", DRAFT)).rstrip("#") != DRAFT:
        raise InvalidInput(f"{field}.$schema", f"only draft 2020-12 is served ({DRAFT})", supported=[DRAFT])
    wrong = best_match(errors_in(schema))
    if wrong is not None:
        raise InvalidInput(_join(field, wrong.absolute_path), _message(wrong))
    _check_parts(schema, field)
    samples: tuple[Any, ...] = ({}, [], "")
    for sample in samples:
        problems(sample, schema, field, steps=SAMPLE_STEPS)
    return schema


def problems(
    value: Any, schema: dict[str, Any], field: str = "response_schema", *, steps: int = MAX_STEPS
) -> list[Problem]:
    """What keeps `value` from being valid, at most MAX_ERRORS; empty where it is.

    Raises InvalidInput, naming `field`, where the schema itself turns out to be unusable.
    """
    try:
        return [_problem(error) for error in errors_of(value, schema, steps=steps)]
    except UnusableSchema as unusable:
        raise InvalidInput(field, str(unusable)) from None


def _problem(error: ValidationError) -> Problem:
    nearest = best_match(iter([error])) or error
    return Problem(nearest.json_path, _message(nearest))


def _message(error: ValidationError) -> str:
    """With what each alternative said, where there were some."""
    alternatives = [inner.message[:150] for inner in error.context or () if inner.path == error.path][:3]
    return "; ".join([error.message[:300], *alternatives])


def _check_parts(schema: dict[str, Any], field: str) -> None:
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    unevaluated: str | None = None
    costly: str | None = None
    for path, part in _parts(schema, field):
        for keyword in ("$id", "$schema"):
            if keyword in part and part is not schema:
                raise InvalidInput(f"{path}.{keyword}", "is served at the root only")
        for keyword in ("$ref", "$dynamicRef"):
            if keyword not in part:
                continue
            reference = str(part[keyword])
            if not reference.startswith("#"):
                raise InvalidInput(f"{path}.{keyword}", "must begin with '#': nothing outside of the schema is read")
            try:
                resolver.lookup(reference)
            except Unresolvable:
                raise InvalidInput(f"{path}.{keyword}", f"'{reference[:200]}' isn't in the schema") from None
        if "pattern" in part:
            _check_pattern(f"{path}.pattern", part["pattern"])
        for pattern in part.get("patternProperties", ()):
            _check_pattern(f"{path}.patternProperties", pattern)
        costly = costly or next((keyword for keyword in _COSTLY if keyword in part), None)
        if found := next((keyword for keyword in _UNEVALUATED if keyword in part), None):
            unevaluated = f"{path}.{found}"
    if unevaluated is not None and costly is not None:
        raise InvalidInput(unevaluated, f"is not served together with {costly}; use additionalProperties")


def _check_pattern(path: str, pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise InvalidInput(path, f"has more than {MAX_PATTERN_CHARS} characters", limit=MAX_PATTERN_CHARS)
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as wrong:
        raise InvalidInput(path, f"is no regular expression: {wrong}"[:300]) from None


def _parts(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema with its path; what is data (`const`, `enum`, `default`) isn't one."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword in _OF_ONE:
        yield from _parts(schema.get(keyword), f"{path}.{keyword}")
    for keyword in _OF_MANY:
        for index, part in enumerate(schema.get(keyword, ())):
            yield from _parts(part, f"{path}.{keyword}.{index}")
    for keyword in _BY_NAME:
        for name, part in schema.get(keyword, {}).items():
            yield from _parts(part, f"{path}.{keyword}.{name}")


def _join(field: str, path: Any) -> str:
    return ".".join([field, *(str(part)[:100] for part in path)])


def measure(value: Any) -> tuple[int, int]:
    """How many objects and lists a JSON value has in all, and how many of them lie in each other."""
    parts = deepest = 0
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, dict | list):
            parts, deepest = parts + 1, max(deepest, depth)
            waiting.extend((part, depth + 1) for part in (one.values() if isinstance(one, dict) else one))
    return parts, deepest
