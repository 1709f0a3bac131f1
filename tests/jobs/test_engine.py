"""The lives of runs over two replicas: kept once, in order, and never written to by one who lost them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import connect

from domain.errors import Conflict, NotFound, StaleFence
from domain.ids import OrganizationId, RunId, ThreadId, ToolCallId, UserId, new_id
from domain.runs import RunStatus
from jobs.engine import JobEngine
from jobs.submission import Claim, Submission, fingerprint
from storage.children import Children
from storage.database import Database
from storage.events import Events
from storage.runs import Runs
from storage.saver import Acting
from storage.tool_calls import ToolCalls

Replicas = tuple[JobEngine, JobEngine]
Make = Callable[..., Submission]
Look = Callable[..., list[dict[str, Any]]]

EVERYTHING = (
    "SELECT * FROM runs ORDER BY run_id",
    "SELECT * FROM threads ORDER BY thread_id",
    "SELECT * FROM run_events ORDER BY thread_id, seq_first",
    "SELECT * FROM tool_calls ORDER BY run_id, tool_call_id",
    "SELECT * FROM idempotency_keys ORDER BY key",
    "SELECT id, lock, args, status FROM procrastinate_jobs ORDER BY id",
)


def everything(look: Look) -> list[list[dict[str, Any]]]:
    return [look(statement) for statement in EVERYTHING]


def ended(first_seq: int, status: RunStatus = "success") -> list[tuple[int, dict[str, Any]]]:
    """A run's last two events."""
    return [
        (first_seq, {"method": "updates", "ns": [], "data": {}}),
        (first_seq + 1, {"method": "end", "ns": [], "data": {"status": status}}),
    ]


def expire(look: Look, run_id: RunId) -> None:
    look("UPDATE runs SET lease_until = now() - interval '1 second' WHERE run_id = %s", run_id)


def last_seq(look: Look, thread_id: ThreadId) -> int:
    return int(look("SELECT last_seq FROM threads WHERE thread_id = %s", thread_id)[0]["last_seq"])


async def held(engine: JobEngine, new: Submission) -> Claim:
    """The submission accepted and claimed by this replica."""
    claim = (await engine.accept(new, claim=True)).claim
    assert claim is not None
    assert claim.run_id == new.run_id
    return claim


