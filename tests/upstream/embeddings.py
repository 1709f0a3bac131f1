"""Embeddings that behave: the same text has the same vector, texts that share words are near each other."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from typing import Any

DIMENSIONS = {"text-embedding-3-small": 1536}
"""Of a model's own; 1024 elsewhere."""


def vector(text: str, dimensions: int) -> list[float]:
    """Counts of words, each at a place of its own."""
    counts = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode()) % dimensions] += 1.0
    return counts


def tokens(texts: list[str]) -> int:
    """A token a word."""
    return sum(len(re.findall(r"\w+", text)) for text in texts)


def embeddings(body: dict[str, Any], *, ollama: bool) -> dict[str, Any]:
    """The answer of OpenAI's `/embeddings` or of Ollama's `/api/embed`."""
    texts: list[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
    size = body.get("dimensions") or DIMENSIONS.get(body["model"], 1024)
    vectors = [vector(text, size) for text in texts]
    spent = tokens(texts)
    if ollama:
        return {"model": body["model"], "embeddings": vectors, "prompt_eval_count": spent}
    encoded: list[Any] = vectors
    if body.get("encoding_format") == "base64":
        encoded = [base64.b64encode(struct.pack(f"<{size}f", *one)).decode() for one in vectors]
    data = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(encoded)]
    usage = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}
