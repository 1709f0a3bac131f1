"""Identifiers. All are lower-case canonical UUID strings unless said otherwise; each has its own type so they can't be mixed up."""

from __future__ import annotations

import uuid
from typing import NewType

OrganizationId = NewType("OrganizationId", str)
UserId = NewType("UserId", str)
"""Whatever the token's issuer calls the user, at most 200 characters; not a UUID."""
ThreadId = NewType("ThreadId", str)
RunId = NewType("RunId", str)
AssistantId = NewType("AssistantId", str)
DocumentId = NewType("DocumentId", str)
ChunkId = NewType("ChunkId", str)
NoteId = NewType("NoteId", str)
ToolCallId = NewType("ToolCallId", str)
"""The id the model gave its tool call; opaque, not a UUID."""
EffectId = NewType("EffectId", str)
"""Of one thing a tool is to do, once: the same whenever the same call is carried out again."""
TraceId = NewType("TraceId", str)
"""32 lower-case hex characters (W3C trace context)."""

_ORGANIZATIONS = uuid.UUID("6f1d7d0e-0f0c-5a5e-9a4e-0c0f5e1b2a3d")
_ASSISTANTS = uuid.UUID("6eb8d7c0-0d7c-5b8a-9d6c-3b5f7f0a9c11")


def organization_id(name: str) -> OrganizationId:
    """The id of an organisation by the name its identity provider uses.

    A UUID stands for itself; any other name maps to one fixed UUID, so no look-up is needed to know the tenant.
    """
    try:
        return OrganizationId(str(uuid.UUID(name)))
    except ValueError:
        return OrganizationId(str(uuid.uuid5(_ORGANIZATIONS, name)))


def assistant_id(graph_id: str) -> AssistantId:
    """The fixed id of the assistant that serves a graph."""
    return AssistantId(str(uuid.uuid5(_ASSISTANTS, graph_id)))


def new_id() -> str:
    """A fresh random UUID string; wrap it in the NewType it is for."""
    return str(uuid.uuid4())


def new_trace_id() -> TraceId:
    return TraceId(uuid.uuid4().hex)


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
