"""Arguments of a tool call: normalised where the intent is plain, then checked against the tool's JSON Schema."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from domain.errors import InvalidToolArguments
from domain.text import clean_json


def validate(name: str, schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` as the tool may be called with. Raises InvalidToolArguments naming each wrong field and what it may be."""
    normal: dict[str, Any] = normalise(schema, clean_json(arguments))
    problems = sorted(Draft202012Validator(schema).iter_errors(normal), key=lambda error: list(map(str, error.path)))
    if problems:
        shown = "; ".join(f"{_where(error.path)}: {error.message[:300]}" for error in problems[:5])
        raise InvalidToolArguments(
            f"{name}: {shown}. Call it again with arguments that fit its schema.",
            fields=[_where(error.path) for error in problems],
            schema=schema,
        )
    return normal


def _where(path: Any) -> str:
    return ".".join(map(str, path)) or "arguments"


def normalise(schema: dict[str, Any], value: Any) -> Any:
    """Mend what weak models get wrong without changing the meaning: numbers and booleans as strings, JSON in a string for an
    object or array, null for an optional field, one item for an array."""
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
        case "integer" if isinstance(value, str) and value.strip().lstrip("+-").isdigit():
            return int(value)
        case "integer" if isinstance(value, float) and value.is_integer():
            return int(value)
        case "number" if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return value
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


def _nullable(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    return kinds == "null" or (isinstance(kinds, list) and "null" in kinds)
