"""Text at the door: what Postgres and JSON can hold."""

from __future__ import annotations

from typing import Any

import orjson


def clean(text: str) -> str:
    """`text` without NUL characters and lone surrogates, which Postgres text can't store."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")


def _is_clean(value: Any) -> bool:
    """False where it has to be looked at: orjson refuses lone surrogates and keys that aren't strings."""
    try:
        return b"\\u0000" not in orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False


def clean_json(value: Any) -> Any:
    """`value` with every string in it, keys included, cleaned; itself where there is nothing to clean."""
    if isinstance(value, dict | list) and _is_clean(value):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean(str(key)): clean_json(item) for key, item in value.items()}
    return value
