"""A capture that is taken down is nowhere afterwards, whatever it was in the middle of, and no crawl brings it back."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import dagster as dg
import numpy as np
import orjson
import polars as pl
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.defs.assets.raw import store_cell
from geopin_assets.defs.running.local_run import LayerResult, run_below_raw
from geopin_assets.defs.running.takedown import Takedown, Trace, traces_in_raw
from geopin_assets.embedding.protocol import CaptureImage, Model
from geopin_assets.embedding.vectors import HELD_SCHEMA, vector_rows
from geopin_assets.files.object_store import open_store
from geopin_assets.index.publish import publish_vectors
from geopin_assets.index.registry import Recorded
from geopin_assets.index.versions import State
from geopin_assets.locate import outliers
from geopin_assets.platform.index_state import desired_rows, desired_vectors
from geopin_assets.sources.base import CrawlReport
from geopin_assets.sources.crawl import CellCrawl
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.depth import examples
from geopin_assets_tests.factories import DAY_2, capture, crawl
from geopin_assets_tests.files.processes import at_work
from geopin_assets_tests.index.frames import NOW, Faults, Killed, publish_rows
from geopin_assets_tests.index.test_publish import INDEX_CALLS, LEDGER_CALLS
from geopin_assets_tests.instances import instance_in
from geopin_assets_tests.platform import CELLS, Installation, Ran

HERE, THERE = CELLS
GONE, STAYS = "panoramax:gone", "panoramax:stays"
VIEWS = [vector_id(GONE, view) for view in range(12)]
LAYERS = ("catalog/captures", "index/embeddings", "publish/d1", "publish/vectorize")


def takedown_of(place: Installation, *capture_ids: str) -> Takedown:
    return Takedown(capture_ids or (GONE,), place.storage, place.search_index)


def take_down(
    place: Installation, instance: dg.DagsterInstance, *capture_ids: str, steps: int | None = None
) -> dict[str, LayerResult]:
    """Take captures down, or only begin to: as if killed after so many steps."""
    takedown = takedown_of(place, *capture_ids)
    results = takedown.finish(place.definitions, instance, takedown.begin("asked for"))
    return {result.asset: result for result in islice(results, steps)}


def below_raw(place: Installation, instance: dg.DagsterInstance) -> dict[str, LayerResult]:
    job = place.definitions.resolve_implicit_global_asset_job_def()
    return {layer.asset: layer for layer in run_below_raw(job, instance, CELLS)}


def embed(place: Installation, model: Model, cell_id: str = HERE) -> None:
    """Vectors of both panoramas, so that no image needs to be fetched."""
    names = [capture_id.partition(":")[2] for capture_id in (GONE, STAYS)]
    images = [CaptureImage(cell_id, f"panoramax:{n}", "panoramax", n, "", "1", True, 90.0) for n in names]
    vectors = np.random.default_rng(1).normal(size=(24, model.dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = [image for image in images for _ in range(12)]
    files = place.storage.vectors(model).cell(cell_id)
    files.append(vector_rows(owners, [*range(12), *range(12)], vectors.astype(np.float16), model.model_id))
    held = [(image.capture_id, "1", 12, 90.0, 0) for image in images]
    files.commit(pl.DataFrame(held, schema=HELD_SCHEMA, orient="row"), files.held())


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two panoramas crawled, merged and embedded, but not published yet."""
    place = Installation(tmp_path_factory.mktemp("embedded"), {"GEOPIN_PROFILE": "sandbox"})
    crawl(place.storage.raw(), HERE, [capture("gone", is_pano=True), capture("stays", is_pano=True)])
    crawl(place.storage.raw(), THERE, [])
    place.storage.catalog().merge(CELLS, place.storage.raw())
    embed(place, place.embedding.model())
    return place


