"""The ledger of what tools do: written before it is done and after, so that nothing is done twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import structlog
from psycopg import OperationalError
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from domain.ids import EffectId, OrganizationId, RunId, ThreadId, ToolCallId, UserId
from domain.text import clean_json
from domain.tools import ToolResult
from storage.database import Database, Row
from storage.fence import fenced, held
from storage.queries import load
from storage.saver import current_acting

Q = load("tool_effects")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing a tool is to do for a run."""

    effect_id: EffectId
    organization_id: OrganizationId
    thread_id: ThreadId
    run_id: RunId
    tool_call_id: ToolCallId
    agent: str
    name: str
    user_id: UserId


class ToolEffects:
    """Every write proves the run's fence in its own transaction: raises StaleFence where another process holds the run."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def begin(self, effect: Effect) -> Literal["begun", "started"] | ToolResult:
        """Write down that it is about to be done. 'begun': do it. 'started': an earlier attempt began and did not tell how it went.
        Otherwise what came of it: it is not to be done again."""
        [row] = await self._write(
            effect,
            "begin",
            {
                "effect_id": effect.effect_id,
                "organization_id": effect.organization_id,
                "thread_id": effect.thread_id,
                "run_id": effect.run_id,
                "tool_call_id": effect.tool_call_id,
                "agent": effect.agent,
                "name": effect.name,
                "user_id": effect.user_id,
            },
        )
        if row["result"] is not None:
            return ToolResult.model_validate(row["result"])
        return "begun" if row["status"] == "begun" else "started"

    async def complete(self, effect: Effect, result: ToolResult) -> None:
        """Write down what came of it. Where the database can't be reached it stays unknown, should the run be taken up again: what was
        done is done."""
        dumped = Jsonb(clean_json(result.model_dump(mode="json")))
        try:
            await self._write(effect, "complete", {"effect_id": effect.effect_id, "result": dumped})
        except (OperationalError, PoolTimeout) as lost:
            log.warning("an effect can't be completed", effect_id=effect.effect_id, error=type(lost).__name__)

    async def unknown(self, organization_id: OrganizationId, run_id: RunId) -> frozenset[ToolCallId]:
        """The calls of a run that began and of which nobody knows whether they were carried out."""
        rows = await self._db.fetch_all(organization_id, Q["unknown"], {"run_id": run_id})
        return frozenset(ToolCallId(row["tool_call_id"]) for row in rows)

    async def _write(self, effect: Effect, query: str, params: dict[str, Any]) -> list[Row]:
        acting = current_acting()
        fence = None if acting is None or acting.run_id != effect.run_id else acting.fence
        with fenced(effect.run_id):
            statements = [held(effect.run_id, fence), (Q[query], params)]
            _, rows = await self._db.batch_again(effect.organization_id, statements)
        return rows
