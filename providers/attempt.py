"""One try of a call at one candidate: a place at the provider, the breaker's leave, a reservation, the stream; then all is settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from domain.calls import Attempt, AttemptOutcome
from domain.errors import CircuitOpen, ConsiliumError, ProviderError, QuotaExceeded
from providers.breaker import Permit
from providers.leave import Leave
from providers.meter import Meter
from providers.route import Candidate
from storage.quota import Reservation

if TYPE_CHECKING:
    from providers.call import Call

T = TypeVar("T")


class RunningAttempt(Generic[T]):
    """One try at one candidate."""

    def __init__(self, call: Call[T], candidate: Candidate) -> None:
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
                leave = Leave()
                entering = asyncio.create_task(self._enter(leave))
                try:
                    # what prepares its request does so meanwhile, and waits before it sends
                    await (asyncio.sleep(0) if self._call.prepares else leave.wait())
                    self.meter = Meter(self._call.need.prompt(self._candidate), leave)
                    async with aclosing(self._call.open(self._candidate, self.meter)) as source:
                        async for piece in source:
                            self.passed = True
                            yield piece
                except Exception:
                    await self.meter.cleared()  # where that is what it failed with, it is told as it is
                    raise
                finally:
                    await _ended(entering)
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

    async def _enter(self, leave: Leave) -> None:
        """Have the breaker's permit and the tokens, while the request is prepared: it goes out once they are there."""
        try:
            self._permit = await self._call.caller.breakers.enter(self._candidate.provider)
            self._reservation = await self._call.reserve(self._candidate)
        except BaseException as refusal:  # noqa: BLE001 - raised by whoever waits for the leave
            leave.refuse(refusal)
            return
        self._call.count(self._candidate.provider)
        leave.give()

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
        try:
            await caller.ledger.commit(self._reservation, usage, record=record)
        finally:
            await caller.breakers.succeeded(self._permit)

    async def _failed(self, failed: ProviderError) -> None:
        self._call.note(self._attempt("failed" if self._reservation else "skipped", failed))
        try:
            await self._settle()
        finally:
            if self._permit is not None:
                await self._call.caller.breakers.failed(self._permit, failed)

    async def _refused(self, refused: QuotaExceeded) -> None:
        self._call.note(self._attempt("skipped", refused))
        await self._abandon()

    async def _cancelled(self) -> None:
        """The caller left: what was streamed was spent."""
        self._call.note(self._attempt("cancelled"))
        try:
            if self._reservation is not None and self.meter.begun:
                record = self._call.finished("cancelled", error_code="cancelled")
                await self._call.caller.ledger.commit(self._reservation, self.meter.usage(), record=record)
            else:
                await self._settle()
        finally:
            await self._abandon()

    async def _broke(self, fault: BaseException) -> None:
        """A fault of our own, which says nothing of the provider."""
        failed = fault if isinstance(fault, ConsiliumError) else ConsiliumError("An internal error ended the call.")
        self._call.note(self._attempt("failed", failed))
        try:
            await self._settle()
        finally:
            await self._abandon()

    async def _abandon(self) -> None:
        """Nothing was learnt of the provider."""
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


async def _ended(entering: asyncio.Task[None]) -> None:
    """Wait for its end, also who is cancelled meanwhile: what was granted is given back."""
    cancelled = False
    while not entering.done():
        try:
            await asyncio.wait({entering})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
