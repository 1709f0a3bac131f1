"""Quality of lexical search on XQuAD: does the paragraph a question was asked about come back?

    python -m evals.xquad

The data stands next to the project (../shared/data/xquad) and is not part of it; without it the
eval says so and passes.
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


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of questions, 0..1: the right paragraph first, among the first five; mean reciprocal rank over ten."""

    recall_at_1: float
    recall_at_5: float
    reciprocal_rank_at_10: float

    def reaches(self, wanted: Quality) -> bool:
        return (
            self.recall_at_1 >= wanted.recall_at_1
            and self.recall_at_5 >= wanted.recall_at_5
            and self.reciprocal_rank_at_10 >= wanted.reciprocal_rank_at_10
        )


WANTED = {"en": Quality(0.93, 0.98, 0.955), "ru": Quality(0.91, 0.98, 0.94)}


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


async def _run(dsn: str) -> bool:
    pool = open_pool(dsn, min_size=1, max_size=2)
    await pool.open()
    passed = True
    for language, wanted in WANTED.items():
        quality = await measure(Database(pool), language)
        passed &= quality.reaches(wanted)
        said = f"R@1 {quality.recall_at_1:.3f} R@5 {quality.recall_at_5:.3f} MRR@10 {quality.reciprocal_rank_at_10:.3f}"
        print(f"xquad.{language} {'ok' if quality.reaches(wanted) else 'short'} {said}")
    await pool.close()
    return passed


def main() -> int:
    if not DATA.is_dir():
        print("skipped: the XQuAD data is not next to the project (../shared/data/xquad)")
        return 0
    with tempfile.TemporaryDirectory(prefix="consilium-eval-") as home:
        Path(home).chmod(0o755)
        server = embedded.start(Path(home) / "pg")
        try:
            owner = embedded.ensure_database(server, "eval")
            migrate.migrate(owner)
            return 0 if asyncio.run(_run(embedded.application_dsn(owner, user="consilium_app"))) else 1
        finally:
            server.cleanup()


if __name__ == "__main__":
    raise SystemExit(main())
