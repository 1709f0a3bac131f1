"""Makes model calls, through whatever fails. The course of one is providers/call.py, of one try providers/attempt.py."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable

from domain.calls import CallRecord
from domain.ids import new_id
from providers.admission import Admission
from providers.breaker import Breakers
from providers.call import Call, Need, Opener, Origin, Retraction, T
from providers.estimate import OutputEstimates
from providers.latency import Latencies
from providers.route import Route
from storage.model_calls import ModelCalls
from storage.quota import QuotaLedger

Observer = Callable[[CallRecord], None]
"""Is told of every call once it is over."""


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
        prepares: bool = False,
        call_id: str | None = None,
    ) -> AsyncGenerator[T | Retraction, None]:
        """The pieces of the first candidate that answers; complete if the iteration ends without an error.

        After `seconds` nothing is begun, waited for or repeated; an attempt under way then has its provider's deadlines, and whoever
        wants it ended sooner cancels.

        A Retraction among them voids all pieces before it; with `retractable` False a failure after the first piece is raised
        instead. With `prepares` attempts are opened while their tokens are being reserved: they have to wait for their meter to be
        cleared directly before they send. Close the generator (`aclosing`) to cancel. `call_id` is the call's UUID where there is one
        already. Raises QuotaExceeded before anything is sent, NoProvider for an empty route, and otherwise the ProviderError of the
        last attempt.
        """
        return Call(self, origin, route, need, open_attempt, seconds, retractable, prepares, call_id or new_id()).run()

    def observe(self, record: CallRecord) -> None:
        for observer in self.observers:
            observer(record)
