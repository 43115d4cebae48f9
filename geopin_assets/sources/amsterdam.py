"""Panoramabeelden: the yearly 360-degree survey of every street by the City of Amsterdam.

API: `GET /panorama/panoramas/?bbox=…&srid=4326`, HAL pages, without key today; the city announces
keys for its APIs, so `GEOPIN_AMSTERDAM_API_KEY`, when set, is sent as `X-Api-Key`.

License: CC-BY-4.0, shown as `Panoramabeelden, Gemeente Amsterdam, CC BY 4.0`.

Quirks: `Accept: application/json` alone is a 406; an empty box means the whole city. `count` is exact and
pages follow the database id, so a deletion while paging shifts them: unique ids are compared with `count`,
and read again before any is taken for gone. Boxes are over-inclusive by up to 0.7 % of their width. The
published equirectangular images are turned so that north is at their center: `heading_deg` is 0, and
`heading` in the payload is the car's direction. Nearly everything lies in Amsterdam, Weesp and some missions
nearby: elsewhere whole areas are asked for their count first, once per run, and cells of an area without any
are not asked.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from threading import Condition
from typing import Any
from urllib.parse import urlsplit

from cachetools import LRUCache, cached

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.grid import COLUMNS, ROWS, Bbox, Cell, bounds
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, RequestCost, Source
from geopin_assets.sources.paging import fetch_counted, fetch_settled, next_page, page_size

COVERAGE = Bbox(4.72, 52.27, 5.09, 52.44)
EVERYWHERE = Bbox(bounds(0, 0).west, bounds(0, 0).south, bounds(ROWS, COLUMNS).east, bounds(ROWS, COLUMNS).north)
SMALLEST_AREA_DEG = 0.1  # an area of about 3 x 5 cells; below it a cell is asked itself
AREAS_KEPT = 4096
PAGE_SIZE = 1000
MAX_PAGES = 1000  # a cell of the center has about 25
NORTH_CENTERED_DEG = 0.0
CREATOR = "Gemeente Amsterdam"

_MISSION = re.compile(
    r"(?P<mission>TMX\w{1,40}-\d{1,20})_pano_\d{1,20}_\d{1,20}|(?P<recording>recording_.{1,200})_\d{1,20}"
)
_DROPPED = {"_links", "cubic_img_baseurl", "cubic_img_pattern"}  # addresses; image and page have columns


class Amsterdam(Source):
    """All panoramas of a cell, page by page, checked against the server's own count."""

    name = "amsterdam"
    title = "Panoramabeelden Amsterdam"
    homepage = "https://data.amsterdam.nl"
    contribute_url = "https://data.amsterdam.nl"
    takes_photos = False
    thumbnail = (r"/panorama_4000\.jpg$", "/panorama_2000.jpg")
    endpoint = "https://api.data.amsterdam.nl"
    license = "CC-BY-4.0"
    attribution = "Panoramabeelden, Gemeente Amsterdam, CC BY 4.0"
    expected_captures = 6_000_000  # every street, every year since 2016
    costs = (RequestCost(cells_per_request=300, captures_per_request=220),)
    requests_per_second = 1.0

    def __init__(
        self,
        client: HttpClient,
        *,
        endpoint: str = endpoint,
        api_key: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._now = client, now
        self._url = f"{endpoint}/panorama/panoramas/"
        self._count = cached(LRUCache(AREAS_KEPT), key=lambda box, report: box, condition=Condition())(
            self._fetch_count
        )
        self._headers = {"Accept": "application/hal+json, */*"} | ({"X-Api-Key": api_key} if api_key else {})

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Amsterdam":
        endpoint = f"{settings.sandbox_url}/{cls.name}" if settings.is_sandbox else cls.endpoint
        return cls(client, endpoint=endpoint, api_key=settings.amsterdam_api_key.get_secret_value())

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        is_elsewhere = not cell.bbox.intersects(COVERAGE) and not report.known(cell.bbox)
        if is_elsewhere and self._is_empty(EVERYWHERE, cell.bbox, report):
            return
        for record in fetch_settled(cell.bbox, self._fetch_all, report, id_of=_key):
            yield parse_panorama(record, cell.bbox, self._now())

    def _is_empty(self, area: Bbox, box: Bbox, report: CrawlReport) -> bool:
        """Whether the server counts nothing in some area around every part of `box`, searched from large to small."""
        if self._count(area, report) == 0:
            return True
        if area.east - area.west < 2 * SMALLEST_AREA_DEG:
            return False
        return all(self._is_empty(quarter, box, report) for quarter in area.quarters() if quarter.intersects(box))

    def _fetch_count(self, box: Bbox, report: CrawlReport) -> int:
        return self._fetch_page(f"bbox={box}&srid=4326&page_size=1", report)[1]

    def _fetch_all(self, box: Bbox, report: CrawlReport) -> list[Any]:
        return fetch_counted(box, self._fetch_pages, key=_key, report=report, who=self.name, what="panoramas")

    def _fetch_pages(self, bbox: Bbox, report: CrawlReport) -> tuple[list[Any], int]:
        query = f"bbox={bbox}&srid=4326&page_size={page_size(PAGE_SIZE, report)}"
        records, count, following = self._fetch_page(query, report)
        asked = {query}
        while following is not None:
            query = self._next_query(following)
            if query in asked or len(asked) >= MAX_PAGES:
                raise PayloadError(f"{self.name}: pages without end, after {len(asked)} in {bbox}")
            asked.add(query)
            with next_page():
                more, count, following = self._fetch_page(query, report)
            records += more
        return records, count

    def _fetch_page(self, query: str, report: CrawlReport) -> tuple[list[Any], int, str | None]:
        return parse_page(self._client.get_json(f"{self._url}?{query}", headers=self._headers, tally=report))

    def _next_query(self, href: str) -> str:
        """Only the query of a `next` link is used, on our own address, so that a key goes nowhere else."""
        if urlsplit(href).hostname != urlsplit(self._url).hostname:
            raise PayloadError(f"{self.name}: the next page is on another host")
        return urlsplit(href).query


def parse_page(page: Any) -> tuple[list[Any], int, str | None]:
    """(records, total count, address of the next page or None). Raises PayloadError for another shape."""
    page = fields.mapping(page)
    records, count = fields.mapping(page.get("_embedded")).get("panoramas"), page.get("count")
    if not isinstance(records, list) or not isinstance(count, int):
        raise PayloadError("amsterdam: a page without a list of panoramas and their count")
    href = _href(page, "next")
    if href is not None and fields.web_url(href) is None:
        raise PayloadError("amsterdam: the next page is no web address")
    return records, count, href


@fields.rejecting
def parse_panorama(record: Any, bbox: Bbox, now: datetime) -> Capture | Rejected:
    """Understand one panorama that was returned for a box."""
    record = fields.mapping(record)
    id_ = fields.source_id(record.get("pano_id"))
    if id_ is None:
        return Rejected(Reason.BAD_ID if "pano_id" in record else Reason.MALFORMED, str(record.get("pano_id"))[:200])
    place = fields.point(record.get("geometry"))
    if place is None:
        return Rejected(Reason.BAD_COORDINATES, id_)
    if not bbox.contains(*place):
        return Rejected(Reason.OUTSIDE_CELL, id_)
    image_url = fields.web_url(_href(record, "equirectangular_medium"))  # 4000 px: 11 px/degree
    if image_url is None:
        return Rejected(Reason.NO_IMAGE, id_)
    return Capture(
        source=Amsterdam.name,
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=fields.plausible(fields.instant(record.get("timestamp")), now),
        heading_deg=NORTH_CENTERED_DEG,
        is_pano=True,
        sequence_id=mission(id_),
        creator=CREATOR,
        license=Amsterdam.license,
        attribution=Amsterdam.attribution,
        page_url=fields.web_url(_href(record, "self")) or Amsterdam.homepage,
        image_url=image_url,
        image_version="",
        payload=fields.payload({k: v for k, v in record.items() if k not in _DROPPED}),
    )


def mission(pano_id: str) -> str | None:
    """The recording a panorama belongs to: the prefix of its id, old (TMX…-…) or new (recording_…) style."""
    match = _MISSION.fullmatch(pano_id)
    return (match["mission"] or match["recording"]) if match else None


def _href(record: Mapping[str, Any], rel: str) -> Any:
    return fields.mapping(fields.mapping(record.get("_links")).get(rel)).get("href")


def _key(record: Any) -> str:
    return fields.record_key(record, "pano_id")
