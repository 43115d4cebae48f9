"""Panoramax: the free, federated street-level platform (IGN, OpenStreetMap chapters, municipalities).

API: STAC search by box, `GET /api/search?bbox=w,s,e,n&limit=`, without key. The meta-catalog
https://api.panoramax.xyz knows the pictures of all instances; `GEOPIN_PANORAMAX_URLS` (base
addresses, separated by commas) asks instances directly and unites them by id, the first one named
winning; a cell counts only if all of them answered. Vector tiles save requests: their grid of counts (zoom 6)
says where nothing is and where so much is that ids from tiles of zoom 15, asked for by the thousand
(`POST /api/search`), are cheaper than dividing boxes.

License: per picture, usually CC-BY-SA-4.0 (OpenStreetMap France) or etalab-2.0 (IGN); shown as
`{producer} – Panoramax / {instance}, {license}`.

Quirks: search has no paging and no total, so an answer of `limit` features means "divide the box", and one search of
the whole country shows whether the server gives as many as asked. Edges are inclusive; order is by distance to the
center, so a cut answer has lost the corners; swapped coordinates are an empty 200. Every feature has `next` and `prev`
links: the next picture of its sequence, not a page. Picture addresses point to the hosting instance: followed, never
built. A lone picture without a direction has an azimuth of 0: unknown. The grid is counted at night: pictures farther
than one of its cells from any older one are found the day after, those in tiles kept here likewise. Collections that an
instance took down (`/api/collections?show_deleted=true`) are left out as removed, wherever they are still shown.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.environment import without_keys
from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import fields, stac_items
from geopin_assets.sources.base import CrawlReport, RequestCost, Source
from geopin_assets.sources.paging import settle_captures
from geopin_assets.sources.panoramax.ask import Instance, fetch_removed

DEFAULT_LIMIT = 1000  # about 4 kB a picture on an instance, 7.5 kB on the catalog: 1000 are a few MB
MAX_LIMIT = 10_000  # instances answer 400 above it
REMOVED_WITHIN = timedelta(days=3)  # longer than a tile is kept, and than the catalog usually lags behind


class Panoramax(Source):
    """All pictures of a cell, from the catalog or from a list of instances."""

    name = "panoramax"
    title = "Panoramax"
    homepage = "https://panoramax.fr"
    contribute_url = "https://docs.panoramax.fr"
    thumbnail = (r"/[hs]d\.jpg$", "/thumb.jpg")
    endpoint = "https://api.panoramax.xyz"
    license = None
    attribution = "{creator} – Panoramax / {instance}, {license}"
    expected_captures = 1_000_000  # 0.4 million in Amsterdam
    costs = (RequestCost(cells_per_request=3, captures_per_request=200),)  # most empty cells are skipped
    requests_per_second = 1.0

    def __init__(
        self,
        client: HttpClient,
        *,
        urls: Sequence[str] = (endpoint,),
        catalog: str = endpoint,
        limit: int = DEFAULT_LIMIT,
        tiles_dir: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`catalog`: the address among `urls`, if any, that is the federated catalog."""
        self._client, self._now = client, now
        self._instances = [
            Instance(client, url, limit=limit, is_catalog=url == catalog, tiles_dir=tiles_dir) for url in urls
        ]
        self._lock = Lock()
        self._removed: frozenset[str] | None = None

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        try:
            _urls(settings)
        except ConfigurationError as error:
            return str(error)
        return super().disabled_reason(settings)

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Panoramax":
        """Raises ConfigurationError for an address that cannot be used."""
        catalog = (
            f"{settings.sandbox_url}/{cls.name}"
            if settings.is_sandbox and not settings.panoramax_urls
            else cls.endpoint
        )
        return cls(
            client,
            urls=_urls(settings),
            catalog=catalog,
            limit=settings.panoramax_limit,
            tiles_dir=settings.tiles_dir / cls.name,
        )

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        return settle_captures(cell.bbox, lambda: self._read(cell, report), report)

    def _read(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        seen: set[str] = set()
        for instance in self._instances:
            for feature in instance.fetch(cell.bbox, report, lambda: self._fetch_removed(report)):
                if isinstance(feature, Rejected):
                    yield feature
                elif (key := fields.record_key(feature)) in seen:
                    report.duplicates += 1
                else:
                    seen.add(key)
                    yield self._parse(feature, cell.bbox, instance, report)

    def _parse(self, feature: Any, bbox: Bbox, instance: Instance, report: CrawlReport) -> Capture | Rejected:
        capture = parse_picture(feature, bbox, instance.url, self._now())
        if isinstance(capture, Capture) and capture.sequence_id in self._fetch_removed(report):
            return Rejected(Reason.REMOVED, capture.source_capture_id)
        return capture

    def _fetch_removed(self, report: CrawlReport) -> frozenset[str]:
        """Collections that any of the instances took down lately, asked for when the first capture is found."""
        with self._lock:
            if self._removed is None:
                since = self._now() - REMOVED_WITHIN
                asked = [instance.url for instance in self._instances if not instance.is_catalog]
                removed = [fetch_removed(self._client, url, since, report) for url in asked]
                self._removed = frozenset().union(*removed)
            return self._removed


@fields.rejecting
def parse_picture(feature: Any, bbox: Bbox, endpoint: str, now: datetime) -> Capture | Rejected:
    """Understand one feature that `endpoint` returned for a box."""
    item = stac_items.parse_feature(feature, now, f"{endpoint}/api/search")
    if isinstance(item, Rejected):
        return item
    if not bbox.contains(item.lon, item.lat):
        return Rejected(Reason.OUTSIDE_CELL, item.id)
    return item.capture(
        source=Panoramax.name,
        source_capture_id=item.id,
        attribution=f"{item.producer or 'unknown'} – Panoramax / {item.instance}, {item.license}",
        page_url=f"{endpoint}/#focus=pic&pic={quote(item.id)}",
    )


def _urls(settings: Settings) -> tuple[str, ...]:
    urls = fields.api_roots(settings.panoramax_urls, "GEOPIN_PANORAMAX_URLS")
    if settings.is_sandbox and (away := [url for url in urls if not fields.is_this_machine(url)]):
        raise ConfigurationError(
            f"GEOPIN_PANORAMAX_URLS: the sandbox asks only this machine, not {without_keys(away[0])}: "
            "set GEOPIN_PROFILE=live"
        )
    return urls or ((f"{settings.sandbox_url}/panoramax",) if settings.is_sandbox else (Panoramax.endpoint,))
