"""The words and phrases of the extractive model, read from lexicon.yaml, texts.yaml and labels.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

Analyse = Callable[[str], list[str]]
Language = Literal["en", "ru"]
Asked = Literal["number", "money", "time", "person"]

_LONGEST_PHRASE = 8
"""Words."""
_LETTER = re.compile(r"[^\W\d_]")
_CYRILLIC = re.compile(r"[а-яёА-ЯЁ]")
_WOULD_YOU = (
    r"(?:could you|can you|will you|would you|не мог(?:ла|ли)? бы (?:ты|вы)|мог(?:ла|ли)? бы (?:ты|вы)|"
    r"(?:ты |вы )?може(?:шь|те))"
)
_ASKS_TO = re.compile(rf"\b{_WOULD_YOU}\b", re.IGNORECASE)
_POLITE = re.compile(
    r"^(?:(?:please|so|ok|okay|hey|i want you to|i would like you to|i'd like you to|пожалуйста|так|слушай|прошу)\s*,?\s+|"
    rf"{_WOULD_YOU}\s*,?\s+)+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Lexicon:
    """Analysed word lists: what the analyser makes of the words of lexicon.yaml, so they meet the words of a text."""

    analyse: Analyse
    texts: dict[str, dict[str, str]]
    light: frozenset[str]
    """Words (lower case, ё as е) and their stems."""
    asks: dict[str, Asked]
    """From words and their stems."""
    synonyms: dict[str, frozenset[str]]
    """From a term to the terms that stand for it, itself left out."""
    count: tuple[str, ...]
    numerals: frozenset[str]
    contrasts: frozenset[str]
    """Terms that single one thing out among its like: seasons, months, ordinals."""
    small_talk: dict[str, str]
    """From a phrase to its kind."""
    small_talk_filler: frozenset[str]
    """Words beside small talk that add nothing to it."""
    tasks: tuple[re.Pattern[str], ...]
    """The beginning of a request for more than quoting can do."""
    remember: tuple[re.Pattern[str], ...]
    follow_up: tuple[str, ...]
    labels: dict[str, str]
    """What fields of a tool's result are called in Russian."""

    def say(self, key: str, language: Language, **values: str) -> str:
        """The model's own words, in the asker's language."""
        return self.texts[key][language].format(**values)

    def is_not_found(self, text: str) -> bool:
        """Whether a text is this model's own 'no answer'."""
        only_quotes = tuple(self.texts["only_quotes"].values())
        return any(own in text for own in self.texts["not_found"].values()) or (
            text.startswith(only_quotes) and "\n\n" not in text
        )

    def is_task(self, text: str) -> bool:
        """Whether a message asks for more than quoting can do: to write, translate, calculate."""
        body = _POLITE.sub("", text.strip())
        return any(pattern.match(body) for pattern in self.tasks)

    def small_talk_of(self, text: str) -> set[str]:
        """The kinds of small talk a message consists of; empty where there is anything else in it."""
        words = re.findall(r"[\w'-]+", plain(text))
        kinds, at = set(), 0
        while at < len(words):
            longest = min(_LONGEST_PHRASE, len(words) - at)
            spans = (" ".join(words[at : at + n]) for n in range(longest, 0, -1))
            phrase = next((span for span in spans if span in self.small_talk), None)
            if phrase is not None:
                kinds.add(self.small_talk[phrase])
            elif words[at] not in self.small_talk_filler:
                return set()
            at += len(phrase.split()) if phrase is not None else 1
        return kinds

    def fact_to_remember(self, text: str) -> str | None:
        """The fact, where a message asks to remember one; questions in the same message are left out of it."""
        body = _POLITE.sub("", text.strip())
        if _ASKS_TO.search(text[: len(text) - len(body)]):
            body = re.sub(r"\s*\?(?=\s|$)", ".", body, count=1)  # its question mark belongs to the request
        for pattern in self.remember:
            match = pattern.match(body)
            if match is None:
                continue
            sentences = re.findall(r".+?(?:[.!?…]+(?=\s|$)|$)", body[match.end() :], re.DOTALL)
            fact = " ".join(" ".join(s for s in sentences if not s.rstrip().endswith("?")).split())
            return fact[:1].upper() + fact[1:] if fact else None
        return None

    def leans_back(self, text: str) -> bool:
        """Whether a message begins like a follow-up."""
        words = plain(text)
        return any(words == start or words.startswith(start + " ") for start in self.follow_up)


def plain(text: str) -> str:
    """Lower case, ё as е."""
    return text.lower().replace("ё", "е")


def language_of(text: str) -> Language | None:
    """By the share of Cyrillic among the letters; None where there is no letter."""
    letters = _LETTER.findall(text)
    if not letters:
        return None
    return "ru" if len(_CYRILLIC.findall(text)) * 2 >= len(letters) else "en"


def load_lexicon(analyse: Analyse) -> Lexicon:
    """Read the files; about ten milliseconds."""
    words = _yaml("lexicon.yaml")
    asks: dict[str, Asked] = {}
    for kind in get_args(Asked):
        for listed in words["asks"][kind].values():
            asks.update(dict.fromkeys(_forms([plain(word) for word in listed], analyse), kind))
    return Lexicon(
        analyse=analyse,
        texts=_yaml("texts.yaml"),
        light=_forms(plain(" ".join(words["light"].values())).split(), analyse),
        asks=asks,
        synonyms=_synonyms(words["same"], analyse),
        count=tuple(words["count"]),
        numerals=frozenset(plain(words["numerals"]).split()),
        contrasts=frozenset(t for word in words["contrasts"] for t in analyse(word) if not t.startswith("~")),
        small_talk={plain(phrase): kind for kind, phrases in words["small_talk"].items() for phrase in phrases},
        small_talk_filler=frozenset(plain(words["small_talk_filler"]).split()),
        tasks=tuple(re.compile(pattern, re.IGNORECASE) for pattern in words["tasks"]),
        remember=tuple(re.compile(pattern, re.IGNORECASE) for pattern in words["remember"]),
        follow_up=tuple(plain(phrase) for phrase in words["follow_up"]),
        labels=_yaml("labels.yaml"),
    )


def _forms(words: list[str], analyse: Analyse) -> frozenset[str]:
    """The words, and the stems of those that are no stop words."""
    return frozenset(words) | {term for word in words for term in analyse(word) if not term.startswith("~")}


def _synonyms(groups: list[list[str]], analyse: Analyse) -> dict[str, frozenset[str]]:
    synonyms: dict[str, frozenset[str]] = {}
    for group in groups:
        terms = frozenset(term for word in group for term in analyse(word) if not term.startswith("~"))
        for term in terms:
            synonyms[term] = synonyms.get(term, frozenset()) | (terms - {term})
    return synonyms


def _yaml(name: str) -> Any:
    import yaml

    return yaml.safe_load(files("providers.extractive").joinpath(name).read_text("utf-8"))
