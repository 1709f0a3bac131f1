"""Executing one claimed run: the graph's stream into the log, the lease kept, an honest end whatever happens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import structlog
from langchain_core.messages import RemoveMessage
from langchain_core.messages.utils import convert_to_messages
from langchain_core.runnables import RunnableConfig
from langgraph.errors import EmptyInputError, GraphRecursionError
from langgraph.types import Command
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from domain.errors import Conflict, ConsiliumError, InvalidInput, QuotaExceeded, RunCancelled, StaleFence
from domain.identity import Identity
from domain.runs import Run, RunStatus
from domain.skills import MAIN, Skill
from graphs.build import SUPERVISOR, Graphs
from jobs.engine import JobEngine
from jobs.submission import Claim
from nodes.runtime import RunContext
from server.engine.closing import Closed, OpenCalls
from server.engine.log import RunLog, encode, public_update
from storage.events import Events
from storage.quota import QuotaLedger
from storage.saver import Acting, TenantSaver, acting_for, checkpoint_thread, write_pending
from storage.skills import Skills
from storage.threads import Threads

log = structlog.get_logger(__name__)

Ending = Literal["cancel", "release", "fenced"]
"""Why a run's task was cancelled: by request; because this process stops; because another holds the run."""
RECHECK_SECONDS = 900.0
"""A run that waits for tokens sees so often whether it can go on sooner: a default that was raised wakes nobody."""
CROWDED_SECONDS = 5.0
"""The same where tokens are only reserved, not used: they come free with the calls that hold them."""
INTERRUPT = "__interrupt__"
"""The update that says what waits for somebody."""
RECURSION_LIMIT = 250
"""Supersteps; far above what the limits of a turn allow, which end it honestly before."""


