"""What is wrong with a request is said by name, and nothing a client can send is a fault of ours (500) or lost silently."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from domain.ids import DocumentId, new_id, organization_id
from server.app import create_app
from server.engine import engine
from tests.serving import Served

JSON = {"Content-Type": "application/json"}
MESSAGES = {"messages": [{"role": "user", "content": "hello", "id": "m-1"}]}
RUN: dict[str, Any] = {"assistant_id": "supervisor", "input": MESSAGES}
REPORT = "# Report\n\nThe spring campaign reached a conversion rate of 4.7 % over six weeks.\n"


async def new_thread(http: httpx.AsyncClient, *, ran: bool = False) -> str:
    thread_id = str((await http.post("/threads", json={})).json()["thread_id"])
    if ran:
        assert "__error__" not in (await http.post(f"/threads/{thread_id}/runs/wait", json=RUN)).json()
    return thread_id


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error of this status and code."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error_code", "message", "trace_id", "details"}
    assert body["error_code"] == code, body
    return body


def no_fault(answer: httpx.Response, what: object) -> None:
    """Neither the request nor a run it started failed for a reason of ours."""
    if answer.status_code == 504:
        assert answer.json()["error_code"] == "timeout", what  # five milliseconds may be too few
        return
    assert answer.status_code < 500, f"{what}: {answer.text}"
    assert "internal_error" not in answer.text, f"{what}: {answer.text[:500]}"


# What is not there


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/assistants/{wanted}", None, "assistant"),
        ("GET", "/threads/{wanted}", None, "thread"),
        ("GET", "/threads/{wanted}/history", None, "thread"),
        ("DELETE", "/threads/{wanted}", None, "thread"),
        ("POST", "/threads/{wanted}/runs", RUN, "thread"),
        ("GET", "/threads/{thread}/runs/{wanted}", None, "run"),
        ("GET", "/threads/{thread}/runs/{wanted}/stream", None, "run"),
        ("POST", "/threads/{thread}/runs/{wanted}/cancel", None, "run"),
        ("GET", "/threads/{thread}/state/{wanted}", None, "checkpoint"),
        ("POST", "/threads/{thread}/runs", {**RUN, "assistant_id": "{wanted}"}, "assistant"),
        ("POST", "/threads/{thread}/runs/wait", {**RUN, "checkpoint_id": "{wanted}"}, "checkpoint"),
        ("POST", "/runs/wait", {**RUN, "checkpoint_id": "{wanted}"}, "checkpoint"),
        ("POST", "/threads/{thread}/state", {"values": MESSAGES, "checkpoint_id": "{wanted}"}, "checkpoint"),
        ("POST", "/threads/{thread}/state/checkpoint", {"checkpoint": {"checkpoint_ns": "{wanted}"}}, "namespace"),
        ("POST", "/threads/{thread}/state", {"checkpoint": {"checkpoint_ns": "legal_agent:{wanted}"}}, "namespace"),
        ("GET", "/v1/documents/{wanted}", None, "document"),
        ("DELETE", "/v1/notes/{wanted}", None, "note"),
    ],
)
async def test_what_is_missing_is_named(server: Served, method: str, path: str, body: Any, kind: str) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http, ran="{thread}" in path)
        before = (await http.get(f"/threads/{thread_id}/state")).json()
        for wanted in (new_id(), "no-such-thing"):
            sent = json.loads(json.dumps(body).replace("{wanted}", wanted)) if body is not None else None
            answer = await http.request(method, path.format(wanted=wanted, thread=thread_id), json=sent)
            told = refused(answer, 404, "not_found")
            assert told["details"]["kind"] == kind
            assert wanted in told["details"]["id"]
            assert wanted in told["message"]
        assert (await http.get(f"/threads/{thread_id}/state")).json() == before


# Wrong values


WRONG: list[Any] = [5, -1, 0.5, "x", "\x00", "\ud800", "", True, None, [], ["x"], [None], {}, {"x": 1}, [[{}]]]
"""Values of every JSON type; most of them are wrong for any field."""
SKILL = {"title": {"en": "Taxes", "ru": "Налоги"}, "description": "Taxes.", "prompt": "You know about taxes."}
VALID: dict[str, dict[str, Any]] = {
    "/runs/wait": RUN,
    "/v1/notes": {"text": "Our fiscal year starts in April."},
    "/v1/notes/{note_id}": {"text": "Our fiscal year starts in May."},
    "/v1/documents/search": {"query": "campaign"},
    "/threads/{thread_id}": {"metadata": {}},
    "/threads/{thread_id}/state": {"values": MESSAGES, "as_node": "finish"},
    "/threads/{thread_id}/state/checkpoint": {"checkpoint": {}},
    "/v1/chat/completions": {"model": "extractive", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/embeddings": {"model": "auto", "input": "hello"},
    "/v1/similarity": {"model": "auto", "texts": ["one", "two"]},
    "/internal/llm/generate": {"prompt": "hello"},
    "/v1/mcp/servers": {"name": "crm", "url": "https://mcp.invalid/mcp", "enabled": False},
    "/v1/mcp/servers/{server_id}": {"enabled": False},
    "/v1/skills": {"name": "tax_agent", "definition": SKILL},
    "/v1/skills/{name}": {"version": 0, "definition": SKILL},
    "/v1/skills/{name}/test": {"question": "hello"},
    "/runs/cancel": {"thread_id": new_id(), "run_ids": [new_id()]},
}
"""What a body must have beside the field that is tried."""
LIKE_ANOTHER = re.compile(r"/runs(/stream)?$|^/threads/{thread_id}/runs/wait$")
"""Routes that take the body of /runs/wait."""


def bodies(schema: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(method, path, fields) of every route with a JSON body."""
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or LIKE_ANOTHER.search(path):
                continue
            found = [
                part["$ref"] for part in [content["schema"], *content["schema"].get("anyOf", [])] if "$ref" in part
            ]
            model = schema["components"]["schemas"][found[0].rsplit("/", 1)[1]] if found else content["schema"]
            yield method.upper(), path, list(model["properties"])


