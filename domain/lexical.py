"""The arithmetic of lexical search: BM25 as a dot product of two sparse vectors.

A document's weight of a term already holds term frequency and length; the query's holds the term's rarity. Their
product, summed, is BM25 with k1 = 1.2, b = 0.75 and a fixed average length, so that a vector never changes when its
neighbours do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

DIMENSIONS = 2**24
_K1 = 1.2
_B = 0.75
_AVERAGE_TERMS = 150
_MAX_TERMS = 900
"""Keeps a vector within one page of the table; a chunk of 1000 characters has some 150."""


@lru_cache(maxsize=200_000)
def dimension(term: str) -> int:
    """The 1-based dimension of a term."""
    return crc32(term.encode()) % DIMENSIONS + 1


def vector(terms: Iterable[str]) -> str:
    """The sparsevec literal of a text's terms (with repeats)."""
    counts = Counter(map(dimension, terms))
    length = counts.total()
    norm = _K1 * (1 - _B + _B * length / _AVERAGE_TERMS)
    items = sorted(counts.most_common(_MAX_TERMS))
    body = ",".join(f"{at}:{count * (_K1 + 1) / (count + norm):.4f}" for at, count in items)
    return f"{{{body}}}/{DIMENSIONS}"
