"""What routes are given: the state of the process and the verified caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request

from domain.errors import Forbidden
from domain.identity import Identity, Role
from domain.settings import Settings
from graphs.build import Graphs
from nodes.runtime import Services
from retrieval.index import KnowledgeIndex
from retrieval.queue import IngestQueue
from retrieval.search import LexicalRetriever
from server.assistants import Assistants
from server.auth import Authenticator
from server.engine.engine import Engine
from server.errors import IDENTITY_KEY
from server.metrics import Metered, Metrics
from storage.approvals import Approvals
from storage.audit_log import AuditLog
from storage.children import Children
from storage.database import Database
from storage.documents import Documents
from storage.jobs import Jobs
from storage.mcp_servers import McpServers
from storage.model_calls import ModelCalls
from storage.notes import Notes
from storage.organizations import Organizations
from storage.quota import QuotaLedger
from storage.rate import RateLimits
from storage.skills import Skills
from storage.threads import Threads
from storage.tool_calls import ToolCalls


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything the lifespan made."""

    settings: Settings
    db: Database
    authenticator: Authenticator
    organizations: Organizations
    documents: Documents
    notes: Notes
    mcp_servers: McpServers
    index: KnowledgeIndex
    ingest: IngestQueue
    retriever: LexicalRetriever
    quota: QuotaLedger
    rates: RateLimits
    threads: Threads
    children: Children
    tool_calls: ToolCalls
    approvals: Approvals
    jobs: Jobs
    model_calls: ModelCalls
    metrics: Metrics
    metered: Metered
    skills: Skills
    audit_log: AuditLog
    assistants: Assistants
    services: Services
    graphs: Graphs
    engine: Engine


def state_of(request: Request) -> AppState:
    """The state of the process that serves the request."""
    state: AppState = request.app.state.consilium
    return state


async def _state(request: Request) -> AppState:
    return state_of(request)


StateDep = Annotated[AppState, Depends(_state)]


async def caller_of(request: Request) -> Identity:
    """The verified token's identity; nothing reaches the database before. Raises Unauthenticated."""
    state = state_of(request)
    identity: Identity = request.scope.get(IDENTITY_KEY) or await state.authenticator.identify(request.headers)
    structlog.contextvars.bind_contextvars(organization_id=identity.organization_id)
    await state.organizations.ensure(identity.organization_id, identity.organization_name)
    return identity


CallerDep = Annotated[Identity, Depends(caller_of)]


def require(role: Role) -> Callable[..., Any]:
    """A dependency that gives the caller where it has at least this role. Raises Forbidden naming it."""

    async def allowed(caller: CallerDep) -> Identity:
        if not caller.at_least(role):
            raise Forbidden(f"This needs the role '{role}'.", required_role=role)
        return caller

    return allowed