async def test_any_value_of_any_field_is_taken_or_refused_by_name(server: Served) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http, ran=True)
        note_id = (await http.post("/v1/notes", json={"text": "A note."})).json()["note_id"]
        document_id = await server.upload("a.txt", "A document.")
        server_id = (await http.post("/v1/mcp/servers", json=VALID["/v1/mcp/servers"])).json()["server_id"]
        ids = {
            "thread_id": thread_id,
            "note_id": note_id,
            "document_id": document_id,
            "server_id": server_id,
            "name": "legal_agent",
        }
        tried = 0
        for method, path, fields in bodies((await http.get("/openapi.json")).json()):
            for field in fields:
                for value in WRONG:
                    body = json.dumps({**VALID.get(path, {}), field: value})
                    where = path.format(**ids)
                    answer = await http.request(method, where, content=body.encode(), headers=JSON)
                    no_fault(answer, (method, path, body))
                    if answer.status_code == 422:
                        told = answer.json()
                        told = told.get("error", told)  # OpenAI's form
                        # without a provider of embeddings a right body is refused, too
                        named = field in told["message"] or "no_provider" in (told.get("error_code"), told.get("code"))
                        assert named, (method, path, body, answer.text)
                    tried += 1
            for other in (b"[]", b'"x"', b"5", b"null", b"true"):
                no_fault(await http.request(method, where, content=other, headers=JSON), (method, path, other))
        assert tried > 500
        assert (await http.get(f"/threads/{thread_id}")).status_code == 200
        after = (await http.post(f"/threads/{thread_id}/runs/wait", json=RUN)).json()
        assert "__error__" not in after


