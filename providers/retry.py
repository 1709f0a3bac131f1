"""What to do after a failed attempt: pure decisions of the one retry loop, which lives in providers/caller.py."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from domain.errors import (
    CircuitOpen,
    ProviderBusy,
    ProviderError,
    ProviderProtocolError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)

MAX_ATTEMPTS = 3
"""Of one provider within a call."""
BASE_SECONDS = 0.25
CAP_SECONDS = 8.0
PATIENCE_SECONDS = 3.0
"""A provider that asks for a longer pause is left for the next one, where there is one."""

Verdict = Literal["retry", "next"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the same provider again after so many seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Next:
    """Ask the next candidate."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Give up: the error is the answer."""


Plan = Retry | Next | Fail


def verdict(error: ProviderError) -> Verdict:
    """Whether the same provider may do better the next time.

    A provider that didn't answer or has too many requests may. One that broke its protocol is left for another first. A refusal
    holds for this provider only: another has another key, other models and other limits of size.
    """
    if isinstance(error, (CircuitOpen, ProviderBusy, ProviderRejected, ProviderProtocolError)):
        return "next"
    if isinstance(error, (ProviderUnavailable, ProviderRateLimited)):
        return "retry"
    return "next"


def delay(number: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to wait after attempt `number` (from 1): the provider's own word with a little jitter, else full jitter below a
    bound that doubles."""
    if retry_after is not None:
        return retry_after + rng.uniform(0.0, 0.1)
    return rng.uniform(0.0, min(CAP_SECONDS, BASE_SECONDS * 2 ** (number - 1)))


def plan(error: ProviderError, number: int, remaining: float, rng: random.Random, *, others: bool) -> Plan:
    """What to do after attempt `number` of the provider failed, with `remaining` seconds of the call left.

    `others` says whether another candidate follows.
    """
    if remaining <= 0:
        return Fail()
    again = verdict(error) == "retry" or (isinstance(error, ProviderProtocolError) and not others)
    if not again or number >= MAX_ATTEMPTS:
        return Next()
    retry_after = error.details.get("retry_after")
    if others and retry_after is not None and retry_after > PATIENCE_SECONDS:
        return Next()
    wait = delay(number, retry_after, rng)
    return Retry(wait) if wait < remaining else Next()
