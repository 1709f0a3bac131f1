"""/metrics over real turns: what the dashboard draws is there, counts are the ledger's, labels are closed sets."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from domain.settings import ROOT
from tests.serving import Served, serve, settings_for
from tests.upstream.reply import Reply
from tests.upstream.server import Upstream

DASHBOARD = ROOT / "docs" / "grafana" / "consilium.json"
NAME = re.compile(r"\b(?:llm|runs|quota|retrieval|db)_[a-z0-9_]+\b")
BY = re.compile(r"\bby \(([^)]*)\)")
SELECTED = re.compile(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)")
SHOWN = re.compile(r"\{\{\s*(\w+)\s*\}\}")
VALUES = re.compile(r"label_values\([^,]+,\s*(\w+)\)")
NEEDED = {
    "llm_requests_total", "llm_latency_ms_bucket", "llm_time_to_first_token_ms_bucket", "llm_tokens_total",
    "llm_errors_total",
}  # fmt: skip
Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture
def model() -> Iterator[Upstream]:
    with Upstream(lambda body: Reply(["the ", "answer"], prompt_tokens=100, completion_tokens=20)) as upstream:
        yield upstream


@pytest.fixture
async def metered(
    model: Upstream, owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    for name in ("OLLAMA_BASE_URL", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", model.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-that-must-not-be-seen-anywhere")
    async with serve(settings_for(owner_dsn, tmp_path)) as served:
        yield served


async def turn(server: Served, organization: str = "acme", user: str = "ann", **context: str) -> None:
    body = {
        "assistant_id": "supervisor",
        "input": {"messages": [{"role": "user", "content": "What is the penalty under the contract?"}]},
        "context": context,
    }
    async with server.http(organization, user) as http:
        assert (await http.post("/runs/wait", json=body)).status_code in (200, 404)


async def scrape(server: Served) -> Samples:
    async with server.http() as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    samples: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(value for found, value in samples.get(name, []) if labels.items() <= found.items())


@dataclass(frozen=True)
class Query:
    """One query of the dashboard: its metrics and the labels it needs of each."""

    text: str
    names: frozenset[str]
    labels: frozenset[str]


def queries(value: object) -> list[Query]:
    """All of a dashboard's, its variables' included."""
    if isinstance(value, list):
        return [query for inner in value for query in queries(inner)]
    if not isinstance(value, dict):
        return []
    found = [query for inner in value.values() for query in queries(inner)]
    for text in (value.get("expr"), value.get("query")):
        if isinstance(text, str) and (names := NAME.findall(text)):
            grouped = [label for by in BY.findall(text) for label in by.replace(" ", "").split(",")]
            shown = SHOWN.findall(str(value.get("legendFormat", "")))
            values = VALUES.findall(text)
            labels = frozenset([*grouped, *SELECTED.findall(text), *shown, *values])
            found.append(Query(text, frozenset(names), labels))
    return found


async def test_every_query_of_the_dashboard_finds_its_metrics_and_labels(metered: Served, model: Upstream) -> None:
    """After a day with a failure, an answer begun anew, a refusal and a search, each has values under exactly these names."""
    model.policy = lambda body: Reply([f"word{n} " for n in range(9)], prompt_tokens=100, completion_tokens=20)
    await metered.upload("contract.md", "# Contract\n\nThe penalty is 0.1 % a day.\n")
    model.fail("server_error")
    await turn(metered)
    model.fail("cut", after=5)
    await turn(metered)
    async with metered.http() as http:
        used = (await http.get("/v1/quotas")).json()["limits"][0]["used"]
        limit = {"scope": "organization", "daily_tokens": used + 5}
        assert (await http.put("/v1/quotas", json={"limits": [limit]})).status_code == 200
        asked = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "A question of many words."}]}
        assert (await http.post("/v1/chat/completions", json=asked)).status_code == 429
    samples = await scrape(metered)
    asked_for = queries(json.loads(DASHBOARD.read_text("utf-8")))
    assert set().union(*(query.names for query in asked_for)) >= NEEDED
    for query in asked_for:
        for name in query.names:
            assert name in samples, f"{name} of {query.text}"
            for labels, _ in samples[name]:
                assert query.labels <= set(labels), f"{name} of {query.text}"


async def test_counts_are_the_ledgers(metered: Served, model: Upstream, owner_dsn: str) -> None:
    for _ in range(3):
        await turn(metered)
    model.fail("eof")
    await turn(metered)
    samples = await scrape(metered)
    with psycopg.connect(owner_dsn) as conn:
        ledger = conn.execute(
            "SELECT provider, model, source, sum(prompt)::int, sum(completion)::int FROM usage_ledger "
            "WHERE status = 'committed' GROUP BY 1, 2, 3"
        ).fetchall()
        calls = conn.execute(
            "SELECT count(*)::int, count(*) FILTER (WHERE provider = 'openai')::int FROM model_calls WHERE outcome = 'answered'"
        ).fetchone()
    assert calls is not None
    assert len(ledger) >= 2
    for provider, name, source, prompt, completion in ledger:
        place = {"provider": provider, "model": name, "source": source}
        assert total(samples, "llm_tokens_total", **place, kind="prompt") == prompt
        assert total(samples, "llm_tokens_total", **place, kind="completion") == completion
    assert total(samples, "llm_requests_total", outcome="answered") == calls[0]
    assert total(samples, "llm_errors_total", provider="openai", error_code="provider_protocol_error") == 1
    assert total(samples, "llm_latency_ms_count", provider="openai") == calls[1] >= 3
    assert total(samples, "llm_time_to_first_token_ms_count", provider="openai") == calls[1] + 1
    assert total(samples, "llm_calls_active") == total(samples, "llm_queue_depth") == 0
    assert total(samples, "runs_unfinished") == 0


async def test_labels_are_closed_sets_whatever_clients_send(metered: Served) -> None:
    """New organisations, users and model names make no new series."""
    await turn(metered)
    await turn(metered, model="openai/no-such-model-0")
    before = await scrape(metered)
    for n in range(1, 8):
        await turn(metered, f"organization-{n}", f"user-{n}", model=f"openai/no-such-model-{n}")
    after = await scrape(metered)
    assert {name: {frozenset(labels.items()) for labels, _ in series} for name, series in after.items()} == {
        name: {frozenset(labels.items()) for labels, _ in series} for name, series in before.items()
    }
    values = {value for series in after.values() for labels, _ in series for value in labels.values()}
    assert not [value for value in values if "organization" in value or "user-" in value or "no-such" in value]
    assert "other" in values, "the unknown models' place"
    allowed = {"provider", "model", "purpose", "outcome", "error_code", "kind", "source", "status", "found", "le"}
    assert {label for series in after.values() for labels, _ in series for label in labels} <= allowed
    assert sum(len(series) for series in after.values()) < 1500
