"""Lantern: an invented platform of evening street views, the tenth source of the tests.

API: `GET /v1/views?bbox=w,s,e,n&after=<cursor>`, without key, in pages that name their successor.

License: CC-BY-4.0, shown as `{creator}, Lantern, CC BY 4.0`.

Quirks: headings are quarter turns, 0 to 3; a view without a lamp has no image.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.errors import PayloadError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.settings import Settings
from geopin_assets.sources import fields
from geopin_assets.sources.base import CrawlReport, Source


class Lantern(Source):
    """All views of a cell, page by page."""

    name = "lantern"
    title = "Lantern"
    homepage = "https://lantern.example"
    contribute_url = "https://lantern.example/contribute"
    endpoint = "https://api.lantern.example"
    license = "CC-BY-4.0"
    attribution = "{creator}, Lantern, CC BY 4.0"
    requests_per_second = 2.0

    def __init__(self, client: HttpClient, endpoint: str) -> None:
        self._client, self._endpoint = client, endpoint

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Lantern":
        return cls(client, f"{settings.sandbox_url}/{cls.name}" if settings.is_sandbox else cls.endpoint)

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        after = ""
        while after is not None:
            params = {"bbox": cell.bbox, "after": after}
            page = self._client.get_json(f"{self._endpoint}/v1/views", params=params, tally=report)
            views, after = parse_page(page)
            yield from (parse_view(view, cell.bbox) for view in views)


def parse_page(page: Any) -> tuple[list[Any], str | None]:
    """(views, cursor of the next page or None). Raises PayloadError for another shape."""
    views = fields.mapping(page).get("views")
    if not isinstance(views, list):
        raise PayloadError("lantern: a page without views")
    return views, fields.source_id(page.get("next"))


def parse_view(view: Any, bbox: Bbox) -> Capture | Rejected:
    """Understand one view that was returned for a box."""
    view = fields.mapping(view)
    id_, place = fields.source_id(view.get("id")), fields.position(view.get("lon"), view.get("lat"))
    turns, image_url = fields.number(view.get("quarter")), fields.web_url(view.get("lamp"))
    if id_ is None or place is None:
        return Rejected(Reason.BAD_ID if id_ is None else Reason.BAD_COORDINATES, id_ or "")
    if image_url is None or not bbox.contains(*place):
        return Rejected(Reason.NO_IMAGE if image_url is None else Reason.OUTSIDE_CELL, id_)
    creator = fields.text(view.get("by"))
    return Capture(
        source=Lantern.name,
        source_capture_id=id_,
        lon=place[0],
        lat=place[1],
        captured_at=fields.plausible(fields.instant(view.get("at")), datetime.now(UTC)),
        heading_deg=None if turns is None else fields.heading_deg(90 * turns),
        is_pano=False,
        sequence_id=None,
        creator=creator,
        license=Lantern.license,
        attribution=f"{creator or 'unknown'}, Lantern, CC BY 4.0",
        page_url=f"{Lantern.homepage}/view/{id_}",
        image_url=image_url,
        image_version="",
        payload=fields.payload(view),
    )
