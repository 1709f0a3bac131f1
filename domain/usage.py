"""Token usage of a model call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UsageSource = Literal["provider", "estimated"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls. Prompt tokens include cached ones; completion tokens include reasoning."""

    prompt: int
    completion: int
    source: UsageSource

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    def __add__(self, other: Usage) -> Usage:
        exact = self.source == other.source == "provider"
        return Usage(
            self.prompt + other.prompt, self.completion + other.completion, "provider" if exact else "estimated"
        )


def estimate_tokens(text: str) -> int:
    """An upper-leaning estimate of the tokens in `text`, for reservations and for providers that report none.

    Latin text runs at about 4 characters a token, Cyrillic at about 2.5; we take one per 3 UTF-8 bytes, never less than 1
    for non-empty text.
    """
    return -(-len(text.encode("utf-8", "replace")) // 3)
