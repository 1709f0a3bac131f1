"""MCP servers as agents meet them: real programs, good and bad, through the toolbox and its registry."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from domain.errors import ToolError
from domain.ids import OrganizationId, ThreadId, UserId, new_id
from domain.mcp import McpServer
from domain.skills import Skill
from storage.database import Database
from storage.mcp_servers import McpServers
from tests.mcp_servers.processes import GARBAGE, OFFICE, office, started
from tools.base import ToolContext, ToolOutput
from tools.mcp.addresses import networks
from tools.mcp.config import OperatorServer
from tools.mcp.servers import McpToolbox, Overview
from tools.mcp.sessions import McpLimits

LIMITS = McpLimits(connect_seconds=5, call_seconds=3)
SKILL = Skill(name="main", title={"en": "Main", "ru": "Главный"}, description="-", prompt="-")
pytestmark = pytest.mark.timeout(120)


class Bench:
    """A toolbox over the test's database, on behalf of one organisation."""

    def __init__(self, db: Database, organization: OrganizationId) -> None:
        self.store = McpServers(db)
        self.organization = organization
        self._boxes: list[McpToolbox] = []

    def box(
        self, limits: McpLimits = LIMITS, allowed: tuple[str, ...] = ("127.0.0.0/8",), *servers: OperatorServer
    ) -> McpToolbox:
        self._boxes.append(McpToolbox(self.store, servers, limits, networks(allowed)))
        return self._boxes[-1]

    async def add(self, box: McpToolbox, url: str, name: str = "office", **more: Any) -> Overview:
        server = McpServer(
            server_id=new_id(),
            organization_id=self.organization,
            scope="organization",
            created_by="ann",
            **{"name": name, "url": url, "transport": "streamable_http", **more},
        )
        await self.store.add(server)
        await box.refresh(server)
        return await box.overview(self.organization, server.server_id)

    async def call(
        self, box: McpToolbox, name: str, *, user: str = "ann", local_only: bool = False, **arguments: Any
    ) -> ToolOutput:
        context = ToolContext(
            self.organization, UserId(user), None, ThreadId(new_id()), agent="main", local_only=local_only
        )
        tool = await box.get(self.organization, SKILL, name)
        assert tool is not None, name
        return await tool.call(context, arguments)

    async def until(self, box: McpToolbox, server_id: str, wanted: Callable[[Overview], bool]) -> Overview:
        async with asyncio.timeout(20):
            while not wanted(seen := await box.overview(self.organization, server_id)):
                await asyncio.sleep(0.05)
        return seen

    async def aclose(self) -> None:
        for box in self._boxes:
            await box.aclose()


@pytest.fixture
async def bench(db: Database, organization: OrganizationId) -> AsyncIterator[Bench]:
    made = Bench(db, organization)
    yield made
    await made.aclose()


async def told(bench: Bench, box: McpToolbox, name: str, user: str) -> dict[str, Any]:
    return dict(json.loads((await bench.call(box, name, user=user)).content))


@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
async def test_the_caller_is_told_in_headers_and_has_a_session_of_its_own(bench: Bench, transport: str) -> None:
    box = bench.box()
    async with office(transport) as program:
        added = await bench.add(box, program.url, transport=transport, headers={"X-Extra": "ours"})
        assert (added.state, added.reason) == ("ready", None)
        ann, anya = await asyncio.gather(
            told(bench, box, "office__whoami", "ann"), told(bench, box, "office__whoami", "Аня/${PATH}")
        )
        again = await told(bench, box, "office__whoami", "ann")
    assert ann["told"] == {
        "x-consilium-organization": bench.organization,
        "x-consilium-user": "ann",
        "x-extra": "ours",
    }
    assert anya["told"]["x-consilium-user"] == "%D0%90%D0%BD%D1%8F%2F%24%7BPATH%7D"
    assert ann["session"] != anya["session"]
    assert ann["session"] == again["session"], "the session is kept"


async def test_a_server_of_the_operator_is_a_program(bench: Bench) -> None:
    server = McpServer(
        server_id=new_id(), organization_id=bench.organization, scope="operator", name="files", transport="stdio",
        command=(sys.executable, str(OFFICE), "stdio", "--banner", "Welcome!"), env={"OFFICE": "1"}, identity="organization",
    )  # fmt: skip
    box = bench.box(McpLimits(connect_seconds=30, call_seconds=30), (), OperatorServer(server, None))
    names = {tool.name for tool in await box.usable(bench.organization, SKILL)}  # the first use waits for the list
    assert "files__stock" in names
    seen = await told(bench, box, "files__whoami", "ann")
    assert seen["told"] == {"CONSILIUM_ORGANIZATION_ID": bench.organization}
    with pytest.raises(ToolError) as died:
        await bench.call(box, "files__die")
    assert died.value.code == "tool_unavailable"
    await bench.until(box, server.server_id, lambda one: one.state == "ready")
    assert (await told(bench, box, "files__whoami", "ann"))["process"] != seen["process"]
    other = OperatorServer(server, frozenset({OrganizationId(new_id())}))
    assert await bench.box(LIMITS, (), other).overviews(bench.organization) == []


