"""What the service itself says to people, in their language."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import yaml

_CYRILLIC = re.compile(r"[а-яёА-ЯЁ]")
_LATIN = re.compile(r"[a-zA-Z]")


def language_of(text: str) -> str:
    """'ru' where Cyrillic letters are at least a third of the letters, else 'en'."""
    cyrillic, latin = len(_CYRILLIC.findall(text)), len(_LATIN.findall(text))
    return "ru" if cyrillic and cyrillic * 2 >= latin else "en"


@cache
def _texts() -> dict[str, dict[str, str]]:
    loaded: dict[str, dict[str, str]] = yaml.safe_load(files("nodes").joinpath("texts.yaml").read_text("utf-8"))
    return loaded


def text(key: str, language: str) -> str:
    """The text `key` of nodes/texts.yaml in a language. Raises KeyError for an unknown key or language."""
    return _texts()[key][language]