MESSAGE_FIELDS = ["type", "role", "content", "id", "name", "tool_calls", "tool_call_id", "status", "artifact"]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
async def test_any_value_of_any_field_of_a_message_is_taken_or_refused_by_name(server: Served, role: str) -> None:
    base = {"role": role, "content": "hello", **({"tool_call_id": "call_1"} if role == "tool" else {})}
    async with server.http() as http:
        for field in [*MESSAGE_FIELDS, "additional_kwargs", "response_metadata"]:
            for value in [*WRONG, [{"type": "text", "text": "a\x00b\ud800"}], [{"type": "text"}]]:
                sent = json.dumps({**RUN, "input": {"messages": [{**base, field: value}]}}).encode()
                answer = await http.post("/runs/wait", content=sent, headers=JSON)
                no_fault(answer, (field, value))
                assert answer.status_code in (200, 422)
                if answer.status_code == 422:
                    assert answer.json()["details"]["field"].startswith("input.messages[0]"), answer.text


@pytest.mark.parametrize("number", ["1e30", "-1e19", "9223372036854775808", "1e400", "1" + "0" * 40, "9.3e18"])
async def test_a_number_that_would_not_come_back_as_it_was_is_refused(server: Served, number: str) -> None:
    async with server.http() as http:
        for path, body in [
            ("/threads", '{"metadata": {"a": ~}}'),
            ("/threads/search", '{"metadata": {"a": [~]}}'),
            ("/runs/wait", json.dumps({**RUN, "metadata": {"a": "~"}}).replace('"~"', "~")),
        ]:
            answer = await http.post(path, content=body.replace("~", number).encode(), headers=JSON)
            assert "64 bits" in refused(answer, 422, "invalid_input")["message"]
        kept = '{"metadata": {"a": [9.2e18, -9223372036854775808, 9223372036854775807, 1e-300, 0.1, -0.0]}}'
        made = await http.post("/threads", content=kept.encode(), headers=JSON)
        shown = (await http.get(f"/threads/{made.json()['thread_id']}")).json()
        assert shown["metadata"] == json.loads(kept)["metadata"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"context": {"provider": 5}}, "context.provider"),
        ({"context": {"model": ["openai"]}}, "context.model"),
        ({"context": {"model": "m" * 5000}}, "context.model"),
        ({"context": {"mode": "shout"}}, "context.mode"),
        ({"context": {"mode": ["chat"]}}, "context.mode"),
        ({"context": {"orchestration": 5}}, "context.orchestration"),
        ({"config": {"configurable": {"model": {}}}}, "config.configurable.model"),
        ({"config": {"configurable": {"mode": 1}}}, "config.configurable.mode"),
        ({"config": {"recursion_limit": 0}}, "config.recursion_limit"),
        ({"checkpoint": {"checkpoint_ns": "legal_agent:1"}}, "checkpoint.checkpoint_ns"),
        ({"input": None, "command": {"goto": "nowhere"}}, "command.goto"),
        ({"input": None, "command": {"goto": ["model", "nowhere"]}}, "command.goto"),
        ({"input": None, "command": {}}, "command"),
        ({"input": None, "command": {"update": {"turn": {}}}}, "command.update"),
    ],
)
async def test_how_a_run_is_to_behave_is_checked_before_it_starts(
    server: Served, change: dict[str, Any], field: str
) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http)
        answer = await http.post(f"/threads/{thread_id}/runs", json={**RUN, **change})
        told = refused(answer, 422, "invalid_input")
        assert field in told["message"]
        assert (await http.get(f"/threads/{thread_id}/runs")).json() == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"citations": "none"}, "values.citations"),
        ({"citations": None}, "values.citations"),
        ({"citations": [{"n": 1}]}, "values.citations[0].document_id"),
        ({"messages": []}, "values.messages"),
        ({"messages": [{"type": "remove"}]}, "values.messages[0].type"),
        ({"active_child": None}, "values.active_child"),
    ],
)
async def test_a_state_is_only_changed_to_what_it_can_hold(server: Served, values: Any, field: str) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http, ran=True)
        before = (await http.get(f"/threads/{thread_id}/state")).json()
        answer = await http.post(f"/threads/{thread_id}/state", json={"values": values, "as_node": "finish"})
        assert refused(answer, 422, "invalid_input")["details"]["field"] == field
        assert (await http.get(f"/threads/{thread_id}/state")).json() == before


