"""A photo beside the images of its matches: fetched over a real socket once, and waited for no longer than bearable."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.views import perspective_views
from geopin_assets.locate.comparing import Comparison
from geopin_assets.locate.features import KeptFeatures
from geopin_assets.locate.references import reference_images, reference_of
from geopin_assets_tests.embedding.fetching import loopback_fetcher
from geopin_assets_tests.embedding.image_server import ImageServer, body, endless, image_server, status
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.locate.test_verify import facade
from geopin_assets_tests.locate.weights import verifier


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server() as running:
        yield running


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders() as decoders:
        yield decoders


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


def compared(
    server: ImageServer, folder: Path, decoders: Decoders, version: str = "v1", within_s: float = 15
) -> Comparison:
    def catalogued(_: Sequence[str]) -> pl.DataFrame:
        names = [path.strip("/") for path in server.routes]
        columns = {"capture_id": [f"a:{name}" for name in names], "source_capture_id": names}
        urls = [server.url(f"/{name}") for name in names]
        return pl.DataFrame(columns | {"image_url": urls, "image_version": [version] * len(names)})

    kept = KeptFeatures(folder, verifier().model_id)
    return Comparison(verifier(), catalogued, loopback_fetcher(), lambda images: {}, kept, decoders, within_s)


def test_an_image_is_fetched_once_and_its_points_count_ever_after(
    server: ImageServer, tmp_path: Path, decoders: Decoders
) -> None:
    server.routes = {"/here": body(encoded(facade(1, shift_px=60))), "/there": body(encoded(facade(2)))}
    photo, matches = [facade(1)], [match("here"), match("there"), match("gone")]
    first = compared(server, tmp_path, decoders).inliers(photo, matches)
    assert first["a:here"] >= 100 > 30 >= first["a:there"] and set(first) == {"a:here", "a:there"}
    again = compared(server, tmp_path, decoders).inliers(photo, matches)
    assert again == pytest.approx(first, abs=3)
    assert server.hits == {"/here": 1, "/there": 1}
    compared(server, tmp_path, decoders, version="v2").inliers(photo, matches)
    assert server.hits == {"/here": 2, "/there": 2}, "another image than the one that was looked at"


def test_an_image_that_does_not_come_is_not_waited_for(server: ImageServer, tmp_path: Path, decoders: Decoders) -> None:
    server.routes = {
        "/here": body(encoded(facade(1, shift_px=60))),
        "/drips": endless(b"x", pause_s=0.05),
        "/error": status(500),
    }
    kept = compared(server, tmp_path, decoders)
    kept.inliers([facade(1)], [match("here")])
    found = compared(server, tmp_path, decoders, within_s=0.5).inliers(
        [facade(1)], [match(n) for n in ("here", "drips", "error")]
    )
    assert set(found) == {"a:here"}


def test_of_a_panorama_the_view_that_matched_is_looked_at(server: ImageServer, decoders: Decoders) -> None:
    sphere = smooth(960, 480)
    server.routes = {"/sphere": body(encoded(sphere, "PNG"))}
    known = {"source_capture_id": "", "image_url": server.url("/sphere"), "image_version": ""}
    wanted = {reference_of(match(name, is_pano=True), known): view for name, view in (("one", 0), ("other", 7))}
    found = reference_images(wanted, loopback_fetcher(), decoders)
    views = perspective_views(sphere)
    assert np.array_equal(found["a:one"], views[0]) and np.array_equal(found["a:other"], views[7])
