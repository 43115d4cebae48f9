"""The rule on addresses that strangers name: public ones only, so that nobody has this machine ask its own network.

Here: the rule. Not here: where sockets are held to it (`transport.py`, and for images `embedding/hosts.py`).
"""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""`is_global` calls more than that global: ::127.0.0.1, 64:ff9b:1::/48 (a NAT64 of one's own), fec0::/10."""


class ForbiddenAddressError(OSError):
    """The host resolves to an address that is not public."""


@dataclass(frozen=True, kw_only=True)
class AddressRule:
    """Public addresses only; loopback on request (sandbox); any address for hosts named as trusted."""

    trusted_hosts: frozenset[str] = frozenset()
    allow_loopback: bool = False

    def trusts(self, host: str) -> bool:
        """Whether a host may have any address."""
        return host.casefold() in self.trusted_hosts

    def check_host(self, host: str) -> None:
        """Raise ForbiddenAddressError for an IP literal that is not allowed; names are checked when resolved.

        aiohttp hands hosts of digits and dots, such as 127.1 or 2130706433, to the socket unresolved:
        they are allowed only as proper addresses.
        """
        if ":" in host or host.replace(".", "").isdigit():
            self.check_addresses(host, [host])

    def check_addresses(self, host: str, addresses: list[str]) -> None:
        """Raise ForbiddenAddressError unless every address of a host is allowed."""
        if self.trusts(host):
            return
        for address in addresses:
            if not _allows(address, self.allow_loopback):
                raise ForbiddenAddressError(f"{host} is {address}: not a public address")


@lru_cache(1024)
def _allows(address: str, allow_loopback: bool) -> bool:
    """Asked again for every image of a host."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or nat64 or ip
    is_unicast = ip in _GLOBAL_UNICAST if ip.version == 6 else not ip.is_multicast
    return (ip.is_global and is_unicast) or (allow_loopback and ip.is_loopback)
