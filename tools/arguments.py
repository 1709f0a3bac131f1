"""Arguments of a tool call: normalised where the intent is plain, then checked against the tool's JSON Schema."""

from __future__ import annotations

import json
import re
from typing import Any

from domain.errors import InvalidInput, InvalidToolArguments
from domain.text import clean_json
from providers.json_schema import problems

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?")


def validate(name: str, schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` as the tool may be called with. Raises InvalidToolArguments naming each wrong field and what it may be; also where
    they can't be checked, as the schema is another program's."""
    normal: dict[str, Any] = normalise(schema, clean_json(arguments))
    try:
        found = sorted((_where(problem.path), problem.problem) for problem in problems(normal, schema, "its schema"))
    except InvalidInput as unusable:
        raise InvalidToolArguments(
            f"{name} can't be called: {unusable.message}. Try another way.", fields=["arguments"]
        ) from None
    if found:
        shown = "; ".join(f"{where}: {problem}" for where, problem in found[:5])
        raise InvalidToolArguments(
            f"{name}: {shown}. Call it again with arguments that fit its schema.",
            fields=[where for where, _ in found],
            schema=schema,
        )
    return normal


def _where(path: str) -> str:
    """`customer.phones[0]` for a JSON path."""
    return path.removeprefix("$").removeprefix(".") or "arguments"


def normalise(schema: dict[str, Any] | bool, value: Any) -> Any:
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
        case "integer" if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            return int(value)
        case "integer" if isinstance(value, float) and value.is_integer():
            return int(value)
        case "number" if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            return float(value)
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


def _nullable(schema: dict[str, Any] | bool) -> bool:
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("type")
    return kinds == "null" or (isinstance(kinds, list) and "null" in kinds)
