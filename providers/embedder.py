"""Embeddings for an organisation: what is known from the cache, the rest by one call through admission, breaker and ledger."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import psycopg
import structlog

from domain.errors import TimedOut
from domain.usage import Usage, estimate_tokens
from providers.call import Need, Origin, Retraction
from providers.caller import Caller
from providers.embedding import Vector
from providers.meter import Meter
from providers.registry import Providers
from providers.route import Candidate, Route
from storage.embedding_cache import EmbeddingCache

log = structlog.get_logger(__name__)
SWEEP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector a text, in their order, all by one model. `usage` is what this call was charged: cached texts cost nothing."""

    vectors: list[Vector]
    by: Candidate
    usage: Usage
    cached: int
    """Of the distinct texts."""


class Embedder:
    """Makes embeddings. One per process; `start` begins to sweep the cache."""

    def __init__(self, providers: Providers, caller: Caller, cache: EmbeddingCache) -> None:
        self._providers = providers
        self._caller = caller
        self._cache = cache
        self._sweeping: asyncio.Task[None] | None = None

    async def embed(
        self,
        origin: Origin,
        route: Route,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        seconds: float,
        call_id: str | None = None,
    ) -> Embedded:
        """The vectors of `texts`, of `dimensions` or the model's own number, within `seconds`.

        They are of one model always: a candidate that stands in for another embeds all texts anew. Raises TimedOut, and as
        `Caller.stream`.
        """
        wanted = list(dict.fromkeys(texts))
        first = route.candidates[0]
        known = await self._find(origin, first, dimensions, wanted)
        if len(known) == len(wanted):
            return Embedded([known[text] for text in texts], first, Usage(0, 0, "provider"), len(wanted))
        attempt = _Attempt(self, origin, wanted, dimensions, {first.provider + "/" + first.model: known})
        need = Need(_tokens(attempt.missing(known)), max_output_tokens=0)
        pieces = self._caller.stream(origin, route, need, attempt.open, seconds=seconds, call_id=call_id)
        try:
            async with asyncio.timeout(seconds) as timer, aclosing(pieces):
                made: Embedded | None = None
                async for piece in pieces:
                    made = None if isinstance(piece, Retraction) else piece
        except TimeoutError:
            if not timer.expired():
                raise
            raise TimedOut(seconds) from None
        assert made is not None, "the call ended without an error"
        vectors = dict(zip(wanted, made.vectors, strict=True))
        await self._keep(origin, made.by, dimensions, {text: vectors[text] for text in attempt.made})
        return Embedded([vectors[text] for text in texts], made.by, made.usage, made.cached)

    async def start(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    async def sweep(self) -> int:
        """Delete expired vectors of all organisations, a bounded number at a time. Returns how many that were."""
        return await self._cache.sweep()

    async def _find(
        self, origin: Origin, by: Candidate, dimensions: int | None, texts: Sequence[str]
    ) -> dict[str, Vector]:
        return await self._cache.find(origin.organization_id, by.provider, by.model, dimensions, texts)

    async def _keep(self, origin: Origin, by: Candidate, dimensions: int | None, vectors: Mapping[str, Vector]) -> None:
        try:
            await self._cache.keep(origin.organization_id, by.provider, by.model, dimensions, vectors)
        except psycopg.Error as failure:  # the answer is there and paid for
            log.error("embeddings could not be cached", exc_info=failure)

    async def _sweep(self) -> None:
        while True:
            # replicas that started together don't sweep together
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret
            try:
                await self.sweep()
            except psycopg.Error as failure:
                log.error("the embedding cache could not be swept", exc_info=failure)


class _Attempt:
    """Opens the attempts of one call. `made` are the texts that the last one had embedded."""

    def __init__(
        self,
        embedder: Embedder,
        origin: Origin,
        texts: list[str],
        dimensions: int | None,
        known: dict[str, dict[str, Vector]],
    ) -> None:
        self.made: list[str] = []
        self._embedder = embedder
        self._origin = origin
        self._texts = texts
        self._dimensions = dimensions
        self._known = known

    def missing(self, known: Mapping[str, Vector]) -> list[str]:
        return [text for text in self._texts if text not in known]

    async def open(self, candidate: Candidate, meter: Meter) -> AsyncGenerator[Embedded, None]:
        """All vectors, in one piece. Raises ProviderError."""
        name, embedder = f"{candidate.provider}/{candidate.model}", self._embedder
        if name not in self._known:
            self._known[name] = await embedder._find(self._origin, candidate, self._dimensions, self._texts)
        known = self._known[name]
        self.made = self.missing(known)
        meter.prompt_tokens = _tokens(self.made)
        spec = embedder._providers.catalogue.provider(candidate.provider)
        assert spec is not None, "candidates are of the catalogue"
        endpoint = embedder._providers.embedder(candidate.provider)
        model = spec.model(candidate.model)
        new = await endpoint.embed(model, self.made, self._dimensions, meter)
        vectors = {**known, **dict(zip(self.made, new, strict=True))}
        yield Embedded([vectors[text] for text in self._texts], candidate, meter.usage(), len(known))


def _tokens(texts: Sequence[str]) -> int:
    return sum(estimate_tokens(text) for text in texts)