async def test_a_run_that_can_not_go_on_says_what_is_missing(server: Served) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http)
        empty = (await http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "supervisor"})).json()
        assert empty["__error__"]["error_code"] == "invalid_input"
        assert empty["__error__"]["message"].startswith("input: ")
        short = {**RUN, "config": {"recursion_limit": 1}}
        cut = (await http.post(f"/threads/{thread_id}/runs/wait", json=short)).json()
        assert cut["__error__"]["error_code"] == "invalid_input"
        assert "recursion_limit" in cut["__error__"]["message"]
        assert "__error__" not in (await http.post(f"/threads/{thread_id}/runs/wait", json=RUN)).json()


async def test_a_run_that_changes_nothing_shows_the_thread_as_it_is(server: Served) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http, ran=True)
        shown = (await http.get(f"/threads/{thread_id}/state")).json()["values"]
        nothing = {"assistant_id": "supervisor"}
        assert (await http.post(f"/threads/{thread_id}/runs/wait", json=nothing)).json() == shown
        resumed = {**nothing, "command": {"resume": "yes"}}
        assert (await http.post(f"/threads/{thread_id}/runs/wait", json=resumed)).status_code == 409
        [run, _] = (await http.get(f"/threads/{thread_id}/runs")).json()
        assert (await http.get(f"/threads/{thread_id}/runs/{run['run_id']}/join")).json() == shown


# Too much


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "field"),
    [
        ("POST", "/v1/notes", {"text": "x" * 501}, {}, 422, "text"),
        ("POST", "/v1/documents/search", {"query": "x" * 4001}, {}, 422, "body.query"),
        ("POST", "/v1/documents/search", {"query": "x", "k": 51}, {}, 422, "body.k"),
        ("POST", "/runs", RUN, {"Idempotency-Key": "x" * 201}, 422, "header.Idempotency-Key"),
        ("POST", "/threads/search", {"limit": 1001}, {}, 422, "body.limit"),
        ("POST", "/threads/search", {"offset": 10**7}, {}, 422, "body.offset"),
        ("POST", "/runs", {**RUN, "input": {"messages": [{"role": "user", "content": "x" * 100_001}]}}, {}, 413, None),
        (
            "POST",
            "/runs",
            {
                **RUN,
                "input": {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 30_000}]}] * 4},
            },
            {},
            413,
            None,
        ),
    ],
)
async def test_too_much_is_refused_with_the_limit(
    server: Served, method: str, path: str, body: Any, headers: dict[str, str], status: int, field: str | None
) -> None:
    async with server.http() as http:
        answer = await http.request(method, path, json=body, headers=headers)
    told = refused(answer, status, "too_large" if status == 413 else "invalid_input")
    if field is None:
        assert told["details"]["limit"] == server.settings.max_message_chars
    else:
        assert told["details"]["field"] == field
        assert re.search(r"\d+", told["message"])


# Characters nothing can hold


BAD_IDS = ["%00", "a%00b", "%ed%a0%80", "%ff%fe", "%F0%9F%98%80", "..%2F..", "%25", "'%3B--", "9" * 30, "x" * 3000]


