"""The course of one model call: candidate by candidate, round by round, until one answers.

This is the one retry loop of the product. A call has the candidates of a route; each try of one is an attempt, and every attempt
ends in the ledger and in the call's record.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog

from domain.calls import Attempt, CallOutcome, CallRecord, Purpose
from domain.errors import (
    CircuitOpen,
    ConsiliumError,
    NoProvider,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    QuotaExceeded,
)
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId
from providers.attempt import RunningAttempt
from providers.meter import Meter
from providers.retry import MAX_ATTEMPTS, Fail, Next, Retry, delay, plan
from providers.route import Candidate, Route
from storage.quota import Reservation

if TYPE_CHECKING:
    from providers.caller import Caller

log = structlog.get_logger(__name__)
T = TypeVar("T")
Opener = Callable[[Candidate, Meter], AsyncGenerator[T, None]]
"""Begins an attempt: the answer of a candidate, piece by piece; it tells the meter what it sees."""


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf a call is made, and what for."""

    organization_id: OrganizationId
    user_id: UserId
    agent: str
    purpose: Purpose = "answer"
    run_id: RunId | None = None
    thread_id: ThreadId | None = None
    trace_id: TraceId | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """What a call takes, in tokens: the prompt by our own count; the most the answer may have, None where that isn't said.
    `by_model` has the prompt's count for a (provider, model) that gets it in another length."""

    prompt_tokens: int
    max_output_tokens: int | None = None
    by_model: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def prompt(self, candidate: Candidate) -> int:
        """Tokens of the prompt as this one gets it."""
        return self.by_model.get((candidate.provider, candidate.model), self.prompt_tokens)


@dataclass(frozen=True, slots=True)
class Retraction:
    """What the attempt has passed on so far is void: its provider failed, and the answer begins anew."""

    provider: str
    model: str
    error_code: str
    reason: str | None
    chars: int


