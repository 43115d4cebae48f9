"""A running GeoVisio server, asked directly: what it holds, adding pictures and taking them down.

Here: the server's own view of itself, the truth that a crawl is compared with. Not here: any of the platform's
code for sources.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from io import BytesIO
from os import urandom
from typing import Any

import httpx
from PIL import Image

from geopin_assets.cells import cell, cell_at

MOST_PER_ANSWER = 10_000  # the server's own maximum; one answer that stays below it is all there is

_PROCESSING_S = 120


class PanoramaxServer:
    """`url` without a trailing slash; `token` of an account, only needed to change what the server holds.

    Questions are asked without it: an account is also shown what it has hidden from everybody else.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self._public = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._owner = httpx.Client(
            base_url=url, timeout=60, trust_env=False, headers={"Authorization": f"Bearer {token}"}
        )

    def close(self) -> None:
        self._public.close()
        self._owner.close()

    def pictures(self, cell_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Features by id in a set of cells, found by one search over the box around them (edges inclusive)."""
        wanted = set(cell_ids)
        boxes = [cell(cell_id).bbox for cell_id in wanted]
        around = (
            *(min(box.west for box in boxes), min(box.south for box in boxes)),
            *(max(box.east for box in boxes), max(box.north for box in boxes)),
        )
        answer = self._public.get(
            "/api/search", params={"bbox": ",".join(map(str, around)), "limit": MOST_PER_ANSWER}
        ).raise_for_status()
        features = answer.json()["features"]
        assert len(features) < MOST_PER_ANSWER, (
            "the server holds more than one answer can show: choose a smaller region"
        )
        return {feature["id"]: feature for feature in features if cell_of(feature) in wanted}

    def tile(self, z: int, x: int, y: int) -> bytes:
        """A vector tile."""
        return self._public.get(f"/api/map/{z}/{x}/{y}.mvt").raise_for_status().content

    def image(self, feature: dict[str, Any]) -> bytes:
        """The original picture."""
        return self._public.get(feature["assets"]["hd"]["href"]).raise_for_status().content

    def upload(self, places: Sequence[tuple[float, float]], ids: Sequence[str] = ()) -> None:
        """Add a picture of noise at each (lon, lat), as one drive, and wait until the server shows them.

        `ids`: those that the first ones are to have, as when a picture is published at two servers.
        """
        created = self._owner.post("/api/upload_sets", json={"title": "GeoPin test"}).raise_for_status()
        upload_set = f"/api/upload_sets/{created.json()['id']}"
        for second, (lon, lat) in enumerate(places):
            stated = {
                "override_longitude": str(lon),
                "override_latitude": str(lat),
                "override_capture_time": f"2024-05-01T10:00:{second:02d}Z",
            }
            stated |= {"picture_id": ids[second]} if second < len(ids) else {}
            file = (f"geopin_{second}.jpg", _noise(), "image/jpeg")
            self._owner.post(f"{upload_set}/files", files={"file": file}, data=stated).raise_for_status()
        self._owner.post(f"{upload_set}/complete").raise_for_status()
        ends_at = time.monotonic() + _PROCESSING_S
        while not self._owner.get(upload_set).raise_for_status().json()["ready"]:
            assert time.monotonic() < ends_at, "the server does not process pictures (PICTURE_PROCESS_THREADS_LIMIT=0?)"
            time.sleep(0.25)

    def hide(self, feature: dict[str, Any]) -> None:
        """Show a picture to its owner only."""
        self._owner.patch(_path(feature), json={"visibility": "owner-only"}).raise_for_status()

    def delete(self, feature: dict[str, Any]) -> None:
        """Take a picture down for good."""
        self._owner.delete(_path(feature)).raise_for_status()

    def delete_collection(self, id_: str) -> None:
        """Take a whole drive down for good."""
        self._owner.delete(f"/api/collections/{id_}").raise_for_status()


def cell_of(feature: dict[str, Any]) -> str | None:
    """The one cell that holds a picture."""
    found = cell_at(*feature["geometry"]["coordinates"][:2])
    return found.cell_id if found else None


def per_cell(features: Iterable[dict[str, Any]]) -> Counter[str]:
    """Pictures per cell."""
    return Counter(cell_id for feature in features if (cell_id := cell_of(feature)))


def facts(feature: dict[str, Any]) -> tuple[object, ...]:
    """What the catalog must say about a picture: place, time, direction, projection, license, sequence."""
    properties = feature["properties"]
    return (
        *feature["geometry"]["coordinates"][:2],
        datetime.fromisoformat(properties["datetime"]),
        properties.get("view:azimuth"),
        properties.get("pers:interior_orientation", {}).get("field_of_view") == 360,
        properties["license"],
        feature["collection"],
    )


FACTS = ("lon", "lat", "captured_at", "heading_deg", "is_pano", "license", "sequence_id")


def _noise() -> bytes:
    """A small JPEG that the server has never seen: the same bytes are refused."""
    file = BytesIO()
    Image.frombytes("RGB", (320, 240), urandom(320 * 240 * 3)).save(file, "JPEG")
    return file.getvalue()


def _path(feature: dict[str, Any]) -> str:
    return f"/api/collections/{feature['collection']}/items/{feature['id']}"
