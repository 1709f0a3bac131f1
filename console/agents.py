"""What people call the agents."""

from __future__ import annotations

from typing import Any

from console.api import Api
from console.texts import Language


class Agents:
    """The agents' titles in one language; an agent that isn't known goes by its name."""

    def __init__(self, rows: list[dict[str, Any]], language: Language) -> None:
        self._titles = {str(row["name"]): str((row.get("title") or {}).get(language) or row["name"]) for row in rows}

    @classmethod
    async def load(cls, api: Api, language: Language) -> Agents:
        """Raises ApiError."""
        return cls((await api.call("GET", "/v1/agents"))["agents"], language)

    def title(self, agent: str) -> str:
        return self._titles.get(agent, agent.replace("_", " ") if agent else "?")

    @property
    def titles(self) -> dict[str, str]:
        """Title by name, in the server's order."""
        return dict(self._titles)
