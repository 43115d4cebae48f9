"""The files of a publication in programs that know nothing of us."""

import asyncio
from pathlib import Path

import duckdb
import pytest

from geopin_assets.exchange.manifest import read_manifest
from geopin_assets.files.folder_store import FolderStore
from geopin_assets_tests.exchange.worlds import CELLS, World


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    world = World()
    world.put("a", is_pano=True, creator=None)
    world.put("b", CELLS[1], seed=0, captured_at=None, heading_deg=None, image_url="https://x.example/y.jpg?signed=1")
    world.publish(FolderStore(tmp_path, is_durable=False))
    return tmp_path


def test_duckdb_reads_captures_and_vectors(folder: Path) -> None:
    captures = duckdb.sql(f"from '{folder}/captures/*.parquet'")
    found = (
        captures.select('id, links[1].href, assets.image.href, "view:azimuth", datetime is null').order("id").fetchall()
    )
    assert found == [
        ("panoramax:a", "https://panoramax.example/#a", "https://panoramax.example/a.jpg", 90.0, False),
        ("panoramax:b", "https://panoramax.example/#b", None, None, True),
    ]
    vectors = duckdb.sql(f"from '{folder}/vectors/*.parquet'")
    assert vectors.aggregate("count(*), sum(list_dot_product(embedding::float[], embedding::float[]))").fetchone() == (
        12,
        pytest.approx(12, abs=0.02),
    )


def captures_in(folder: Path) -> Path:
    (found,) = (folder / "captures").glob("nh-*.parquet")
    return found


def test_geopandas_reads_points_in_wgs84(folder: Path) -> None:
    geopandas = pytest.importorskip("geopandas", reason="geopandas is not installed")
    frame = geopandas.read_parquet(captures_in(folder))
    assert frame.crs == "OGC:CRS84"
    assert [point.geom_type for point in frame.geometry] == ["Point", "Point"]
    assert frame["license"].to_list() == ["CC-BY-SA-4.0"] * 2


def test_rustac_reads_valid_items(folder: Path) -> None:
    rustac = pytest.importorskip("rustac", reason="rustac is not installed")

    async def read() -> dict[str, object]:
        return await rustac.read(str(captures_in(folder)))

    items = asyncio.run(read())["features"]
    assert isinstance(items, list)
    assert [item["id"] for item in items] == ["panoramax:a", "panoramax:b"]
    for item in items:
        assert {"type", "stac_version", "id", "geometry", "bbox", "properties", "links", "assets"} <= item.keys()
        assert (
            item["properties"]["datetime"] or item["properties"]["start_datetime"] < item["properties"]["end_datetime"]
        )
    assert items[0]["assets"]["image"]["href"] == "https://panoramax.example/a.jpg"
    assert "image" not in (items[1]["assets"] or {})


def test_stac_geoparquet_reads_the_same(folder: Path) -> None:
    arrow = pytest.importorskip(
        "stac_geoparquet.arrow", reason="stac-geoparquet, with its 20 packages, is not installed"
    )
    import pyarrow.parquet as pq

    items = list(arrow.stac_table_to_items(pq.read_table(captures_in(folder))))
    assert [item["properties"]["geopin:attribution"] for item in items] == ["Anna – Panoramax, CC-BY-SA-4.0"] * 2


def test_the_manifest_says_what_must_be_shown(folder: Path) -> None:
    store = FolderStore(folder)
    manifest = read_manifest(store)
    assert manifest.summary.licenses["CC-BY-SA-4.0"].captures == 2
    assert "creativecommons.org/licenses/by-sa/4.0" in store.get(manifest.notice.key).decode()
