"""What a member experiences over several turns, on the embedded provider, through the official SDK."""

from __future__ import annotations

from typing import Any

from tests.serving import Served

CAMPAIGN = """# Spring campaign report

## Results

The spring campaign reached a conversion rate of 4.7 % over six weeks. Its cost per lead was 18 EUR.
"""


async def ask(server: Served, thread_id: str, text: str, **more: Any) -> dict[str, Any]:
    client = server.sdk()
    values = await client.runs.wait(
        thread_id, "supervisor", input={"messages": [{"role": "user", "content": text}]}, **more
    )
    assert "__error__" not in values, values
    return dict(values)


def said(values: dict[str, Any]) -> str:
    content = values["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


async def test_a_note_is_remembered_in_the_next_conversation(server: Served) -> None:
    client = server.sdk()
    first, second = await client.threads.create(), await client.threads.create()
    await ask(server, first["thread_id"], "Remember that our fiscal year starts in April.")
    async with server.http() as http:
        notes = (await http.get("/v1/notes")).json()
        calls = (await http.get(f"/v1/threads/{first['thread_id']}/tool_calls")).json()["tool_calls"]
    texts = [note["text"] for note in notes.get("notes", notes.get("items"))]
    assert any("fiscal year starts in April" in text for text in texts)
    assert [(call["name"], call["status"]) for call in calls] == [("save_organization_note", "succeeded")]
    values = await ask(server, second["thread_id"], "When does our fiscal year start?")
    assert "April" in said(values)


async def test_an_unanswerable_question_gets_an_honest_no(server: Served) -> None:
    await server.upload("campaign.md", CAMPAIGN)
    thread = await server.sdk().threads.create()
    values = await ask(server, thread["thread_id"], "What is the name of the chief pilot of our Mars mission?")
    assert values["citations"] == []
    assert values["messages"][-1]["response_metadata"]["stop_reason"] == "not_found"


async def test_the_answer_is_in_the_language_of_the_question(server: Served) -> None:
    await server.upload("campaign.md", CAMPAIGN)
    thread = await server.sdk().threads.create()
    values = await ask(server, thread["thread_id"], "What was the conversion rate of the spring campaign?")
    assert "4.7 %" in said(values)
    assert values["citations"][0]["quote"] in CAMPAIGN


async def test_organisations_with_the_same_documents_see_nothing_of_each_other(server: Served) -> None:
    await server.upload("campaign.md", CAMPAIGN, organization="acme")
    acme, globex = server.sdk("acme"), server.sdk("globex")
    thread = await globex.threads.create()
    values = await globex.runs.wait(
        thread["thread_id"],
        "supervisor",
        input={"messages": [{"role": "user", "content": "What was the conversion rate of the spring campaign?"}]},
    )
    assert "4.7" not in str(values)
    assert await acme.threads.search() == []
