"""Quality of lexical search on XQuAD: does the paragraph a question was asked about come back?

The data stands next to the project (../shared/data/xquad) and is not part of it; without it this part is skipped.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from domain.identity import Identity
from domain.ids import OrganizationId, UserId, new_id
from retrieval.index import KnowledgeIndex
from retrieval.search import LexicalRetriever
from storage import embedded, migrate
from storage.database import Database, open_pool

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "xquad"


LANGUAGES = ("en", "ru")
FIGURES = {
    f"xquad_{language}_{name}": f"XQuAD, {language}: {definition}"
    for language in LANGUAGES
    for name, definition in (
        ("r1", "share of questions whose paragraph comes first"),
        ("r5", "share of questions whose paragraph is among the first five"),
        ("mrr10", "mean of 1 / the paragraph's rank, 0 beyond the tenth"),
    )
}
"""What is measured, by name."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of questions, 0..1: the right paragraph first, among the first five; mean reciprocal rank over ten."""

    recall_at_1: float
    recall_at_5: float
    reciprocal_rank_at_10: float


async def measure(db: Database, language: str) -> Quality:
    """Index the paragraphs of one language in an organisation of their own and ask all its questions."""
    identity = Identity(OrganizationId(new_id()), "xquad", UserId("eval"), frozenset({"manager"}))
    index = KnowledgeIndex(db)
    retriever = LexicalRetriever(index.documents)
    articles = json.loads((DATA / f"xquad.{language}.json").read_text("utf-8"))["data"]
    questions: list[tuple[str, str]] = []
    for at, paragraph in enumerate(paragraph for article in articles for paragraph in article["paragraphs"]):
        data = paragraph["context"].encode()
        document = await index.add(identity, f"{at}.txt", "text/plain", data, title="-")
        await index.ingest(identity.organization_id, document.document_id, 1)
        questions += [(asked["question"], document.document_id) for asked in paragraph["qas"]]
    ranks: list[int | None] = []
    for question, wanted in questions:
        found = await retriever.search(identity.organization_id, question, 20)
        paragraphs = list(dict.fromkeys(passage.document_id for passage in found))[:10]
        ranks.append(next((rank for rank, one in enumerate(paragraphs, 1) if one == wanted), None))
    hits = [rank for rank in ranks if rank is not None]
    return Quality(
        sum(rank == 1 for rank in hits) / len(ranks),
        sum(rank <= 5 for rank in hits) / len(ranks),
        sum(1 / rank for rank in hits) / len(ranks),
    )


async def _measure_all(dsn: str) -> dict[str, float]:
    pool = open_pool(dsn, min_size=1, max_size=2)
    await pool.open()
    figures: dict[str, float] = {}
    for language in LANGUAGES:
        quality = await measure(Database(pool), language)
        figures[f"xquad_{language}_r1"] = quality.recall_at_1
        figures[f"xquad_{language}_r5"] = quality.recall_at_5
        figures[f"xquad_{language}_mrr10"] = quality.reciprocal_rank_at_10
    await pool.close()
    return figures


def figures() -> dict[str, float]:
    """The figures of FIGURES by name, measured over an embedded database of its own; empty where the data is absent."""
    if not DATA.is_dir():
        return {}
    with tempfile.TemporaryDirectory(prefix="consilium-eval-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)
        server = embedded.start(Path(home) / "pg")
        try:
            owner = embedded.ensure_database(server, "eval")
            migrate.migrate(owner)
            return asyncio.run(_measure_all(embedded.application_dsn(owner, user="consilium_app")))
        finally:
            server.cleanup()
