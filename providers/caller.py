"""One model call, through whatever fails: a place at the provider, the breaker's leave, a reservation, the stream; then the next try.

This is the one retry loop of the product. A call has the candidates of a route; each try of one is an attempt, and every attempt
ends in the ledger and in the call's record.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from domain.calls import Attempt, AttemptOutcome, CallOutcome, CallRecord, Purpose
from domain.errors import (
    CircuitOpen,
    ConsiliumError,
    NoProvider,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    QuotaExceeded,
)
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId, new_id
from providers.admission import Admission
from providers.breaker import Breakers, Permit
from providers.estimate import OutputEstimates
from providers.latency import Latencies
from providers.meter import Meter
from providers.retry import MAX_ATTEMPTS, Fail, Next, Retry, delay, plan
from providers.route import Candidate, Route
from storage.model_calls import ModelCalls
from storage.quota import QuotaLedger, Reservation

log = structlog.get_logger(__name__)
T = TypeVar("T")
Opener = Callable[[Candidate, Meter], AsyncIterator[T]]
"""Begins an attempt: the answer of a candidate, piece by piece; it tells the meter what it sees."""
Observer = Callable[[CallRecord], None]
"""Is told of every call once it is over."""


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


class Caller:
    """Makes model calls. One per process.

    `output_tokens` is reserved for an answer of which nothing is known yet. The observers must not fail and must not wait.
    """

    def __init__(
        self,
        *,
        ledger: QuotaLedger,
        calls: ModelCalls,
        breakers: Breakers,
        admission: Admission,
        latencies: Latencies,
        estimates: OutputEstimates,
        output_tokens: int,
        rng: random.Random | None = None,
    ) -> None:
        self.ledger = ledger
        self.calls = calls
        self.breakers = breakers
        self.admission = admission
        self.latencies = latencies
        self.estimates = estimates
        self.output_tokens = output_tokens
        self.rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self.observers: list[Observer] = []

    def stream(
        self,
        origin: Origin,
        route: Route,
        need: Need,
        open_attempt: Opener[T],
        *,
        seconds: float,
        retractable: bool = True,
        call_id: str | None = None,
    ) -> AsyncGenerator[T | Retraction, None]:
        """The pieces of the first candidate that answers, within `seconds`; complete if the iteration ends without an error.

        A Retraction among them voids all pieces before it; with `retractable` False a failure after the first piece is raised
        instead. Close the generator (`aclosing`) to cancel. `call_id` is the call's UUID where there is one already. Raises
        QuotaExceeded before anything is sent, NoProvider for an empty route, and otherwise the ProviderError of the last attempt.
        """
        return _Call(self, origin, route, need, open_attempt, seconds, retractable, call_id or new_id()).run()

    def observe(self, record: CallRecord) -> None:
        for observer in self.observers:
            observer(record)


class _Call(Generic[T]):
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
        call_id: str,
    ) -> None:
        self._caller = caller
        self._origin = origin
        self._route = route
        self._need = need
        self._open = open_attempt
        self._retractable = retractable
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
                retry = Retry(0) if turn == 1 or self._may_again(candidate) else None
                while retry is not None:
                    if retry.after:
                        await asyncio.sleep(retry.after)
                    attempt = _Attempt(self, candidate)
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

    def _may_again(self, candidate: Candidate) -> bool:
        """Whether it is asked in a further round."""
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

    def open(self, candidate: Candidate, meter: Meter) -> AsyncIterator[T]:
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


class _Attempt(Generic[T]):
    """One try at one candidate."""

    def __init__(self, call: _Call[T], candidate: Candidate) -> None:
        self._call = call
        self._candidate = candidate
        self._number = call.number(candidate.provider)
        self._began = time.perf_counter()
        self._waited: float | None = None
        self._permit: Permit | None = None
        self._reservation: Reservation | None = None
        self.meter = Meter(call.need.prompt(candidate))
        self.passed = False
        """Whether anything of it has reached the caller."""

    async def pieces(self) -> AsyncGenerator[T, None]:
        """The answer. Raises ProviderError or QuotaExceeded; everything it held is settled when it ends, however it ends."""
        breakers, provider = self._call.caller.breakers, self._candidate.provider
        try:
            if (view := breakers.view(provider)).status == "open" and breakers.next_retry([provider]):
                raise CircuitOpen(provider, "is left alone after repeated failures", retry_at=view.retry_at)
            async with await self._call.place(provider) as self._waited:
                await self._enter()
                self._call.count(provider)
                self.meter = Meter(self._call.need.prompt(self._candidate))
                source = self._call.open(self._candidate, self.meter)
                async for piece in source:
                    self.passed = True
                    yield piece
        except ProviderError as failed:
            await asyncio.shield(self._failed(failed))
            raise
        except QuotaExceeded as refused:
            await asyncio.shield(self._refused(refused))
            raise
        except (asyncio.CancelledError, GeneratorExit):
            await asyncio.shield(self._cancelled())
            raise
        except BaseException as fault:
            await asyncio.shield(self._broke(fault))
            raise
        await asyncio.shield(self._answered())

    async def _enter(self) -> None:
        """Have the breaker's leave and the tokens. Who is cancelled meanwhile waits for the end of it: what was granted is given back."""

        async def enter() -> None:
            self._permit = await self._call.caller.breakers.enter(self._candidate.provider)
            self._reservation = await self._call.reserve(self._candidate)

        entering = asyncio.create_task(enter())
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.gather(entering, return_exceptions=True))
            raise

    async def _answered(self) -> None:
        caller, candidate, usage = self._call.caller, self._candidate, self.meter.usage()
        self._call.note(self._attempt("answered"))
        record = self._call.finished("answered", answered=candidate)
        caller.estimates.observe(self._call.origin.agent, candidate.provider, candidate.model, usage.completion)
        caller.latencies.observe(
            candidate.provider,
            candidate.model,
            first_token_ms=self.meter.first_token_ms(),
            latency_ms=self.meter.latency_ms(),
        )
        assert self._reservation is not None
        assert self._permit is not None
        await caller.ledger.commit(self._reservation, usage, record=record)
        await caller.breakers.succeeded(self._permit)

    async def _failed(self, failed: ProviderError) -> None:
        self._call.note(self._attempt("failed" if self._reservation else "skipped", failed))
        await self._settle()
        if self._permit is not None:
            await self._call.caller.breakers.failed(self._permit, failed)

    async def _refused(self, refused: QuotaExceeded) -> None:
        self._call.note(self._attempt("skipped", refused))
        if self._permit is not None:
            await self._call.caller.breakers.abandoned(self._permit)

    async def _cancelled(self) -> None:
        """The caller left: what was streamed was spent."""
        self._call.note(self._attempt("cancelled"))
        if self._reservation is not None and self.meter.begun:
            record = self._call.finished("cancelled", error_code="cancelled")
            await self._call.caller.ledger.commit(self._reservation, self.meter.usage(), record=record)
        else:
            await self._settle()
        if self._permit is not None:
            await self._call.caller.breakers.abandoned(self._permit)

    async def _broke(self, fault: BaseException) -> None:
        """A fault of our own, which says nothing of the provider."""
        failed = fault if isinstance(fault, ConsiliumError) else ConsiliumError("An internal error ended the call.")
        self._call.note(self._attempt("failed", failed))
        await self._settle()
        if self._permit is not None:
            await self._call.caller.breakers.abandoned(self._permit)

    async def _settle(self) -> None:
        """Charge a failed attempt what it used, which is nothing where the provider never took it on."""
        if self._reservation is None:
            return
        ledger = self._call.caller.ledger
        if self.meter.begun:
            await ledger.commit(self._reservation, self.meter.usage())
        else:
            await ledger.release(self._reservation)

    def _attempt(self, outcome: AttemptOutcome, failed: ConsiliumError | None = None) -> Attempt:
        details: dict[str, Any] = failed.details if failed else {}
        asked = self._reservation is not None
        usage = self.meter.usage() if asked else None
        return Attempt(
            provider=self._candidate.provider,
            model=self._candidate.model,
            number=self._number,
            outcome=outcome,
            error_code=failed.code if failed else None,
            reason=details.get("reason") or details.get("scope"),
            message=failed.message if failed else None,
            http_status=details.get("http_status"),
            retry_after_seconds=details.get("retry_after"),
            breaker=self._permit.status if self._permit else "open" if isinstance(failed, CircuitOpen) else None,
            waited_ms=None if self._waited is None else round(self._waited * 1000),
            first_token_ms=self.meter.first_token_ms() if asked else None,
            latency_ms=self.meter.latency_ms() if asked else round((time.perf_counter() - self._began) * 1000),
            prompt_tokens=usage.prompt if usage else None,
            completion_tokens=usage.completion if usage else None,
            usage_source=usage.source if usage else None,
            finish_reason=self.meter.finish_reason,
            retracted_chars=self.meter.shown_chars if outcome == "failed" and self.passed else None,
        )
