"""The sample organisation: its documents and notes, from demo/."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml

from domain.identity import Identity
from domain.ids import UserId, organization_id
from retrieval.index import KnowledgeIndex
from retrieval.queue import IngestQueue
from storage.notes import Notes

NAME = "demo"
LOADER = Identity(organization_id(NAME), NAME, UserId("demo-loader"), frozenset({"admin"}))


async def load_demo(index: KnowledgeIndex, notes: Notes, ingest: IngestQueue, directory: Path) -> None:
    """Add what the sample organisation does not have yet; safe at every start. Documents are indexed in the background."""
    for path in sorted((directory / "documents").iterdir()):
        data = await asyncio.to_thread(path.read_bytes)
        document = await index.add(LOADER, path.name, "", data)
        if document.status == "pending":
            ingest.submit(LOADER.organization_id, document.document_id, document.version)
    described = yaml.safe_load((directory / "organization.yaml").read_text("utf-8"))
    for note in described.get("notes", []):
        await notes.save(LOADER.organization_id, note, created_by=LOADER.user_id)
