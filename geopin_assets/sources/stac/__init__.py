"""Any STAC API with street-level items: municipalities and surveys that publish theirs in the open standard.

API: item search of STAC API 1.0, `GET /search?bbox=w,s,e,n&limit=`, at the roots in `GEOPIN_STAC_URLS`
(separated by commas), of all collections or those in `GEOPIN_STAC_COLLECTIONS`. `GEOPIN_STAC_TOKEN` is sent
there, and nowhere else, as a bearer token.

License: as the item states it, else its collection, else `GEOPIN_STAC_LICENSE`; shown as `{creator}, {license}`, or
as the item's `attribution` or `GEOPIN_STAC_ATTRIBUTION` says. Items whose license asks for a name that nobody gives
are left out.

Quirks: servers page by links, absolute or relative, by GET or by POST with a whole or a partial body, and the links of
an item lead to other items, not to pages; some link on from the last page too. Many give a page shorter than asked for,
or refuse to be asked for so many: then for half. Some count (`numberMatched`), some only what they return, some neither
count nor page, and then a full box is divided. A range of time up to a day counts as its middle. Items are points where
the camera stood; footprints of aerial images are no positions. Ids are unique within a collection only: host,
collection and id make one here.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from geopin_assets.capture import Capture, Reason, Rejected
from geopin_assets.environment import without_keys
from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.licenses import OPEN_LICENSES, open_license
from geopin_assets.settings import Settings
from geopin_assets.sources import fields, stac_items
from geopin_assets.sources.base import AS_IT_IS, CrawlReport, RequestCost, Source
from geopin_assets.sources.paging import settle_captures
from geopin_assets.sources.stac.ask import Api

_SANDBOX_PREFIX = "sandbox"  # its port may change, its ids must not

LicenseOf = Callable[[str], str | None]


class Stac(Source):
    """All items of a cell, from every configured API."""

    name = "stac"
    title = "STAC APIs"
    homepage = "https://stacspec.org"
    contribute_url = "https://stacspec.org"
    takes_photos = False
    thumbnail = AS_IT_IS
    endpoint = ""  # only those that GEOPIN_STAC_URLS names
    license = None
    attribution = "{creator}, {license}"
    costs = (RequestCost(captures_per_request=100),)
    requests_per_second = 1.0

    def __init__(
        self,
        client: HttpClient,
        *,
        urls: Sequence[str],
        prefix: str = "",
        collections: Sequence[str] = (),
        license: str = "",
        attribution: str = "",
        token: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`prefix` of ids, by default the address of the API; the others are the settings of their names."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._apis = {
            prefix or prefix_of(url): Api(client, url, collections=collections, headers=headers) for url in urls
        }
        self._license, self._attribution, self._token, self._now = license, attribution, token, now

    @classmethod
    def disabled_reason(cls, settings: Settings) -> str | None:
        try:
            if not _checked(settings) and not settings.is_sandbox:
                return "set GEOPIN_STAC_URLS to the roots of STAC APIs with street-level items"
        except ConfigurationError as error:
            return str(error)
        return super().disabled_reason(settings)

    @classmethod
    def from_settings(cls, settings: Settings, client: HttpClient) -> "Stac":
        """Raises ConfigurationError for an address, license or token that cannot be used."""
        urls = _checked(settings)
        stand_in = () if urls else (f"{settings.sandbox_url}/{cls.name}",)
        return cls(
            client,
            urls=urls or stand_in,
            prefix="" if urls else _SANDBOX_PREFIX,
            collections=settings.stac_collections,
            license=open_license(settings.stac_license) or "",
            attribution=settings.stac_attribution,
            token=settings.stac_token.get_secret_value() if urls else "",
        )

    def captures(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        return settle_captures(cell.bbox, lambda: self._read(cell, report), report)

    def _read(self, cell: Cell, report: CrawlReport) -> Iterator[Capture | Rejected]:
        for prefix, api in self._apis.items():
            if report.reading:
                api.forget_licenses()

            def license_of(collection: str, api: Api = api) -> str | None:
                return api.collection_license(collection, report)

            for feature in api.fetch(cell.bbox, report):
                record = parse_item(
                    feature,
                    cell.bbox,
                    self._now(),
                    url=api.url,
                    prefix=prefix,
                    license_of=license_of,
                    license=self._license,
                    attribution=self._attribution,
                )
                yield self._without_token(record)

    def _without_token(self, record: Capture | Rejected) -> Capture | Rejected:
        """A server that writes our token into its answers must not get it stored."""
        is_told = bool(self._token) and self._token in repr(record)
        return Rejected(Reason.MALFORMED, "an item that repeats GEOPIN_STAC_TOKEN") if is_told else record


@fields.rejecting
def parse_item(
    feature: Any,
    bbox: Bbox,
    now: datetime,
    *,
    url: str,
    prefix: str,
    license_of: LicenseOf = lambda collection: None,
    license: str = "",
    attribution: str = "",
) -> Capture | Rejected:
    """Understand one item that the API at `url` returned for a box.

    `license_of` tells what a collection states; `license` and `attribution` are for items that state none.
    """

    def chosen(feature: Mapping[str, Any]) -> str | None:
        collection = fields.source_id(feature.get("collection"))
        stated = stac_items.stated_license(fields.mapping(feature.get("properties")).get("license"), feature)
        return open_license(stated or (license_of(collection) if collection else None) or license)

    address = f"{url}/search"
    item = stac_items.parse_feature(feature, now, address, chosen)
    if isinstance(item, Rejected):
        return item
    if not bbox.contains(item.lon, item.lat):
        return Rejected(Reason.OUTSIDE_CELL, item.id)
    credit = item.attribution or attribution or item.producer
    if credit is None and OPEN_LICENSES[item.license].asks != "nothing":
        return Rejected(Reason.NO_ATTRIBUTION, item.id)
    collection = item.collection or ""
    built = f"{url}/collections/{quote(collection, safe='')}/items/{quote(item.id, safe='')}"
    pages = (stac_items.link_of(feature, rel, address) for rel in ("alternate", "self"))
    return item.capture(
        source=Stac.name,
        source_capture_id=capture_id(prefix, collection, item.id),
        attribution=f"{credit or fields.host(url)}, {item.license}",
        page_url=next(filter(None, pages), built),
    )


def prefix_of(url: str) -> str:
    """What tells the items of one API from those of another: its address."""
    return f"{fields.host(url)}{urlsplit(url).path}"


def capture_id(prefix: str, collection: str, id_: str) -> str:
    """`{prefix}/{collection}/{id}`, each part escaped; the end as a hash if that is more than an id may have."""
    plain = f"{prefix}/{quote(collection, safe='')}/{quote(id_, safe='')}"
    if len(plain) <= fields.MAX_ID_CHARS:
        return plain
    return f"{prefix[:100]}/~{hashlib.sha256(plain.encode()).hexdigest()[:40]}"


def _checked(settings: Settings) -> tuple[str, ...]:
    """The configured roots. Raises ConfigurationError naming the variable that is wrong."""
    urls = fields.api_roots(settings.stac_urls, "GEOPIN_STAC_URLS")
    for url in urls:
        if settings.is_sandbox and not fields.is_this_machine(url):
            raise ConfigurationError(f"GEOPIN_STAC_URLS: the sandbox asks only this machine, not {without_keys(url)}")
        if settings.stac_token and not url.startswith("https:") and not fields.is_this_machine(url):
            raise ConfigurationError(
                f"GEOPIN_STAC_URLS: GEOPIN_STAC_TOKEN would go to {without_keys(url)} for everybody to read"
            )
    stated = settings.stac_license
    if stated and open_license(stated) is None:
        raise ConfigurationError(
            f"GEOPIN_STAC_LICENSE={stated!r}: state an open license, e.g. CC-BY-4.0 (docs/sources.md)"
        )
    return urls
