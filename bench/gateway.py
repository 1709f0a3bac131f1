"""P2: a model's answer through the OpenAI-compatible gateway against the upstream alone: first token and requests per second.

Client and all servers share the same cores; the rounds alternate, the figures are the medians of the rounds. The product does what
it always does: token, rates, route, reservation, ledger and the call's record are part of every request.
"""

from __future__ import annotations

import asyncio
import statistics
import time
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
    """One server's figures: first token in ms, requests per second."""

    url: str
    token: str
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


async def measure(side: Side) -> None:
    """One round: requests one by one, then 16 at once."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    headers = {"Authorization": f"Bearer {side.token}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits) as client:
        await ask(client, side.url)
        firsts: list[float] = []
        for _ in range(SINGLE):
            firsts.append(await ask(client, side.url))
            await asyncio.sleep(PAUSE_SECONDS)
        side.first_ms.append(statistics.median(firsts) * 1000)
        waiting = iter(range(REQUESTS))

        async def one_after_the_other() -> None:
            for _ in waiting:
                await ask(client, side.url)

        await asyncio.gather(*(ask(client, side.url) for _ in range(AT_ONCE)))  # connections open, pools filled
        started = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
        side.per_second.append(REQUESTS / (time.perf_counter() - started))


def run() -> list[tuple[str, bool, str]]:
    """The target lines, as (name, reached, figures)."""
    with serving() as product:
        alone = Side(f"{product.model_url}/chat/completions", product.token)
        through = Side(f"{product.url}/v1/chat/completions", product.token)
        for _ in range(ROUNDS):
            for side in (alone, through):
                asyncio.run(measure(side))
    first = [statistics.median(side.first_ms) for side in (through, alone)]
    rate = [statistics.median(side.per_second) for side in (through, alone)]
    over = first[0] - first[1]
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
