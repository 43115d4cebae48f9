"""People are told of their areas once, whatever happens; webhooks are real servers here."""

import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from geopin_assets.cells import cell_facts
from geopin_assets.errors import ConfigurationError
from geopin_assets.exchange.areas import Look, news, read_areas
from geopin_assets.exchange.notices import Teller
from geopin_assets.files.damage import is_aside
from geopin_assets.files.object_store import open_store
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets.http_client.transport import Transport, guarded_transport
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import capture, crawl

CELL = "nh-amsterdam-r090c051"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECRET = "T0PSECRETPATH"
BOX = cell_facts(CELL).cell.bbox
RING = [[BOX.west, BOX.south], [BOX.east, BOX.south], [BOX.east, BOX.north], [BOX.west, BOX.north]]
SQUARE = {"type": "Polygon", "coordinates": [[*RING, RING[0]]]}


class Hook(HTTPServer):
    """Takes notices, or refuses them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status, self.got, self.location, self.body = 200, list[dict[str, Any]](), "", b"no " + SECRET.encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/{SECRET}?key={SECRET}"


class _Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Idempotency-Key"] == body["notice_id"]
        if self.server.status == 200:
            self.server.got.append(body)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Place:
    """A catalog of one cell, and an area around it."""

    def __init__(self, folder: Path, webhook: str, **rule: Any) -> None:
        self.folder, self.now = folder, NOW
        self.raw = RawStore(open_store(folder / "raw", is_durable=False))
        self.areas = folder / "areas.geojson"
        self.write(webhook)
        self.rule = AddressRule(**({"allow_loopback": True} | rule))

    def write(self, webhook: str, **properties: Any) -> None:
        about = {"id": "dam", "title": "The Dam", "webhook": webhook, "max_age_days": 365, **properties}
        feature = {"type": "Feature", "geometry": SQUARE, "properties": about}
        self.areas.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))

    def catalog(self) -> Catalog:
        return Catalog(self.folder / "catalog.duckdb", clock=lambda: self.now)

    def crawl(self, source: str, *names: str, at: datetime = datetime(2026, 5, 1, tzinfo=UTC)) -> None:
        self.now += timedelta(days=1)
        some = [capture(name, source=source, captured_at=at) for name in names]
        crawl(self.raw, CELL, some, source=source, crawled_at=self.now - timedelta(days=200))
        self.catalog().merge([CELL], self.raw)

    def tell(self, transport: Transport | None = None, **more: Any) -> dict[str, str]:
        self.now += timedelta(days=1)
        return self.teller(transport, **more).tell(self.catalog(), read_areas(self.areas), self.now)

    def teller(self, transport: Transport | None = None, **more: Any) -> Teller:
        url = "http://reports.example/notices"
        guarded = transport or guarded_transport(self.rule)
        return Teller(self.folder / "state", self.folder / "feeds", url, "", guarded, **more)


def test_new_imagery_a_lost_source_and_age_are_told_once(tmp_path: Path) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a")
        assert (place.tell(), server.got) == ({}, [])
        place.crawl("mapillary", "b", "c")
        assert (place.tell(), place.tell()) == ({}, {})
        assert [(got["kind"], got["text"]) for got in server.got] == [
            ("new_imagery", "The Dam: new images: 2 of mapillary")
        ]
        place.crawl("mapillary")
        place.tell()
        assert server.got[-1]["text"] == "The Dam: mapillary has no images here any more; it had 2"
        place.now += timedelta(days=400)
        assert (place.tell(), place.tell()) == ({}, {})
        assert [got["kind"] for got in server.got] == ["new_imagery", "lost_source", "too_old"]
        place.crawl("panoramax", "a", "d", at=place.now - timedelta(days=3))
        place.tell()
        place.now += timedelta(days=400)
        place.tell()
        assert [got["kind"] for got in server.got[3:]] == ["new_imagery", "too_old"]
    feed = ElementTree.parse(tmp_path / "feeds/dam.xml")  # noqa: S314
    titles = [entry.text for entry in feed.iter("{http://www.w3.org/2005/Atom}title")]
    assert "mapillary has no images here any more; it had 2" in titles


def test_what_a_webhook_does_not_take_is_told_later_and_once(tmp_path: Path) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a")
        place.tell()
        server.status = 503
        place.crawl("panoramax", "a", "b")
        assert place.tell().keys() == {"dam"}
        server.status = 200
        assert (place.tell(), place.tell()) == ({}, {})
        assert [got["kind"] for got in server.got] == ["new_imagery"]


class Killed(BaseException):
    """As if the process ended there."""


class KilledBehindAnAnswer(httpx.BaseTransport):
    """What was sent was taken, and nobody lived to note it."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._inner.handle_request(request).read()
        raise Killed


def test_what_was_told_just_before_a_kill_comes_again_under_the_same_id(tmp_path: Path) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a")
        place.tell()
        place.crawl("panoramax", "a", "b")
        with pytest.raises(Killed):
            place.tell(KilledBehindAnAnswer(guarded_transport(place.rule)))
        assert (place.tell(), place.tell()) == ({}, {})
        first, again = (got["notice_id"] for got in server.got)
        assert first == again


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with hook() as server, hook() as other:
        server.status, server.location = 307, other.url
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a", at=NOW - timedelta(days=4000))
        assert "redirects are not followed" in place.tell()["dam"]
        assert other.got == []


def test_whatever_a_webhook_answers_beside_its_status_it_has_been_told(tmp_path: Path) -> None:
    with hook() as server:
        server.body = b"x" * 3_000_000
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a", at=NOW - timedelta(days=4000))
        assert (place.tell(), place.tell()) == ({}, {})
        assert len(server.got) == 1


