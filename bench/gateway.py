"""P2: a model's answer through the OpenAI-compatible gateway against the upstream alone: first token and requests per second.

Client and all servers share the same cores. Single requests alternate between the two, what the product takes longer is the median of
the pairs; the rates are medians of rounds. The product does what it always does: token, rates, route, reservation, ledger and the
call's record are part of every request.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from bench.product import serving

ROUNDS, SINGLE, AT_ONCE, REQUESTS = 5, 30, 16, 160
PAUSE_SECONDS = 0.02
"""Between single requests: what a server settles after an answer is not part of the next one's first token."""
OVER_MS, PER_SECOND = 5.0, 80.0
BODY = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Tell me something about the weather at sea, please."}],
    "stream": True,
}


@dataclass
class Side:
    """One server's figures: first tokens in ms, requests per second of each round."""

    url: str
    client: httpx.AsyncClient
    first_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)


async def ask(client: httpx.AsyncClient, url: str) -> float:
    """One request to its end; the seconds until its first token. Raises where the answer is not whole."""
    started, first, read = time.perf_counter(), 0.0, b""
    async with client.stream("POST", url, json=BODY) as response:
        response.raise_for_status()
        async for piece in response.aiter_raw():
            read += piece
            if not first and b"word0 " in read:
                first = time.perf_counter() - started
    if not first or b"word49 " not in read or not read.rstrip().endswith(b"data: [DONE]"):
        raise RuntimeError(f"{url} gave no whole answer: {read[-300:]!r}")
    return first


async def flood(side: Side) -> float:
    """Requests per second, 16 at once."""
    waiting = iter(range(REQUESTS))

    async def one_after_the_other() -> None:
        for _ in waiting:
            await ask(side.client, side.url)

    await asyncio.gather(*(ask(side.client, side.url) for _ in range(AT_ONCE)))  # connections open, pools filled
    started = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return REQUESTS / (time.perf_counter() - started)


async def measure(urls: Sequence[str], token: str) -> list[Side]:
    """All rounds. Single requests alternate between the servers, as a shared machine's speed changes from minute to minute."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    headers = {"Authorization": f"Bearer {token}"}
    async with AsyncExitStack() as opened:
        clients = [httpx.AsyncClient(headers=headers, timeout=60, limits=limits) for _ in urls]
        sides = [Side(url, await opened.enter_async_context(client)) for url, client in zip(urls, clients, strict=True)]
        for _ in range(ROUNDS):
            for side in sides:
                await ask(side.client, side.url)
            for _ in range(SINGLE):
                for side in sides:
                    side.first_ms.append(await ask(side.client, side.url) * 1000)
                    await asyncio.sleep(PAUSE_SECONDS)
            for side in sides:
                side.per_second.append(await flood(side))
    return sides


def run() -> list[tuple[str, bool, str]]:
    """The target lines, as (name, reached, figures)."""
    with serving() as product:
        urls = f"{product.url}/v1/chat/completions", f"{product.model_url}/chat/completions"
        through, alone = asyncio.run(measure(urls, product.token))
    first = [statistics.median(side.first_ms) for side in (through, alone)]
    rate = [statistics.median(side.per_second) for side in (through, alone)]
    over = statistics.median(t - a for t, a in zip(through.first_ms, alone.first_ms, strict=True))
    return [
        (
            "P2 first token",
            over <= OVER_MS,
            f"+{over:.1f} ms (<= {OVER_MS:.0f}) {first[0]:.1f} ms, the upstream alone {first[1]:.1f} ms",
        ),
        (
            "P2 requests",
            rate[0] >= PER_SECOND,
            f"{rate[0]:.0f}/s (>= {PER_SECOND:.0f}), the upstream alone {rate[1]:.0f}/s",
        ),
    ]
