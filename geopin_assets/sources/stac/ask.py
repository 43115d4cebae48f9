"""Asking one STAC API: all items of a box, page by page, and the license of a collection.

Here: item search of STAC API 1.0 and how its answer proves itself complete. Not here: understanding items
(`stac_items.py`), or which APIs there are.

An answer is complete if it holds as many as the server counted (`numberMatched`, `context.matched`), or if its `next`
links were followed to the end, which is where a page brings nothing new; what then holds fewer than counted is kept and
reported. Some servers count what they return: counts are believed once one was higher than any page is long, and never
of as many as were asked for. A server with neither counts nor pages may have cut a long answer: then the box is
divided, and one question for the whole country shows where it cuts.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Any
from urllib.parse import quote

from cachetools import LRUCache, cached

from geopin_assets import grid
from geopin_assets.environment import without_keys
from geopin_assets.errors import GeoPinError, PayloadError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import How, HttpClient, Tally
from geopin_assets.licenses import OF_DATABASES
from geopin_assets.sources import fields, stac_items
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.paging import PageLimit, next_page, page_size, read_again
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
    asked: int
    """How many were asked for."""
    is_paged: bool
    """Whether several pages were followed to their end."""
    is_repeated: bool = False
    """Whether the page that was said to follow is the same again: it says nothing."""

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
        max_pages: int = MAX_PAGES,
    ) -> None:
        self.url, self._shown, self._search, self._max_pages = url, without_keys(url), f"{url}/search", max_pages
        self._client, self._collections = client, collections
        self._headers = dict(headers or {})
        self._capacity = Capacity(limit, self._probe)
        self._limit = PageLimit(limit, self._capacity.lower)
        self._has_pages = self._repeats_pages = False
        self._longest_page = self._highest_count = 0
        self._licenses: LRUCache[str, str | None] = LRUCache(_COLLECTIONS_KEPT)
        self._changes = Condition()
        self._license = cached(self._licenses, key=lambda id_, tally: id_, condition=self._changes)(self._fetch_license)

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

    def forget_licenses(self) -> None:
        """Ask collections for theirs again."""
        with self._changes:
            self._licenses.clear()

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
        if found.is_short and not found.is_paged:
            return len(found.features) < SMALLEST_CAP
        if found.is_paged or self._is_all(found):
            return True
        is_proven = self._capacity.is_proven_by(len(found.features), report)
        return is_proven or self._is_all(found)  # which the proof may have shown

    def _is_all(self, found: _Found) -> bool:
        """Whether a single answer is all there is: it would have had a next page, or a higher count."""
        is_counted = found.matched is not None and self._longest_page < self._highest_count
        return (is_counted and len(found.features) < found.asked) or (self._has_pages and not found.is_repeated)

    def _probe(self, report: CrawlReport) -> int:
        """How many the server gives of the whole country without a word about more; pages are a better proof."""
        try:
            return self._limit.ask(lambda limit, how: self._look(_WHOLE_GRID, limit, how, report))
        except GeoPinError:
            return 0

    def _look(self, box: Bbox, limit: int, how: How, report: CrawlReport) -> int:
        page = self._get(self._search, self._params(box, limit), how, report)
        self._has_pages |= stac_items.next_page(page, self._search) is not None and not self._repeats_pages
        return len(self._features(page, "the whole country"))

    def _fetch_pages(self, box: Bbox, report: CrawlReport) -> _Found:
        """All pages of a box, until one leads nowhere or brings nothing new."""
        return self._limit.ask(lambda limit, how: self._read_pages(box, limit, how, report))

    def _read_pages(self, box: Bbox, limit: int, how: How, report: CrawlReport) -> _Found:
        limit = page_size(limit, report) if self._has_pages else limit  # else a full answer looks short
        found, seen, matched, number = list[Any](), set[Hashable](), None, 0
        for number, page in enumerate(self._pages(box, limit, how, report), start=1):
            features = self._features(page, f"page {number} of {box}")
            keys = set(map(_key, features))
            if number == 1:
                matched = matched_of(page)
            elif keys - seen or not keys:
                self._has_pages = True
            if number > 1 and keys <= seen:
                is_repeated = bool(keys) and number == 2  # after a page that was new it is the last one again
                self._repeats_pages |= is_repeated
                return _Found(found, matched, limit, is_paged=not is_repeated, is_repeated=is_repeated)
            found, seen = found + features, seen | keys
        return _Found(found, matched, limit, is_paged=number > 1)

    def _features(self, page: Any, where: str) -> list[Any]:
        """Those of a page, noting how long pages are and how much is counted."""
        features = stac_items.features(page, where=f"stac: {self._shown}, {where}")
        self._longest_page = max(self._longest_page, len(features))
        self._highest_count = max(self._highest_count, matched_of(page) or 0)
        return features

    def _pages(self, box: Bbox, limit: int, how: How, report: CrawlReport) -> Iterator[Any]:
        """The answer for a box, and those that each links to. Raises PayloadError for pages without end."""
        address, page = self._search, self._get(self._search, self._params(box, limit), how, report)
        yield page
        body: Mapping[str, Any] = {"bbox": [box.west, box.south, box.east, box.north], "limit": limit}
        body = {**body, "collections": list(self._collections)} if self._collections else body
        for _ in range(self._max_pages):
            if (following := stac_items.next_page(page, address)) is None:
                return
            address = self._own(following.url)
            with next_page():
                if following.body is None:
                    page = self._get(address, {}, how, report)
                else:
                    body = {**body, **following.body} if following.is_merged else following.body
                    page = self._post(address, body, how, report)
            yield page
        raise PayloadError(f"stac: {self._shown}: pages without end, after {self._max_pages} in {box}")

    def _params(self, box: Bbox, limit: int) -> dict[str, Any]:
        chosen = {"collections": ",".join(self._collections)} if self._collections else {}
        return {"bbox": str(box), "limit": limit, **chosen}

    def _own(self, url: str) -> str:
        """A link on the API's own host and scheme. Raises PayloadError for another host: our headers stay here."""
        if (own := fields.on_host_of(url, self.url)) is None:
            raise PayloadError(f"stac: {self._shown}: the next page is on another host")
        return own

    def _get(self, url: str, params: Mapping[str, Any], how: How, tally: Tally) -> Any:
        asked: How = {**how, "params": params, "headers": self._headers, "tally": tally}
        return self._client.get_json(url, **asked)

    def _post(self, url: str, body: Mapping[str, Any], how: How, tally: Tally) -> Any:
        asked: How = {**how, "json": body, "headers": self._headers, "tally": tally}
        return self._client.request_json("POST", url, **asked)

    def _fetch_license(self, id_: str, tally: Tally) -> str | None:
        url = f"{self.url}/collections/{quote(id_, safe='')}"
        answer = self._client.send("GET", url, headers=self._headers, ok=(200, 404), tally=tally)
        collection = fields.mapping(answer.json()) if answer.status == 200 else {}
        stated = stac_items.stated_license(collection.get("license"), collection)
        return None if stated in OF_DATABASES else stated


def matched_of(page: Any) -> int | None:
    """How many items the server says match, in the old or the new place."""
    page = fields.mapping(page)
    older = (fields.mapping(page.get(name)).get("matched") for name in ("context", "search:metadata"))
    counts = map(fields.whole, (page.get("numberMatched"), *older))
    return next((count for count in counts if count is not None), None)


def _key(feature: Any) -> tuple[str | None, str]:
    """Ids are unique within a collection only."""
    return fields.source_id(fields.mapping(feature).get("collection")), fields.record_key(feature)
