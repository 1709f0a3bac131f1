"""Every route that names something, called with what another organisation has: it answers exactly as for what isn't there.

The routes and the ids in their bodies are the application's own list: a route or a field without a case fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from fastapi.routing import iter_route_contexts
from langgraph_sdk.client import LangGraphClient

from domain.ids import new_id, new_trace_id
from domain.settings import Settings
from server.app import create_app
from tests.serving import Served

Ids = dict[str, str]
Case = dict[str, Any]
NO_DATA = {
    "/v1/models/{model:path}": "models belong to the release",
}
"""Routes with a path parameter that hold nothing of an organisation, with the reason."""
SECRETS = {"acme": "forty-two", "globex": "seventeen"}
MESSAGES = {"messages": [{"role": "user", "content": "hello", "id": "m-1"}]}
RUN: Case = {"assistant_id": "supervisor", "input": MESSAGES}
SKILL = {"title": {"en": "Keeper", "ru": "Хранитель"}, "description": "Keeps secrets.", "prompt": "You keep secrets."}
BODIES: dict[str, Case] = {
    "POST /threads/{thread_id}/runs": {"json": RUN},
    "POST /threads/{thread_id}/runs/stream": {"json": RUN},
    "POST /threads/{thread_id}/runs/wait": {"json": RUN},
    "POST /threads/{thread_id}/state": {"json": {"values": MESSAGES}},
    "POST /threads/{thread_id}/state/checkpoint": {"json": {"checkpoint": {}}},
    "PATCH /threads/{thread_id}": {"json": {"metadata": {"title": "mine now"}}},
    "PUT /v1/documents/{document_id}": {"files": {"file": ("a.md", b"# Other", "text/markdown")}},
    "PATCH /v1/documents/{document_id}": {"json": {"labels": ["local_only"]}},
    "PATCH /v1/notes/{note_id}": {"json": {"text": "mine now"}},
    "PATCH /v1/mcp/servers/{server_id}": {"json": {"enabled": False}},
    "POST /v1/mcp/servers/{server_id}/approve": {"json": {"fingerprint": "0" * 64}},
    "PUT /v1/skills/{name}": {"json": {"version": 1, "definition": SKILL}},
    "POST /v1/skills/{name}/test": {"json": {"question": "hello"}},
    "GET /v1/documents/{document_id}/versions/{version}/passage": {"params": {"start": 0, "end": 4}},
}
"""What a route needs beside its ids to be more than a wrong request."""
CHOSEN = "a client may choose a new thread's id; a taken one is refused alike whoever holds it (test_langgraph_api.py)"
RELEASED = "graphs belong to the release"


def at(field: str, **more: Any) -> Any:
    """A body with the id at `field`, a dotted path; `ids` and `*_ids` are lists."""

    def body(ids: Mapping[str, str]) -> Case:
        *outer, last = field.split(".")
        value: Any = ids[NAMES.get(last, last)]
        inner: Any = {last: [value] if last.endswith("ids") else value}
        for name in reversed(outer):
            inner = {name: inner}
        return {**more, **inner}

    return body


NAMES = {
    "ids": "thread_id",
    "parent_thread_id": "thread_id",
    "run_ids": "run_id",
    "document_ids": "document_id",
    "before": "checkpoint_id",
}
"""Which id a body's field is."""
IN_BODIES: dict[str, dict[str, Any]] = {
    "POST /threads": {"thread_id": CHOSEN},
    "POST /threads/search": {"ids": at("ids"), "parent_thread_id": at("parent_thread_id")},
    "POST /threads/{thread_id}/state": {
        "checkpoint_id": at("checkpoint_id", values=MESSAGES, as_node="finish"),
        "checkpoint.checkpoint_id": at("checkpoint.checkpoint_id", values=MESSAGES, as_node="finish"),
    },
    "POST /threads/{thread_id}/state/checkpoint": {"checkpoint.checkpoint_id": at("checkpoint.checkpoint_id")},
    "POST /threads/{thread_id}/history": {
        "before": at("before"),
        "before.checkpoint_id": at("before.checkpoint_id"),
        "checkpoint.checkpoint_id": at("checkpoint.checkpoint_id"),
    },
    "POST /threads/{thread_id}/runs/wait": {
        "assistant_id": at("assistant_id", input=MESSAGES),
        "checkpoint_id": at("checkpoint_id", **RUN),
        "checkpoint.checkpoint_id": at("checkpoint.checkpoint_id", **RUN),
    },
    "POST /runs/wait": {
        "assistant_id": at("assistant_id", input=MESSAGES),
        "checkpoint_id": at("checkpoint_id", **RUN),
        "checkpoint.checkpoint_id": at("checkpoint.checkpoint_id", **RUN),
    },
    "POST /runs/cancel": {"thread_id": at("thread_id", run_ids=[new_id()]), "run_ids": at("run_ids")},
    "POST /assistants/search": {"graph_id": RELEASED},
    "POST /assistants/count": {"graph_id": RELEASED},
    "POST /v1/documents/search": {"document_ids": at("document_ids", query="what is the secret?")},
}
"""The ids in bodies: how a body with one is made, or why there is nothing to try."""
SAME_BODY = {"/runs": "/runs/wait", "/runs/stream": "/runs/wait"}
"""Routes that take the body of another one and do the same with it."""


