"""When a tool call's raw arguments are whole."""

from __future__ import annotations

import json
import math
from typing import NoReturn

_LIMIT = 2**63
_MAX_DIGITS = 20


def is_object(raw: str) -> bool:
    """Strict JSON: an object, no NaN, no trailing text, no number beyond 64 bits, which nothing behind can keep. An absent argument
    list is the empty object, as OpenAI's own servers send it."""
    if not raw:
        return True
    try:
        return isinstance(json.loads(raw, parse_constant=_refuse, parse_int=_integer, parse_float=_float), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not -_LIMIT <= (value := int(digits)) < _LIMIT:
        _refuse(digits)
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value) or abs(value) >= _LIMIT:
        _refuse(digits)
    return value
