"""`geopin` as people type it: what it prints and its exit code."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geopin_assets.cells import cell_at, cell_facts
from geopin_assets.cli.locate import area_of
from geopin_assets.cli.main import app
from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import Bbox
from geopin_assets.sources import SOURCES
from geopin_assets.store.catalog import Catalog
from geopin_assets_tests.cli.typed import Ended, Geopin, Place, command_in, complaint, with_sandbox
from geopin_assets_tests.embedding.pictures import encoded, smooth
from geopin_assets_tests.platform import CELLS, Platform

HERE, _ = CELLS


@pytest.fixture
def geopin(tmp_path: Path) -> Geopin:
    return command_in(tmp_path)


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, one_cell: tuple[Place, Ended], sandbox_port: int
) -> tuple[Geopin, Path]:
    """The command where one cell of one source was run, and its data."""
    place = one_cell[0].copy(tmp_path_factory.mktemp("published"))
    return with_sandbox(place, sandbox_port), place.data


def listed(*words: str) -> list[str]:
    result = CliRunner().invoke(app, ["cells", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_cells_of_a_place_are_its_partition_keys() -> None:
    found = listed("--region", "nh-amsterdam")
    assert len(found) > 50
    assert all(cell_id.startswith("nh-amsterdam-r") for cell_id in found)


def test_cells_of_a_position_are_exactly_one() -> None:
    dam = cell_at(4.893, 52.373)
    assert dam is not None
    assert listed("--at", "52.373,4.893") == [dam.cell_id]


def test_cells_of_a_box_are_those_that_it_touches() -> None:
    box = cell_facts(HERE).cell.bbox
    lon, lat = box.center
    assert listed("--bbox", f"{lon},{lat},{lon + 0.001},{lat + 0.001}") == [HERE]
    assert set(listed("--bbox", f"{lon},{lat},{box.east + 0.001},{lat + 0.001}")) == set(CELLS)


def test_cells_without_a_choice_are_all_and_several_choices_are_joined() -> None:
    assert len(listed()) == 20_064
    assert listed("--at", "52.373,4.893", "--region", HERE) == listed("--region", f"{HERE}+at:52.373,4.893")


def test_cells_as_geojson_are_squares_with_their_facts() -> None:
    found = json.loads("".join(listed("--region", "nh-amsterdam", "--format", "geojson")))
    assert found["type"] == "FeatureCollection"
    by_id = {feature["properties"]["cell_id"]: feature for feature in found["features"]}
    assert list(by_id) == listed("--region", "nh-amsterdam")
    (ring,) = by_id[HERE]["geometry"]["coordinates"]
    assert by_id[HERE]["geometry"]["type"] == "Polygon"
    assert len(ring) == 5
    assert ring[0] == ring[-1]
    lons, lats = zip(*ring, strict=True)
    assert Bbox(min(lons), min(lats), max(lons), max(lats)) == cell_facts(HERE).cell.bbox


def test_a_region_that_does_not_exist_is_answered_by_similar_ones(geopin: Geopin) -> None:
    assert "did you mean nh-amsterdam" in complaint(geopin("cells", "--region", "nh-amsterdm"))


@pytest.mark.parametrize("words", [["--at", "4.893,52.373"], ["--bbox", "5,52,4,53"], ["--bbox", "1,2"], ["--at", "x"]])
def test_a_place_that_cannot_be_is_one_line(geopin: Geopin, words: list[str]) -> None:
    assert words[1] in complaint(geopin("cells", *words))


def test_sources_are_listed_with_whether_they_can_run(geopin: Geopin) -> None:
    shown = geopin("sources", GEOPIN_PROFILE="live")
    assert shown.returncode == 0
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()[2:] if line[:1].strip()}
    assert list(lines) == [source.name for source in SOURCES]
    assert "ready" in lines["amsterdam"]
    assert "set GEOPIN_OWN_PHOTOS_DIR" in lines["own_photos"]


def test_a_plan_tells_runs_requests_and_hours_with_rates_and_budgets(geopin: Geopin) -> None:
    shown = geopin("plan", GEOPIN_PROFILE="live")
    assert shown.returncode == 0, shown.stderr
    assert "20064 cells, 81 runs per source" in shown.stdout
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()[2:] if line[:1].strip()}
    assert set(lines) >= {source.name for source in SOURCES}
    assert "16/min" in lines["kartaview"] and " h " in lines["kartaview"]
    assert any("tiles" in line and "1,750/day" in line for line in shown.stdout.splitlines())
    small = geopin("plan", "mapillary", "--region", HERE, GEOPIN_PROFILE="live", GEOPIN_MAPILLARY_TILES_PER_DAY="2")
    assert "1 cells, 1 runs" in small.stdout and "2/day" in small.stdout and "kartaview" not in small.stdout


def test_a_plan_knows_what_was_crawled_before(published: tuple[Geopin, Path]) -> None:
    geopin, _ = published
    assert "1 crawled cells" in geopin("plan", "panoramax", "--region", HERE).stdout


def test_a_plan_of_an_unknown_source_is_one_line(geopin: Geopin) -> None:
    assert "nope" in complaint(geopin("plan", "nope"))


def test_a_wrong_variable_is_one_line_that_names_it(geopin: Geopin) -> None:
    assert "GEOPIN_PROFILE='production'" in complaint(geopin("sources", GEOPIN_PROFILE="production"))


def test_a_run_without_a_place_for_its_history_says_what_to_set(geopin: Geopin) -> None:
    assert "DAGSTER_HOME" in complaint(geopin("run", "--region", HERE, DAGSTER_HOME=None))


@pytest.mark.parametrize("home", ["relative", "/does/not/exist"])
def test_a_place_for_history_that_dagster_would_refuse_is_one_line(geopin: Geopin, home: str) -> None:
    assert f"DAGSTER_HOME='{home}'" in complaint(geopin("run", "--region", HERE, DAGSTER_HOME=home))


def test_a_run_of_an_unknown_source_names_those_that_there_are(geopin: Geopin) -> None:
    line = complaint(geopin("run", "--region", HERE, "--source", "nope"))
    assert "nope" in line
    assert all(source.name in line for source in SOURCES)


def test_a_demo_on_real_sources_is_refused(geopin: Geopin, tmp_path: Path) -> None:
    refused = geopin("demo", GEOPIN_PROFILE="live")
    assert refused.returncode != 0
    assert "GEOPIN_PROFILE is live" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_photo_that_is_not_there_is_one_line(geopin: Geopin) -> None:
    assert "nowhere.jpg" in complaint(geopin("locate", "nowhere.jpg"))


def test_a_photo_that_is_no_image_is_one_line(geopin: Geopin, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    assert "notes.jpg" in complaint(geopin("locate", str(tmp_path / "notes.jpg")))


@pytest.mark.parametrize(
    ("region", "near", "reason"),
    [
        ("", "52.37,4.89", "LAT,LON,KM"),
        ("", "4.89,152.37,1,1", "LAT,LON,KM"),
        ("", "95,4.89,2", "latitude"),
        ("", "52.37,4.89,-2", "above 0"),
        ("", "52.37,4.89,nan", "above 0"),
        ("", "52.37,4.89,2000", "1,000 at most"),
        ("", "0,0,5", "nothing of the grid"),
        ("nh-amsterdam", "51.5,4.0,5", "nothing of --region nh-amsterdam"),
        ("atlantis", "", "no region"),
    ],
)
def test_where_nothing_can_be_is_not_searched(region: str, near: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        area_of(region, near)


def test_a_report_that_has_no_place_is_refused_before_anything_is_asked(geopin: Geopin, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(smooth(640, 480)))
    refused = geopin("locate", str(tmp_path / "photo.jpg"), "--report", str(tmp_path / "none" / "out.html"))
    assert "no folder" in complaint(refused)


def test_locating_before_anything_is_published_says_what_to_do(geopin: Geopin, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(smooth(640, 480)))
    assert "publish a region first" in complaint(geopin("locate", str(tmp_path / "photo.jpg")))


def test_status_before_anything_was_crawled_says_so_and_creates_nothing(geopin: Geopin, tmp_path: Path) -> None:
    shown = geopin("status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "nothing crawled yet" in shown.stdout
    assert not list(tmp_path.rglob("*.duckdb"))


def test_a_run_accounts_for_what_it_did_and_ends_with_0(one_cell: tuple[Place, Ended]) -> None:
    place, ended = one_cell
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"1 cells of {HERE}, panoramax" in ended.stdout
    layers = [
        line.split()[0]
        for line in ended.stdout.split("captures per source")[0].splitlines()
        if line[:1].strip() and "/" in line
    ]
    assert layers == [
        *("raw/panoramax", "catalog/captures", "index/embeddings", "publish/d1", "publish/vectorize"),
        *("quality/coverage", "quality/layers", "quality/diversity", "quality/attribution", "quality/freshness"),
        *("quality/notices", "quality/integrity", "quality/images"),
    ]
    assert (place.data / "quality" / "coverage.html").as_uri() in ended.stdout


def test_status_counts_what_the_catalog_and_the_index_hold(published: tuple[Geopin, Path]) -> None:
    geopin, data = published
    captures = len(Catalog(data / "catalog.duckdb").ids())
    shown = geopin("status")
    assert shown.returncode == 0, shown.stderr
    assert f"panoramax {captures} 1 " in " ".join(shown.stdout.split())
    assert f"{captures} captures" in shown.stdout


def test_locate_shows_the_best_captures_with_what_must_be_shown(published: tuple[Geopin, Path]) -> None:
    geopin, data = published
    photo = min((data / "queries").glob("*.jpg"))
    found = geopin("locate", str(photo), "--top", "2")
    assert found.returncode == 0, found.stderr
    assert [line.strip()[:2] for line in found.stdout.splitlines() if line.strip()[1:2] == "."] == ["1.", "2."]
    assert "best match" in found.stdout
    captures = Catalog(data / "catalog.duckdb").captures([HERE]).iter_rows(named=True)
    shown = [capture for capture in captures if capture["page_url"] in found.stdout]
    assert len(shown) == 2
    assert all(capture["attribution"] in found.stdout for capture in shown)


def test_a_run_with_a_failed_cell_ends_with_1_and_names_it(published: tuple[Geopin, Path], platform: Platform) -> None:
    geopin, _ = published
    platform.tell_sandbox("POST", {"source": "amsterdam", "status": 403})
    ended = geopin("run", "--region", HERE, "--source", "amsterdam")
    assert ended.returncode == 1
    assert f"failed {HERE}" in ended.stdout
    assert "Traceback" not in ended.stderr
