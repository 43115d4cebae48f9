"""HTTP clients for bulk images: `python -m geopin_assets_tests.benchmarks.http_clients`.

Why images are fetched with aiohttp and APIs asked with httpx: what an image of 134 KB costs each, in CPU time of the
client. The server is a process of its own. `geopin` is the fetcher as it is used, with its guards against strangers'
addresses, on aiohttp.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.request import urlopen

import aiohttp
import httpx

from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.image_host import image_host, street_jpegs
from geopin_assets_tests.benchmarks.tools.measure import alternating, machine, print_table, typical

IMAGES = 600
ROUNDS = 3
AT_ONCE = (16, 64)

Get = Callable[[str], Awaitable[bytes]]


async def _drain(get: Get, urls: Iterator[str], sizes: list[int]) -> None:
    for url in urls:
        sizes.append(len(await get(url)))


async def _all(get: Get, urls: Sequence[str], at_once: int) -> int:
    """Bytes of all images, so many requests at once."""
    waiting, sizes = iter(urls), list[int]()
    await asyncio.gather(*(_drain(get, waiting, sizes) for _ in range(at_once)))
    return sum(sizes)


async def with_aiohttp(urls: Sequence[str], at_once: int) -> int:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

        async def get(url: str) -> bytes:
            async with session.get(url) as response:
                return await response.read()

        return await _all(get, urls, at_once)


async def with_httpx(urls: Sequence[str], at_once: int) -> int:
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def get(url: str) -> bytes:
            return (await client.get(url)).content

        return await _all(get, urls, at_once)


async def with_geopin(urls: Sequence[str], at_once: int) -> int:
    async with ImageFetcher(addresses=AddressRule(allow_loopback=True)).session() as fetch:

        async def get(url: str) -> bytes:
            data = await fetch(url)
            return data if isinstance(data, bytes) else b""

        return await _all(get, urls, at_once)


async def with_urllib(urls: Sequence[str], at_once: int) -> int:
    """In threads, a new connection for each image: img2dataset's way."""

    def get(url: str) -> int:
        with urlopen(url, timeout=60) as response:  # noqa: S310 the benchmark's own server
            return len(response.read())

    with ThreadPoolExecutor(at_once) as threads:
        return sum(threads.map(get, urls))


CLIENTS = {"aiohttp": with_aiohttp, "geopin": with_geopin, "urllib threads": with_urllib, "httpx": with_httpx}


def run(client: Callable[[Sequence[str], int], Awaitable[int]], urls: Sequence[str], at_once: int, wanted: int) -> None:
    async def all_of_them() -> int:
        return await client(urls, at_once)

    got = asyncio.run(all_of_them())
    if got != wanted:
        sys.exit(f"{client.__name__}: {got} bytes of {wanted}")


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print CPU time and images per second of each client, and the ratio to aiohttp of the same run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help="a multiple of 20")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    jpegs, images = street_jpegs(20), options.images
    wanted = sum(map(len, jpegs)) * images // len(jpegs)
    print(f"{images} images of {wanted / images / 1000:.0f} KB, {machine()}")
    rows: list[Sequence[object]] = []
    with image_host(jpegs) as host:
        urls = [f"{host}{number}" for number in range(images)]
        for at_once in AT_ONCE:
            works = {name: partial(run, client, urls, at_once, wanted) for name, client in CLIENTS.items()}
            costs = {name: typical(measured) for name, measured in alternating(works, options.rounds).items()}
            base = costs["aiohttp"].cpu_s
            rows += [
                (
                    name,
                    at_once,
                    f"{cost.cpu_s / images * 1000:.2f}",
                    f"{cost.cpu_s / base:.1f}",
                    f"{images / cost.cpu_s:.0f}",
                    f"{images / cost.wall_s:.0f}",
                )
                for name, cost in costs.items()
            ]
    print_table(("client", "at once", "CPU ms/img", "ratio", "img per CPU s", "img/s by the clock"), rows)
    ratio = costs["geopin"].cpu_s / base
    return [Figure(f"fetching, {at_once} at once, CPU", ratio, beside="bare aiohttp")]


if __name__ == "__main__":
    main(sys.argv[1:])
