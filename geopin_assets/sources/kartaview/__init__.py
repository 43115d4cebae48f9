"""KartaView (formerly OpenStreetCam, run by Grab): dashcam and phone drives, thin in the Netherlands.

API: `POST /1.0/list/nearby-photos/`, form-encoded, with the corners of a box, latitude first, in pages;
without key. `GEOPIN_KARTAVIEW_AREA=circle` asks by center and radius instead, should boxes be refused.

License: CC-BY-SA-4.0 for all, shown as `© Grab and KartaView contributors, CC BY-SA 4.0`.

Quirks: every number is a string or null. An area that overloads the server is HTTP 400 with apiCode 690 or 408: asked
again after a pause (most clear), then divided; a server that refuses everything is left alone. Pages follow the drives,
not the place, and `totalFilteredItems` is exact: unique ids are compared with it. `shot_date` states no zone and is
read as UTC, as the data set Global StreetScapes does, at worst two hours off; it can be null, as in Grab's uploads of
late 2025, and the day of the upload is no substitute. Images lie on the storage host in their name; of many the large
thumbnail is gone and the full image there, so both addresses are kept; where the host has neither,
`GEOPIN_KARTAVIEW_IMAGES=cdn` takes them from the platform's image proxy. Those of a sphere that `is_unwrapped` show the
flat part in front, as its own viewer has it. Requests at once time out, so they are sent one by one, and 4 x 4 cells
share one: with pages and repeats about 2,500 for the country. The operator's FAQ allows 100 an hour without enforcing
it; `GEOPIN_<SOURCE>_REQUESTS_PER_SECOND=0.027` keeps to it.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import ceil, cos, hypot, radians
from threading import Lock
from typing import Any

from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import GeoPinError, PayloadError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import Answer, HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources.base import AS_IT_IS, CrawlReport, RequestCost, Source
from geopin_assets.sources.blocks import Blocks
from geopin_assets.sources.kartaview import read
from geopin_assets.sources.paging import fetch_counted, next_page, page_size
from geopin_assets.sources.splitting import Checked, Saturated, fetch_complete

PAGE_SIZE = 1000
MAX_PAGES = 1000
BLOCK_CELLS = 4
MIN_SIDE_DEG = 0.001  # about 100 m; the densest cities were asked by circles of 110 m
PAUSES_S = (10.0, 30.0)  # three attempts: others saw 88 of about 100 refused areas answered when asked again
MOST_REFUSALS = 30  # in a row: dividing 8 km down to the four smallest boxes of a corner meets that many
METERS_PER_DEG = 111_320.0


class KartaView(Source):
    """All photos of a cell, from blocks of cells that are fetched once and checked against the server's count."""

    name = read.NAME
    title = "KartaView"
    homepage = read.HOMEPAGE
    contribute_url = "https://kartaview.org"
    thumbnail = AS_IT_IS
    endpoint = "https://api.openstreetcam.org"
    license = read.LICENSE
    attribution = read.ATTRIBUTION
    expected_captures = 300_000  # thin: main roads
    costs = (RequestCost(cells_per_request=11, captures_per_request=800),)
    requests_per_second = 16 / 60
    deadline_s = 90.0
    concurrency = 1

    def __init__(
        self,
        client: HttpClient,
        *,
        endpoint: str = endpoint,
        images: str = read.IMAGES,
        area: str = "box",
        block_cells: int = BLOCK_CELLS,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._images, self._sleep, self._now = client, images, sleep, now
        self._url = f"{endpoint}/1.0/list/nearby-photos/"
        self._corners = around if area == "circle" else corners
        self._blocks = Blocks(self.name, self._fetch_block, read.place_of, rows=block_cells, columns=block_cells)
        self._lock = Lock()
        self._refusals = 0

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "KartaView":
        area, images = settings.kartaview_area, _images(settings)
        if not settings.is_sandbox:
            return cls(client, area=area, images=images)
        endpoint = f"{settings.sandbox_url}/{cls.name}"
        return cls(client, endpoint=endpoint, area=area, images=images, sleep=lambda _: None)

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        for photo in self._blocks.records(cell.bbox, report):
            yield read.parse_photo(photo, cell.bbox, self._now(), self._images)

    def _fetch_block(self, block: Bbox, report: CrawlReport) -> list[Any]:
        found = fetch_complete(
            block,
            lambda box: self._fetch_box(box, report),
            capacity=Checked(),
            min_side_deg=MIN_SIDE_DEG,
            report=report,
        )
        return list(found)

    def _fetch_box(self, box: Bbox, report: CrawlReport) -> list[Any]:
        """All photos of a box. Raises Saturated."""
        return fetch_counted(box, self._fetch_pages, report=report, who=self.name, what="photos")

    def _fetch_pages(self, box: Bbox, report: CrawlReport) -> tuple[list[Any], int]:
        page = self._fetch_page(box, 1, report)
        photos = page.photos
        for number in range(2, MAX_PAGES + 1):
            if not page.photos or len(photos) >= page.total:
                return photos, page.total
            with next_page():
                page = self._fetch_page(box, number, report)
            photos += page.photos
        raise PayloadError(f"{self.name}: pages without end in {box}")

    def _fetch_page(self, box: Bbox, number: int, report: CrawlReport) -> read.Page:
        for pause_s in PAUSES_S:
            try:
                return self._ask(box, number, report)
            except read.Refused:
                self._sleep(pause_s)
        try:
            return self._ask(box, number, report)
        except read.Refused as error:
            raise Saturated(str(error)) from error

    def _ask(self, box: Bbox, number: int, report: CrawlReport) -> read.Page:
        form = self._corners(box) | {"page": str(number), "ipp": str(page_size(PAGE_SIZE, report))}
        answer = self._client.request_json("POST", self._url, form=form, judge=self._judge, tally=report)
        return read.parse_page(answer, where=f"{self.name}: page {number} of {box}")

    def _judge(self, answer: Answer) -> GeoPinError | None:
        """Refusals of one area after another, down to the smallest, are an outage: from then on they are failures."""
        error = read.judge(answer)
        with self._lock:
            if isinstance(error, read.Refused):
                self._refusals += 1
            elif answer.status == 200:
                self._refusals = 0
            refusals = self._refusals
        if isinstance(error, read.Refused) and refusals > MOST_REFUSALS:
            return TransientError(f"{error}, {refusals} times in a row")
        return error


def corners(box: Bbox) -> dict[str, str]:
    """A box as the API takes it: latitude first."""
    return {"bbTopLeft": f"{box.north:.6f},{box.west:.6f}", "bbBottomRight": f"{box.south:.6f},{box.east:.6f}"}


def around(box: Bbox) -> dict[str, str]:
    """The circle through the corners of a box, whole meters."""
    lon, lat = box.center
    widest_lat = min(abs(box.south), abs(box.north))
    height_m = (box.north - box.south) * METERS_PER_DEG
    width_m = (box.east - box.west) * METERS_PER_DEG * cos(radians(widest_lat))
    return {"lat": f"{lat:.6f}", "lng": f"{lon:.6f}", "radius": str(ceil(hypot(width_m, height_m) / 2) + 1)}


def _images(settings: Settings) -> str:
    """Where images are; the sandbox has only the storage."""
    if settings.is_sandbox:
        return f"{settings.sandbox_url}/{read.NAME}/{{storage}}/{{path}}"
    return read.CDN if settings.kartaview_images == "cdn" else read.IMAGES
