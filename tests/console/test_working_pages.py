"""The pages of jobs and of quality: what is at work and what failed, what was measured; a refusal at its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nicegui.testing import User

from tests.console.conftest import answered, ask, count, seen, shown, signed_in
from tests.console.evaluation import REPORT
from tests.serving import Served


def leave_report(server: Served, content: str) -> None:
    """As `make eval` does."""
    folder = Path(server.settings.evals_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(content, "utf-8")


async def test_jobs_are_listed_with_what_can_be_done(ann: User, server: Served) -> None:
    await server.upload("contract.md", "# Penalty\n\n0.1 % a day.")
    await server.upload("broken.pdf", b"no pdf")
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    await ann.open("/jobs")
    await seen(lambda: count(ann, marker="job") == 3, "three jobs")
    run, failed, _ = shown(ann, "job")
    assert "agents' answer" in run
    assert "The file is not a PDF." in failed
    assert (count(ann, marker="job-path"), count(ann, marker="job-retry")) == (1, 1)
    ann.find(marker="job-retry").click()
    await ann.should_see("The document waits to be read again", retries=30)


async def test_members_see_their_own_jobs_and_no_quality(visitor: User, server: Served) -> None:
    await server.upload("broken.pdf", b"no pdf")
    kim = await signed_in(server, visitor, "member", "kim")
    await kim.open("/jobs")
    await kim.should_see("There have been no jobs yet.")
    assert "Quality" not in " ".join(shown(kim, "navigation"))
    await kim.open("/evals")
    await kim.should_see("it takes the role admin")


async def test_the_quality_page_shows_what_was_measured(ann: User, server: Served) -> None:
    await ann.open("/evals")
    await ann.should_see("There has been no evaluation yet")
    await ann.should_see("make eval")
    leave_report(server, json.dumps(REPORT))
    await ann.open("/evals")
    await ann.should_see("thresholds missed: 1")
    first, unknown = shown(ann, "metric")
    assert "Right specialist" in first
    assert "exactly the expected agents" in first
    assert "0.500" in first
    assert "1 of 2" in first
    assert "missed" in first
    assert "new_metric D." in unknown  # one that the console has no words for yet
    assert count(ann, marker="eval-case") == 1
    ann.find(marker="eval-case").elements.pop().set_value(True)  # type: ignore[attr-defined]
    await ann.should_see("went to legal")
    await ann.should_see("Ask the lawyer.")
    leave_report(server, "{")
    await ann.open("/evals")
    await ann.should_see("The report of the evaluation can't be read")


async def test_a_refusal_is_told_in_the_visitors_language(visitor: User, server: Served) -> None:
    visitor.http_client.headers["accept-language"] = "ru"
    ann = await signed_in(server, visitor)
    await ann.open("/new-skill")
    ann.find(marker="skill-name").type("legal_agent")
    for name, given in (
        ("title", "Налоги"),
        ("title.en", "Taxes"),
        ("description", "О налогах."),
        ("prompt", "Ты знаешь налоги."),
    ):
        ann.find(marker=f"skill-{name}").type(given)
    ann.find(marker="skill-save").click()

    def at_the_name() -> dict[str, Any]:
        return ann.find(marker="skill-name").elements.pop().props

    await seen(lambda: bool(at_the_name().get("error")), "the refusal")
    assert "«legal_agent»" in at_the_name()["error-message"]
    assert "There is a skill" in at_the_name()["title"], "the API's own words are kept"