async def test_an_accepted_run_waits_until_a_replica_claims_it(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    one, two = replicas
    new = submission(kwargs={"input": {"text": "вопрос"}}, metadata={"a": 1})
    accepted = await one.accept(new, claim=False)
    assert accepted.claim is None
    assert (accepted.run.status, accepted.run.kwargs, accepted.run.metadata) == ("pending", new.kwargs, {"a": 1})
    assert accepted.last_seq == 0
    assert look("SELECT status, user_id FROM threads") == [{"status": "busy", "user_id": "ann"}]

    claim = await two.claim_next()
    assert claim is not None
    assert (claim.run_id, claim.organization_id, claim.attempt) == (new.run_id, new.organization_id, 1)
    run = await Runs(db).get(new.organization_id, new.thread_id, new.run_id)
    assert (run.status, run.fence, run.job_id) == ("running", claim.fence, claim.job_id)
    assert look("SELECT holder, lease_until > now() AS held FROM runs") == [{"holder": "replica-1", "held": True}]
    assert await one.claim_next() is None


async def test_two_replicas_claim_every_run_once(replicas: Replicas, submission: Make) -> None:
    made = [submission() for _ in range(30)]
    await asyncio.gather(*(replicas[n % 2].accept(new, claim=False) for n, new in enumerate(made)))
    claims = await asyncio.gather(*(replicas[n % 2].claim_next() for n in range(40)))
    assert sorted(claim.run_id for claim in claims if claim) == sorted(new.run_id for new in made)


async def test_a_finished_run_leaves_its_row_its_log_and_no_job(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    one, _ = replicas
    first, second = submission(), submission()
    claim = await held(one, first)
    await one.accept(second, claim=False)
    following = await one.finish(claim, first.thread_id, "success", ended(1), claim_next=True)
    assert following is not None
    assert following.run_id == second.run_id

    [run] = look("SELECT status, lease_until, holder, finished_at FROM runs WHERE run_id = %s", first.run_id)
    assert (run["status"], run["lease_until"], run["holder"]) == ("success", None, None)
    assert run["finished_at"] is not None
    assert look("SELECT run_id::text, seq_first, seq_last, terminal FROM run_events") == [
        {"run_id": first.run_id, "seq_first": 1, "seq_last": 2, "terminal": True}
    ]
    assert look("SELECT status, last_seq FROM threads WHERE thread_id = %s", first.thread_id) == [
        {"status": "idle", "last_seq": 2}
    ]
    assert [job["id"] for job in look("SELECT id FROM procrastinate_jobs")] == [following.job_id]
    assert await one.finish(following, second.thread_id, "success", ended(1), claim_next=True) is None


@pytest.mark.parametrize(
    ("status", "code", "thread"),
    [("error", "run_failed", "error"), ("timeout", "run_failed", "error"), ("interrupted", "cancelled", "idle")],
)
async def test_a_run_that_failed_closes_what_it_had_open(
    replicas: Replicas, submission: Make, look: Look, db: Database, status: RunStatus, code: str, thread: str
) -> None:
    new = submission()
    claim = await held(replicas[0], new)
    await open_call_and_child(db, new)
    error = {"error_code": "x", "message": "y"}
    await replicas[0].finish(claim, new.thread_id, status, ended(1, status), error=error, claim_next=False)
    [call] = look("SELECT status, result, finished_at FROM tool_calls")
    assert (call["status"], call["result"]["error"]["code"]) == ("failed", code)
    assert call["finished_at"] is not None
    assert look("SELECT child_status FROM threads WHERE child_status IS NOT NULL") == [{"child_status": "failed"}]
    assert look("SELECT status FROM threads WHERE thread_id = %s", new.thread_id) == [{"status": thread}]
    assert look("SELECT status, error FROM runs") == [{"status": status, "error": error}]


async def open_call_and_child(db: Database, new: Submission) -> None:
    call = ToolCallId("call-1")
    await ToolCalls(db).start(
        new.organization_id,
        new.run_id,
        new.thread_id,
        call,
        agent="supervisor",
        name="switch_to_subagent",
        arguments={},
    )
    child = ThreadId(new_id())
    await Children(db).open(
        new.organization_id, new.thread_id, child, call, agent="legal_agent", task="t", checkpoint_ns="legal:1"
    )


async def test_one_who_lost_the_run_writes_nothing(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    """Paused beyond its lease, taken over, woken up: every verb is refused and no row of any table moves."""
    one, two = replicas
    new = submission()
    stale = await held(one, new)
    await open_call_and_child(db, new)
    expire(look, new.run_id)

    async def woken() -> None:
        before = everything(look)
        with pytest.raises(StaleFence):
            await one.extend(stale)
        for status in ("success", "error", "interrupted"):
            with pytest.raises(StaleFence):
                await one.finish(stale, new.thread_id, status, ended(1, status), claim_next=True)
        await one.release(stale)
        assert everything(look) == before

    assert await two.sweep() == 1
    await woken()
    fresh = await two.claim_next()
    assert fresh is not None
    assert (fresh.run_id, fresh.attempt) == (new.run_id, 2)
    assert fresh.fence > stale.fence
    await woken()
    assert await two.finish(fresh, new.thread_id, "success", ended(1), claim_next=False) is None
    await woken()


async def test_a_finish_whose_log_has_moved_on_changes_nothing(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    new = submission()
    claim = await held(replicas[0], new)
    before = everything(look)
    with pytest.raises(StaleFence):
        await replicas[0].finish(claim, new.thread_id, "success", ended(2), claim_next=True)
    assert everything(look) == before


async def test_50_duplicate_submits_are_one_run(replicas: Replicas, submission: Make, look: Look) -> None:
    made = [submission(idempotency_key="k") for _ in range(50)]
    answers = await asyncio.gather(*(replicas[n % 2].submit(new, claim=False) for n, new in enumerate(made)))
    assert len({answer.run.run_id for answer in answers}) == 1
    assert len({repr(answer.run) for answer in answers}) == 1
    for table in ("runs", "threads", "idempotency_keys", "procrastinate_jobs"):
        assert look(f"SELECT count(*) AS n FROM {table}") == [{"n": 1}], table


async def test_50_duplicate_submits_on_one_thread_are_one_run(replicas: Replicas, submission: Make, look: Look) -> None:
    await held(replicas[0], submission(thread_id := ThreadId(new_id())))
    made = [submission(thread_id, create_thread=False, idempotency_key="k") for _ in range(50)]
    answers = await asyncio.gather(*(replicas[n % 2].submit(new, claim=True) for n, new in enumerate(made)))
    assert len({answer.run.run_id for answer in answers}) == 1
    assert all(answer.claim is None for answer in answers)
    assert look("SELECT count(*) AS n FROM runs") == [{"n": 2}]
    assert look("SELECT count(*) AS n FROM procrastinate_jobs") == [{"n": 2}]


async def test_a_key_with_another_body_is_a_conflict(replicas: Replicas, submission: Make, look: Look) -> None:
    first = submission(idempotency_key="k")
    await replicas[0].submit(first, claim=False)
    before = everything(look)
    with pytest.raises(Conflict) as refused:
        await replicas[1].submit(submission(idempotency_key="k", fingerprint=fingerprint({"input": "y"})), claim=True)
    assert refused.value.status == 409
    assert refused.value.details == {"key": "k"}
    assert everything(look) == before


async def test_of_two_bodies_under_one_key_at_once_one_is_kept(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    made = [submission(idempotency_key="k", fingerprint=fingerprint({"input": n % 2})) for n in range(20)]
    answers = await asyncio.gather(
        *(replicas[n // 2 % 2].submit(new, claim=False) for n, new in enumerate(made)), return_exceptions=True
    )
    refused = [isinstance(answer, Conflict) for answer in answers]
    assert refused in ([False, True] * 10, [True, False] * 10)
    assert look("SELECT count(*) AS n FROM runs") == [{"n": 1}]


async def test_a_key_is_its_users_own(replicas: Replicas, submission: Make, other_organization: OrganizationId) -> None:
    made = [
        submission(idempotency_key="k"),
        submission(idempotency_key="k", user_id=UserId("bob")),
        submission(idempotency_key="k", organization_id=other_organization),
    ]
    runs = [(await replicas[0].submit(new, claim=False)).run.run_id for new in made]
    assert runs == [new.run_id for new in made]


async def test_a_repeat_answers_with_the_run_as_it_is_now(replicas: Replicas, submission: Make) -> None:
    new = submission(idempotency_key="k")
    claim = (await replicas[0].submit(new, claim=True)).claim
    assert claim is not None
    await replicas[0].finish(claim, new.thread_id, "success", ended(1), claim_next=False)
    again = await replicas[1].submit(submission(idempotency_key="k"), claim=True)
    assert (again.run.run_id, again.run.status, again.claim) == (new.run_id, "success", None)


async def test_20_submits_on_one_thread_are_executed_in_order_one_at_a_time(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    thread_id = ThreadId(new_id())
    made = [submission(thread_id) for _ in range(20)]
    for n, new in enumerate(made):
        await replicas[n % 2].accept(new, claim=False)
    await check_order(replicas, look, thread_id, [new.run_id for new in made])


async def test_20_submits_at_once_on_one_thread_are_all_kept(replicas: Replicas, submission: Make, look: Look) -> None:
    thread_id = ThreadId(new_id())
    made = [submission(thread_id) for _ in range(20)]
    accepted = await asyncio.gather(
        *(replicas[n % 2].accept(new, claim=n % 5 == 0) for n, new in enumerate(made)),
    )
    [claim] = [answer.claim for answer in accepted if answer.claim]
    queued = look("SELECT args->>'run_id' AS run_id FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id")
    order = [RunId(row["run_id"]) for row in queued]
    assert sorted([claim.run_id, *order]) == sorted(new.run_id for new in made)
    await replicas[0].finish(claim, thread_id, "success", ended(1), claim_next=False)
    await check_order(replicas, look, thread_id, order)


async def check_order(replicas: Replicas, look: Look, thread_id: ThreadId, order: list[RunId]) -> None:
    """Both replicas ask each time; one gets the next, the other nothing until that is over."""
    for n, expected in enumerate(order):
        claims = await asyncio.gather(*(engine.claim_next() for engine in replicas))
        [claim] = [claim for claim in claims if claim]
        assert claim.run_id == expected, n
        busy = look("SELECT status FROM threads WHERE thread_id = %s", thread_id)
        assert busy == [{"status": "busy"}]
        seq = last_seq(look, thread_id) + 1
        await replicas[claims.index(claim)].finish(claim, thread_id, "success", ended(seq), claim_next=False)
    assert [await engine.claim_next() for engine in replicas] == [None, None]
    assert look("SELECT status FROM threads WHERE thread_id = %s", thread_id) == [{"status": "idle"}]


async def test_reject_refuses_a_busy_thread_and_takes_an_idle_one(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    one, two = replicas
    first = submission(multitask_strategy="reject")
    claim = await held(one, first)
    before = everything(look)
    with pytest.raises(Conflict):
        await two.submit(submission(first.thread_id, multitask_strategy="reject"), claim=True)
    assert everything(look) == before
    await one.finish(claim, first.thread_id, "success", ended(1), claim_next=False)
    await held(two, submission(first.thread_id, multitask_strategy="reject"))


async def test_20_rejecting_submits_at_once_on_one_thread_give_one_run(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    thread_id = ThreadId(new_id())
    answers = await asyncio.gather(
        *(replicas[n % 2].submit(submission(thread_id, multitask_strategy="reject"), claim=False) for n in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19
    assert look("SELECT count(*) AS n FROM runs") == [{"n": 1}]


async def test_a_foreign_thread_answers_as_a_missing_one(
    replicas: Replicas, submission: Make, look: Look, other_organization: OrganizationId
) -> None:
    known = submission()
    await replicas[0].accept(known, claim=False)
    before = everything(look)
    refused = []
    for new in (
        submission(known.thread_id, organization_id=other_organization, create_thread=False),
        submission(known.thread_id, organization_id=other_organization, see_all_threads=True),
        submission(known.thread_id, user_id=UserId("bob")),
        submission(create_thread=False),
    ):
        with pytest.raises(NotFound) as answer:
            await replicas[1].submit(new, claim=True)
        refused.append(answer.value.message.replace(new.thread_id, "ID"))
    assert len(set(refused)) == 1
    assert everything(look) == before
    manager = submission(known.thread_id, user_id=UserId("bob"), see_all_threads=True)
    assert (await replicas[1].submit(manager, claim=False)).run.user_id == "bob"


async def test_a_child_conversation_takes_no_run_of_its_own(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    parent = submission()
    await replicas[0].accept(parent, claim=False)
    await open_call_and_child(db, parent)
    [child] = look("SELECT thread_id::text FROM threads WHERE parent_thread_id IS NOT NULL")
    with pytest.raises(Conflict) as refused:
        await replicas[0].accept(submission(ThreadId(child["thread_id"])), claim=True)
    assert refused.value.details["parent_thread_id"] == parent.thread_id


async def test_a_waiting_run_is_cancelled_at_once(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    one, two = replicas
    first = submission()
    claim = await held(one, first)
    second, third = submission(first.thread_id), submission(first.thread_id)
    waiting = (await one.accept(second, claim=False)).run
    await one.accept(third, claim=False)
    assert await two.cancel(first.organization_id, waiting, ended(0, "interrupted")) == "interrupted"
    before = everything(look)
    await one.cancel(first.organization_id, waiting, ended(0, "interrupted"))
    assert everything(look) == before
    assert look("SELECT seq_first, seq_last, terminal FROM run_events WHERE run_id = %s", second.run_id) == [
        {"seq_first": 1, "seq_last": 2, "terminal": True}
    ]
    assert look("SELECT status FROM threads") == [{"status": "busy"}]
    following = await one.finish(claim, first.thread_id, "success", ended(3), claim_next=True)
    assert following is not None
    assert following.run_id == third.run_id, "the cancelled run is passed over"
    assert look("SELECT count(*) AS n FROM procrastinate_jobs") == [{"n": 1}]
    run = await Runs(db).get(second.organization_id, second.thread_id, second.run_id)
    assert (run.status, run.attempt) == ("interrupted", 0)


async def test_a_running_run_learns_of_its_cancel_with_its_next_heartbeat(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    one, two = replicas
    new = submission()
    claim = await held(one, new)
    run = await Runs(db).get(new.organization_id, new.thread_id, new.run_id)
    assert await one.extend(claim) is False
    assert await two.cancel(new.organization_id, run, ended(0, "interrupted")) == "running"
    assert look("SELECT count(*) AS n FROM run_events") == [{"n": 0}]
    assert await one.extend(claim) is True
    await one.finish(claim, new.thread_id, "interrupted", ended(1, "interrupted"), claim_next=False)

    before = everything(look)
    over = await Runs(db).get(new.organization_id, new.thread_id, new.run_id)
    assert await two.cancel(new.organization_id, over, ended(0, "interrupted")) == "interrupted"
    assert everything(look) == before


async def test_a_cancel_of_another_organisation_has_no_effect(
    replicas: Replicas, submission: Make, look: Look, other_organization: OrganizationId
) -> None:
    run = (await replicas[0].accept(submission(), claim=False)).run
    before = everything(look)
    await replicas[1].cancel(other_organization, run, ended(0, "interrupted"))
    assert everything(look) == before


async def test_an_expired_lease_is_swept_once_and_resumed_elsewhere_in_its_place(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    one, two = replicas
    first = submission()
    lost = await held(one, first)
    later = submission(first.thread_id)
    await two.accept(later, claim=False)
    assert await two.sweep() == 0
    assert await two.claim_next() is None

    expire(look, first.run_id)
    assert sorted(await asyncio.gather(one.sweep(), two.sweep())) == [0, 1]
    assert look("SELECT status, holder, lease_until FROM runs WHERE run_id = %s", first.run_id) == [
        {"status": "pending", "holder": None, "lease_until": None}
    ]
    claim = await two.claim_next()
    assert claim is not None
    assert (claim.run_id, claim.attempt, claim.job_id) == (first.run_id, 2, lost.job_id)
    following = await two.finish(claim, first.thread_id, "success", ended(1), claim_next=True)
    assert following is not None
    assert following.run_id == later.run_id


async def test_a_heartbeat_keeps_a_lease_from_the_sweep(replicas: Replicas, submission: Make, look: Look) -> None:
    new = submission()
    claim = await held(replicas[0], new)
    expire(look, new.run_id)
    assert await replicas[0].extend(claim) is False
    assert await replicas[1].sweep() == 0


async def test_many_expired_leases_are_shared_by_the_sweeping_replicas(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    made = [submission() for _ in range(12)]
    for new in made:
        await held(replicas[0], new)
        expire(look, new.run_id)
    swept = await asyncio.gather(*(replicas[n % 2].sweep(limit=5) for n in range(6)))
    assert sum(swept) + await replicas[0].sweep() == len(made)
    claims = await asyncio.gather(*(replicas[1].claim_next() for _ in made))
    assert sorted(claim.run_id for claim in claims if claim) == sorted(new.run_id for new in made)


async def test_a_replica_that_is_gone_leaves_its_runs_to_the_others(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    one, two = replicas
    new = submission()
    await held(one, new)
    await one.stop()
    expire(look, new.run_id)
    assert await two.sweep() == 1
    claim = await two.claim_next()
    assert claim is not None
    assert claim.run_id == new.run_id
    await one.start()


async def test_a_released_run_goes_on_at_another_replica_in_its_place(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    one, two = replicas
    first = submission()
    claim = await held(one, first)
    await one.accept(submission(first.thread_id), claim=False)
    await one.release(claim)
    taken = await two.claim_next()
    assert taken is not None
    assert (taken.run_id, taken.attempt) == (first.run_id, 2)
    before = everything(look)
    await one.release(claim)
    assert everything(look) == before
    with pytest.raises(StaleFence):
        await one.extend(claim)


async def test_a_run_in_the_queue_is_cancelled_although_it_had_begun(
    replicas: Replicas, submission: Make, db: Database
) -> None:
    one, two = replicas
    new = submission()
    await one.release(await held(one, new))
    run = await Runs(db).get(new.organization_id, new.thread_id, new.run_id)
    assert await two.cancel(new.organization_id, run, ended(0, "interrupted")) == "interrupted"
    assert await one.claim_next() is None


async def test_50_duplicate_submits_that_reject_a_busy_thread_are_one_run(
    replicas: Replicas, submission: Make, look: Look
) -> None:
    """Those that waited for the thread find it busy with the run of their own request, which is no conflict."""
    first = submission()
    claim = await held(replicas[0], first)
    await replicas[0].finish(claim, first.thread_id, "success", ended(1), claim_next=False)
    made = [
        submission(first.thread_id, create_thread=False, multitask_strategy="reject", idempotency_key="k")
        for _ in range(50)
    ]
    answers = await asyncio.gather(*(replicas[n % 2].submit(new, claim=False) for n, new in enumerate(made)))
    assert len({answer.run.run_id for answer in answers}) == 1
    with pytest.raises(Conflict):
        await replicas[0].submit(
            submission(first.thread_id, multitask_strategy="reject", idempotency_key="other"), claim=False
        )
    assert look("SELECT count(*) AS n FROM runs") == [{"n": 2}]


async def test_a_list_of_runs_is_in_the_order_of_execution(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    thread_id = ThreadId(new_id())
    made = [submission(thread_id) for _ in range(20)]
    await asyncio.gather(*(replicas[n % 2].accept(new, claim=False) for n, new in enumerate(made)))
    queued = look("SELECT args->>'run_id' AS run_id FROM procrastinate_jobs ORDER BY id DESC")
    listed = await Runs(db).list(made[0].organization_id, thread_id, limit=50, offset=0)
    assert [run.run_id for run in listed] == [row["run_id"] for row in queued]


async def test_a_cancelled_run_that_had_begun_leaves_nothing_open(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    new = submission()
    claim = await held(replicas[0], new)
    await open_call_and_child(db, new)
    await replicas[0].release(claim)
    run = await Runs(db).get(new.organization_id, new.thread_id, new.run_id)
    assert await replicas[1].cancel(new.organization_id, run, ended(0, "interrupted")) == "interrupted"
    [call] = look("SELECT status, result FROM tool_calls")
    assert (call["status"], call["result"]["error"]["code"]) == ("failed", "cancelled")
    assert look("SELECT child_status FROM threads WHERE child_status IS NOT NULL") == [{"child_status": "failed"}]


async def test_events_of_one_who_lost_the_run_are_refused(
    replicas: Replicas, submission: Make, look: Look, db: Database
) -> None:
    new = submission()
    stale = await held(replicas[0], new)
    await replicas[0].release(stale)
    before = everything(look)
    with pytest.raises(StaleFence):
        await Events(db).append(
            new.organization_id, new.thread_id, new.run_id, stale.fence, ended(1), Acting(new.organization_id)
        )
    assert everything(look) == before


@pytest.mark.parametrize("verb", ["finish", "append"])
async def test_a_cancel_during_a_write_of_the_run_is_no_deadlock(
    replicas: Replicas, submission: Make, look: Look, db: Database, owner_dsn: str, verb: str
) -> None:
    """Both want the run and its thread. The run is kept locked until both wait, the writer first."""
    one, two = replicas
    new = submission()
    claim = await held(one, new)
    run = await Runs(db).get(new.organization_id, new.thread_id, new.run_id)

    async def waiting(number: int) -> None:
        blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while len(look(blocked)) < number:
            await asyncio.sleep(0.01)

    with connect(owner_dsn) as keeper:
        keeper.execute("SELECT FROM runs FOR UPDATE")
        if verb == "finish":
            write = one.finish(claim, new.thread_id, "success", ended(1), claim_next=False)
        else:
            write = Events(db).append(
                new.organization_id, new.thread_id, new.run_id, claim.fence, ended(1), Acting(new.organization_id)
            )
        writer = asyncio.create_task(write)
        await waiting(1)
        canceller = asyncio.create_task(two.cancel(new.organization_id, run, ended(0, "interrupted")))
        await waiting(2)
        keeper.rollback()
    assert await writer is None
    assert await canceller == "running"
    assert last_seq(look, new.thread_id) == 2
