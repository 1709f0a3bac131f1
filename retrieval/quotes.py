"""Quotes: the one that stands before a marker in an answer, and where it is in its source."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from retrieval.analyse import analyse

MIN_QUOTE = 12
"""Shorter quotations are terms and names, not evidence, and aren't checked."""

_MARKER = re.compile(r"\[\d{1,3}\]")
_ADJACENT = re.compile(r"(?:\s*\[\d{1,3}\])+\s*$")
_OPENING = {"»": "«", "”": "“„", "“": "„", '"': '"'}
_ELLIPSIS = re.compile(r"[\[(]?(?:…|\.{3,})[\])]?")
_ATTRIBUTION = re.compile(r"\s*(?:—|–|--?)\s")
_SENTENCE_END = re.compile(r"(?<=[^\d\s][.!?…])[\"»”)]*\s+|\n+")

_FOLDS = {ord(char): '"' for char in "«»„“”‟‘’‚‹›'"} | {ord(char): "-" for char in "‐‑‒–—―−"} | {ord("ё"): "е"}
_DROPPED = frozenset("*`\u00ad\u200b\u200c\u200d\u2060\ufeff")
_EDGES = ' .,;:!?"-()'


def quote_before(answer: str) -> str | None:
    """The quotation that ends where `answer` ends, or None.

    «...», "...", “...”, „...“ or the lines of a Markdown block quote, MIN_QUOTE characters or more; emphasis, one
    punctuation mark and other `[n]` markers may stand between it and the end.
    """
    body = _ADJACENT.sub("", answer).rstrip()
    return _checked(_quotation(body)) or _checked(_block_quote(body))


def _checked(quote: str | None) -> str | None:
    if quote is None:
        return None
    quote = _MARKER.sub("", quote).strip()
    return quote if len(quote) >= MIN_QUOTE else None


def _quotation(body: str) -> str | None:
    body = body.rstrip("*_ ")
    if body and body[-1] in ".,;:!?…":
        body = body[:-1].rstrip("*_ ")
    if not body or body[-1] not in _OPENING:
        return None
    closing, openings = body[-1], _OPENING[body[-1]]
    if closing == '"':
        paragraph = body.rfind("\n\n") + 1
        start = body.rfind('"', paragraph, len(body) - 1)
        return body[start + 1 : -1] if start >= paragraph else None
    depth = 0
    for at in range(len(body) - 1, -1, -1):
        if body[at] in openings:
            depth -= 1
            if depth == 0:
                return body[at + 1 : -1]
        elif body[at] == closing:
            depth += 1
    return None


def _block_quote(body: str) -> str | None:
    lines = body.split("\n")
    if _ATTRIBUTION.match(lines[-1].lstrip("> ") + " ") or not lines[-1].strip():
        lines.pop()
        while lines and not lines[-1].strip("> "):
            lines.pop()
    quoted: list[str] = []
    while lines and lines[-1].lstrip().startswith(">"):
        line = lines.pop().lstrip().lstrip(">").strip()
        *_, rest = _MARKER.split(line)
        quoted.append(rest)
        if rest is not line and rest != line:
            break
    return "\n".join(reversed(quoted)) if quoted else None


def find_quote(quote: str, source: str) -> tuple[int, int] | None:
    """Where `quote` is in `source`, as character offsets, end exclusive; None where it isn't.

    Case, white space, kinds of quotation marks and dashes, ё and Markdown emphasis don't count. An ellipsis stands
    for anything left out: its sides must follow each other in the source. A match never begins or ends inside a word
    or a number.
    """
    folded, offsets = _fold(source)
    start: int | None = None
    at = 0
    end = 0
    for part in _ELLIPSIS.split(quote):
        wanted = _fold(part.strip(_EDGES + "«»“”„\n\t"))[0].strip(_EDGES)
        if not wanted:
            continue
        at = _find_whole(folded, offsets, source, wanted, at)
        if at < 0:
            return None
        start = offsets[at] if start is None else start
        at += len(wanted)
        end = offsets[at - 1] + 1
    return None if start is None else (start, end)


def _find_whole(folded: str, offsets: list[int], source: str, wanted: str, start: int) -> int:
    at = folded.find(wanted, start)
    while at >= 0:
        first, last = offsets[at], offsets[at + len(wanted) - 1]
        if not _continues(source, first, -1) and not _continues(source, last, 1):
            return at
        at = folded.find(wanted, at + 1)
    return -1


def _continues(source: str, edge: int, step: int) -> bool:
    """Whether the word or number at `edge` goes on beyond it."""
    beyond = source[edge + step : edge + step + 1] if edge + step >= 0 else ""
    if not source[edge].isalnum() or not beyond:
        return False
    if beyond.isalnum():
        return True
    further = edge + 2 * step
    digits = source[edge].isdigit() and 0 <= further < len(source) and source[further].isdigit()
    return digits and beyond in ".,"


def _fold(text: str) -> tuple[str, list[int]]:
    """`text` without white space in the form that is compared, and for each of its characters the offset it comes
    from."""
    folded: list[str] = []
    offsets: list[int] = []
    for offset, char in enumerate(text):
        if char.isspace() or char in _DROPPED:
            continue
        plain = char.casefold() if char.isascii() else unicodedata.normalize("NFKC", char).casefold().translate(_FOLDS)
        if char == "'":
            plain = '"'
        for one in plain:
            if not one.isspace():
                folded.append(one)
                offsets.append(offset)
    return "".join(folded), offsets


def best_sentence(claim: str, source: str) -> tuple[int, int]:
    """The sentence of `source` that shares most terms with `claim`; all of it where none shares any."""
    wanted = set(analyse(claim))
    best, most = (0, len(source)), 0
    for start, end in _sentences(source):
        shared = len(wanted.intersection(analyse(source[start:end])))
        if shared > most:
            best, most = (start, end), shared
    return best


def last_sentence(answer: str) -> str:
    """The sentence that `answer` ends with, without its markers."""
    body = _ADJACENT.sub("", answer).rstrip()
    *_, (start, end) = [(0, 0), *_sentences(body)]
    return _MARKER.sub("", body[start:end])


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for found in [*_SENTENCE_END.finditer(text), None]:
        end = found.start() if found else len(text)
        if found and found[0].strip():  # closing quotation marks belong to the sentence they close
            end += len(found[0].rstrip())
        body = text[start:end]
        if body.strip():
            yield start + len(body) - len(body.lstrip()), start + len(body.rstrip())
        start = found.end() if found else len(text)
