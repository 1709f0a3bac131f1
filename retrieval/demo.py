"""The sample organisation: read from demo/ beside the code and loaded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from domain.errors import ConfigurationError
from domain.identity import ROLES, Identity, Role
from domain.ids import OrganizationId, UserId, organization_id
from domain.knowledge import Document
from retrieval.index import KnowledgeIndex
from storage.notes import Notes

DIRECTORY = Path(__file__).resolve().parent.parent / "demo"


@dataclass(frozen=True, slots=True)
class DemoUser:
    """A person of the sample organisation, to issue a token for."""

    user_id: UserId
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class DemoDocument:
    """A file of demo/documents with the title it is shown by."""

    path: Path
    title: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DemoOrganization:
    """What demo/organization.yaml says. `name` is the organisation in a token; `title` is for people."""

    name: str
    title: str
    users: tuple[DemoUser, ...]
    notes: tuple[str, ...]
    documents: tuple[DemoDocument, ...]

    @property
    def organization_id(self) -> OrganizationId:
        return organization_id(self.name)

    def identity(self) -> Identity:
        """Its first manager or above."""
        user = next(user for user in self.users if user.role != "member")
        return Identity(self.organization_id, self.name, user.user_id, frozenset({user.role}))


def read_demo(directory: Path = DIRECTORY) -> DemoOrganization:
    """The sample organisation as it is on disk. Raises ConfigurationError naming what is missing or wrong."""
    source = directory / "organization.yaml"
    try:
        described = yaml.safe_load(source.read_text("utf-8"))
        users = tuple(DemoUser(UserId(u["user_id"]), u["name"], _role(u["role"])) for u in described["users"])
        documents = tuple(
            DemoDocument(directory / "documents" / d["file"], d["title"], tuple(d.get("labels", ())))
            for d in described["documents"]
        )
        demo = DemoOrganization(described["name"], described["title"], users, tuple(described["notes"]), documents)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as wrong:
        raise ConfigurationError(f"The sample organisation can't be read from {source.name}: {wrong}") from wrong
    missing = [document.path.name for document in documents if not document.path.is_file()]
    if missing:
        raise ConfigurationError(f"Files of the sample organisation are missing: {', '.join(missing)}", files=missing)
    return demo


async def load_demo(index: KnowledgeIndex, notes: Notes, demo: DemoOrganization) -> list[Document]:
    """Put the sample organisation's documents and notes in place; what is there already stays as it is.

    Returns its documents, ready to search. Raises TimeoutError where one isn't within a minute.
    """
    identity = demo.identity()
    for text in demo.notes:
        await notes.save(demo.organization_id, text, created_by=identity.user_id)
    loaded: list[Document] = []
    for item in demo.documents:
        document = await index.add(identity, item.path.name, "", item.path.read_bytes(), item.title, item.labels)
        if document.status != "ready":
            await index.ingest(demo.organization_id, document.document_id, document.version)
        loaded.append(await index.wait_ready(demo.organization_id, document.document_id))
    return loaded


def _role(name: str) -> Role:
    for role in ROLES:
        if role == name:
            return role
    raise ValueError(f"no role '{name}'")
