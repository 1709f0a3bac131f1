"""200 parallel reservations and kills between reserve and commit: the sums stay exact, and nothing is held in the end (I4)."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from psycopg.rows import dict_row

from domain.errors import QuotaExceeded
from domain.ids import OrganizationId, RunId, UserId, new_id
from domain.settings import ROOT
from domain.usage import Usage
from providers.admission import Admission
from providers.call import Need, Origin, Retraction
from providers.choose import choose
from providers.meter import Meter
from providers.route import Candidate, RouteRequest
from providers.stream import stream_chat
from storage.database import Database
from storage.invariants import violations
from storage.quota import QuotaLedger
from tests.faults.conftest import Calling
from tests.upstream.reply import Reply
from tests.upstream.server import Upstream

CALLS = 200
CALL: dict[str, Any] = {"user_id": UserId("ann"), "agent": "main", "provider": "openai", "model": "gpt-4o-mini"}


def rows(owner_dsn: str, sql: str) -> list[dict[str, Any]]:
    with psycopg.connect(owner_dsn, row_factory=dict_row) as conn:
        return conn.execute(sql.encode()).fetchall()


def check_books(owner_dsn: str) -> dict[str, Any]:
    """The day's sums are the ledger's. Returns the day's row."""
    assert violations(owner_dsn) == []
    [day] = rows(owner_dsn, "SELECT used, reserved FROM quota_days")
    [sums] = rows(
        owner_dsn,
        "SELECT coalesce(sum(prompt + completion) FILTER (WHERE status = 'committed'), 0)::int AS used, "
        "coalesce(sum(reserved) FILTER (WHERE status = 'reserved'), 0)::int AS reserved FROM usage_ledger",
    )
    assert day == sums
    return day


@pytest.fixture
async def upstream_openai() -> AsyncIterator[Upstream]:
    """20 words, 200 tokens a call, slow enough to be left in the middle."""
    words = [f"word{n} " for n in range(20)]
    with Upstream(lambda body: Reply(words, prompt_tokens=150, completion_tokens=50)) as upstream:
        upstream.chunk_seconds = 0.01
        yield upstream


async def test_200_calls_of_which_half_are_cancelled_anywhere(
    calling: Calling, owner_dsn: str, organization: OrganizationId, upstream_openai: Upstream
) -> None:
    environ = {"OPENAI_BASE_URL": upstream_openai.openai_url, "OPENAI_API_KEY": "sk-secret-key"}
    caller, providers = calling(environ, Admission({}))
    await caller.ledger.set_limit(organization, 30_000)
    route = choose(RouteRequest(), providers.catalogue, providers.snapshot())
    assert route.candidates[0].provider == "openai"

    def attempt(candidate: Candidate, meter: Meter) -> AsyncIterator[AIMessageChunk]:
        model = providers.chat(candidate.provider, candidate.model)
        return stream_chat(
            model, candidate.provider, [HumanMessage("count")], tools=None, known_tools=set(), meter=meter
        )

    async def call(leave_after: int | None = None) -> str:
        origin = Origin(organization, UserId("ann"), "main")
        text = ""
        async for piece in caller.stream(origin, route, Need(150), attempt, seconds=60):
            assert not isinstance(piece, Retraction)
            text += piece.text
            if leave_after is not None and len(text) >= leave_after:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
        return text

    rng = random.Random(11)
    loop = asyncio.get_running_loop()
    assert await call() != ""  # the first one imports the vendor's package
    tasks = [asyncio.create_task(call(rng.randrange(1, 120) if n % 4 == 1 else None)) for n in range(CALLS)]
    for task in tasks[3::4]:
        loop.call_later(rng.uniform(0.0, 1.0), task.cancel)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, (str, QuotaExceeded, asyncio.CancelledError)) for one in ended), ended
    await upstream_openai.quiet()
    day = check_books(owner_dsn)
    assert day["reserved"] == 0
    assert day["used"] <= 30_000
    entries = rows(owner_dsn, "SELECT * FROM usage_ledger")
    answered = [entry for entry in entries if entry["status"] == "committed" and entry["source"] == "provider"]
    assert [(e["prompt"], e["completion"]) for e in answered] == [(150, 50)] * len(answered)
    assert len(answered) >= sum(isinstance(one, str) for one in ended) > 0
    left = [entry for entry in entries if entry["status"] == "committed" and entry["source"] != "provider"]
    assert left
    assert all(entry["source"] == "estimated" and entry["prompt"] == 150 for entry in left)
    records = rows(owner_dsn, "SELECT outcome, count(*)::int AS n FROM model_calls GROUP BY 1")
    assert sum(row["n"] for row in records) == CALLS + 1


