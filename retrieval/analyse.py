"""The one analyser: the same terms at ingestion and in a query, for Russian and English mixed in any way."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Protocol

import Stemmer

from retrieval.stopwords import STOP_WORDS

_WORD = re.compile(r"\w+")
_CYRILLIC = re.compile(r"[а-я]")
_PREFIX = 5


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...


class _Stemmers(threading.local):
    """A stemmer has state and must not be shared between threads: one pair a thread."""

    def __init__(self) -> None:
        self.russian: _Stemmer = Stemmer.Stemmer("russian", 0)
        self.english: _Stemmer = Stemmer.Stemmer("english", 0)


_stemmers = _Stemmers()


def analyse(text: str) -> list[str]:
    """The search terms of `text` in order, with repeats.

    Lower case, ё as е, stop words left out, the rest stemmed (Russian where a word has a Cyrillic letter, else
    English). A Cyrillic word of more than five letters also gives '~' and its first five, which forgives endings the
    stemmer keeps apart.
    """
    terms: list[str] = []
    for word in _WORD.findall(text.lower().replace("ё", "е")):
        terms.extend(_terms(word))
    return terms


@lru_cache(maxsize=100_000)
def _terms(word: str) -> tuple[str, ...]:
    if word in STOP_WORDS:
        return ()
    if _CYRILLIC.search(word) is None:
        return (_stemmers.english.stemWord(word),)
    stem = _stemmers.russian.stemWord(word)
    return (stem, "~" + word[:_PREFIX]) if len(word) > _PREFIX else (stem,)
