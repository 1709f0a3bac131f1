"""What the product works at in the background, in one form: runs of agents and the reading of documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

JobKind = Literal["agent.run", "document.ingest"]
JobStatus = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]
"""`waiting` is for a person's decision."""


class Job(BaseModel):
    """A piece of work. Unknown is None: a document's reader counts no attempts, an agent's run knows no progress."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    """The run's, or the document's: a document has one job, that of its newest version."""
    kind: JobKind
    status: JobStatus
    title: str | None
    """Of the conversation or the document."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    attempts: int | None
    """How often it has been begun."""
    progress: float | None
    """0..1."""
    resumes_at: datetime | None
    """When one that waits for tokens is to go on."""
    error: dict[str, Any] | None
    """`{code, message}` of one that failed."""
    thread_id: str | None
    document_id: str | None
    version: int | None
    """The document's."""
