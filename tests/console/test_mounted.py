"""The console as `consilium serve` takes it in: its addresses, its session, its socket, uploads as large as documents."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The link that `consilium serve --demo` prints."""
    home = tmp_path_factory.mktemp("mounted")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    environ |= {"CONSILIUM_DATA_DIR": str(home / "data"), "CONSILIUM_PYTHON": sys.executable, "PYTHONUNBUFFERED": "1"}
    command = [str(ROOT / "bin" / "consilium"), "serve", "--demo", "--port", "0"]
    server = subprocess.Popen(
        command, cwd=home, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    printed = ""
    for line in server.stdout:
        printed += line
        if line.startswith("Ctrl-C"):
            break
    try:
        found = re.search(r"http\S+/console/sign-in#token=\S+", printed)
        assert found, printed
        yield found[0]
    finally:
        server.terminate()
        server.wait(20)
        said = server.stdout.read()
        assert "Traceback" not in said, said


@pytest.fixture
async def browser(link: str) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as the link does it: its page sends the token in a form."""
    url, _, token = link.partition("/console/sign-in#token=")
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answer = await http.post("/console/session", data={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
        yield http


async def test_the_root_leads_to_the_console_and_that_to_signing_in(link: str) -> None:
    async with httpx.AsyncClient(base_url=link.partition("/console")[0], follow_redirects=True, timeout=30) as http:
        answer = await http.get("/")
        assert (answer.status_code, answer.url.path) == (200, "/console/sign-in")


async def test_the_session_is_a_cookie_of_the_console_alone(browser: httpx.AsyncClient) -> None:
    (cookie,) = [one for one in browser.cookies.jar if one.name == "consilium_session"]
    assert cookie.path == "/console"
    assert cookie.has_nonstandard_attr("httponly")
    assert cookie.expires is None, "gone when the browser is closed"
    assert (await browser.get("/v1/notes")).status_code == 401, "the API takes tokens, no cookies"


async def test_behind_https_the_cookies_are_for_https_alone(link: str) -> None:
    url, _, token = link.partition("/console/sign-in#token=")
    async with httpx.AsyncClient(base_url=url, timeout=30, headers={"x-forwarded-proto": "https"}) as http:
        answer = await http.post("/console/session", data={"token": token})
        assert "; secure" in answer.headers["set-cookie"].lower()
        chosen = await http.get("/console/preferences?language=ru")
        assert "; secure" in chosen.headers["set-cookie"].lower()
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answer = await http.post("/console/session", data={"token": token})
        assert "; secure" not in answer.headers["set-cookie"].lower()


async def test_an_address_that_is_none_says_so(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/console/nowhere", headers={"accept-language": "ru"})
    assert (answer.status_code, "Такой страницы нет" in answer.text) == (404, True)


async def test_pages_cannot_be_framed(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/console/notes")).headers["x-frame-options"] == "DENY"


async def test_pages_load_nothing_from_elsewhere(browser: httpx.AsyncClient) -> None:
    policy = (await browser.get("/console/notes")).headers["content-security-policy"].split("; ")
    for part in ("img-src 'self' data: blob:", "form-action 'self'", "base-uri 'self'", "object-src 'none'"):
        assert part in policy


async def test_everything_a_page_loads_is_served_from_here(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/console/usage")).text
    assert not re.search(r"""(src|href)=["']https?://""", page)
    loaded = set(re.findall(r"""["'(](/console/_nicegui/[^"')]+?\.(?:js|css))["')]""", page))
    assert loaded
    for path in sorted(loaded):
        assert (await browser.get(path)).status_code == 200, path


async def test_the_socket_brings_the_page_to_life(browser: httpx.AsyncClient, link: str) -> None:
    """What a browser does after the page: the handshake, after which the list of conversations comes in."""
    headers = {"Authorization": f"Bearer {link.partition('#token=')[2]}"}
    (await browser.post("/threads", json={"metadata": {"title": "The parking"}}, headers=headers)).raise_for_status()
    page = (await browser.get("/console/")).text
    client_id = re.search(r"'client_id': '([0-9a-f-]+)'", page)
    assert client_id
    query = {
        "client_id": client_id[1],
        "document_id": str(uuid.uuid4()),
        "tab_id": str(uuid.uuid4()),
        "next_message_id": 0,
    }
    cookie = "; ".join(f"{one.name}={one.value}" for one in browser.cookies.jar)
    updates: asyncio.Queue[Any] = asyncio.Queue()
    socket = socketio.AsyncClient()
    socket.on("update", updates.put)
    url = f"{browser.base_url}?" + "&".join(f"{name}={value}" for name, value in query.items())
    await socket.connect(
        url, headers={"Cookie": cookie}, transports=["websocket"], socketio_path="/console/_nicegui_ws/socket.io"
    )
    try:
        assert await socket.call("handshake", query) is True
        async with asyncio.timeout(20):
            while "The parking" not in json.dumps(await updates.get()):
                pass
    finally:
        await socket.disconnect()


async def test_a_document_dropped_in_passes_the_door(browser: httpx.AsyncClient, link: str) -> None:
    """Though larger than any body that is taken elsewhere without a token."""
    page = (await browser.get("/console/documents")).text
    path = re.search(r"/_nicegui/client/[0-9a-f-]+/upload/\d+", page)
    assert path
    large = b"The parking costs 700 roubles a month.\n" * 60_000
    answer = await browser.post(f"/console{path[0]}", files={"file": ("parking.txt", large, "text/plain")})
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {link.partition('#token=')[2]}"}
    async with asyncio.timeout(20):
        while "parking.txt" not in (await browser.get("/v1/documents", headers=headers)).text:
            await asyncio.sleep(0.1)


async def test_elsewhere_the_door_is_as_shut_as_before(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/v1/notes", json={"text": "x"})).status_code == 401
    assert (await browser.post("/consoles", json={"text": "x"})).status_code == 401
