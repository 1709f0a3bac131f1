"""/metrics over real turns: what the dashboard draws is there, counts are the ledger's, labels are closed sets."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
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


def drawn(value: object) -> set[str]:
    """The names of the metrics in a dashboard's queries."""
    if isinstance(value, dict):
        own = NAME.findall(value["expr"]) if isinstance(value.get("expr"), str) else []
        return set(own).union(*(drawn(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(drawn(inner) for inner in value))
    return set()


async def test_every_metric_of_the_dashboard_is_exported(metered: Served, model: Upstream) -> None:
    model.fail("server_error")
    await turn(metered)
    samples = await scrape(metered)
    names = drawn(json.loads(DASHBOARD.read_text("utf-8")))
    assert names >= NEEDED
    described = set(samples)
    async with metered.http() as http:
        text = (await http.get("/metrics")).text
    described |= {
        f"{line.split()[2]}{end}" for line in text.splitlines() if line.startswith("# TYPE") for end in ("", "_bucket")
    }
    assert names <= described
    assert set(samples) >= NEEDED, "these have values after one turn with one failure"


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
