"""Flickr: openly licensed photos that their owners put on the map.

API: `GET /services/rest/?method=flickr.photos.search&bbox=…`, for boxes of 2 x 2 cells, with the key in
`GEOPIN_FLICKR_API_KEY` (at most 3,600 requests an hour; keys are for non-commercial use unless agreed otherwise).

License: per photo. Only those of `flickr.photos.licenses.getInfo` that are open are asked for, by their name and
address, not by their number; "no known copyright restrictions" and works of the US government are no licenses and are
not asked for. Owners may change a license at any time: every crawl reads it again, and a photo that is no longer open
is no longer found. Shown as `"{title}" by {creator} on Flickr, {license}`.

Quirks: errors come with status 200 (`stat` says fail). A query gives 4,000 photos at most and repeats itself after
that, so more than 3,000 are asked in slices of the time of upload, each compared with its own total; more in one second
than a query gives are reported as incomplete. Totals are now and then too high, and empty texts for nothing: then
everything that came is kept and nothing is taken for gone. A search by box without dates means the last 12 hours.
Numbers may be strings. No heading; a position counts only if it is of street level (accuracy 16). `datetaken` is local
time and only exact with granularity 0; photos taken indoors are left out.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, Key, RequestCost, Source
from geopin_assets.sources.blocks import Blocks
from geopin_assets.sources.flickr.read import EXTRAS, Page, judge, parse_licenses, parse_page, parse_photo, place_of
from geopin_assets.sources.paging import next_page, page_size, read_again

PER_PAGE = 250  # the most for a search by box
DIVIDE_ABOVE = 3000  # well below the 4,000 after which results repeat
FIRST_UPLOAD_S = int(fields.EARLIEST.timestamp())  # Flickr opened in February 2004
_AHEAD_S = 86_400  # clocks differ, and today's uploads count
UNTIL_S = 1_893_456_000
"""2030: a clock that is years behind hides no photo, which would be taken for gone."""
MOST_OF_HALVES = 1.5
TOTAL_SLACK = 0.02  # Flickr's totals also count photos that no page shows


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the time line, in seconds since the epoch, half-open."""

    since_s: int
    until_s: int

    @property
    def is_one_second(self) -> bool:
        return self.until_s - self.since_s <= 1

    def halves(self) -> "tuple[Span, Span]":
        """The two spans that tile this one."""
        middle_s = (self.since_s + self.until_s) // 2
        return Span(self.since_s, middle_s), Span(middle_s, self.until_s)


