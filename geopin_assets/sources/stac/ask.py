"""Asking one STAC API: all items of a box, page by page, and the license of a collection.

Here: item search of STAC API 1.0 and how its answer proves itself complete. Not here: understanding items
(`stac_items.py`), or which APIs there are.

An answer is complete if it holds as many as the server counted (`numberMatched`, `context.matched`), or if its
`next` links were followed to the end; what then holds fewer than counted is kept and reported. A server with
neither counts nor pages may have cut a long answer: then the box is divided, and one question for the whole
country shows where it cuts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Any
from urllib.parse import quote, urlsplit

from cachetools import LRUCache, cached

from geopin_assets import grid
from geopin_assets.environment import without_keys
from geopin_assets.errors import GeoPinError, PayloadError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import HttpClient, Tally
from geopin_assets.licenses import OF_DATABASES
from geopin_assets.sources import fields, stac_items
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.paging import next_page, page_size, read_again
from geopin_assets.sources.splitting import SMALLEST_CAP, Capacity, Checked, Saturated, fetch_complete

PER_PAGE = 250
MAX_PAGES = 2000
MIN_SIDE_DEG = 2e-5  # about 2 m
_COLLECTIONS_KEPT = 10_000
_WHOLE_GRID = Bbox(grid.WEST, grid.SOUTH, grid.EAST, grid.NORTH)


@dataclass(frozen=True, slots=True)
class _Found:
    features: list[Any]
    matched: int | None
    is_paged: bool

    @property
    def is_short(self) -> bool:
        """Whether it holds fewer than the server counted."""
        return self.matched is not None and len(set(map(_key, self.features))) < self.matched


class Api:
    """One STAC API. `url`: its root; `headers` go to its own host only. Thread-safe."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        *,
        collections: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        limit: int = PER_PAGE,
    ) -> None:
        self.url, self._shown = url, without_keys(url)
        self._client, self._collections, self._limit = client, collections, limit
        self._headers = dict(headers or {})
        self._capacity = Capacity(limit, self._probe)
        self._has_pages = False
        self._license = cached(LRUCache(_COLLECTIONS_KEPT), key=lambda id_, tally: id_, condition=Condition())(
            self._fetch_license
        )

    def fetch(self, bbox: Bbox, report: CrawlReport) -> Iterator[Any]:
        """Every item of a box once, unchecked."""

        def ask(box: Bbox) -> list[Any]:
            found = self._fetch_box(box, report)
            if not self._is_complete(found, report):
                raise Saturated
            if found.is_short:
                report.miss(box)
            return found.features

        def keep(box: Bbox) -> list[Any]:
            report.miss(box)
            return self._fetch_pages(box, report).features

        return fetch_complete(
            bbox, ask, capacity=Checked(), min_side_deg=MIN_SIDE_DEG, report=report, key=_key, at_floor=keep
        )

    def collection_license(self, id_: str, tally: Tally) -> str | None:
        """What a collection states of its license, asked for once; None for nothing or no such collection."""
        return self._license(id_, tally)

    def _fetch_box(self, box: Bbox, report: CrawlReport) -> _Found:
        """The items of a box; once more if pages hold fewer than counted, as a deletion may have shifted them."""
        found = read_again(lambda: self._fetch_pages(box, report))
        return self._fetch_pages(box, report) if found.is_paged and found.is_short else found

    def _is_complete(self, found: _Found, report: CrawlReport) -> bool:
        """Whether dividing the box would bring no more.

        Nobody cuts answers of a few: if such a one is short, then the count is not of this box.
        """
        if found.is_paged or (found.matched is not None and not found.is_short):
            return True
        if found.matched is not None:
            return len(found.features) < SMALLEST_CAP
        is_proven = self._has_pages or self._capacity.is_proven_by(len(found.features), report)
        return is_proven or self._has_pages  # which the proof may have shown

    def _probe(self, report: CrawlReport) -> int:
        """How many the server gives of the whole country without a word about more; pages are a better proof."""
        try:
            page = self._get(f"{self.url}/search", self._params(_WHOLE_GRID, self._limit), report)
        except GeoPinError:
            return 0
        if stac_items.next_page(page) is not None:
            self._has_pages = True
        return len(stac_items.features(page, where=f"stac: {self._shown}"))

    def _fetch_pages(self, box: Bbox, report: CrawlReport) -> _Found:
        limit = page_size(self._limit, report) if self._has_pages else self._limit  # else a full answer looks short
        page = self._get(f"{self.url}/search", self._params(box, limit), report)
        body: Mapping[str, Any] = {"bbox": [box.west, box.south, box.east, box.north], "limit": limit}
        body = {**body, "collections": list(self._collections)} if self._collections else body
        features, asked = stac_items.features(page, where=f"stac: {self._shown}, box {box}"), set[str]()
        matched = matched_of(page)
        while (following := stac_items.next_page(page)) is not None:
            self._has_pages = True
            url = self._own(following.url)
            if following.body is not None:
                body = {**body, **following.body} if following.is_merged else following.body
            question = fields.payload({"url": url, "body": following.body and body})
            if question in asked or len(asked) >= MAX_PAGES:
                raise PayloadError(f"stac: {self.url}: pages without end, after {len(asked)} in {box}")
            asked.add(question)
            with next_page(report):
                page = self._get(url, {}, report) if following.body is None else self._post(url, body, report)
            features += stac_items.features(page, where=f"stac: {self._shown}, page {len(asked) + 1} of {box}")
        return _Found(features, matched, is_paged=bool(asked))

    def _params(self, box: Bbox, limit: int) -> dict[str, Any]:
        chosen = {"collections": ",".join(self._collections)} if self._collections else {}
        return {"bbox": str(box), "limit": limit, **chosen}

    def _own(self, url: str) -> str:
        """A link on the API's own host and scheme. Raises PayloadError for another host: our headers stay here."""
        own = urlsplit(self.url)
        if urlsplit(url).netloc != own.netloc:
            raise PayloadError(f"stac: {self.url}: the next page is on another host")
        return urlsplit(url)._replace(scheme=own.scheme).geturl()

    def _get(self, url: str, params: Mapping[str, Any], tally: Tally) -> Any:
        return self._client.get_json(url, params=params, headers=self._headers, tally=tally)

    def _post(self, url: str, body: Mapping[str, Any], tally: Tally) -> Any:
        return self._client.request_json("POST", url, json=body, headers=self._headers, tally=tally)

    def _fetch_license(self, id_: str, tally: Tally) -> str | None:
        url = f"{self.url}/collections/{quote(id_, safe='')}"
        answer = self._client.send("GET", url, headers=self._headers, ok=(200, 404), tally=tally)
        collection = fields.mapping(answer.json()) if answer.status == 200 else {}
        stated = stac_items.stated_license(collection.get("license"), collection)
        return None if stated in OF_DATABASES else stated


def matched_of(page: Any) -> int | None:
    """How many items the server says match, in the old or the new place."""
    page = fields.mapping(page)
    for value in (page.get("numberMatched"), fields.mapping(page.get("context")).get("matched")):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _key(feature: Any) -> tuple[str | None, str]:
    """Ids are unique within a collection only."""
    return fields.source_id(fields.mapping(feature).get("collection")), fields.record_key(feature)