async def test_any_characters_in_a_path_name_nothing(server: Served) -> None:
    """Every route with a parameter, of the application's own list."""
    bodied = {"PATCH /v1/notes/{note_id}": {"text": "x"}, "PATCH /threads/{thread_id}": {"metadata": {}}}
    async with server.http() as http:
        thread_id = await new_thread(http, ran=True)
        for route in iter_route_contexts(create_app(server.settings).routes):
            path = str(route.path)
            for method in sorted(set(route.methods or ()) - {"HEAD", "OPTIONS"}):
                names = re.findall(r"{(\w+)}", path)
                if not names:
                    continue
                body = bodied.get(f"{method} {path}", RUN)
                for bad in BAD_IDS:
                    ids = {name: thread_id if name == "thread_id" and len(names) > 1 else bad for name in names}
                    answer = await http.request(method, path.format(**ids), json=None if method == "GET" else body)
                    no_fault(answer, (method, path, bad))
                    assert answer.status_code in (404, 405, 422), (method, path, bad, answer.text)


async def test_any_characters_in_a_query_are_taken_or_refused_by_name(server: Served) -> None:
    async with server.http() as http:
        document_id = await server.upload("report.md", REPORT)
        thread_id = await new_thread(http, ran=True)
        run_id = (await http.get(f"/threads/{thread_id}/runs")).json()[0]["run_id"]
        ids = {"thread_id": thread_id, "run_id": run_id, "document_id": document_id, "version": "1", "name": "main"}
        known = {**ids, "assistant_id": "supervisor", "namespace": "legal_agent", "checkpoint_id": "x"}
        tried = 0
        for path, operations in (await http.get("/openapi.json")).json()["paths"].items():
            for method, operation in operations.items():
                names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
                for name in names if method == "get" else []:
                    for bad in ("%00", "%ed%a0%80", "%ff", "", "%5B%5B", "-1", "9" * 40, "x" * 5000, "null"):
                        answer = await http.get(f"{path.format(**known)}?{name}={bad}")
                        no_fault(answer, (path, name, bad))
                        assert answer.status_code != 422 or answer.json()["message"]
                        assert bad != "%00" or answer.status_code == 422
                        tried += 1
        assert tried > 100


@pytest.mark.parametrize(
    "header", ["Idempotency-Key", "Last-Event-ID", "Prefer", "X-Trace-Id", "traceparent", "Accept"]
)
async def test_any_bytes_in_a_header(server: Served, header: str) -> None:
    async with server.http() as http:
        thread_id = await new_thread(http)
        for value in (b"\xff\xfe", b"\xed\xa0\x80", "ключ".encode(), b"", b"-", b"9" * 100):
            sent = [(header.encode(), value)]
            answer = await http.post(f"/threads/{thread_id}/runs/wait", json=RUN, headers=sent)
            no_fault(answer, (header, value))
            run_id = (await http.get(f"/threads/{thread_id}/runs")).json()
            for run in run_id[:1]:
                joined = await http.get(f"/threads/{thread_id}/runs/{run['run_id']}/stream", headers=sent)
                no_fault(joined, (header, value))
            no_fault(await http.patch(f"/threads/{thread_id}", json={"metadata": {}}, headers=sent), (header, value))


