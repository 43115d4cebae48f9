import asyncio
import socket
from contextlib import closing

import pytest
from aiohttp.connector import AddrInfoType

from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.hosts import GuardedResolver
from geopin_assets.embedding.protocol import FailureReason
from geopin_assets.http_client.addresses import AddressRule, ForbiddenAddressError
from geopin_assets_tests.embedding.fetching import Names, reason
from geopin_assets_tests.embedding.image_server import ImageServer, body

PRIVATE_V4 = ["127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
ODD_V4 = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "127.1", "2130706433", "0177.0.0.1", "127.0.0.1."]
PRIVATE_V6 = ["::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1"]
V4_IN_V6 = [
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1"),
    *("64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2001:0:7f00:1::"),
]


@pytest.mark.parametrize("address", [*PRIVATE_V4, *ODD_V4, *PRIVATE_V6, *V4_IN_V6])
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        AddressRule().check_addresses("example.com", [address])
    with pytest.raises(ForbiddenAddressError):
        AddressRule().check_host(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
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
    """The first answer passes; the second is loopback. Nothing may arrive there."""
    server.routes["/"] = body(b"secret")
    names = Names({"rebinding.example": ["8.8.8.8", "127.0.0.1"]})

    async def resolve() -> str:
        return (await GuardedResolver(AddressRule(), names).resolve("rebinding.example"))[0]["host"]

    assert asyncio.run(resolve()) == "8.8.8.8"
    fetcher = ImageFetcher(resolver=names, retry_after_s=0)
    assert reason(fetcher, server.url("/", "rebinding.example")) is FailureReason.NOT_ALLOWED
    assert names.asked["rebinding.example"] == 2 and not server.reached


def info(address: str) -> AddrInfoType:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80))


def test_no_socket_is_opened_to_a_forbidden_address_whoever_resolved_it() -> None:
    resolver = GuardedResolver(AddressRule(), Names({}))
    with pytest.raises(ForbiddenAddressError):
        resolver.open_socket(info("127.0.0.1"))
    with closing(resolver.open_socket(info("8.8.8.8"))) as opened:
        assert opened.family is socket.AF_INET


def test_an_address_of_a_trusted_host_is_open_to_that_host_alone() -> None:
    rule = AddressRule(trusted_hosts=frozenset({"trusted.example"}))
    resolver = GuardedResolver(rule, Names({"trusted.example": ["10.0.0.1"], "other.example": ["10.0.0.1"]}))

    async def resolve(host: str) -> None:
        await resolver.resolve(host)

    with pytest.raises(ForbiddenAddressError):
        resolver.open_socket(info("10.0.0.1"))
    asyncio.run(resolve("trusted.example"))
    resolver.open_socket(info("10.0.0.1")).close()
    with pytest.raises(ForbiddenAddressError):
        asyncio.run(resolve("other.example"))
    with pytest.raises(ForbiddenAddressError):
        rule.check_host("10.0.0.1")
