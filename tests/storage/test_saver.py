"""The saver under row-level security: LangGraph's own conformance suite, tenancy and the fence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.test_utils import generate_checkpoint, generate_config, generate_metadata

from domain.errors import StaleFence
from domain.ids import OrganizationId, RunId, ThreadId, ToolCallId, new_id
from domain.tools import ToolResult
from storage.database import Database
from storage.saver import TenantSaver, acting_for, checkpoint_thread, write_pending
from storage.tool_calls import ToolCalls


class Qualified(TenantSaver):
    """The suite uses bare thread ids, the engine qualified ones: qualifies on the way in, strips on the way out."""

    organization_id: OrganizationId

    def _in(self, config: RunnableConfig | None) -> RunnableConfig | None:
        if config is None or "thread_id" not in config.get("configurable", {}):
            return config
        inner = dict(config["configurable"])
        inner["thread_id"] = f"{self.organization_id}:{inner['thread_id']}"
        return {**config, "configurable": inner}

    def _out(self, config: Any) -> Any:
        if config is None:
            return None
        inner = dict(config["configurable"])
        inner["thread_id"] = inner["thread_id"].removeprefix(f"{self.organization_id}:")
        return {**config, "configurable": inner}

    def _tuple(self, found: CheckpointTuple | None) -> CheckpointTuple | None:
        if found is None:
            return None
        return found._replace(config=self._out(found.config), parent_config=self._out(found.parent_config))

    async def aput(self, config: Any, *rest: Any) -> RunnableConfig:
        written: RunnableConfig = self._out(await super().aput(self._in(config), *rest))
        return written

    async def aput_writes(self, config: Any, *rest: Any, **named: Any) -> None:
        await super().aput_writes(self._in(config), *rest, **named)

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        return self._tuple(await super().aget_tuple(self._in(config)))

    async def alist(self, config: Any, **named: Any) -> AsyncIterator[CheckpointTuple]:
        if named.get("before"):
            named["before"] = self._in(named["before"])
        async for found in super().alist(self._in(config), **named):
            shown = self._tuple(found)
            assert shown is not None
            yield shown

    async def adelete_thread(self, thread_id: str) -> None:
        await super().adelete_thread(f"{self.organization_id}:{thread_id}")

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await super().aprune([f"{self.organization_id}:{t}" for t in thread_ids], strategy=strategy)


BASE = {"put", "put_writes", "get_tuple", "list", "delete_thread"}


@pytest.mark.parametrize("fenced", [False, True], ids=["at once", "written behind under a fence"])
async def test_conformance_under_row_level_security(
    db: Database, organization: OrganizationId, owner_dsn: str, fenced: bool
) -> None:
    run = running(owner_dsn, organization, ThreadId(new_id()), fence=1) if fenced else None
    with acting_for(organization, run, 1 if fenced else None):

        @checkpointer_test(name="TenantSaver")
        async def tenant_saver() -> AsyncGenerator[TenantSaver, None]:
            saver = Qualified(db)
            saver.organization_id = organization
            yield saver

        report = await validate(tenant_saver, capabilities=BASE)
    assert report.passed_all_base(), [f for r in report.results.values() for f in r.failures][:3]


def running(owner_dsn: str, organization: OrganizationId, thread: ThreadId, *, fence: int) -> RunId:
    """A run on a thread of its own that is held with this fence."""
    run = RunId(new_id())
    with psycopg.connect(owner_dsn) as conn:
        conn.execute(
            "INSERT INTO threads (thread_id, organization_id, user_id) VALUES (%s, %s, 'u')", [thread, organization]
        )
        conn.execute(
            "INSERT INTO runs (run_id, organization_id, thread_id, user_id, assistant_id, graph_id, trace_id, status, fence) "
            "VALUES (%s, %s, %s, 'u', gen_random_uuid(), 'g', 't', 'running', %s)",
            [run, organization, thread, fence],
        )
    return run


async def put(saver: TenantSaver, organization: OrganizationId, thread: ThreadId) -> RunnableConfig:
    config = generate_config(checkpoint_thread(organization, thread))
    return await saver.aput(config, generate_checkpoint(channel_values={"x": [1]}), generate_metadata(), {"x": 1})


async def test_another_organisation_reads_and_writes_nothing(
    db: Database, organization: OrganizationId, other_organization: OrganizationId
) -> None:
    saver, thread = TenantSaver(db), ThreadId(new_id())
    with acting_for(organization):
        written = await put(saver, organization, thread)
    with acting_for(other_organization):
        assert await saver.aget_tuple(written) is None
        await saver.adelete_thread(checkpoint_thread(organization, thread))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await put(saver, organization, thread)
    with acting_for(organization):
        assert await saver.aget_tuple(written) is not None


async def test_a_stale_fence_writes_nothing(db: Database, organization: OrganizationId, owner_dsn: str) -> None:
    saver, thread = TenantSaver(db), ThreadId(new_id())
    run = running(owner_dsn, organization, thread, fence=2)
    with acting_for(organization, run, 1) as stale:
        written = await put(saver, organization, thread)
        with pytest.raises(StaleFence):
            await write_pending(db, stale)
        assert stale.pending == []
        assert await saver.aget_tuple(written) is None
    with acting_for(organization, run, 2) as held:
        written = await put(saver, organization, thread)
        await write_pending(db, held)
    with acting_for(organization):
        assert await saver.aget_tuple(written) is not None


async def test_a_stale_fence_records_no_tool_call(db: Database, organization: OrganizationId, owner_dsn: str) -> None:
    """Whoever was paused beyond its lease doesn't overwrite what its successor recorded."""
    calls, thread, call = ToolCalls(db), ThreadId(new_id()), ToolCallId("call_1")
    run = running(owner_dsn, organization, thread, fence=2)
    asked: dict[str, Any] = {"agent": "main", "name": "search_documents", "arguments": {}}
    with acting_for(organization, run, 2):
        await calls.start(organization, run, thread, call, **asked)
        await calls.finish(organization, run, thread, call, "succeeded", ToolResult(status="success", content="found"))
    with acting_for(organization, run, 1):
        with pytest.raises(StaleFence):
            await calls.finish(organization, run, thread, call, "failed", ToolResult(status="success", content="late"))
        with pytest.raises(StaleFence):
            await calls.start(organization, run, thread, call, **asked)
    [kept] = await calls.of_thread(organization, thread)
    assert kept.status == "succeeded"


