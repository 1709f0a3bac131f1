"""The registry: which tools there are, which an agent may use, and why one is unavailable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from domain.errors import ConfigurationError, ToolError
from tools.base import Tool


class Registry:
    """The tools of this process by name. Raises ConfigurationError for two tools of one name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise ConfigurationError(f"two tools are named '{tool.name}'; rename one")
            self._tools[tool.name] = tool

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def names(self) -> list[str]:
        """All tools, those that can't be used at the moment included."""
        return list(self._tools)

    def usable(self, allowed: Iterable[str]) -> list[Tool]:
        """The allowed tools that can be used, in the order given."""
        return [
            self._tools[name] for name in allowed if name in self._tools and self._tools[name].unavailable() is None
        ]

    def get(self, name: str, allowed: Iterable[str]) -> Tool:
        """The tool to execute. Raises ToolError naming what the agent may use where it isn't one of those."""
        usable = {tool.name: tool for tool in self.usable(allowed)}
        if name not in usable:
            raise ToolError(
                f"There is no tool '{name[:100]}' here; use one of: {', '.join(sorted(usable)) or 'none'}.",
                tool=name[:100],
            )
        return usable[name]

    def describe(self, allowed_by: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
        """Rows of `GET /v1/tools`; `allowed_by` maps each agent to its allow-list."""
        return [
            describe(tool, sorted(agent for agent, allowed in allowed_by.items() if tool.name in allowed))
            for tool in self._tools.values()
        ]


def describe(tool: Tool, agents: list[str]) -> dict[str, Any]:
    """The row of one tool, which these agents may use."""
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "parameters": tool.parameters,
        "side_effect": tool.side_effect,
        "idempotent": tool.idempotent,
        "available": tool.unavailable() is None,
        "unavailable_reason": tool.unavailable(),
        "agents": agents,
    }


def as_function(tool: Tool) -> dict[str, Any]:
    """The tool in the OpenAI function format, which every vendor class understands."""
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }
