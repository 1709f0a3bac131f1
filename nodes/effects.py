"""What changes something is done once: the ledger is asked before, and told after."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from domain.errors import EffectUnknown
from domain.ids import EffectId, ThreadId, ToolCallId
from domain.knowledge import Passage
from domain.tools import ToolFailure, ToolResult
from storage.tool_effects import Effect, ToolEffects
from tools.base import Tool, ToolContext

Outcome = tuple[ToolResult, list[Passage]]
"""What came of a call, and the passages that are to be numbered sources."""
_EFFECTS = uuid.UUID("0d8e0f5c-2f0e-5a3c-9d55-7c1a3a4be6f2")


def effect_id(thread_id: ThreadId, message_id: str, call_id: str, name: str, arguments: dict[str, Any]) -> EffectId:
    """The same for the same call of the same message, whoever carries it out; another where other arguments were decided on."""
    told = json.dumps([thread_id, message_id, call_id, name, arguments], sort_keys=True)
    return EffectId(str(uuid.uuid5(_EFFECTS, told)))


async def once(
    ledger: ToolEffects, tool: Tool, context: ToolContext, call_id: str, act: Callable[[], Awaitable[Outcome]]
) -> Outcome:
    """What `act` results in, now or in an earlier attempt at this call. `act` raises nothing of the tool's own.

    An attempt that began and did not end, because its process did, is not repeated unless the tool says that this does no harm.
    Raises StaleFence, before anything is done, where another process holds the run.
    """
    assert context.effect_id is not None, "it names what is done"
    assert context.run_id is not None, "only runs of ours have a ledger"
    effect = Effect(
        effect_id=context.effect_id,
        organization_id=context.organization_id,
        thread_id=context.thread_id,
        run_id=context.run_id,
        tool_call_id=ToolCallId(call_id),
        agent=context.agent,
        name=tool.name,
        user_id=context.user_id,
    )
    known = await ledger.begin(effect)
    if isinstance(known, ToolResult):
        return known, []
    if known == "started" and not tool.idempotent:
        return ToolResult(status="error", content="", error=unknown(tool.name)), []
    result, passages = await act()
    await ledger.complete(effect, result)
    return result, passages


def unknown(name: str) -> ToolFailure:
    """The failure of a call that may have been carried out."""
    return ToolFailure(
        code=EffectUnknown.code,
        message=f"{name} had begun when the server was stopped, so it may have been carried out or not. It was not repeated. Find out "
        "which it is, if you can, and tell the user; call it again only if it certainly did not happen.",
    )
