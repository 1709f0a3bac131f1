"""`tools`: execute the model's tool calls. Every call gets exactly one tool message and one record, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from langchain_core.messages import ToolMessage
from langgraph.config import get_stream_writer
from langgraph.runtime import Runtime

from domain.errors import ConsiliumError, StaleFence, ToolDenied, ToolError
from domain.ids import ThreadId, ToolCallId
from domain.knowledge import Source
from domain.runs import ToolCallStatus
from domain.skills import Skill
from domain.sources import render_sources
from domain.tools import ToolFailure, ToolResult
from nodes.agent import Agent
from nodes.effects import Outcome, effect_id, once
from nodes.prompt import calling_message, pending_calls
from nodes.runtime import RunContext, Services
from nodes.state import Finish, State
from nodes.texts import text
from nodes.toolset import find_tool, needs_approval
from retrieval.cite import merge, number
from tools.arguments import validate
from tools.base import Tool, ToolContext
from tools.delegation import FINISH, SWITCH, finish_tool

log = structlog.get_logger(__name__)


def make(services: Services, agent: Agent) -> Any:
    """The node for one agent: all pending calls but delegations, which `delegate` takes."""

    async def tools(state: State, runtime: Runtime[RunContext]) -> dict[str, Any]:
        calls = [call for call in pending_calls(state["messages"]) if call["name"] != SWITCH]
        delegation = state.get("delegation")
        run = runtime.context
        skill = agent.skill(state, run)
        context = ToolContext(
            organization_id=run.organization_id,
            user_id=run.user_id,
            run_id=run.run_id,
            thread_id=ThreadId(delegation["child_thread_id"]) if delegation else run.thread_id,
            agent=skill.name,
            local_only=bool(state.get("local_only")),
        )
        executor = _Executor(
            services,
            skill,
            context,
            decisions=state.get("decisions") or {},
            message_id=str(calling_message(state["messages"]).id),
            language=state["turn"]["language"],
            may_finish=delegation is not None,
            trial=run.trial,
        )
        outcomes = await asyncio.gather(*(executor.run(call) for call in calls))
        return _update(state, services, calls, outcomes, executor.finish)

    return tools


class _Executor:
    """Runs the calls of one step. `decisions` are what a person decided about them, `message_id` is that of the message they are of."""

    def __init__(
        self,
        services: Services,
        skill: Skill,
        context: ToolContext,
        *,
        decisions: Mapping[str, Mapping[str, Any]],
        message_id: str,
        language: str,
        may_finish: bool,
        trial: bool,
    ) -> None:
        self._services = services
        self._skill = skill
        self._context = context
        self._decisions = decisions
        self._message_id = message_id
        self._language = language
        self._may_finish = may_finish
        self._trial = trial
        self._emit = get_stream_writer()
        self.finish: Finish | None = None

    async def run(self, asked: dict[str, Any]) -> Outcome:
        started = time.perf_counter()
        decision = self._decisions.get(asked["id"], {})
        edited = decision.get("type") == "edit"
        call = {**asked, "args": decision["args"]} if edited else asked
        await self._record_start(call)
        self._announce(call, "running", None)
        result, passages = await self._told(call, self._execute(call, decision))
        if edited:
            note = text("edited", self._language).format(arguments=json.dumps(call["args"], ensure_ascii=False))
            result = result.model_copy(update={"content": f"{note}\n\n{result.content}".strip()})
        duration_ms = round((time.perf_counter() - started) * 1000)
        await self._record_finish(call, result)
        self._announce(call, _status(result), duration_ms, result.error)
        return result, passages

    async def _execute(self, call: dict[str, Any], decision: Mapping[str, Any]) -> Outcome:
        """Carry it out. What changes something goes through the ledger; a run of LangGraph Studio has none. Raises ConsiliumError."""
        if decision.get("type") == "reject":
            raise _denied(call["name"], decision.get("message"))
        if call["name"] == FINISH and self._may_finish:
            arguments = validate(FINISH, finish_tool()["function"]["parameters"], call["args"])
            self.finish = {"summary": arguments["summary"], "citations": arguments.get("citations", [])}
            return ToolResult(status="success", content="The result is handed to the supervisor."), []
        context = self._context
        tool = await find_tool(self._services, context.organization_id, self._skill, call["name"])
        arguments = validate(tool.name, tool.parameters, call["args"])
        if self._trial and tool.side_effect:
            raise ToolDenied(
                f"{tool.name} changes something, which a test-run doesn't; go on as if it had been done.",
                tool=tool.name,
            )
        if not decision and needs_approval(self._skill, tool):
            # it has come to be one that waits since the step was looked at
            raise ToolDenied(f"{tool.name} needs a person's approval, which was not asked for. Call it again.")
        if not tool.side_effect or context.run_id is None:
            return await self._call(tool, context, arguments)
        key = effect_id(context.thread_id, self._message_id, call["id"], tool.name, arguments)
        keyed = replace(context, effect_id=key)
        return await once(
            self._services.tool_effects,
            tool,
            keyed,
            call["id"],
            lambda: self._told(call, self._call(tool, keyed, arguments)),
        )

    async def _call(self, tool: Tool, context: ToolContext, arguments: dict[str, Any]) -> Outcome:
        output = await tool.call(context, arguments)
        return _bounded(output.content, self._services.limits.max_tool_result_chars), output.passages

    async def _told(self, call: dict[str, Any], work: Awaitable[Outcome]) -> Outcome:
        """What `work` gives, or its failure as the model reads it."""
        try:
            return await work
        except StaleFence:
            raise
        except ConsiliumError as failed:
            code = failed.code if isinstance(failed, ToolError) else f"tool_failed.{failed.code}"
            failure = ToolFailure(code=code, message=failed.message, details=failed.details)
        except Exception:  # a fault of the tool's own costs its call, not the turn; the trace is in the log
            log.exception("tool crashed", tool=call["name"], tool_call_id=call["id"])
            message = f"{call['name']} failed unexpectedly; try another way."
            failure = ToolFailure(code="tool_crashed", message=message)
        return ToolResult(status="error", content="", error=failure), []

    async def _record_start(self, call: dict[str, Any]) -> None:
        context = self._context
        if context.run_id is not None:
            await self._services.tool_calls.start(
                context.organization_id,
                context.run_id,
                context.thread_id,
                ToolCallId(call["id"]),
                agent=context.agent,
                name=call["name"],
                arguments=call["args"],
            )

    async def _record_finish(self, call: dict[str, Any], result: ToolResult) -> None:
        context = self._context
        if context.run_id is not None:
            await self._services.tool_calls.finish(
                context.organization_id,
                context.run_id,
                context.thread_id,
                ToolCallId(call["id"]),
                _status(result),
                result,
            )

    def _announce(
        self, call: dict[str, Any], status: str, duration_ms: int | None, error: ToolFailure | None = None
    ) -> None:
        self._emit(
            {
                "type": "tool_call",
                "agent": self._context.agent,
                "tool_call_id": call["id"],
                "name": call["name"],
                "arguments": call["args"],
                "status": status,
                "duration_ms": duration_ms,
                "error": error.model_dump() if error else None,
            }
        )


def _status(result: ToolResult) -> ToolCallStatus:
    if result.error is not None:
        return "denied" if result.error.code == ToolDenied.code else "failed"
    return "succeeded"


def _denied(name: str, reason: str | None) -> ToolDenied:
    because = f" The reason given: {reason}" if reason else ""
    return ToolDenied(
        f"A person rejected this call of {name}; it was not made.{because} Don't repeat it unless the user asks for it."
    )


def _bounded(content: str, limit: int) -> ToolResult:
    if len(content) <= limit:
        return ToolResult(status="success", content=content)
    return ToolResult(status="success", content=content[:limit], truncated=True)


def _update(
    state: State,
    services: Services,
    calls: list[dict[str, Any]],
    outcomes: list[Outcome],
    finish: Finish | None,
) -> dict[str, Any]:
    """Tool messages in the order of the calls; found passages take the turn's next numbers, in that order."""
    turn = state["turn"].copy()
    sources = [Source.model_validate(source) for source in state["sources"]]
    in_context = {source["n"] for source in state["sources"] if source.get("in_context", True)}
    messages = []
    for call, (result, passages) in zip(calls, outcomes, strict=True):
        if passages:
            found = number(passages, sources)
            sources = merge(sources, found)
            shown = render_sources(found)
            bounded = _bounded(f"{result.content}\n{shown}", services.limits.max_tool_result_chars)
            result = result.model_copy(update={"content": bounded.content, "truncated": bounded.truncated})
        messages.append(
            ToolMessage(
                result.model_dump_json(exclude_none=True),
                id=f"tool:{call['id']}",
                tool_call_id=call["id"],
                name=call["name"],
                status="success" if result.status == "success" else "error",
            )
        )
        turn["tool_errors"] = 0 if result.status == "success" else turn["tool_errors"] + 1
    turn["tool_steps"] += 1
    if finish is None and turn["tool_steps"] >= services.limits.max_tool_steps:
        turn["stop_reason"] = "max_tool_steps"
    elif turn["tool_errors"] >= services.limits.max_tool_errors:
        turn["stop_reason"] = "max_tool_errors"
    found_local = any(passage.local_only for _, passages in outcomes for passage in passages)
    return {
        "messages": messages,
        "turn": turn,
        "finish": finish,
        **({"decisions": {}} if state.get("decisions") else {}),
        "sources": [{**source.model_dump(mode="json"), "in_context": source.n in in_context} for source in sources],
        **({"local_only": True} if found_local else {}),
    }