@dataclass(slots=True)
class Execution:
    """A run this process holds."""

    run: Run
    claim: Claim
    log: RunLog
    context: RunContext
    acting: Acting | None = None
    new_thread: bool = False
    """Whether the thread came into being with this run, so that there is no state to read."""
    interrupted: bool = False
    """Whether the thread's last run ended at an interrupt: what waits there is answered by this run, or never."""
    at_interrupt: bool = False
    """Whether this one has ended at one."""
    ending: Ending | None = None
    resumes_at: datetime | None = None
    """The run has no tokens left and is to wait for them until then."""
    task: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The graph has ended; its end is still to be recorded."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Everything is recorded."""

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the graph's end, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            return False
        return True

    def end(self, why: Ending) -> None:
        """Cancel the run's task, once."""
        if self.ending is None and self.task is not None and not self.ended.is_set():
            self.ending = why
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the graph ended."""

    status: RunStatus
    error: dict[str, Any] | None = None


class Executor:
    """Runs graphs for claimed runs. `flush_seconds` bounds how long an event waits to be stored."""

    def __init__(
        self,
        graphs: Graphs,
        skills: Skills,
        jobs: JobEngine,
        events: Events,
        open_calls: OpenCalls,
        saver: TenantSaver,
        quota: QuotaLedger,
        threads: Threads,
        *,
        lease_seconds: float,
        flush_seconds: float,
        turn_seconds: float,
    ) -> None:
        self._graphs = graphs
        self._skills = skills
        self._jobs = jobs
        self._events = events
        self._open_calls = open_calls
        self._saver = saver
        self._quota = quota
        self._threads = threads
        self._lease_seconds = lease_seconds
        self._flush_seconds = flush_seconds
        self._turn_seconds = turn_seconds

    async def execute(self, held: Execution, *, claim_next: bool) -> Claim | None:
        """Run it to its end and record that. Returns the next run this replica has claimed, if any.

        Raises nothing of the run's own: a failure is the run's status. A database that can't be reached leaves the run to its
        lease: the sweep hands it on.
        """
        claim, run = held.claim, held.run
        with acting_for(claim.organization_id, claim.run_id, claim.fence) as held.acting:
            held.acting.new_thread = held.new_thread
            keeper = asyncio.create_task(self._keep(held))
            flusher = asyncio.create_task(self._flush(held))
            try:
                outcome = await self._run(held)
            finally:
                # told, not cancelled: a flush that is under way must be over before the rest is stored
                held.ended.set()
                await asyncio.gather(keeper, flusher)
            if held.ending == "fenced":
                return None
            if held.ending == "release":
                await self._store(held)
                await self._jobs.release(claim)
                return None
            if held.resumes_at is not None:
                return await self._postpone(held, held.resumes_at, outcome, claim_next=claim_next)
            if outcome.status != "success":
                try:
                    _log_closed(held, await self._open_calls.cancelled(run))
                except StaleFence:
                    held.ending = "fenced"
            return await self._finish(held, outcome, run, claim_next=claim_next)

    async def _postpone(
        self, held: Execution, resumes_at: datetime, outcome: Outcome, *, claim_next: bool
    ) -> Claim | None:
        """Keep what the run has done so far and give its place to others until it has tokens again."""
        refusal = (outcome.error or {}).get("details", {})
        crowded = refusal.get("used", 0) + refusal.get("requested", 0) <= refusal.get("limit", 0)
        told = {"type": "quota_wait", "resumes_at": resumes_at.isoformat()}
        held.log.append("custom", (), {**told, **{key: refusal.get(key) for key in ("scope", "subject")}})
        await self._store(held)
        await self._jobs.postpone(
            held.claim, resumes_at, at_most_seconds=CROWDED_SECONDS if crowded else RECHECK_SECONDS
        )
        return await self._jobs.claim_next() if claim_next else None

    async def _finish(self, held: Execution, outcome: Outcome, run: Run, *, claim_next: bool) -> Claim | None:
        if outcome.error is not None:
            held.log.append("error", (), outcome.error)
        waiting = held.log.unstored()
        stored = encode(waiting, final=True)
        end = {"status": outcome.status}
        stored.append((held.log.next_seq, {"method": "end", "ns": [], "data": end}))
        following = await self._jobs.finish(
            held.claim,
            run.thread_id,
            outcome.status,
            stored,
            acting=held.acting,
            error=outcome.error,
            at_interrupt=held.at_interrupt,
            claim_next=claim_next,
        )
        if run.kwargs.get("ephemeral"):
            await self._threads.delete(_owner(run), run.thread_id)
        # Readers learn of the end once it is recorded, so that what they ask next sees it.
        held.log.append("end", (), end, terminal=True)
        return following

    async def _run(self, held: Execution) -> Outcome:
        run = held.run
        if run.cancel_requested:
            return Outcome("interrupted", _error(RunCancelled("The run was cancelled."), run))
        try:
            async with asyncio.timeout(self._turn_seconds + 60):
                await self._stream(held)
        except asyncio.CancelledError:
            if held.ending is None:
                held.ending = "release"
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
            cancelled = RunCancelled("The run was cancelled.")
            return Outcome("interrupted", _error(cancelled, run))
        except StaleFence:
            held.ending = "fenced"
            return Outcome("error")
        except TimeoutError:
            return Outcome(
                "timeout", {"error": "timeout", "error_code": "timeout", "message": "The run took too long."}
            )
        except QuotaExceeded as refused:
            if refused.waits and held.ending is None:
                held.resumes_at = refused.resets_at
                return Outcome("pending", _error(refused, run))
            return Outcome("error", _error(refused, run))
        except ConsiliumError as failed:
            log.warning("run failed", run_id=run.run_id, error_code=failed.code, error=failed.message)
            return Outcome("error", _error(failed, run))
        except EmptyInputError:
            return Outcome(
                "error", _error(InvalidInput("input", "is needed: the thread has nothing to go on from"), run)
            )
        except GraphRecursionError:
            steps = run_config(run)["recursion_limit"]
            problem = f"{steps} supersteps were not enough for this turn; raise it or leave it out"
            return Outcome("error", _error(InvalidInput("config.recursion_limit", problem), run))
        except Exception:  # recorded as the run's end; the trace goes to the log, not to the reader
            log.exception("run crashed", run_id=run.run_id)
            return Outcome("error", _error(ConsiliumError("An internal error ended the run."), run))
        return Outcome("success")

    async def _stream(self, held: Execution) -> None:
        run = held.run
        graph = self._graphs[run.graph_id]
        config = run_config(run)
        held.log.append(
            "metadata", (), {"run_id": run.run_id, "thread_id": run.thread_id, "attempt": held.claim.attempt}
        )
        payload = await self._input(held, config)
        context = await self._equipped(held)
        async for part in graph.astream(
            payload,
            config,
            context=context,
            stream_mode=["values", "updates", "messages", "custom"],
            subgraphs=True,
            version="v2",
            interrupt_before=run.kwargs.get("interrupt_before"),
            interrupt_after=run.kwargs.get("interrupt_after"),
        ):
            method = part["type"]
            data = public_update(part["data"]) if method == "updates" else part["data"]
            if method == "updates" and not part["ns"] and INTERRUPT in data:
                held.at_interrupt = True
            held.log.append(method, tuple(part["ns"]), data)
            if (retracted := _retracted(method, data)) is not None:
                held.log.append("messages", tuple(part["ns"]), (RemoveMessage(id=retracted), {}))

    async def _equipped(self, held: Execution) -> RunContext:
        """The context with the skills of this turn: those in force when the run was accepted, or later ones."""
        run = held.run
        skills = (await self._skills.at(run.organization_id, run.skills_generation)).in_force
        if (trial := run.kwargs.get("trial")) is not None:
            tried = Skill.model_validate(trial)
            skills = {**skills, tried.name: tried}
        agent = run.kwargs.get("agent") or (MAIN if run.graph_id == SUPERVISOR else run.graph_id)
        return replace(held.context, agent=agent, skills=skills, trial=trial is not None)

    async def _input(self, held: Execution, config: RunnableConfig) -> Any:
        """The run's input; None to go on from the checkpoint an earlier attempt of this run reached."""
        kwargs = held.run.kwargs
        if held.claim.attempt > 1:
            await self._quota.release_run(held.run.organization_id, held.run.run_id)
            reached = await self._saver.aget_tuple(config)
            if reached is not None and reached.metadata.get("run_id") == held.run.run_id:
                return None
        if command := kwargs.get("command"):
            if held.claim.attempt == 1 and isinstance(command.get("resume"), dict):
                await self._check_waiting(held, config, command["resume"])
            return Command(**command)
        given = kwargs.get("input")
        if given is None:
            return None
        if held.interrupted:
            _log_closed(held, await self._open_calls.undecided(held.run))
        return {**given, "messages": convert_to_messages(given.get("messages") or [])}

    async def _check_waiting(self, held: Execution, config: RunnableConfig, answers: dict[str, Any]) -> None:
        """Raises Conflict where what is answered waits no more: a run before this one has ended otherwise than it was to."""
        snapshot = await self._graphs[held.run.graph_id].aget_state(config)
        if gone := answers.keys() - {interrupt.id for interrupt in snapshot.interrupts}:
            raise Conflict("What was decided waits no more: the conversation has gone on.", interrupt_ids=sorted(gone))

    async def _keep(self, held: Execution) -> None:
        """Extend the lease; learn of a cancel that another replica accepted."""
        while not await held.ends_within(self._lease_seconds / 3):
            try:
                if await self._jobs.extend(held.claim):
                    held.end("cancel")
            except StaleFence:
                held.end("fenced")
                return
            except (OperationalError, PoolTimeout) as lost:
                log.warning("the lease can't be extended now", run_id=held.run.run_id, error=type(lost).__name__)

    async def _flush(self, held: Execution) -> None:
        while not await held.ends_within(self._flush_seconds):
            try:
                await self._store(held)
            except StaleFence:
                held.end("fenced")
                return
            except (OperationalError, PoolTimeout) as lost:
                log.warning("events can't be stored now", run_id=held.run.run_id, error=type(lost).__name__)

    async def _store(self, held: Execution) -> None:
        """What the run has put by: its checkpoints first, so that no event tells of a state that could still be lost."""
        assert held.acting is not None, "a run is executed on somebody's behalf"
        run, claim, waiting = held.run, held.claim, held.log.unstored()
        if not waiting:
            await write_pending(self._saver.db, held.acting)
            return
        stored = encode(waiting, final=False)
        await self._events.append(claim.organization_id, run.thread_id, run.run_id, claim.fence, stored, held.acting)
        held.log.mark_stored(len(waiting))


