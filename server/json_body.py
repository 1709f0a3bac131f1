"""JSON at the door: only what everything behind can hold gets in, the database included."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from domain.errors import InvalidInput, InvalidJson
from domain.text import clean_json

MAX_DEPTH = 100
_LIMIT = 2**63
_MAX_DIGITS = 20
# Escapes of NUL and of surrogates; a pair of the latter is a character, so it takes a parser to tell.
_ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


def checked_json(body: bytes) -> bytes:
    """`body` with NUL characters and lone surrogates taken out of its strings; the same bytes where there are none.

    Raises InvalidJson for bytes that are not UTF-8 and for NaN and Infinity, InvalidInput for numbers beyond 64
    bits and nesting deeper than MAX_DEPTH. Other faults of syntax are left to whoever parses it next.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise InvalidJson("it is not UTF-8", position=wrong.start) from None
    if b"\x00" in body:
        raise InvalidJson("a NUL character", position=body.index(b"\x00"))
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError:
        return body
    except RecursionError:
        _too_deep()
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if b"\\u" not in body or not _ESCAPES.search(body):
        return body
    return json.dumps(clean_json(value), ensure_ascii=False).encode()


def _check_depth(value: Any) -> None:
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, dict | list):
            if depth > MAX_DEPTH:
                _too_deep()
            waiting.extend((part, depth + 1) for part in (one.values() if isinstance(one, dict) else one))


def _too_deep() -> NoReturn:
    raise InvalidInput("body", f"is nested deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH, unit="levels") from None


def _constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is no JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not -_LIMIT <= (value := int(digits)) < _LIMIT:
        raise InvalidInput("body", "has a number beyond 64 bits")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    # jsonb writes a float without its exponent: a huge one would come back as a whole number beyond 64 bits
    if not math.isfinite(value) or abs(value) >= _LIMIT:
        raise InvalidInput("body", "has a number beyond 64 bits")
    return value


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_int=_integer, parse_float=_float)
