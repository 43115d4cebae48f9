"""What reports ask of the catalog."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

from geopin_assets.files.object_store import open_store
from geopin_assets.store.catalog import Catalog
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


def test_blank_attributions_and_page_links_are_counted_once_a_capture(catalog: Catalog, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "catalog.duckdb")) as db:
        db.execute("update captures set attribution = '  ', page_url = '' where source_capture_id = '1'")
        db.execute("update captures set page_url = ' ' where source_capture_id = '2'")
        db.execute("update captures set attribution = ' x' where source_capture_id = '3'")
    assert catalog.licenses().rows() == [("panoramax", "CC-BY-SA-4.0", 3, 2), ("panoramax", "CC0-1.0", 1, 0)]


def test_of_texts_of_which_none_can_be_blank_no_license_is_asked(catalog: Catalog, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "catalog.duckdb")) as db:
        found = db.execute("explain analyze select rowid from captures where page_url < '!' and trim(page_url) = ''")
        plan = " ".join(text for _, text in found.fetchall())
    assert "page_url<'!'" in plan.replace(" ", "")


def test_coverage_and_the_tally_count_every_capture_once(catalog: Catalog) -> None:
    (cell,) = catalog.coverage().rows(named=True)
    assert (cell["cell_id"], cell["captures"], cell["panos"], cell["heading_sectors"]) == (HERE, 4, 1, 8)
    tally = catalog.tally()
    assert dict(tally.group_by("is_pano").agg(pl.col("captures").sum()).iter_rows()) == {False: 3, True: 1}
    assert tally.filter("is_pano")["sector"].to_list() == [None] and set(tally["region"]) == {"nh-amsterdam"}


def test_a_row_that_is_there_twice_is_counted(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.duplicates() == 0
    with duckdb.connect(str(tmp_path / "catalog.duckdb")) as db:
        db.execute("insert into captures from captures where source_capture_id in ('1', '2')")
        db.execute("insert into captures from captures where source_capture_id = '1'")
    assert catalog.duplicates() == 4
