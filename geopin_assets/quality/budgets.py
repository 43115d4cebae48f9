"""What there is to spend and what was spent: daily requests to sources, a month of publishing.

Here: verdicts and texts. Not here: counting requests (`http_client/quota.py`) or what publishing wrote (`defs/`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

NEARLY = 0.9
"""Share of a day's requests from which there is something to say."""
INCLUDED_ROWS_PER_MONTH = 50_000_000
"""D1 rows written that the plan of a whole account includes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyBudget:
    """One kind of request that may be sent so many times a day (UTC)."""

    source: str
    kind: str
    per_day: int
    used: Mapping[date, int] = field(default_factory=dict)
    """Requests of the days looked at; a day without any may be missing."""
    stopped_until: datetime | None = None
    stopped_because: str = ""

    @property
    def spent_days(self) -> list[date]:
        """Days on which hardly anything was left. A budget of 0 is a switch, not something to run out of."""
        return sorted(d for d, requests in self.used.items() if 0 < self.per_day * NEARLY <= requests)

    @property
    def text(self) -> str:
        """What is the matter; empty if nothing is."""
        said = []
        if self.spent_days:
            last = self.spent_days[-1]
            days = f", {len(self.spent_days)} days in all" if len(self.spent_days) > 1 else ""
            said.append(f"{self.used[last]:,} of {self.per_day:,} {self.kind} requests sent on {last}{days}")
        if self.stopped_until:
            said.append(f"{self.kind} stopped until {self.stopped_until:%Y-%m-%d %H:%M} UTC: {self.stopped_because}")
        return f"{self.source}: {'; '.join(said)}" if said else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingMonth:
    """What publishing of 30 days cost, as far as the history of runs remembers, and what keeping it costs."""

    rows_written: int
    requests: int
    storage_usd: float
    """A month of storing and searching what is published."""
    limit_usd: float | None
    """What a month may cost; None: nobody said."""

    @property
    def cost_usd(self) -> float:
        """As if nothing else of the account wrote rows."""
        return max(self.rows_written - INCLUDED_ROWS_PER_MONTH, 0) / 1e6 + self.storage_usd

    @property
    def is_within(self) -> bool:
        return self.limit_usd is None or self.cost_usd <= self.limit_usd

    @property
    def text(self) -> str:
        """Rows, requests and money in one line."""
        limit = "no monthly budget is set" if self.limit_usd is None else f"budget ${self.limit_usd:.2f}"
        return (
            f"publishing, last 30 days: {self.rows_written:,} rows written, {self.requests:,} requests, about"
            f" ${self.cost_usd:.2f} with storage and search ({limit})"
        )


def notable(budgets: Sequence[DailyBudget]) -> list[str]:
    """What is the matter with each, where something is."""
    return [budget.text for budget in budgets if budget.text]