async def test_the_edge_to_what_followed_is_not_kept_twice(
    db: Database, organization: OrganizationId, owner_dsn: str
) -> None:
    """Of a step whose successor goes into the database with it, only what its nodes wrote remains, and that they are done."""
    saver, thread = TenantSaver(db), ThreadId(new_id())
    run = running(owner_dsn, organization, thread, fence=1)

    async def step(parent: RunnableConfig) -> RunnableConfig:
        await saver.aput_writes(parent, [("messages", ["said"]), ("branch:to:next", None)], "spoke")
        await saver.aput_writes(parent, [("branch:to:next", None)], "went on")
        parent["configurable"].setdefault("checkpoint_ns", "")
        return await saver.aput(parent, generate_checkpoint(), generate_metadata(), {})

    async def kept(config: RunnableConfig) -> list[tuple[str, str]]:
        found = await saver.aget_tuple(config)
        assert found is not None
        return [(task, channel) for task, channel, _ in found.pending_writes or []]

    with acting_for(organization, run, 1) as acting:
        first = await put(saver, organization, thread)
        second = await step(first)
        await saver.aput_writes(second, [("messages", ["said"]), ("branch:to:next", None)], "spoke")
        assert await kept(first) == [("spoke", "messages"), ("went on", "branch:to:next")]
        assert await kept(second) == [("spoke", "messages"), ("spoke", "branch:to:next")]
        assert acting.pending == []


async def test_versions_are_ordered_as_text(db: Database) -> None:
    saver = TenantSaver(db)
    versions = [saver.get_next_version(None, None)]
    for _ in range(5000):
        versions.append(saver.get_next_version(versions[-1], None))
    assert versions == sorted(versions)
    assert len({saver.get_next_version(versions[-1], None) for _ in range(100)}) == 100
    before = "0000000276.2e9e2656"
    assert saver.get_next_version(before, None).startswith("c115")
    assert saver.get_next_version(before, None) > before
