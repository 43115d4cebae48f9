"""A D1Store on D1's real engine, which has queries but no list of databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from geopin_assets.index.cloudflare import CloudflareApi, D1Store
from geopin_assets_tests.index.cloudflare.world import ACCOUNT, TOKEN, result
from geopin_assets_tests.index.frames import Clock

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '!_cf%' ESCAPE '!'"


class _OneDatabase(httpx.HTTPTransport):
    """The engine, with the only database it has in the list."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return result([{"name": "geopin", "uuid": "captures"}])
        return super().handle_request(request)


@contextmanager
def real_d1(url: str, folder: Path, clock: Clock) -> Iterator[D1Store]:
    """A store in the engine at this address, emptied first."""
    with CloudflareApi(
        ACCOUNT,
        TOKEN,
        rate_place=folder / "rate.sqlite",
        base_url=f"{url}/client/v4",
        transport=_OneDatabase(),
        wall_clock=lambda: clock().timestamp(),
        sleep=clock.sleep,
    ) as api:
        store = D1Store(api, "geopin")
        for (name,) in store.query(_TABLES).iter_rows():
            if not name.startswith("sqlite_"):
                api.call("POST", "d1/database/captures/raw", body={"sql": f"DROP TABLE {name}"})
        yield store
