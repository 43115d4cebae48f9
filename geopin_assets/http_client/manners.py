"""How one kind of request behaves over time: its spacing and its circuit breaker, kept while clients come and go.

Here: what several clients of one source in one process share, so that a source that was found dead by one
range of cells is not found dead again by each of the next. Not here: the client (`client.py`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from geopin_assets.http_client.circuit_breaker import CircuitBreaker
from geopin_assets.http_client.quota import Quota
from geopin_assets.http_client.rate_limit import Bucket, TokenBucket

BREAKER_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Manners:
    """Spacing and breaker of one kind of request."""

    bucket: Bucket
    breaker: CircuitBreaker
    per_day: int | None = None


def build_manners(
    quotas: Mapping[str, Quota],
    *,
    burst: int = 1,
    failures: int = BREAKER_FAILURES,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Manners]:
    """Manners by kind of request; the kind "" is every request that names none."""
    return {
        kind: Manners(
            TokenBucket(quota.per_second, burst=burst, clock=clock, sleep=sleep),
            CircuitBreaker(failures=failures, clock=clock),
            quota.per_day,
        )
        for kind, quota in quotas.items()
    }