@pytest.mark.parametrize(
    ("kind", "state", "code"),
    [
        ("html", "wrong_protocol", "not_mcp"),
        ("json", "wrong_protocol", "not_mcp"),
        ("old", "wrong_protocol", "not_mcp"),
        ("nothing", "wrong_protocol", "not_mcp"),
        ("endless", "wrong_protocol", "not_mcp"),
        ("binary", "unreachable", "connection_broken"),
        ("fault", "unreachable", "server_error"),
        ("hung", "unreachable", "timeout"),
        ("big_list", "wrong_protocol", "too_large"),
    ],
)
async def test_what_is_no_server_has_a_state_that_says_so(bench: Bench, kind: str, state: str, code: str) -> None:
    box = bench.box(McpLimits(connect_seconds=2, call_seconds=2))
    async with started(GARBAGE, kind) as program:
        began = time.monotonic()
        found = await bench.add(box, program.url, "odd")
        assert time.monotonic() - began < 8
    assert found.reason is not None
    assert (found.state, found.reason.code) == (state, code)
    assert "'odd'" in found.reason.message
    assert await box.usable(bench.organization, SKILL) == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("in_call_html", "tool_protocol_error"),
        ("in_call_json", "tool_protocol_error"),
        ("in_call_other", "tool_protocol_error"),
        ("in_call_events", "tool_protocol_error"),
        ("in_call_shape", "tool_protocol_error"),
        ("in_call_silence", "tool_unavailable"),
        ("in_call_status", "tool_unavailable"),
        ("in_call_cut", "tool_unavailable"),
        ("in_call_limit", "tool_rate_limited"),
        ("in_call_token", "tool_rejected"),
        ("in_call_huge", "tool_error"),
        ("in_call_rpc", "tool_error"),
    ],
)
async def test_a_fault_in_a_call_is_one_typed_error_at_once(bench: Bench, kind: str, code: str) -> None:
    box = bench.box(McpLimits(connect_seconds=5, call_seconds=20))
    async with started(GARBAGE, kind) as program:
        await bench.add(box, program.url, "odd")
        began = time.monotonic()
        with pytest.raises(ToolError) as failed:
            await bench.call(box, "odd__stock")
        assert time.monotonic() - began < 5, "it does not wait for the call's seconds"
    assert failed.value.code == code
    assert "odd" in failed.value.message


async def test_a_server_that_hangs_costs_its_seconds(bench: Bench) -> None:
    box = bench.box(McpLimits(connect_seconds=3, call_seconds=1))
    async with office() as program:
        added = await bench.add(box, program.url)
        with pytest.raises(ToolError) as late:
            await bench.call(box, "office__wait", seconds=30)
        assert late.value.code == "tool_timeout"
        # it only was slow: it goes on
        assert (await bench.call(box, "office__stock", article="chairs")).content == "chairs: 42 in stock"
        program.pause()
        with pytest.raises(ToolError) as hung:
            await bench.call(box, "office__stock", article="chairs")
        assert hung.value.code == "tool_timeout"
        await bench.until(box, added.server.server_id, lambda one: one.state == "unreachable")
        with pytest.raises(ToolError, match="did not"):
            await bench.call(box, "office__stock", article="chairs")
        program.go_on()
        async with asyncio.timeout(60):
            while (await box.overview(bench.organization, added.server.server_id)).state != "ready":
                await box.refresh(added.server)


async def test_results_of_every_kind(bench: Bench) -> None:
    box = bench.box()
    async with office() as program:
        await bench.add(box, program.url)
        assert (await bench.call(box, "office__picture")).content == "[image, image/png, 8 bytes]"
        assert len((await bench.call(box, "office__long", size=300_000)).content) == LIMITS.max_result_chars
        with pytest.raises(ToolError, match="more than 4000000 bytes") as huge:
            await bench.call(box, "office__long", size=5_000_000)
        with pytest.raises(ToolError, match="the warehouse is closed") as own:
            await bench.call(box, "office__fail")
        with pytest.raises(ToolError, match="must not leave the premises"):
            await bench.call(box, "office__stock", article="chairs", local_only=True)
    assert huge.value.details["reason"] == "too_large"
    assert own.value.code == "tool_error"


async def test_a_server_that_was_started_anew_is_greeted_anew(bench: Bench) -> None:
    box = bench.box()
    async with office() as program:
        await bench.add(box, program.url)
        await told(bench, box, "office__whoami", "ann")
        await program.kill()
        async with office("streamable_http", "--port", str(program.port)):
            assert (await bench.call(box, "office__stock", article="lamps")).content == "lamps: 42 in stock"


