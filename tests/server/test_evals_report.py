"""What the last evaluation measured, for admins; none yet, and one that can't be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evals.cases import Case
from evals.conversation import Conversation, Exchange, ToolUse
from evals.metrics import Score
from evals.report import write_json
from evals.runner import Played, Results
from evals.thresholds import Threshold
from tests.serving import Served, serve, settings_for


@pytest.fixture
async def server(owner_dsn: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(settings_for(owner_dsn, tmp_path, CONSILIUM_EVALS_DIR=str(tmp_path / "evals"))) as served:
        yield served


def results() -> Results:
    """One case of routing that went well, one that did not, one that could not be played."""

    def played(name: str, conversation: Conversation, *scores: Score) -> Played:
        case = Case.model_validate(
            {"id": name, "suite": "routing", "language": "en", "steps": [{"ask": "Who?"}], "agents": []}
        )
        return Played(case, conversation, scores)

    call = ToolUse("main", "switch_to_subagent", {"agent": "legal_agent"}, "success", "…")
    asked = Exchange("bakery", "ann", "main", "Who?", "Ask the lawyer.", "completed", calls=(call,), models=("m/m",))
    return Results(
        "m/m",
        (
            played("routing-en-1", Conversation((asked,)), Score("routing_accuracy", 1, 1)),
            played("routing-en-2", Conversation((asked,)), Score("routing_accuracy", 0, 1, "handed to legal_agent")),
            played("routing-en-3", Conversation(skipped="no web search")),
        ),
        {"xquad_en_r1": 0.94},
        ("a notice",),
        12.34,
    )


async def test_without_a_report_it_says_how_to_make_one(server: Served) -> None:
    async with server.http() as http:
        told = await http.get("/v1/evals")
    assert (told.status_code, told.json()) == (200, {"report": None, "problem": None, "command": "make eval"})


async def test_the_report_of_an_evaluation(server: Served, tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    write_json(tmp_path / "evals" / "report.json", results(), {"routing_accuracy": Threshold(at_least=0.9)})
    async with server.http() as http:
        report = (await http.get("/v1/evals")).json()["report"]
    assert (report["model"], report["seconds"], report["short"]) == ("m/m", 12.3, ["routing_accuracy"])
    assert report["finished_at"] is not None
    metric = report["metrics"]["routing_accuracy"]
    assert (metric["value"], metric["got"], metric["of"], metric["threshold"]) == (0.5, 1, 2, ">= 0.9")
    assert "supervisor" in metric["definition"]
    assert report["retrieval"]["xquad_en_r1"]["value"] == 0.94
    assert report["suites"] == [{"suite": "routing", "passed": 1, "failing": 1, "skipped": 1}]
    (case,) = report["failing"]
    assert case["id"] == "routing-en-2"
    assert case["problems"] == [{"metric": "routing_accuracy", "problem": "handed to legal_agent"}]
    assert case["exchanges"][0]["calls"] == [{"agent": "main", "name": "switch_to_subagent", "status": "success"}]


@pytest.mark.parametrize(("content", "named"), [("{", "JSON"), ('{"model": 3}', "model"), ("[]", "report.json")])
async def test_a_report_that_cant_be_read_says_why(server: Served, tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "report.json").write_text(content)
    async with server.http() as http:
        told = (await http.get("/v1/evals")).json()
    assert told["report"] is None
    assert named in told["problem"]


async def test_it_is_for_admins(server: Served) -> None:
    async with server.http(role="manager") as http:
        refused = await http.get("/v1/evals")
    assert (refused.status_code, refused.json()["details"]["required_role"]) == (403, "admin")
