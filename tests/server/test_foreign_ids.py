"""Every route that names something, called with what another organisation has: it answers exactly as for what isn't there.

The list is the application's own: a route without a case fails.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient

from domain.ids import new_id
from tests.serving import Served

EXEMPT = {
    "/assistants/{assistant_id}": "assistants belong to the release, not to an organisation",
    "/assistants/{assistant_id}/versions": "as above",
    "/assistants/{assistant_id}/graph": "as above",
    "/assistants/{assistant_id}/schemas": "as above",
    "/assistants/{assistant_id}/subgraphs": "as above",
    "/assistants/{assistant_id}/subgraphs/{namespace}": "as above",
}
MESSAGES = {"messages": [{"role": "user", "content": "hello"}]}
BODIES: dict[str, Any] = {
    "POST /threads/{thread_id}/runs": {"json": {"assistant_id": "supervisor", "input": MESSAGES}},
    "POST /threads/{thread_id}/runs/stream": {"json": {"assistant_id": "supervisor", "input": MESSAGES}},
    "POST /threads/{thread_id}/runs/wait": {"json": {"assistant_id": "supervisor", "input": MESSAGES}},
    "POST /threads/{thread_id}/state": {"json": {"values": MESSAGES}},
    "POST /threads/{thread_id}/history": {"json": {}},
    "POST /threads/{thread_id}/state/checkpoint": {
        "json": {"checkpoint": {"checkpoint_id": "1f0c5e8c-0000-6000-8000-000000000000"}}
    },
    "PATCH /threads/{thread_id}": {"json": {"metadata": {"title": "mine now"}}},
    "PUT /v1/documents/{document_id}": {"files": {"file": ("a.md", b"# Other", "text/markdown")}},
    "PATCH /v1/notes/{note_id}": {"json": {"text": "mine now"}},
    "GET /v1/documents/{document_id}/versions/{version}/passage": {"params": {"start": 0, "end": 4}},
}


async def owned_by_acme(server: Served, acme: LangGraphClient) -> dict[str, str]:
    """One of everything."""
    document = await server.upload("a.md", "# Acme\n\nThe secret of Acme is forty-two.")
    thread = await acme.threads.create()
    await acme.runs.wait(thread["thread_id"], "supervisor", input=MESSAGES)
    run = (await acme.runs.list(thread["thread_id"]))[0]
    state = await acme.threads.get_state(thread["thread_id"])
    async with server.http() as http:
        note = (await http.post("/v1/notes", json={"text": "Acme closes at six."})).json()
    return {
        "thread_id": thread["thread_id"],
        "run_id": run["run_id"],
        "checkpoint_id": str(state["checkpoint"]["checkpoint_id"]),
        "document_id": document,
        "version": "1",
        "note_id": note["note_id"],
    }


async def call(http: httpx.AsyncClient, method: str, path: str, ids: dict[str, str]) -> tuple[int, str]:
    """Status and body, without what differs from call to call: the trace and the ids that were asked for."""
    answer = await http.request(method, path.format(**ids), **BODIES.get(f"{method} {path}", {}))
    body = re.sub(r'"trace_id":"[0-9a-f]+"', "", answer.text)
    for value in sorted(ids.values(), key=len, reverse=True):
        if len(value) > 4:
            body = body.replace(value, "ID")
    return answer.status_code, body


async def test_a_foreign_id_answers_as_a_missing_one(server: Served) -> None:
    async with server.http() as anyone:
        paths = (await anyone.get("/openapi.json")).json()["paths"]
    walked = [
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if "{" in path and path not in EXEMPT
    ]
    assert len(walked) > 25
    foreign = await owned_by_acme(server, server.sdk("acme"))
    missing = {name: new_id() for name in foreign} | {"version": "1"}
    async with server.http("globex") as globex, server.http("acme") as acme:
        for method, path in sorted(walked, key=lambda one: one[0] == "DELETE"):
            unknown = set(re.findall(r"{(\w+)}", path)) - set(foreign)
            assert not unknown, f"{method} {path} has a parameter without a case: {unknown}"
            as_foreign = await call(globex, method, path, foreign)
            as_missing = await call(globex, method, path, missing)
            assert as_foreign == as_missing, f"{method} {path}"
            assert as_foreign[0] == 404, f"{method} {path}: {as_foreign}"
        assert (await acme.get(f"/v1/documents/{foreign['document_id']}")).json()["version"] == 1
        assert (await acme.get(f"/v1/notes/{foreign['note_id']}")).json()["text"] == "Acme closes at six."
        assert (await acme.get(f"/threads/{foreign['thread_id']}/runs/{foreign['run_id']}")).status_code == 200


async def test_a_member_sees_only_conversations_of_its_own(server: Served) -> None:
    ann, bob, boss = (
        server.sdk(user="ann", role="member"),
        server.sdk(user="bob", role="member"),
        server.sdk(user="eve"),
    )
    thread = await ann.threads.create()
    assert await bob.threads.search() == []
    assert [found["thread_id"] for found in await boss.threads.search()] == [thread["thread_id"]]
    async with server.http(user="bob", role="member") as http:
        answer = await http.get(f"/threads/{thread['thread_id']}")
        started = await http.post(
            f"/threads/{thread['thread_id']}/runs", json={"assistant_id": "supervisor", "input": MESSAGES}
        )
    assert answer.status_code == started.status_code == 404
