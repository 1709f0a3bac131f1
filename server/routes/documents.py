"""Documents of the caller's organisation: upload, replace, list, read, delete, search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Forbidden
from domain.identity import Identity
from domain.ids import DocumentId
from domain.knowledge import Document, DocumentStatus, Passage
from retrieval.index import clean_labels
from server.deps import CallerDep, StateDep
from server.uploads import UPLOAD_BODY, read_upload

router = APIRouter(prefix="/v1/documents", tags=["documents"])

MAX_RESULTS = 50


class DocumentPage(BaseModel):
    """A page of documents, newest first; `total` counts all that match."""

    items: list[Document]
    total: int


class SearchRequest(BaseModel):
    """What to search for."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=4000)
    k: int = Field(default=8, ge=1, le=MAX_RESULTS)
    document_ids: list[str] | None = Field(default=None, max_length=1000)


class DocumentPatch(BaseModel):
    """What of a document's record can be changed."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str] = Field(max_length=20)


class SearchResponse(BaseModel):
    """Passages, best first; `score` is BM25, comparable within one answer only."""

    passages: list[Passage]


class DocumentText(BaseModel):
    """The parsed text of a version, and the spans of its pages and sections (characters, end exclusive)."""

    document_id: str
    version: int
    text: str
    pages: int | None
    spans: list[dict[str, Any]]


class PassageView(BaseModel):
    """A quoted stretch of a version with the text before and after it."""

    document_id: str
    version: int
    title: str
    page: int | None
    section: str | None
    start: int
    end: int
    text: str
    before: str
    after: str


@router.post("", status_code=202, openapi_extra=UPLOAD_BODY)
async def upload_document(state: StateDep, caller: CallerDep, request: Request) -> Document:
    """Upload a document. Answers at once; its `status` and `progress` tell how far reading it is."""
    _require_manager(caller)
    upload = await read_upload(request, state.settings.max_document_bytes)
    document = await state.index.add(
        caller, upload.filename, upload.media_type, upload.data, upload.title, upload.labels
    )
    state.ingest.submit(caller.organization_id, document.document_id, document.version)
    return document


@router.put("/{document_id}", status_code=202, openapi_extra=UPLOAD_BODY)
async def replace_document(state: StateDep, caller: CallerDep, request: Request, document_id: str) -> Document:
    """Upload a document's next version. The one before stays searchable until this one is ready."""
    _require_manager(caller)
    await state.documents.get(caller.organization_id, DocumentId(document_id))
    upload = await read_upload(request, state.settings.max_document_bytes)
    document = await state.index.add(
        caller,
        upload.filename,
        upload.media_type,
        upload.data,
        upload.title,
        upload.labels,
        document_id=DocumentId(document_id),
    )
    state.ingest.submit(caller.organization_id, document.document_id, document.version)
    return document


@router.get("")
async def list_documents(
    state: StateDep,
    caller: CallerDep,
    status: DocumentStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> DocumentPage:
    """The organisation's documents, newest first."""
    items, total = await state.documents.page(caller.organization_id, status=status, limit=limit, offset=offset)
    return DocumentPage(items=items, total=total)


@router.post("/search")
async def search_documents(state: StateDep, caller: CallerDep, body: SearchRequest) -> SearchResponse:
    """The passages that answer a query best."""
    ids = None if body.document_ids is None else [DocumentId(one) for one in body.document_ids]
    passages = await state.retriever.search(caller.organization_id, body.query, body.k, ids)
    return SearchResponse(passages=passages)


@router.get("/{document_id}")
async def get_document(state: StateDep, caller: CallerDep, document_id: str) -> Document:
    """One document's record."""
    return await state.documents.get(caller.organization_id, DocumentId(document_id))


@router.patch("/{document_id}")
async def label_document(state: StateDep, caller: CallerDep, document_id: str, body: DocumentPatch) -> Document:
    """Give a document other labels. With `local_only` conversations that read it go on without cloud models."""
    _require_manager(caller)
    return await state.documents.label(caller.organization_id, DocumentId(document_id), clean_labels(body.labels))


@router.post("/{document_id}/retry", status_code=202)
async def retry_document(state: StateDep, caller: CallerDep, document_id: str) -> Document:
    """Read a version that failed once more. 409 where the newest one has not failed."""
    _require_manager(caller)
    document = await state.documents.retry(caller.organization_id, DocumentId(document_id))
    state.ingest.submit(caller.organization_id, document.document_id, document.version)
    return document


@router.delete("/{document_id}", status_code=204)
async def delete_document(state: StateDep, caller: CallerDep, document_id: str) -> None:
    """Delete a document with all its versions; citations of it no longer open."""
    _require_manager(caller)
    await state.documents.delete(caller.organization_id, DocumentId(document_id))


@router.get("/{document_id}/versions/{version}/text")
async def get_text(state: StateDep, caller: CallerDep, document_id: str, version: int) -> DocumentText:
    """The parsed text of a version, old ones included."""
    parsed = await state.documents.text(caller.organization_id, DocumentId(document_id), version)
    return DocumentText(
        document_id=document_id,
        version=version,
        text=parsed.text,
        pages=parsed.pages,
        spans=[asdict(span) for span in parsed.spans],
    )


@router.get("/{document_id}/versions/{version}/passage")
async def get_passage(
    state: StateDep,
    caller: CallerDep,
    document_id: str,
    version: int,
    start: int,
    end: int,
    context: Annotated[int, Query(ge=0, le=5000)] = 400,
) -> PassageView:
    """Open a citation: the text from `start` to `end` of a version, with `context` characters on either side."""
    excerpt = await state.documents.passage(
        caller.organization_id, DocumentId(document_id), version, start, end, context=context
    )
    return PassageView(**asdict(excerpt))


@router.get("/{document_id}/versions/{version}/content", response_class=Response)
async def get_content(state: StateDep, caller: CallerDep, document_id: str, version: int) -> Response:
    """The file of a version as it was uploaded. Always a download: a browser must not run what someone uploaded."""
    content = await state.documents.content(caller.organization_id, DocumentId(document_id), version)
    return Response(
        content.data,
        media_type=content.media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(content.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _require_manager(caller: Identity) -> None:
    if not caller.at_least("manager"):
        raise Forbidden("Documents are changed by managers.", required_role="manager")
