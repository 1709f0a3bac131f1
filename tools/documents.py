"""`search_documents`: the model looks for passages by itself."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from domain.ids import OrganizationId
from domain.knowledge import Passage
from tools.base import ToolContext, ToolOutput


class Search(Protocol):
    """What the tool needs of retrieval."""

    async def search(self, organization_id: OrganizationId, query: str, k: int) -> list[Passage]:
        """The best passages of an organisation, best first."""
        ...


class SearchDocuments:
    """Search the organisation's documents."""

    name = "search_documents"
    description = (
        "Search the organisation's own documents (contracts, policies, price lists, reports, CRM notes) in Russian or English. "
        "Use it when the sources you were given do not answer the question. Returns numbered passages; cite them as [n]."
    )
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1000,
                "description": "Keywords or a question, in the language of the documents.",
            },
            "k": {"type": "integer", "minimum": 1, "maximum": 20, "default": 6, "description": "How many passages."},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    side_effect = False
    outside = False
    idempotent = True

    def __init__(self, retriever: Search) -> None:
        self._retriever = retriever

    def unavailable(self) -> str | None:
        return None

    async def call(self, context: ToolContext, arguments: dict[str, Any]) -> ToolOutput:
        passages = await self._retriever.search(context.organization_id, arguments["query"], arguments.get("k", 6))
        found = f"{len(passages)} passages" if passages else "No passage of the organisation's documents matches."
        return ToolOutput(found, passages)