class Flickr(Source):
    """All openly licensed photos of a cell, in slices of the time of upload, each checked against its total."""

    name = "flickr"
    title = "Flickr"
    homepage = "https://www.flickr.com"
    contribute_url = "https://www.flickr.com/photos/upload/"
    thumbnail = (r"(?:_[a-z])?\.jpg$", "_m.jpg")
    endpoint = "https://api.flickr.com"
    license = None
    attribution = '"{title}" by {creator} on Flickr, {license}'
    key = Key("GEOPIN_FLICKR_API_KEY", "https://www.flickr.com/services/apps/create/")
    expected_captures = 800_000
    costs = (RequestCost(cells_per_request=3.4, captures_per_request=180),)
    requests_per_second = 1.0  # 3,600 an hour are allowed

    def __init__(
        self,
        client: HttpClient,
        *,
        api_key: str,
        endpoint: str = endpoint,
        divide_above: int = DIVIDE_ABOVE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._api_key, self._url = client, api_key, f"{endpoint}/services/rest/"
        self._divide_above, self._now = divide_above, now
        self._blocks = Blocks(self.name, self._fetch_block, place_of, rows=2, columns=2)
        self._licenses: Mapping[str, str] = {}
        self._lock = Lock()

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Flickr":
        if settings.is_sandbox:
            return cls(client, endpoint=f"{settings.sandbox_url}/{cls.name}", api_key="sandbox")
        return cls(client, api_key=settings.flickr_api_key.get_secret_value())

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        records = self._blocks.records(cell.bbox, report)
        licenses = self._open_licenses(report)
        for record in records:
            yield parse_photo(record, cell.bbox, licenses, self._now())

    def _open_licenses(self, report: CrawlReport) -> Mapping[str, str]:
        """Flickr's number of each open license -> our id, asked for once."""
        with self._lock:
            self._licenses = self._licenses or parse_licenses(
                self._ask({"method": "flickr.photos.licenses.getInfo"}, report)
            )
            return self._licenses

    def _fetch_block(self, box: Bbox, report: CrawlReport) -> list[Any]:
        span = Span(FIRST_UPLOAD_S, max(UNTIL_S, int(self._now().timestamp()) + _AHEAD_S))
        if report.reading:  # photos of a license that the table lacked were not asked for
            self._licenses = {}
        return list(self._fetch_span(box, span, report)[0].values())

    def _fetch_span(self, box: Bbox, span: Span, report: CrawlReport) -> tuple[dict[str, Any], int]:
        """(photos of a span by key, their total). What one query cannot give for certain is asked in halves."""
        records: dict[str, Any] = {}
        for _ in range(2):
            found, page = read_again(lambda: self._fetch_pages(box, span, report))
            if len(found) == page.total:
                return found, page.total
            records |= found
            if self._is_too_much(page, span):
                break
        else:
            is_one_page = page.pages <= 1 and 0 < page.total - len(found) <= PER_PAGE
            if is_one_page or _is_nearly(len(found), page.total):
                report.is_doubtful = True  # all pages were read, twice: kept, but nothing is taken for gone
                return records, page.total
        if page.total <= self._divide_above and page.pages <= 1:
            raise TransientError(f"{self.name}: {len(found)} photos where the total says {page.total}, in {box}")
        if not span.is_one_second:
            report.splits += 1
            records |= self._fetch_halves(box, span, page.total, report)
        if _is_nearly(len(records), page.total):
            report.is_doubtful = True
        elif len(records) < page.total:
            report.miss(box)
        return records, page.total

    def _fetch_halves(self, box: Bbox, span: Span, total: int, report: CrawlReport) -> dict[str, Any]:
        """Photos of a span by way of its halves.

        Raises TransientError where those do not make up the whole: a server that no longer heeds the time of upload, or
        counts just anything, would be asked for every second since 2004.
        """
        (first, early), (second, late) = [self._fetch_span(box, half, report) for half in span.halves()]
        if early + late > MOST_OF_HALVES * total:
            raise TransientError(f"{self.name}: {early} and {late} photos in the halves of {total}, in {box}")
        return first | second

    def _fetch_pages(self, box: Bbox, span: Span, report: CrawlReport) -> tuple[dict[str, Any], Page]:
        """(photos by key, the last page read). Stops at the first page of a span that will be divided."""
        records: dict[str, Any] = {}
        number = 1
        while True:
            with next_page() if number > 1 else nullcontext():
                page = parse_page(self._ask(self._search(box, span, number, report), report))
            known = len(records)
            records |= {fields.record_key(record): record for record in page.records}
            report.duplicates += known + len(page.records) - len(records)
            is_repeating = len(records) == known
            if number >= page.pages or is_repeating or self._is_too_much(page, span):
                return records, page
            number += 1

    def _is_too_much(self, page: Page, span: Span) -> bool:
        return page.total > self._divide_above and not span.is_one_second

    def _search(self, box: Bbox, span: Span, page: int, report: CrawlReport) -> dict[str, Any]:
        return {
            "method": "flickr.photos.search",
            "bbox": str(box),
            "has_geo": 1,
            "accuracy": 16,
            "license": ",".join(self._open_licenses(report)),
            "media": "photos",
            "content_types": 0,
            "safe_search": 1,
            "min_upload_date": span.since_s,
            "max_upload_date": span.until_s - 1,  # inclusive
            "sort": "date-posted-asc",
            "extras": EXTRAS,
            "per_page": page_size(PER_PAGE, report),
            "page": page,
        }

    def _ask(self, params: Mapping[str, Any], report: CrawlReport) -> Any:
        query = {**params, "api_key": self._api_key, "format": "json", "nojsoncallback": 1}
        return self._client.get_json(self._url, params=query, judge=judge, tally=report)


def _is_nearly(found: int, total: int) -> bool:
    """Whether a total is missed by so little that it is the total's own fault."""
    return 0 < total - found <= max(1, TOTAL_SLACK * total)
