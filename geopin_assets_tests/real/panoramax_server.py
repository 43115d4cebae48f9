"""A running GeoVisio server, asked directly: what it holds, and taking pictures down.

Here: the server's own view of itself, the truth that a crawl is compared with. Not here: any of the platform's
code for sources.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import httpx

from geopin_assets.cells import cell, cell_at

MOST_PER_ANSWER = 10_000  # the server's own maximum; one answer that stays below it is all there is


class PanoramaxServer:
    """`url` without a trailing slash; `token` belongs to the owner of the pictures and is only needed to change them."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, timeout=60, trust_env=False, headers={"Authorization": f"Bearer {token}"} if token else {}
        )

    def close(self) -> None:
        self._http.close()

    def pictures(self, cell_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Features by id in a set of cells, found by one search over the box around them (edges inclusive)."""
        wanted = set(cell_ids)
        boxes = [cell(cell_id).bbox for cell_id in wanted]
        around = (
            *(min(box.west for box in boxes), min(box.south for box in boxes)),
            *(max(box.east for box in boxes), max(box.north for box in boxes)),
        )
        answer = self._http.get(
            "/api/search", params={"bbox": ",".join(map(str, around)), "limit": MOST_PER_ANSWER}
        ).raise_for_status()
        features = answer.json()["features"]
        assert len(features) < MOST_PER_ANSWER, (
            "the server holds more than one answer can show: choose a smaller region"
        )
        return {feature["id"]: feature for feature in features if cell_of(feature) in wanted}

    def image(self, feature: dict[str, Any]) -> bytes:
        """The original picture."""
        return self._http.get(feature["assets"]["hd"]["href"]).raise_for_status().content

    def hide(self, feature: dict[str, Any]) -> None:
        """Show a picture to its owner only."""
        self._http.patch(_path(feature), json={"visibility": "owner-only"}).raise_for_status()

    def delete(self, feature: dict[str, Any]) -> None:
        """Take a picture down for good."""
        self._http.delete(_path(feature)).raise_for_status()


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


def _path(feature: dict[str, Any]) -> str:
    return f"/api/collections/{feature['collection']}/items/{feature['id']}"
