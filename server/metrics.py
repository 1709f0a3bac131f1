"""Prometheus metrics of this process. Counted from the records of calls, read from the parts at every scrape.

Labels are closed sets: providers and models of the catalogue ("other" for any name beyond it), error codes of domain/errors.py. No
label holds an organisation, a user or anything a client can choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.calls import Attempt, CallRecord
from domain.catalogue import Catalogue
from domain.runs import RunStatus
from providers.caller import Caller
from storage.database import Pool

OTHER = "other"
_LATENCY_MS = (50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000)
_FIRST_TOKEN_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BREAKER = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """The metrics of one application. Made in the lifespan; two in one process don't meet."""

    def __init__(self, catalogue: Catalogue, defaults: dict[str, str | None]) -> None:
        self._known = {spec.name: {model.name for model in spec.models} for spec in catalogue.providers}
        for provider, model in defaults.items():
            if model is not None:
                self._known.setdefault(provider, set()).add(model)
        self.registry = CollectorRegistry(auto_describe=False)
        where, of = ("provider", "model"), self.registry
        self._requests = Counter(
            "llm_requests_total", "Model calls by their end.", (*where, "purpose", "outcome"), registry=of
        )
        self._attempts = Counter("llm_attempts_total", "Attempts at providers.", (*where, "outcome"), registry=of)
        self._errors = Counter("llm_errors_total", "Failed attempts.", (*where, "error_code"), registry=of)
        self._retractions = Counter(
            "llm_retractions_total", "Answers begun, failed in the middle and begun anew.", where, registry=of
        )
        self._tokens = Counter(
            "llm_tokens_total", "Tokens charged; by whose count.", (*where, "kind", "source"), registry=of
        )
        self._latency = Histogram(
            "llm_latency_ms", "Whole answers of providers.", where, buckets=_LATENCY_MS, registry=of
        )
        self._first = Histogram(
            "llm_time_to_first_token_ms", "From asking a provider to its first token.", where, buckets=_FIRST_TOKEN_MS,
            registry=of,
        )  # fmt: skip
        self._waits = Histogram(
            "llm_admission_wait_seconds", "Waiting for a place at a provider.", ("provider",), buckets=_SECONDS,
            registry=of,
        )  # fmt: skip
        self._refusals = Counter(
            "quota_refusals_total", "Model calls refused by a token limit.", ("purpose",), registry=of
        )
        self._retrieval = Histogram(
            "retrieval_seconds", "Searches in documents.", ("found",), buckets=_SECONDS, registry=of
        )

    def call(self, record: CallRecord) -> None:
        """Count a call that is over."""
        provider, model = self._place(record.provider, record.model)
        self._requests.labels(provider, model, record.purpose, record.outcome).inc()
        if record.error_code == "quota_exceeded":
            self._refusals.labels(record.purpose).inc()
        for attempt in record.attempts:
            self._attempt(attempt)

    def retrieval(self, seconds: float, found: int) -> None:
        """Count a search."""
        self._retrieval.labels("some" if found else "none").observe(seconds)

    def _attempt(self, attempt: Attempt) -> None:
        provider, model = self._place(attempt.provider, attempt.model)
        self._attempts.labels(provider, model, attempt.outcome).inc()
        if attempt.waited_ms is not None:
            self._waits.labels(provider).observe(attempt.waited_ms / 1000)
        if attempt.error_code is not None:
            self._errors.labels(provider, model, attempt.error_code).inc()
        if attempt.retracted_chars is not None:
            self._retractions.labels(provider, model).inc()
        if attempt.usage_source is not None:
            self._tokens.labels(provider, model, "prompt", attempt.usage_source).inc(attempt.prompt_tokens or 0)
            self._tokens.labels(provider, model, "completion", attempt.usage_source).inc(attempt.completion_tokens or 0)
        if attempt.first_token_ms is not None:
            self._first.labels(provider, model).observe(attempt.first_token_ms)
        if attempt.outcome == "answered" and attempt.latency_ms is not None:
            self._latency.labels(provider, model).observe(attempt.latency_ms)

    def _place(self, provider: str | None, model: str | None) -> tuple[str, str]:
        if provider is None:
            return "none", "none"
        if provider not in self._known:
            return OTHER, OTHER
        return provider, model if model is not None and model in self._known[provider] else OTHER

    def render(self) -> bytes:
        """Everything in Prometheus's text form."""
        return generate_latest(self.registry)


class Metered(Collector):
    """What is read at a scrape: the pool, the breakers, the queues. `runs` is set by the route, as it takes a query."""

    def __init__(self, caller: Caller, providers: tuple[str, ...], pool: Pool) -> None:
        self._caller = caller
        self._providers = providers
        self._pool = pool
        self.runs: dict[RunStatus, int] = {}

    def collect(self) -> Iterator[Metric]:
        breaker = GaugeMetricFamily(
            "llm_breaker_state", "Circuit breaker: 0 closed, 1 half open, 2 open.", labels=["provider"]
        )
        waiting = GaugeMetricFamily("llm_queue_depth", "Calls that wait for a place.", labels=["provider"])
        active = GaugeMetricFamily("llm_calls_active", "Calls under way.", labels=["provider"])
        for name in self._providers:
            breaker.add_metric([name], _BREAKER[self._caller.breakers.view(name).status])
            waiting.add_metric([name], self._caller.admission.depth(name))
            active.add_metric([name], self._caller.admission.active(name))
        yield from (breaker, waiting, active)
        runs = GaugeMetricFamily("runs_unfinished", "Runs in the queue and under way.", labels=["status"])
        for status in ("pending", "running"):
            runs.add_metric([status], self.runs.get(status, 0))
        yield runs
        yield from self._pool_metrics()

    def _pool_metrics(self) -> Iterator[Metric]:
        stats: dict[str, Any] = self._pool.get_stats()
        for name, key, text in (
            ("db_pool_size", "pool_size", "Database connections."),
            ("db_pool_available", "pool_available", "Of them idle."),
            ("db_pool_waiting", "requests_waiting", "Who waits for one."),
        ):
            yield GaugeMetricFamily(name, text, value=stats.get(key, 0))
        for name, key, text in (
            ("db_pool_requests", "requests_num", "Connections asked for."),
            ("db_pool_errors", "requests_errors", "Of them in vain."),
        ):
            yield CounterMetricFamily(name, text, value=stats.get(key, 0))
        waited = stats.get("requests_wait_ms", 0) / 1000
        yield CounterMetricFamily("db_pool_wait_seconds", "Time spent waiting for one.", value=waited)
