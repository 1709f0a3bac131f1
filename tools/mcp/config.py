"""The operator's MCP servers, from a file."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import ConfigurationError
from domain.ids import OrganizationId, organization_id
from domain.mcp import EVERY_AGENT, McpIdentity, McpServer, McpTransport

NAME = r"^[a-z][a-z0-9-]{0,23}$"
"""Of a server: it begins the names of its tools."""
_IDS = uuid.UUID("0f3f6bb2-7c1b-5a35-8d1e-5f0a1d4c9a77")
_NOBODY = OrganizationId("00000000-0000-0000-0000-000000000000")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    name: str = Field(pattern=NAME)
    transport: McpTransport = "streamable_http"
    url: str | None = None
    headers: dict[str, str] = {}
    headers_from: dict[str, str] = {}
    command: list[str] = []
    env: dict[str, str] = {}
    env_from: list[str] = []
    cwd: str | None = None
    organizations: list[str] = ["*"]
    identity: McpIdentity | None = None
    agents: list[str] = [EVERY_AGENT]
    only: list[str] | None = None
    on_premises: bool = False
    enabled: bool = True
    connect_seconds: float | None = Field(None, gt=0, le=120)
    call_seconds: float | None = Field(None, gt=0, le=3600)

    @model_validator(mode="after")
    def _whole(self) -> _Entry:
        if self.transport == "stdio":
            if not self.command or self.url:
                raise ValueError("stdio needs `command`, a list, and no `url`")
        elif not (self.url or "").startswith(("http://", "https://")) or self.command:
            raise ValueError(f"{self.transport} needs a `url` with http:// or https://, and no `command`")
        if any("${" in value for value in self.env.values()):
            raise ValueError("`env` must not hold ${...}; name the variables in `env_from`")
        return self


@dataclass(frozen=True, slots=True)
class OperatorServer:
    """A server and who has it; `organizations` None is all."""

    server: McpServer
    organizations: frozenset[OrganizationId] | None

    def of(self, organization: OrganizationId) -> McpServer | None:
        """The server as this organisation has it; None where it hasn't."""
        if self.organizations is not None and organization not in self.organizations:
            return None
        return self.server.model_copy(update={"organization_id": organization})


def load_operator_servers(path: Path, environ: Mapping[str, str]) -> tuple[OperatorServer, ...]:
    """Raises ConfigurationError naming the entry, the field and the fix; a missing variable is one too."""
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise ConfigurationError(f"{path}: can't be read as YAML ({type(broken).__name__}); correct it") from broken
    entries = content.get("servers") if isinstance(content, dict) else None
    if not isinstance(entries, list | None):
        raise ConfigurationError(f"{path}: `servers` must be a list of servers")
    made = [_server(path, entry, environ) for entry in entries or []]
    names = [one.server.name for one in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"{path}: two servers are named '{twice}'; rename one")
    return tuple(made)


def _server(path: Path, entry: Any, environ: Mapping[str, str]) -> OperatorServer:
    name = entry.get("name", "?") if isinstance(entry, dict) else "?"
    try:
        read = _Entry.model_validate(entry)
    except ValidationError as wrong:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in wrong.errors())
        raise ConfigurationError(f"{path}: MCP server '{name}': {problems}") from None
    if absent := [v for v in (*read.headers_from.values(), *read.env_from) if v not in environ]:
        raise ConfigurationError(f"{path}: MCP server '{name}': set {', '.join(absent)} in the environment")
    taken = {variable: environ[variable] for variable in read.env_from}
    if any("${" in value for value in taken.values()):
        raise ConfigurationError(f"{path}: MCP server '{name}': a variable of `env_from` holds ${{...}}; remove it")
    server = McpServer(
        server_id=str(uuid.uuid5(_IDS, read.name)),
        organization_id=_NOBODY,
        scope="operator",
        headers={**read.headers, **{header: environ[v] for header, v in read.headers_from.items()}},
        env={**read.env, **taken},
        identity=read.identity or ("organization" if read.transport == "stdio" else "user"),
        **read.model_dump(
            include={
                "name", "transport", "url", "command", "cwd", "agents", "only", "on_premises", "enabled",
                "connect_seconds", "call_seconds",
            }
        ),
    )  # fmt: skip
    everyone = EVERY_AGENT in read.organizations
    return OperatorServer(server, None if everyone else frozenset(map(organization_id, read.organizations)))
