"""JSON Schemas that clients send (draft 2020-12), and values checked against them. Neither can cost more than a bounded time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import regex
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from domain.errors import InvalidInput

MAX_BYTES = 32_768
MAX_DEPTH = 40
"""Of the schema's own JSON."""
MAX_PARTS = 1_000
"""Objects and lists in a schema: checking one takes some 0.3 ms each."""
MAX_PATTERN_CHARS = 500
MAX_PROBLEMS = 20
MAX_STEPS = 100_000
"""Keywords applied to one value: a schema of references to references grows exponentially."""
SAMPLE_STEPS = 5_000
"""The same when a schema is checked itself."""
PATTERN_SECONDS = 0.25
"""For all regular expressions on one value."""
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
    `$schema` inside it; patterns that don't compile; `unevaluatedProperties` together with `patternProperties`.
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
    wrong = best_match(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
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
    """What keeps `value` from being valid, at most MAX_PROBLEMS; empty where it is.

    Raises InvalidInput, naming `field`, where the schema itself turns out to be unusable.
    """
    token = _budget.set(_Budget(steps, PATTERN_SECONDS))
    try:
        # the library leaves for a validator of its own, without bounds, where it comes to a `$schema`
        bare = {keyword: part for keyword, part in schema.items() if keyword != "$schema"}
        validator = _validator()(bare, registry=Registry())
        return [_problem(error) for error in islice(validator.iter_errors(value), MAX_PROBLEMS)]
    except (_TooManySteps, RecursionError):
        raise InvalidInput(field, "takes too many steps to check a value; simplify its references") from None
    except TimeoutError:
        raise InvalidInput(field, "has a pattern that takes too long to match; simplify it") from None
    except Unresolvable as missing:
        raise InvalidInput(field, f"refers to '{missing.ref[:200]}', which isn't in it") from None
    finally:
        _budget.reset(token)


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
    patterned = False
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
            patterned = True
            _check_pattern(f"{path}.patternProperties", pattern)
        if "unevaluatedProperties" in part:
            unevaluated = f"{path}.unevaluatedProperties"
    if unevaluated is not None and patterned:
        raise InvalidInput(unevaluated, "is not served together with patternProperties; use additionalProperties")


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


# The validator: jsonschema's, with its steps counted and its regular expressions timed.


class _TooManySteps(Exception):
    """The check of one value came to its bound."""


@dataclass(slots=True)
class _Budget:
    """What the check of one value may still cost."""

    steps: int
    pattern_seconds: float


_budget: ContextVar[_Budget] = ContextVar("json_schema_budget")
Keyword = Callable[[Any, Any, Any, Any], Any]


@cache
def _validator() -> Any:
    timed: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    keywords = {**Draft202012Validator.VALIDATORS, **timed}
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {name: _counted(keyword) for name, keyword in keywords.items()}
    )


def _counted(keyword: Keyword) -> Keyword:
    def applied(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _budget.get()
        left.steps -= 1
        if left.steps < 0:
            raise _TooManySteps
        return keyword(validator, value, instance, schema)

    return applied


def _matches(pattern: str, text: str) -> bool:
    left, began = _budget.get(), time.perf_counter()
    if left.pattern_seconds <= 0:
        raise TimeoutError
    found = regex.search(pattern, text, timeout=left.pattern_seconds) is not None
    left.pattern_seconds -= time.perf_counter() - began
    return found


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, part in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in known or any(_matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"{name!r} is not allowed here")
        elif isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=name)
