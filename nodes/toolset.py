"""What one agent may call in one organisation: the tools of this process and those of MCP servers."""

from __future__ import annotations

from domain.ids import OrganizationId
from domain.skills import Skill
from nodes.runtime import Services
from tools.base import Tool


async def usable_tools(services: Services, organization_id: OrganizationId, skill: Skill) -> list[Tool]:
    """In a stable order: a model's cache of the prompt depends on it."""
    return [*services.tools.usable(skill.tools), *await services.mcp.usable(organization_id, skill)]


async def find_tool(services: Services, organization_id: OrganizationId, skill: Skill, name: str) -> Tool:
    """The tool to execute. Raises ToolError naming what the agent may use where it isn't one of those."""
    if name not in services.tools and (tool := await services.mcp.get(organization_id, skill, name)) is not None:
        return tool
    return services.tools.get(name, skill.tools)


def needs_approval(skill: Skill, tool: Tool) -> bool:
    """Whether this agent's call of the tool waits for a person."""
    return skill.needs_approval(tool.name, side_effect=tool.side_effect, outside=tool.outside)
