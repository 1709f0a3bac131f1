"""Schemas of MCP servers that would fetch something, never end or break the check: each costs its tool, within bounded time."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from domain.errors import InvalidToolArguments, ToolError
from domain.mcp import McpServer
from tools.arguments import validate
from tools.mcp.listing import select
from tools.mcp.sessions import McpLimits

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SLOW = "^(a+)+$"
VICTIM = "a" * 40 + "!"


class Listener(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address of this machine, and what was asked of it."""
    kind = type("Asked", (Listener,), {"asked": []})
    with http.server.HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", kind.asked
        server.shutdown()
        thread.join()


def problem(schema: dict[str, Any]) -> str | None:
    from mcp import types

    server = McpServer.model_validate(
        {"server_id": "1", "organization_id": "1", "scope": "organization", "name": "s", "transport": "sse"}
    )
    [tool] = select(server, [types.Tool(name="t", inputSchema=schema)], McpLimits()).tools
    return tool.problem


def doubled(levels: int) -> dict[str, Any]:
    """A schema whose check takes 2 ** levels steps."""
    parts: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(levels)
    }
    return {"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": {**parts, f"d{levels}": {}}}


def test_nothing_is_fetched_on_a_schemas_word(listener: tuple[str, list[str]]) -> None:
    address, asked = listener
    two = {"$ref": "#/$defs/a", "$dynamicRef": f"{address}/dynamic"}
    beside = {"type": "object", "properties": {"q": two}, "$defs": {"a": {}}}
    moved = {"$id": f"{address}/moved", "$ref": "elsewhere#x"}
    inner = {"type": "object", "properties": {"q": {"$id": f"{address}/inner", "$ref": "#x"}}}
    pointed = {"type": "object", "properties": {"q": {"$ref": "#/kept/a"}}, "kept": {"a": moved}}
    assert "nothing outside" in str(problem(beside))
    for schema in (beside, inner, pointed):
        with pytest.raises(ToolError, match="isn't in it"):
            validate("t", schema, {"q": 1})
    assert asked == []


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "object", "allOf": [{"$ref": "#"}]}, id="itself"),
        pytest.param(doubled(60), id="doubling"),
        pytest.param({"type": "object", "$ref": "#/$defs/none"}, id="nowhere"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_withheld_and_costs_its_call_only(schema: dict[str, Any]) -> None:
    began = time.process_time()
    told = problem(schema)
    assert told is not None
    assert told.startswith("Its schema ")
    with pytest.raises(ToolError, match="can't be called"):
        validate("t", schema, {"q": 1})
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"pattern": SLOW}, id="pattern"),
        pytest.param({"$schema": DRAFT, "pattern": SLOW}, id="pattern behind $schema"),
    ],
)
def test_a_pattern_has_its_time(part: dict[str, Any]) -> None:
    began = time.process_time()
    with pytest.raises(ToolError):
        validate("t", {"type": "object", "properties": {"q": part}}, {"q": VICTIM})
    assert time.process_time() - began < 5


def test_many_items_are_compared_in_linear_time() -> None:
    schema = {"type": "object", "properties": {"q": {"uniqueItems": True}}}
    many = [{str(n): n} for n in range(20_000)]
    began = time.process_time()
    assert validate("t", schema, {"q": many}) == {"q": many}
    with pytest.raises(InvalidToolArguments):
        validate("t", schema, {"q": [*many, {"0": 0.0}]})
    assert validate("t", schema, {"q": [1, True, "1", [1], None]})
    assert problem({"type": "object", "required": many[:2000]}) is not None
    assert time.process_time() - began < 5


def test_true_and_false_are_schemas() -> None:
    schema = {"type": "object", "properties": {"any": True, "list": {"type": "array", "items": True}, "none": False}}
    assert problem(schema) is None
    assert validate("t", schema, {"any": None, "list": [1]}) == {"any": None, "list": [1]}
    with pytest.raises(InvalidToolArguments):
        validate("t", schema, {"none": 1})


@pytest.mark.parametrize("text", ["--5", "²", "1" * 5000, "1e999", "nan", "-inf", "５5x"])
def test_a_text_that_is_no_number_is_refused_as_one(text: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}}}
    for name in schema["properties"]:
        with pytest.raises(InvalidToolArguments) as refused:
            validate("t", schema, {name: text})
        assert refused.value.details["fields"] == [name]
