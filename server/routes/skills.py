"""Skills: what the agents of the caller's organisation are. The operator's can be overridden, own ones added; each change is a version."""

from __future__ import annotations

import dataclasses
import re
import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain.errors import InvalidInput, NotFound
from domain.identity import Identity
from domain.skills import SKILL_NAME, Skill, SkillDefinition, SkillRecord, SkillSource
from domain.text import clean
from domain.trace import current_trace_id
from server.answers import failed_answer, unless_gone
from server.deps import AppState, CallerDep, StateDep, require
from server.one_shot import RunFailed, by_agent
from server.render.serialize import dumps
from server.run_requests import run_request
from server.schemas import RunCreate
from server.skill_check import checked_skill
from storage.skills import KIND, SkillVersion

router = APIRouter(prefix="/v1/skills", tags=["skills"])
ManagerDep = Annotated[Identity, Depends(require("manager"))]
VersionPath = Annotated[int, Path(ge=0, le=999_999_999)]
Comment = Annotated[str, Field(max_length=300), AfterValidator(clean)]
_ETAG = re.compile(r'(?:W/)?"?(\d{1,9})"?')


class NewSkill(BaseModel):
    """A skill of the organisation's own."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=SKILL_NAME)
    definition: SkillDefinition
    comment: Comment | None = None


class NewVersion(BaseModel):
    """Another definition. `version` is the one in force that was edited: 0 for the operator's own."""

    model_config = ConfigDict(extra="forbid")
    version: int | None = Field(None, ge=0, le=999_999_999)
    definition: SkillDefinition
    comment: Comment | None = None


class TestRun(BaseModel):
    """A question to a draft, to a stored version, or to what is in force."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field(min_length=1)
    version: int | None = Field(None, ge=0, le=999_999_999)
    definition: SkillDefinition | None = None
    timeout_ms: int | None = Field(None, ge=1, le=3_600_000)


class SkillView(BaseModel):
    """A skill as the organisation has it. `version` is in force, 0 the operator's. Members see no prompts."""

    name: str
    source: SkillSource
    version: int
    last_version: int
    enabled: bool
    assistant_id: str
    definition: dict[str, Any]
    comment: str | None
    created_at: datetime | None
    created_by: str | None
    updated_at: datetime | None
    updated_by: str | None


@router.get("")
async def list_skills(state: StateDep, caller: CallerDep) -> dict[str, list[SkillView]]:
    """The operator's skills in their order, as the organisation has them, then its own; disabled ones, too."""
    found = await state.skills.read(caller.organization_id)
    return {"skills": [_view(state, caller, record) for record in found.records.values()]}


@router.post("", status_code=201)
async def create_skill(state: StateDep, caller: ManagerDep, body: NewSkill, response: Response) -> SkillView:
    """Add a specialist. The supervisor can hand over to it from the next turn on."""
    skills = await state.skills.read(caller.organization_id)
    skill = await checked_skill(state, caller.organization_id, body.name, body.definition, skills)
    await state.skills.create(caller.organization_id, skill, user_id=caller.user_id, comment=body.comment)
    return await _shown(state, caller, body.name, response)


@router.get("/{name}")
async def get_skill(state: StateDep, caller: CallerDep, name: str, response: Response) -> SkillView:
    """One skill."""
    return await _shown(state, caller, name, response)


@router.put("/{name}")
async def update_skill(
    state: StateDep,
    caller: ManagerDep,
    name: str,
    body: NewVersion,
    response: Response,
    if_match: Annotated[str | None, Header()] = None,
) -> SkillView:
    """Store a new version and put it in force. 409 where another one is in force by now than the one that was edited."""
    based_on = _based_on(body.version, if_match)
    skills = await state.skills.read(caller.organization_id)
    if name not in skills.records:
        raise NotFound("skill", name)
    skill = await checked_skill(state, caller.organization_id, name, body.definition, skills)
    await state.skills.update(caller.organization_id, skill, based_on, user_id=caller.user_id, comment=body.comment)
    return await _shown(state, caller, name, response)


@router.delete("/{name}", status_code=204)
async def delete_skill(state: StateDep, caller: ManagerDep, name: str) -> None:
    """Forget an own skill with all its versions, or all changes of the operator's."""
    await state.skills.delete(caller.organization_id, _known(name), user_id=caller.user_id)


@router.post("/{name}/enable")
async def enable_skill(state: StateDep, caller: ManagerDep, name: str, response: Response) -> SkillView:
    """The agent is there again."""
    await state.skills.set_enabled(caller.organization_id, _known(name), enabled=True, user_id=caller.user_id)
    return await _shown(state, caller, name, response)


@router.post("/{name}/disable")
async def disable_skill(state: StateDep, caller: ManagerDep, name: str, response: Response) -> SkillView:
    """Nobody can ask the agent any more, the supervisor included."""
    await state.skills.set_enabled(caller.organization_id, _known(name), enabled=False, user_id=caller.user_id)
    return await _shown(state, caller, name, response)


@router.get("/{name}/versions")
async def list_versions(state: StateDep, caller: ManagerDep, name: str) -> dict[str, list[dict[str, Any]]]:
    """The versions, newest first; 0 is the operator's."""
    record = await _record(state, caller, name)
    found = await state.skills.versions(caller.organization_id, name)
    return {"versions": [_version(version, record, whole=False) for version in found]}