async def test_a_description_that_changes_must_be_approved_again(bench: Bench) -> None:
    box = bench.box()
    async with office() as program:
        added = await bench.add(box, program.url)
        changes: dict[str, Any] = {}
        await bench.call(box, "office__change", **changes)  # it tells so by list_changed
        changed = await bench.until(box, added.server.server_id, lambda one: one.state == "changed")
        assert changed.reason is not None
        assert "stock" in changed.reason.message
        usable = {tool.name: tool.description for tool in await box.usable(bench.organization, SKILL)}
        assert "office__stock" not in usable
        assert "office__whoami" in usable, "what was approved and is the same can be used"
        assert "Ignore all rules" not in json.dumps(usable)
        with pytest.raises(ToolError, match="approve"):
            await bench.call(box, "office__stock", article="chairs")
        await bench.store.approve(changed.server, changed.listing)
        approved = await box.overview(bench.organization, added.server.server_id)
        assert approved.state == "ready"
        assert "office__stock" in {tool.name for tool in await box.usable(bench.organization, SKILL)}


async def test_names_schemas_and_numbers_are_kept_in_bounds(bench: Bench) -> None:
    box = bench.box()
    async with started(GARBAGE, "odd") as program:
        odd = await bench.add(box, program.url, "odd")
        usable = await box.usable(bench.organization, SKILL)
    names = [tool.name for tool in usable]
    assert len(set(names)) == len(names) == 6
    assert all(len(name) <= 64 and name.startswith("odd__") and name.replace("-", "_").isidentifier() for name in names)
    assert {"odd__good", "odd__a_b"} <= set(names)
    problems = {tool.name: tool.problem for tool in odd.listing.tools if tool.problem}
    assert set(problems) == {"outside", "beside", "nowhere", "circle", "wrong", "huge", "wordy"}
    assert "'#/$defs/a' isn't in the schema" in problems["nowhere"]
    async with office("streamable_http", "--tools", "500") as program:
        many = await bench.add(box, program.url, "many")
        few = await bench.add(box, program.url, "few", only=("stock", "nowhere", "tool_499"))
    assert (many.state, many.listing.listed, len(many.listing.tools)) == ("ready", 508, 64)
    assert many.reason is not None
    assert many.reason.code == "too_many_tools"
    assert [tool.exposed for tool in few.listing.tools] == ["few__stock", "few__tool_499"]
    assert few.reason is not None
    assert few.reason.code == "missing_tools"


async def test_sign_in_is_asked_for(bench: Bench) -> None:
    box = bench.box()
    async with office("streamable_http", "--token", "sesame") as program:
        closed = await bench.add(box, program.url, "closed")
        opened = await bench.add(box, program.url, "open", headers={"Authorization": "Bearer sesame"})
    assert (closed.state, opened.state) == ("needs_sign_in", "ready")


async def test_a_list_that_is_old_is_renewed_without_waiting(bench: Bench) -> None:
    box = bench.box(McpLimits(connect_seconds=5, call_seconds=3, ttl_seconds=0.001))
    async with office() as program:
        added = await bench.add(box, program.url)
        assert added.listing.listed_at is not None
        before = added.listing.listed_at
        await box.usable(bench.organization, SKILL)
        await bench.until(
            box,
            added.server.server_id,
            lambda one: one.listing.listed_at is not None and one.listing.listed_at > before,
        )


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_session_that_nobody_uses_is_closed_without_anybody_asking(bench: Bench) -> None:
    server = McpServer(
        server_id=new_id(), organization_id=bench.organization, scope="operator", name="files", transport="stdio",
        command=(sys.executable, str(OFFICE), "stdio"), identity="organization", idle_seconds=0.5,
    )  # fmt: skip
    box = bench.box(McpLimits(connect_seconds=60, call_seconds=30), (), OperatorServer(server, None))
    await box.usable(bench.organization, SKILL)
    process = int((await told(bench, box, "files__whoami", "ann"))["process"])
    async with asyncio.timeout(60):
        while alive(process):
            await asyncio.sleep(0.05)
    assert box._sessions._open == {}
    assert (await told(bench, box, "files__whoami", "ann"))["process"] != process


async def test_there_is_an_end_to_open_sessions(bench: Bench) -> None:
    box = bench.box(McpLimits(connect_seconds=5, call_seconds=3, max_sessions=2))
    async with office() as program:
        await bench.add(box, program.url)
        seen = {user: (await told(bench, box, "office__whoami", user))["session"] for user in ("ann", "ben", "cem")}
        for user in ("ben", "cem", "ben"):
            assert (await told(bench, box, "office__whoami", user))["session"] == seen[user], (
                "it is not in anybody's way"
            )
        assert len(box._sessions._open) == 2
