"""A small Mapillary: a search with a cap and a density gate, images by id, coverage tiles."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import asinh, floor, pi, radians, tan
from typing import Any

import httpx
import mapbox_vector_tile
from shapely.geometry import Point

from geopin_assets_tests.sources.recordings.mapillary import TOKEN

Record = dict[str, Any]


def image(id_: int, lon: float, lat: float, computed: tuple[float, float] | None = None, **fields: Any) -> Record:
    """An image as the Graph API describes it."""
    return {
        "id": str(id_),
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "captured_at": 1_700_000_000_000 + id_,
        "compass_angle": float(id_ % 360),
        "is_pano": False,
        "sequence": "zielicg0a16erifhavnqin",
        "creator": {"username": f"user_{id_ % 3}", "id": str(7000 + id_ % 3)},
        "thumb_1024_url": f"https://cdn.example/{id_}.jpg?oe=7A5C0000",
        **({"computed_geometry": {"type": "Point", "coordinates": list(computed)}} if computed else {}),
        **fields,
    }


def dense_error() -> httpx.Response:
    error = {"message": "Please reduce the amount of data you're asking for", "type": "MLYApiException", "code": 1}
    return httpx.Response(500, json={"error": error})


@dataclass
class Server:
    """`selects`: the position a search goes by. `raster`: how a tile rounds positions."""

    images: Sequence[Record]
    cap: int = 2000
    density: int = 5000
    selects: str = "geometry"
    raster: Callable[[float], int] = floor
    requests: list[httpx.Request] = field(default_factory=list)
    overrides: dict[str, Callable[[httpx.Request], httpx.Response | None]] = field(default_factory=dict)
    """Kind of request -> what it gets instead, or None for the usual answer."""

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    @property
    def counts(self) -> Counter[str]:
        return Counter(map(kind_of, self.requests))

    def asked(self, kind: str) -> list[httpx.Request]:
        return [request for request in self.requests if kind_of(request) == kind]

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        kind = kind_of(request)
        override = self.overrides.get(kind)
        if override is not None and (answer := override(request)) is not None:
            return answer
        if kind == "tiles":
            assert request.url.params["access_token"] == TOKEN
            assert "authorization" not in request.headers
            return self._tile(*map(int, request.url.path.split("/")[-3:]))
        assert request.headers["authorization"] == f"OAuth {TOKEN}"
        assert "access_token" not in request.url.params
        return self._search(request) if kind == "search" else self._batch(request)

    def _search(self, request: httpx.Request) -> httpx.Response:
        west, south, east, north = map(float, request.url.params["bbox"].split(","))
        found = []
        for record in self.images:
            lon, lat = (record.get(self.selects) or record["geometry"])["coordinates"]
            if west <= lon <= east and south <= lat <= north:
                found.append(record)
        if len(found) > self.density:
            return dense_error()
        found.sort(key=lambda record: hash(record["id"]))
        return httpx.Response(200, json={"data": found[: min(self.cap, int(request.url.params["limit"]))]})

    def _batch(self, request: httpx.Request) -> httpx.Response:
        ids = request.url.params["image_ids"].split(",")
        wanted = {"id", *request.url.params["fields"].split(",")}
        found = [record for record in self.images if record["id"] in ids]
        return httpx.Response(200, json={"data": [{k: v for k, v in r.items() if k in wanted} for r in found]})

    def _tile(self, z: int, x: int, y: int) -> httpx.Response:
        features = []
        for record in self.images:
            lon, lat = record["geometry"]["coordinates"]
            right = (lon + 180) / 360 * 2**z - x
            down = (1 - asinh(tan(radians(lat))) / pi) / 2 * 2**z - y
            if 0 <= right < 1 and 0 <= down < 1:
                place = Point(self.raster(right * 4096), self.raster(down * 4096))
                features.append({"geometry": place, "properties": _properties(record)})
        if not features:
            return httpx.Response(404)
        layers = [{"name": "image", "features": features}]
        options = {"extents": 4096, "y_coord_down": True}
        return httpx.Response(200, content=mapbox_vector_tile.encode(layers, default_options=options))


def kind_of(request: httpx.Request) -> str:
    if request.url.path.startswith("/maps/"):
        return "tiles"
    return "entity" if "image_ids" in request.url.params else "search"


def _properties(record: Record) -> dict[str, Any]:
    kept = {key: record[key] for key in ("captured_at", "compass_angle", "is_pano") if key in record}
    creator = record.get("creator")
    return {
        **kept,
        "id": int(record["id"]),
        "sequence_id": record["sequence"],
        **({"creator_id": int(creator["id"])} if creator else {}),
    }
