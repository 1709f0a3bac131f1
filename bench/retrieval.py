"""P5: lexical search in one organisation of 10,000 chunks among 100, and ingestion, on an embedded Postgres of its own.

    python -m bench.retrieval [--organizations 100] [--chunks 1000] [--large 10000]

`--chunks` is the size of each other organisation. Prints one line a target.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from pathlib import Path

from domain.identity import Identity
from domain.ids import OrganizationId, UserId
from retrieval.index import KnowledgeIndex
from retrieval.search import LexicalRetriever
from storage import embedded, migrate
from storage.database import Database, open_pool

_SEARCH_MS = 15.0
_INGEST_PER_SECOND = 500
_SYLLABLES = {
    "en": "con-tra-mar-ser-del-pro-ven-ter-sul-fin-gar-lon-pre-dic-tor-mal-bri-nor-wes-pol",
    "ru": "до-го-вор-по-ста-вка-про-да-жа-неу-сто-йка-ры-нок-кам-па-ния-от-чет",
}
_COPY = """
WITH source AS (
        SELECT gen_random_uuid() AS chunk_id, c.start_offset, c.end_offset, c.text, c.length, v.lexical
        FROM chunks c JOIN chunk_vectors v USING (chunk_id) WHERE c.organization_id = %(large)s LIMIT %(chunks)s),
     document AS (
        INSERT INTO documents (document_id, organization_id, title, filename, media_type, size_bytes, sha256, version,
                               searchable_version, status, created_by)
        VALUES (gen_random_uuid(), %(other)s, 'copy', 'copy.txt', 'text/plain', 0, '', 1, 1, 'ready', 'bench')
        RETURNING document_id),
     statistics AS (INSERT INTO knowledge_stats VALUES (%(other)s, %(chunks)s)),
     terms AS (INSERT INTO term_stats SELECT %(other)s, term, df FROM term_stats WHERE organization_id = %(large)s),
     copied AS (
        INSERT INTO chunks (chunk_id, organization_id, document_id, version, start_offset, end_offset, text, length)
        SELECT chunk_id, %(other)s, document.document_id, 1, start_offset, end_offset, text, length
        FROM source, document)
INSERT INTO chunk_vectors (chunk_id, organization_id, document_id, lexical)
SELECT chunk_id, %(other)s, document.document_id, lexical FROM source, document
"""


def vocabulary(language: str, size: int, rng: random.Random) -> list[str]:
    syllables = _SYLLABLES[language].split("-")
    return ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(size)]


def text(words: list[str], weights: list[float], characters: int, rng: random.Random) -> str:
    drawn = rng.choices(words, cum_weights=weights, k=characters // 6)
    sentences = [" ".join(drawn[at : at + 12]).capitalize() + "." for at in range(0, len(drawn), 12)]
    return "\n\n".join(" ".join(sentences[at : at + 6]) for at in range(0, len(sentences), 6))


async def run(dsn: str, owner: str, organizations: int, chunks: int, large: int) -> bool:
    pool = open_pool(dsn)
    await pool.open()
    db = Database(pool)
    rng = random.Random(7)
    words = vocabulary("en", 6000, rng) + vocabulary("ru", 6000, rng)
    rng.shuffle(words)
    weights: list[float] = []
    total = 0.0
    for rank in range(len(words)):  # Zipf
        total += 1 / (rank + 5)
        weights.append(total)
    identity = Identity(OrganizationId(str(uuid.uuid4())), "bench", UserId("bench"), frozenset({"manager"}))
    index = KnowledgeIndex(db)
    files = [text(words, weights, 45_000, rng).encode() for _ in range(large // 45 + 1)]
    indexed = 0
    started = time.perf_counter()
    for n, data in enumerate(files):
        if indexed >= large:
            break
        document = await index.add(identity, f"{n}.txt", "text/plain", data)
        done = await index.ingest(identity.organization_id, document.document_id, 1)
        assert done is not None
        assert done.chunks is not None, done.error
        indexed += done.chunks
    rate = indexed / (time.perf_counter() - started)
    await fill(owner, identity.organization_id, organizations, chunks)

    retriever = LexicalRetriever(index.documents)
    times: list[float] = []
    for _ in range(220):
        query = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(4, 10)))
        started = time.perf_counter()
        found = await retriever.search(identity.organization_id, query, 8)
        times.append((time.perf_counter() - started) * 1000)
        assert found or not query
    await pool.close()
    p50 = statistics.median(times[20:])
    p95 = statistics.quantiles(times[20:], n=20)[-1]
    search_ok, ingest_ok = p50 <= _SEARCH_MS, rate >= _INGEST_PER_SECOND
    print(f"P5 {'ok' if search_ok else 'short'} {p50:.1f} ms (<= {_SEARCH_MS:.0f} ms)")
    print(f"P5 ingest {'ok' if ingest_ok else 'short'} {rate:.0f}/s (>= {_INGEST_PER_SECOND}/s)")
    print(f"   {indexed} chunks in the organisation, {organizations} organisations, p95 {p95:.1f} ms")
    return search_ok and ingest_ok


async def fill(owner: str, large: OrganizationId, organizations: int, chunks: int) -> None:
    """The other organisations' chunks, copied as the owner: what they hold doesn't matter, that they are there does."""
    pool = open_pool(owner, min_size=1, max_size=1)
    await pool.open()
    async with pool.connection() as conn:
        for _ in range(organizations - 1):
            await conn.execute(_COPY.encode(), {"large": large, "other": str(uuid.uuid4()), "chunks": chunks})
    async with pool.connection() as conn:
        await conn.set_autocommit(True)
        await conn.execute("VACUUM ANALYZE")
    await pool.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organizations", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--large", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as home:
        Path(home).chmod(0o755)
        server = embedded.start(Path(home) / "pg")
        try:
            owner = embedded.ensure_database(server, "bench")
            migrate.migrate(owner)
            app = embedded.application_dsn(owner, user="consilium_app")
            ok = asyncio.run(run(app, owner, given.organizations, given.chunks, given.large))
        finally:
            server.cleanup()
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
