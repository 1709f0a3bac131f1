"""JSON at the door: what everything behind can hold, the database included. One scan where nothing is odd."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from domain.errors import InvalidInput, InvalidJson
from domain.text import clean_json

MAX_DEPTH = 100
_BITS = 2**63
# Escapes of NUL and of surrogates, constants that are no JSON, numbers that may not fit: only these need a closer look.
_ODD = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|NaN|Infinity|[0-9]{19}|[0-9][eE]\+?[0-9]{3}")


def checked_json(body: bytes) -> bytes:
    """`body` with NUL characters and lone surrogates taken out of its strings; the same bytes where there are none.

    Raises InvalidJson for bytes that are not UTF-8 or numbers that are no JSON, InvalidInput for numbers beyond 64 bits
    and nesting deeper than MAX_DEPTH. Other faults of syntax are left to whoever parses it.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise InvalidJson("it is not UTF-8", position=wrong.start) from None
    if b"\x00" in body:
        raise InvalidJson("a NUL character", position=body.index(b"\x00"))
    if not _ODD.search(body) and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return body
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError:
        return body
    except RecursionError:
        _too_deep()
    except ValueError as wrong:
        raise InvalidJson(str(wrong).split(";")[0]) from None
    _check(value)
    return json.dumps(clean_json(value), ensure_ascii=False).encode()


def _check(value: Any) -> None:
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, dict | list):
            if depth > MAX_DEPTH:
                _too_deep()
            waiting.extend((part, depth + 1) for part in (one.values() if isinstance(one, dict) else one))
        elif (isinstance(one, int) and not -_BITS <= one < _BITS) or (
            isinstance(one, float) and not math.isfinite(one)
        ):
            raise InvalidInput("body", "has a number beyond 64 bits")


def _too_deep() -> NoReturn:
    raise InvalidInput("body", f"is nested deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH, unit="levels") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
