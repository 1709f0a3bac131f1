"""The life of a circuit breaker, as pure transitions on a clock that is given.

closed -> open after so many failures in a row; open -> half_open when its time is over, for one probe; half_open -> closed where the
probe succeeds, -> open for twice as long where it fails. What an older call reports meanwhile changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

BreakerStatus = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """`failures` in a row open it, for `open_seconds`, doubled at every failed probe up to `longest_seconds`. A provider that asks
    for a longer rest has it, up to `longest_rest_seconds`. A probe that says nothing for `probe_seconds` is given up."""

    failures: int = 5
    open_seconds: float = 10.0
    longest_seconds: float = 300.0
    longest_rest_seconds: float = 600.0
    probe_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Where a breaker stands. `retry_at` is when the next probe may begin; None while closed."""

    status: BreakerStatus = "closed"
    failures: int = 0
    """In a row, since the last success."""
    open_seconds: float | None = None
    retry_at: datetime | None = None
    probe: str | None = None
    """Who probes; None unless half open."""


CLOSED = BreakerState()


def failed(
    state: BreakerState, now: datetime, policy: BreakerPolicy, *, probe: str | None, retry_after: float | None = None
) -> BreakerState:
    """A call failed; `probe` is the name it probed under. The provider asked for `retry_after` seconds of rest, where it did."""
    if state.status == "closed":
        failures = state.failures + 1
        if failures < policy.failures:
            return replace(state, failures=failures)
        return _opened(failures, policy.open_seconds, now, policy, retry_after)
    if state.status == "half_open" and probe is not None and probe == state.probe:
        longer = min(policy.longest_seconds, 2 * (state.open_seconds or policy.open_seconds))
        return _opened(state.failures + 1, longer, now, policy, retry_after)
    return state


def _opened(
    failures: int, seconds: float, now: datetime, policy: BreakerPolicy, retry_after: float | None
) -> BreakerState:
    rest = max(seconds, min(retry_after or 0.0, policy.longest_rest_seconds))
    return BreakerState("open", failures, seconds, now + timedelta(seconds=rest))


def succeeded(state: BreakerState, *, probe: str | None) -> BreakerState:
    """A call was answered."""
    if state.status == "closed" or (probe is not None and probe == state.probe):
        return CLOSED
    return state


def probing(state: BreakerState, now: datetime, policy: BreakerPolicy, *, probe: str) -> BreakerState:
    """Somebody asks to probe: the state is half open under that name where it may."""
    if state.status == "closed" or (state.retry_at is not None and now < state.retry_at):
        return state
    return replace(state, status="half_open", probe=probe, retry_at=now + timedelta(seconds=policy.probe_seconds))


def abandoned(state: BreakerState, now: datetime, *, probe: str | None) -> BreakerState:
    """A probe ended without a result: the next may begin at once."""
    if state.status == "half_open" and probe is not None and probe == state.probe:
        return replace(state, status="open", probe=None, retry_at=now)
    return state
