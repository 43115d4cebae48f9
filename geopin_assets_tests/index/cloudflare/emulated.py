"""Clients on the stand-in of Cloudflare, by a clock that moves only when somebody sleeps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from geopin_assets.index.cloudflare import CloudflareApi
from geopin_assets.index.protocol import Wait
from geopin_assets_tests.cloudflare import CloudflareEmulator, Lag, Limits
from geopin_assets_tests.cloudflare.transport import CloudflareTransport
from geopin_assets_tests.index.frames import DIM, Clock


@contextmanager
def emulated(
    folder: Path,
    clock: Clock,
    *,
    lag: Lag | None = None,
    attempts: int = 7,
    transport: Callable[[CloudflareEmulator], httpx.BaseTransport] = CloudflareTransport,
    **options: Any,
) -> Iterator[tuple[CloudflareApi, CloudflareEmulator]]:
    """A client and what it talks to; indexes may have DIM dimensions, and counts are not late."""
    lag = lag or Lag(mutation_s=0.0, count_s=0.0)
    options = {"limits": Limits(min_dimensions=DIM), **options}
    with (
        CloudflareEmulator(lag=lag, clock=clock, **options) as emulator,
        CloudflareApi(
            emulator.account_id,
            emulator.token,
            rate_place=folder / "rate.sqlite",
            base_url=emulator.base_url,
            attempts=attempts,
            transport=transport(emulator),
            clock=lambda: clock().timestamp(),
            wall_clock=lambda: clock().timestamp(),
            sleep=clock.sleep,
        ) as api,
    ):
        yield api, emulator


def wait_by(clock: Clock, **options: float) -> Wait:
    return Wait(sleep=clock.sleep, clock=clock, **options)
