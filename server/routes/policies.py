"""What the organisation and its users wish of the choice of models."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Response

from domain.identity import Identity
from domain.ids import UserId
from domain.policy import ModelPolicy
from server.deps import AppState, CallerDep, StateDep, require
from server.render.serialize import dumps
from server.run_requests import check_policy
from storage.policies import NOBODY

router = APIRouter(prefix="/v1/policies", tags=["policies"])
AdminDep = Annotated[Identity, Depends(require("admin"))]
PolicyBody = Annotated[ModelPolicy, Body()]


@router.get("")
async def policies(state: StateDep, caller: CallerDep) -> Response:
    """The caller's policy and the organisation's; null where there is none. A request's wishes come before both."""
    found = await state.services.policies.get(caller.organization_id, caller.user_id)
    parties = {"user": found.user, "organization": found.organization}
    return _json({name: policy.model_dump() if policy else None for name, policy in parties.items()})


@router.put("/organization")
async def put_organization(state: StateDep, caller: AdminDep, policy: PolicyBody) -> Response:
    """Replace the organisation's policy."""
    await _put(state, caller, NOBODY, policy)
    return _json({"organization": policy.model_dump()})


@router.put("/me")
async def put_mine(state: StateDep, caller: CallerDep, policy: PolicyBody) -> Response:
    """Replace the caller's own policy. It can't lift the organisation's local_only."""
    await _put(state, caller, caller.user_id, policy)
    return _json({"user": policy.model_dump()})


@router.delete("/organization", status_code=204)
async def clear_organization(state: StateDep, caller: AdminDep) -> None:
    """The organisation has no wishes any more."""
    await state.services.policies.clear(caller.organization_id, NOBODY)


@router.delete("/me", status_code=204)
async def clear_mine(state: StateDep, caller: CallerDep) -> None:
    """The caller has no wishes any more."""
    await state.services.policies.clear(caller.organization_id, caller.user_id)


async def _put(state: AppState, caller: Identity, user_id: UserId, policy: ModelPolicy) -> None:
    check_policy(policy, "body")
    state.services.chooser.named(policy)  # what can't be had is told now, not at the next question
    await state.services.policies.put(caller.organization_id, user_id, policy, updated_by=caller.user_id)


def _json(value: Any) -> Response:
    return Response(dumps(value), media_type="application/json")