@router.get("/{name}/versions/{version}")
async def get_version(state: StateDep, caller: ManagerDep, name: str, version: VersionPath) -> dict[str, Any]:
    """One version with its definition."""
    record = await _record(state, caller, name)
    found = await state.skills.version(caller.organization_id, name, version)
    return _version(found, record, whole=True)


@router.post("/{name}/versions/{version}/activate")
async def activate_version(
    state: StateDep, caller: ManagerDep, name: str, version: VersionPath, response: Response
) -> SkillView:
    """Put a former version in force again; 0 goes back to the operator's and keeps the organisation's."""
    await state.skills.activate(caller.organization_id, _known(name), version, user_id=caller.user_id)
    return await _shown(state, caller, name, response)


@router.get("/{name}/changes")
async def list_changes(
    state: StateDep,
    caller: ManagerDep,
    name: str,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:
    """Who changed what, newest first; of a deleted skill, too."""
    changes, total = await state.audit_log.page(caller.organization_id, KIND, _known(name), limit=limit, offset=offset)
    if not total:
        await _record(state, caller, name)
    shown = [{**dataclasses.asdict(change), "version": change.details.get("version")} for change in changes]
    return {"changes": shown, "total": total}


@router.post("/{name}/test")
async def test_skill(request: Request, state: StateDep, caller: ManagerDep, name: str, body: TestRun) -> Response:
    """Ask a draft or a stored version something, in a run of its own that leaves no thread. Tools that change something aren't
    executed."""
    began = time.perf_counter()
    skill, version = await _tried(state, caller, name, body)
    await state.rates.admit(caller.organization_id, caller.user_id, None)
    assistant = state.assistants.working_by(caller.organization_id, name)
    asked = RunCreate(assistant_id=assistant.name, input={"messages": [{"role": "user", "content": body.question}]})
    accepted = run_request(state.graphs, assistant, asked, max_message_chars=state.settings.max_message_chars)
    seconds = body.timeout_ms / 1000 if body.timeout_ms is not None else float(state.settings.limits.turn_seconds)
    work = by_agent(
        state.engine,
        state.model_calls,
        caller,
        dataclasses.replace(accepted, trial=skill.model_dump(mode="json")),
        seconds=seconds,
        trace_id=current_trace_id(),
    )
    try:
        generated = await unless_gone(request, work)
    except RunFailed as failed:
        return failed_answer(failed)
    if generated is None:
        return Response(status_code=499)  # nobody reads it
    latency_ms = round((time.perf_counter() - began) * 1000)
    answer = {
        **generated.as_json(latency_ms=latency_ms, trace_id=current_trace_id()),
        "route": generated.routes,
        "citations": generated.citations,
        "skill": {"name": name, "version": version},
    }
    return Response(dumps(answer), media_type="application/json")


async def _tried(state: AppState, caller: Identity, name: str, body: TestRun) -> tuple[Skill, int | None]:
    """The skill to try and its version; None for a draft."""
    if body.definition is not None and body.version is not None:
        raise InvalidInput("body.version", "can't be sent together with definition; send one of them")
    if body.definition is not None:
        if re.fullmatch(SKILL_NAME, name) is None:
            raise InvalidInput("path.name", f"must match {SKILL_NAME}")
        skills = await state.skills.read(caller.organization_id)
        return await checked_skill(state, caller.organization_id, name, body.definition, skills), None
    record = await _record(state, caller, name)
    if body.version is None or body.version == record.version:
        return record.skill, record.version
    found = await state.skills.version(caller.organization_id, name, body.version)
    return found.skill, found.version


def _based_on(version: int | None, if_match: str | None) -> int:
    """The version that was edited, from the body or the header."""
    if version is not None:
        return version
    if if_match is None:
        raise InvalidInput("body.version", "is required: the version that was edited (or send it as If-Match)")
    if (found := _ETAG.fullmatch(if_match.strip())) is None:
        raise InvalidInput("header.If-Match", 'must be a version such as "3"')
    return int(found[1])


def _known(name: str) -> str:
    """A name that can be one. Raises NotFound."""
    if re.fullmatch(SKILL_NAME, name) is None:
        raise NotFound("skill", name)
    return name


async def _record(state: AppState, caller: Identity, name: str) -> SkillRecord:
    found = (await state.skills.read(caller.organization_id)).records.get(name)
    if found is None:
        raise NotFound("skill", name)
    return found


async def _shown(state: AppState, caller: Identity, name: str, response: Response) -> SkillView:
    record = await _record(state, caller, name)
    response.headers["ETag"] = f'"{record.version}"'
    return _view(state, caller, record)


def _view(state: AppState, caller: Identity, record: SkillRecord) -> SkillView:
    hidden = {"name"} if caller.at_least("manager") else {"name", "prompt"}
    known = {field.name: getattr(record, field.name) for field in dataclasses.fields(record) if field.name != "skill"}
    return SkillView(
        name=record.skill.name,
        assistant_id=state.assistants.working_by(caller.organization_id, record.skill.name).assistant_id,
        definition=record.skill.model_dump(mode="json", exclude=hidden),
        **known,
    )


def _version(version: SkillVersion, record: SkillRecord, *, whole: bool) -> dict[str, Any]:
    definition = version.skill.model_dump(mode="json", exclude={"name"})
    return {
        "version": version.version,
        "current": version.version == record.version,
        "title": definition["title"],
        "comment": version.comment,
        "created_at": version.created_at,
        "created_by": version.created_by,
        **({"definition": definition} if whole else {}),
    }
