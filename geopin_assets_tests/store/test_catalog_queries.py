"""What reports ask of the catalog."""

from pathlib import Path

import pytest

from geopin_assets.files.object_store import open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.counts import COVERAGE_COLUMNS
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import capture, crawl

HERE = "nh-amsterdam-r090c052"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    raw, catalog = RawStore(open_store(tmp_path / "raw")), Catalog(tmp_path / "catalog.duckdb")
    shown = [
        capture("1", creator="Anna", attribution="Anna 1"),
        capture("2", creator="Anna", attribution="Anna 2", is_pano=True, heading_deg=None),
        capture("3", creator=None, attribution="nobody"),
        capture("4", creator="Bo", license="CC0-1.0", attribution="Bo"),
    ]
    crawl(raw, HERE, shown)
    catalog.merge([HERE], raw)
    return catalog


def test_creators_are_counted_per_source_and_license_most_first(catalog: Catalog) -> None:
    assert catalog.attributions().rows() == [
        ("panoramax", "CC-BY-SA-4.0", "Anna", 2, "Anna 1"),
        ("panoramax", "CC-BY-SA-4.0", None, 1, "nobody"),
        ("panoramax", "CC0-1.0", "Bo", 1, "Bo"),
    ]


def test_columns_of_every_capture_are_those_that_were_asked_for(catalog: Catalog) -> None:
    found = catalog.all_captures(COVERAGE_COLUMNS)
    assert found.columns == COVERAGE_COLUMNS and found.height == len(catalog.ids())
    assert (found["is_pano"].sum(), found["heading_deg"].null_count()) == (1, 1)
