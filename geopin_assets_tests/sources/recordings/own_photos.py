"""Own photos: a folder made on the spot and the captures it means."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from geopin_assets.capture import Capture, HeadingFrom, PositionFrom
from geopin_assets.grid import Bbox, Cell
from geopin_assets.photo_folder import LocalFolder
from geopin_assets.sources.own_photos import OwnPhotos, Rights

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CELL = Cell("nh-amsterdam-test", Bbox(4.88, 52.36, 4.91, 52.38))
RIGHTS = Rights(
    license="CC-BY-4.0", attribution="Survey team", creator="Survey team", page_url="https://survey.example/"
)
GPANO = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:ProjectionType="equirectangular" '
    b'GPano:PoseHeadingDegrees="275.5"/></rdf:RDF></x:xmpmeta>'
)


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    minutes, seconds = divmod(round(abs(degrees) * 3600, 4), 60)
    return divmod(minutes, 60)[0], minutes % 60, seconds


def write_photo(
    path: Path,
    lon: float | None = 4.895,
    lat: float = 52.37,
    *,
    direction: tuple[str, float] | None = ("T", 90.0),
    time: tuple[str, str | None] | None = ("2024:06:01 10:00:00", "+02:00"),
    xmp: bytes = b"",
    gps: dict[int, Any] | None = None,
    tags: dict[int, Any] | None = None,
    root: dict[int, Any] | None = None,
) -> Path:
    """A small JPEG with the metadata a camera writes."""
    exif = Image.Exif()
    if lon is not None:
        refs = {1: "N" if lat >= 0 else "S", 2: _sexagesimal(lat), 3: "E" if lon >= 0 else "W", 4: _sexagesimal(lon)}
        exif.get_ifd(0x8825).update(refs | ({16: direction[0], 17: direction[1]} if direction else {}) | (gps or {}))
    if time:
        exif.get_ifd(0x8769).update({0x9003: time[0]} | ({0x9011: time[1]} if time[1] else {}))
    exif.get_ifd(0x8769).update(tags or {})
    exif.update(root or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 32), (90, 120, 150)).save(path, exif=exif, **({"xmp": xmp} if xmp else {}))
    return path


def _expected(file: str, version: str, **fields: Any) -> Capture:
    shared: dict[str, Any] = {
        "source": "own_photos",
        "lon": 4.895,
        "lat": 52.37,
        "position_from": PositionFrom.DEVICE,
        "captured_at": datetime(2024, 6, 1, 8, tzinfo=UTC),
        "heading_deg": 90.0,
        "heading_from": HeadingFrom.DEVICE,
        "is_pano": False,
        "sequence_id": None,
        "creator": "Survey team",
        "license": "CC-BY-4.0",
        "attribution": "Survey team",
        "payload": "{}",
    }
    return Capture(
        source_capture_id=file,
        page_url=f"https://survey.example/{file}",
        image_url=f"own-photos:{file}",
        image_version=version,
        **shared | fields,
    )


EXPECTED = [
    _expected("drive/1.jpg", "", sequence_id="drive"),
    _expected("pano.jpg", "", is_pano=True, heading_deg=275.5, heading_from=HeadingFrom.POSE),
]
REJECTED = {"no_position": 1, "outside_cell": 1, "unreadable": 1}


def build(folder: Path, transport: httpx.BaseTransport | None = None) -> OwnPhotos:
    write_photo(folder / "drive" / "1.jpg")
    write_photo(folder / "pano.jpg", xmp=GPANO)
    write_photo(folder / "no_gps.jpg", None)
    write_photo(folder / "lund.jpg", 13.19, 55.69)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not really")
    return OwnPhotos(LocalFolder(folder), RIGHTS, now=lambda: NOW)
