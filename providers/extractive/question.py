"""A question as weighted concepts, and how far a text covers each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from providers.extractive.lexicon import Asked, Lexicon, plain

_QUOTED = re.compile(r"[«“„\"]([^«»“”„\"]+)[»“”\"]")
_WORD = re.compile(r"\w+(?:[-.]\w+)*")
_CYRILLIC = re.compile(r"[а-яё]", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(?:^|[.!?…:»\"]\s+|^[«\"(]+)$")
_MONEY = r"(?:₽|руб|р\.|коп|usd|eur|\$|€|dollar|euro|rouble|ruble|доллар|евро|тыс|млн|million|thousand|%)"
_MONTHS = (
    r"(?:january|february|march|april|june|july|august|september|october|november|december|"
    r"январ|феврал|март|апрел|июн|июл|август|сентябр|октябр|ноябр|декабр)"
)
_SPANS = r"(?:day|week|month|year|hour|minute|quarter|дн|день|недел|месяц|год|лет|час|минут|сут|квартал)"
_NAME = r"[A-ZА-ЯЁ][a-zа-яё]+(?:-[A-ZА-ЯЁ][a-zа-яё]+)?"
_SHOWS: dict[Asked, re.Pattern[str]] = {
    "number": re.compile(r"\d"),
    "money": re.compile(rf"\d[\d\s.,]*\s*{_MONEY}|{_MONEY}\s*\d", re.IGNORECASE),
    "time": re.compile(
        rf"\d\s*\)?\s*(?:\([^)]*\)\s*)?(?:\w+\s+){{0,2}}{_SPANS}|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|\d{{4}}-\d{{2}}|"
        rf"{_MONTHS}|\b(?:19|20)\d\d\b|\d{{1,2}}:\d{{2}}",
        re.IGNORECASE,
    ),
    "person": re.compile(rf"\b{_NAME}\s+{_NAME}\b"),
}
EXACT, PREFIX, SYNONYM, SHOWN = 1.0, 0.85, 0.8, 0.7
_LIGHT, _ASKED = 0.1, 0.35


Anchor = Literal["name", "figure"]
"""What tells one thing from its like: a name, or a number, a code, a month, an ordinal."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One word of the question. `strength` scales its weight; an `anchor` must be in the cited passage, or where it
    is a name in its document."""

    word: str
    terms: frozenset[str]
    prefixes: frozenset[str]
    synonyms: frozenset[str]
    strength: float
    asked: Asked | None
    anchor: Anchor | None

    @property
    def content(self) -> bool:
        return self.strength >= 0.5

    def match(self, terms: frozenset[str] | set[str], text: str | None = None) -> float:
        """0..1: how well these terms (and this text, for what shows a number, a sum, a time) cover the concept."""
        if self.terms and self.terms <= terms:
            return EXACT
        if self.asked is not None and text is not None and _SHOWS[self.asked].search(text):
            return SHOWN
        if len(self.terms) == 1 and self.prefixes & terms:
            return PREFIX
        return SYNONYM if self.synonyms & terms else 0.0


def concepts(text: str, lexicon: Lexicon, *, own_name: str = "", strength: float = 1.0) -> list[Concept]:
    """The concepts of a question, stop words left out, each word once. `own_name` is the organisation's, which says
    little."""
    own = set(lexicon.analyse(own_name))
    cyrillic = bool(_CYRILLIC.search(text))
    shouted = text.isupper()
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    found: dict[str, Concept] = {}
    for match in _WORD.finditer(text):
        word = match.group()
        key = plain(word)
        terms = lexicon.analyse(word)
        asked = next((kind for form in (key, *terms) if (kind := lexicon.asks.get(form))), None)
        if (not terms and asked is None) or key in found:
            continue
        stems = frozenset(term for term in terms if not term.startswith("~"))
        light = key in lexicon.light or bool(stems & lexicon.light) or bool(own & stems)
        weight = _ASKED if asked else _LIGHT if light else 1.0
        starts = bool(_SENTENCE_START.search(text[: match.start()]))
        anchor: Anchor | None = "figure" if stems & lexicon.contrasts else _anchor(word, starts, cyrillic)
        if anchor is None and any(start < match.start() < end for start, end in quoted):
            anchor = "name"
        if light or asked is not None or strength != 1.0:
            anchor = None
        found[key] = Concept(
            word=word,
            terms=frozenset({_literal(word)}) if not shouted and _is_acronym(word) else stems,
            prefixes=frozenset(terms) - stems,
            synonyms=frozenset().union(*(lexicon.synonyms.get(stem, frozenset()) for stem in stems)),
            strength=weight * strength,
            asked=asked,
            anchor=anchor,
        )
    return list(found.values())


_VERB = re.compile(r"(?:[иеяюуа]тс?я?|л[аои]?с?ь?|ться|ть)$")
_WINDOW = 3
"""Words between a number and the thing it counts."""


def counted(text: str, lexicon: Lexicon) -> Concept | None:
    """What "how many ..." or "сколько ..." asks the number of; None where it goes on with a verb, or isn't there."""
    lowered = plain(text)
    for start in lexicon.count:
        match = re.search(rf"\b{start}\s+(\w+)", lowered)
        if match is None:
            continue
        word = match.group(1)
        if _CYRILLIC.search(word) and _VERB.search(word) and word != "лет":
            continue
        found = concepts(word, lexicon)
        return found[0] if found and found[0].asked is None else None
    return None


def counts(text: str, thing: Concept, lexicon: Lexicon) -> bool:
    """Whether a number stands within a few words of the thing in a sentence."""
    words = plain(text)
    places = [(word, i) for i, word in enumerate(_WORD.findall(words))]
    numbers = [i for word, i in places if word[0].isdigit() or word in lexicon.numerals]
    things = [i for word, i in places if thing.match(term_set(word, lexicon))]
    return any(abs(n - t) <= _WINDOW for n in numbers for t in things)


def _anchor(word: str, starts_sentence: bool, cyrillic_text: bool) -> Anchor | None:
    """Names, acronyms, numbers, codes, foreign words: what a source must speak of to be about the question."""
    if any(character.isdigit() for character in word):
        return "figure"
    if (len(word) > 1 and word.isupper()) or (cyrillic_text and not _CYRILLIC.search(word)):
        return "name"
    return "name" if word[:1].isupper() and not starts_sentence else None


def term_set(text: str, lexicon: Lexicon) -> frozenset[str]:
    """The terms of a text, its acronyms once more as they are: their stems are other words' as well."""
    return frozenset(lexicon.analyse(text)) | {_literal(word) for word in _WORD.findall(text) if _is_acronym(word)}


def _is_acronym(word: str) -> bool:
    return len(word) > 1 and word.isupper() and word.isalpha()


def _literal(word: str) -> str:
    return f"={plain(word)}"


def any_content(items: Iterable[Concept]) -> bool:
    """Whether there is anything to look for: a word that says something, a number alone doesn't."""
    return any(concept.content and not concept.word.isdigit() for concept in items)
