"""amoCRM over HTTP: its limit of requests, its tokens, its errors, and what is repeated."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import (
    ConfigurationError,
    ConsiliumError,
    InvalidToolArguments,
    NotFound,
    ToolError,
    ToolProtocolError,
    ToolRateLimited,
    ToolRejected,
    ToolTimedOut,
    ToolUnavailable,
)  # fmt: skip
from tests.tools.amocrm import CLIENT, TOKEN, Amo, serve_amo
from tools.amocrm.client import AmoClient
from tools.amocrm.config import OAuth, load_config
from tools.amocrm.pace import Pace
from tools.amocrm.sample import Answer, problem, refusal
from tools.amocrm.tokens import LongLived, Refreshed, Tokens


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(tokens: Tokens | None = None, **account: object) -> AsyncIterator[tuple[Amo, AmoClient, Clock]]:
    clock = Clock()
    async with serve_amo(per_second=10_000, **account) as amo, httpx.AsyncClient(timeout=0.5) as http:
        pace = Pace(clock=clock, sleep=clock.sleep)
        yield amo, AmoClient(amo.url, http, tokens or LongLived(TOKEN), pace, sleep=clock.sleep), clock


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 7))
async def test_no_window_ever_holds_more_than_it_may(gaps: list[float], per_window: int) -> None:
    clock = Clock()
    pace = Pace(per_window, 1.0, clock, clock.sleep)
    passed = []
    for gap in gaps:
        clock.now += gap
        await pace.wait()
        passed.append(clock.now)
    for first, later in zip(passed, passed[per_window:], strict=False):
        assert later - first >= 1.0 - 1e-9
    assert passed == sorted(passed)


async def test_calls_at_once_keep_to_the_limit_of_the_server() -> None:
    async with serve_amo() as amo, httpx.AsyncClient() as http:
        client = AmoClient(amo.url, http, LongLived(TOKEN), Pace())
        started = time.monotonic()
        answers = await asyncio.gather(*(client.get("account") for _ in range(25)))
        assert all(answer and answer["id"] == 7 for answer in answers)
        assert (len(amo.requests), amo.refused) == (25, 0)
        assert 3 < time.monotonic() - started < 10


async def test_another_program_that_uses_up_the_limit_makes_it_wait() -> None:
    async with connected() as (amo, client, clock):
        amo.answers.extend([(429, {"retry-after": "3"}, b""), (429, {}, b"")])
        await client.post(
            "tasks", [{"text": "x", "complete_till": 1}]
        )  # refused is not carried out: repeated though it writes
        assert len(amo.tasks) == 3
        assert sum(clock.slept) == pytest.approx(5)
        amo.answers.extend([(429, {}, b"")] * 4)
        with pytest.raises(ToolRateLimited):
            await client.get("account")


@pytest.mark.parametrize(
    ("answer", "expected", "message"),
    [
        (
            refusal("price", "X", "The value is wrong."),
            InvalidToolArguments,
            "price: The value is wrong",
        ),
        (problem(422, "Unprocessable", "No"), InvalidToolArguments, "Unprocessable: No"),
        ((400, {}, b"<html>"), InvalidToolArguments, "bad request"),
        (problem(401, "Unauthorized", ""), ToolRejected, "AMOCRM_TOKEN"),
        (problem(402, "Payment Required", ""), ToolRejected, "not paid"),
        (problem(403, "Forbidden", "Недостаточно прав"), ToolRejected, "Недостаточно прав"),
        ((403, {}, b""), ToolRejected, "blocked"),
        (problem(404, "Not Found", ""), NotFound, "leads/1"),
        (problem(405, "Method Not Allowed", "no"), ToolError, "HTTP 405. Method Not Allowed: no"),
        ((302, {"location": "https://elsewhere.example/"}, b""), ToolProtocolError, "AMOCRM_BASE_URL"),
        ((200, {}, b"<html>Please sign in</html>"), ToolProtocolError, "AMOCRM_BASE_URL"),
        ((200, {}, b"[]"), ToolProtocolError, "AMOCRM_BASE_URL"),
    ],
)
async def test_each_refusal_has_a_type(answer: Answer, expected: type[ConsiliumError], message: str) -> None:
    async with connected() as (amo, client, _):
        amo.answers.append(answer)
        with pytest.raises(ConsiliumError, match=message) as failed:
            await client.get("leads/1")
        assert type(failed.value) is expected
        assert TOKEN not in f"{failed.value.message} {failed.value.details}"
        assert len(amo.requests) == 1


async def test_a_refusal_names_the_fields() -> None:
    async with connected() as (_, client, _clock):
        with pytest.raises(InvalidToolArguments) as failed:
            await client.patch("leads/1", {"responsible_user_id": 9})
        assert failed.value.details["fields"] == [
            {
                "path": "responsible_user_id",
                "code": "NotSupportedChoice",
                "problem": "The value you selected is not a valid choice.",
            }
        ]
        assert failed.value.details["http_status"] == 400


async def test_only_reading_is_repeated_after_a_fault() -> None:
    async with connected() as (amo, client, _):
        amo.answers.extend([(502, {}, b"<html>"), None])
        assert (await client.get("leads/1") or {})["id"] == 1
        assert len(amo.requests) == 3
        amo.answers.extend([(502, {}, b"")] * 4)
        with pytest.raises(ToolUnavailable, match="HTTP 502"):
            await client.get("leads/1")
        amo.answers.clear()
        amo.requests.clear()
        amo.answers.append((502, {}, b""))
        with pytest.raises(ToolUnavailable):
            await client.patch("leads/1", {"price": 2})
        amo.answers.append(None)
        with pytest.raises(ToolTimedOut, match="Whether it was carried out is not known"):
            await client.post("leads", [{"name": "x"}])
        assert len(amo.requests) == 2


async def test_nobody_there() -> None:
    clock = Clock()
    async with httpx.AsyncClient() as http:
        client = AmoClient("http://127.0.0.1:1", http, LongLived(TOKEN), Pace(), sleep=clock.sleep)
        with pytest.raises(ToolUnavailable, match="ConnectError"):
            await client.get("account")
        with pytest.raises(ToolUnavailable, match="ConnectError"):
            await client.post("leads", [])


async def test_the_token_goes_to_no_address_that_an_answer_names() -> None:
    async with connected() as (amo, client, _), serve_amo() as other:
        page = {"_links": {"next": {"href": f"{other.url}/api/v4/leads?page=2"}}, "_embedded": {"leads": [{"id": 1}]}}
        amo.answers.append((200, {}, json.dumps(page).encode()))
        pages = [page async for page in client.pages("leads", "leads", size=4)]
        assert [len(page) for page in pages] == [1, 4, 2]
        assert other.requests == []


# OAuth


def oauth(file: Path, refresh_token: str | None = "refresh-1") -> OAuth:
    return OAuth(CLIENT["client_id"], CLIENT["client_secret"], CLIENT["redirect_uri"], refresh_token, file)


@asynccontextmanager
async def signed_in(amo: Amo, given: OAuth) -> AsyncIterator[AmoClient]:
    async with httpx.AsyncClient() as http:
        yield AmoClient(amo.url, http, Refreshed(given, amo.url, http), Pace())


async def test_the_first_pair_comes_of_the_refresh_token_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "in" / "tokens.json"
    async with serve_amo(token="none yet") as amo:
        async with signed_in(amo, oauth(file)) as client:
            await asyncio.gather(*(client.get("account") for _ in range(4)))
        assert amo.exchanged == 1
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert json.loads(file.read_text())["refresh_token"] == "refresh-2"
        async with signed_in(amo, oauth(file, None)) as client:  # another process, later
            await client.get("account")
        assert amo.exchanged == 1
        assert {one.name for one in file.parent.iterdir()} == {"tokens.json", "tokens.json.lock"}


async def test_a_token_that_amocrm_no_longer_takes_is_exchanged_once(tmp_path: Path) -> None:
    async with serve_amo(token="none yet") as amo, signed_in(amo, oauth(tmp_path / "t.json")) as client:
        await client.get("account")
        amo.token = "revoked in amoCRM"
        await asyncio.gather(*(client.get("account") for _ in range(3)))
        assert amo.exchanged == 2


async def test_processes_that_share_the_file_do_not_spend_the_same_refresh_token(tmp_path: Path) -> None:
    given = oauth(tmp_path / "t.json")
    async with serve_amo(token="none yet") as amo, signed_in(amo, given) as one, signed_in(amo, given) as other:
        await asyncio.gather(one.get("account"), other.get("account"))
        assert amo.exchanged == 1
        amo.token = "revoked"
        await asyncio.gather(one.get("account"), other.get("account"))
        assert amo.exchanged == 2


async def test_a_token_about_to_end_is_exchanged_beforehand(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(json.dumps({"access_token": TOKEN, "refresh_token": "refresh-1", "expires_at": time.time() + 30}))
    async with serve_amo() as amo, signed_in(amo, oauth(file, None)) as client:
        await client.get("account")
        assert amo.exchanged == 1
        assert [path for _, path, _, _ in amo.requests] == ["/oauth2/access_token", "/api/v4/account"]


async def test_a_refresh_token_that_is_spent_is_told_to_the_operator(tmp_path: Path) -> None:
    async with serve_amo(token="none yet") as amo, signed_in(amo, oauth(tmp_path / "t.json", "spent")) as client:
        with pytest.raises(ToolRejected, match="AMOCRM_REFRESH_TOKEN") as failed:
            await client.get("account")
        assert CLIENT["client_secret"] not in f"{failed.value.message}{failed.value.details}"
        amo.answers.append((500, {}, b""))
        with pytest.raises(ToolUnavailable):
            await client.get("account")
        amo.answers.append((200, {}, b'{"access_token": "only"}'))
        with pytest.raises(ToolProtocolError):
            await client.get("account")


async def test_where_the_pair_can_not_be_kept_the_refresh_token_is_not_spent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with serve_amo(token="none yet") as amo, signed_in(amo, oauth(tmp_path / "file" / "t.json")) as client:
        with pytest.raises(ConfigurationError, match="AMOCRM_TOKEN_FILE"):
            await client.get("account")
        assert amo.requests == []


# What it is started with

GOOD = {"AMOCRM_BASE_URL": "https://example.amocrm.ru/", "AMOCRM_TOKEN": "a-secret"}


def test_what_it_needs() -> None:
    config = load_config(GOOD)
    assert (config.base_url, config.token, config.oauth) == ("https://example.amocrm.ru", "a-secret", None)
    assert "a-secret" not in repr(config)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"AMOCRM_BASE_URL": ""}, "AMOCRM_BASE_URL: is not set"),
        ({"AMOCRM_BASE_URL": "example.amocrm.ru"}, "AMOCRM_BASE_URL: must be"),
        ({"AMOCRM_BASE_URL": "https://example.amocrm.ru/api/v4"}, "without a path"),
        ({"AMOCRM_BASE_URL": "https://[x"}, "AMOCRM_BASE_URL: must be"),
        ({"AMOCRM_BASE_URL": "http://example.amocrm.ru"}, "must start with https://"),
        ({"AMOCRM_TOKEN": ""}, "AMOCRM_TOKEN: is not set"),
        ({"AMOCRM_TOKEN": "", "AMOCRM_CLIENT_ID": "x"}, "AMOCRM_CLIENT_SECRET: is not set"),
        ({"AMOCRM_MCP_TOKEN": "short"}, "AMOCRM_MCP_TOKEN: is shorter"),
    ],
)
def test_what_is_wrong_names_its_variable(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError, match="Fix: ") as failed:
        load_config({**GOOD, **changes})
    assert any(problem in one for one in failed.value.details["problems"])
    assert "a-secret" not in failed.value.message


def test_oauth_needs_a_refresh_token_until_there_is_a_file(tmp_path: Path) -> None:
    keys = {"AMOCRM_CLIENT_ID": "a", "AMOCRM_CLIENT_SECRET": "b-secret", "AMOCRM_REDIRECT_URI": "https://x"}
    given = {"AMOCRM_BASE_URL": GOOD["AMOCRM_BASE_URL"], "CONSILIUM_DATA_DIR": str(tmp_path), **keys}
    with pytest.raises(ConfigurationError, match="AMOCRM_REFRESH_TOKEN"):
        load_config(given)
    started = load_config({**given, "AMOCRM_REFRESH_TOKEN": "r-secret"})
    assert started.oauth is not None
    assert "secret" not in repr(started).replace("client_secret", "")
    started.oauth.token_file.write_text("{}")
    assert load_config(given).oauth is not None


def test_the_sample_needs_nothing() -> None:
    assert load_config({}, sample=True).sample