def _log_closed(held: Execution, closed: list[Closed]) -> None:
    """The reader sees what became of every call."""
    for namespace, messages in closed:
        held.log.append("updates", namespace, {"tools": {"messages": messages}})


def _retracted(method: str, data: Any) -> str | None:
    """The id of the message a custom event takes back: readers of messages alone learn of it, too."""
    return data["message_id"] if method == "custom" and data.get("type") == "retraction" else None


def run_config(run: Run) -> RunnableConfig:
    """The LangGraph config of a run. What is in it is stored in plain text with every checkpoint: no secrets."""
    asked = run.kwargs.get("config") or {}
    configurable: dict[str, Any] = {"thread_id": checkpoint_thread(run.organization_id, run.thread_id)}
    if run.kwargs.get("checkpoint_id"):
        configurable["checkpoint_id"] = run.kwargs["checkpoint_id"]
    return {
        "configurable": configurable,
        "recursion_limit": min(int(asked.get("recursion_limit") or RECURSION_LIMIT), RECURSION_LIMIT),
        "tags": list(asked.get("tags") or []),
        "metadata": {"run_id": run.run_id, "graph_id": run.graph_id, "assistant_id": run.assistant_id},
    }


def _owner(run: Run) -> Identity:
    """The run's user, as far as deleting its own thread goes."""
    return Identity(run.organization_id, run.kwargs.get("organization_name", ""), run.user_id, frozenset({"member"}))


def _error(failed: ConsiliumError, run: Run) -> dict[str, Any]:
    return {
        "error": failed.code,
        "error_code": failed.code,
        "message": failed.message,
        "trace_id": run.trace_id,
        "details": failed.details,
    }
