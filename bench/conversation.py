"""P3: what a turn costs late in a conversation against early in one: wall time, and bytes of write-ahead log.

One conversation is led to its 490th turn over HTTP against the scripted upstream. Then its turns alternate with those of young
conversations, from their 5th turn on, so that both are measured on the same machine at the same moment. The figures are medians.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from dataclasses import dataclass, field

import httpx
import psycopg

from bench.product import serving

OLD, YOUNG, LAST = 490, 4, 15
"""Turns before the measurement, of the long conversation and of a young one; the last turn a young one is measured at."""
ROUNDS = 3
"""Young conversations."""
RATIO, WAL_KIB = 1.2, 30.0


@dataclass
class Talk:
    """One conversation and what its measured turns took: milliseconds to the first token and to the end, bytes of WAL."""

    client: httpx.AsyncClient
    database: psycopg.Connection
    thread_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    turns: int = 0
    first_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    wal: list[int] = field(default_factory=list)

    async def turn(self, *, measured: bool = True) -> None:
        """One turn to its end. Raises where the answer is not whole."""
        self.turns += 1
        question = f"What should we keep in mind about shipment {self.turns} to the harbour of Riga?"
        body = {
            "assistant_id": "supervisor",
            "input": {"messages": [{"role": "user", "content": question}]},
            "stream_mode": ["messages-tuple"],
            "if_not_exists": "create",
        }
        before, started, first, ended = self._lsn(), time.perf_counter(), 0.0, False
        async with self.client.stream("POST", f"/threads/{self.thread_id}/runs/stream", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("event: error"):
                    raise RuntimeError(f"turn {self.turns} failed")
                if line.startswith("data:") and '"content":"' in line and '"content":""' not in line:
                    first = first or time.perf_counter() - started
                    ended = True
        whole = time.perf_counter() - started
        if not ended:
            raise RuntimeError(f"turn {self.turns} gave no answer")
        if measured:
            self.first_ms.append(first * 1000)
            self.whole_ms.append(whole * 1000)
            self.wal.append(self._lsn() - before)

    def _lsn(self) -> int:
        row = self.database.execute("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
        assert row is not None, "a scalar query has one row"
        return int(row[0])


async def converse(url: str, token: str, owner: str) -> tuple[Talk, list[Talk]]:
    """The long conversation and the young ones."""
    headers = {"Authorization": f"Bearer {token}"}
    with psycopg.connect(owner, autocommit=True) as database:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            old, young = Talk(client, database), [Talk(client, database) for _ in range(ROUNDS)]
            while old.turns < OLD:
                await old.turn(measured=False)
            for talk in young:
                while talk.turns < YOUNG:
                    await talk.turn(measured=False)
                while talk.turns < LAST:
                    await talk.turn()
                    await old.turn()
            return old, young


def run() -> list[tuple[str, bool, str]]:
    """The target lines, as (name, reached, figures)."""
    with serving() as product:
        old, young = asyncio.run(converse(product.url, product.token, product.owner_dsn))
    return report(old, young)


def report(old: Talk, young: list[Talk]) -> list[tuple[str, bool, str]]:
    late, early = statistics.median(old.whole_ms), statistics.median(ms for talk in young for ms in talk.whole_ms)
    first = [statistics.median(old.first_ms), statistics.median(ms for talk in young for ms in talk.first_ms)]
    wal = [statistics.median(old.wal) / 1024, statistics.median(size for talk in young for size in talk.wal) / 1024]
    mean = statistics.mean(old.wal) / 1024
    return [
        (
            "P3 turn",
            late <= RATIO * early,
            f"{late / early:.2f} (<= {RATIO}) {late:.0f} ms at turn {old.turns} : {early:.0f} ms at turn {YOUNG + 1}-{LAST}, "
            f"first token {first[0]:.0f} : {first[1]:.0f} ms",
        ),
        (
            "P3 WAL",
            wal[0] <= WAL_KIB,
            f"{wal[0]:.1f} KiB (<= {WAL_KIB:g} KiB) a turn, mean {mean:.1f}; early {wal[1]:.1f} KiB",
        ),
    ]
