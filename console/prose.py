"""What a model wrote, as pages show it: Markdown in which markup stays text, and which makes a browser fetch nothing."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from markdown_it import MarkdownIt
from nicegui import ui

MAX_BRACKETS: Final = 2_000
"""More than any answer has links: each is looked for from every one of them, so that many take a time that grows with their square."""


def prose(content: str = "", classes: str = "") -> ui.html:
    """An element with this text; `set_content` gives it another."""
    return ui.html(content, sanitize=rendered).classes(f"prose {classes}")


def rendered(markdown: str) -> str:
    """HTML of it, safe to show. Pictures are left as links: loading one would tell its server what the address holds."""
    if markdown.count("[") > MAX_BRACKETS:
        markdown = markdown.replace("[", "\\[")
    return str(_renderer().render(markdown))


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")
    made.validateLink = _may_be_followed  # type: ignore[assignment, method-assign]
    made.add_render_rule("link_open", _link)
    return made


def _may_be_followed(address: str) -> bool:
    """Only to where a reader expects to be led: a source of the answer, the web, a letter."""
    return address.lower().startswith(("http://", "https://", "mailto:", "#source-"))


def _link(renderer: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    if not str(tokens[at].attrGet("href")).startswith("#"):
        tokens[at].attrSet("target", "_blank")
        tokens[at].attrSet("rel", "noopener noreferrer")
    return str(renderer.renderToken(tokens, at, options, env))
