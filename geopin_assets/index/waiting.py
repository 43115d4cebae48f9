"""Waiting until a write to a vector index can be read: the service takes it at once and processes it later.

Not here: what is written, or when (`targets.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from geopin_assets.errors import TransientError
from geopin_assets.index.protocol import VectorIndex

CLOCK_MARGIN = timedelta(seconds=60)  # how far the service's clock and ours may differ


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait for a mutation: Vectorize's median is below 30 s, its 99th percentile below 2 min."""

    timeout_s: float = 600.0
    poll_s: float = 2.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], datetime] = _utc_now


def await_mutation(index: VectorIndex, mutation: str, wait: Wait) -> int:
    """Return when it is processed, or (with another writer about) one certainly written later; how often it looked."""
    submitted, looks = wait.clock(), 0
    while True:
        info, looks = index.info(), looks + 1
        later = info.processed_up_to_at and info.processed_up_to_at > submitted + CLOCK_MARGIN
        if info.processed_up_to_mutation == mutation or later:
            return looks
        if wait.clock() - submitted >= timedelta(seconds=wait.timeout_s):
            raise TransientError(f"{index.store_key}: mutation {mutation} not visible after {wait.timeout_s:.0f} s")
        wait.sleep(wait.poll_s)
