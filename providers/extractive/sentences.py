"""Cutting a text into sentences that can be quoted: each is a verbatim piece of it, white space apart."""

from __future__ import annotations

import re

_ABBREVIATION = re.compile(
    r"(?:^|[\s(«\"])(?:п|пп|ст|стр|г|гг|д|ул|руб|коп|тыс|млн|млрд|т|е|и|рис|табл|см|им|кв|корп|No|Nos|Art|Sec|cl|e\.g|i\.e|Inc|Ltd|"
    r"Co|Corp|Mr|Mrs|Ms|Dr|vs|approx|(?:[A-ZА-ЯЁ]\.)*[A-ZА-ЯЁ])\.$"
)
_NUMBER = re.compile(r"^\s*\d+(?:\.\d+)*\.$")
_END = re.compile(r"[.!?…]+[»”\")\]]*(?=\s)")
_ITEM = re.compile(r"^\s*(?:[-*•–—▪]\s|#{1,6}\s|\||\d+(?:\.\d+)*[.)]\s|[a-zа-я]\)\s)")
_TABLE_RULE = re.compile(r"^[\s|:+=-]+$")
_MARKUP = re.compile(r"^(?:[-*•▪]\s+|#{1,6}\s+|>\s+)+")
_NEXT = re.compile(r"\s+[\"«“(\[]*[A-ZА-ЯЁ0-9•*-]")
MAX_CHARACTERS = 420
_HEADING = 70
"""A line shorter than this without an end mark is a heading or a cell, not a sentence cut by the page's width."""


def split(text: str) -> list[str]:
    """The sentences, list items, table rows and headings of a text, in order, white space collapsed, none empty."""
    pieces: list[str] = []
    for block in _blocks(text):
        start = 0
        for end in _END.finditer(block):
            piece = block[start : end.end()]
            if _NUMBER.match(piece) or _ABBREVIATION.search(piece.rstrip('»”")]')) or not _NEXT.match(block, end.end()):
                continue
            pieces.append(block[start : end.end()])
            start = end.end()
        pieces.append(block[start:])
    collapsed = (_MARKUP.sub("", " ".join(piece.split())).strip("| ") for piece in pieces)
    return [piece for piece in collapsed if len(piece) > 1]


def clip(sentence: str) -> str:
    """At most MAX_CHARACTERS of a sentence, cut at the end of a clause where there is one."""
    if len(sentence) <= MAX_CHARACTERS:
        return sentence
    head = sentence[:MAX_CHARACTERS]
    for mark in (";", ",", " "):
        at = head.rfind(mark)
        if at > MAX_CHARACTERS // 2:
            return head[:at].rstrip()
    return head


def _blocks(text: str) -> list[str]:
    """Runs of lines that belong together: a page's hard line breaks are joined, headings, items and rows stand
    alone."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        bare = line.strip()
        if not bare or _TABLE_RULE.match(bare):
            blocks.append([])
            continue
        current = blocks[-1]
        if current and _breaks(current[-1], bare):
            blocks.append([bare])
        else:
            current.append(bare)
    return [" ".join(block) for block in blocks if block]


def _breaks(before: str, line: str) -> bool:
    if _ITEM.match(line) or before.startswith(("|", "#")):
        return True
    if _ABBREVIATION.search(before):
        return False
    if before.endswith((".", "!", "?", "…", ":", ";")):
        return line[:1].isupper() or line[:1].isdigit()
    return (
        len(before) < _HEADING
        and (line[:1].isupper() or line[:1] in '«"“')
        and not before.endswith((",", "-", "–", "—"))
    )
