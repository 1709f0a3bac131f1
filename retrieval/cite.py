"""Citations of an answer: numbering sources, checking markers, content blocks, renumbering a child's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages.content import create_citation

from domain.knowledge import Passage, Source, SourceCitation
from retrieval.markers import CitationFilter

__all__ = ["CitationFilter", "Renumbered", "Resolved", "merge", "number", "renumber", "resolve", "to_content_blocks"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """An answer with only verified markers, what they cite, and how many were dropped."""

    text: str
    citations: list[SourceCitation]
    stripped: int


@dataclass(frozen=True, slots=True)
class Renumbered:
    """A child's answer in its parent's numbers. `sources` are the parent's with those the child adds."""

    text: str
    citations: list[SourceCitation]
    sources: list[Source]


def number(passages: Iterable[Passage], existing: Sequence[Source] = ()) -> list[Source]:
    """`passages` as sources, in their order: a chunk that is in `existing` keeps its number, the others get the next
    ones."""
    known = {source.chunk_id: source.n for source in existing}
    following = max((source.n for source in existing), default=0) + 1
    numbered: list[Source] = []
    for passage in passages:
        n = known.get(passage.chunk_id)
        if n is None:
            n = known[passage.chunk_id] = following
            following += 1
        numbered.append(Source(**(passage.model_dump() | {"n": n})))
    return numbered


def merge(existing: Sequence[Source], found: Iterable[Source]) -> list[Source]:
    """All sources of a turn by number, each once."""
    by_number = {source.n: source for source in found} | {source.n: source for source in existing}
    return [by_number[n] for n in sorted(by_number)]


def resolve(text: str, sources: Iterable[Source]) -> Resolved:
    """The final form of an answer: exactly what a CitationFilter over the same sources let through."""
    markers = CitationFilter(sources)
    shown = markers.feed(text) + markers.flush()
    return Resolved(shown, markers.citations, markers.stripped)


def to_content_blocks(text: str, citations: Sequence[SourceCitation]) -> list[dict[str, Any]]:
    """One LangChain text block with a `Citation` annotation for each marker.

    `start_index`/`end_index` span the marker in `text`; `url` opens the passage; `extras` hold n, document_id,
    version, page, section and the quote's start and end in the source's text (without those that are not known, so neither
    document_id nor version for a web page).
    """
    annotations = [
        create_citation(
            id=f"lc_cite_{at}_{cited.n}",
            url=passage_url(cited),
            title=cited.title,
            cited_text=cited.quote,
            start_index=cited.answer_start,
            end_index=cited.answer_end,
            n=cited.n,
            document_id=cited.document_id,
            version=cited.version,
            page=cited.page,
            section=cited.section,
            start=cited.start,
            end=cited.end,
        )
        for at, cited in enumerate(citations)
    ]
    return [{"type": "text", "text": text, "annotations": annotations}]


def passage_url(cited: SourceCitation) -> str:
    """What opens the quotation: the web page's own address, or the API path of the passage in its version."""
    if cited.url is not None:
        return cited.url
    return f"/v1/documents/{cited.document_id}/versions/{cited.version}/passage?start={cited.start}&end={cited.end}"


def renumber(
    text: str, citations: Sequence[SourceCitation], child_sources: Sequence[Source], parent_sources: Sequence[Source]
) -> Renumbered:
    """A child's resolved answer with its markers in the parent's numbers.

    Of the child's sources only the cited ones are added to the parent's; a chunk the parent has keeps the parent's
    number.
    """
    cited = {citation.n for citation in citations}
    used = [source for source in child_sources if source.n in cited]
    numbered = number(used, parent_sources)
    numbers = {old.n: new.n for old, new in zip(used, numbered, strict=True)}
    parts: list[str] = []
    renumbered: list[SourceCitation] = []
    done = length = 0
    for citation in sorted(citations, key=lambda one: one.answer_start):
        before = text[done : citation.answer_start]
        marker = f"[{numbers[citation.n]}]"
        start = length + len(before)
        parts += [before, marker]
        length = start + len(marker)
        done = citation.answer_end
        moved = {"n": numbers[citation.n], "answer_start": start, "answer_end": length}
        renumbered.append(citation.model_copy(update=moved))
    return Renumbered("".join([*parts, text[done:]]), renumbered, merge(parent_sources, numbered))
