"""Which network addresses an image may be fetched from. Image addresses come from strangers' records.

Here: the rule, and the resolver that applies it to the very addresses a connection is made to, so that a name
that resolves differently the second time gains nothing. Not here: requests, redirects, files (`images.py`).
"""

import ipaddress
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """The host resolves to an address that is not public."""


@dataclass(frozen=True, kw_only=True)
class AddressRule:
    """Public addresses only; loopback on request (sandbox); any address for hosts named as trusted."""

    trusted_hosts: frozenset[str] = frozenset()
    allow_loopback: bool = False

    def check_host(self, host: str) -> None:
        """Raise ForbiddenAddressError for an IP literal that is not allowed; names are checked when resolved.

        aiohttp hands hosts of digits and dots, such as 127.1 or 2130706433, to the socket unresolved:
        they are allowed only as proper addresses.
        """
        if ":" in host or host.replace(".", "").isdigit():
            self.check_addresses(host, [host])

    def check_addresses(self, host: str, addresses: list[str]) -> None:
        """Raise ForbiddenAddressError unless every address of a host is allowed."""
        if host.casefold() in self.trusted_hosts:
            return
        for address in addresses:
            if not self._allows(address):
                raise ForbiddenAddressError(f"{host} is {address}: not a public address")

    def _allows(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address):
            nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
            ip = ip.ipv4_mapped or ip.sixtofour or nat64 or ip
        return (ip.is_global and not ip.is_multicast) or (self.allow_loopback and ip.is_loopback)


class GuardedResolver(AbstractResolver):
    """Resolves names and refuses those with a forbidden address; aiohttp connects to what this returns."""

    def __init__(self, rule: AddressRule, resolver: AbstractResolver | None = None) -> None:
        self._rule = rule
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        self._rule.check_addresses(host, [result["host"] for result in results])
        return results

    async def close(self) -> None:
        await self._resolver.close()
