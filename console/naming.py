"""What people call the tools, and how they are told what is missing."""

from __future__ import annotations

import re
from typing import Final

from console.texts import TEXTS, Words

_INSTALL: Final = re.compile(r"pip install '[^']+'")
_EITHER: Final = " (or "
"""How the server's reason names a variable that may be set instead."""
_VARIABLE: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")


def tool_title(name: str, t: Words) -> str:
    """What a tool is called: ours in words, those of MCP servers by server and name."""
    if f"tool.{name}" in TEXTS:
        return t(f"tool.{name}")
    server, _, own = name.partition("__")
    return f"{server} · {own}" if own else name


def missing(reason: str, t: Words) -> str:
    """Which variables of the environment are to be set or what is to be installed, where the server's reason names any; else
    the reason."""
    if command := _INSTALL.search(reason):
        return t("missing.package", command=command[0])
    names = list(dict.fromkeys(_VARIABLE.findall(reason)))
    between = f" {t('missing.or')} " if _EITHER in reason else ", "
    return t("missing.variables", names=between.join(names)) if names else reason