def walked(settings: Settings) -> Iterator[tuple[str, str]]:
    """(method, path) of every route of the application, whether its schema tells of it or not."""
    for route in iter_route_contexts(create_app(settings).routes):
        path = str(route.path)
        assert route.methods, f"{path} is no HTTP route: it needs a walk of its own"
        for method in sorted(set(route.methods) - {"HEAD", "OPTIONS"}):
            yield method, path


async def owned(server: Served, client: LangGraphClient, organization: str) -> Ids:
    """One of everything, as an organisation has it."""
    secret = SECRETS[organization]
    document = await server.upload("a.md", f"# Vault\n\nThe secret is {secret}.", organization=organization)
    thread = await client.threads.create(metadata={"title": secret})
    await client.runs.wait(thread["thread_id"], "supervisor", input=MESSAGES)
    run = (await client.runs.list(thread["thread_id"]))[0]
    state = await client.threads.get_state(thread["thread_id"])
    async with server.http(organization) as http:
        note = (await http.post("/v1/notes", json={"text": f"The secret is {secret}."})).json()
        off = {"name": "vault", "url": f"https://{secret}.example.com/mcp", "enabled": False}
        mcp_server = (await http.post("/v1/mcp/servers", json=off)).json()
        skill = {"name": f"{organization}_keeper", "definition": {**SKILL, "prompt": f"The secret is {secret}."}}
        keeper = (await http.post("/v1/skills", json=skill)).json()
        trace = (await http.post("/internal/llm/generate", json={"prompt": "hello"})).headers["x-trace-id"]
    return {
        "thread_id": thread["thread_id"],
        "run_id": run["run_id"],
        "trace_id": trace,
        "checkpoint_id": str(state["checkpoint"]["checkpoint_id"]),
        "document_id": document,
        "version": "1",
        "note_id": note["note_id"],
        "server_id": mcp_server["server_id"],
        "name": keeper["name"],
        "assistant_id": keeper["assistant_id"],
        "namespace": new_id(),
    }


def missing(ids: Ids) -> Ids:
    """Ids of the same kinds that nobody has."""
    return {name: new_id() for name in ids} | {"trace_id": new_trace_id(), "version": "7", "checkpoint_id": new_id()}


async def call(http: httpx.AsyncClient, method: str, path: str, ids: Ids, case: Case) -> tuple[int, list[str], str]:
    """Status, names of headers, and body without what differs from call to call: the trace and the ids asked for."""
    answer = await http.request(method, path.format(**ids), **case)
    body = re.sub(r'"trace_id":"[0-9a-f]+"', "", answer.text)
    for name in sorted(named(path, ids), key=lambda one: -len(ids[one])):
        body = body.replace(ids[name], "ID") if len(ids[name]) > 4 else body.replace(f"ID/{ids[name]}", "ID/ID")
    return answer.status_code, sorted(answer.headers), body


def named(path: str, ids: Ids) -> list[str]:
    """The parameters of a path; each must be one there is an id for."""
    names = re.findall(r"{(\w+)(?::\w+)?}", path)
    assert set(names) <= set(ids), f"{path} has a parameter without a case: {set(names) - set(ids)}"
    return names


async def test_a_foreign_id_answers_as_a_missing_one(server: Served) -> None:
    routes = [(method, path) for method, path in walked(server.settings) if "{" in path and path not in NO_DATA]
    assert len(routes) > 25
    secret = SECRETS["acme"]
    acme_ids = await owned(server, server.sdk("acme"), "acme")
    globex_ids = await owned(server, server.sdk("globex"), "globex")
    async with server.http("acme") as acme:
        replaced = {"file": ("a.md", f"# Vault\n\nThe secret is still {secret}.".encode(), "text/markdown")}
        await acme.put(f"/v1/documents/{acme_ids['document_id']}", files=replaced)
        await acme.put(f"/v1/skills/{acme_ids['name']}", json={"version": 1, "definition": SKILL})
    acme_ids["version"] = "2"  # a version that only this organisation's have
    nobodys = missing(acme_ids)
    async with server.http("globex") as globex, server.http("globex", "bob", "member") as member:
        for method, path in sorted(routes, key=lambda one: one[0] == "DELETE"):
            case = BODIES.get(f"{method} {path}", {})
            names = named(path, acme_ids)
            # all of them, then each one alone among the caller's own
            for foreign in [names, *([[name] for name in names] if len(names) > 1 else [])]:
                theirs = globex_ids | {name: acme_ids[name] for name in foreign}
                nobody = globex_ids | {name: nobodys[name] for name in foreign}
                as_foreign = await call(globex, method, path, theirs, case)
                as_missing = await call(globex, method, path, nobody, case)
                assert as_foreign == as_missing, f"{method} {path} with a foreign {foreign}"
                assert as_foreign[0] == 404, f"{method} {path} with a foreign {foreign}: {as_foreign}"
                assert secret not in as_foreign[2]
            refused = await call(member, method, path, acme_ids, case)
            assert refused == await call(member, method, path, nobodys, case), f"{method} {path} of a member"
            assert refused[0] in (403, 404)
    async with server.http("acme") as acme:
        assert (await acme.get(f"/v1/documents/{acme_ids['document_id']}")).status_code == 200
        assert secret in (await acme.get(f"/v1/notes/{acme_ids['note_id']}")).json()["text"]
        assert (await acme.get(f"/threads/{acme_ids['thread_id']}")).json()["metadata"]["title"] == secret
        assert (await acme.get(f"/threads/{acme_ids['thread_id']}/runs/{acme_ids['run_id']}")).status_code == 200


