"""The run engine of one replica: accept, execute outside the request, cancel, sweep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Container
from dataclasses import fields
from typing import Any

import structlog
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from domain.errors import Conflict, InvalidInput, StaleFence
from domain.identity import Identity
from domain.ids import OrganizationId, RunId, ThreadId, TraceId, UserId, new_id
from domain.policy import ModelPolicy
from domain.runs import TERMINAL, Event, Run, RunStatus
from domain.trace import set_trace_id
from jobs.engine import JobEngine
from jobs.submission import Accepted, Claim, Submission, fingerprint
from nodes.context import whole_query
from nodes.runtime import RunContext
from providers.chooser import Chooser
from retrieval.recall import Asked, Recall
from server.engine.contract import Resumption, RunRequest
from server.engine.executor import Execution, Executor
from server.engine.log import RunLog
from server.engine.reader import FOLLOW_SECONDS, Reader
from storage.events import Events
from storage.quota import QuotaLedger
from storage.runs import Runs
from storage.saver import TenantSaver
from storage.skills import Skills
from storage.threads import Threads

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
QUOTA_SECONDS = 2.0
REMEMBERED_USERS = 10_000
"""Of whom it is known that they had tokens a moment ago."""
SERVED_STRATEGIES = ("reject", "enqueue")


class Engine:
    """See server/engine/contract.py for the methods the surfaces use."""

    def __init__(
        self,
        *,
        jobs: JobEngine,
        executor: Executor,
        runs: Runs,
        threads: Threads,
        events: Events,
        saver: TenantSaver,
        graphs: Any,
        chooser: Chooser,
        quota: QuotaLedger,
        recall: Recall,
        skills: Skills,
        max_concurrent_runs: int,
    ) -> None:
        self._jobs = jobs
        self._executor = executor
        self._runs = runs
        self._threads = threads
        self._events = events
        self._chooser = chooser
        self._quota = quota
        self._recall = recall
        self._skills = skills
        self._max = max_concurrent_runs
        self._live: dict[RunId, Execution] = {}
        self._reader = Reader(self._live, events, saver, graphs)
        self._tasks: set[asyncio.Task[None]] = set()
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False
        self._had_tokens: dict[tuple[OrganizationId, UserId], float] = {}

    async def start(self) -> None:
        """Register with the queue and begin to take runs, those an earlier process left behind included."""
        await self._jobs.start()
        self._poller = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Give every run back to the queue, with its log stored, and leave."""
        self._stopping = True
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        for held in list(self._live.values()):
            held.end("release")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._jobs.stop()

    async def submit(
        self,
        identity: Identity,
        thread_id: ThreadId,
        request: RunRequest,
        *,
        idempotency_key: str | None,
        trace_id: TraceId,
        create_thread: bool = False,
        thread_metadata: dict[str, Any] | None = None,
        own_thread: bool = False,
        ephemeral: bool = False,
        resumption: Resumption | None = None,
    ) -> Run:
        if request.multitask_strategy not in SERVED_STRATEGIES:
            raise InvalidInput("multitask_strategy", f"must be one of {', '.join(SERVED_STRATEGIES)}")
        asked = {**request.config.get("configurable", {}), **request.context}
        await self._check_model(identity, asked)
        await self._check_quota(identity)
        submission = self._submission(
            identity,
            thread_id,
            request,
            idempotency_key=idempotency_key,
            trace_id=trace_id,
            create_thread=create_thread or own_thread or ephemeral,
            thread_metadata=thread_metadata,
            told_thread=None if own_thread or ephemeral else thread_id,
            ephemeral=ephemeral,
            resumption=resumption,
        )
        if room := self._has_room():
            self._search_ahead(submission, request)
        accepted = await self._jobs.submit(submission, claim=room)
        if accepted.claim is not None:
            mine = accepted.run if accepted.claim.run_id == accepted.run.run_id else None
            self._begin(accepted.claim, mine, accepted if mine else None)
        return accepted.run

    async def repeated(
        self, identity: Identity, thread_id: ThreadId, request: RunRequest, *, idempotency_key: str, trace_id: TraceId
    ) -> Run | None:
        submission = self._submission(
            identity, thread_id, request, idempotency_key=idempotency_key, trace_id=trace_id, told_thread=thread_id
        )
        return await self._jobs.repeated(submission)

    def _search_ahead(self, new: Submission, request: RunRequest) -> None:
        """Begin what the turn begins with while its run is being accepted. Which skills are in force is sure only then; a search
        that turns out to be another is made anew."""
        skill = self._skills.likely(new.organization_id).get(request.agent)
        query = whole_query(request.input)
        if skill is not None and query is not None:
            wanted = skill.retrieval
            self._recall.begin(new.run_id, Asked(new.organization_id, query, wanted.passages, wanted.notes))

    def _submission(
        self,
        identity: Identity,
        thread_id: ThreadId,
        request: RunRequest,
        *,
        idempotency_key: str | None,
        trace_id: TraceId,
        told_thread: ThreadId | None,
        create_thread: bool = False,
        thread_metadata: dict[str, Any] | None = None,
        ephemeral: bool = False,
        resumption: Resumption | None = None,
    ) -> Submission:
        """`told_thread` is the thread the request names."""
        asked = {field.name: getattr(request, field.name) for field in fields(request)}
        kwargs = {key: value for key, value in asked.items() if key not in ("assistant_id", "graph_id", "metadata")}
        if resumption is not None:
            kwargs["command"] = {**(request.command or {}), "resume": resumption.resume}
        return Submission(
            run_id=RunId(new_id()),
            thread_id=thread_id,
            organization_id=identity.organization_id,
            user_id=identity.user_id,
            see_all_threads=identity.at_least("manager"),
            assistant_id=request.assistant_id,
            graph_id=request.graph_id,
            trace_id=trace_id,
            kwargs={**kwargs, "organization_name": identity.organization_name, "ephemeral": ephemeral},
            metadata=request.metadata,
            multitask_strategy=request.multitask_strategy,
            create_thread=create_thread,
            thread_metadata=thread_metadata or {},
            idempotency_key=idempotency_key,
            fingerprint=fingerprint({**asked, "thread_id": told_thread, "kept": not ephemeral}),
            answers=resumption.answers if resumption is not None else (),
        )

    async def _check_model(self, identity: Identity, asked: dict[str, Any]) -> None:
        """A model that can't be had is refused before the run is accepted."""
        wishes, to_schema = ModelPolicy.of(asked), asked.get("response_schema") is not None
        if to_schema or wishes != ModelPolicy():
            await self._chooser.route(identity.organization_id, identity.user_id, wishes, json_output=to_schema)

    async def _check_quota(self, identity: Identity) -> None:
        """A day that is used up is refused at the door, unless runs are to wait. Whoever had tokens left a moment ago isn't asked
        again: what counts is the reservation before every model call."""
        who = identity.organization_id, identity.user_id
        if time.monotonic() - self._had_tokens.get(who, float("-inf")) < QUOTA_SECONDS:
            return
        refusal = await self._quota.used_up(*who)
        if refusal is not None and not refusal.waits:
            raise refusal
        if len(self._had_tokens) >= REMEMBERED_USERS:
            self._had_tokens.clear()
        self._had_tokens[who] = time.monotonic()

    async def budget_changed(self, organization_id: OrganizationId) -> None:
        """The organisation has other limits now: its runs that wait for tokens try again."""
        for who in [who for who in self._had_tokens if who[0] == organization_id]:
            del self._had_tokens[who]
        await self._jobs.wake(organization_id)
        await self._take()

    def tail(
        self, organization_id: OrganizationId, run: Run, *, after_seq: int | None, methods: Container[str] | None = None
    ) -> AsyncIterator[Event | None]:
        return self._reader.tail(organization_id, run, after_seq or 0, methods)

    async def cancel(self, organization_id: OrganizationId, run: Run, *, wait: bool) -> None:
        held = self._live.get(run.run_id)
        if held is not None and held.run.organization_id == organization_id:
            held.end("cancel")
            if wait:
                await held.over.wait()
            return
        error = {"error": "run_cancelled", "error_code": "run_cancelled", "message": "The run was cancelled."}
        ended = [
            (0, {"method": "error", "ns": [], "data": error}),
            (0, {"method": "end", "ns": [], "data": {"status": "interrupted"}}),
        ]
        status = await self._jobs.cancel(organization_id, run, ended)
        if status == "pending":
            await self._take()
        while wait and status not in TERMINAL:
            await asyncio.sleep(FOLLOW_SECONDS)
            status = (await self._runs.get(organization_id, run.thread_id, run.run_id)).status

    async def get_run(self, organization_id: OrganizationId, thread_id: ThreadId, run_id: RunId) -> Run:
        return await self._runs.get(organization_id, thread_id, run_id)

    async def list_runs(
        self,
        organization_id: OrganizationId,
        thread_id: ThreadId,
        *,
        limit: int,
        offset: int,
        status: RunStatus | None = None,
    ) -> list[Run]:
        return await self._runs.list(organization_id, thread_id, limit=limit, offset=offset, status=status)

    async def delete_run(self, organization_id: OrganizationId, thread_id: ThreadId, run_id: RunId) -> None:
        run = await self._runs.get(organization_id, thread_id, run_id)
        if not await self._runs.delete(organization_id, thread_id, run_id):
            raise Conflict("The run is not over; cancel it first.", run_id=run.run_id, status=run.status)

    async def values(self, organization_id: OrganizationId, run: Run) -> dict[str, Any]:
        return await self._reader.values(organization_id, run)

    async def depth(self) -> dict[RunStatus, int]:
        """How many runs of all organisations wait and are under way."""
        return await self._jobs.depth()

    def _has_room(self) -> bool:
        return not self._stopping and len(self._live) < self._max

    def _begin(self, claim: Claim, run: Run | None, accepted: Accepted | None) -> None:
        """Start executing. A run we have at hand is registered at once, so that its first reader finds it here."""
        held = None
        if run is not None and accepted is not None:
            held = self._register(claim, run, accepted.last_seq)
            held.new_thread, held.interrupted = accepted.new_thread, accepted.interrupted
        task = asyncio.create_task(self._hold(claim, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _register(self, claim: Claim, run: Run, last_seq: int) -> Execution:
        held = Execution(run, claim, RunLog(run.run_id, last_seq + 1), _context(run))
        self._live[run.run_id] = held
        return held

    async def _load(self, claim: Claim) -> Execution | None:
        """A claimed run that another process accepted; None where it was deleted with its thread meanwhile."""
        run = await self._runs.find(claim.organization_id, claim.run_id)
        if run is None:
            return None
        last_seq, interrupted = await self._events.last_seq(claim.organization_id, run.thread_id)
        held = self._register(claim, run, last_seq)
        held.interrupted = interrupted
        return held

    async def _hold(self, claim: Claim, held: Execution | None) -> None:
        """Execute a claimed run, then the one claimed with its end, and so on."""
        following: Claim | None = claim
        while following is not None:
            try:
                held = held or await self._load(following)
                if held is None:
                    return
                following = await self._execute(held)
            except StaleFence:
                log.warning("another replica holds the run", run_id=claim.run_id)
                return
            except Exception:  # whatever it is, the run must not be lost with it: the sweep takes it up again
                log.exception("the run is left to its lease", run_id=claim.run_id)
                return
            held = None

    async def _execute(self, held: Execution) -> Claim | None:
        run = held.run
        held.task = asyncio.current_task()
        structlog.contextvars.bind_contextvars(trace_id=run.trace_id, run_id=run.run_id)
        set_trace_id(run.trace_id)
        try:
            return await self._executor.execute(held, claim_next=not self._stopping)
        finally:
            if self._live.get(run.run_id) is held:  # one that was put back may have been claimed again by now
                del self._live[run.run_id]
            held.log.close("running" if held.resumes_at is None else "pending")
            held.over.set()

    async def _take(self) -> None:
        """Take waiting runs while there is room."""
        while self._has_room() and (claim := await self._jobs.claim_next()):
            self._begin(claim, None, None)

    async def _poll(self) -> None:
        """Sweep expired leases and take waiting runs while there is room."""
        while True:
            try:
                await self._jobs.sweep()
                await self._quota.sweep()
                await self._take()
            except (OperationalError, PoolTimeout) as lost:
                log.warning("the queue can't be read", error=type(lost).__name__)
            await asyncio.sleep(POLL_SECONDS)


def _context(run: Run) -> RunContext:
    asked = {**(run.kwargs.get("config") or {}).get("configurable", {}), **(run.kwargs.get("context") or {})}
    return RunContext(
        organization_id=run.organization_id,
        organization_name=run.kwargs.get("organization_name", ""),
        user_id=UserId(run.user_id),
        run_id=run.run_id,
        thread_id=run.thread_id,
        trace_id=run.trace_id,
        mode=asked.get("mode") or "chat",
        response_schema=asked.get("response_schema"),
        orchestration=asked.get("orchestration") or "graph",
        wishes=ModelPolicy.of(asked),
        waited_seconds=run.waited_seconds + float(run.kwargs.get("waited_seconds") or 0),
        outlived=not run.kwargs.get("ephemeral"),
    )
