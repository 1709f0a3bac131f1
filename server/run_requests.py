"""From a request body to what a run executes: checked, in canonical form, without anything a client may not set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from domain.errors import InvalidInput
from domain.policy import ModelPolicy, contradiction
from domain.skills import Orchestration, RunMode
from domain.text import clean_json
from providers.json_schema import check_schema
from server.assistants import Assistant
from server.engine.contract import RunRequest
from server.messages import canonical_messages
from server.render.sse import stream_modes
from server.schemas import NodeNames, RunCreate
from server.states import Graph, Graphs

RESERVED = frozenset(
    {"thread_id", "run_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "organization_id", "user_id"}
)
"""Keys of `configurable` that are the server's to set; a client's are left out, as are those that begin with '__'."""

MODES = get_args(RunMode)


def run_request(
    graphs: Graphs, assistant: Assistant, body: RunCreate, *, max_message_chars: int, seed: str | None = None
) -> RunRequest:
    """What the body asks the assistant to do. Messages without an id get one; with `seed` always the same for the same body.

    Raises InvalidInput naming the field that is wrong, TooLarge.
    """
    graph_id = assistant.graph_id
    config = body.config
    if body.input is not None and body.command is not None:
        raise InvalidInput("command", "can't be sent together with input; send one of them")
    if body.checkpoint is not None and body.checkpoint.checkpoint_ns:
        raise InvalidInput(
            "checkpoint.checkpoint_ns", "must be empty: a run goes on from the thread, not from inside it"
        )
    _check_behaviour(config.configurable if config else {}, "config.configurable")
    _check_behaviour(body.context or {}, "context")
    wishes = {**(config.configurable if config else {}), **(body.context or {})}
    check_policy(ModelPolicy.of(wishes), "context")
    in_context = "response_schema" in (body.context or {})
    _check_schema_is_wanted(wishes, "context" if in_context else "config.configurable")
    return RunRequest(
        assistant_id=assistant.assistant_id,
        graph_id=graph_id,
        agent=assistant.agent,
        input=_input(body.input, max_message_chars, seed),
        command=_command(graphs[graph_id], body, max_message_chars, seed),
        config=_config(body),
        context=clean_json(body.context or {}),
        metadata=clean_json({**(config.metadata if config else {}), **(body.metadata or {})}),
        multitask_strategy=body.multitask_strategy or "enqueue",
        on_disconnect=body.on_disconnect or "continue",
        interrupt_before=_nodes(graphs[graph_id], body.interrupt_before, "interrupt_before"),
        interrupt_after=_nodes(graphs[graph_id], body.interrupt_after, "interrupt_after"),
        checkpoint_id=body.checkpoint_id or (body.checkpoint.checkpoint_id if body.checkpoint else None),
        durability=body.durability,
        stream_mode=list(stream_modes(body.stream_mode)) or ["values"],
        stream_subgraphs=bool(body.stream_subgraphs),
    )


def _input(given: dict[str, Any] | None, max_chars: int, seed: str | None) -> dict[str, Any] | None:
    """Only messages go in: the graph's other values are its own to set."""
    if given is None:
        return None
    if given.get("messages") is None:
        raise InvalidInput("input.messages", "is required: a list of messages")
    return {"messages": canonical_messages(given["messages"], "input.messages", max_chars=max_chars, seed=seed)}


def _check_behaviour(asked: Mapping[str, Any], field: str) -> None:
    """How a run is to behave, in what is otherwise the client's own to fill."""
    try:
        ModelPolicy.of(asked)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        raise InvalidInput(f"{field}.{first['loc'][0]}", f"{first['msg'][0].lower()}{first['msg'][1:]}") from None
    for name, served in (("mode", MODES), ("orchestration", get_args(Orchestration))):
        if asked.get(name) is not None and asked[name] not in served:
            raise InvalidInput(f"{field}.{name}", f"must be one of {', '.join(served)}", supported=served)
    if asked.get("response_schema") is not None:
        check_schema(asked["response_schema"], f"{field}.response_schema")


def check_policy(policy: ModelPolicy, field: str) -> None:
    """Raises InvalidInput for wishes that contradict each other."""
    if (found := contradiction(policy)) is not None:
        raise InvalidInput(f"{field}.{found[0]}", found[1])


def _check_schema_is_wanted(asked: Mapping[str, Any], field: str) -> None:
    """An answer is JSON only where that is asked for: a schema alone would be left unheard."""
    if asked.get("response_schema") is not None and asked.get("mode") != "json":
        raise InvalidInput(f"{field}.response_schema", "needs `mode` to be 'json'")


def _command(graph: Graph, body: RunCreate, max_chars: int, seed: str | None) -> dict[str, Any] | None:
    if body.command is None:
        return None
    sent = {key: clean_json(getattr(body.command, key)) for key in body.command.model_fields_set}
    command = {key: value for key, value in sent.items() if value is not None}
    if not command:
        raise InvalidInput("command", "must have one of resume, update, goto")
    if "resume" in command and len(command) > 1:
        # what is approved must be what was asked about
        raise InvalidInput("command.resume", "can't be sent together with update or goto; send one after the other")
    goto = command.get("goto")
    _nodes(graph, [goto] if isinstance(goto, str) else goto, "command.goto")
    update = command.get("update")
    if update is not None:
        if set(update) - {"messages"}:
            raise InvalidInput("command.update", "may only have messages")
        messages = canonical_messages(update.get("messages"), "command.update.messages", max_chars=max_chars, seed=seed)
        command["update"] = {"messages": messages}
    return command


def _config(body: RunCreate) -> dict[str, Any]:
    if body.config is None:
        return {}
    given = clean_json(body.config.configurable)
    kept = {key: value for key, value in given.items() if key not in RESERVED and not key.startswith("__")}
    config: dict[str, Any] = {"configurable": kept}
    if body.config.tags:
        config["tags"] = clean_json(body.config.tags)
    if body.config.recursion_limit is not None:
        config["recursion_limit"] = body.config.recursion_limit
    return config


def _nodes(graph: Graph, names: NodeNames | None, field: str) -> NodeNames | None:
    for name in names if isinstance(names, list) else []:
        if name not in graph.nodes:
            raise InvalidInput(field, f"the graph has no node '{name[:100]}'", nodes=sorted(graph.nodes))
    return names
