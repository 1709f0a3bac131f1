"""Skills through the API: who may change what, versions, conflicts, what is refused, and that the next turn knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.serving import Served

TAXES: dict[str, Any] = {
    "title": {"en": "Tax adviser", "ru": "Налоговый консультант"},
    "description": "Taxes: VAT, income tax, declarations. Налоги: НДС, налог на прибыль, декларация.",
    "prompt": "You are a tax adviser.",
    "tools": ["search_documents"],
    "retrieval": {"passages": 3, "notes": 5},
    "model": {"local_only": True},
}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    assert told["error_code"] == code
    return told


def done(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 201), answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def names(http: httpx.AsyncClient) -> list[str]:
    return [skill["name"] for skill in done(await http.get("/v1/skills"))["skills"]]


async def edited(http: httpx.AsyncClient, name: str, **changes: Any) -> dict[str, Any]:
    """Another version of what is in force."""
    shown = done(await http.get(f"/v1/skills/{name}"))
    definition = {**shown["definition"], **changes}
    return done(await http.put(f"/v1/skills/{name}", json={"version": shown["version"], "definition": definition}))


async def test_the_operators_skills_are_every_organisations(server: Served) -> None:
    async with server.http(role="member") as member, server.http(role="manager") as manager:
        shown = done(await member.get("/v1/skills"))["skills"]
        assert [skill["name"] for skill in shown] == [
            "main", "marketing_agent", "legal_agent", "business_analyst_agent",
        ]  # fmt: skip
        assert {(skill["source"], skill["version"], skill["enabled"]) for skill in shown} == {("operator", 0, True)}
        assert all("prompt" not in skill["definition"] for skill in shown)
        one = done(await manager.get("/v1/skills/legal_agent"))
        assert one["definition"]["prompt"]
        assert (one["created_at"], one["updated_by"], one["last_version"]) == (None, None, 0)


async def test_a_skill_of_ones_own_from_first_to_last(server: Served) -> None:
    async with server.http(role="manager") as http:
        made = done(await http.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES, "comment": "first"}))
        assert (made["source"], made["version"], made["comment"], made["created_by"]) == (
            "organization",
            1,
            "first",
            "ann",
        )
        assert made["definition"]["tools"] == ["search_documents"]
        assert made["definition"]["model"]["local_only"] is True
        answer = await http.get("/v1/skills/tax_agent")
        assert (done(answer), answer.headers["etag"]) == (made, '"1"')
        assert (await names(http))[-1] == "tax_agent"

        second = done(
            await http.put(
                "/v1/skills/tax_agent",
                json={"definition": {**TAXES, "prompt": "Be short."}, "comment": "shorter"},
                headers={"If-Match": '"1"'},
            )
        )
        assert (second["version"], second["definition"]["prompt"], second["comment"]) == (2, "Be short.", "shorter")
        listed = done(await http.get("/v1/skills/tax_agent/versions"))["versions"]
        assert [(one["version"], one["current"], one["comment"]) for one in listed] == [
            (2, True, "shorter"), (1, False, "first"),
        ]  # fmt: skip
        former = done(await http.get("/v1/skills/tax_agent/versions/1"))
        assert former["definition"]["prompt"] == "You are a tax adviser."

        back = done(await http.post("/v1/skills/tax_agent/versions/1/activate"))
        assert (back["version"], back["last_version"]) == (1, 2)
        assert back["definition"]["prompt"] == "You are a tax adviser."
        assert (await edited(http, "tax_agent", prompt="Third."))["version"] == 3

        assert done(await http.post("/v1/skills/tax_agent/disable"))["enabled"] is False
        assert done(await http.post("/v1/skills/tax_agent/enable"))["enabled"] is True
        assert (await http.delete("/v1/skills/tax_agent")).status_code == 204
        refused(await http.get("/v1/skills/tax_agent"), 404, "not_found")
        changes = done(await http.get("/v1/skills/tax_agent/changes"))
        assert [change["action"] for change in changes["changes"]] == [
            "deleted", "enabled", "disabled", "updated", "activated", "updated", "created",
        ]  # fmt: skip
        assert changes["total"] == 7
        assert {change["user_id"] for change in changes["changes"]} == {"ann"}
        assert changes["changes"][0]["details"]["definition"]["prompt"] == "Third."
        assert all(len(change["trace_id"]) == 32 for change in changes["changes"])


async def test_an_operators_skill_is_overridden_and_comes_back(server: Served) -> None:
    async with server.http() as http:
        original = done(await http.get("/v1/skills/legal_agent"))
        changed = await edited(http, "legal_agent", prompt="You answer in verse.")
        assert (changed["source"], changed["version"], changed["definition"]["prompt"]) == (
            "override", 1, "You answer in verse.",
        )  # fmt: skip
        back = done(await http.post("/v1/skills/legal_agent/versions/0/activate"))
        assert (back["source"], back["version"], back["last_version"]) == ("operator", 0, 1)
        assert back["definition"] == original["definition"]
        listed = done(await http.get("/v1/skills/legal_agent/versions"))["versions"]
        assert [(one["version"], one["current"]) for one in listed] == [(1, False), (0, True)]
        again = done(await http.post("/v1/skills/legal_agent/versions/1/activate"))
        assert again["definition"]["prompt"] == "You answer in verse."
        assert (await http.delete("/v1/skills/legal_agent")).status_code == 204
        assert done(await http.get("/v1/skills/legal_agent")) == original
        refused(await http.delete("/v1/skills/legal_agent"), 409, "conflict")
        refused(await http.post("/v1/skills/main/disable"), 409, "conflict")


async def test_two_who_edit_the_same_version_do_not_overwrite_each_other(server: Served) -> None:
    async with server.http() as ann, server.http(user="bob") as bob:
        done(await ann.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES}))
        body = {"version": 1, "definition": TAXES}
        done(await ann.put("/v1/skills/tax_agent", json=body))
        told = refused(await bob.put("/v1/skills/tax_agent", json=body), 409, "conflict")
        assert (told["details"]["version"], told["details"]["updated_by"]) == (2, "ann")
        missing = refused(await bob.put("/v1/skills/tax_agent", json={"definition": TAXES}), 422, "invalid_input")
        assert missing["details"]["field"] == "body.version"
        twice = await bob.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES})
        refused(twice, 409, "conflict")
        refused(await bob.post("/v1/skills", json={"name": "legal_agent", "definition": TAXES}), 409, "conflict")


@pytest.mark.parametrize(
    ("name", "change", "field", "told"),
    [
        ("tax_agent", {"tools": ["search_documents", "send_fax"]}, "body.definition.tools", "send_fax"),
        ("tax_agent", {"mcp_servers": ["fax"]}, "body.definition.mcp_servers", "fax"),
        ("Tax Agent", {}, "body.name", "pattern"),
        ("supervisor", {}, "body.name", "taken"),
        ("tax_agent", {"prompt": "x" * 50_001}, "body.definition.prompt", "50000"),
        ("tax_agent", {"prompt": "  \n"}, "body.definition.prompt", "at least 1"),
        ("tax_agent", {"description": "x" * 2_001}, "body.definition.description", "2000"),
        ("tax_agent", {"title": {"en": "Taxes"}}, "body.definition.title", "at least 2"),
        ("tax_agent", {"title": {"en": "T", "ru": "Н", "de": "S"}}, "body.definition.title.de.[key]", "'en' or 'ru'"),
        ("tax_agent", {"retrieval": {"passages": 51}}, "body.definition.retrieval.passages", "50"),
        ("tax_agent", {"retrieval": {"documents": 1}}, "body.definition.retrieval.documents", "not permitted"),
        ("tax_agent", {"model": {"temperature": 1}}, "body.definition.model.temperature", "not permitted"),
        ("tax_agent", {"model": {"model": "gpt-0"}}, "body.definition.model", "gpt-0"),
        ("tax_agent", {"model": {"force_cloud": True, "local_only": True}}, "body.definition.model.force_cloud", "local_only"),
        ("tax_agent", {"colour": "red"}, "body.definition.colour", "not permitted"),
    ],
)  # fmt: skip
async def test_what_cannot_work_is_refused_by_field(
    server: Served, name: str, change: dict[str, Any], field: str, told: str
) -> None:
    async with server.http() as http:
        answer = await http.post("/v1/skills", json={"name": name, "definition": {**TAXES, **change}})
        refusal = refused(answer, 422, "invalid_input")
        assert refusal["details"]["field"] == field
        assert told in refusal["message"]
        if "tools" in change:
            assert refusal["details"]["unknown"] == ["send_fax"]
            assert {"search_documents", "web_search", "save_organization_note"} <= set(refusal["details"]["available"])
        assert len(await names(http)) == 4


async def test_members_read_and_managers_change(server: Served) -> None:
    async with server.http(role="member") as http:
        for method, path, body in [
            ("POST", "/v1/skills", {"name": "tax_agent", "definition": TAXES}),
            ("PUT", "/v1/skills/legal_agent", {"version": 0, "definition": TAXES}),
            ("DELETE", "/v1/skills/legal_agent", None),
            ("POST", "/v1/skills/legal_agent/disable", None),
            ("POST", "/v1/skills/legal_agent/versions/0/activate", None),
            ("GET", "/v1/skills/legal_agent/versions", None),
            ("GET", "/v1/skills/legal_agent/changes", None),
            ("POST", "/v1/skills/legal_agent/test", {"question": "hello"}),
        ]:
            told = refused(await http.request(method, path, json=body), 403, "forbidden")
            assert told["details"]["required_role"] == "manager"


async def test_there_is_an_end_to_how_many(server: Served) -> None:
    async with server.http() as http:
        short = {**TAXES, "description": "x"}
        for n in range(50):
            done(await http.post("/v1/skills", json={"name": f"agent_{n}", "definition": short}))
        refused(await http.post("/v1/skills", json={"name": "agent_50", "definition": short}), 409, "conflict")
        refused(await http.post("/v1/skills/legal_agent/disable"), 409, "conflict")
        done(await http.post("/v1/skills/agent_0/disable"))
        assert (await http.delete("/v1/skills/agent_0")).status_code == 204
        done(await http.post("/v1/skills", json={"name": "agent_50", "definition": short}))


async def test_descriptions_together_are_bounded(server: Served) -> None:
    async with server.http() as http:
        long = {**TAXES, "description": "x" * 2_000}
        for n in range(13):
            answer = await http.post("/v1/skills", json={"name": f"agent_{n}", "definition": long})
        while answer.status_code == 201:
            n += 1
            answer = await http.post("/v1/skills", json={"name": f"agent_{n}", "definition": long})
        assert refused(answer, 422, "invalid_input")["details"]["field"] == "body.definition.description"
        done(await http.post("/v1/skills/agent_0/disable"))
        done(await http.post("/v1/skills", json={"name": f"agent_{n}", "definition": long}))


# What is in force is what runs


def question(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@asynccontextmanager
async def with_tax_agent(server: Served) -> AsyncIterator[httpx.AsyncClient]:
    await server.upload(
        "vat.md", "# VAT\n\nThe VAT declaration is due on the 25th day of the month after the quarter.\n"
    )
    async with server.http() as http:
        done(await http.post("/v1/skills", json={"name": "tax_agent", "definition": TAXES}))
        yield http


async def test_an_own_specialist_is_handed_over_to_and_is_an_assistant(server: Served) -> None:
    """By the extractive provider, which goes by the descriptions."""
    async with with_tax_agent(server) as http:
        sdk = server.sdk()
        thread = (await sdk.threads.create())["thread_id"]
        values = await sdk.runs.wait(thread, "supervisor", input=question("When is the VAT declaration due?"))
        assert "25th day" in str(values["messages"][-1]["content"])
        children = done(await http.get(f"/v1/threads/{thread}/children"))["children"]
        assert [(child["agent"], child["child_status"]) for child in children] == [("tax_agent", "completed")]
        state = await sdk.threads.get_state(children[0]["thread_id"])
        assert [message["type"] for message in state["values"]["messages"]] == ["human", "ai", "tool"]

        assistants = await sdk.assistants.search(limit=50)
        own = next(one for one in assistants if one["name"] == "tax_agent")
        assert (own["graph_id"], own["metadata"], own["version"]) == (
            "organization_specialist", {"created_by": "user"}, 1,
        )  # fmt: skip
        assert (await sdk.assistants.get(own["assistant_id"]))["name"] == "tax_agent"
        assert (await sdk.assistants.get_graph(own["assistant_id"]))["nodes"]
        for wanted in ("tax_agent", own["assistant_id"]):
            alone = (await sdk.threads.create())["thread_id"]
            answer = await sdk.runs.wait(alone, wanted, input=question("When is the VAT declaration due?"))
            assert "25th day" in str(answer["messages"][-1]["content"])
            assert answer["messages"][-1]["name"] == "tax_agent"
        completion = {
            "model": "tax_agent",
            "messages": [{"role": "user", "content": "When is the VAT declaration due?"}],
        }
        said = done(await http.post("/v1/chat/completions", json=completion))
        assert "25th day" in said["choices"][0]["message"]["content"]
        assert "tax_agent" in [model["id"] for model in done(await http.get("/v1/models"))["data"]]
        assert "tax_agent" in [agent["name"] for agent in done(await http.get("/v1/agents"))["agents"]]

        done(await http.post("/v1/skills/tax_agent/disable"))
        assert "tax_agent" not in [one["name"] for one in await sdk.assistants.search(limit=50)]
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await sdk.runs.wait(thread, "tax_agent", input=question("When?"))
        # what it said before is still to be read
        state = await sdk.threads.get_state(children[0]["thread_id"])
        assert "25th day" in str(state["values"])


async def test_another_organisation_sees_and_reaches_none_of_it(server: Served) -> None:
    async with with_tax_agent(server), server.http("globex") as globex:
        assert "tax_agent" not in await names(globex)
        sdk = server.sdk("globex")
        assert "tax_agent" not in [one["name"] for one in await sdk.assistants.search(limit=50)]
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await sdk.runs.wait(None, "tax_agent", input=question("When is the VAT declaration due?"))
        done(await globex.post("/v1/skills", json={"name": "tax_agent", "definition": {**TAXES, "prompt": "Other."}}))
        async with server.http() as acme:
            assert done(await acme.get("/v1/skills/tax_agent"))["definition"]["prompt"] == "You are a tax adviser."


async def test_a_disabled_specialist_of_the_operator_is_gone_for_its_organisation_alone(server: Served) -> None:
    async with server.http() as http:
        done(await http.post("/v1/skills/legal_agent/disable"))
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await server.sdk().runs.wait(None, "legal_agent", input=question("hello"))
        assert "__error__" not in await server.sdk("globex").runs.wait(None, "legal_agent", input=question("hello"))
        done(await http.post("/v1/skills/legal_agent/enable"))
        assert "__error__" not in await server.sdk().runs.wait(None, "legal_agent", input=question("hello"))
