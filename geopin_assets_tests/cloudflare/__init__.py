"""Stand-in of Cloudflare's API v4: Vectorize v2 and D1, with their wire formats, limits, lags and failures.

Here: what others use of it. Not here: how (`emulator.py` is the front door). It imports nothing from `index/` on
purpose: a number that a client has wrong is refused here, not repeated.

    CloudflareEmulator(folder).app()        an ASGI app, mounted by the sandbox under /cloudflare
    CloudflareEmulator().answer(request)    the same without a socket: state in memory, a request in well under 1 ms
"""

from geopin_assets_tests.cloudflare.emulator import ACCOUNT_ID, API, TOKEN, CloudflareEmulator
from geopin_assets_tests.cloudflare.faults import CloudflareFault, Kind
from geopin_assets_tests.cloudflare.limits import Lag, Limits
from geopin_assets_tests.cloudflare.wire import Answer, Ending, Request

__all__ = [
    "ACCOUNT_ID",
    "API",
    "TOKEN",
    "Answer",
    "CloudflareEmulator",
    "CloudflareFault",
    "Ending",
    "Kind",
    "Lag",
    "Limits",
    "Request",
]
