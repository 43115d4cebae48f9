"""All pictures of a box from one Panoramax server, an instance or the catalog, by the way with the fewest requests.

Here: going the ways that `tiles.py` chooses between, pictures by id (`POST /api/search`), and collections that were
taken down (`GET /api/collections?show_deleted=true`). Not here: understanding a picture, or uniting servers.

The standard wants ids as a JSON list; geovisio 2.15 reads such a list as its first id alone, takes all of a text with
commas, and an empty list as no filter. So a form counts as understood only once it returned several of the ids
asked for, and what was not asked for is dropped. An answer may be cut: ids that are missing are asked for again,
and gone only when a whole round brings none of them.

Hidden collections are listed as deleted too, and both with nothing but id and status. The paging link holds
quotes and plus signs in a filter language of its own: it is used as it is. An instance that refuses the question
does not offer it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from geopin_assets.capture import Reason, Rejected
from geopin_assets.environment import without_keys
from geopin_assets.errors import GeoPinError, PayloadError, PermanentError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer, How, HttpClient, Tally
from geopin_assets.sources import fields, stac_items
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.paging import PageLimit
from geopin_assets.sources.panoramax.tiles import (
    PICTURES_ZOOM,
    WHOLE_GRID,
    Overview,
    TilePicture,
    Way,
    choose_way,
    parse_pictures,
)
from geopin_assets.sources.splitting import Capacity, fetch_complete
from geopin_assets.sources.tiles import Tile, TileCache, tiles_of

IDS_PER_REQUEST = 1000  # 4 to 8 MB
_REFUSED = (400, 401, 403, 404, 405, 413, 414, 415, 422, 501)
Form = Callable[[Sequence[str]], Any]
PER_PAGE = 1000  # instances answer 400 above it
MAX_PAGES = 200
MIN_SIDE_DEG = 2e-5  # about 2 m; more than `limit` pictures within it are reported as incomplete
PICTURES_KEPT_S = 86_400.0  # what Cache-Control of the catalog's tiles allows
GRID_KEPT_S = 3_600.0  # rebuilt at night: keeping it a day would make it two days old
_WIDENED_DEG = 2e-5  # tiles round to 0.2 m
_EMPTY = (204, 404)


class Instance:
    """One server. `is_catalog`: the federated one, with hexagons. `tiles_dir`: where tiles are kept. Thread-safe."""

    def __init__(
        self, client: HttpClient, url: str, *, limit: int, is_catalog: bool = False, tiles_dir: Path | None = None
    ) -> None:
        self.url, self.is_catalog = url, is_catalog
        self._client = client
        self._capacity = Capacity(limit, self._probe)
        self._limit = PageLimit(limit, self._capacity.lower)
        folder = tiles_dir / re.sub(r"[^\w.-]+", "_", without_keys(url).split("://")[-1]) if tiles_dir else None
        self._tiles = TileCache(self._fetch_tile, folder=folder and folder / "pictures", ttl_s=PICTURES_KEPT_S)
        self._low_tiles = TileCache(self._fetch_low_tile, folder=folder and folder / "grid", ttl_s=GRID_KEPT_S)
        self._overview = Overview()
        self._details = Details(client, url, (as_list, as_text) if is_catalog else (as_text, as_list))
        self._offers_tiles = True

    def fetch(self, box: Bbox, report: CrawlReport, removed: Callable[[], frozenset[str]]) -> Iterator[Any]:
        """Every feature of a box once, unchecked; Rejected for pictures that are gone although a tile shows them.

        A box without anything on the grid is not asked, unless the last crawl found something there.
        `removed` tells collections that were taken down: their pictures are not even asked for.
        """
        tiles = tiles_of(box, PICTURES_ZOOM)
        expected = self._overview.pictures(box, lambda tile: self._low_tiles.get(tile, report))
        way = choose_way(expected, tiles=len(tiles), limit=self._limit.most, ids_per_request=IDS_PER_REQUEST)
        if way is Way.NOTHING and not report.known(box):
            return
        whole = self._search(box, report)
        features: list[Any] = []
        if way is Way.TILES and self._offers_tiles and not self._capacity.is_proven_by(len(whole), report):
            features = self._by_tiles(box, tiles, report, removed)
        yield from features or self._by_search(box, whole, report)

    def _by_search(self, bbox: Bbox, whole: list[Any], report: CrawlReport) -> Iterator[Any]:
        """`whole`: the answer for the undivided box."""

        def fetch(box: Bbox) -> list[Any]:
            return whole if box == bbox else self._search(box, report)

        return fetch_complete(bbox, fetch, capacity=self._capacity, min_side_deg=MIN_SIDE_DEG, report=report)

    def _by_tiles(
        self, box: Bbox, tiles: list[Tile], report: CrawlReport, removed: Callable[[], frozenset[str]]
    ) -> list[Any]:
        """Ids from tiles, then features by id. Nothing, which proves nothing, where the server does not give both."""
        try:
            anew = report.reading > 0  # what was kept would only say the same again
            shown = [p for tile in tiles for p in parse_pictures(tile, self._tiles.get(tile, report, anew=anew))]
            pictures = {picture.id: picture for picture in shown if _is_near(picture, box)}
            kept = [p.id for p in pictures.values() if not p.collections or p.collections - removed()]
            found, gone = self._details.fetch(kept, report)
        except (NotOffered, PermanentError):
            self._offers_tiles = False
            return []
        gone += pictures.keys() - kept
        return [*found.values(), *(Rejected(Reason.REMOVED, id_) for id_ in gone)]

    def _search(self, box: Bbox, report: CrawlReport) -> list[Any]:
        return self._limit.ask(lambda limit, how: self._search_for(limit, box, how, report))

    def _search_for(self, limit: int, box: Bbox, how: How, report: CrawlReport) -> list[Any]:
        asked: How = {**how, "params": {"bbox": str(box), "limit": limit}, "tally": report}
        answer = self._client.get_json(f"{self.url}/api/search", **asked)
        return stac_items.features(answer, where=f"panoramax: {without_keys(self.url)}, box {box}")

    def _probe(self, report: CrawlReport) -> int:
        """The longest answer there is: that for everything. None to learn from a server that does not give it."""
        try:
            return len(self._search_for(self._limit.most, WHOLE_GRID, {"judge": _once}, report))
        except GeoPinError:
            return 0

    def _fetch_tile(self, tile: Tile, tally: Tally) -> bytes:
        address = f"{self.url}/api/map/{_path(tile)}"
        answer = self._client.send("GET", address, ok=(200, *_EMPTY), judge=_denied, tally=tally)
        return b"" if answer.status in _EMPTY else answer.body

    def _fetch_low_tile(self, tile: Tile, tally: Tally) -> bytes:
        version = "2/" if self.is_catalog else ""
        address = f"{self.url}/api/map/{version}{_path(tile)}"
        return self._client.send("GET", address, ok=(200, 204), judge=_once, tally=tally).body


def as_list(ids: Sequence[str]) -> Any:
    """As the standard wants them."""
    return list(ids)


def as_text(ids: Sequence[str]) -> Any:
    """As geovisio reads all of them."""
    return ",".join(ids)


class NotOffered(Exception):
    """The server does not give pictures by id (or no tiles): another way must be gone."""


class Details:
    """Pictures by id from one server. `forms` of a list of ids, the likelier first. Thread-safe."""

    def __init__(self, client: HttpClient, url: str, forms: Sequence[Form]) -> None:
        self._client, self._url, self._forms = client, f"{url}/api/search", tuple(forms)
        self._form: Form | None = None

    def fetch(self, ids: Sequence[str], tally: Tally) -> tuple[dict[str, Any], list[str]]:
        """(features by id, ids that are gone). Raises NotOffered."""
        found: dict[str, Any] = {}
        missing = list(dict.fromkeys(ids))
        while missing:
            starts = range(0, len(missing), IDS_PER_REQUEST)
            answers = [self._ask(missing[start : start + IDS_PER_REQUEST], tally) for start in starts]
            before = len(found)
            for answer in answers:
                found |= answer
            missing = [id_ for id_ in missing if id_ not in found]
            if len(found) == before:
                break
        return found, missing

    def _ask(self, ids: Sequence[str], tally: Tally) -> dict[str, Any]:
        if self._form is not None:
            return self._ask_as(self._form, ids, tally)
        for form in self._forms:
            try:
                answer = self._ask_as(form, ids, tally)
            except PermanentError:
                continue
            if len(answer) > 1:
                self._form = form
            if len(answer) == len(ids) or len(answer) > 1:
                return answer
        raise NotOffered

    def _ask_as(self, form: Form, ids: Sequence[str], tally: Tally) -> dict[str, Any]:
        body = {"ids": form(ids), "limit": len(ids)}
        answer = self._client.request_json("POST", self._url, json=body, judge=refusal, tally=tally)
        wanted = set(ids)
        features = stac_items.features(answer, where=f"panoramax: {without_keys(self._url)}, {len(ids)} ids")
        return {key: feature for feature in features if (key := fields.record_key(feature)) in wanted}


def fetch_removed(client: HttpClient, url: str, since: datetime, tally: Tally) -> frozenset[str]:
    """Ids of the collections of one instance that were taken down since then; none if it does not tell.

    Raises TransientError.
    """
    params: Mapping[str, Any] = {
        "show_deleted": "true",
        "limit": PER_PAGE,
        "filter": f"updated > '{since:%Y-%m-%dT%H:%M:%SZ}'",
    }
    address: str | None = f"{url}/api/collections"
    removed, seen, asked = set[str](), set[str](), set[str]()
    try:
        while address and address not in asked and len(asked) < MAX_PAGES:
            asked.add(address)
            page = client.get_json(address, params=params, judge=refusal, tally=tally)
            removed |= parse_removed(page)
            listed = set(map(fields.record_key, page["collections"]))
            following = stac_items.next_page(page, address) if listed - seen else None
            address, params = fields.on_host_of(following.url, url) if following else None, {}
            seen |= listed
    except PermanentError:
        pass  # what was learned so far is true
    return frozenset(removed)


def parse_removed(page: Any) -> set[str]:
    """Ids of the deleted collections of one page. Raises PayloadError if it lists no collections."""
    listed = fields.mapping(page).get("collections")
    if not isinstance(listed, list):
        raise PayloadError("panoramax: a page without a list of collections")
    collections = [fields.mapping(collection) for collection in listed]
    deleted = (c.get("id") for c in collections if c.get("geovisio:status") == "deleted")
    return {id_ for id_ in map(fields.source_id, deleted) if id_ is not None}


def refusal(answer: Answer) -> PermanentError | None:
    """A server that does not take the question is not one that denies access."""
    return PermanentError(f"answered {answer.status}") if answer.status in _REFUSED else None


def _once(answer: Answer) -> PermanentError | None:
    """What only saves requests is not worth asking for again and again."""
    return PermanentError(f"answered {answer.status}") if answer.status >= 500 else _denied(answer)


def _denied(answer: Answer) -> PermanentError | None:
    """Tiles that are denied are no reason to stop asking for pictures."""
    return PermanentError(f"answered {answer.status}") if answer.status in (401, 403) else None


def _path(tile: Tile) -> str:
    return f"{tile.z}/{tile.x}/{tile.y}.mvt"


def _is_near(picture: TilePicture, box: Bbox) -> bool:
    return (
        box.west - _WIDENED_DEG <= picture.lon <= box.east + _WIDENED_DEG
        and box.south - _WIDENED_DEG <= picture.lat <= box.north + _WIDENED_DEG
    )
