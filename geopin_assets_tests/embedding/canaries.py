"""A program that fetches images where every address is its own, and prints which of them were connected to.

It runs in a network namespace, given one by `test_canaries.py`: public addresses, private ones and that of cloud
metadata lie on its loopback interface, with one server behind all of them. Nothing leaves the machine.
"""

import asyncio
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from itertools import product
from typing import Any

from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.protocol import Failure
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets_tests.embedding.fetching import Names
from geopin_assets_tests.embedding.image_server import ImageServer, body, image_server, status

PUBLIC = "8.8.8.8"
OWN = [PUBLIC, "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1"]
OWN_V6 = ["64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::1", "2001:0:7f00:1::1", "fc00::1", "fec0::1", "::a00:1"]

LOOPBACK = [
    *("127.0.0.1", "127.1", "127.0.1", "127.9.9.9", "2130706433", "017700000001", "0177.0.0.1", "0x7f.1", "0X7F000001"),
    *(
        "0x7f.0.0.0x1",
        "0",
        "0.0.0.0",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost..",
        "LocalHost.",
    ),
    *(
        "①②⑦.⓪.⓪.①",
        "１２７.０.０.１",
        "127。0。0。1",
        "ⓛocalhost",
        "%6cocalhost",
        "127%2e0.0.1",
        "127.0.0.1%00.example",
    ),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]", "[::1%lo]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[0:0:0:0:0:ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::1]"),
    *("[2001:0:7f00:1::1]", "[::ffff:0:127.0.0.1]"),
]
PRIVATE = [
    *(
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
    ),
    *("10.0.0.1", "10.1", "[::10.0.0.1]", "172.16.0.1", "192.168.0.1", "192.168.1", "100.64.0.1", "198.18.0.1"),
    *("[fc00::1]", "[fec0::1]", "[fe80::1%25lo]"),
]
NAMES = {
    "public.example": [PUBLIC],
    "localhost.": ["127.0.0.1"],
    "loopback.example": ["127.0.0.1"],
    "loopback6.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "metadata.example": ["169.254.169.254"],
    "private.example": ["10.0.0.1"],
    "mixed.example": [f"{PUBLIC},127.0.0.1"],
    "rebinding.example": [PUBLIC, "127.0.0.1"],
}
FORBIDDEN_NAMES = [name for name in NAMES if name not in ("public.example", "rebinding.example")]
REDIRECTS = [
    *(f"http://{host}/image" for host in [*LOOPBACK, *PRIVATE, *FORBIDDEN_NAMES]),
    *(
        "//127.0.0.1/image",
        "//localhost./image",
        "//metadata.example/image",
        "HTTP://LOCALHOST/image",
        "\\\\127.0.0.1\\image",
    ),
    *("http://8.8.8.8@127.0.0.1/image", "http://127.0.0.1#@8.8.8.8/", "http:///127.0.0.1/image", "https://127.0.0.1/"),
]
STATUSES = (301, 302, 303, 307, 308)


Outcomes = dict[str, tuple[str, list[str]]]
"""What was fetched: the reason why not, or "fetched", and the addresses that were connected to."""


class NamesOrSystem(Names):
    """Names of `NAMES`, and whatever the system makes of others: 0x7f.1 is a name to us, and 127.0.0.1 to it."""

    async def resolve(self, host: str, *args: Any, **kwargs: Any) -> list[ResolveResult]:
        known = host in NAMES
        return await (super() if known else ThreadedResolver()).resolve(host, *args, **kwargs)


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*OWN, *OWN_V6):
        size = 128 if ":" in address else 32
        subprocess.run(["ip", "address", "add", f"{address}/{size}", "dev", "lo"], check=False, capture_output=True)
    with image_server("::", 80) as server, image_server("::", 8080) as other:
        server.routes["/image"] = other.routes["/image"] = body(b"secret")
        json.dump({part.__name__: part(server, other) for part in PARTS}, sys.stdout)


def fetched(server: ImageServer, *urls: str, **options: Any) -> Outcomes:
    """One URL after another, in one session."""
    fetcher = ImageFetcher(retry_after_s=0, deadline_s=5, resolver=NamesOrSystem(NAMES), **options)

    async def run() -> Outcomes:
        outcomes = {}
        async with fetcher.session() as fetch:
            for url in urls:
                before = len(server.reached)
                result = await fetch(url)
                said = result.reason.value if isinstance(result, Failure) else "fetched"
                outcomes[url] = (said, server.reached[before:])
        return outcomes

    return asyncio.run(run())


def literals(server: ImageServer, _: ImageServer) -> Outcomes:
    return fetched(server, *(f"http://{host}/image" for host in LOOPBACK + PRIVATE))


def names(server: ImageServer, _: ImageServer) -> Outcomes:
    return fetched(server, *(f"http://{name}/image" for name in FORBIDDEN_NAMES))


def redirects(server: ImageServer, _: ImageServer) -> Outcomes:
    """All targets with 302, a few with every status, from a public server."""
    cases = [*product((302,), REDIRECTS), *product(STATUSES, REDIRECTS[:1] + REDIRECTS[-9:])]
    server.routes |= {f"/{i}": status(code, target) for i, (code, target) in enumerate(cases)}
    urls = [f"http://public.example/{i}" for i in range(len(cases))]
    fetched(server, "http://public.example/image")  # the connection that is used on
    outcomes = fetched(server, *urls)
    return {f"{code} {target}": outcomes[url] for url, (code, target) in zip(urls, cases, strict=True)}


def rebinding(server: ImageServer, other: ImageServer) -> Outcomes:
    """Two connections to what the first answer said, as it is cached; then the name is asked for again."""

    def closes(handler: BaseHTTPRequestHandler) -> None:
        body(b"public", connection="close")(handler)

    server.routes |= {"/first": closes, "/second": closes}
    of_name = "http://rebinding.example"
    outcomes = fetched(server, f"{of_name}/first", f"{of_name}/second", f"{of_name}:8080/image")
    return outcomes | {"8080": ("", other.reached)}


def public(server: ImageServer, _: ImageServer) -> Outcomes:
    return fetched(server, f"http://{PUBLIC}/image", "http://public.example:80/image")


def trusted(server: ImageServer, _: ImageServer) -> Outcomes:
    """Nothing here is out of reach but for the guard."""
    hosts = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "0x7f.1"]
    urls = [f"http://[{host}]/image" if ":" in host else f"http://{host}/image" for host in hosts]
    return fetched(server, *urls, addresses=AddressRule(trusted_hosts=frozenset(hosts)))


PARTS = (literals, names, redirects, rebinding, public, trusted)

if __name__ == "__main__":
    main()
