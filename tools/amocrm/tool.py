"""What a tool of the amoCRM server is, and what it works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from tools.amocrm.client import AmoClient
from tools.amocrm.directory import Directory

PREFIX = "ammo-crm-"
Effect = Literal["read", "add", "change"]
"""add: something new comes into being; change: what is there becomes something else."""

ID = {"type": "integer", "minimum": 1}
USER = {**ID, "description": "Id of the responsible user (ammo-crm-users_get)."}
LIMIT = {"type": "integer", "minimum": 1, "maximum": 100, "default": 25, "description": "How many at most."}
OFFSET = {"type": "integer", "minimum": 0, "maximum": 10_000, "default": 0, "description": "How many to skip."}


@dataclass(frozen=True, slots=True)
class Crm:
    """One account."""

    client: AmoClient
    directory: Directory
    base_url: str | None
    """Where people open the account; None for the sample, which has no pages."""


@dataclass(frozen=True, slots=True)
class CrmTool:
    """`name` is without the prefix; `run` gets validated arguments, returns a JSON object and raises a ConsiliumError."""

    name: str
    title: str
    description: str
    properties: dict[str, Any]
    required: tuple[str, ...]
    effect: Effect
    run: Callable[[Crm, dict[str, Any]], Awaitable[dict[str, Any]]]

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": False,
        }
