"""A validator of JSON Schema (draft 2020-12) for schemas of strangers: jsonschema's, with its steps counted, its regular expressions
timed, its comparisons linear, and nothing ever fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import attrs
import regex
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_STEPS = 100_000
"""Keywords applied to one value: a schema of references to references grows exponentially."""
PATTERN_SECONDS = 0.25
"""For all regular expressions on one value."""
MAX_ERRORS = 20
_LOOKED_AT = 200
"""Errors of a schema among which the one that is told is looked for."""
Keyword = Callable[[Any, Any, Any, Any], Any]


class UnusableSchema(Exception):
    """A value can't be checked against the schema; the message completes "the schema ..."."""


class _TooManySteps(Exception):
    """The check of one value came to its bound."""


@dataclass(slots=True)
class _Budget:
    """What the check of one value may still cost."""

    steps: int
    pattern_seconds: float


_budget: ContextVar[_Budget] = ContextVar("json_schema_budget")


def errors_of(
    value: Any, schema: dict[str, Any], *, steps: int = MAX_STEPS, unevaluated: bool = True
) -> list[ValidationError]:
    """What keeps `value` from being valid, at most MAX_ERRORS. Raises UnusableSchema.

    `unevaluatedProperties` and `unevaluatedItems` cost more than can be counted together with `patternProperties`, `$dynamicRef` or
    `dependentSchemas`: unless the schema is known to be without these, leave them out.
    """
    token = _budget.set(_Budget(steps, PATTERN_SECONDS))
    try:
        validator = _counting(unevaluated)(schema, registry=Registry())
        return list(islice(validator.iter_errors(value), MAX_ERRORS))
    except (_TooManySteps, RecursionError):
        raise UnusableSchema("takes too many steps to check a value; simplify its references") from None
    except TimeoutError:
        raise UnusableSchema("has a pattern that takes too long to match; simplify it") from None
    except Unresolvable as missing:
        raise UnusableSchema(f"refers to '{str(missing.ref)[:200]}', which isn't in it") from None
    except (regex.error, OverflowError) as wrong:
        raise UnusableSchema(f"has a pattern that is no regular expression: {wrong}"[:300]) from None
    finally:
        _budget.reset(token)


def errors_in(schema: Any) -> Iterator[ValidationError]:
    """What keeps it from being a schema at all, as far as that is looked at. Its references and patterns aren't followed."""
    return islice(_of_schemas()(Draft202012Validator.META_SCHEMA).iter_errors(schema), _LOOKED_AT)


@cache
def _of_schemas() -> Any:
    return _steadfast(extend(Draft202012Validator, {"uniqueItems": _unique_items}))  # type: ignore[no-untyped-call]


@cache
def _counting(unevaluated: bool) -> Any:
    bounded: dict[str, Keyword] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: _counted(keyword) for name, keyword in {**Draft202012Validator.VALIDATORS, **bounded}.items()}
    if not unevaluated:
        keywords |= {"unevaluatedProperties": _passed, "unevaluatedItems": _passed}
    return _steadfast(extend(Draft202012Validator, keywords))  # type: ignore[no-untyped-call]


def _steadfast(kind: Any) -> Any:
    """`kind`, which stays what it is: a `$schema` anywhere in a schema would have jsonschema go on with its own validator."""

    def evolve(self: Any, **changes: Any) -> Any:
        kept = {field.alias: getattr(self, field.name) for field in attrs.fields(kind) if field.init}
        return kind(**{**kept, **changes})

    kind.evolve = evolve
    return kind


def _counted(keyword: Keyword) -> Keyword:
    def applied(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _budget.get()
        left.steps -= 1
        if left.steps < 0:
            raise _TooManySteps
        return keyword(validator, value, instance, schema)

    return applied


def _passed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    return iter(())


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


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """jsonschema compares each item with each."""
    if wanted and isinstance(instance, list) and len({_identity(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _identity(value: Any) -> Hashable:
    """The same for equal JSON values: 1 and 1.0 are, 1 and true aren't."""
    if isinstance(value, dict):
        return "object", frozenset((name, _identity(part)) for name, part in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_identity, value))
    return ("boolean", value) if isinstance(value, bool) else ("scalar", value)
