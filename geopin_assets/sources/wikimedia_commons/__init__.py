"""Wikimedia Commons: the free media archive behind Wikipedia, with photos that their makers put on the map.

API: MediaWiki, `GET /w/api.php?action=query&generator=geosearch&ggsbbox=N|W|S|E` for blocks of 4 x 4 cells, then
addresses of thumbnails and wikitext by `pageids`, 50 at a time. No key. Live use needs `GEOPIN_CONTACT`: Wikimedia
turns away clients that name nobody to write to. `GEOPIN_WIKIMEDIA_COMMONS_TOKEN`, an owner-only OAuth 2.0 access token
(https://meta.wikimedia.org/wiki/Special:OAuthConsumerRegistration/propose), raises the limits when it is set.

License: per file, taken only if one of its machine-readable fields says an open one; "public domain" of any ground
counts as PDM-1.0. `Restrictions` are no copyright and keep nothing out, but what they name (persons, banknotes) may
not be a street. Shown as `{creator}, {license}, via Wikimedia Commons`, or with the credit line the maker asks for.

Quirks: errors come with status 200. A search has no paging: at most 500 pages, and files deleted just now are missing
from those, so a nearly full answer divides the box too. Properties come in parts: the same page first without, then
with `imageinfo`, until an answer has no `continue`; a lone page would go on through all its older versions. Boxes may
have 100 m2 to 400 km2. Only primary positions, those of cameras, are asked for. Dates are free text, HTML or not, in
Dutch time; without a day they are no date, nor where day and month could be either. The direction of view is what
`{{Location|…|heading:…}}` says in the wikitext, which is not asked for where a file is its own thumbnail. Files that
are not free or about to be deleted (`NonFree`, `DeletionReason`) are left out, whatever license they state. Everything
that is photographed is there, so interiors, portraits, maps, aerial views and the like are left out by format, title
and category (`streets.py`). Thumbnails exist in standard widths only; small files have none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources.base import AS_IT_IS, CrawlReport, RequestCost, Source
from geopin_assets.sources.blocks import Blocks
from geopin_assets.sources.splitting import Capacity, Saturated, fetch_complete
from geopin_assets.sources.wikimedia_commons.answers import (
    BoxRefused,
    Page,
    Pages,
    judge,
    page_key,
    parse_answer,
    without_history,
)
from geopin_assets.sources.wikimedia_commons.read import missing_width, parse_page, place_of, with_thumbnail

LIMIT = 500  # pages a search may return; bots get more, but nobody relies on it
MIN_SIDE_DEG = 1.2e-4  # a box with these sides has 106 m2 in the north of the country
MAX_ANSWERS = 2 * LIMIT + 2  # one property of one page in each
PAGEIDS = 50  # at a time; also the most thumbnails of one answer
PROBE = Bbox(4.78, 52.30, 5.00, 52.44)  # Amsterdam: hundreds of thousands of files in 232 km2
_WHOLE_SHARE = 0.9  # of LIMIT: an answer above it may be a full one of which some files are already deleted
_CHUNK = 500  # pages understood at a time, so that a dense block is not held as JSON
_COMMON = {"action": "query", "format": "json", "formatversion": 2, "maxlag": 5}
_EXTMETADATA = (
    "Artist|Attribution|Categories|Credit|DateTimeOriginal|DeletionReason|License|LicenseShortName|LicenseUrl|NonFree|"
    "Restrictions"
)
_PROPERTIES = {
    "prop": "coordinates|imageinfo",
    "coprop": "type|dim|globe",
    "coprimary": "primary",
    "colimit": 500,
    "iiprop": "url|size|mime|sha1|timestamp|user|extmetadata",
    "iiextmetadatafilter": _EXTMETADATA,
}
_DETAILS = {"prop": "imageinfo|revisions", "iiprop": "url", "rvprop": "content", "rvslots": "main"}


@dataclass(frozen=True, slots=True)
class _Found:
    """One page understood, and where it is."""

    place: tuple[float, float] | None
    record: Capture | Rejected

    @property
    def id(self) -> str:
        """The page's, of one that is left out with its title."""
        if isinstance(self.record, Capture):
            return self.record.source_capture_id
        return f"{self.record.reason}: {self.record.record}"


