"""What was sent and written lately, beside what may be: requests to sources, rows to the published index.

Here: collecting it from settings, the account of requests and Dagster's history. Not here: verdicts
(`quality/budgets.py`).
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from geopin_assets.defs.resources import Storage
from geopin_assets.http_client import DailyUse
from geopin_assets.index.forecast import forecast_publish
from geopin_assets.quality.budgets import DailyBudget, PublishingMonth
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES, quotas_of

DAYS = 7
"""Days of requests looked at: a crawl that runs out every day shows as such."""
_MONTH = timedelta(days=30)
_PUBLISHED = [dg.AssetKey(["publish", name]) for name in ("vectorize", "d1")]
_PAGE = 1000


def daily_budgets(settings: Settings, *, now: datetime) -> list[DailyBudget]:
    """Every daily budget of the sources that are switched on, with the requests of the last days."""
    used: dict[tuple[str, str], dict[date, int]] = {}
    stops: dict[tuple[str, str], tuple[datetime, str]] = {}
    if settings.daily_use_path.exists():
        account = DailyUse(settings.daily_use_path, clock=now.timestamp)
        for name, kind, day, requests in account.used_since((now - timedelta(days=DAYS - 1)).date()):
            used.setdefault((name, kind), {})[day] = requests
        stops = {(name, kind): (until, reason) for name, kind, until, reason in account.stops()}
    return [
        DailyBudget(
            source=source.name,
            kind=kind,
            per_day=quota.per_day,
            used=used.get((source.name, kind), {}),
            stopped_until=stops.get((source.name, kind), (None, ""))[0],
            stopped_because=stops.get((source.name, kind), (None, ""))[1],
        )
        for source in SOURCES
        if source.disabled_reason(settings) is None
        for kind, quota in quotas_of(source, settings).items()
        if quota.per_day is not None
    ]


def publishing_month(
    storage: Storage, instance: dg.DagsterInstance, *, vectors: int, captures: int, dim: int, now: datetime
) -> PublishingMonth | None:
    """What publishing to Cloudflare took in 30 days; None for the embedded index, which costs nothing."""
    settings = storage.settings()
    if not settings.publishes_to_cloudflare:
        return None
    stated = settings.text("GEOPIN_MONTHLY_BUDGET_USD")
    written = [_numbers(event) for key in _PUBLISHED for event in _since(instance, key, now - _MONTH)]
    return PublishingMonth(
        rows_written=sum(numbers["rows_written"] for numbers in written),
        requests=sum(numbers["store_requests"] for numbers in written),
        storage_usd=forecast_publish(vectors, captures, dim).monthly_usd,
        limit_usd=settings.number("GEOPIN_MONTHLY_BUDGET_USD", 0, low=0, high=1e9) if stated else None,
    )


def _since(instance: dg.DagsterInstance, key: dg.AssetKey, moment: datetime) -> Iterator[dg.AssetMaterialization]:
    """Newest first; ids are in order of time, and a time has no index."""
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        for record in page.records:
            if record.timestamp < moment.timestamp():
                return
            if record.asset_materialization:
                yield record.asset_materialization
        if not page.has_more:
            return
        cursor = page.cursor


def _numbers(event: dg.AssetMaterialization) -> dict[str, int]:
    """Only the first cell of a batch carries what the batch took."""
    found = {name: event.metadata.get(name) for name in ("rows_written", "store_requests")}
    return {name: value.value or 0 if isinstance(value, dg.IntMetadataValue) else 0 for name, value in found.items()}
