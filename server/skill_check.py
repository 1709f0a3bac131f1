"""Whether a skill as it was sent can work here: each refusal names the field, what is wrong with it and what there is."""

from __future__ import annotations

from collections.abc import Iterable

from domain.errors import InvalidInput, NoProvider
from domain.ids import OrganizationId
from domain.skills import MAIN, MAX_DESCRIPTIONS, Skill, SkillDefinition, SkillSet
from domain.text import clean_json
from graphs.build import SUPERVISOR
from nodes.delegate import ORGANIZATION_SPECIALIST
from server.deps import AppState
from server.gateway import AUTO
from server.run_requests import check_policy

FIELD = "body.definition"
RESERVED = frozenset({SUPERVISOR, ORGANIZATION_SPECIALIST, AUTO})
"""Names that mean something else where an agent may be named."""


async def checked_skill(
    state: AppState, organization_id: OrganizationId, name: str, definition: SkillDefinition, skills: SkillSet
) -> Skill:
    """The skill to store, its text without what can't be stored. Raises InvalidInput."""
    skill = Skill.model_validate({**clean_json(definition.model_dump(mode="json")), "name": name})
    if name in RESERVED:
        raise InvalidInput("body.name", f"'{name}' is taken by the service itself; choose another name")
    _check_known(skill.tools, "tools", "tool", state.services.tools.names())
    if skill.mcp_servers:
        servers = await state.services.mcp.overviews(organization_id)
        _check_known(skill.mcp_servers, "mcp_servers", "MCP server", {one.server.name for one in servers})
    _check_model(state, skill)
    _check_descriptions(skill, skills)
    return skill


def _check_known(named: Iterable[str], field: str, noun: str, available: Iterable[str]) -> None:
    there = sorted(available)
    unknown = [name for name in named if name not in there]
    if unknown:
        listed = ", ".join(f"'{name[:100]}'" for name in unknown[:10])
        problem = f"there is no {noun} {listed}; there are: {', '.join(there) or 'none'}"
        raise InvalidInput(f"{FIELD}.{field}", problem, unknown=[name[:100] for name in unknown], available=there)


def _check_model(state: AppState, skill: Skill) -> None:
    check_policy(skill.model, f"{FIELD}.model")
    try:
        state.services.chooser.named(skill.model)
    except NoProvider as missing:
        raise InvalidInput(f"{FIELD}.model", missing.message, **missing.details) from None


def _check_descriptions(skill: Skill, skills: SkillSet) -> None:
    """Of all that the supervisor's model would read, were this one in force."""
    if skill.name == MAIN:
        return
    others = (one for name, one in skills.in_force.items() if name not in (MAIN, skill.name))
    total = len(skill.description) + sum(len(one.description) for one in others)
    if total > MAX_DESCRIPTIONS:
        raise InvalidInput(
            f"{FIELD}.description",
            f"is too much: the descriptions of all specialists would have {total} characters, more than "
            f"{MAX_DESCRIPTIONS}; shorten it, or disable another skill",
            limit=MAX_DESCRIPTIONS,
        )
