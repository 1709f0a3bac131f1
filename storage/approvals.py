"""Who decided what about tool calls that waited. Only ever added to."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from domain.approvals import Answer, Approval, DecidedAction
from domain.errors import Conflict, NotFound
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId
from domain.text import clean_json
from storage.audit_log import record_change
from storage.database import Connection, Database
from storage.queries import load

Q = load("approvals")
KIND = "approval"
"""In the audit log; its subject is the thread."""


async def decide(
    conn: Connection,
    organization_id: OrganizationId,
    thread_id: ThreadId,
    run_id: RunId,
    answers: Sequence[Answer],
    *,
    user_id: UserId,
    trace_id: TraceId,
) -> float:
    """Take the answers for a run that is accepted in the same transaction. Returns how many seconds the turn has waited so far.

    Raises Conflict where an interrupt is answered already, or the conversation has gone on without an answer.
    """
    cursor = await conn.execute(Q["lock"].encode(), {"thread_id": thread_id})
    thread = await cursor.fetchone()
    if thread is None:
        raise NotFound("thread", thread_id)
    ids = [answer.interrupt_id for answer in answers]
    cursor = await conn.execute(Q["decided"].encode(), {"thread_id": thread_id, "interrupt_ids": ids})
    if (decided := await cursor.fetchone()) is not None:
        raise Conflict(
            f"Interrupt '{decided['interrupt_id']}' is decided already.",
            interrupt_id=decided["interrupt_id"],
            decided_by=decided["decided_by"],
            decided_at=decided["decided_at"].isoformat(),
        )
    if thread["superseded"] or not thread["interrupted"]:
        raise Conflict("Nothing waits here any more: the conversation has gone on.", thread_id=thread_id)
    for answer in answers:
        await conn.execute(
            Q["add"].encode(),
            {
                "organization_id": organization_id,
                "thread_id": thread_id,
                "interrupt_id": answer.interrupt_id,
                "run_id": run_id,
                "conversation_id": answer.conversation_id,
                "agent": answer.agent,
                "decided_by": user_id,
                "trace_id": trace_id,
                "actions": Jsonb(clean_json(answer.actions)),
            },
        )
        for action in answer.actions:
            await record_change(
                conn, organization_id, user_id, KIND, thread_id, action["decision"], _told(answer, action, run_id)
            )
    return float(thread["waited_seconds"])


def _told(answer: Answer, action: DecidedAction, run_id: RunId) -> dict[str, str]:
    """What the audit log tells of a decision: about which call, without the arguments, which may hold anything."""
    return {
        "interrupt_id": answer.interrupt_id,
        "run_id": run_id,
        "agent": answer.agent,
        "tool": action["name"],
        "tool_call_id": action["tool_call_id"],
    }


class Approvals:
    """Reads the answers of one organisation."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of_thread(self, organization_id: OrganizationId, thread_id: ThreadId) -> list[Approval]:
        """Those given in a conversation and in its children, oldest first."""
        rows = await self._db.fetch_all(organization_id, Q["of_thread"], {"thread_id": thread_id})
        return [Approval(**row) for row in rows]
