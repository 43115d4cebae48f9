"""Panoramax: the free, federated street-level platform (IGN, OpenStreetMap chapters, municipalities).

API: STAC search by box, `GET /api/search?bbox=w,s,e,n&limit=`, without key. The meta-catalog
https://api.panoramax.xyz knows the pictures of all instances; `GEOPIN_PANORAMAX_URLS` (base
addresses, separated by commas) asks instances directly and unites them by id.

License: per picture, usually CC-BY-SA-4.0 (OpenStreetMap France) or etalab-2.0 (IGN); shown as
`{producer} – Panoramax / {instance}, {license}`.

Quirks: search has no paging and no total, so an answer of `limit` features means "divide the box".
Edges are inclusive; order is by distance to the center, so a cut answer has lost the corners;
swapped coordinates are an empty 200. Every feature has `next` and `prev` links: the next picture of
its sequence, not a page. Picture addresses point to the hosting instance: followed, never built.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import fields, stac
from geopin_assets.sources.base import CrawlReport, Source
from geopin_assets.sources.splitting import Capacity, fetch_complete

DEFAULT_LIMIT = 1000  # about 4 kB a picture on an instance, 7.5 kB on the catalog: 1000 are a few MB
SANDBOX_LIMIT = 25  # invented streets are short: a small limit makes boxes divide there as they do in real cities
MAX_LIMIT = 10_000  # instances answer 400 above it
MIN_SIDE_DEG = 2e-5  # about 2 m; more than `limit` pictures within it are reported as incomplete
_THIS_MACHINE = {
    "127.0.0.1",
    "localhost",
    "::1",
}  # others must not meet the sandbox's lifted rate by a forgotten profile


class Panoramax(Source):
    """All pictures of a cell, from the catalog or from a list of instances."""

    name = "panoramax"
    title = "Panoramax"
    homepage = "https://panoramax.fr"
    contribute_url = "https://docs.panoramax.fr"
    endpoint = "https://api.panoramax.xyz"
    license = None
    attribution = "{creator} – Panoramax / {instance}, {license}"
    requests_per_second = 1.0

    def __init__(
        self,
        client: HttpClient,
        *,
        urls: Sequence[str] = (endpoint,),
        limit: int = DEFAULT_LIMIT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._urls, self._limit, self._now = client, urls, limit, now

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        try:
            _urls(settings), _limit(settings)
        except ConfigurationError as error:
            return str(error)
        return None

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Panoramax":
        """Raises ConfigurationError for a limit or address that cannot be used."""
        return cls(client, urls=_urls(settings), limit=_limit(settings))

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        seen: set[str] = set()
        for url in self._urls:
            for feature in self._fetch_features(url, cell.bbox, report):
                if (key := stac.feature_key(feature)) in seen:
                    report.duplicates += 1
                    continue
                seen.add(key)
                yield parse_picture(feature, cell.bbox, url, self._now())

    def _fetch_features(self, url: str, bbox: Bbox, report: CrawlReport) -> Iterator[Any]:
        def fetch(box: Bbox) -> list[Any]:
            params = {"bbox": str(box), "limit": self._limit}
            answer = self._client.get_json(f"{url}/api/search", params=params, tally=report)
            return stac.features(answer, where=f"{self.name}: {url}, box {box}")

        return fetch_complete(
            bbox, fetch, capacity=Capacity(self._limit), min_side_deg=MIN_SIDE_DEG, report=report, key=stac.feature_key
        )


def parse_picture(feature: Any, bbox: Bbox, endpoint: str, now: datetime) -> Capture | Rejected:
    """Understand one feature that `endpoint` returned for a box."""
    item = stac.parse_feature(feature, now)
    if isinstance(item, Rejected):
        return item
    if not bbox.contains(item.lon, item.lat):
        return Rejected(Reason.OUTSIDE_CELL, item.id)
    return Capture(
        source=Panoramax.name,
        source_capture_id=item.id,
        lon=item.lon,
        lat=item.lat,
        captured_at=item.captured_at,
        heading_deg=item.heading_deg,
        is_pano=item.is_pano,
        sequence_id=item.collection,
        creator=item.producer,
        license=item.license,
        attribution=f"{item.producer or 'unknown'} – Panoramax / {item.instance}, {item.license}",
        page_url=f"{endpoint}/#focus=pic&pic={quote(item.id)}",
        image_url=item.image_url,
        image_version="" if item.file_size is None else str(item.file_size),
        payload=item.payload,
    )


def _urls(settings: Settings) -> tuple[str, ...]:
    listed = settings.variables.get("GEOPIN_PANORAMAX_URLS", "")
    urls = tuple(dict.fromkeys(url.strip().rstrip("/") for url in listed.split(",") if url.strip()))
    if bad := [url for url in urls if fields.web_url(url) is None]:
        raise ConfigurationError(f"GEOPIN_PANORAMAX_URLS: {bad[0]!r} is not an http(s) address")
    if settings.is_sandbox and (away := [url for url in urls if urlsplit(url).hostname not in _THIS_MACHINE]):
        raise ConfigurationError(
            f"GEOPIN_PANORAMAX_URLS: the sandbox asks only this machine, not {away[0]}: set GEOPIN_PROFILE=live"
        )
    return urls or ((f"{settings.sandbox_url}/panoramax",) if settings.is_sandbox else (Panoramax.endpoint,))


def _limit(settings: Settings) -> int:
    default = SANDBOX_LIMIT if settings.is_sandbox else DEFAULT_LIMIT
    value = settings.variables.get("GEOPIN_PANORAMAX_LIMIT", str(default))
    if not value.isdecimal() or not 1 <= int(value) <= MAX_LIMIT:
        raise ConfigurationError(f"GEOPIN_PANORAMAX_LIMIT={value!r}: choose a number from 1 to {MAX_LIMIT}")
    return int(value)
