"""Histories of conversations that a process keeps: what is read is what any other process would read, and little of it twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Overwrite
from typing_extensions import TypedDict

from domain.ids import OrganizationId, ThreadId, new_id
from nodes.conversation import reduce_messages
from storage.connection import Params
from storage.database import Database, Row
from storage.histories import Histories, History, Place
from storage.saver import TenantSaver, acting_for, checkpoint_thread
from tests.storage.test_saver import running

Graph = CompiledStateGraph[Any, Any, Any, Any]


class State(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(reduce_messages, list, snapshot_frequency=9)]


class Counting(Database):
    """Counts the rows that single statements give."""

    rows = 0

    async def fetch_all(self, organization_id: OrganizationId, sql: str, params: Params = ()) -> list[Row]:
        rows = await super().fetch_all(organization_id, sql, params)
        self.rows += len(rows)
        return rows


async def answer(state: State) -> dict[str, Any]:
    question = state["messages"][-1]
    draft = AIMessage("…", id=f"answer to {question.id}")
    return {"messages": [draft]}


async def rewrite(state: State) -> dict[str, Any]:
    return {"messages": [AIMessage(f"{len(state['messages'])}", id=state["messages"][-1].id)]}


async def shorten(state: State) -> dict[str, Any]:
    if state["messages"][-2].text == "forget":
        return {"messages": Overwrite(state["messages"][-2:])}
    return {}


def replica(db: Database) -> Graph:
    """What one process serves."""
    graph = StateGraph(State)
    graph.add_sequence([answer, rewrite, shorten])
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=TenantSaver(db, {"messages": reduce_messages}))


def told(messages: Sequence[AnyMessage]) -> list[tuple[str | None, str]]:
    return [(message.id, message.text) for message in messages]


async def ask(graph: Graph, config: RunnableConfig, text: str) -> None:
    await graph.ainvoke({"messages": [HumanMessage(text, id=new_id())]}, config, durability="sync")


async def shown(graph: Graph, config: RunnableConfig) -> list[tuple[str | None, str]]:
    return told((await graph.aget_state(config)).values["messages"])


@pytest.fixture
def config(organization: OrganizationId) -> RunnableConfig:
    return {"configurable": {"thread_id": checkpoint_thread(organization, ThreadId(new_id()))}}


async def test_turns_that_replicas_take_in_turn_are_all_there(
    db: Database, organization: OrganizationId, config: RunnableConfig
) -> None:
    replicas = [replica(db), replica(db)]
    with acting_for(organization):
        for turn in range(12):
            await ask(replicas[turn % 3 % 2], config, f"question {turn}")
            fresh = await shown(replica(db), config)
            assert [text for _, text in fresh[::2]] == [f"question {n}" for n in range(turn + 1)]
            for one in replicas:
                assert await shown(one, config) == fresh


async def test_every_earlier_state_and_every_branch_reads_the_same(
    db: Database, organization: OrganizationId, config: RunnableConfig
) -> None:
    used = replica(db)
    with acting_for(organization):
        for turn in range(5):
            await ask(used, config, f"question {turn}")
        states = [state async for state in used.aget_state_history(config)]
        early = next(state for state in reversed(states) if len(state.values.get("messages", [])) == 4)
        await used.aupdate_state(early.config, {"messages": [HumanMessage("another", id="branch")]}, as_node="shorten")
        await ask(used, config, "on the branch")
        await ask(used, states[0].config, "on the first branch again")
        await ask(used, config, "forget")
        await ask(used, config, "and go on")
        fresh = replica(db)
        heads = [state async for state in fresh.aget_state_history(config)]
        assert {len(state.values.get("messages", [])) for state in heads} > {2, 4, 8, 10}
        for state in [*heads, *reversed(heads)]:
            assert await shown(used, state.config) == told(state.values.get("messages", []))


async def test_a_run_that_writes_behind_can_be_taken_up_anywhere(
    db: Database, organization: OrganizationId, owner_dsn: str, config: RunnableConfig
) -> None:
    """Time travel to every checkpoint of a run: each node runs that hadn't yet, and the conversation up to there is whole."""
    used = replica(db)
    run = running(owner_dsn, organization, ThreadId(new_id()), fence=1)
    with acting_for(organization, run, 1):
        for turn in range(2):
            await ask(used, config, f"question {turn}")
        states = [state async for state in used.aget_state_history(config)]
    assert [state.next for state in states[:5]] == [(), ("shorten",), ("rewrite",), ("answer",), ("__start__",)]
    assert states[1].tasks[0].result == {}
    with acting_for(organization):
        for state in states[:5]:
            await used.ainvoke(None, state.config, durability="sync")
            assert [text for _, text in await shown(replica(db), config)] == ["question 0", "2", "question 1", "4"]


async def test_of_a_known_history_only_what_came_after_it_is_read(
    db: Database, organization: OrganizationId, config: RunnableConfig
) -> None:
    counting = Counting(db.pool)
    used = replica(counting)
    read: list[int] = []
    with acting_for(organization):
        for turn in range(24):
            counting.rows = 0
            await ask(used, config, f"question {turn}")
            read.append(counting.rows)
        counting.rows = 0
        await shown(used, config)
        await shown(used, config)
    assert max(read) < 20
    assert counting.rows < 20


async def test_what_one_reader_does_to_its_list_no_other_sees(
    db: Database, organization: OrganizationId, config: RunnableConfig
) -> None:
    used = replica(db)
    with acting_for(organization):
        await ask(used, config, "a question")
        whole = await shown(used, config)
        (await used.aget_state(config)).values["messages"].clear()
        assert await shown(used, config) == whole


async def test_another_organisation_is_told_nothing_that_is_known(
    db: Database, organization: OrganizationId, other_organization: OrganizationId, config: RunnableConfig
) -> None:
    used = replica(db)
    with acting_for(organization):
        await ask(used, config, "a question")
        state = await used.aget_state(config)
    saver = used.checkpointer
    assert isinstance(saver, TenantSaver)
    with acting_for(other_organization):
        found = await saver.aget_delta_channel_history(config=state.config, channels=["messages"])
    assert found == {"messages": {"writes": []}}


def test_the_least_lately_asked_for_goes_first() -> None:
    histories = Histories(kept_bytes=100)
    places = [Place("thread", namespace, "messages") for namespace in "abc"]
    for place in places[:2]:
        histories.keep(place, History("1", (), None, 40))
    histories.get(places[0])
    histories.keep(places[2], History("1", (), None, 40))
    assert [histories.get(place) is not None for place in places] == [True, False, True]
    histories.keep(places[2], History("0", (), None, 1))
    kept = histories.get(places[2])
    assert kept is not None
    assert kept.checkpoint_id == "1"
    histories.keep(places[0], History("2", (), None, 101))
    assert histories.get(places[0]) is None
    assert len(histories) == 1
