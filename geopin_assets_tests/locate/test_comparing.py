"""A photo beside the images of its matches: fetched over a real socket once, and waited for no longer than bearable."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from geopin_assets.locate.comparing import Comparison
from geopin_assets.locate.features import KeptFeatures
from geopin_assets_tests.embedding.fetching import loopback_fetcher
from geopin_assets_tests.embedding.image_server import ImageServer, body, endless, image_server, status
from geopin_assets_tests.embedding.pictures import encoded
from geopin_assets_tests.locate.test_verify import facade
from geopin_assets_tests.locate.weights import verifier


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running


def match(name: str, **other: Any) -> dict[str, Any]:
    facts = {
        "capture_id": f"a:{name}",
        "source": "a",
        "cell_id": "c",
        "view": 0,
        "is_pano": False,
        "thumbnail_url": None,
    }
    return facts | other


def compared(server: ImageServer, folder: Path, version: str = "v1", within_s: float = 15) -> Comparison:
    def catalogued(_: Sequence[str]) -> pl.DataFrame:
        names = [path.strip("/") for path in server.routes]
        columns = {"capture_id": [f"a:{name}" for name in names], "source_capture_id": names}
        urls = [server.url(f"/{name}") for name in names]
        return pl.DataFrame(columns | {"image_url": urls, "image_version": [version] * len(names)})

    kept = KeptFeatures(folder, verifier().model_id)
    return Comparison(verifier(), catalogued, loopback_fetcher(), lambda images: {}, kept, within_s)


def test_an_image_is_fetched_once_and_its_points_count_ever_after(server: ImageServer, tmp_path: Path) -> None:
    server.routes = {"/here": body(encoded(facade(1, shift_px=60))), "/there": body(encoded(facade(2)))}
    photo, matches = [facade(1)], [match("here"), match("there"), match("gone")]
    first = compared(server, tmp_path).inliers(photo, matches)
    assert first["a:here"] >= 100 > 30 >= first["a:there"] and set(first) == {"a:here", "a:there"}
    again = compared(server, tmp_path).inliers(photo, matches)
    assert again == pytest.approx(first, abs=3)
    assert server.hits == {"/here": 1, "/there": 1}
    compared(server, tmp_path, version="v2").inliers(photo, matches)
    assert server.hits == {"/here": 2, "/there": 2}, "another image than the one that was looked at"


def test_an_image_that_does_not_come_is_not_waited_for(server: ImageServer, tmp_path: Path) -> None:
    server.routes = {
        "/here": body(encoded(facade(1, shift_px=60))),
        "/drips": endless(b"x", pause_s=0.05),
        "/error": status(500),
    }
    kept = compared(server, tmp_path)
    kept.inliers([facade(1)], [match("here")])
    found = compared(server, tmp_path, within_s=0.5).inliers(
        [facade(1)], [match(n) for n in ("here", "drips", "error")]
    )
    assert set(found) == {"a:here"}
