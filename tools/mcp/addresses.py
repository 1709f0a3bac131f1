"""Where a connection may go. A host is resolved once and the connection goes to the address that was checked, so that neither a
redirect nor a name that changes its address meanwhile gets around it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
_LOCAL = tuple(
    map(ipaddress.ip_network, ("64:ff9b:1::/48", "fec0::/10", "::ffff:0:0:0/96", "5f00::/16", "3fff::/20", "2001::/23"))
)
"""Not public, whatever this Python's own list has: translated addresses, site-local ones, those for documents and segments."""


class AddressRefused(httpcore.ConnectError):
    """The host is in a network that servers of organisations may not be in."""


class Addresses:
    """The rule: the `allowed` networks, and unless `public` is False public addresses. `anywhere` is for what the operator
    defined."""

    def __init__(self, allowed: Iterable[Network] = (), *, public: bool = True, anywhere: bool = False) -> None:
        self._allowed = tuple(allowed)
        self._public = public
        self._anywhere = anywhere

    def permits(self, address: Address) -> bool:
        """An IPv4 address inside an IPv6 one is judged as what it is."""
        if self._anywhere:
            return True
        plain = _unwrapped(address)
        if any(plain.version == network.version and plain in network for network in self._allowed):
            return True
        local = any(plain.version == network.version and plain in network for network in _LOCAL)
        return self._public and plain.is_global and not plain.is_multicast and not local

    def refused_literal(self, host: str) -> bool:
        """Whether a host, as it stands in an address, is one that will be refused whatever it resolves to."""
        if host.rstrip(".").lower() == "localhost":
            return not self.permits(ipaddress.ip_address("127.0.0.1"))
        try:
            return not self.permits(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            return False

    async def resolve(self, host: str, port: int) -> str:
        """The address to connect to. Raises AddressRefused, or ConnectError where there is no such host."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:
            raise httpcore.ConnectError(f"the host {host} is not known") from unknown
        for entry in found:
            address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            if self.permits(address):
                return str(entry[4][0])
        raise AddressRefused(f"{host} is at an address where it may not be")


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and (address in _NAT64 or (address in _COMPATIBLE and int(address) > 1)):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only. TLS still goes by the host's name."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                address = await self._addresses.resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from None
        return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def networks(values: Sequence[str]) -> tuple[Network, ...]:
    """Raises ValueError naming what is no network."""
    return tuple(ipaddress.ip_network(value, strict=False) for value in values)
