"""The operator's MCP servers, from a file."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import ConfigurationError
from domain.ids import OrganizationId, organization_id
from domain.mcp import EVERY_AGENT, McpIdentity, McpServer, McpTransport
from domain.settings import ROOT

NAME = r"^[a-z][a-z0-9-]{0,23}$"
"""Of a server: it begins the names of its tools."""
_IDS = uuid.UUID("0f3f6bb2-7c1b-5a35-8d1e-5f0a1d4c9a77")
_NOBODY = OrganizationId("00000000-0000-0000-0000-000000000000")
_PRODUCT = "consilium"
"""A command that begins so is one of this installation's."""


class _Sample(BaseModel):
    """What of an entry is otherwise for the sample organisation."""

    model_config = ConfigDict(extra="forbid")
    command: list[str] = Field(min_length=1)
    on_premises: bool = False
    idle_seconds: float | None = Field(None, gt=0)


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
    env_optional: list[str] = []
    cwd: str | None = None
    organizations: list[str] = ["*"]
    organizations_from: str | None = None
    identity: McpIdentity | None = None
    agents: list[str] = [EVERY_AGENT]
    only: list[str] | None = None
    on_premises: bool = False
    enabled: bool = True
    connect_seconds: float | None = Field(None, gt=0, le=120)
    call_seconds: float | None = Field(None, gt=0, le=3600)
    idle_seconds: float | None = Field(None, gt=0)
    sample: _Sample | None = None

    @model_validator(mode="after")
    def _whole(self) -> _Entry:
        if self.transport == "stdio":
            if not self.command or self.url:
                raise ValueError("stdio needs `command`, a list, and no `url`")
        elif not (self.url or "").startswith(("http://", "https://")) or self.command:
            raise ValueError(f"{self.transport} needs a `url` with http:// or https://, and no `command`")
        if any("${" in value for value in self.env.values()):
            raise ValueError("`env` must not hold ${...}; name the variables in `env_from`")
        if self.sample is not None and self.transport != "stdio":
            raise ValueError("only stdio can have a `sample`")
        if self.organizations_from is not None and "organizations" in self.model_fields_set:
            raise ValueError("`organizations` and `organizations_from` exclude each other")
        return self


@dataclass(frozen=True, slots=True)
class OperatorServer:
    """A server and who has it; `organizations` None is all. `sample` is what the sample organisation has where it is none of them,
    or where the server is not configured."""

    server: McpServer
    organizations: frozenset[OrganizationId] | None
    sample: McpServer | None = None

    def of(self, organization: OrganizationId) -> McpServer | None:
        """The server as this organisation has it; None where it hasn't."""
        theirs = self.organizations is None or organization in self.organizations
        usable = theirs and self.server.not_configured is None
        if self.sample is not None and organization == self.sample.organization_id and not usable:
            return self.sample
        return self.server.model_copy(update={"organization_id": organization}) if theirs else None


def load_operator_servers(
    path: Path, environ: Mapping[str, str], sample: OrganizationId | None = None
) -> tuple[OperatorServer, ...]:
    """The file's servers; one whose variables are not set is there and says so. `sample` is the sample organisation where it is
    loaded. Raises ConfigurationError naming the entry, the field and the fix."""
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise ConfigurationError(f"{path}: can't be read as YAML ({type(broken).__name__}); correct it") from broken
    entries = content.get("servers") if isinstance(content, dict) else None
    if not isinstance(entries, list | None):
        raise ConfigurationError(f"{path}: `servers` must be a list of servers")
    given = {name: value for name, value in environ.items() if value}
    made = [_server(path, entry, given, sample) for entry in entries or []]
    names = [one.server.name for one in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"{path}: two servers are named '{twice}'; rename one")
    return tuple(made)


def _server(path: Path, entry: Any, environ: Mapping[str, str], sample: OrganizationId | None) -> OperatorServer:
    name = entry.get("name", "?") if isinstance(entry, dict) else "?"
    try:
        read = _Entry.model_validate(entry)
    except ValidationError as wrong:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in wrong.errors())
        raise ConfigurationError(f"{path}: MCP server '{name}': {problems}") from None
    taken = {v: environ[v] for v in (*read.env_from, *read.env_optional) if v in environ}
    if any("${" in value for value in taken.values()):
        raise ConfigurationError(f"{path}: MCP server '{name}': a variable of `env_from` holds ${{...}}; remove it")
    server = McpServer(
        server_id=str(uuid.uuid5(_IDS, read.name)),
        organization_id=_NOBODY,
        scope="operator",
        headers={**read.headers, **{header: environ[v] for header, v in read.headers_from.items() if v in environ}},
        identity=read.identity or ("organization" if read.transport == "stdio" else "user"),
        not_configured=_missing(read, environ),
        **_program(read.command, {**read.env, **taken}),
        **read.model_dump(
            include={
                "name", "transport", "url", "cwd", "agents", "only", "on_premises", "enabled", "connect_seconds", "call_seconds",
                "idle_seconds",
            }
        ),
    )  # fmt: skip
    return OperatorServer(
        server,
        _organizations(read, environ),
        None if sample is None or read.sample is None else _sample(server, read.sample, sample),
    )


def _missing(read: _Entry, environ: Mapping[str, str]) -> str | None:
    wanted = (*read.headers_from.values(), *read.env_from, *filter(None, [read.organizations_from]))
    absent = ", ".join(variable for variable in wanted if variable not in environ)
    return f"The MCP server '{read.name}' is not set up: the operator must set {absent}." if absent else None


def _organizations(read: _Entry, environ: Mapping[str, str]) -> frozenset[OrganizationId] | None:
    """Who has the server; None is all, who are also told of one that is not set up."""
    names = read.organizations
    if read.organizations_from is not None:
        names = [name.strip() for name in environ.get(read.organizations_from, "*").split(",") if name.strip()]
    return None if "*" in names else frozenset(map(organization_id, names))


def _sample(server: McpServer, given: _Sample, organization: OrganizationId) -> McpServer:
    changes = {
        **given.model_dump(exclude={"command"}),
        **_program(given.command, {}),
        "organization_id": organization,
        "not_configured": None,
    }
    return server.model_copy(update=changes)


def _program(command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """What a program is started with; one of this installation's needs no path."""
    if command and command[0] == _PRODUCT:
        ours = (sys.executable, "-P", "-m", "server.cli", *command[1:])
        return {"command": ours, "env": {**env, "PYTHONPATH": str(ROOT)}}
    return {"command": tuple(command), "env": dict(env)}