def test_slow_receivers_hold_a_report_up_for_so_long_and_the_rest_waits_for_the_next(tmp_path: Path) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a", at=NOW - timedelta(days=4000))
        (feature,) = json.loads(place.areas.read_text())["features"]
        every = [{**feature, "properties": {**feature["properties"], "id": f"area-{n}"}} for n in range(5)]
        place.areas.write_text(json.dumps({"type": "FeatureCollection", "features": every}))
        minutes = itertools.count(step=250.0)
        slow = place.teller(clock=lambda: next(minutes))
        assert slow.tell(place.catalog(), read_areas(place.areas), place.now) == {}
        assert (slow.told["told"], slow.told["waiting"], len(server.got)) == (2, 3, 2)
        assert place.tell() == {}
        assert len({got["notice_id"] for got in server.got}) == len(server.got) == 5


def test_a_clock_that_was_ahead_silences_nobody_once_it_is_right(tmp_path: Path) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a")
        place.tell()
        place.now += timedelta(days=365)
        server.status = 503
        place.crawl("panoramax", "a", "b")
        assert place.tell().keys() == {"dam"}
        server.status = 200
        place.now -= timedelta(days=364)
        assert place.tell() == {}
        assert [got["kind"] for got in server.got] == ["too_old", "new_imagery"]
        place.crawl("panoramax", "a", "b", "c")
        assert place.tell() == {}
        assert server.got[-1]["text"] == "The Dam: new images: 1 of panoramax"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b'{"look": 1}', b'{"look": {"newest_at": 5}}', b"\xff"])
def test_what_is_known_of_an_area_is_damaged_set_aside_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a")
        assert place.tell() == {}
        (tmp_path / "state" / "dam.json").write_bytes(content)
        assert (place.tell(), server.got) == ({}, [])
        place.crawl("panoramax", "a", "b")
        assert place.tell() == {}
        assert [got["kind"] for got in server.got] == ["new_imagery"]
    assert [is_aside(path) for path in (tmp_path / "state").iterdir()].count(True) == 1


def test_an_address_of_the_own_network_is_never_asked(tmp_path: Path) -> None:
    with hook() as server:
        place = Place(tmp_path, server.url, allow_loopback=False)
        place.crawl("panoramax", "a", at=NOW - timedelta(days=4000))
        assert "not a public address" in place.tell()["dam"]
        place.write(f"http://localhost:{server.server_port}/{SECRET}")
        place.now += timedelta(days=2)
        assert "not a public address" in place.tell()["dam"]
        assert server.got == []


@pytest.mark.parametrize("status", [404, 503, 302])
def test_the_secret_in_an_address_is_in_no_message_log_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    with hook() as server:
        server.status = status
        place = Place(tmp_path, server.url)
        place.crawl("panoramax", "a", at=NOW - timedelta(days=4000))
        said = str(place.tell())
    place.areas.unlink()
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "dam" in said
    assert SECRET not in said + caplog.text
    assert SECRET.encode() not in held


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "../x"}, "feature 0: id"),
        ({"max_age_days": -1}, "feature 0: max_age_days"),
        ({"geometry": {"type": "Point", "coordinates": [4, 52]}}, "a Polygon or MultiPolygon"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "its shape is none"),
        ({"geometry": {"type": "Polygon", "coordinates": "x"}}, "not a feature with a shape"),
        ({"geometry": {"type": "Polygon", "coordinates": [[RING[0], RING[2], RING[1], RING[3]]]}}, "Self-intersection"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[x * 3e4, y * 9e3] for x, y in RING]]}}, "EPSG:4326"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[float("nan"), y] for _, y in RING]]}}, "feature 0|GeoJSON"),
    ],
)
def test_an_area_that_cannot_be_is_named_without_its_webhook(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    place = Place(tmp_path, f"https://hooks.example/{SECRET}")
    document = json.loads(place.areas.read_text())
    (feature,) = document["features"]
    feature |= {"geometry": change.pop("geometry", SQUARE)}
    feature["properties"] |= change
    place.areas.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=said) as error:
        read_areas(place.areas)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("geometry", "has_first"),
    [
        ({"type": "Polygon", "coordinates": [[[x, y, 12.5] for x, y in RING]]}, True),
        ({"type": "MultiPolygon", "coordinates": [[RING], [[[179, 1], [180, 1], [180, 2], [179, 1]]]]}, True),
        ({"type": "MultiPolygon", "coordinates": [[[[-180, 1], [-179, 1], [-179, 2], [-180, 1]]]]}, False),
        ({"type": "Polygon", "coordinates": [[[y, x] for x, y in RING]]}, False),
    ],
)
def test_areas_as_programs_write_them_are_read(tmp_path: Path, geometry: dict[str, Any], has_first: bool) -> None:
    """Numbered, with heights, an older member that names the system, and a mark of the byte order."""
    feature = {"type": "Feature", "id": 7, "properties": None, "geometry": geometry}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    content = json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}).encode()
    (path := tmp_path / "areas.geojson").write_bytes(b"\xef\xbb\xbf" + content)
    (area,) = read_areas(path)
    assert area.id == "7"
    (told,) = news(area, None, Look({}, None, None, {}, is_too_old=True), NOW)
    assert ("outside the grid" in told.text) is not has_first


def test_a_file_that_is_no_geojson_is_said_to_be_none(tmp_path: Path) -> None:
    (path := tmp_path / "areas.geojson").write_text("[1, 2")
    with pytest.raises(ConfigurationError, match="no GeoJSON"):
        read_areas(path)
