"""When a tool call's raw arguments are whole."""

from __future__ import annotations

import json


def is_object(raw: str) -> bool:
    """Strict JSON: an object, no NaN, no trailing text. An absent argument list is the empty object, as OpenAI's own servers
    send it."""
    if not raw:
        return True
    try:
        return isinstance(json.loads(raw, parse_constant=_refuse), dict)
    except ValueError:
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)
