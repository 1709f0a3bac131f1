"""The lives of runs: every transition is one transaction over the run's row, its thread, its log and its job.

A claim gives a lease and a new fence; whoever writes for a run proves its fence in the same transaction, so a process that was
paused beyond its lease changes nothing. Time in leases is the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from psycopg import DatabaseError
from psycopg.types.json import Jsonb

from domain.errors import Conflict, NotFound, StaleFence
from domain.ids import OrganizationId, RunId, ThreadId
from domain.runs import Run, RunStatus, ThreadStatus
from domain.text import clean_json
from domain.tools import ToolFailure, ToolResult
from jobs.queue import AT_ONCE, Queue
from jobs.submission import Accepted, Claim, Submission
from storage import approvals, children, events, tool_calls
from storage.connection import Statement
from storage.database import SET_ENGINE, Connection, Database, Row
from storage.fence import fenced
from storage.queries import load
from storage.runs import run_of
from storage.saver import Acting, pending

Q = load("runs")
Outcome = Literal["accepted", "known", "not_found", "child", "busy"]
KEY_TAKEN = "CN002"
"""A concurrent request with the same idempotency key committed first; ours is rolled back."""
_THREAD_AFTER: dict[RunStatus, ThreadStatus] = {"error": "error", "timeout": "error"}


class JobEngine:
    """Transitions of runs for one replica, named `holder` in its leases."""

    def __init__(self, db: Database, *, holder: str, lease_seconds: float) -> None:
        self._db = db
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._worker_id: int | None = None

    async def start(self) -> None:
        """Register this replica with the queue."""
        async with self._db.engine() as conn:
            self._worker_id = await Queue(conn).register_worker()

    async def stop(self) -> None:
        if self._worker_id is not None:
            async with self._db.engine() as conn:
                await Queue(conn).unregister_worker(self._worker_id)

    async def accept(self, new: Submission, *, claim: bool) -> Accepted:
        """Record a run and its job and, with `claim`, take the next eligible job, all in one statement.

        Raises NotFound for a thread that isn't the caller's, Conflict for a busy thread under `reject`, for a child thread, and
        for an idempotency key that came with another body.
        """
        if new.answers:
            return await self._accept_answers(new, claim=claim)
        ((row,),) = await self._db.batch(new.organization_id, [self._accept(new, claim=claim)])
        return await self._accepted(new, row)

    async def _accept_answers(self, new: Submission, *, claim: bool) -> Accepted:
        """`accept`, with what was decided about the interrupts the run goes on with; a refusal undoes both."""
        async with self._db.tenant(new.organization_id) as conn:
            new = await self._decide(conn, new)
            sql, params = self._accept(new, claim=claim)
            row = await (await conn.execute(sql.encode(), params)).fetchone()
            assert row is not None
            return await self._accepted(new, row)

    def _accept(self, new: Submission, *, claim: bool) -> Statement:
        return (
            Q["accept"],
            {
                "run_id": new.run_id,
                "thread_id": new.thread_id,
                "organization_id": new.organization_id,
                "user_id": new.user_id,
                "see_all_threads": new.see_all_threads,
                "assistant_id": new.assistant_id,
                "graph_id": new.graph_id,
                "trace_id": new.trace_id,
                "kwargs": Jsonb(new.kwargs),
                "metadata": Jsonb(new.metadata),
                "strategy": new.multitask_strategy,
                "create_thread": new.create_thread,
                "thread_metadata": Jsonb(clean_json(new.thread_metadata)),
                "key": new.idempotency_key,
                "fingerprint": new.fingerprint,
                **self._claimant(claim),
            },
        )

    async def _accepted(self, new: Submission, row: Row) -> Accepted:
        outcome: Outcome = row["outcome"]
        match outcome:
            case "accepted":
                run = new.run(accepted_at=row["accepted_at"], skills_generation=row["skills_generation"])
                return Accepted(run, _claim_of(row), row["last_seq"], row["new_thread"], row["interrupted"])
            case "known":
                known = await self._known(new, row["known_run_id"], row["known_fingerprint"])
                return Accepted(known, None, 0)
            case "not_found":
                raise NotFound("thread", new.thread_id)
            case "child":
                raise Conflict(
                    "This is a child conversation; run on its parent, which hands the message to the active child.",
                    parent_thread_id=row["parent_thread_id"],
                )
            case "busy":
                raise Conflict(
                    "The thread has an unfinished run; wait for it, cancel it, or use multitask_strategy 'enqueue'.",
                    thread_id=new.thread_id,
                )
            case _:
                assert_never(outcome)

    async def _known(self, new: Submission, run_id: RunId, known_fingerprint: str) -> Run:
        """The run of an earlier request with the same key. Raises Conflict where that was another request."""
        if known_fingerprint != new.fingerprint:
            raise Conflict(
                "This Idempotency-Key came before with another request; use a new key for a new request.",
                key=new.idempotency_key,
            )
        known = await self._db.fetch_one(new.organization_id, Q["find"], {"run_id": run_id})
        if known is None:
            raise NotFound("run", run_id)  # deleted between the two statements
        return run_of(known)

    async def repeated(self, new: Submission) -> Run | None:
        """The run that an earlier request with the same key made. Raises Conflict where that was another request."""
        row = await self._db.fetch_one(new.organization_id, Q["known"], _key_of(new))
        return None if row is None else await self._known(new, row["run_id"], row["fingerprint"])

    async def _decide(self, conn: Connection, new: Submission) -> Submission:
        """Take the answers the run goes on with, unless an earlier request with the same key has given them."""
        if new.idempotency_key is not None:
            cursor = await conn.execute(Q["known"].encode(), _key_of(new))
            if await cursor.fetchone() is not None:
                return new
        waited = await approvals.decide(
            conn,
            new.organization_id,
            new.thread_id,
            new.run_id,
            new.answers,
            user_id=new.user_id,
            trace_id=new.trace_id,
        )
        return replace(new, kwargs={**new.kwargs, "waited_seconds": waited})

    async def submit(self, new: Submission, *, claim: bool) -> Accepted:
        """`accept`, where a concurrent request with the same idempotency key may win: then its run is returned."""
        try:
            return await self.accept(new, claim=claim)
        except DatabaseError as refused:
            if refused.sqlstate != KEY_TAKEN:
                raise
            return await self.accept(new, claim=claim)
        except Conflict:
            if new.idempotency_key is None:
                raise
            # the run that makes the thread busy may be the one of the same request, committed while we waited for the thread
            return await self.accept(new, claim=claim)

    def _claimant(self, claim: bool) -> dict[str, Any]:
        """Who takes the next run, as the statements want it; no worker where none is to be taken."""
        assert self._worker_id is not None or not claim, "start() registers the replica"
        return {
            "worker_id": self._worker_id if claim else None,
            "holder": self._holder,
            "lease_seconds": self._lease_seconds,
        }

    async def claim_next(self) -> Claim | None:
        """Take the next eligible job, whoever accepted it; None where there is none."""
        async with self._db.engine() as conn:
            row = await (await conn.execute(Q["claim"].encode(), self._claimant(True))).fetchone()
        return None if row is None else _claim_of(row)

    async def extend(self, claim: Claim) -> bool:
        """Keep the lease. Returns whether a cancel was requested. Raises StaleFence where the run was taken over."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(
                Q["extend_lease"].encode(),
                {"run_id": claim.run_id, "fence": claim.fence, "lease_seconds": self._lease_seconds},
            )
            row = await cursor.fetchone()
        if row is None:
            raise StaleFence(f"Run {claim.run_id} is held by another process.", run_id=claim.run_id)
        return bool(row["cancel_requested"])

    async def finish(
        self,
        claim: Claim,
        thread_id: ThreadId,
        status: RunStatus,
        log: Sequence[tuple[int, dict[str, Any]]],
        *,
        acting: Acting | None = None,
        error: dict[str, Any] | None = None,
        at_interrupt: bool = False,
        claim_next: bool,
    ) -> Claim | None:
        """End a run: the checkpoints `acting` has put by, its last events (the terminal one last), its row, its open tool calls,
        its thread (`at_interrupt`: it waits for somebody), its job; take the next.

        Raises StaleFence, having changed nothing, where the run was taken over.
        """
        after = "interrupted" if at_interrupt and status == "success" else _THREAD_AFTER.get(status, "idle")
        if acting is None:
            return await self._finish(claim, thread_id, status, after, log, [], error=error, claim_next=claim_next)
        async with pending(acting) as put_by:
            return await self._finish(claim, thread_id, status, after, log, put_by, error=error, claim_next=claim_next)

    async def _finish(
        self,
        claim: Claim,
        thread_id: ThreadId,
        status: RunStatus,
        thread_status: ThreadStatus,
        log: Sequence[tuple[int, dict[str, Any]]],
        put_by: Sequence[Statement],
        *,
        error: dict[str, Any] | None,
        claim_next: bool,
    ) -> Claim | None:
        # the thread before the run, as in cancel: the other way round they would deadlock
        statements = [(Q["lock_thread"], {"thread_id": thread_id}), *put_by]
        statements.append(events.appended(claim.organization_id, thread_id, claim.run_id, log, terminal=True))
        if status != "success":
            statements.append(tool_calls.abandoned(claim.run_id, _abandoned(status)))
            statements.append(children.waiting_failed(thread_id))
        finished = {
            "run_id": claim.run_id,
            "fence": claim.fence,
            "thread_id": thread_id,
            "job_id": claim.job_id,
            "status": status,
            "thread_status": thread_status,
            "error": Jsonb(error) if error else None,
            **self._claimant(claim_next),
        }
        # last, as it assumes the engine's role; a fence that was lost undoes all of it
        statements.append((Q["finish"], finished))
        with fenced(claim.run_id):
            *_, (row,) = await self._db.batch(claim.organization_id, statements)
        return _claim_of(row)

    async def _settle(self, conn: Connection, thread_id: ThreadId, status: RunStatus) -> None:
        await conn.execute(
            Q["settle_thread"].encode(), {"thread_id": thread_id, "status": _THREAD_AFTER.get(status, "idle")}
        )

    async def cancel(
        self, organization_id: OrganizationId, run: Run, log: Sequence[tuple[int, dict[str, Any]]]
    ) -> RunStatus:
        """Request the end of a run. One that still waits is over at once, with `log` as its only events, or, where it waits for
        tokens, with its next claim, for which it is due now. Returns the status.

        `log` is given without sequence numbers of its own: they are taken from the thread here.
        """
        async with self._db.tenant(organization_id) as conn:
            locked = await conn.execute(Q["lock_thread"].encode(), {"thread_id": run.thread_id})
            cursor = await conn.execute(Q["request_cancel"].encode(), {"run_id": run.run_id})
            row = await cursor.fetchone()
            if row is None or row["status"] == "running":
                return "running" if row else run.status
            if row["resumes_at"] is not None:
                # it has begun, and may have left calls open: whoever takes it up now ends it
                await conn.execute(SET_ENGINE)
                await conn.execute(Q["wake"].encode(), {"organization_id": organization_id, "run_id": run.run_id})
                return "pending"
            cursor = await conn.execute(Q["finish_pending"].encode(), {"run_id": run.run_id})
            if await cursor.fetchone() is not None:
                cursor = await conn.execute(events.Q["last_seq"].encode(), {"thread_id": run.thread_id})
                last = await cursor.fetchone()
                first = int(last["last_seq"]) + 1 if last else 1
                numbered = [(first + n, event) for n, (_, event) in enumerate(log)]
                told = [events.appended(organization_id, run.thread_id, run.run_id, numbered, terminal=True)]
                thread = await locked.fetchone()
                if row["attempt"] or not (thread and thread["interrupted"]):
                    # one that was given back to the queue may have left some open; what waits for a decision goes on waiting
                    told.append(tool_calls.abandoned(run.run_id, _abandoned("interrupted")))
                    told.append(children.waiting_failed(run.thread_id))
                for sql, params in told:
                    await conn.execute(sql.encode(), params)
                await self._settle(conn, run.thread_id, "interrupted")
        return "interrupted"

    async def release(self, claim: Claim) -> None:
        """Give a run back to the queue, in its place, for any replica to resume. No effect where it was taken over."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(Q["requeue"].encode(), {"run_id": claim.run_id, "fence": claim.fence})
            if await cursor.fetchone() is not None:
                await Queue(conn).put_back(claim.job_id)

    async def postpone(self, claim: Claim, resumes_at: datetime, *, at_most_seconds: float) -> None:
        """Give a run back to the queue, in its place, to be resumed at `resumes_at`, or after `at_most_seconds` to see whether it
        can go on sooner. No effect where it was taken over."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(
                Q["postpone"].encode(),
                {
                    "run_id": claim.run_id,
                    "fence": claim.fence,
                    "resumes_at": resumes_at,
                    "at_most_seconds": at_most_seconds,
                },
            )
            if (row := await cursor.fetchone()) is not None:
                await Queue(conn).put_back(claim.job_id, due=row["due"] or AT_ONCE)

    async def wake(self, organization_id: OrganizationId) -> None:
        """Let the organisation's runs that wait for tokens try again now."""
        async with self._db.engine() as conn:
            await conn.execute(Q["wake"].encode(), {"organization_id": organization_id, "run_id": None})

    async def sweep(self, *, limit: int = 50) -> int:
        """Put runs with an expired lease back into the queue. Returns how many. Any replica may call it, at any time."""
        async with self._db.engine() as conn:
            cursor = await conn.execute(Q["expired"].encode(), {"limit": limit})
            expired = await cursor.fetchall()
            queue = Queue(conn)
            for row in expired:
                await conn.execute(Q["requeue"].encode(), {"run_id": row["run_id"], "fence": None})
                await queue.put_back(int(row["job_id"]))
        return len(expired)

    async def depth(self) -> dict[RunStatus, int]:
        """How many runs of all organisations wait and are under way."""
        async with self._db.engine() as conn:
            rows = await (await conn.execute(Q["depth"].encode())).fetchall()
        return {row["status"]: row["runs"] for row in rows}


def _claim_of(row: Row) -> Claim | None:
    """The claim in a row; None where its columns are null: nothing was taken."""
    if row["job_id"] is None:
        return None
    return Claim(**{field.name: row[field.name] for field in fields(Claim)})


def _key_of(new: Submission) -> dict[str, Any]:
    return {"organization_id": new.organization_id, "user_id": new.user_id, "key": new.idempotency_key}


def _abandoned(status: RunStatus) -> ToolResult:
    code = "cancelled" if status == "interrupted" else "run_failed"
    return ToolResult(
        status="error", content="", error=ToolFailure(code=code, message="The run ended before the call did.")
    )
