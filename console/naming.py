"""What people call the tools and their fields, and how they are told what is missing."""

from __future__ import annotations

import re
from typing import Final

from console.texts import TEXTS, Words

_EITHER: Final = " (or "
"""How the server's reason names a variable that may be set instead."""
_VARIABLE: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_PACKAGE: Final = re.compile(r"pip install '?[^\s,;'\"]+'?")
_CRM: Final = "ammo-crm"
_OWN: Final = "own"


def tool_title(name: str, t: Words, title: str | None = None) -> str:
    """What a tool is called: ours in words; one of an MCP server after its server, by our words, its own title or its name.

    The server is always named: a tool of another one may bear the name of one we have words for.
    """
    server, shown = _parts(name)[0], own_title(name, t, title)
    return f"{server} · {shown}" if server else shown


def own_title(name: str, t: Words, title: str | None = None) -> str:
    """The same without the server, where that is plain."""
    own = _parts(name)[1]
    key = f"tool.{own}"
    return t(key) if key in TEXTS and _family(name) is not None else title or own


def tool_about(name: str, t: Words, otherwise: str) -> str:
    """What a tool does, in words for people; `otherwise` where we have none."""
    key = f"about.{_parts(name)[1]}"
    return t(key) if key in TEXTS and _family(name) is not None else otherwise


def field_label(tool: str, argument: str, t: Words, title: str | None = None) -> str:
    """What an argument of a tool is called: in our words, by its schema's title, or by its name."""
    key = next((key for words in _words_of(tool) if (key := f"field.{words}.{argument}") in TEXTS), None)
    return t(key) if key is not None else title or argument.replace("_", " ")


def option_label(tool: str, value: object, t: Words) -> str:
    """What a value to be chosen for an argument is called."""
    key = next((key for words in _words_of(tool) if (key := f"option.{words}.{value}") in TEXTS), None)
    return t(key) if key is not None else str(value)


def missing(reason: str, t: Words) -> str:
    """Which variables of the environment are to be set or what is to be installed, where the server's reason names any; else
    the reason."""
    if package := _PACKAGE.search(reason):
        return t("missing.package", command=package[0])
    names = list(dict.fromkeys(_VARIABLE.findall(reason)))
    between = f" {t('missing.or')} " if _EITHER in reason else ", "
    return t("missing.variables", names=between.join(names)) if names else reason


def _words_of(tool: str) -> tuple[str, ...]:
    """Whose words its arguments go by, its own first; none where we know nothing of it."""
    family = _family(tool)
    return () if family is None else (_parts(tool)[1], family)


def _family(tool: str) -> str | None:
    """Whose words a tool goes by; None for one that we know nothing of."""
    server, own = _parts(tool)
    if server:
        return _CRM if own.startswith(f"{_CRM}-") else None
    return _OWN if f"tool.{own}" in TEXTS else None


def _parts(tool: str) -> tuple[str, str]:
    """The MCP server, "" for ours, and the name there."""
    server, separator, own = tool.partition("__")
    return (server, own) if separator and own else ("", tool)