@pytest.mark.parametrize("bad", [r"\u0000", r"\ud800", r"\udc00\ud800"])
async def test_what_can_not_be_stored_is_left_out_and_the_rest_is_kept(server: Served, bad: str) -> None:
    async with server.http() as http:

        async def post(path: str, body: str, method: str = "POST") -> Any:
            answer = await http.request(method, path, content=body.replace("~", bad).encode(), headers=JSON)
            assert answer.status_code < 300, answer.text
            return answer.json()

        note = await post("/v1/notes", '{"text": "Our fi~scal year starts in April."}')
        assert note["text"] == "Our fiscal year starts in April."
        changed = await post(f"/v1/notes/{note['note_id']}", '{"text": "In M~ay."}', "PATCH")
        assert changed["text"] == "In May."
        thread_id = (await post("/threads", '{"metadata": {"ti~tle": "Q~3"}}'))["thread_id"]
        assert [t["thread_id"] for t in await post("/threads/search", '{"metadata": {"title": "Q3~"}}')] == [thread_id]
        renamed = await post(f"/threads/{thread_id}", '{"metadata": {"title": "~Q4"}}', "PATCH")
        assert renamed["metadata"]["title"] == "Q4"
        message = '{"role": "us~er", "content": [{"type": "text", "text": "hel~lo"}], "id": "m~1", "name": "an~n"}'
        run = f'{{"assistant_id": "super~visor", "input": {{"messages": [{message}]}}, "metadata": {{"a~": "~"}}}}'
        values = await post(f"/threads/{thread_id}/runs/wait", run)
        first = values["messages"][0]
        assert (first["content"][0]["text"], first["id"], first["name"]) == ("hello", "m1", "ann")
        update = (
            '{"values": {"messages": [{"role": "assistant", "content": "no~ted", "id": "n~"}]}, "as_node": "fini~sh"}'
        )
        await post(f"/threads/{thread_id}/state", update)
        state = (await http.get(f"/threads/{thread_id}/state")).json()
        assert (state["values"]["messages"][-1]["content"], state["values"]["messages"][-1]["id"]) == ("noted", "n")
        assert (await http.get(f"/threads/{thread_id}/runs")).json()[0]["metadata"] == {"a": ""}
        assert (await post("/v1/documents/search", '{"query": "camp~aign", "document_ids": ["~"]}')) == {"passages": []}


async def test_form_fields_hold_any_bytes(server: Served) -> None:
    async with server.http() as http:
        for number, bad in enumerate((b"\x00", b"\xed\xa0\x80", b"\xff")):
            part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            body = b"".join(
                (
                    part % (b"file", b'; filename="re' + bad + b'port.md"', f"# R{number}\n\nText {number}.".encode()),
                    part % (b"title", b"", b"The " + bad + b"report"),
                    part % (b"labels", b"", b"spring" + bad + b",sales"),
                    b"--b--\r\n",
                )
            )
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            answer = await http.post("/v1/documents", content=body, headers=kind)
            assert answer.status_code == 202, answer.text
            record = answer.json()
            assert record["title"].startswith("The ")
            assert "\x00" not in record["title"] + record["filename"] + "".join(record["labels"])
            await server.state.index.wait_ready(organization_id("acme"), DocumentId(record["document_id"]))
            assert (await http.get(f"/v1/documents/{record['document_id']}")).json()["status"] == "ready"


# Models that can't be had


@pytest.mark.parametrize(
    ("context", "named", "status", "code"),
    [
        ({"provider": "nobody"}, "nobody", 404, "unknown_model"),
        ({"provider": "openai"}, "OPENAI_API_KEY", 422, "no_provider"),
        ({"provider": "openai", "model": "gpt-4o"}, "OPENAI_API_KEY", 422, "no_provider"),
        ({"model": "nobody/gpt-9"}, "nobody/gpt-9", 404, "unknown_model"),
        ({"model": "gpt-9"}, "gpt-9", 404, "unknown_model"),
        ({"model": "/"}, "/", 404, "unknown_model"),
    ],
)
@pytest.mark.parametrize("place", ["context", "configurable"])
async def test_a_model_that_can_not_be_had_is_refused_with_those_that_can(
    server: Served, context: dict[str, str], named: str, status: int, code: str, place: str
) -> None:
    change: dict[str, Any] = {"context": context} if place == "context" else {"config": {"configurable": context}}
    async with server.http() as http:
        thread_id = await new_thread(http)
        for path in (f"/threads/{thread_id}/runs", f"/threads/{thread_id}/runs/stream", "/runs/wait"):
            told = refused(await http.post(path, json={**RUN, **change}), status, code)
            assert named in told["message"]
            assert told["details"]["available"] == ["extractive/extractive"]
            assert "extractive/extractive" in told["message"]
        assert (await http.get(f"/threads/{thread_id}")).json()["status"] == "idle"
        assert (await http.get(f"/threads/{thread_id}/runs")).json() == []


# Documents that can't be read


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


