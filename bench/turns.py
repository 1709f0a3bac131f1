"""P1: a plain turn of the whole product against the floor, side by side: first token and turns per second.

Both stream the same 50 chunks of a scripted upstream and run on the same cores, turn by turn and round by round in alternation; the
figures are medians, the target is their ratio.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.processes import free_port, process
from bench.product import serving

ROUNDS, SINGLE, AT_ONCE, TURNS = 8, 12, 16, 32
QUESTION = "Tell me something about the weather at sea, please."


@dataclass
class Side:
    """One server's figures: first token in ms, turns per second."""

    first_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)


@dataclass
class Target:
    """How a turn is asked for."""

    url: str
    product: bool
    token: str = ""

    async def turn(self, client: httpx.AsyncClient) -> float:
        """One turn to its end; the seconds until its first token. Raises where the answer is not whole."""
        thread, started, first, chunks = str(uuid.uuid4()), time.perf_counter(), 0.0, 0
        messages = [{"role": "user", "content": QUESTION}]
        body: dict[str, Any]
        if self.product:
            path = f"/threads/{thread}/runs/stream"
            body = {
                "assistant_id": "supervisor",
                "input": {"messages": messages},
                "stream_mode": ["messages-tuple"],
                "if_not_exists": "create",
            }
        else:
            path, body = f"/{thread}", {"messages": messages}
        side = "the product" if self.product else "the floor"
        try:
            async with client.stream("POST", self.url + path, json=body) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if line.startswith("data:") and '"content":"' in line and '"content":""' not in line:
                        chunks += 1
                        first = first or time.perf_counter() - started
        except httpx.RemoteProtocolError as broken:
            raise RuntimeError(f"{side} broke its answer off after {chunks} chunks: {broken}") from broken
        if not first:
            raise RuntimeError(f"{side} gave no token")
        return first


async def measure(targets: dict[str, Target], sides: dict[str, Side]) -> None:
    """One round: turns one by one, the sides in turn, so that both see the same machine; then 16 at once on each."""
    async with AsyncExitStack() as stack:
        clients = {}
        for name, target in targets.items():
            headers = {"Authorization": f"Bearer {target.token}"} if target.product else {}
            limits = httpx.Limits(max_connections=AT_ONCE)
            clients[name] = await stack.enter_async_context(
                httpx.AsyncClient(headers=headers, timeout=60, limits=limits)
            )
            await target.turn(clients[name])
        for _ in range(SINGLE):
            for name, target in targets.items():
                sides[name].first_ms.append(await target.turn(clients[name]) * 1000)
        for name, target in targets.items():
            sides[name].per_second.append(await _at_once(target, clients[name]))


async def _at_once(target: Target, client: httpx.AsyncClient) -> float:
    """Turns per second where 16 are always under way."""
    gate, started = asyncio.Semaphore(AT_ONCE), time.perf_counter()

    async def one() -> None:
        async with gate:
            await target.turn(client)

    await asyncio.gather(*(one() for _ in range(TURNS)))
    return TURNS / (time.perf_counter() - started)


def run() -> list[tuple[str, bool, str]]:
    """The target lines, as (name, reached, figures)."""
    sides, port = {"floor": Side(), "product": Side()}, free_port()
    with serving() as product:
        environ = {
            "OPENAI_BASE_URL": product.model_url,
            "BENCH_DSN": product.floor_dsn,
            "BENCH_PORT": str(port),
        }
        with process(["-m", "bench.floor"], f"http://127.0.0.1:{port}/docs", **environ):
            targets = {
                "floor": Target(f"http://127.0.0.1:{port}", False),
                "product": Target(product.url, True, product.token),
            }
            for _ in range(ROUNDS):
                asyncio.run(measure(targets, sides))
    first = [statistics.median(sides[name].first_ms) for name in ("product", "floor")]
    rate = [statistics.median(sides[name].per_second) for name in ("product", "floor")]
    return [
        (
            "P1 first token",
            first[0] <= 1.5 * first[1],
            f"{first[0] / first[1]:.2f} (<= 1.5) {first[0]:.1f} ms : {first[1]:.1f} ms",
        ),
        ("P1 turns", rate[0] >= 2 * rate[1], f"{rate[0] / rate[1]:.2f} (>= 2) {rate[0]:.1f}/s : {rate[1]:.1f}/s"),
    ]
