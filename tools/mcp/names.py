"""What models call the tools of a server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from domain.mcp import MAX_TOOL_NAME

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
SEPARATOR = "__"


def exposed_names(server: str, tools: Iterable[str]) -> dict[str, str]:
    """`server__tool` for each tool: at most 64 of A-Z a-z 0-9 _ -, no two alike, and always the same for the same name.

    A name that had to be altered ends in a part of its hash, so that no other tool of the server can take its place.
    """
    prefix = f"{_UNSAFE.sub('_', server)}{SEPARATOR}"
    wanted = list(dict.fromkeys(tools))
    plain = {name: f"{prefix}{name}" for name in wanted if _fits(prefix, name)}
    taken = set(plain.values())
    for name in sorted(set(wanted) - set(plain)):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        for length in range(6, 40):
            short = digest[:length]
            room = MAX_TOOL_NAME - len(prefix) - len(short) - 1
            candidate = f"{prefix}{_UNSAFE.sub('_', name)[:room]}_{short}"
            if candidate not in taken:
                break
        taken.add(candidate)
        plain[name] = candidate
    return {name: plain[name] for name in wanted}


def _fits(prefix: str, name: str) -> bool:
    return bool(name) and _UNSAFE.search(name) is None and len(prefix) + len(name) <= MAX_TOOL_NAME
