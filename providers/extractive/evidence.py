"""Finding the sentences that answer a question, or that none does.

A sentence is judged by the share of the question's concepts it covers, weighted by how rare each is among the
sentences at hand: the words the question is really about weigh most, and one of them that occurs nowhere pulls every
candidate down. Its neighbours, the headings above it and the rest of its passage lend it part of what they cover. A
number of the question must occur in the same passage, a name in the same document; and names alone are no answer:
something else that is asked about must be there, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from domain.sources import SourceText
from providers.extractive.lexicon import Asked, Lexicon
from providers.extractive.question import Concept, any_content, counts, term_set
from providers.extractive.sentences import clip, split

ENOUGH = 0.65
"""The weighted coverage from which a sentence counts as an answer; chosen on
tests/providers/test_extractive_answers.py."""
_NEIGHBOUR, _HEADING, _PASSAGE = 0.75, 0.85, 0.4
_RARE = 4
"""Words in fewer sentences weigh no more than one in so many: what no sentence has is often only said otherwise."""
_NAMED = 0.7
"""What a name or number weighs beside another word: it has to be there anyway, and says nothing of what is asked."""
_OWN = 0.3
"""How far the order goes by what a sentence covers by itself."""
_ANOTHER = 0.85
"""For a sentence about summer where spring is asked about."""
_NEARLY_BEST = 0.9
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
    document: str | None
    """Its title; None for a note."""


@dataclass(frozen=True, slots=True)
class _Coverage:
    """The share of the question's weight a sentence covers, 0..1: with what its surroundings lend it, by itself; and
    what the question asks for (a time, a person) that it shows."""

    whole: float
    own: float
    shown: frozenset[Asked]


@dataclass(frozen=True, slots=True)
class _Candidate:
    rank: float
    quote: Quote
    shown: frozenset[Asked]


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
    candidates: list[_Candidate] = []
    for passage in passages:
        document = _document(passage, passages)
        if not _speaks_of(question, passage, document):
            continue
        for i, sentence in enumerate(passage.sentences):
            if sentence.text.endswith("?") or (thing and not counts(sentence.text, thing, lexicon)):
                continue
            covered = _cover(question, weights, passage, document, i)
            if covered is not None and covered.whole >= ENOUGH:
                rank = ((1 - _OWN) * covered.whole + _OWN * covered.own) * _form(sentence.text)
                rank *= _ANOTHER if _of_another(question, sentence, lexicon) else 1
                quote = Quote(sentence.n, clip(sentence.text), covered.whole)
                candidates.append(_Candidate(rank, quote, covered.shown))
    return _pick(sorted(candidates, key=lambda candidate: -candidate.rank))


def _pick(candidates: Sequence[_Candidate]) -> list[Quote]:
    """The best, and those nearly as good that show what it shows."""
    picked: list[Quote] = []
    for candidate in candidates:
        best, text = candidates[0], candidate.quote.text
        if candidate.rank < best.rank * _NEARLY_BEST or len(picked) == _MOST_QUOTES:
            break
        if candidate.shown >= best.shown and not any(text in other.text or other.text in text for other in picked):
            picked.append(candidate.quote)
    return picked


def _document(passage: _Passage, passages: Sequence[_Passage]) -> frozenset[str]:
    """The terms of everything at hand of the passage's document."""
    same = [p for p in passages if p is passage or (passage.document is not None and p.document == passage.document)]
    return frozenset().union(*(p.terms | p.heading for p in same))


def _speaks_of(question: Sequence[Concept], passage: _Passage, document: frozenset[str]) -> bool:
    """Whether the numbers and names of the question are there."""
    here = passage.terms | passage.heading
    return all(
        concept.match(document if concept.anchor == "name" else here) > 0 for concept in question if concept.anchor
    )


def _cover(
    question: Sequence[Concept], weights: Sequence[float], passage: _Passage, document: frozenset[str], i: int
) -> _Coverage | None:
    """None where the sentence itself has no word of the question, or covers nothing but names."""
    sentence = passage.sentences[i]
    around = [passage.sentences[j].terms for j in (i - 1, i + 1) if 0 <= j < len(passage.sentences)]
    whole, own, shown = 0.0, 0.0, set[Asked]()
    direct, others, covers_other = False, False, False
    for concept, weight in zip(question, weights, strict=True):
        itself = concept.match(sentence.terms, sentence.text)
        lent = max(
            _HEADING * concept.match(passage.heading),
            _NEIGHBOUR * max((concept.match(terms) for terms in around), default=0.0),
            _PASSAGE * concept.match(document if concept.anchor == "name" else passage.terms),
        )
        whole += weight * max(itself, lent)
        own += weight * itself
        direct = direct or (itself > 0 and concept.content)
        if concept.asked is not None and itself > 0:
            shown.add(concept.asked)
        if concept.anchor is None and (concept.content or concept.asked is not None):
            others = True
            covers_other = covers_other or max(itself, lent) > 0
    if not direct or (others and not covers_other):
        return None
    return _Coverage(whole / sum(weights), own / sum(weights), frozenset(shown))


def _of_another(question: Sequence[Concept], sentence: _Sentence, lexicon: Lexicon) -> bool:
    """Whether a sentence speaks of another season, month or number in the row than the question."""
    asked = frozenset().union(*(concept.terms for concept in question)) & lexicon.contrasts
    told = sentence.terms & lexicon.contrasts
    return bool(asked and told) and not asked & told


def _weights(question: Sequence[Concept], passages: Sequence[_Passage]) -> list[float]:
    sentences = [sentence for passage in passages for sentence in passage.sentences]
    count = len(sentences)
    weights = []
    for concept in question:
        df = sum(1 for sentence in sentences if concept.match(sentence.terms) > 0)
        weights.append(
            (_NAMED if concept.anchor else 1) * concept.strength * math.log(1 + (count + 1) / (max(df, _RARE) + 0.5))
        )
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
    return _Passage(sentences, heading, frozenset().union(*(s.terms for s in sentences)), source.title)


def _note(note: str, lexicon: Lexicon) -> _Passage:
    sentence = _Sentence(None, " ".join(note.split()), term_set(note, lexicon))
    return _Passage([sentence], frozenset(), sentence.terms, None)
