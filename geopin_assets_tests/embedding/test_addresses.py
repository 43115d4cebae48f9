import asyncio
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from geopin_assets.embedding.addresses import AddressRule, ForbiddenAddressError, GuardedResolver
from geopin_assets_tests.embedding.image_server import ImageServer, body

PRIVATE_V4 = ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
ODD_V4 = ["0.0.0.0", "224.0.0.1", "255.255.255.255"]
PRIVATE_V6 = ["::1", "::", "fe80::1", "fc00::1", "ff02::1"]
V4_IN_V6 = ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::"]


class Answers(AbstractResolver):
    """Gives one answer after another: a name server that changes its mind."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = next(self._answers).split(",")
        return [
            ResolveResult(hostname=host, host=a, port=port, family=socket.AF_INET, proto=0, flags=0) for a in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("address", [*PRIVATE_V4, *ODD_V4, *PRIVATE_V6, *V4_IN_V6])
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        AddressRule().check_addresses("example.com", [address])
    with pytest.raises(ForbiddenAddressError):
        AddressRule().check_host(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    AddressRule().check_addresses("example.com", [address])
    AddressRule().check_host(address)


def test_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(ForbiddenAddressError):
        AddressRule().check_addresses("example.com", ["8.8.8.8", "10.0.0.1"])


def test_loopback_on_request_opens_no_other_private_network() -> None:
    rule = AddressRule(allow_loopback=True)
    rule.check_addresses("localhost", ["127.0.0.1", "::1"])
    with pytest.raises(ForbiddenAddressError):
        rule.check_addresses("example.com", ["10.0.0.1"])


def test_a_name_that_rebinds_to_loopback_is_not_connected_to(server: ImageServer) -> None:
    """The first answer passes and is connected to; the second is loopback. Nothing may arrive there."""
    server.routes["/"] = body(b"secret")
    resolver = GuardedResolver(AddressRule(), Answers("192.0.43.8", "127.0.0.1"))

    async def connect_twice() -> None:
        assert (await resolver.resolve("rebinding.example", server.server_port))[0]["host"] == "192.0.43.8"
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector) as http:
            with pytest.raises(aiohttp.ClientConnectorError) as refused:
                await http.get(server.url("/", "rebinding.example"))
        assert isinstance(refused.value.os_error, ForbiddenAddressError)

    asyncio.run(connect_twice())
    assert not server.hits
