"""The limits of the caller's organisation: tokens a day, requests a minute, and what happens when they are used up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from domain.catalogue import Catalogue
from domain.errors import InvalidInput
from domain.identity import Identity
from domain.quota import EVERY_USER, Exhaustion, Scope, model_subject
from server.deps import AppState, CallerDep, StateDep, require
from server.render.serialize import dumps
from storage.quota import LimitChange, LimitState
from storage.rate import SCOPES, RateChange

router = APIRouter(prefix="/v1/quotas", tags=["quotas"])
AdminDep = Annotated[Identity, Depends(require("admin"))]
MAX_TOKENS = 10**15
MAX_USER_ID = 200
_NEEDED = {"user": f"a user's id or '{EVERY_USER}'", "model": "'provider/model'"}
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS, strict=True)]
PerMinute = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Limit(BaseModel):
    """A daily limit. The subject of a user's is their id, or `*` for each user without one of their own; of a model's
    `provider/model` or an unambiguous name; an organisation's has none. `null` is no limit, `default` takes the own limit away."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    subject: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    daily_tokens: Tokens | Literal["default"] | None


class RatesChange(BaseModel):
    """Requests a minute of the organisation, each user, each model. What isn't named stays; `null` is no limit, `default` the
    server's."""

    model_config = ConfigDict(extra="forbid")

    organization: PerMinute | Literal["default"] | None = None
    user: PerMinute | Literal["default"] | None = None
    model: PerMinute | Literal["default"] | None = None


class QuotasChange(BaseModel):
    """What to change; the rest stays as it is."""

    model_config = ConfigDict(extra="forbid")

    limits: list[Limit] = Field([], max_length=500)
    rates: RatesChange = RatesChange()
    on_exhausted: Exhaustion | None = None


@router.get("")
async def get_quotas(state: StateDep, caller: CallerDep) -> Response:
    """Limits, what is used of them and when they reset: the organisation's, the caller's own, the models'; for managers also
    those of all users."""
    return await _quotas(state, caller)


@router.put("")
async def change_quotas(state: StateDep, caller: AdminDep, body: QuotasChange) -> Response:
    """Change limits, rates or what happens on exhaustion, all of it or none. Runs that wait for tokens try again at once."""
    limits = list(_limit_changes(state, body.limits))
    rates = [
        _rate_change(scope, getattr(body.rates, scope)) for scope in SCOPES if scope in body.rates.model_fields_set
    ]
    async with state.db.tenant(caller.organization_id) as conn:
        await state.quota.change_within(conn, caller.organization_id, limits, body.on_exhausted)
        await state.rates.change_within(conn, caller.organization_id, rates)
    state.rates.forget(caller.organization_id)
    await state.engine.budget_changed(caller.organization_id)
    return await _quotas(state, caller)


async def _quotas(state: AppState, caller: Identity) -> Response:
    today = await state.quota.today(caller.organization_id)
    subjects = await state.quota.subjects(caller.organization_id, caller.user_id, everyone=caller.at_least("manager"))
    own = await state.rates.own(caller.organization_id)
    rates = {
        scope: {
            "per_minute": own.get(scope, state.rates.defaults.of(scope)),
            "source": "own" if scope in own else "default",
        }
        for scope in SCOPES
    }
    content = {
        "day": today.day,
        "resets_at": today.resets_at,
        "on_exhausted": today.on_exhausted,
        "limits": [_shown(state) for state in (today, *subjects)],
        "rates": rates,
    }
    return Response(dumps(content), media_type="application/json")


def _shown(state: LimitState) -> dict[str, Any]:
    return {
        "scope": state.scope,
        "subject": state.subject,
        "daily_tokens": state.limit,
        "source": state.source,
        "used": state.used,
        "reserved": state.reserved,
        "remaining": state.remaining,
        "resets_at": state.resets_at,
    }


def _limit_changes(state: AppState, limits: list[Limit]) -> Iterator[LimitChange]:
    seen: set[tuple[Scope, str]] = set()
    for n, limit in enumerate(limits):
        subject = _subject_of(state, limit, f"limits.{n}.subject")
        if (limit.scope, subject) in seen:
            raise InvalidInput(f"limits.{n}", f"the limit of {limit.scope} '{subject}' is there twice")
        seen.add((limit.scope, subject))
        if limit.daily_tokens == "default":
            yield LimitChange(limit.scope, subject, clear=True)
        else:
            yield LimitChange(limit.scope, subject, limit.daily_tokens)


def _rate_change(scope: Scope, given: int | Literal["default"] | None) -> RateChange:
    return RateChange(scope, clear=True) if given == "default" else RateChange(scope, given)


def _subject_of(state: AppState, limit: Limit, field: str) -> str:
    """The subject as the ledger names it."""
    if limit.scope == "organization":
        if limit.subject is not None:
            raise InvalidInput(field, "the organisation is the caller's own; leave it out")
        return ""
    if limit.subject is None:
        raise InvalidInput(field, f"is needed: {_NEEDED[limit.scope]}")
    if limit.scope == "model":
        return _model(state.services.catalogue, limit.subject, field)
    if len(limit.subject) > MAX_USER_ID:
        raise InvalidInput(field, f"a user's id has at most {MAX_USER_ID} characters")
    return limit.subject


def _model(catalogue: Catalogue, name: str, field: str) -> str:
    """A model by "provider/model", or by a name or an alias that only one provider lists."""
    head, found, tail = name.partition("/")
    named = catalogue.provider(head)
    if found and tail and named is not None:
        return model_subject(named.name, named.model(tail).name)
    listed = [
        model_subject(spec.name, model.name)
        for spec in catalogue.providers
        for model in spec.models
        if name == model.name or name in model.aliases
    ]
    if len(listed) == 1:
        return listed[0]
    if listed:
        raise InvalidInput(
            field, f"several providers have '{name[:200]}'; name one: {', '.join(listed)}", available=listed
        )
    known = [model_subject(spec.name, model.name) for spec in catalogue.providers for model in spec.models]
    providers = [spec.name for spec in catalogue.providers]
    raise InvalidInput(
        field,
        f"there is no model '{name[:200]}'; name it as provider/model, with one of the providers {', '.join(providers)}",
        available=known,
    )