@pytest.fixture(scope="module")
def published_once(embedded: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    place = embedded.copy(folder := tmp_path_factory.mktemp("published"))
    with instance_in(folder) as instance:
        below_raw(place, instance)
    return place


@pytest.fixture
def place(embedded: Installation, tmp_path: Path) -> Installation:
    return embedded.copy(tmp_path)


@pytest.fixture
def published(published_once: Installation, tmp_path: Path) -> Installation:
    """And the history of the run that published it, for an `instance` that is asked for after this."""
    return published_once.copy(tmp_path)


def held_in_index(place: Installation) -> set[str]:
    """Captures with vectors in the index or rows beside them, asked of the stores themselves."""
    ids = [*VIEWS, *(vector_id(STAYS, view) for view in range(12))]
    vectors = pl.concat([place.index.get(ids[at : at + 12]) for at in (0, 12)])["vector_id"].str.head(-3)
    rows = [place.rows.query(f"SELECT capture_id FROM {t}")["capture_id"] for t in ("captures", "vectors")]  # noqa: S608
    return set(vectors) | {capture_id for found in rows for capture_id in found}


def test_reports_show_nothing_of_it_any_more(ran: Ran) -> None:
    platform, reports = ran.platform, ran.platform.storage.quality()
    gone, other, *_ = platform.storage.catalog().captures(CELLS).filter(source="amsterdam")["capture_id"]
    doubts = pl.DataFrame(
        [{"capture_id": gone, "trust": 0.1}, {"capture_id": other, "says": gone, "trust": 0.2}], schema=outliers.SCHEMA
    )
    with reports.as_folder() as folder:
        outliers.keep(folder, doubts, [])
    reports.put("layers/captures.pmtiles", b"a map with a point for each")
    done = take_down(platform, ran.instance, gone)
    assert done["reports"].totals == {"reports_changed": 2}
    with reports.as_folder(outliers.FILE) as folder:
        assert outliers.read(folder).is_empty()
    assert not reports.has("layers/captures.pmtiles")
    assert not any(gone.encode() in reports.get(stored.key) for stored in reports.walk() if "outliers" in stored.key)


def test_a_panorama_taken_down_is_nowhere_and_crawling_again_does_not_bring_it_back(ran: Ran) -> None:
    platform, instance, first = ran.platform, ran.instance, ran.layers
    before = platform.storage.catalog().captures(CELLS)
    gone = before.filter(source="amsterdam")["capture_id"][0]
    takedown = Takedown((gone,), platform.storage, platform.search_index)
    rows = Counter[str]()
    for trace in takedown.traces():
        assert (trace.capture_id, trace.cell_id) == (gone, THERE)
        rows[trace.place] += trace.rows
    model_id = platform.embedding.model().model_id
    assert rows == {
        "raw/amsterdam": 1,
        "catalog/captures": 1,
        f"vectors of {model_id}": 12,
        platform.index.store_key: 12,
        f"{platform.rows.store_key}:vectors": 12,
        f"{platform.rows.store_key}:captures": 1,
    }

    done = take_down(platform, instance, gone)
    assert takedown.traces() == []
    assert done["search index"].totals == {"vectors_deleted": 12, "rows_deleted": 13, "points_deleted": 0}
    assert [done[asset].cells for asset in ("raw/amsterdam", *LAYERS)] == [1] * 5
    assert not any(result.failed for result in done.values())
    ids = [vector_id(gone, view) for view in range(12)]
    assert platform.index.get(ids).is_empty()
    assert platform.rows.query("SELECT * FROM vectors WHERE capture_id = ?1", [gone]).is_empty()
    assert platform.rows.query("SELECT * FROM captures WHERE capture_id = ?1", [gone]).is_empty()
    event = instance.get_latest_materialization_event(dg.AssetKey(["raw", "amsterdam"]))
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.partition == THERE
    assert event.asset_materialization.metadata["taken_down"].value == 1

    again = platform.run(instance, reports=False)
    assert takedown.traces() == []
    assert again["raw/amsterdam"].totals["rejected"] == first["raw/amsterdam"].totals["rejected"] + 1
    assert platform.storage.catalog().captures(CELLS).equals(before.filter(pl.col("capture_id") != gone))
    for asset in LAYERS[1:]:
        assert (again[asset].totals["embedded"], again[asset].totals["upserted"]) == (0, 0)
    assert platform.is_in_sync(instance)

    platform.storage.takedowns().undo([gone], now=NOW)
    back = platform.run(instance, (THERE,), ("amsterdam",), reports=False)
    assert back["publish/vectorize"].totals["upserted"] == 12
    assert platform.storage.catalog().captures(CELLS).equals(before)


def test_what_a_source_itself_no_longer_shows_leaves_every_place_with_the_next_run(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place = published
    assert {trace.rows for trace in takedown_of(place).traces()} == {1, 12}
    crawl(place.storage.raw(), HERE, [capture("stays", is_pano=True)], crawled_at=DAY_2)
    done = below_raw(place, instance)
    assert takedown_of(place).traces() == []
    assert held_in_index(place) == {STAYS}
    vectors, rows = done["publish/vectorize"].totals, done["publish/d1"].totals
    assert (vectors["deleted"], vectors["rows_deleted"], rows["deleted"]) == (12, 13, 0), (
        "rows leave after their vectors"
    )


def test_what_searches_see_goes_first_and_nothing_that_follows_can_publish_it_again(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place = published
    assert set(take_down(place, instance, steps=1)) == {"search index"}
    assert held_in_index(place) == {STAYS}
    assert list(traces_in_raw(place.storage, [GONE]))
    below_raw(place, instance)
    assert held_in_index(place) == {STAYS}


def test_a_takedown_killed_after_any_step_is_finished_by_repeating_it(
    published: Installation, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    place = published
    data = Path(place.overrides["GEOPIN_DATA"])
    shutil.copytree(data, tmp_path / "before")
    everything = len(take_down(place, instance))
    assert everything == 6  # index, raw, and four layers
    for steps in range(examples(1, 0), everything, examples(3, 1)):
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "before", data)
        take_down(place, instance, steps=steps)
        take_down(place, instance)
        assert takedown_of(place).traces() == [], f"killed after {steps} steps"
        assert held_in_index(place) == {STAYS}, f"killed after {steps} steps"


def test_a_takedown_killed_behind_the_line_of_its_list_is_finished_by_publishing_any_cell(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place = published
    place.storage.takedowns().take_down([GONE], note="", now=NOW)
    job = place.definitions.resolve_implicit_global_asset_job_def()
    assert not any(layer.failed for layer in run_below_raw(job, instance, [THERE]))
    assert held_in_index(place) == {STAYS}


def test_a_takedown_goes_on_the_list_although_the_catalog_cannot_be_read(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place = published
    place.storage.settings().catalog_path.write_bytes(b"damaged")
    done = take_down(place, instance)
    assert place.storage.takedowns().ids() == {GONE}
    assert held_in_index(place) == {STAYS}
    assert "damaged" in done["catalog and list"].failed["catalog"]
    assert any(trace.place.startswith("catalog (") for trace in takedown_of(place).traces())


def killed_publishes(place: Installation) -> Iterator[int]:
    """Publish the vectors of the cell, killed after each of its calls in turn; yields while it is dead."""
    model, ledger = place.embedding.model(), place.search_index.ledger()
    desired = desired_vectors(place.storage, [HERE], model)
    step, died = 0, True
    while died:
        faults = Faults(step, after=True)
        index, watched = faults.wrap(place.index, INDEX_CALLS), faults.wrap(ledger, LEDGER_CALLS)
        try:
            publish_vectors(desired, [HERE], index, watched, now=NOW)
            died = False
        except Killed:
            step += 1
        yield step


def test_a_publish_killed_half_way_leaves_nothing_that_a_takedown_does_not_find(
    place: Installation, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    data = Path(place.overrides["GEOPIN_DATA"])
    shutil.copytree(data, tmp_path / "before")
    for step in killed_publishes(place):
        takedown = takedown_of(place)
        take_down(place, instance, steps=1)
        place.index.create()
        assert place.index.get(VIEWS).is_empty(), f"killed at step {step}"
        assert {trace.place for trace in takedown.traces()} == {
            "raw/panoramax",
            f"vectors of {place.embedding.model().model_id}",
        }
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "before", data)
    assert step >= 5
    take_down(place, instance)
    assert takedown_of(place).traces() == []
    assert held_in_index(place) == {STAYS}


def test_vectors_of_other_models_and_in_other_versions_of_the_index_leave_too(
    place: Installation, instance: dg.DagsterInstance
) -> None:
    older = Model("older-model", 16, is_place_recognition=True)
    embed(place, older)
    version = place.search_index.publishing(older)
    (part,) = place.search_index.vectors(version).parts
    desired = desired_vectors(place.storage, [HERE], older)
    publish_vectors(desired, [HERE], part, place.search_index.ledger(), now=NOW)
    below_raw(place, instance)
    states = {v.model_id: v.state for v in place.search_index.versions().all()}
    assert states == {older.model_id: State.SERVING, place.embedding.model().model_id: State.BUILDING}

    done = take_down(place, instance)
    assert done["search index"].totals == {"vectors_deleted": 24, "rows_deleted": 13, "points_deleted": 0}
    assert done["stored vectors"].totals == {"removed_vectors": 12}
    assert takedown_of(place).traces() == []
    assert part.get(VIEWS).is_empty()
    assert part.info().vector_count == place.storage.vectors(older).cell(HERE).read().height == 12


def lose_the_ledger(place: Installation) -> None:
    place.storage.settings().ledger_path.unlink()


def go_back_to_an_empty_ledger(place: Installation) -> None:
    """As restored from a day on which there was only another model's index."""
    lose_the_ledger(place)
    place.search_index.publishing(Model("another", 16, is_place_recognition=True))


def divide_the_databases(place: Installation) -> None:
    place.set(GEOPIN_D1_SHARDS="3")


def forget_the_folder(place: Installation) -> None:
    place.set(GEOPIN_D1_SHARDS="2", GEOPIN_MODEL="cosplace/ResNet18/32")
    lose_the_ledger(place)


@pytest.mark.parametrize(
    "mishap", [lose_the_ledger, go_back_to_an_empty_ledger, divide_the_databases, forget_the_folder]
)
def test_a_capture_is_taken_down_wherever_it_is_whatever_our_records_say(
    published: Installation, instance: dg.DagsterInstance, mishap: Callable[[Installation], None]
) -> None:
    place = published
    index, rows = place.index, place.rows
    mishap(place)
    done = take_down(place, instance, steps=1)
    assert done["search index"].totals == {"vectors_deleted": 12, "rows_deleted": 13, "points_deleted": 0}
    assert index.get(VIEWS).is_empty()
    for table in ("captures", "vectors"):
        assert set(rows.query(f"SELECT capture_id FROM {table}")["capture_id"]) == {STAYS}  # noqa: S608
    assert not [trace for trace in takedown_of(place).traces() if trace.place.startswith(("lance", "sqlite"))]


def test_nothing_of_a_capture_is_left_in_any_file_of_the_index(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place = published
    take_down(place, instance, steps=1)
    settings = place.storage.settings()
    files = [path for path in settings.index_dir.rglob("*") if path.is_file() and path.name != "takedowns.jsonl"]
    files += list(settings.data_dir.glob("ledger.sqlite*"))
    assert len(files) > 4 and not [path for path in files if GONE.encode() in path.read_bytes()]
    deleted = place.index.store_key.removeprefix("lance:")
    assert not list((settings.index_dir / "vectors" / f"{deleted}.lance" / "_deletions").glob("*"))
    assert held_in_index(place) == {STAYS}


def test_a_store_that_cannot_be_asked_is_not_said_to_hold_nothing(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    """It was published to before, with an account that the settings do not name any more."""
    place = published
    place.search_index.registry().record([Recorded("d1:0a1b2c3d:geopin")])
    done = take_down(place, instance, steps=1)
    assert done["search index"].totals == {"vectors_deleted": 12, "rows_deleted": 13, "points_deleted": 0}
    assert "GEOPIN_CLOUDFLARE_ACCOUNT_ID" in done["search index"].failed["d1:0a1b2c3d:geopin"]
    (unasked,) = (trace for trace in takedown_of(place).traces() if trace.capture_id is None)
    assert unasked.place.startswith("d1:0a1b2c3d:geopin (")


def test_a_capture_that_moved_leaves_every_cell_that_it_was_ever_in(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    place = published
    crawl(place.storage.raw(), THERE, [capture("gone", is_pano=True, lon=4.87)], crawled_at=DAY_2)
    assert {t.cell_id for t in takedown_of(place).traces() if t.place == "raw/panoramax"} == {HERE, THERE}
    done = take_down(place, instance)
    assert [done[asset].cells for asset in ("raw/panoramax", *LAYERS)] == [2] * 5
    assert takedown_of(place).traces() == []


def test_a_file_that_cannot_be_read_is_not_passed_over(published: Installation, instance: dg.DagsterInstance) -> None:
    place = published
    (raw := place.storage.raw()).objects.put(raw.key("panoramax", THERE), b"damaged")
    done = take_down(place, instance)
    assert list(done["raw/panoramax"].failed) == [THERE]
    assert done["raw/panoramax"].cells == done["publish/d1"].cells == 1
    assert held_in_index(place) == {STAYS}
    assert takedown_of(place).traces() == [Trace(None, "raw/panoramax", THERE)]


def test_a_capture_unknown_so_far_is_listed_and_touches_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    place = Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})
    done = take_down(place, instance)
    assert set(done) == {"search index"}
    assert not any(done["search index"].totals.values())
    assert place.storage.takedowns().of("panoramax") == {GONE}
    assert instance.get_runs_count() == 0
    made = {path.name for path in Path(place.overrides["GEOPIN_DATA"]).rglob("*") if not path.name.startswith(".")}
    assert made <= {"takedowns.jsonl", "raw", "index", "catalog.duckdb"}


def test_a_capture_named_like_a_view_of_another_is_not_taken_for_it(
    published: Installation, instance: dg.DagsterInstance
) -> None:
    """`panoramax:gone/00` is the id of a vector of `panoramax:gone`, and may be a capture of its own."""
    place = published
    twin = capture("gone/00", is_pano=True)
    crawl(place.storage.raw(), THERE, [twin], crawled_at=DAY_2)
    place.storage.catalog().merge(CELLS, place.storage.raw())
    rows = desired_rows(place.storage, [THERE])
    publish_rows(rows, [THERE], place.rows, place.search_index.ledger())
    take_down(place, instance, steps=1)
    held = place.rows.query("SELECT capture_id FROM captures ORDER BY capture_id")["capture_id"]
    assert held.to_list() == [twin.capture_id, STAYS]


def test_a_crawl_stores_nothing_that_was_taken_down_and_counts_it(tmp_path: Path) -> None:
    raw, report = RawStore(open_store(tmp_path)), CrawlReport(requests=1)
    found = [capture("gone", payload='{"face": 1}'), capture("stays")]
    (done,) = store_cell(raw, "panoramax", HERE, CellCrawl(found, report, 0.1), {GONE, "panoramax:not there"})
    assert list(raw.find_captures("panoramax", [GONE, STAYS])) == [(HERE, STAYS)]
    assert dict(raw.account("panoramax", HERE).rejected) == {"taken_down": 1}
    assert done.metadata["rejected_by_reason"].value == {"taken_down": 1}
    assert done.metadata["rejected_examples"].value == {"taken_down": ["gone"]}
    assert orjson.loads(orjson.dumps(done.metadata["rejected"])) == 1


OTHER_MACHINE = """
    import pathlib, sys
    from geopin_assets.files.lease import Leases
    from geopin_assets_tests.files.places import place_of
    place, cell_id, file = place_of(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    with Leases(place).held("index/embeddings", [cell_id]):
        before = file.read_bytes()
        print("read", flush=True)
        sys.stdin.readline()
        file.write_bytes(before)
"""


def test_what_another_machine_embeds_meanwhile_leaves_too(
    place: Installation, tmp_path: Path, postgres_place: str
) -> None:
    """It read the cell before the takedown, and writes it after what searches see was cleaned."""
    place.set(GEOPIN_POSTGRES_URL=postgres_place)
    (file,) = (tmp_path / "data" / "embeddings").rglob(f"{HERE}.parquet")
    with (
        instance_in(tmp_path) as instance,
        at_work(OTHER_MACHINE, postgres_place, HERE, file) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        taken = pool.submit(take_down, place, instance)
        assert other.stdin
        with pytest.raises(TimeoutError):
            taken.result(timeout=3)  # it waits for the cell
        other.stdin.write("\n")
        other.stdin.flush()
        results = taken.result(timeout=240)
    assert not {asset: result.failed for asset, result in results.items() if result.failed}
    assert set(place.vectors(HERE).read()["capture_id"]) == {STAYS}
    assert list(place.storage.raw().find_captures("panoramax", [GONE])) == []
    assert takedown_of(place).traces() == []
