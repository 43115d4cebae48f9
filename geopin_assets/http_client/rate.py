"""When the next request may go: token buckets that also keep the pauses a server asked for.

Not here: what a request is, or when to give up (`client.py`), budgets per day (`politeness.py`), and who shares a
bucket: whoever shares its state, the threads of a process or all processes of an installation (`state.py`).
"""

import time
from collections.abc import Callable
from math import inf

from geopin_assets.files.losable import Place, clock_of
from geopin_assets.http_client.state import SharedState, State, Values

_NEXT, _PAUSED = "next_at_s", "paused_until_at_s"
_NEVER = -inf


class Bucket:
    """At most one acquisition each `interval_s`, and `burst` at once after a quiet while.

    `clock` gives seconds that all who share `state` have in common; `sleep` waits.
    """

    def __init__(
        self,
        interval_s: float,
        state: State,
        *,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s, self._slack_s = interval_s, (burst - 1) * interval_s
        self._state, self._clock, self._sleep = state, clock, sleep

    def acquire(self, patience_s: float = inf) -> float:
        """Wait for a slot; 0, or the seconds of a pause that is longer than `patience_s`, for which nobody waited.

        A pause that begins while waiting is honored: the slot is given up and taken anew.
        """
        while True:
            slot_s, until_s = self._state.change(lambda values: self._take_slot(values, patience_s))
            now_s = self._clock()
            if until_s - now_s > patience_s:
                return until_s - now_s
            if slot_s <= now_s:
                return 0.0
            self._sleep(slot_s - now_s)
            if self._state.read().get(_PAUSED, _NEVER) <= until_s:
                return 0.0

    def pause(self, seconds: float) -> None:
        """Let nobody through for this long (a longer pause that is already running stays)."""

        def longer(values: Values) -> None:
            until_s = max(values.get(_PAUSED, _NEVER), self._clock() + seconds)
            values |= {_PAUSED: until_s, _NEXT: max(values.get(_NEXT, _NEVER), until_s)}

        self._state.change(longer)

    @property
    def paused_s(self) -> float:
        """Seconds left of the current pause; 0 when there is none."""
        return max(0.0, self._state.read().get(_PAUSED, _NEVER) - self._clock())

    def _take_slot(self, values: Values, patience_s: float) -> tuple[float, float]:
        """Reserve the next free slot, unless it is behind a long pause: when it is, and when the last pause ends."""
        now_s, next_s, until_s = self._clock(), values.get(_NEXT, _NEVER), values.get(_PAUSED, _NEVER)
        slot_s = max(now_s, next_s - self._slack_s, until_s)
        if until_s - now_s <= patience_s:
            values[_NEXT] = max(next_s, slot_s) + self._interval_s
        return slot_s, until_s


class SharedBucket(Bucket):
    """At most `requests` acquisitions in any `period_s` seconds by all users of `name` in a place; `burst` at once.

    What is not taken at once is spread evenly. `clock`: another wall clock than that of all who share the place.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        *,
        requests: int,
        period_s: float,
        burst: int,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 1 <= burst < requests:
            raise ValueError(f"a burst of {burst} is no part of {requests} requests")
        interval_s = period_s / (requests - burst)  # a full burst and the steady flow make `requests`
        clock = clock or clock_of(place)
        super().__init__(interval_s, SharedState(place, name, clock), burst=burst, clock=clock, sleep=sleep)
