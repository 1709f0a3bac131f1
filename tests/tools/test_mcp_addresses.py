"""Where servers of organisations may be: no connection reaches what is private, by whatever way its address is given."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import OrganizationId, new_id
from domain.mcp import McpServer
from tests.mcp_servers.processes import GARBAGE, office, started
from tools.mcp.addresses import Addresses, networks
from tools.mcp.failures import Failed, Failure
from tools.mcp.session import Session, SessionLimits
from tools.mcp.wire import Wire

LIMITS = SessionLimits(connect_seconds=5, call_seconds=5, max_bytes=100_000)


@asynccontextmanager
async def listener(host: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[Any]]]:
    """A port, and who has come to it."""
    visits: list[Any] = []

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(visit, host, 0)
    try:
        yield server.sockets[0].getsockname()[1], visits
    finally:
        server.close()


def session(url: str, addresses: Addresses, transport: str = "streamable_http") -> Session:
    server = McpServer.model_validate(
        {
            "server_id": new_id(), "organization_id": OrganizationId(new_id()), "scope": "organization", "name": "x",
            "transport": transport, "url": url,
        }
    )  # fmt: skip
    return Session(server, {}, {}, addresses, LIMITS, lambda: None)


async def failure_of(opened: Session) -> Failure:
    with pytest.raises(Failed) as failed:
        await opened.initialized()
    await opened.close()
    return failed.value.failure


@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "localhost", "[::ffff:127.0.0.1]", "[::1]"]
)
async def test_nothing_of_this_machine_is_reached(host: str, transport: str) -> None:
    async with listener() as (port, visits):
        failure = await failure_of(session(f"http://{host}:{port}/mcp", Addresses(), transport))
    assert failure.code in ("address_refused", "unreachable")
    assert visits == []


async def test_a_name_that_leads_inside_is_refused_and_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listener() as (port, visits):
        answers = [["93.184.215.14"], ["127.0.0.1"]]
        asked: list[str] = []

        async def rebinding(self: Any, host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            found = answers.pop(0) if answers else ["127.0.0.1"]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "getaddrinfo", rebinding)
        # the first answer is the address that is connected to: the name is not resolved again
        assert await Addresses().resolve("rebinding.example", port) == "93.184.215.14"
        failure = await failure_of(session(f"http://rebinding.example:{port}/mcp", Addresses()))
    assert failure.code == "address_refused"
    assert asked == ["rebinding.example", "rebinding.example"]
    assert visits == []


async def test_a_redirect_leads_nowhere() -> None:
    allowed = Addresses(networks(["127.0.0.0/8"]))
    async with listener() as (port, visits):
        async with started(GARBAGE, f"redirect http://127.0.0.1:{port}/mcp") as program:
            failure = await failure_of(session(program.url, allowed))
        assert failure.code == "redirected"
        assert visits == []


async def test_what_the_operator_allows_is_reached() -> None:
    async with office() as program:
        opened = session(program.url, Addresses(networks(["127.0.0.0/8"])))
        assert (await opened.initialized()).serverInfo.name == "office"
        await opened.close()
        assert (await failure_of(session(program.url, Addresses(networks(["10.0.0.0/8"]))))).code == "address_refused"


async def test_no_proxy_of_the_environment_chooses_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listener() as (port, visits):
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        async with Wire(Addresses(), 1000, lambda failure: None).client() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://10.255.255.1/")
    assert visits == []


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_as_what_it_is(address: ipaddress.IPv4Address) -> None:
    rule = Addresses()
    plain = rule.permits(address)
    for prefix in ("::ffff:", "64:ff9b::"):
        assert rule.permits(ipaddress.ip_address(f"{prefix}{address}")) == plain


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::7f00:1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe",
     "64:ff9b:1::7f00:1", "::ffff:0:7f00:1", "fec0::1", "3fff::1", "5f00::1"],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Addresses().permits(ipaddress.ip_address(address))


def test_premises_are_only_where_the_operator_allowed() -> None:
    premises = Addresses(networks(["10.20.0.0/16"]), public=False)
    assert [premises.permits(ipaddress.ip_address(host)) for host in ("10.20.3.4", "10.21.0.1", "8.8.8.8", "2001:4860::1")] == [
        True, False, False, False,
    ]  # fmt: skip
