"""Europeana: openly licensed images of European museums, libraries and archives, by the places they name.

API: `GET /record/v2/search.json`, for boxes of 4 x 4 cells, with a cursor and the key in `GEOPIN_EUROPEANA_API_KEY`.

License: per item, from `rights`; an item with two different ones, or with a rights statement that is no license, is
left out. Shown as `{creator}, {data provider}, via Europeana, {license}`.

Quirks: the coordinates are those of the places an item names, not of a camera, and most images are historic: expect
little that matches today's streets. Items whose place comes from a gazetteer (a city or a region), and items with
several places, have no position of their own and are left out; so is what is no image. Places sought for are inclusive
ranges. The end is a page without `nextCursor`, one after the last item; unique ids are compared with `totalResults`.
Answers repeat the key in `apikey`, `link`, `guid` and old previews: it is cut out of addresses, and the others are not
kept. `year` is hardly ever a full date, so most captures have no time. No heading.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from geopin_assets.capture import Capture, Rejected
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import AS_IT_IS, CrawlReport, Key, RequestCost, Source
from geopin_assets.sources.blocks import Blocks
from geopin_assets.sources.europeana.read import has_coordinates, judge, parse_item, parse_page, place_of
from geopin_assets.sources.paging import fetch_counted, next_page, page_size

ROWS = 100  # the most the server gives
_FIRST = "*"


class Europeana(Source):
    """All openly licensed images of a cell, page by page, checked against the server's own count."""

    name = "europeana"
    title = "Europeana"
    homepage = "https://www.europeana.eu"
    contribute_url = "https://pro.europeana.eu"
    takes_photos = False
    thumbnail = AS_IT_IS
    endpoint = "https://api.europeana.eu"
    license = None
    attribution = "{creator}, {data provider}, via Europeana, {license}"
    key = Key("GEOPIN_EUROPEANA_API_KEY", "https://pro.europeana.eu/page/get-api")
    expected_captures = 50_000
    costs = (RequestCost(cells_per_request=11, captures_per_request=90),)
    requests_per_second = 1.0

    def __init__(
        self,
        client: HttpClient,
        *,
        api_key: str,
        endpoint: str = endpoint,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._api_key, self._now = client, api_key, now
        self._url = f"{endpoint}/record/v2/search.json"
        self._blocks = Blocks(
            self.name, self._fetch_block, place_of, is_lost=lambda record: not has_coordinates(record)
        )

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Europeana":
        if settings.is_sandbox:
            return cls(client, endpoint=f"{settings.sandbox_url}/{cls.name}", api_key="sandbox")
        return cls(client, api_key=settings.europeana_api_key.get_secret_value())

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        for record in self._blocks.records(cell.bbox, report):
            yield parse_item(record, cell.bbox, self._now(), self._api_key)

    def _fetch_block(self, box: Bbox, report: CrawlReport) -> list[Any]:
        return fetch_counted(box, self._fetch_pages, report=report, who=self.name, what="items")

    def _fetch_pages(self, box: Bbox, report: CrawlReport) -> tuple[list[Any], int]:
        """(records, the total as the last page says it)."""
        page = parse_page(self._ask(box, _FIRST, report))
        records, keys, known = page.records, set(map(fields.record_key, page.records)), 0
        while page.next_cursor is not None and len(keys) > known:  # a cursor that leads back would never end
            known = len(keys)
            with next_page():
                page = parse_page(self._ask(box, page.next_cursor, report))
            records = records + page.records
            keys |= set(map(fields.record_key, page.records))
        return records, page.total

    def _ask(self, box: Bbox, cursor: str, report: CrawlReport) -> Any:
        west, south, east, north = str(box).split(",")
        query = [
            ("query", "*"),
            ("qf", f"pl_wgs84_pos_lat:[{south} TO {north}]"),
            ("qf", f"pl_wgs84_pos_long:[{west} TO {east}]"),
            ("qf", "TYPE:IMAGE"),
            ("reusability", "open"),
            ("media", "true"),
            ("profile", "rich"),  # with edmIsShownBy
            ("rows", page_size(ROWS, report)),
            ("cursor", cursor),
            ("wskey", self._api_key),
        ]
        return self._client.get_json(f"{self._url}?{urlencode(query)}", judge=judge, tally=report)
