"""A provider that asks for a very long rest: whoever hears it asks the next one, and the breaker believes it up to a bound."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from storage.invariants import violations
from tests.faults.conftest import Serving, read_turn
from tests.upstream.reply import fixed
from tests.upstream.server import Upstream

BOUND = 45.0


@pytest.mark.parametrize("rest", ["86400", "1e300", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_long_rest_is_bounded(
    serving_three: Serving, three: dict[str, Upstream], owner_dsn: str, rest: str
) -> None:
    for name, upstream in three.items():
        upstream.policy = fixed(f"said by {name}")
    three["openai"].fail("rate_limit", times=50, retry_after=rest)
    async with serving_three(
        CONSILIUM_BREAKER_FAILURES="2", CONSILIUM_BREAKER_LONGEST_REST_SECONDS=str(BOUND)
    ) as server:
        sdk = server.sdk()
        thread = str((await sdk.threads.create())["thread_id"])
        for _ in range(3):
            read = await read_turn(sdk, thread, "Who answers?", {"provider": "openai"})
            assert read.error is None
            assert read.text == "said by ollama"
        assert len(three["openai"].requests) == 2, "one attempt a turn, none once the breaker is open"
        async with server.http() as http:
            shown = (await http.get("/v1/providers")).json()["providers"]
            wanted = {"model": "openai/scripted-o", "messages": [{"role": "user", "content": "hello"}]}
            gateway = await http.post("/v1/chat/completions", json=wanted)
        assert gateway.status_code == 200, gateway.text
        await sdk.aclose()
    [breaker] = [row["breaker"] for row in shown if row["provider"] == "openai"]
    assert breaker["status"] == "open"
    left = (datetime.fromisoformat(breaker["retry_at"]) - datetime.now(UTC)).total_seconds()
    assert 0 < left <= BOUND
    assert violations(owner_dsn) == []
