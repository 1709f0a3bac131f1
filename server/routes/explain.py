"""Why the models of a run, or of any other request, were chosen, what was tried and what it cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from domain.errors import NotFound
from domain.ids import RunId, TraceId, is_uuid
from server.deps import CallerDep, StateDep
from server.render.serialize import dumps
from storage.model_calls import StoredCall

router = APIRouter(tags=["runs"])


@router.get("/threads/{thread_id}/runs/{run_id}/explain")
async def explain(state: StateDep, caller: CallerDep, thread_id: str, run_id: str) -> Response:
    """Every model call of a run, oldest first: candidates, eliminations with reasons, scores, breaker states, quota, attempts.

    `unrecorded` are reservations whose call hasn't ended: it is under way, or its process was lost. `tokens` sums the ledger's
    share of both: every token of the run is in it.
    """
    thread = await state.threads.get(caller, thread_id)
    if not is_uuid(run_id):
        raise NotFound("run", run_id)
    run = await state.engine.get_run(caller.organization_id, thread.thread_id, RunId(run_id.lower()))
    calls = await state.model_calls.of_run(caller.organization_id, run.run_id)
    unrecorded = await state.model_calls.unrecorded(caller.organization_id, run.run_id)
    shown = [_call(call) for call in calls]
    attempts = [attempt for call in calls for attempt in call.record.attempts]
    tokens = {
        "prompt": sum(a.prompt_tokens or 0 for a in attempts) + sum(u.prompt or 0 for u in unrecorded),
        "completion": sum(a.completion_tokens or 0 for a in attempts) + sum(u.completion or 0 for u in unrecorded),
    }
    body = {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "status": run.status,
        "calls": shown,
        "unrecorded": [asdict(entry) for entry in unrecorded],
        "tokens": tokens,
    }
    return Response(dumps(body), media_type="application/json")


@router.get("/v1/explain/{trace_id}")
async def explain_trace(state: StateDep, caller: CallerDep, trace_id: str) -> Response:
    """Every model call of the request with this trace id, oldest first, whether it was answered or failed.

    Members are shown what they asked themselves, managers what anybody of the organisation did.
    """
    user_id = None if caller.at_least("manager") else caller.user_id
    calls = await state.model_calls.of_trace(caller.organization_id, TraceId(trace_id.lower()), user_id=user_id)
    if not calls:
        raise NotFound("trace", trace_id)
    attempts = [attempt for call in calls for attempt in call.record.attempts]
    body = {
        "trace_id": trace_id.lower(),
        "calls": [_call(call) for call in calls],
        "tokens": {
            "prompt": sum(attempt.prompt_tokens or 0 for attempt in attempts),
            "completion": sum(attempt.completion_tokens or 0 for attempt in attempts),
        },
    }
    return Response(dumps(body), media_type="application/json")


def _call(call: StoredCall) -> dict[str, Any]:
    return {**call.record.model_dump(mode="json", exclude={"organization_id"}), "ended_at": call.ended_at}
