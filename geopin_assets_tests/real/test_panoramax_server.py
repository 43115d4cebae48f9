"""The platform against Panoramax's own server software. Nothing here was written to fit it: the server is the truth.

Start a GeoVisio instance (`pip install geovisio`, PostgreSQL with PostGIS; docs.panoramax.fr) with pictures around
Amsterdam, a few of them 360 degrees, and set

    GEOPIN_TEST_PANORAMAX_URL=http://127.0.0.1:5000
    GEOPIN_TEST_PANORAMAX_TOKEN=...      of an account; one test then adds two pictures and takes them down again
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest

from geopin_assets.embedding.protocol import Failure, FailureReason
from geopin_assets.regions import in_order, region
from geopin_assets.sources.panoramax import DEFAULT_LIMIT
from geopin_assets_tests.real.deployment import Deployment
from geopin_assets_tests.real.panoramax_server import FACTS, PanoramaxServer, cell_of, facts, per_cell

URL = os.environ.get("GEOPIN_TEST_PANORAMAX_URL", "").rstrip("/")
TOKEN = os.environ.get("GEOPIN_TEST_PANORAMAX_TOKEN", "")
AREA = region("bbox:4.7,52.2,5.1,52.5")
CORNER = (4.8936, 52.37)  # of four cells; this software's search has inclusive edges and shows it to all of them
RATE = {"GEOPIN_PANORAMAX_REQUESTS_PER_SECOND": "500"}

pytestmark = pytest.mark.skipif(
    not URL, reason="start a GeoVisio server with pictures around Amsterdam and set GEOPIN_TEST_PANORAMAX_URL to it"
)


@pytest.fixture
def server() -> Iterator[PanoramaxServer]:
    server = PanoramaxServer(URL, TOKEN)
    yield server
    server.close()


def crawled_cells(held: Mapping[str, dict[str, Any]]) -> tuple[str, ...]:
    """Every cell of the area with a picture, and all of Amsterdam, so that empty cells are crawled too.

    The other empty ones are left out: they are scattered over dozens of ranges, each a run of its own.
    """
    return in_order({*per_cell(held.values()), *region("nh-amsterdam")})


def live(folder: Path, **variables: str) -> Deployment:
    host = urlsplit(URL).hostname or ""
    own = {"GEOPIN_PROFILE": "live", "GEOPIN_PANORAMAX_URLS": URL, "GEOPIN_TRUSTED_HOSTS": host}
    return Deployment(folder, "panoramax", own | RATE | variables)


@pytest.mark.parametrize("limit", [None, 200, 20])
def test_the_catalog_holds_exactly_what_the_server_shows(
    server: PanoramaxServer, instance: dg.DagsterInstance, tmp_path: Path, limit: int | None
) -> None:
    held = server.pictures(AREA)
    saturated = sum(count >= (limit or DEFAULT_LIMIT) for count in per_cell(held.values()).values())
    if limit is not None and not saturated:
        pytest.skip(f"no cell of the server holds {limit} pictures: nothing has to be divided")
    cells = crawled_cells(held)
    platform = live(tmp_path, **({} if limit is None else {"GEOPIN_PANORAMAX_LIMIT": str(limit)}))
    raw, catalog = platform.run(instance, cells, layers=2)

    assert held and not raw.failed and not catalog.failed
    captures = platform.captures()
    known = {row["source_capture_id"]: tuple(row[name] for name in FACTS) for row in captures.iter_rows(named=True)}
    assert set(known) == set(held)
    assert known == {id_: facts(feature) for id_, feature in held.items()}
    assert dict(captures["cell_id"].value_counts().iter_rows()) == per_cell(held.values())
    assert raw.totals["partition_row_count"] == captures.height  # nothing was stored in two cells
    assert raw.totals["splits"] >= saturated


@pytest.mark.skipif(
    urlsplit(URL).hostname not in ("127.0.0.1", "localhost"), reason="the sandbox profile asks only this machine"
)
def test_the_whole_path_ends_in_an_index_that_finds_a_picture_of_the_server(
    server: PanoramaxServer, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    held = server.pictures(AREA)
    small = [cell_id for cell_id, count in per_cell(held.values()).most_common() if count <= 60][:4]
    chosen = {id_: feature for id_, feature in held.items() if cell_of(feature) in small}
    views = sum(12 if facts(feature)[FACTS.index("is_pano")] else 1 for feature in chosen.values())

    sandbox = Deployment(
        tmp_path, "panoramax", {"GEOPIN_PROFILE": "sandbox", "GEOPIN_PANORAMAX_URLS": URL} | RATE
    )  # the profile with an embedder that needs no weights; images are fetched over the same guarded path
    layers = {layer.asset: layer for layer in sandbox.run(instance, small)}

    assert not any(layer.failed for layer in layers.values())
    assert layers["index/embeddings"].totals["failed_images"] == 0
    assert layers["publish/vectorize"].totals["upserted"] == views
    assert layers["publish/d1"].totals["upserted"] == views + len(chosen)
    verdicts = {check.check_name: check.passed for layer in layers.values() for check in layer.checks}
    assert {name for name, passed in verdicts.items() if not passed} <= {"coverage_gaps", "amsterdam_baseline"}

    wanted = next(feature for feature in chosen.values() if not facts(feature)[FACTS.index("is_pano")])
    best = sandbox.locate(server.image(wanted), top=1).row(0, named=True)
    assert best["capture_id"] == f"panoramax:{wanted['id']}"
    assert best["score"] > 0.99
    assert wanted["properties"]["license"] in best["attribution"]


def test_pictures_on_a_private_address_are_fetched_only_where_it_is_trusted(
    server: PanoramaxServer, tmp_path: Path
) -> None:
    url = next(iter(server.pictures(AREA).values()))["assets"]["sd"]["href"]

    async def fetch(platform: Deployment) -> bytes | Failure:
        async with platform.embedding.fetcher().session() as fetch_image:
            return await fetch_image(url)

    image = asyncio.run(fetch(live(tmp_path)))
    assert isinstance(image, bytes) and image.startswith(b"\xff\xd8")
    refused = asyncio.run(fetch(live(tmp_path, GEOPIN_TRUSTED_HOSTS="")))
    assert isinstance(refused, Failure)
    assert refused.reason == FailureReason.NOT_ALLOWED


@pytest.fixture
def own_pictures(server: PanoramaxServer) -> Iterator[list[dict[str, Any]]]:
    """Two new pictures, the first on the corner of four cells; whatever is left of them is deleted afterwards."""
    before = server.pictures(AREA)
    server.upload([CORNER, (CORNER[0] + 0.0005, CORNER[1] + 0.0005)])
    added = [feature for id_, feature in server.pictures(AREA).items() if id_ not in before]
    added.sort(key=lambda feature: feature["geometry"]["coordinates"])
    yield added
    for feature in added:
        server.delete(feature)


@pytest.mark.skipif(not TOKEN, reason="set GEOPIN_TEST_PANORAMAX_TOKEN to add two pictures and take them down again")
def test_pictures_taken_down_leave_the_catalog_and_nothing_else_changes(
    server: PanoramaxServer, own_pictures: list[dict[str, Any]], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    platform, held = live(tmp_path), server.pictures(AREA)
    cells = crawled_cells(held)
    raw, _ = platform.run(instance, cells, layers=2)
    before = platform.captures()
    own = {f"panoramax:{feature['id']}" for feature in own_pictures}
    assert before.height == raw.totals["partition_row_count"] == len(held)
    assert raw.totals["rejected"] >= 3  # the corner was shown to four cells and belongs to one
    corner = before.filter(capture_id=f"panoramax:{own_pictures[0]['id']}")
    assert (corner["lon"].item(), corner["lat"].item(), corner["cell_id"].item()) == (*CORNER, "nh-amsterdam-r090c052")

    server.hide(own_pictures[0])
    server.delete(own_pictures.pop())
    raw, catalog = platform.run(instance, cells, layers=2)
    assert not raw.failed and not catalog.failed
    assert platform.tombstones() == own
    assert platform.captures().equals(before.remove(before["capture_id"].is_in(own)))
    changes = {name: catalog.totals[name] for name in ("inserted", "updated", "removed")}
    assert changes == {"inserted": 0, "updated": 0, "removed": 2}