BROKEN = {
    "broken.pdf": b"%PDF-1.7\nno more of it",
    "empty.pdf": b"",
    "broken.docx": b"PK\x03\x04 no archive",
    "other.docx": zipped(readme=b"no document"),
    "broken.xlsx": zipped(workbook=b"<x"),
}


async def test_a_document_that_can_not_be_read_fails_alone_with_its_reason(server: Served) -> None:
    good = await server.upload("report.md", REPORT)
    async with server.http() as http:
        for name, data in BROKEN.items():
            answer = await http.post("/v1/documents", files={"file": (name, data)})
            if answer.status_code != 202:
                assert 400 <= answer.status_code < 500, answer.text
                assert answer.json()["message"]
                continue
            document_id = DocumentId(answer.json()["document_id"])
            await server.state.index.wait_ready(organization_id("acme"), document_id)
            record = (await http.get(f"/v1/documents/{document_id}")).json()
            assert (record["status"], record["error"]["code"]) == ("failed", "document_unreadable"), name
            assert len(record["error"]["message"]) > 10
            assert record["searchable_version"] is None
        replaced = await http.put(f"/v1/documents/{good}", files={"file": ("report.pdf", BROKEN["broken.pdf"])})
        assert replaced.status_code == 202
        await server.state.index.wait_ready(organization_id("acme"), DocumentId(good))
        record = (await http.get(f"/v1/documents/{good}")).json()
        assert (record["status"], record["searchable_version"]) == ("failed", 1)
        found = (await http.post("/v1/documents/search", json={"query": "conversion rate"})).json()["passages"]
        assert {passage["document_id"] for passage in found} == {good}
        question = {"messages": [{"role": "user", "content": "What was the conversion rate of the spring campaign?"}]}
        values = (await http.post("/runs/wait", json={**RUN, "input": question})).json()
        assert "4.7 %" in str(values["messages"][-1]["content"])


# The day's tokens


async def test_a_used_up_day_is_refused_until_it_resets(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "QUOTA_SECONDS", 0.0)
    acme = organization_id("acme")
    async with server.http() as http, server.http("globex") as others:
        thread_id = await new_thread(http, ran=True)
        used = (await server.state.quota.today(acme)).used
        assert used > 0
        await server.state.quota.set_limit(acme, used)
        for path in ("/runs", "/runs/stream", "/runs/wait", f"/threads/{thread_id}/runs"):
            answer = await http.post(path, json=RUN)
            told = refused(answer, 429, "quota_exceeded")
            resets_at = datetime.fromisoformat(told["details"]["resets_at"])
            assert (resets_at.hour, resets_at.minute, resets_at.second) == (0, 0, 0)
            assert timedelta(0) < resets_at - datetime.now(UTC) <= timedelta(days=1)
            left = (resets_at - datetime.now(UTC)).total_seconds()
            assert abs(int(answer.headers["retry-after"]) - left) < 60
            assert (told["details"]["limit"], told["details"]["used"]) == (used, used)
            assert told["details"]["resets_at"] in told["message"]
        assert len((await http.get(f"/threads/{thread_id}/runs")).json()) == 1
        assert (await http.get(f"/threads/{thread_id}")).json()["status"] == "idle"
        assert (await http.get("/v1/usage")).json()["today"]["remaining"] == 0
        assert "__error__" not in (await others.post("/runs/wait", json=RUN)).json()

        await server.state.quota.set_limit(acme, used + 1)  # not used up, but too little for a call
        cut = (await http.post(f"/threads/{thread_id}/runs/wait", json=RUN)).json()
        assert cut["__error__"]["error_code"] == "quota_exceeded"
        assert cut["__error__"]["details"]["resets_at"] == told["details"]["resets_at"]
        assert (await server.state.quota.today(acme)).reserved == 0

        await server.state.quota.clear_limit(acme)
        assert "__error__" not in (await http.post(f"/threads/{thread_id}/runs/wait", json=RUN)).json()
