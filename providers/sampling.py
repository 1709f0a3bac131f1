"""What a request may say about an answer's length and variety, in the words of each family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domain.catalogue import Family


@dataclass(frozen=True, slots=True)
class Sampling:
    """`max_output_tokens` bounds the answer, reasoning included. None leaves it to the provider."""

    max_output_tokens: int | None = None
    temperature: float | None = None

    def options(self, family: Family) -> dict[str, Any]:
        """Keyword arguments of the vendor's class. The extractive provider has neither: it quotes."""
        if family == "extractive":
            return {}
        if family == "ollama":
            named = _given(num_predict=self.max_output_tokens, temperature=self.temperature)
            return {"options": named} if named else {}
        return _given(max_tokens=self.max_output_tokens, temperature=self.temperature)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
