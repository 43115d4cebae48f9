"""Mapillary: the largest open collection of street-level captures, by everybody with a phone or a camera.

API: Graph API, `GET https://graph.mapillary.com/images?bbox=w,s,e,n&fields=…&limit=2000`, with a free token in a
header; where a box is too dense for it, coverage tiles (z14) of https://tiles.mapillary.com, with the token in the
query, and `GET /images?image_ids=…` for what tiles leave out.

License: CC-BY-SA-4.0, shown as `Photo by {username} on Mapillary, CC BY-SA 4.0` with a link to the capture.

Quirks: a search has no pages and no total, and answers below its limit of 2000 can lack captures: from 1000 on a box is
divided. Dense boxes are refused altogether (an error 500 with code 1); below 0.002 degrees tiles take over, within 40 a
minute and 1750 a day. Tiles know neither names, links nor computed positions. To put each capture into exactly one
cell, a cell is asked for with a margin of 0.0005 degrees, and captures of tiles near its border are asked for by id.
So are captures that an earlier crawl found and this one did not: only what the server does not have is taken for gone.
Position and heading are the computed ones unless they are further off than that margin, or
`GEOPIN_MAPILLARY_POSITION=original` prefers the device's; `position_from` says which it is. The heading of a panorama
is that of its middle column. Panoramas are fetched as uploaded, about ten times the bytes of the largest thumbnail,
because that is 2048 px wide and too coarse to be cut into views. Links are signed and end after weeks; captures from
tiles have `mapillary:{id}` instead, and both are renewed before fetching.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import inf, sqrt
from pathlib import Path
from typing import Any, ClassVar

from geopin_assets.capture import Capture, Rejected
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient, Quota, Tally
from geopin_assets.settings import Settings
from geopin_assets.sources.base import CrawlReport, Key, RequestCost, Source
from geopin_assets.sources.mapillary.ask import IMAGE_FIELDS, LINK_FIELDS, TOKEN_VARIABLE, Graph
from geopin_assets.sources.mapillary.read import (
    LICENSE,
    NAME,
    NO_LINK,
    link_ends_at_s,
    link_of,
    parse_image,
    place_of,
    record_key,
)
from geopin_assets.sources.mapillary.tiles import CoverageTiles, DenseBoxes, is_neighbors, widened
from geopin_assets.sources.splitting import Capacity, Saturated, fetch_complete

TILES_ENDPOINT = "https://tiles.mapillary.com"
SANDBOX_TOKEN = "sandbox"  # noqa: S105 everybody may know it
MIN_SIDE_DEG = 0.002  # a dense cell is 64 boxes of that size: where those are refused too, 2 to 4 tiles are cheaper
LINK_MARGIN_S = 3600.0  # from looking at a link to the last image of its batch
_BUSY_PLACE = (4.8936, 52.3731)  # Dam, Amsterdam: whatever answer a server can give, it gives here
_SMALLEST_PROBE_DEG = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one search may ask for, and how long a tile is believed."""

    max_area_deg2: float = 0.009
    max_side_deg: float = 1.0
    split_at: int = 1000
    tile_days: float = 7.0

    @classmethod
    def from_settings(cls, settings: Settings) -> "Limits":
        return cls(
            max_area_deg2=settings.mapillary_max_area_deg2,
            max_side_deg=settings.mapillary_max_side_deg,
            split_at=settings.mapillary_split_at,
            tile_days=settings.mapillary_tile_days,
        )


