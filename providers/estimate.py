"""How long an answer will be: what the latest ones of the same agent and model were, with a margin.

A reservation of the worst case would keep an organisation's last tokens from being used; one that is too small lets a call go
over the limit, by the difference. Counts only: nothing here tells whose answer it was.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Protocol

REMEMBERED = 50
"""Answers of one agent and model."""
KEYS = 2_000
"""Agents and models; those that were not asked for longest are forgotten."""
ENOUGH = 5
"""Answers below which they are not trusted to be typical."""
QUANTILE = 0.95
MARGIN = 1.25
LEAST = 64
"""Tokens that are always expected: an agent of short answers may once have more to say."""

_Key = tuple[str, str, str]


class CompletionCount(Protocol):
    """One earlier answer, as the ledger has it."""

    @property
    def agent(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def completion(self) -> int: ...


class OutputEstimates:
    """Expected completion tokens, learned per agent, provider and model. In memory, bounded."""

    def __init__(self) -> None:
        self._seen: OrderedDict[_Key, deque[int]] = OrderedDict()

    def seed(self, completions: Iterable[CompletionCount]) -> None:
        """Begin with what earlier processes saw, oldest first; it counts as older than what this one has seen."""
        earlier: dict[_Key, deque[int]] = {}
        for one in completions:
            key = (one.agent, one.provider, one.model)
            earlier.setdefault(key, deque(maxlen=REMEMBERED)).append(one.completion)
        for key, counts in earlier.items():
            counts.extend(self._seen.get(key, ()))
            self._seen[key] = counts
            self._trim()

    def observe(self, agent: str, provider: str, model: str, completion_tokens: int) -> None:
        """An answer was this long."""
        key = (agent, provider, model)
        self._seen.setdefault(key, deque(maxlen=REMEMBERED)).append(max(0, completion_tokens))
        self._seen.move_to_end(key)
        self._trim()

    def expect(self, agent: str, provider: str, model: str, *, default: int, ceiling: int | None) -> int:
        """Tokens to reserve for the next answer, at least 1: nineteen of twenty of the latest were shorter, with a quarter to
        spare. `default` where too few are known; never more than `ceiling`, which the answer can't pass."""
        key = (agent, provider, model)
        seen = self._seen.get(key, ())
        if seen:
            self._seen.move_to_end(key)
        expected = default
        if len(seen) >= ENOUGH:
            typical = sorted(seen)[math.ceil(QUANTILE * len(seen)) - 1]
            expected = max(LEAST, math.ceil(typical * MARGIN))
        return max(1, expected if ceiling is None else min(expected, ceiling))

    def _trim(self) -> None:
        while len(self._seen) > KEYS:
            self._seen.popitem(last=False)
