"""The console's pages against a real server, read and used through NiceGUI's simulated browser; and a real Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nicegui import ElementFilter
from nicegui.testing import User, user_simulation
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from domain.identity import Role
from tests.console.chromium import required_or_skip
from tests.serving import Served, serve, settings_for

WAIT = 30_000
"""Milliseconds a browser waits for what has to come."""
WIDTHS = {"wide": (1440, 900), "narrow": (390, 844)}


@pytest.fixture
async def server(owner_dsn: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(settings_for(owner_dsn, tmp_path, CONSILIUM_EVALS_DIR=str(tmp_path / "evals"))) as served:
        yield served


@pytest.fixture
async def visitor(server: Served) -> AsyncIterator[User]:
    """A browser that nobody has signed in with."""
    async with user_simulation() as user:
        # Here, for the simulation forgets the modules that have made pages.
        from console.api import open_http
        from console.app import register

        async with open_http(server.url) as http:
            register(http)
            user.http_client.headers["accept-language"] = "en"
            yield user


async def sign_in(user: User, token: str) -> str:
    """Send the form of the page that asks for a token; the address it leads to."""
    answer = await user.http_client.post("/session", data={"token": token})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


@pytest.fixture
async def ann(server: Served, visitor: User) -> User:
    """A browser with an administrator signed in."""
    return await signed_in(server, visitor)


async def signed_in(server: Served, user: User, role: Role = "admin", name: str = "ann") -> User:
    assert await sign_in(user, server.token(user=name, role=role)) == "/"
    return user


CONTRACT = """# Supply contract

## 7. Liability

7.2. For late delivery the Supplier pays the Buyer a penalty of 0.1 % of the price of the undelivered goods for each day.

## 8. Term

8.1. The contract is valid until 31 December 2027.
"""
QUESTION = "What is the penalty for late delivery under the supply contract?"


@pytest.fixture
async def contract(server: Served) -> str:
    """A document's id that has the answer to QUESTION."""
    return await server.upload("supply-contract.md", CONTRACT)


async def ask(user: User, question: str = QUESTION) -> None:
    """Type a question and send it."""
    user.find(marker="question").type(question)
    user.find(marker="send").click()


async def seen(check: Callable[[], bool], what: str, *, seconds: float = 20) -> None:
    """Wait until it holds."""
    try:
        async with asyncio.timeout(seconds):
            while not check():
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"never seen: {what}")


def count(user: User, **filters: Any) -> int:
    """How many elements of the page fit and are to be seen."""
    assert user.client is not None
    with user.client:
        return sum(all(one.visible for one in [element, *element.ancestors()]) for element in ElementFilter(**filters))


def shown(user: User, marker: str) -> list[str]:
    """The texts of everything inside the elements with this mark, one a mark."""
    assert user.client is not None
    with user.client:
        return [
            " ".join(
                str(getattr(one, "text", None) or getattr(one, "content", None) or "")
                for one in [top, *top.descendants()]
            )
            for top in ElementFilter(marker=marker)
        ]


async def answered(user: User, turns: int = 1) -> None:
    """Wait until so many turns stand there, and none is at work."""
    await seen(
        lambda: (
            count(user, marker="turn") == turns and count(user, marker="stop") == 0 and count(user, marker="send") == 1
        ),
        f"{turns} turns that are over",
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        # As root, as in a container, a Chromium starts without its sandbox only.
        started = playwright.chromium.launch(executable_path=required_or_skip(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def width() -> str:
    """Where a test doesn't say otherwise."""
    return "wide"


@pytest.fixture
def context(browser: Browser, width: str) -> Iterator[BrowserContext]:
    across, down = WIDTHS[width]
    opened = browser.new_context(viewport={"width": across, "height": down}, locale="ru-RU", accept_downloads=True)
    opened.set_default_timeout(WAIT)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, link: str) -> Page:
    """A page that the printed link has signed in. What goes wrong in its scripts fails the test."""
    opened = context.new_page()
    opened.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    opened.goto(link)
    expect(opened.locator(".composer textarea")).to_be_visible(timeout=WAIT)
    return opened
