"""What one run may spend on publishing, so that a mistake upstream costs a failed run and not a bill.

Rewriting the same rows for a month has cost others thousands (D1 bills each row written); requests are 1,200 in
five minutes for everything an account does. Here: the limits of a run and what is left of them. Not here: limits of
single requests (`limits.py`).
"""

from dataclasses import dataclass

from geopin_assets.errors import PermanentError

DOLLARS_PER_MILLION_ROWS = 1.0  # D1, rows written beyond the 50 million a month that are included


@dataclass(slots=True)
class RunBudget:
    """Rows written and requests that are left of a run. What does not fit is refused before anything of it is sent."""

    rows: int
    requests: int

    def check(self, what: str, rows: int, requests: int) -> None:
        """Raise PermanentError, naming the setting, unless so much is left."""
        if rows > self.rows:
            raise PermanentError(
                f"{what}: {rows} rows would be written, {self.rows} are left of this run's budget: nothing was written."
                " If so many changes are right, raise GEOPIN_PUBLISH_MAX_ROWS and publish again"
            )
        if requests > self.requests:
            raise PermanentError(
                f"{what}: {requests} requests would be sent, {self.requests} are left of this run's budget: nothing was"
                " written. If so many changes are right, raise GEOPIN_PUBLISH_MAX_REQUESTS and publish again"
            )

    def spend(self, rows: int, requests: int) -> None:
        """Note what was really used."""
        self.rows -= rows
        self.requests -= requests
