"""How fast models answer, as this process measured it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from statistics import median_low

REMEMBERED = 50
"""Answers of one model."""
MODELS = 500
"""Those that were not used for longest are forgotten."""


class Latencies:
    """Milliseconds to the first token of the latest answers, per (provider, model). In memory, bounded."""

    def __init__(self) -> None:
        self._first: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._view: Mapping[tuple[str, str], int] | None = None

    def observe(self, provider: str, model: str, *, first_token_ms: int | None, latency_ms: int) -> None:
        """An answer took this long; one without a first token of its own counts as a whole."""
        key = (provider, model)
        self._first.setdefault(key, deque(maxlen=REMEMBERED)).append(
            latency_ms if first_token_ms is None else first_token_ms
        )
        self._first.move_to_end(key)
        if len(self._first) > MODELS:
            self._first.popitem(last=False)
        self._view = None

    def first_token_p50(self, provider: str, model: str) -> int | None:
        """The median; None where nothing was measured."""
        return self.view().get((provider, model))

    def view(self) -> Mapping[tuple[str, str], int]:
        """All medians. The same object until the next observation."""
        if self._view is None:
            self._view = {key: median_low(measured) for key, measured in self._first.items()}
        return self._view
