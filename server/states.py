"""The state of threads, read and changed through the graphs. A child's state lies under its root, in its namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.errors import EmptyInputError, InvalidUpdateError
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot
from pydantic import TypeAdapter, ValidationError

from domain.errors import Conflict, InvalidInput, NotFound
from domain.knowledge import SourceCitation
from domain.runs import Thread
from server.messages import canonical_messages, revive
from server.render.serialize import SnapshotRenderer, interrupt_json, only
from storage.saver import acting_for, checkpoint_thread

Graph = CompiledStateGraph[Any, Any, Any, Any]
Graphs = Mapping[str, Graph]
_CITATIONS = TypeAdapter(list[SourceCitation])


def public_keys(graph: Graph) -> frozenset[str]:
    """The state keys a graph shows: those of its output schema."""
    channels = graph.output_channels
    return frozenset([channels] if isinstance(channels, str) else channels)


class ThreadStates:
    """State of threads by the graphs of this server. The caller has checked that the thread may be seen."""

    def __init__(self, graphs: Graphs, *, max_message_chars: int) -> None:
        self._graphs = graphs
        self._max_chars = max_message_chars

    def graph_of(self, thread: Thread, root: Thread | None = None) -> Graph:
        """The graph a thread was last run with; the first one served where it has not run yet."""
        graph_id = (root or thread).metadata.get("graph_id")
        return self._graphs.get(str(graph_id)) or next(iter(self._graphs.values()))

    async def latest(
        self, thread: Thread, graph: Graph, *, checkpoint_ns: str = "", subgraphs: bool = False
    ) -> StateSnapshot:
        """The newest state; of a thread that never ran, one without values. Raises NotFound for a namespace without any."""
        try:
            with acting_for(thread.organization_id):
                snapshot = await graph.aget_state(_config(thread, checkpoint_ns=checkpoint_ns), subgraphs=subgraphs)
        except ValueError as unknown:
            raise NotFound("namespace", checkpoint_ns, thread_id=thread.thread_id) from unknown
        if checkpoint_ns and snapshot.metadata is None:
            raise NotFound("namespace", checkpoint_ns, thread_id=thread.thread_id)
        return snapshot

    async def at(
        self, thread: Thread, graph: Graph, checkpoint_id: str, *, checkpoint_ns: str = "", subgraphs: bool = False
    ) -> StateSnapshot:
        """The state at a checkpoint. Raises NotFound."""
        if "\x00" in checkpoint_id:  # no checkpoint has one, and the database takes none
            raise NotFound("checkpoint", checkpoint_id, thread_id=thread.thread_id)
        with acting_for(thread.organization_id):
            config = _config(thread, checkpoint_id=checkpoint_id, checkpoint_ns=checkpoint_ns)
            snapshot = await graph.aget_state(config, subgraphs=subgraphs)
        if snapshot.metadata is None:
            raise NotFound("checkpoint", checkpoint_id, thread_id=thread.thread_id)
        return snapshot

    async def history(
        self,
        thread: Thread,
        graph: Graph,
        *,
        limit: int,
        before: str | None = None,
        metadata: dict[str, Any] | None = None,
        checkpoint_ns: str = "",
        checkpoint_id: str | None = None,
    ) -> list[StateSnapshot]:
        """States, newest first, at most `limit`; those older than checkpoint `before`."""
        config = _config(thread, checkpoint_ns=checkpoint_ns, checkpoint_id=checkpoint_id)
        until = _config(thread, checkpoint_id=before, checkpoint_ns=checkpoint_ns) if before else None
        with acting_for(thread.organization_id):
            states = graph.aget_state_history(config, filter=metadata, before=until, limit=limit)
            return [state async for state in states]

    async def values(self, thread: Thread, graph: Graph) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a thread shows of its newest state: (values, interrupts by task id), as JSON values."""
        snapshot = await self.latest(thread, graph)
        interrupts = {
            task.id: [interrupt_json(one) for one in task.interrupts] for task in snapshot.tasks if task.interrupts
        }
        return only(snapshot.values, public_keys(graph)), interrupts

    async def update(
        self,
        thread: Thread,
        graph: Graph,
        values: dict[str, Any] | list[dict[str, Any]] | None,
        *,
        as_node: str | None = None,
        checkpoint_id: str | None = None,
        checkpoint_ns: str = "",
    ) -> dict[str, Any] | None:
        """Change the state as if `as_node` had; gives the new checkpoint as the API shows it.

        Raises Conflict for a busy thread, InvalidInput for values that aren't the graph's, or an unknown or unclear node.
        """
        if thread.status == "busy":
            raise Conflict(
                f"Thread '{thread.thread_id}' is busy: wait for its run or cancel it, then change its state.",
                kind="thread",
                id=thread.thread_id,
            )
        change = self._change(values, public_keys(graph))
        # LangGraph would begin a new history at a checkpoint or a namespace that isn't there
        if checkpoint_id is not None:
            await self.at(thread, graph, checkpoint_id, checkpoint_ns=checkpoint_ns)
        elif checkpoint_ns:
            await self.latest(thread, graph, checkpoint_ns=checkpoint_ns)
        config = _config(thread, checkpoint_id=checkpoint_id, checkpoint_ns=checkpoint_ns)
        try:
            with acting_for(thread.organization_id):
                changed = await graph.aupdate_state(config, change, as_node=as_node)
        except ValueError as unknown:
            # The only ValueError of aupdate_state that a request can cause: a namespace without a subgraph.
            raise NotFound("namespace", checkpoint_ns or thread.checkpoint_ns or "") from unknown
        except (InvalidUpdateError, EmptyInputError) as unclear:
            nodes = sorted(graph.nodes)
            raise InvalidInput("as_node", f"{unclear}. Nodes: {', '.join(nodes)}", nodes=nodes) from unclear
        return SnapshotRenderer(thread, public_keys(graph)).checkpoint(changed)

    def _change(
        self, values: dict[str, Any] | list[dict[str, Any]] | None, keys: frozenset[str]
    ) -> dict[str, Any] | None:
        if values is None:
            return None
        change: dict[str, Any] = {}
        for part in values if isinstance(values, list) else [values]:
            change |= part
        for key in change:
            if key not in keys:
                raise InvalidInput(
                    f"values.{key[:100]}", f"is not a value of this graph; it has {', '.join(sorted(keys))}"
                )
        if "messages" in change:
            checked = canonical_messages(
                change["messages"], "values.messages", max_chars=self._max_chars, removable=True
            )
            change["messages"] = revive(checked)
        if "citations" in change:
            change["citations"] = _citations(change["citations"])
        return change

    def render(self, thread: Thread, graph: Graph, states: StateSnapshot | list[StateSnapshot]) -> bytes:
        """JSON of a state or of several."""
        return SnapshotRenderer(thread, public_keys(graph)).dumps(states)


def _citations(given: Any) -> list[dict[str, Any]]:
    try:
        return [one.model_dump(mode="json") for one in _CITATIONS.validate_python(given)]
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidInput(f"values.citations{where}", first["msg"]) from wrong


def _config(thread: Thread, *, checkpoint_id: str | None = None, checkpoint_ns: str = "") -> Any:
    root = thread.root_thread_id or thread.thread_id
    base = thread.checkpoint_ns or ""
    configurable = {
        "thread_id": checkpoint_thread(thread.organization_id, root),
        "checkpoint_ns": "|".join(part for part in (base, checkpoint_ns) if part),
    }
    if checkpoint_id:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}
