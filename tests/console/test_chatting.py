"""The conversation page as a person uses it, through the simulated browser: ask, read, open a source, stop, ask again."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nicegui.testing import User

from tests.console.conftest import QUESTION, answered, ask, count, seen, shown
from tests.serving import Served, serve, settings_for
from tests.upstream.reply import Reply
from tests.upstream.server import Upstream


async def test_a_question_is_answered_by_a_specialist_with_sources(ann: User, contract: str) -> None:
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    (turn,) = shown(ann, "turn")
    assert QUESTION in turn
    assert "0.1 %" in shown(ann, "answer")[0]
    assert count(ann, marker="child") == 1
    assert "Legal" in shown(ann, "child")[0]
    assert "](#source-1)" in shown(ann, "answer")[0], "a citation leads to its source"
    assert "supply-contract" in shown(ann, "source")[0]


async def test_a_source_opens_with_its_words_marked(ann: User, contract: str) -> None:
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    ann.find(marker="quote").click()
    await ann.should_see(marker="passage", retries=30)
    passage = shown(ann, "passage")[0]
    assert '<mark id="passage-mark">' in passage
    assert "penalty of 0.1 %" in passage.partition("<mark")[2].partition("</mark>")[0]


async def test_what_a_document_says_is_never_markup(ann: User, server: Served) -> None:
    await server.upload(
        "odd.md", "# Odd\n\nThe penalty for odd delivery is <img src=x onerror=alert(1)> five percent a day.\n"
    )
    await ann.open("/")
    await ask(ann, "What is the penalty for odd delivery?")
    await answered(ann)
    ann.find(marker="quote").click()
    await ann.should_see(marker="passage", retries=30)
    assert "<img" not in shown(ann, "passage")[0]


async def test_a_conversation_opens_again_as_it_was(ann: User, server: Served, contract: str) -> None:
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    (thread,) = await server.sdk().threads.search()
    await ann.open(f"/chat/{thread['thread_id']}")
    await answered(ann)
    assert "0.1 %" in shown(ann, "answer")[0]
    assert count(ann, marker="source") == 1
    assert count(ann, marker="path-link") == 1, "its run is known"
    assert thread["metadata"]["title"].startswith("What is the penalty")


async def test_an_answer_is_given_anew_in_place_of_the_old_one(ann: User, server: Served, contract: str) -> None:
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    ann.find(marker="retry").click()
    await seen(lambda: count(ann, marker="stop") == 1, "the second run")
    await answered(ann)
    (thread,) = await server.sdk().threads.search()
    state = await server.sdk().threads.get_state(thread["thread_id"])
    assert [message["type"] for message in state["values"]["messages"]].count("human") == 1
    assert len(await server.sdk().runs.list(thread["thread_id"])) == 2


async def test_a_specialists_conversation_is_read_but_not_written_in(ann: User, server: Served, contract: str) -> None:
    await ann.open("/")
    await ask(ann)
    await answered(ann)
    (thread,) = await server.sdk().threads.search()
    async with server.http() as http:
        (child,) = (await http.get(f"/v1/threads/{thread['thread_id']}/children")).json()["children"]
    await ann.open(f"/chat/{child['thread_id']}")
    await ann.should_see("This is a specialist's conversation", retries=30)
    assert count(ann, marker="send") == 0


async def test_a_conversation_that_is_somebody_elses_is_not_there(ann: User, server: Served) -> None:
    foreign = await server.sdk("globex", "bob").threads.create()
    await ann.open(f"/chat/{foreign['thread_id']}")
    await ann.should_see("There is no such page")


class TestWithAModel:
    """A model over the wire, so that it can be slow, silent or broken."""

    @pytest.fixture
    async def server(
        self, owner_dsn: str, tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Served]:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-of-the-tests")
        async with serve(settings_for(owner_dsn, tmp_path)) as served:
            yield served

    async def test_a_run_is_stopped_and_what_was_said_stays(
        self, ann: User, server: Served, upstream: Upstream
    ) -> None:
        silent = threading.Event()

        def policy(body: dict[str, object]) -> Reply:
            silent.set()
            return Reply(["Half ", "an ", "answer ", "and more"], stall_after=3)

        upstream.policy = policy
        await ann.open("/")
        await ask(ann, "Tell me something.")
        await seen(lambda: silent.is_set() and "Half" in " ".join(shown(ann, "answer")), "the beginning of an answer")
        assert count(ann, marker="stop") == 1
        ann.find(marker="stop").click()
        await answered(ann)
        await ann.should_see("Stopped.")
        (thread,) = await server.sdk().threads.search()
        (run,) = await server.sdk().runs.list(thread["thread_id"])
        assert run["status"] == "interrupted"

    async def test_a_page_opened_in_the_middle_of_a_run_follows_it(
        self, ann: User, server: Served, upstream: Upstream
    ) -> None:
        going = threading.Event()

        def policy(body: dict[str, object]) -> Reply:
            going.set()
            return Reply([f"word{n} " for n in range(40)])

        upstream.policy, upstream.chunk_seconds = policy, 0.05
        client = server.sdk()
        thread = await client.threads.create()
        asked = {"messages": [{"role": "user", "content": "Say many words."}]}
        await client.runs.create(
            thread["thread_id"],
            "supervisor",
            input=asked,
            stream_mode=["messages-tuple", "updates", "custom"],
            stream_subgraphs=True,
        )
        await seen(going.is_set, "the model at work")
        await ann.open(f"/chat/{thread['thread_id']}")
        await seen(lambda: "word39" in " ".join(shown(ann, "answer")), "the end of the answer")
        await answered(ann)
        assert "Say many words." in shown(ann, "turn")[0]

    async def test_a_retracted_beginning_goes_and_is_told(self, ann: User, upstream: Upstream) -> None:
        upstream.policy = lambda body: Reply(["The ", "first ", "try ", "breaks ", "off ", "late"])
        upstream.chunk_seconds = 0.05
        upstream.fail("cut", after=4)
        await ann.open("/")
        await ask(ann, "Tell me something.")
        await answered(ann)
        assert count(ann, marker="retraction") == 1
        assert shown(ann, "answer")[0].count("The first try") == 1

    async def test_underscores_of_an_answer_stay(self, ann: User, upstream: Upstream) -> None:
        upstream.policy = lambda body: Reply(["**See** `lead_id` in supply_contract_v2.pdf, by crm__leads_update."])
        await ann.open("/")
        await ask(ann, "Where is it?")
        await answered(ann)
        [answer] = ann.find(marker="answer").elements
        assert "<strong>See</strong>" in answer.props["innerHTML"]
        assert "supply_contract_v2.pdf, by crm__leads_update." in answer.props["innerHTML"]

    async def test_a_run_that_fails_says_so(self, ann: User, server: Served, upstream: Upstream) -> None:
        async with server.http() as http:
            limits = {"limits": [{"scope": "organization", "daily_tokens": 1}]}
            (await http.put("/v1/quotas", json=limits)).raise_for_status()
        await ann.open("/")
        await ask(ann, "Tell me something.")
        await answered(ann)
        assert count(ann, marker="failure") == 1


async def test_a_source_of_the_web_opens_its_page(visitor: User) -> None:
    from console.passage import is_web

    assert is_web("https://example.org/a")
    assert not any(
        is_web(url) for url in ("javascript:alert(1)", "/v1/documents/x", None, "data:text/html,x", "//example.org")
    )
