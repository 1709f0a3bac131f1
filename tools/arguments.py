"""Arguments of a tool call: normalised where the intent is plain, then checked against the tool's JSON Schema."""

from __future__ import annotations

import json
import math
from typing import Any

from domain.errors import InvalidToolArguments, ToolError
from domain.text import clean_json
from providers.json_validator import UnusableSchema, errors_of

MAX_STEPS = 20_000
"""Keywords applied to the arguments of one call: what an MCP server's schema may cost all others here."""


def validate(name: str, schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` as the tool may be called with. Raises InvalidToolArguments naming each wrong field and what it may be, ToolError where
    the schema is none that anything can be checked against."""
    normal: dict[str, Any] = normalise(schema, clean_json(arguments))
    problems = sorted(_errors(name, schema, normal), key=lambda error: list(map(str, error.path)))
    if problems:
        shown = "; ".join(f"{_where(error.path)}: {error.message[:300]}" for error in problems[:5])
        raise InvalidToolArguments(
            f"{name}: {shown}. Call it again with arguments that fit its schema.",
            fields=[_where(error.path) for error in problems],
            schema=schema,
        )
    return normal


def _errors(name: str, schema: dict[str, Any], arguments: Any) -> list[Any]:
    try:
        return errors_of(arguments, schema, steps=MAX_STEPS, unevaluated=False)
    except UnusableSchema as unusable:
        raise ToolError(f"{name} can't be called: its schema {unusable}.", tool=name) from None


def _where(path: Any) -> str:
    return ".".join(map(str, path)) or "arguments"


def normalise(schema: Any, value: Any) -> Any:
    """Mend what weak models get wrong without changing the meaning: numbers and booleans as strings, JSON in a string for an
    object or array, null for an optional field, one item for an array."""
    if not isinstance(schema, dict):  # true and false are schemas, too
        return value
    match schema.get("type"):
        case "object":
            value = _parsed(value, dict)
            if not isinstance(value, dict):
                return value
            fields: dict[str, Any] = schema.get("properties", {})
            required = set(schema.get("required", ()))
            return {
                key: normalise(fields.get(key, {}), item)
                for key, item in value.items()
                if not (item is None and key in fields and key not in required and not _nullable(fields[key]))
            }
        case "array":
            value = _parsed(value, list)
            items = value if isinstance(value, list) else [value]
            return [normalise(schema.get("items", {}), item) for item in items]
        case "integer" if isinstance(value, str):
            return _number(value, int)
        case "integer" if isinstance(value, float) and value.is_integer():
            return int(value)
        case "number" if isinstance(value, str):
            return _number(value, float)
        case "boolean" if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case "string" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
    return value


def _parsed(value: Any, kind: type) -> Any:
    if isinstance(value, str) and value.strip()[:1] in "{[":
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            return value
        return parsed if isinstance(parsed, kind) else value
    return value


def _number(value: str, kind: type[int] | type[float]) -> Any:
    """What is no number, or none that JSON has, stays a text, for the check to refuse."""
    try:
        number = kind(value)
    except ValueError:
        return value
    return number if math.isfinite(number) and abs(number) < 2**63 else value


def _nullable(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is True
    kinds = schema.get("type")
    return kinds == "null" or (isinstance(kinds, list) and "null" in kinds)
