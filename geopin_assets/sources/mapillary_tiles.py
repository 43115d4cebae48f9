"""Mapillary's coverage tiles: every image of 1.5 x 1.5 km in one answer, where the Graph API refuses to look.

Here: asking for tiles, keeping them, and what the tile host's answers mean. Not here: understanding a point
(`mapillary_record.py`), vector tiles as such (`tiles.py`).

Tiles cost a budget that is small: an address was locked out for a day after 1,938 requests. A redirect to the
login page is how the host says so, and further requests prolong it.
"""

from pathlib import Path

from geopin_assets.errors import GeoPinError
from geopin_assets.http_client import Answer, HttpClient, Tally
from geopin_assets.sources.mapillary_graph import judge
from geopin_assets.sources.tiles import Point, Tile, TileCache, points_of

ZOOM = 14  # the only one with images
LAYER = "image"
RASTER_DEG = 360 / 2**ZOOM / 4096
LOCKED_OUT_S = 86_400.0
_EMPTY = (204, 404)
_LOCKED_OUT = (
    "the tile host answered {} to the login page, which is how it locks out an address that asked too much;"
    " boxes that need no tiles are crawled as ever"
)


class CoverageTiles:
    """The tiles with the device's positions. The token goes into the query: the tile host reads no header."""

    def __init__(self, client: HttpClient, *, endpoint: str, token: str, folder: Path | None, ttl_s: float) -> None:
        self._client, self._endpoint, self._params = client, endpoint, {"access_token": token}
        self._cache = TileCache(self._fetch, folder=folder, ttl_s=ttl_s)

    def points(self, tile: Tile, tally: Tally) -> list[Point]:
        """The images of a tile. Raises BudgetSpent when no tile may be asked for today."""
        return points_of(tile, self._cache.get(tile, tally), LAYER)

    def _fetch(self, tile: Tile, tally: Tally) -> bytes:
        answer = self._client.send(
            "GET",
            f"{self._endpoint}/maps/vtp/mly1_public/2/{tile.z}/{tile.x}/{tile.y}",
            params=self._params,
            ok=(200, *_EMPTY),
            judge=self._judge,
            tally=tally,
            kind="tiles",
        )
        return b"" if answer.status in _EMPTY else answer.body

    def _judge(self, answer: Answer) -> GeoPinError | None:
        if 300 <= answer.status < 400:
            return self._client.stop("tiles", LOCKED_OUT_S, _LOCKED_OUT.format(answer.status))
        return None if answer.status in _EMPTY else judge(answer)