async def test_a_foreign_id_in_a_body_answers_as_a_missing_one(server: Served) -> None:
    async with server.http() as anyone:
        schema = (await anyone.get("/openapi.json")).json()
    fields = dict(ids_in_bodies(schema))
    unknown = {route: names - set(IN_BODIES.get(route, {})) for route, names in fields.items()}
    assert not {route: names for route, names in unknown.items() if names}, "ids in bodies without a case"
    secret = SECRETS["acme"]
    acme_ids = await owned(server, server.sdk("acme"), "acme")
    globex_ids = await owned(server, server.sdk("globex"), "globex")
    nobodys = missing(acme_ids)
    async with server.http("globex") as globex:
        for route, cases in IN_BODIES.items():
            method, path = route.split(" ")
            for field, made in cases.items():
                if isinstance(made, str):
                    continue
                answers = []
                for ids in (acme_ids, nobodys):
                    thread_id = (await globex.post("/threads", json={})).json()["thread_id"]
                    body = made(ids)
                    if route == "POST /runs/cancel" and field == "run_ids":
                        body["thread_id"] = globex_ids["thread_id"]
                    answer = await globex.request(method, path.format(thread_id=thread_id), json=body)
                    assert answer.status_code < 500, f"{route} {field}: {answer.text}"
                    assert secret not in answer.text, f"{route} {field}"
                    answers.append((answer.status_code, without_ids(answer.text)))
                assert answers[0] == answers[1], f"{route} {field}"


def without_ids(text: str) -> str:
    """An answer without ids and times, which are fresh in every one."""
    text = re.sub(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)", "TIME", text)
    return re.sub(r'"latency_ms":[\d.]+', '"latency_ms":0', text).strip()


def ids_in_bodies(schema: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """For every route with a JSON body the dotted names of the fields that hold ids of things."""
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                end = next((one for one in SAME_BODY if path.endswith(one)), "")
                tested = path.removesuffix(end) + SAME_BODY.get(end, "")
                yield f"{method.upper()} {tested}", set(_ids(content["schema"], schema, ""))


def _ids(part: dict[str, Any], schema: dict[str, Any], prefix: str) -> Iterator[str]:
    if "$ref" in part:
        part = schema["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
    for choice in (*part.get("anyOf", ()), *part.get("allOf", ())):
        yield from _ids(choice, schema, prefix)
    for name, inner in part.get("properties", {}).items():
        if name in ("ids", "before") or name.endswith(("_id", "_ids")):
            yield prefix + name
        yield from _ids(inner, schema, f"{prefix}{name}.")


async def test_a_member_sees_only_conversations_of_its_own(server: Served) -> None:
    ann = await owned(server, server.sdk(user="ann", role="member"), "acme")
    nobodys = missing(ann)
    async with server.http(user="bob", role="member") as bob, server.http(user="eve", role="manager") as manager:
        assert (await bob.post("/threads/search", json={})).json() == []
        assert (await bob.post("/threads/count", json={})).json() == 0
        found = (await manager.post("/threads/search", json={})).json()
        assert [thread["thread_id"] for thread in found] == [ann["thread_id"]]
        for method, path in walked(server.settings):
            if "{thread_id}" in path:
                case = BODIES.get(f"{method} {path}", {})
                as_anns = await call(bob, method, path, ann, case)
                assert as_anns == await call(bob, method, path, nobodys, case), f"{method} {path}"
                assert as_anns[0] == 404
        assert (await manager.get(f"/threads/{ann['thread_id']}")).status_code == 200


def test_what_is_exempt_is_still_there(server: Served) -> None:
    paths = {path for _, path in walked(server.settings)}
    assert set(NO_DATA) <= paths
    assert {route.split(" ")[1] for route in (*BODIES, *IN_BODIES)} <= paths
