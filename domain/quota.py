"""Whose budget a limit is, and what happens when it is used up."""

from __future__ import annotations

from typing import Literal

Scope = Literal["organization", "user", "model"]
"""Limits of all three hold at once; they are taken in this order."""
Exhaustion = Literal["refuse", "wait"]
"""What a run does that gets no tokens: it ends with `quota_exceeded`, or waits for the reset and goes on."""
EVERY_USER = "*"
"""The subject of a limit that each user has who has none of their own."""


def model_subject(provider: str, model: str) -> str:
    """How limits name a model."""
    return f"{provider}/{model}"