async def test_200_reservations_while_connections_are_killed(
    db: Database, owner_dsn: str, organization: OrganizationId
) -> None:
    """A call either has its tokens charged once, or learns of the loss; the lease's end gives back what nobody settles."""
    ledger = QuotaLedger(db)
    run = RunId(new_id())
    done = asyncio.Event()

    async def kill() -> int:
        """Connections of the application, one after the other."""
        killed = 0
        async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as conn:
            while not done.is_set():
                cursor = await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND usename = 'consilium_app' AND state <> 'idle' LIMIT 1"
                )
                killed += len(await cursor.fetchall())
                await asyncio.sleep(0.02)
        return killed

    async def one(n: int) -> int:
        reservation = await ledger.reserve(organization, 100, run_id=run, **CALL)
        await asyncio.sleep(0)
        if n % 4 == 0:
            return 0  # killed between reserve and commit
        await ledger.commit(reservation, Usage(40, n, "provider"))
        return 40 + n

    killer = asyncio.create_task(kill())
    ended = await asyncio.gather(*(one(n) for n in range(CALLS)), return_exceptions=True)
    done.set()
    assert await killer > 0
    charged = sum(one for one in ended if isinstance(one, int))
    lost = [one for one in ended if isinstance(one, BaseException)]
    assert all(isinstance(one, psycopg.OperationalError) for one in lost), lost
    day = check_books(owner_dsn)
    assert (
        charged <= day["used"] <= charged + sum(40 + n for n, one in enumerate(ended) if isinstance(one, BaseException))
    )
    await ledger.release_run(organization, run)
    day = check_books(owner_dsn)
    assert day["reserved"] == 0
    assert rows(owner_dsn, "SELECT 1 FROM usage_ledger WHERE status = 'reserved'") == []


PROCESS = """
import asyncio, sys
from domain.ids import OrganizationId, RunId, UserId
from domain.usage import Usage
from storage.database import Database, open_pool
from storage.quota import QuotaLedger

async def main(dsn, organization, run):
    async with open_pool(dsn, min_size=4, max_size=10) as pool:
        ledger = QuotaLedger(Database(pool))
        async def one(n):
            held = await ledger.reserve(OrganizationId(organization), 100, run_id=RunId(run), user_id=UserId("ann"),
                                        agent="main", provider="openai", model="gpt-4o-mini")
            if n % 2:
                await ledger.commit(held, Usage(40, 60, "provider"))
            print("settled" if n % 2 else "held", flush=True)
        await asyncio.gather(*(one(n) for n in range(200)))
        print("over", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("at", [1, 60, 200])
async def test_a_killed_process_leaves_nothing_reserved_when_its_lease_is_over(
    db: Database, app_dsn: str, owner_dsn: str, organization: OrganizationId, tmp_path: Path, at: int
) -> None:
    """kill -9 after so many of 200 parallel calls; what its run held is given back, as by who takes the run over."""
    run = RunId(new_id())
    script = tmp_path / "reserve.py"
    script.write_text(PROCESS, "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), app_dsn, organization, run, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    told = [await process.stdout.readline() for _ in range(at)]
    process.kill()
    await process.wait()
    await gone(owner_dsn)
    before = check_books(owner_dsn)
    assert before["used"] >= 100 * sum(line == b"settled\n" for line in told)
    assert before["reserved"] >= 100 * sum(line == b"held\n" for line in told)
    assert await QuotaLedger(db).release_run(organization, run) * 100 == before["reserved"]
    after = check_books(owner_dsn)
    assert after == {"used": before["used"], "reserved": 0}
    assert await QuotaLedger(db).release_run(organization, run) == 0


async def gone(owner_dsn: str) -> None:
    """Wait until the database has noticed the end of the killed process's connections."""
    async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as conn:
        while True:
            cursor = await conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND usename = 'consilium_app' AND state <> 'idle'"
            )
            if await cursor.fetchone() == (0,):
                return
            await asyncio.sleep(0.02)
