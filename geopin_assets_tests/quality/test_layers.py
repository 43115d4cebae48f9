"""Layers read by other readers than ours: all is there at the largest zoom, below it the newest stands for all."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import atan, degrees, pi, sinh
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import mapbox_vector_tile
import polars as pl
import pytest
from pmtiles.reader import MmapSource, Reader, all_tiles

from geopin_assets.cells import stored_facts
from geopin_assets.geo import distance_m
from geopin_assets.quality.coverage import Expectations, find_gaps
from geopin_assets.quality.layers import LAYER_COLUMNS, Layers, write_layers
from geopin_assets.quality.map_html import render_html
from geopin_assets.quality.tiles import EXTENT, MAX_ZOOM, newest_of_each_bin, on_grid
from geopin_assets_tests.cli.test_door import Behind, opened
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.quality.drives import SOURCES, drives
from geopin_assets_tests.quality.factories import coverage_by_cell
from geopin_assets_tests.ui.browser import browser_page, needs_chromium

NOW = datetime(2026, 11, 29, tzinfo=UTC)
URL = "http://127.0.0.1:3000/reports/layers"
UNTIL_SHOWN = """async () => {
  while (!nearest(canvas.clientWidth / 2, canvas.clientHeight / 2)) await new Promise(after => setTimeout(after, 50));
}"""
"""A capture in the middle of the map."""
Found = tuple[int, float, float, dict[str, Any]]
"""zoom, lon, lat, properties."""


def gaps_of(captures: pl.DataFrame) -> pl.DataFrame:
    crawled = captures.select("source", "cell_id").unique().with_columns(is_complete=pl.lit(True))
    return find_gaps(coverage_by_cell(captures), crawled, Expectations(now=NOW))


def written(
    captures: pl.DataFrame, folder: Path, streets: Sequence[tuple[Any, dict[str, Any]]] = (), **options: Any
) -> Layers:
    parts = captures.partition_by("cell_id", as_dict=True)
    return write_layers(
        lambda cell_ids: pl.concat([parts[(cell_id,)] for cell_id in cell_ids]).select(LAYER_COLUMNS),
        {cell_id: part.height for (cell_id,), part in parts.items()},
        coverage_by_cell(captures),
        gaps_of(captures),
        folder,
        URL,
        streets,
        **options,
    )


@pytest.fixture(scope="module")
def captures() -> pl.DataFrame:
    return drives(3_000)


@pytest.fixture(scope="module")
def folder(captures: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written(captures, folder := tmp_path_factory.mktemp("reports") / "layers")
    return folder


def points(folder: Path) -> Iterator[Found]:
    with (folder / "captures.pmtiles").open("rb") as file:
        for (zoom, x, y), data in all_tiles(MmapSource(file)):
            layer = mapbox_vector_tile.decode(gzip.decompress(data), default_options={"y_coord_down": True})["captures"]
            for feature in layer["features"]:
                across, down = ((at + 0.5) / layer["extent"] for at in feature["geometry"]["coordinates"])
                lat = degrees(atan(sinh(pi * (1 - 2 * (y + down) / 2**zoom))))
                yield zoom, (x + across) / 2**zoom * 360 - 180, lat, feature["properties"]


def test_every_capture_is_there_once_at_the_largest_zoom_and_says_what_it_is(
    captures: pl.DataFrame, folder: Path
) -> None:
    found = {said["capture_id"]: (lon, lat, said) for zoom, lon, lat, said in points(folder) if zoom == 14}
    assert len(found) == captures.height
    for row in captures.iter_rows(named=True):
        lon, lat, said = found[row["capture_id"]]
        assert distance_m(lon, lat, row["lon"], row["lat"]) < 1
        assert (said["source"], said["kind"]) == (row["source"], "pano" if row["is_pano"] else "flat")
        assert (said["date"], said["heading_deg"]) == (f"{row['captured_at']:%Y-%m-%d}", row["heading_deg"])
        assert (said["attribution"], said["page_url"]) == (row["attribution"], row["page_url"])


def test_at_every_zoom_the_points_stand_for_all_captures_and_show_the_newest(
    captures: pl.DataFrame, folder: Path
) -> None:
    stand_for, newest = Counter[tuple[int, str, str]](), dict[tuple[int, str], str]()
    for zoom, _, _, said in points(folder):
        stand_for[zoom, said["source"], said["kind"]] += said["n"]
        newest[zoom, said["source"]] = max(said["date"], newest.get((zoom, said["source"]), ""))
    kinds = captures.group_by("source", "is_pano").agg(pl.len(), pl.col("captured_at").max()).iter_rows()
    dates = captures.group_by("source").agg(pl.col("captured_at").max().dt.strftime("%Y-%m-%d"))
    for source, is_pano, count, _ in kinds:
        assert {stand_for[zoom, source, "pano" if is_pano else "flat"] for zoom in range(15)} == {count}
    for source, date in dates.iter_rows():
        assert {newest[zoom, source] for zoom in range(15)} == {date}


@pytest.mark.parametrize("zoom", [5, 9, 13])
def test_a_tile_with_too_many_points_shows_the_newest_of_larger_bins(captures: pl.DataFrame, zoom: int) -> None:
    every = on_grid(captures).with_columns(n=pl.lit(1, pl.Int64))
    newest_first = every.sort("captured_at", "capture_id", descending=True, nulls_last=True)
    kind, side = ("source", "is_pano"), EXTENT << (MAX_ZOOM - zoom)
    some = newest_of_each_bin(newest_first, kind, zoom, most=30)
    in_tiles = some.group_by(pl.col("x") // side, pl.col("y") // side).len()["len"]
    assert in_tiles.max() <= 30
    assert some["n"].sum() == captures.height
    assert some.height <= newest_of_each_bin(newest_first, kind, zoom).height
    assert some["captured_at"].is_sorted(descending=True)
    for of_kind in some.partition_by(kind):
        same = newest_first.join(of_kind.select(kind).head(1), on=list(kind), how="semi")
        assert of_kind["captured_at"][0] == same["captured_at"][0]


def test_what_is_read_tile_by_tile_is_drawn_as_if_it_were_read_at_once(
    captures: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    written(captures, tmp_path, at_once=200)
    with (folder / "captures.pmtiles").open("rb") as whole, (tmp_path / "captures.pmtiles").open("rb") as divided:
        assert dict(all_tiles(MmapSource(whole))) == dict(all_tiles(MmapSource(divided)))


def test_cells_and_gaps_are_whole_at_their_largest_zoom_and_say_which_they_are(
    captures: pl.DataFrame, folder: Path
) -> None:
    with (folder / "cells.pmtiles").open("rb") as file:
        tiles = [mapbox_vector_tile.decode(gzip.decompress(data)) for _, data in all_tiles(MmapSource(file))]
    cells = {f["properties"]["cell_id"]: f["properties"] for tile in tiles for f in tile["cells"]["features"]}
    gaps = {f["properties"]["cell_id"]: f["properties"] for tile in tiles for f in tile["gaps"]["features"]}
    counted = dict(captures.group_by("cell_id").len().iter_rows())
    assert {cell_id: said["captures"] for cell_id, said in cells.items()} == counted
    wanted = gaps_of(captures).group_by("cell_id").agg("reason")
    assert {cell_id: set(said["reasons"].split(",")) for cell_id, said in gaps.items()} == {
        cell_id: set(reasons) for cell_id, reasons in wanted.iter_rows()
    }
    assert all(said["population"] == stored_facts(cell_id).population for cell_id, said in cells.items())


def test_what_readers_are_told_is_what_is_there_and_drawing_again_makes_the_same_files(
    captures: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    for name in ("captures", "cells"):
        told = json.loads((folder / f"{name}.json").read_text())
        with (folder / f"{name}.pmtiles").open("rb") as file:
            reader = Reader(MmapSource(file))
            header, about = reader.header(), reader.metadata()
        assert (told["minzoom"], told["maxzoom"]) == (header["min_zoom"], header["max_zoom"])
        for layer, plain in zip(told["vector_layers"], about["vector_layers"], strict=True):
            assert {name: said.partition(":")[0] for name, said in layer["fields"].items()} == plain["fields"]
        assert told["bounds"] == pytest.approx(
            [header[f"{side}_e7"] / 1e7 for side in ("min_lon", "min_lat", "max_lon", "max_lat")]
        )
        assert told["tiles"] == [f"pmtiles://{URL}/{name}.pmtiles/{{z}}/{{x}}/{{y}}"]
    assert "{{" not in (folder / "index.html").read_text()
    written(captures.reverse(), tmp_path)
    assert all((tmp_path / file.name).read_bytes() == file.read_bytes() for file in folder.iterdir())


def test_gdal_reads_the_archives_as_qgis_does(captures: pl.DataFrame, folder: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="GDAL is not installed")
    if "PMTiles" not in pyogrio.list_drivers():
        pytest.skip("this GDAL is older than its reader of PMTiles")
    about, _, points, columns = pyogrio.raw.read(folder / "captures.pmtiles")
    held = dict(zip(about["fields"], columns, strict=True))
    assert set(held["capture_id"]) == set(captures["capture_id"]) and len(points) == captures.height
    years = dict(zip(captures["capture_id"], captures["captured_at"].dt.year(), strict=True))
    assert all(years[id_] == year for id_, year in zip(held["capture_id"], held["year"], strict=True))
    assert [name for name, _ in pyogrio.list_layers(folder / "cells.pmtiles")] == ["cells", "gaps"]


def test_each_tile_is_served_by_itself_to_programs_that_read_no_archives(folder: Path, tmp_path: Path) -> None:
    copytree(folder, tmp_path / "layers")
    with (folder / "captures.pmtiles").open("rb") as file:
        (zoom, x, y), data = max(all_tiles(MmapSource(file)))
    others = ("captures/14/0/0", "captures/99/0/0", "secret/0/0/0", "..%2fx/0/0/0", "captures/1/9/9")
    with opened(Behind(tmp_path)) as behind:
        status, said, content = behind.ask("GET", f"/reports/layers/captures/{zoom}/{x}/{y}.mvt")
        others_are = [behind.status("GET", f"/reports/layers/{other}.mvt") for other in others]
    assert (status, content, said["content-encoding"]) == (200, data, "gzip")
    assert said["content-type"] == "application/vnd.mapbox-vector-tile"
    assert others_are == [204, 404, 404, 404, 404]


def test_without_captures_there_is_a_page_and_no_archive(tmp_path: Path) -> None:
    made = written(drives(0), tmp_path)
    assert (made.captures, made.tiles) == (0, 0) and made.page.is_file()


@needs_chromium
@pytest.mark.skipif(not IS_LONG, reason="a browser takes seconds")
def test_a_browser_reads_them_through_the_door_and_runs_nothing_that_a_capture_says(tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='run'\">"
    town = drives(500).with_columns(attribution=pl.lit(evil), page_url=pl.lit("javascript:document.title='run'"))
    written(town, tmp_path / "layers")
    lon, lat = town.row(0, named=True)["lon"], town.row(0, named=True)["lat"]
    with opened(Behind(tmp_path)) as behind, browser_page(tmp_path) as page:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(f"http://127.0.0.1:{behind.port}/reports/layers/index.html#18/{lat:.6f}/{lon:.6f}")
        page.locator("#source option").nth(1).wait_for(state="attached")
        page.wait_for_timeout(300)
        page.locator("canvas").click(position={"x": 750, "y": 500})
        shown = page.locator("#found").inner_text()
        assert evil in shown and "its page" not in shown and any(source in shown for source in SOURCES)
        assert page.title() == "Streets and their newest image" and wrong == []


@pytest.fixture
def served(captures: pl.DataFrame, folder: Path, tmp_path: Path) -> Path:
    """Reports as they lie in a store: the coverage page, and layers beside it."""
    copytree(folder, tmp_path / "quality" / "layers")
    looked = captures.select("source", "cell_id").unique().with_columns(is_complete=pl.lit(True))
    html = render_html(coverage_by_cell(captures), gaps_of(captures), looked, now=NOW)
    (tmp_path / "quality" / "coverage.html").write_text(html, encoding="utf-8")
    return tmp_path / "quality"


@needs_chromium
@pytest.mark.parametrize("width", [1300, 390] if IS_LONG else [390])
def test_the_coverage_page_shows_streets_and_asks_for_nothing_but_layers(
    captures: pl.DataFrame, served: Path, tmp_path: Path, width: int
) -> None:
    newest = captures.sort("captured_at").row(-1, named=True)
    with opened(Behind(served)) as behind, browser_page(tmp_path) as page:
        here, asked, wrong = f"http://127.0.0.1:{behind.port}/reports/", list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.set_viewport_size({"width": width, "height": 850})
        page.goto(f"{here}coverage.html")
        page.locator("#layers:visible").wait_for()
        page.evaluate("([lon, lat]) => { [view.x, view.y] = toMap(lon, lat); view.zoom = 18; draw(); }", _at(newest))
        page.evaluate(UNTIL_SHOWN)
        box = page.locator("canvas").bounding_box()
        assert box is not None and page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("canvas").click(position={"x": box["width"] / 2, "y": box["height"] / 2})
        said = page.locator("#details").inner_text()
        assert f"{newest['source']}, {newest['captured_at']:%Y-%m-%d}" in said and newest["attribution"] in said
        assert newest["cell_id"] in said and page.locator("#ages").is_visible()
        page.locator("#with-streets").click()
        page.locator("#counts").wait_for()
        assert wrong == []
        assert asked[0] == f"{here}coverage.html" and all(url.startswith(f"{here}layers/") for url in asked[1:])
        assert page.evaluate("fetch('/graphql').then(() => 'answered', () => 'refused')") == "refused"
    assert behind.reached == []


def _at(row: dict[str, Any]) -> list[float]:
    return [row["lon"], row["lat"]]


@needs_chromium
@pytest.mark.skipif(not IS_LONG, reason="a browser takes seconds")
def test_nothing_runs_in_the_coverage_page_but_its_script_and_without_layers_it_shows_cells_and_says_why(
    served: Path, tmp_path: Path
) -> None:
    evil = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    html = (served / "coverage.html").read_text(encoding="utf-8")
    (served / "coverage.html").write_text(html.replace("</body>", f"{evil}</body>"), encoding="utf-8")
    with opened(Behind(served)) as behind, browser_page(tmp_path) as page:
        page.goto(f"http://127.0.0.1:{behind.port}/reports/coverage.html")
        page.locator("#layers:visible").wait_for()
        assert page.title() == "Street-level coverage of the Netherlands"
        rmtree(served / "layers")
        page.reload()
        assert "There are no layers" in page.locator("#without:visible").inner_text()
        assert page.locator("#counts").is_visible() and page.locator("#gaps tr").count() > 0
        page.unroute("**/*")
        page.goto((served / "coverage.html").as_uri())
        assert "over a server only" in page.locator("#without:visible").inner_text()
        assert page.locator("#counts").is_visible() and page.title() == "Street-level coverage of the Netherlands"