class WikimediaCommons(Source):
    """All street-level photos of a cell, asked block by block, divided wherever an answer may be cut."""

    name = "wikimedia_commons"
    title = "Wikimedia Commons"
    homepage = "https://commons.wikimedia.org"
    contribute_url = "https://commons.wikimedia.org/wiki/Special:UploadWizard"
    thumbnail = AS_IT_IS
    endpoint = "https://commons.wikimedia.org"
    license = None
    attribution = "{creator}, {license}, via Wikimedia Commons"
    expected_captures = 300_000
    costs = (RequestCost(cells_per_request=11, captures_per_request=34),)  # thumbnails come 50 at a time
    requests_per_second = 1.0
    deadline_s = 120.0  # extended metadata of 500 files that nobody looked at lately
    concurrency = 2
    image_hosts: ClassVar = {"upload.wikimedia.org": 2}

    def __init__(
        self,
        client: HttpClient,
        *,
        endpoint: str = endpoint,
        token: str = "",
        limit: int = LIMIT,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._url, self._limit, self._now = client, f"{endpoint}/w/api.php", limit, now
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._capacity = Capacity(int(_WHOLE_SHARE * limit), self._probe)
        self._blocks = Blocks(self.name, self._fetch_block, lambda found: found.place, id_of=lambda found: found.id)

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        if not settings.is_sandbox and not settings.contact.strip():
            return "set GEOPIN_CONTACT to an e-mail address or web page; Wikimedia blocks clients that name nobody"
        return super().disabled_reason(settings)

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "WikimediaCommons":
        if settings.is_sandbox:
            return cls(client, endpoint=f"{settings.sandbox_url}/{cls.name}")
        return cls(client, token=settings.wikimedia_commons_token.get_secret_value())

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        for found in self._blocks.records(cell.bbox, report):
            yield found.record

    def _fetch_block(self, box: Bbox, report: CrawlReport) -> list[_Found]:
        pages = fetch_complete(
            box,
            lambda part: self._fetch_pages(part, report),
            capacity=self._capacity,
            min_side_deg=MIN_SIDE_DEG,
            report=report,
            key=page_key,
        )
        found: list[_Found] = []
        while chunk := list(islice(pages, _CHUNK)):
            found += self._understand(chunk, box, report)
        return found

    def _fetch_pages(self, box: Bbox, report: CrawlReport) -> list[Page]:
        try:
            return list(self._query(self._search(box) | _PROPERTIES, report).values())
        except BoxRefused as error:
            raise Saturated from error

    def _understand(self, pages: list[Page], box: Bbox, report: CrawlReport) -> list[_Found]:
        """Captures and rejections; thumbnails and wikitext are asked for where nothing else is missing."""
        now = self._now()
        lacking: dict[int, list[Page]] = defaultdict(list)
        for page in pages:
            if width := missing_width(page, box, now):
                lacking[width].append(page)
        thumbnails = Pages()
        for width, some in lacking.items():
            for start in range(0, len(some), PAGEIDS):
                thumbnails |= self._fetch_thumbnails(some[start : start + PAGEIDS], width, report)
        whole = [with_thumbnail(page, thumbnails.get(page_key(page))) for page in pages]
        return [_Found(place_of(page), parse_page(page, box, now)) for page in whole]

    def _fetch_thumbnails(self, pages: list[Page], width: int, report: CrawlReport) -> Pages:
        ids = "|".join(str(page["pageid"]) for page in pages)
        return self._query({"pageids": ids, **_DETAILS, "iiurlwidth": width}, report)

    def _probe(self, report: CrawlReport) -> int:
        """How many pages an answer can hold: as many as come where there are far more."""
        return len(self._query(self._search(PROBE), report))

    def _search(self, box: Bbox) -> dict[str, Any]:
        return {
            "generator": "geosearch",
            "ggsbbox": f"{box.north:.6f}|{box.west:.6f}|{box.south:.6f}|{box.east:.6f}",
            "ggsnamespace": 6,
            "ggslimit": self._limit,
            "ggsprimary": "primary",
        }

    def _query(self, params: Mapping[str, Any], report: CrawlReport) -> Pages:
        """All pages of a query, each put together from all answers. Raises PayloadError for answers without end."""
        pages, following = Pages(), dict[str, str]()
        asked: list[dict[str, str]] = []
        while following not in asked and len(asked) < MAX_ANSWERS:
            asked.append(following)
            query = {**_COMMON, **params, **following}
            body = self._client.get_json(self._url, params=query, headers=self._headers, judge=judge, tally=report)
            answer = parse_answer(body)
            pages.add(answer.pages)
            following = without_history(answer.following, pages.values())
            if not following:
                return pages
        raise PayloadError(f"{self.name}: answers without end, after {len(asked)}")
