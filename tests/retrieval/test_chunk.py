"""Chunks are exact pieces of the text and stay within their page and heading."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.knowledge import ParsedDocument, Span
from retrieval.chunk import CHUNK_CHARACTERS, chunk

WORDS = st.sampled_from(
    ["договор", "и", "a", "неустойка.", "\n\n", "\n", "  ", "x" * 1300, "fee 10,5%", ". ", "а" * 40]
)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    parts = draw(st.lists(st.lists(WORDS, min_size=1, max_size=80).map(" ".join), min_size=1, max_size=4))
    spans, at = [], 0
    for page, part in enumerate(parts, start=1):
        spans.append(Span(at, at + len(part), page, f"s{page}"))
        at += len(part)
    return ParsedDocument("".join(parts), tuple(spans), len(parts))


@settings(max_examples=150, deadline=None)
@given(documents())
def test_chunks_are_exact_and_cover_the_words(document: ParsedDocument) -> None:
    chunks = list(chunk(document))
    for piece in chunks:
        assert document.text[piece.start : piece.end] == piece.text
        assert 0 < len(piece.text) <= CHUNK_CHARACTERS
        (home,) = [span for span in document.spans if span.start <= piece.start < span.end]
        assert piece.end <= home.end
        assert (piece.page, piece.section) == (home.page, home.section)
    covered = {at for piece in chunks for at in range(piece.start, piece.end)}
    assert not [at for at, char in enumerate(document.text) if not char.isspace() and at not in covered]


def test_neighbours_overlap() -> None:
    text = " ".join(f"word{n}" for n in range(600))
    first, second, *_ = chunk(ParsedDocument(text, (Span(0, len(text)),)))
    assert first.start < second.start < first.end