class Call(Generic[T]):
    """The course of one call."""

    def __init__(
        self,
        caller: Caller,
        origin: Origin,
        route: Route,
        need: Need,
        open_attempt: Opener[T],
        seconds: float,
        retractable: bool,
        prepares: bool,
        call_id: str,
    ) -> None:
        self._caller = caller
        self._origin = origin
        self._route = route
        self._need = need
        self._open = open_attempt
        self._retractable = retractable
        self.prepares = prepares
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._started = time.perf_counter()
        self._id = call_id
        self._attempts: list[Attempt] = []
        self._tried: Counter[str] = Counter()
        self._given_up: set[tuple[str, str]] = set()
        """Candidates that refused, or have no tokens left."""
        self._not_before: dict[str, float] = {}
        """When a provider may be asked again that wanted a rest, on the loop's clock."""
        self._failure: ConsiliumError | None = None
        self._quota: dict[str, Any] | None = None
        self._recorded = False

    async def run(self) -> AsyncGenerator[T | Retraction, None]:
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        except ConsiliumError as failed:
            await self._record("refused" if isinstance(failed, (QuotaExceeded, NoProvider)) else "failed", failed.code)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            await self._record("cancelled", "cancelled")
            raise
        except BaseException:
            await self._record("failed", ConsiliumError.code)
            raise

    async def _pieces(self) -> AsyncGenerator[T | Retraction, None]:
        """Candidate by candidate, round by round, until one answers."""
        if not self._route.candidates:
            raise NoProvider("No provider is configured for this call; set a key or an address, see .env.example.")
        for turn in itertools.count(1):
            for place, candidate in enumerate(self._route.candidates):
                retry = Retry(0) if self._may_ask(candidate) else None
                while retry is not None:
                    if retry.after:
                        await asyncio.sleep(retry.after)
                    attempt = RunningAttempt(self, candidate)
                    try:
                        async with aclosing(attempt.pieces()) as pieces:
                            async for piece in pieces:
                                yield piece
                        return
                    except ProviderError as failed:
                        log.warning(
                            "provider failed", provider=failed.provider, error_code=failed.code, error=failed.message
                        )
                        shown = attempt.meter.shown_chars if attempt.passed else None
                        retry = self._next(candidate, failed, others=place + 1 < len(self._route.candidates))
                        if shown is not None:
                            if not self._retractable:
                                raise
                            reason = failed.details.get("reason")
                            yield Retraction(candidate.provider, candidate.model, failed.code, reason, shown)
                    except QuotaExceeded as exceeded:
                        if exceeded.details.get("scope") != "model":
                            raise
                        self._failure, retry = exceeded, None  # another model may have tokens left
                        self._given_up.add((candidate.provider, candidate.model))
            await self._rest(turn)

    def _next(self, candidate: Candidate, failed: ProviderError, *, others: bool) -> Retry | None:
        """How to go on after a failure; None is the next candidate. Raises it where nothing helps."""
        skipped = isinstance(failed, (CircuitOpen, ProviderBusy))
        if not skipped or self._failure is None:
            self._failure = failed
        if candidate.reason == "request" and isinstance(failed, ProviderRejected):
            raise failed  # the request asked for just this one: its refusal is the answer
        if isinstance(failed, ProviderRejected):
            self._given_up.add((candidate.provider, candidate.model))
        if not skipped and (pause := failed.details.get("retry_after")):
            self._not_before[candidate.provider] = asyncio.get_running_loop().time() + pause
        match plan(failed, self._tried[candidate.provider], self._remaining(), self._caller.rng, others=others):
            case Retry() as again:
                return again
            case Next():
                return None
            case Fail():
                raise failed

    def _tries_left(self, candidate: Candidate) -> bool:
        given_up = (candidate.provider, candidate.model) in self._given_up
        return not given_up and self._tried[candidate.provider] < MAX_ATTEMPTS

    def _may_ask(self, candidate: Candidate) -> bool:
        """Whether it is asked in this round: another model of its provider may have used up the tries, or been told to wait."""
        due = self._not_before.get(candidate.provider, 0.0)
        return self._tries_left(candidate) and due <= asyncio.get_running_loop().time()

    async def _rest(self, turn: int) -> None:
        """After a round without an answer: wait for a provider that may be tried again in time. Raises the last failure."""
        assert self._failure is not None, "a round ends with an answer or a failure"
        providers = [candidate.provider for candidate in self._route.candidates if self._tries_left(candidate)]
        now = asyncio.get_running_loop().time()
        pause = min((max(0.0, self._not_before.get(provider, 0.0) - now) for provider in providers), default=0.0)
        if not providers or pause >= self._remaining():
            raise self._failure
        await asyncio.sleep(pause)
        if not await self._caller.breakers.turn(providers, self._remaining()):
            raise self._failure
        await asyncio.sleep(min(delay(turn, None, self._caller.rng), max(0.0, self._remaining())))

    def _remaining(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def _record(self, outcome: CallOutcome, error_code: str | None) -> None:
        """Where the ledger's last entry could not carry the record."""
        if not self._recorded:
            record = self.finished(outcome, error_code=error_code)
            await asyncio.shield(self._caller.calls.add(record))

    def finished(
        self, outcome: CallOutcome, *, answered: Candidate | None = None, error_code: str | None = None
    ) -> CallRecord:
        """The call's record; to be made once, at its end."""
        self._recorded = True
        origin, route = self._origin, self._route.as_json()
        record = CallRecord(
            call_id=self._id,
            organization_id=origin.organization_id,
            user_id=origin.user_id,
            run_id=origin.run_id,
            thread_id=origin.thread_id,
            trace_id=origin.trace_id,
            agent=origin.agent,
            purpose=origin.purpose,
            outcome=outcome,
            provider=answered.provider if answered else None,
            model=answered.model if answered else None,
            error_code=error_code,
            latency_ms=round((time.perf_counter() - self._started) * 1000),
            policy=route.get("policy", {}),
            candidates=route["candidates"],
            eliminations=route["eliminations"],
            attempts=self._attempts,
            quota=self._quota,
        )
        self._caller.observe(record)
        return record

    # What an attempt uses of its call.

    @property
    def caller(self) -> Caller:
        return self._caller

    @property
    def need(self) -> Need:
        return self._need

    def open(self, candidate: Candidate, meter: Meter) -> AsyncGenerator[T, None]:
        return self._open(candidate, meter)

    def number(self, provider: str) -> int:
        """Of the attempt that begins now."""
        return self._tried[provider] + 1

    def count(self, provider: str) -> None:
        """The provider is really asked."""
        self._tried[provider] += 1

    def note(self, attempt: Attempt) -> None:
        self._attempts.append(attempt)

    async def place(self, provider: str) -> Any:
        return self._caller.admission.slot(provider, self._origin.organization_id, seconds=max(0.0, self._remaining()))

    async def reserve(self, candidate: Candidate) -> Reservation:
        origin, need = self._origin, self._need
        expected = self._caller.estimates.expect(
            origin.agent,
            candidate.provider,
            candidate.model,
            default=self._caller.output_tokens,
            ceiling=need.max_output_tokens,
        )
        reservation = await self._caller.ledger.reserve(
            origin.organization_id,
            need.prompt(candidate) + expected,
            run_id=origin.run_id,
            thread_id=origin.thread_id,
            user_id=origin.user_id,
            agent=origin.agent,
            provider=candidate.provider,
            model=candidate.model,
            trace_id=origin.trace_id,
            call_id=self._id,
            purpose=origin.purpose,
        )
        self._quota = {"reserved": reservation.tokens, "day": str(reservation.day)}
        return reservation

    @property
    def origin(self) -> Origin:
        return self._origin