class Mapillary(Source):
    """All captures of a cell: searched for in boxes, read from tiles where those are refused."""

    name = NAME
    title = "Mapillary"
    homepage = "https://www.mapillary.com"
    contribute_url = "https://www.mapillary.com/contribute"
    endpoint = "https://graph.mapillary.com"
    license = LICENSE
    attribution = "Photo by {creator} on Mapillary, CC BY-SA 4.0"
    key = Key(TOKEN_VARIABLE, "https://www.mapillary.com/dashboard/developers")
    expected_captures = 10_000_000  # a million panoramas in Amsterdam alone
    costs = (
        RequestCost(kind="search", captures_per_request=500),
        RequestCost(
            kind="tiles", cells_per_request=inf, captures_per_request=30_000
        ),  # where searches are refused: centers
        RequestCost(kind="entity", cells_per_request=inf, captures_per_request=2_000),
    )
    requests_per_second = 5.0
    quotas: ClassVar = {
        "search": Quota(per_second=5.0, per_day=200_000),
        "entity": Quota(per_second=10.0, per_day=200_000),
        "tiles": Quota(per_second=40 / 60, per_day=1750),
    }

    def __init__(
        self,
        client: HttpClient,
        *,
        token: str,
        endpoint: str = endpoint,
        tiles_endpoint: str = TILES_ENDPOINT,
        tiles_dir: Path | None = None,
        limits: Limits = Limits(),
        prefers_computed: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now, self._prefers_computed = now, prefers_computed
        self._graph = Graph(
            client, endpoint=endpoint, token=token, max_area_deg2=limits.max_area_deg2, max_side_deg=limits.max_side_deg
        )
        tile_s = limits.tile_days * 86_400
        tiles = CoverageTiles(client, endpoint=tiles_endpoint, token=token, folder=tiles_dir, ttl_s=tile_s)
        self._capacity = Capacity(limits.split_at, self._longest_answer)
        self._dense = DenseBoxes(self._graph, tiles, prefers_computed=prefers_computed)

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Mapillary":
        chosen = partial(
            cls,
            client,
            limits=Limits.from_settings(settings),
            prefers_computed=settings.mapillary_position == "computed",
        )
        if settings.is_sandbox:  # its world may change at any moment: tiles are not kept from run to run
            url = f"{settings.sandbox_url}/{NAME}"
            return chosen(token=SANDBOX_TOKEN, endpoint=url, tiles_endpoint=f"{url}/tiles")
        return chosen(token=settings.mapillary_token.get_secret_value(), tiles_dir=settings.tiles_dir / NAME)

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        now, known, dense = self._now(), set[str](), list[Bbox]()
        for record in self._fetch_images(widened(cell.bbox), dense, report):
            known.add(record_key(record))
            self._dense.creators.learn(record)
            if not is_neighbors(record, cell.bbox, self._prefers_computed):
                yield parse_image(record, cell.bbox, now, self._prefers_computed)
        for capture in self._dense.captures(cell.bbox, dense, known, report, now):
            known.add(capture.source_capture_id if isinstance(capture, Capture) else capture.record)
            yield capture
        if report.is_complete:  # else nothing is taken for gone
            yield from self._still_there(cell, sorted(report.known(cell.bbox) - known), report, now)

    def _still_there(
        self, cell: Cell, missing: list[str], report: CrawlReport, now: datetime
    ) -> Iterator[Capture | Rejected]:
        """Those that earlier crawls found, this one did not, and the server has in the cell all the same."""
        for image in self._graph.images(missing, IMAGE_FIELDS, report).values():
            place = place_of(image, self._prefers_computed)
            if place is not None and cell.bbox.contains(*place):
                yield parse_image(image, cell.bbox, now, self._prefers_computed)

    def _fetch_images(self, box: Bbox, dense: list[Bbox], report: CrawlReport) -> Iterator[Any]:
        """Images of a box as the Graph API has them; `dense` gets the parts that it does not answer for."""

        def leave_to_tiles(part: Bbox) -> list[Any]:
            dense.append(part)
            return []

        return fetch_complete(
            box,
            lambda part: self._graph.search(part, report),
            capacity=self._capacity,
            min_side_deg=MIN_SIDE_DEG,
            report=report,
            key=record_key,
            at_floor=leave_to_tiles,
        )

    def _longest_answer(self, report: CrawlReport) -> int:
        """How many images the server puts into one answer if it has many: all that it tells about a busy place."""
        side = min(self._graph.max_side_deg, sqrt(self._graph.max_area_deg2)) * 0.999
        lon, lat = _BUSY_PLACE
        while side > _SMALLEST_PROBE_DEG:
            try:
                box = Bbox(lon - side / 2, lat - side / 2, lon + side / 2, lat + side / 2)
                return len(self._graph.search(box, report))
            except Saturated:
                side /= 2
        return 0

    @classmethod
    def is_link_expired(cls, image_url: str, now: datetime) -> bool:
        """Whether a link must be renewed: it is none yet, or ends within an hour.

        A link that does not say when it ends is taken to last: a new one would say no more.
        """
        ends_at_s = link_ends_at_s(image_url)
        return image_url.startswith(NO_LINK) or (ends_at_s is not None and ends_at_s < now.timestamp() + LINK_MARGIN_S)

    def image_urls(self, ids: Sequence[str], tally: Tally) -> dict[str, str]:
        images = self._graph.images(ids, LINK_FIELDS, tally)
        return {id_: link for id_, record in images.items() if (link := link_of(record)) is not None}
