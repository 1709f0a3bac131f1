"""Finding the sentences that answer a question, or that none does.

A sentence is judged by the share of the question's concepts it covers, weighted by how rare each is among the
sentences at hand: the words the question is really about weigh most, and one of them that occurs nowhere pulls every
candidate down. Its neighbours, the headings above it and the rest of its passage lend it part of what they cover. A
name or number of the question must occur in the same source.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from domain.sources import SourceText
from providers.extractive.lexicon import Lexicon
from providers.extractive.question import Concept, any_content, counts, term_set
from providers.extractive.sentences import clip, split

ENOUGH = 0.65
"""The weighted coverage from which a sentence counts as an answer; chosen on
tests/providers/test_extractive_answers.py."""
_NEIGHBOUR, _HEADING, _PASSAGE = 0.75, 0.85, 0.5
_NEARLY_BEST = 0.9
_UNSEEN = 4
_OWN = 0.3
_MOST_QUOTES = 3
_ENDS = (".", "!", "?", "…", ";", "»", "”")


@dataclass(frozen=True, slots=True)
class Quote:
    """A verbatim piece of a source (`n`) or of a note (`n` None), with its score 0..1."""

    n: int | None
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class _Sentence:
    n: int | None
    text: str
    terms: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Passage:
    sentences: list[_Sentence]
    heading: frozenset[str]
    terms: frozenset[str]


def find(
    question: Sequence[Concept],
    sources: Sequence[SourceText],
    notes: Sequence[str],
    lexicon: Lexicon,
    *,
    thing: Concept | None = None,
) -> list[Quote]:
    """The one to three best quotes, best first; empty where nothing answers. `thing` is what has to be counted."""
    if not any_content(question):
        return []
    passages = [_passage(source, lexicon) for source in sources]
    passages += [_note(note, lexicon) for note in notes]
    weights = _weights(question, passages)
    total = sum(weights)
    scored: list[tuple[float, int, Quote]] = []
    for passage in passages:
        if any(c.anchor and not c.match(passage.terms | passage.heading) for c in question):
            continue
        for i, sentence in enumerate(passage.sentences):
            if sentence.text.endswith("?") or (thing and not counts(sentence.text, thing, lexicon)):
                continue
            score, own = _score(question, weights, passage, i)
            if score >= ENOUGH * total:
                rank = ((1 - _OWN) * score + _OWN * own) / total * _form(sentence.text)
                scored.append((rank, -len(scored), Quote(sentence.n, sentence.text, score / total)))
    scored.sort(reverse=True, key=lambda item: item[:2])
    return _pick([quote for _, _, quote in scored], scored[0][0] if scored else 0.0, [rank for rank, _, _ in scored])


def _pick(quotes: list[Quote], best: float, ranks: list[float]) -> list[Quote]:
    picked: list[Quote] = []
    for quote, rank in zip(quotes, ranks, strict=True):
        if rank < best * _NEARLY_BEST or len(picked) == _MOST_QUOTES:
            break
        text = clip(quote.text)
        if not any(_same(text, other.text) for other in picked):
            picked.append(Quote(quote.n, text, quote.score))
    return picked


def _same(one: str, other: str) -> bool:
    return one in other or other in one


def _score(question: Sequence[Concept], weights: Sequence[float], passage: _Passage, i: int) -> tuple[float, float]:
    sentence = passage.sentences[i]
    around = [passage.sentences[j].terms for j in (i - 1, i + 1) if 0 <= j < len(passage.sentences)]
    score, shown, direct = 0.0, 0.0, False
    for concept, weight in zip(question, weights, strict=True):
        own = concept.match(sentence.terms, sentence.text)
        direct = direct or (own > 0 and concept.content)
        borrowed = max(
            _HEADING * concept.match(passage.heading),
            _NEIGHBOUR * max((concept.match(terms) for terms in around), default=0.0),
            _PASSAGE * concept.match(passage.terms),
        )
        score += weight * max(own, borrowed)
        shown += weight * own
    return (score, shown) if direct else (0.0, 0.0)


def _weights(question: Sequence[Concept], passages: Sequence[_Passage]) -> list[float]:
    sentences = [sentence for passage in passages for sentence in passage.sentences]
    count = len(sentences)
    weights = []
    for concept in question:
        df = sum(1 for sentence in sentences if concept.match(sentence.terms) > 0)
        weights.append(concept.strength * math.log(1 + (count + 1) / (max(df, _UNSEEN) + 0.5)))
    return weights


def _form(text: str) -> float:
    """Whole sentences before headings and what a passage's edge has cut."""
    if text[0].islower():
        return 0.8
    if text.endswith(":"):
        return 0.8
    if (
        not text.endswith(_ENDS)
        and len(text) < 70
        and not re.search(r"\d|[|:—–]", re.sub(r"^\d+(\.\d+)*\.?\s", "", text))
    ):
        return 0.7
    return 1.0


def _passage(source: SourceText, lexicon: Lexicon) -> _Passage:
    sentences = [_Sentence(source.n, text, term_set(text, lexicon)) for text in split(source.text)]
    heading = term_set(f"{source.title}\n{source.section or ''}", lexicon)
    return _Passage(sentences, heading, frozenset().union(*(s.terms for s in sentences)))


def _note(note: str, lexicon: Lexicon) -> _Passage:
    sentence = _Sentence(None, " ".join(note.split()), term_set(note, lexicon))
    return _Passage([sentence], frozenset(), sentence.terms)
