"""The result of a call as text: what a model can read. Of pictures and sounds only what they are is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from domain.text import clean

if TYPE_CHECKING:
    from mcp import types


def text_of(result: types.CallToolResult) -> str:
    """Texts one after the other; the structured content where there is no text."""
    parts = [_block(block) for block in result.content]
    said = "\n\n".join(part for part in parts if part)
    if not said and result.structuredContent is not None:
        said = json.dumps(result.structuredContent, ensure_ascii=False)
    return clean(said)


def _block(block: types.ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            return f"[{block.type}, {block.mimeType}, {_size(block.data)}]"
        case "resource_link":
            return f"[{block.title or block.name}]({block.uri})"
        case "resource":
            resource = block.resource
            if hasattr(resource, "text"):
                return f"{resource.uri}\n{resource.text}"
            return f"[{resource.uri}, {resource.mimeType or 'unknown type'}, {_size(resource.blob)}]"
    return f"[{block.type}]"


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4 - base64[-2:].count('=')} bytes"
