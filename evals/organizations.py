"""The organisations of the evals, loaded through the API: documents, notes, and where in a document a quote stands."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from evals.conversation import Span

FOLDER = Path(__file__).resolve().parent / "corpus"
ROOT = FOLDER.parent.parent
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Described:
    """What an organisation begins with: files of evals/corpus (or `demo/...` of the sample organisation), notes, and
    documents given by name and content."""

    documents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Organization:
    """A loaded organisation. `texts` are the documents' texts as the product read them, by file name."""

    name: str
    documents: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def file_of(self, document_id: str | None) -> str | None:
        return next((name for name, known in self.documents.items() if known == document_id), None)

    def find(self, document: str, quote: str) -> Span | None:
        """Where the quote stands in the document; None where it doesn't. White space of any kind and length is alike."""
        words = r"\s+".join(re.escape(word) for word in quote.split())
        match = re.search(words, self.texts.get(document, ""))
        return Span(document, match.start(), match.end()) if match else None

    def stands(self, span: Span, quote: str) -> bool:
        """The quote is the text at that place, but for white space."""
        text = self.texts.get(span.document or "", "")[span.start : span.end]
        return bool(text.strip()) and "".join(text.split()) == "".join(quote.split())


def described(folder: Path = FOLDER) -> dict[str, Described]:
    """The organisations of evals/corpus/organizations.yaml by name."""
    content = yaml.safe_load((folder / "organizations.yaml").read_text("utf-8"))
    return {
        name: Described(tuple(one.get("documents", ())), tuple(one.get("notes", ()))) for name, one in content.items()
    }


def path_of(file: str) -> Path:
    """A corpus file by the name a case has for it."""
    return ROOT / file if file.startswith("demo/") else FOLDER / file


async def load(http: httpx.AsyncClient, name: str, described: Described) -> Organization:
    """Upload and wait until everything can be found. Raises RuntimeError where a document fails."""
    loaded = Organization(name)
    for note in described.notes:
        saved = await http.post("/v1/notes", json={"text": note})
        saved.raise_for_status()
        loaded.notes.append(str(saved.json()["note_id"]))
    contents = {path.name: path.read_bytes() for path in map(path_of, described.documents)}
    contents |= {file: text.encode() for file, text in described.texts.items()}
    for file, data in contents.items():
        answer = await http.post("/v1/documents", files={"file": (file, data)})
        answer.raise_for_status()
        loaded.documents[file] = str(answer.json()["document_id"])
    for file, document_id in loaded.documents.items():
        record = await _ready(http, document_id)
        text = await http.get(f"/v1/documents/{document_id}/versions/{record['version']}/text")
        text.raise_for_status()
        loaded.texts[file] = str(text.json()["text"])
    return loaded


async def _ready(http: httpx.AsyncClient, document_id: str) -> dict[str, Any]:
    for _ in range(READY_SECONDS * 10):
        record: dict[str, Any] = (await http.get(f"/v1/documents/{document_id}")).json()
        if record["status"] == "ready":
            return record
        if record["status"] == "failed":
            raise RuntimeError(f"document {record.get('title')}: {record.get('error')}")
        await asyncio.sleep(0.1)
    raise RuntimeError(f"document {document_id} was not ready after {READY_SECONDS} s")
