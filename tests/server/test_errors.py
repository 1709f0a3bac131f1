"""Every answer over real HTTP: one shape of error, nothing leaked, nothing but 4xx for what a client sends."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import psycopg
import pytest
import structlog
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from domain import errors as domain_errors
from domain.errors import ConsiliumError, InvalidInput, ProviderRateLimited, QuotaExceeded
from domain.ids import organization_id
from domain.text import clean_json
from server import errors, logs
from server.door import Door, Failures
from server.json_body import MAX_DEPTH, checked_json
from server.middleware import Trace
from tests.serving import Served

HEX = set("0123456789abcdef")


def shaped(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error that has the one shape."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error_code", "message", "trace_id", "details"}
    assert body["error_code"] == code, body
    assert body["message"]
    assert body["trace_id"] == answer.headers["x-trace-id"]
    assert len(body["trace_id"]) == 32
    assert set(body["trace_id"]) <= HEX
    return body


async def test_an_unknown_route_and_a_wrong_method(server: Served) -> None:
    async with server.http() as http:
        body = shaped(await http.get("/nowhere"), 404, "not_found")
        assert "GET /nowhere" in body["message"]
        answer = await http.delete("/ok")
        body = shaped(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET"
        assert body["details"]["allowed"] == ["GET"]


async def test_a_missing_thing_names_what_was_asked_for(server: Served) -> None:
    async with server.http() as http:
        wanted = "00000000-0000-4000-8000-000000000000"
        body = shaped(await http.get(f"/threads/{wanted}"), 404, "not_found")
        assert body["details"]["id"] == wanted
        assert wanted in body["message"]


async def test_a_wrong_body_names_its_field(server: Served) -> None:
    async with server.http() as http:
        body = shaped(await http.post("/threads/search", json={"limit": "many", "offset": -1}), 422, "invalid_input")
        assert body["message"].startswith("body.limit: ")
        assert {one["field"] for one in body["details"]["problems"]} == {"body.limit", "body.offset"}
        body = shaped(await http.get("/v1/usage?days=abc"), 422, "invalid_input")
        assert body["details"]["field"] == "query.days"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b'{"limit": }', "invalid_json"),
        (b"{'limit': 1}", "invalid_json"),
        (b'{"limit": 1} x', "invalid_json"),
        (b'{"limit": NaN}', "invalid_json"),
        (b'{"metadata": {"a": -Infinity}}', "invalid_json"),
        (b'{"metadata": {"a": "\xff"}}', "invalid_json"),
        (b'{"metadata": {"a": "\xed\xa0\x80"}}', "invalid_json"),
        (b'{"metadata": {"a": "\x00"}}', "invalid_json"),
        ('{"limit": 1}'.encode("utf-16"), "invalid_json"),
        ('{"limit": 1}'.encode("utf-32-le"), "invalid_json"),
        (b'{"metadata": {"a": 1e400}}', "invalid_input"),
        (b'{"metadata": {"a": 123456789012345678901234567890}}', "invalid_input"),
        (b'{"metadata": {"a": ' + b"9" * 5000 + b"}}", "invalid_input"),
        (b'{"metadata": {"a": ' + b"[" * 101 + b"]" * 101 + b"}}", "invalid_input"),
        (b"[" * 100_000, "invalid_input"),
        (b'"a"', "invalid_input"),
        (b"[]", "invalid_input"),
        (b"7", "invalid_input"),
    ],
)
async def test_a_body_that_can_not_be_is_422(server: Served, content: bytes, code: str) -> None:
    async with server.http() as http:
        answer = await http.post("/threads/search", content=content, headers={"Content-Type": "application/json"})
    shaped(answer, 422, code)


async def test_invalid_json_names_the_position(server: Served) -> None:
    async with server.http() as http:
        kind = {"Content-Type": "application/json; charset=utf-8"}
        body = shaped(await http.post("/threads", content=b'{"metadata": nope}', headers=kind), 422, "invalid_json")
    assert body["details"]["position"] == 13


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800", r"\udfff", r"\uD83D", r"\ude00\ud83d"])
async def test_what_postgres_can_not_store_is_taken_out_of_a_body(server: Served, escape: str) -> None:
    text = (
        '{"metadata": {"ti'
        + escape
        + 'tle": ["a'
        + escape
        + r'b", {"c": "d'
        + escape
        + '"}], "smile": "\\ud83d\\ude00"}}'
    )
    async with server.http() as http:
        made = await http.post("/threads", content=text.encode(), headers={"Content-Type": "application/json"})
        assert made.status_code == 200, made.text
        kept = (await http.get(f"/threads/{made.json()['thread_id']}")).json()["metadata"]
    assert kept == {"title": ["ab", {"c": "d"}], "smile": "😀"}


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800"])
async def test_what_postgres_can_not_store_in_a_message(server: Served, escape: str) -> None:
    async with server.http() as http:
        thread = (await http.post("/threads", json={})).json()["thread_id"]
        text = (
            '{"assistant_id": "supervisor", "input": {"messages": [{"role": "user", "content": "hel'
            + escape
            + 'lo"}]}}'
        )
        kind = {"Content-Type": "application/json"}
        answer = await http.post(f"/threads/{thread}/runs/wait", content=text.encode(), headers=kind)
        assert answer.status_code == 200, answer.text
        assert answer.json()["messages"][0]["content"] == "hello"


async def test_nul_and_broken_utf8_in_paths_and_queries(server: Served) -> None:
    async with server.http() as http:
        for path in (
            "/threads/%00",
            "/threads/a%00b",
            "/threads/%ff%fe",
            "/threads/%ed%a0%80",
            "/assistants/%00",
            "/%00",
        ):
            shaped(await http.get(path), 404, "not_found")
        for verb, path in [("GET", "/v1/documents/%00"), ("DELETE", "/threads/%00"), ("GET", "/threads/%00/runs/%00")]:
            assert (await http.request(verb, path)).status_code == 404
        shaped(await http.get("/v1/usage?days=%00"), 422, "invalid_input")
        shaped(await http.get("/v1/documents?status=%00"), 422, "invalid_input")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_over_the_limit_is_413(server: Served, streamed: bool) -> None:
    data = b'{"metadata": {"a": "' + b"x" * 3_000_000 + b'"}}'

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50_000):
            yield data[at : at + 50_000]

    async with server.http() as http:
        for kind in ("application/json", "text/plain"):
            content = pieces() if streamed else data
            body = shaped(
                await http.post("/threads", content=content, headers={"Content-Type": kind}), 413, "too_large"
            )
            assert body["details"] == {"limit": server.settings.max_body_bytes, "unit": "bytes"}
        assert (await http.post("/threads", json={})).status_code == 200


async def test_a_body_at_the_limit_is_taken(server: Served) -> None:
    frame = len(b'{"metadata":{"a":""}}')
    async with server.http() as http:
        for size, status in [(server.settings.max_body_bytes, 200), (server.settings.max_body_bytes + 1, 413)]:
            content = b'{"metadata":{"a":"' + b"x" * (size - frame) + b'"}}'
            answer = await http.post("/threads", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == status


async def test_a_length_that_lies_is_413_too(server: Served) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = f"POST /threads HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {server.token()}\r\n"
    for length in ("99999999999", "9" * 18):
        reader, writer = await asyncio.open_connection(host, int(port))
        kind = "Content-Type: application/json\r\nExpect: 100-continue\r\n"
        writer.write(f"{head}{kind}Content-Length: {length}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (
            {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            "0af7651916cd43dd8448eb211c80319c",
        ),
        ({"X-Trace-Id": "0af7651916cd43dd8448eb211c80319c"}, "0af7651916cd43dd8448eb211c80319c"),
        ({"X-Trace-Id": "0AF7651916CD43DD8448EB211C80319C"}, None),
        ({"X-Trace-Id": "short"}, None),
        ({"X-Trace-Id": "0" * 32}, None),
        ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, None),
        ({"traceparent": "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, None),
        ({}, None),
    ],
)
async def test_the_trace_id_is_taken_or_made_and_returned(
    server: Served, sent: dict[str, str], kept: str | None
) -> None:
    async with server.http() as http:
        for answer in (await http.get("/ok", headers=sent), await http.get("/nowhere", headers=sent)):
            found = answer.headers["x-trace-id"]
            assert found == kept if kept else len(found) == 32 and found not in sent.values()
            assert len(answer.headers.get_list("x-trace-id")) == 1


async def test_browsers_may_call(server: Served) -> None:
    origin = {"Origin": "https://chat.example.com"}
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key,last-event-id,content-type",
    }
    async with httpx.AsyncClient(base_url=server.url) as http:
        flight = await http.options("/threads/search", headers={**origin, **asked})
        assert flight.status_code == 200
        assert "last-event-id" in flight.headers["access-control-allow-headers"]
        for answer in (await http.get("/ok", headers=origin), await http.post("/threads", json={}, headers=origin)):
            assert answer.headers["access-control-allow-origin"] == "*"
            exposed = answer.headers["access-control-expose-headers"].lower()
            assert all(name in exposed for name in ("content-location", "location", "x-trace-id"))


async def test_health_needs_no_token(server: Served) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/ok")).json() == {"ok": True}
        info = (await http.get("/info")).json()
        assert {"version", "langgraph_py_version"} <= info.keys()
        assert info["flags"]["assistants"] is True
        assert (await http.get("/health/live")).status_code == 200
        ready = (await http.get("/health/ready")).json()
        assert ready["dependencies"]["database"]["status"] == "ok"
        assert ready["dependencies"]["database"]["ms"] >= 0


async def test_roles_are_asked_for(server: Served) -> None:
    async with server.http(role="member") as http:
        body = shaped(await http.post("/v1/notes", json={"text": "a note"}), 403, "forbidden")
        assert body["details"]["required_role"] == "manager"


async def test_a_lost_database_is_503_and_comes_back(server: Served, owner_dsn: str) -> None:
    """The connections are cut for good: the database takes no new ones for a while."""
    name = psycopg.conninfo.conninfo_to_dict(owner_dsn)["dbname"]
    admin = psycopg.conninfo.make_conninfo(owner_dsn, dbname="postgres")
    async with server.http() as http, await psycopg.AsyncConnection.connect(admin, autocommit=True) as conn:
        thread = (await http.post("/threads", json={})).json()["thread_id"]
        server.state.db.pool.timeout = 0.5
        await conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        try:
            await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            answer = await http.get(f"/threads/{thread}")
            body = shaped(answer, 503, "database_unavailable")
            assert name not in body["message"]
            assert int(answer.headers["retry-after"]) >= 1
            assert (await http.get("/health/ready")).status_code == 503
            assert (await http.get("/health/live")).status_code == 200
        finally:
            await conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        server.state.db.pool.timeout = 15
        assert (await http.get(f"/threads/{thread}")).status_code == 200


class Boom(Exception):
    pass


def failing_app() -> FastAPI:
    """The shell of the server around routes that fail in every way."""
    app = FastAPI()
    errors.install(app)

    def raises(path: str, error: BaseException) -> None:
        async def fail() -> None:
            raise error

        app.add_api_route(path, fail)

    raises("/fault", Boom("password=hunter2 in a message"))
    raises("/ours", ConsiliumError("the inside of a fault, dsn=secret"))
    raises("/grouped", ExceptionGroup("several", [Boom("hunter2")]))
    raises("/limited", ProviderRateLimited("openai", "slow down", retry_after=7.2))
    resets = datetime.now(UTC) + timedelta(seconds=90)
    raises("/quota", QuotaExceeded(limit=10, used=10, reserved=0, requested=1, resets_at=resets))
    raises("/lost", psycopg.OperationalError("server closed the connection at 10.0.0.7"))
    raises("/nul", psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"))
    raises("/bug", psycopg.ProgrammingError("column secret does not exist"))
    raises("/half", InvalidInput("title", "is \ud800 wrong", given="\x00\ud800", odd={1: float("nan")}, kind=object))

    async def nobody(_: object) -> Any:
        raise AssertionError("not asked for in these tests")

    app.add_middleware(Failures)
    app.add_middleware(Door, identify=nobody, max_bytes=1000, max_upload_bytes=1000)
    app.add_middleware(Trace)
    return app


@pytest.fixture
async def failing() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(failing_app()), base_url="http://x") as http:
        yield http


@pytest.mark.parametrize("path", ["/fault", "/ours", "/grouped", "/bug"])
async def test_a_fault_tells_its_trace_id_and_nothing_else(failing: httpx.AsyncClient, path: str) -> None:
    answer = await failing.get(path)
    body = shaped(answer, 500, "internal_error")
    assert body["message"] == errors.FAULT
    assert body["details"] == {}
    assert "secret" not in answer.text


async def test_who_may_try_again_is_told_when(failing: httpx.AsyncClient) -> None:
    limited = await failing.get("/limited")
    shaped(limited, 503, "provider_rate_limited")
    assert limited.headers["retry-after"] == "8"
    quota = await failing.get("/quota")
    assert shaped(quota, 429, "quota_exceeded")["details"]["resets_at"]
    assert 85 <= int(quota.headers["retry-after"]) <= 90
    lost = await failing.get("/lost")
    assert "10.0.0.7" not in str(shaped(lost, 503, "database_unavailable"))
    assert lost.headers["retry-after"] == "2"


async def test_what_no_field_can_hold_is_the_callers_fault(failing: httpx.AsyncClient) -> None:
    shaped(await failing.get("/nul"), 422, "invalid_input")
    assert shaped(await failing.get("/half"), 422, "invalid_input")["details"]["given"] == ""


def test_every_error_has_a_grpc_status() -> None:
    classes = [one for one in vars(domain_errors).values() if isinstance(one, type) and issubclass(one, ConsiliumError)]
    assert len(classes) > 15
    for kind in classes:
        caller_can_mend = 400 <= kind.status < 500
        assert (errors.grpc_status(kind.__new__(kind)) in ("INTERNAL", "UNKNOWN")) <= (not caller_can_mend), kind
    assert (
        errors.grpc_status(domain_errors.ProviderRateLimited.__new__(domain_errors.ProviderRateLimited))
        == "UNAVAILABLE"
    )
    assert errors.grpc_status(domain_errors.InvalidJson.__new__(domain_errors.InvalidJson)) == "INVALID_ARGUMENT"
    assert errors.grpc_status(ValueError()) == "INTERNAL"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-(2**62), 2**62)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=[])), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON, st.booleans())
def test_a_body_that_is_let_in_can_be_stored_and_means_the_same(value: Any, ascii_only: bool) -> None:
    try:
        sent = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return  # no such bytes
    try:
        read = json.loads(checked_json(sent))
    except InvalidInput:
        assert not ascii_only  # a raw NUL can't be: dumps escapes it; nothing else is refused
        raise
    assert read == clean_json(value)
    orjson.dumps(read)


@given(st.binary(max_size=200))
def test_any_bytes_are_let_in_or_refused(data: bytes) -> None:
    with suppress(InvalidInput):
        assert isinstance(checked_json(data), bytes)


def test_nesting_is_let_in_up_to_the_limit() -> None:
    def nested(depth: int) -> bytes:
        return b"[" * depth + b"]" * depth

    checked_json(nested(MAX_DEPTH))
    with pytest.raises(InvalidInput):
        checked_json(nested(MAX_DEPTH + 1))


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abcdefgh12345", "abcdefgh12345"),
        (f"token was {JWT}", JWT),
        ("key sk-proj-abcdefghijkl1234", "sk-proj-abcdefghijkl1234"),
        ("host=db password=hunter22 user=x", "hunter22"),
        ("postgresql://ann:hunter22@db/x", "hunter22"),
        ('{"api_key": "hunter22"}', "hunter22"),
        ("X-Api-Key=hunter22&x=1", "hunter22"),
    ],
)
def test_secrets_are_taken_out_of_log_texts(text: str, hidden: str) -> None:
    assert hidden not in logs.redact(text)
    assert logs.HIDDEN in logs.redact(text)


@pytest.mark.parametrize(
    "text", ["1200 prompt tokens", "the secret of success", "GET /v1/usage", "a: b", "risk-based-approach"]
)
def test_other_texts_stay(text: str) -> None:
    assert logs.redact(text) == text


@pytest.fixture
def written() -> AsyncIterator[io.StringIO]:
    """What is logged as JSON while the test runs."""
    root = logging.getLogger()
    level, before = root.level, structlog.get_config()
    logs.configure_logging("info", "json")
    [handler] = [one for one in root.handlers if one.name == "consilium"]
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    yield stream  # type: ignore[misc]
    root.removeHandler(handler)
    root.setLevel(level)
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_request_is_one_json_line_with_its_trace(failing: httpx.AsyncClient, written: io.StringIO) -> None:
    answer = await failing.get("/fault?token=abc")
    fault, access = lines(written)
    assert access["event"] == "request"
    assert (access["method"], access["path"], access["status"]) == ("GET", "/fault", 500)
    assert access["ms"] >= 0
    assert fault["trace_id"] == access["trace_id"] == answer.headers["x-trace-id"]
    assert "Boom" in fault["exception"]
    assert "hunter2" not in written.getvalue()


async def test_the_access_line_names_the_organisation_and_the_route(server: Served, written: io.StringIO) -> None:
    async with server.http("acme", role="manager") as http:
        thread = (await http.post("/threads", json={})).json()["thread_id"]
        await http.get(f"/threads/{thread}")
        await http.get("/ok")
    found = [line for line in lines(written) if line["event"] == "request"]
    assert [line["path"] for line in found] == ["/threads", "/threads/{thread_id}", "/ok"]
    assert [line.get("organization_id") for line in found] == [organization_id("acme")] * 2 + [None]
    assert server.token("acme")[:20] not in written.getvalue()


def test_our_logs_and_the_libraries_go_the_same_way(written: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(trace_id="t", organization_id="o", run_id="r"):
        structlog.get_logger("ours").info(
            "said", authorization="Bearer x", nested={"password": "p", "tokens": 5}, odd="\ud800"
        )
        logging.getLogger("theirs").warning("it costs %s", "password=hunter2")
    logging.getLogger("theirs").debug("too quiet")
    ours, theirs = lines(written)
    assert ours["nested"] == {"password": logs.HIDDEN, "tokens": 5}
    assert ours["authorization"] == logs.HIDDEN
    assert theirs["event"] == f"it costs password={logs.HIDDEN}"
    for line in (ours, theirs):
        assert (line["trace_id"], line["organization_id"], line["run_id"]) == ("t", "o", "r")
        assert line["timestamp"].endswith("Z")
    assert (ours["logger"], theirs["logger"]) == ("ours", "theirs")


def test_configuring_twice_logs_once(written: io.StringIO) -> None:
    stream = written
    logs.configure_logging("info", "json")
    assert len([one for one in logging.getLogger().handlers if one.name == "consilium"]) == 1
    assert stream.getvalue() == ""
