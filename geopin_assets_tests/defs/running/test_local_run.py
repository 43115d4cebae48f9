"""The whole graph over a real socket, with the sandbox's faults."""

import multiprocessing
from functools import partial
from pathlib import Path

import dagster as dg

from geopin_assets.cells import cell
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.resources import Sources
from geopin_assets.defs.running.local_run import crawl_side_by_side, crawl_source
from geopin_assets.errors import ConfigurationError
from geopin_assets_tests.platform import CELLS, Platform, Ran

HERE, THERE = CELLS


def fail(platform: Platform, source: str, cell_id: str) -> None:
    """Answer 500 for one cell; its inner part only, as boxes of neighbors share their edges."""
    box = cell(cell_id).bbox
    lon, lat = box.center
    bbox = [lon - 1e-4, lat - 1e-4, lon + 1e-4, lat + 1e-4]
    platform.tell_sandbox("POST", {"source": source, "status": 500, "bbox": bbox})


class Unready(Sources):
    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        raise ConfigurationError("no credentials")


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return instance.get_materialized_partitions(dg.AssetKey(asset.split("/")))


def test_every_layer_is_materialized_and_every_check_passes(ran: Ran) -> None:
    platform, instance, layers = ran.platform, ran.instance, ran.layers
    assert platform.captures() == {"panoramax": 12, "amsterdam": 9}
    assert not any(layer.failed for layer in layers.values())
    for asset in ("raw/panoramax", "catalog/captures", "index/embeddings", "publish/vectorize", "publish/d1"):
        assert materialized(instance, asset) == set(CELLS), asset
    vectors = 12 + 9 * 12
    assert layers["publish/vectorize"].totals["upserted"] == vectors
    assert layers["publish/d1"].totals["upserted"] == vectors + 21
    checks = [check for layer in layers.values() for check in layer.checks]
    assert len(checks) >= 4
    assert [c.description for c in checks if not c.passed and c.severity == dg.AssetCheckSeverity.ERROR] == []


def test_a_second_run_embeds_and_publishes_nothing(ran: Ran) -> None:
    again = ran.platform.run(ran.instance, reports=False)
    assert again["index/embeddings"].totals["embedded"] == 0
    assert again["index/embeddings"].totals["reused"] == 21
    for asset in ("publish/vectorize", "publish/d1"):
        totals = again[asset].totals
        assert (totals["upserted"], totals["deleted"], totals["store_requests"]) == (0, 0, 0)


def test_a_run_that_fails_before_its_first_step_has_failed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    overrides = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(tmp_path)}
    defs = build_definitions(overrides=overrides, sources=Unready(overrides=overrides))
    result = crawl_source(defs.resolve_implicit_global_asset_job_def(), instance, CELLS, "panoramax")
    assert (result.cells, result.failed_count) == (0, 1)
    assert "no credentials" in result.failed["raw/panoramax"]


def test_a_source_failing_in_one_cell_holds_back_nothing_else(ran: Ran) -> None:
    platform, instance = ran.platform, ran.instance
    before = platform.storage.catalog().captures([HERE])
    fail(platform, "panoramax", HERE)
    layers = platform.run(instance, reports=False)

    assert list(layers["raw/panoramax"].failed) == [HERE]
    assert layers["raw/panoramax"].cells == 1
    assert layers["raw/amsterdam"].cells == len(CELLS)
    key = dg.AssetKey(["raw", "panoramax"])
    shown = instance.get_status_by_partition(
        key, CELLS, platform.definitions.resolve_asset_graph().get(key).partitions_def
    )
    assert {cell_id: status.value for cell_id, status in shown.items()} == {HERE: "FAILED", THERE: "MATERIALIZED"}
    assert platform.storage.catalog().captures([HERE]).equals(before)


def test_a_cell_that_one_source_failed_still_takes_what_the_others_bring(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    fail(platform, "panoramax", THERE)
    layers = platform.run(instance, reports=False)
    assert list(layers["raw/panoramax"].failed) == [THERE]
    held = platform.storage.catalog().captures([THERE])
    assert set(held["source"]) == {"amsterdam"}
    assert layers["index/embeddings"].cells == layers["publish/d1"].cells == len(CELLS)
    in_index = platform.rows.query("SELECT cell_id, count(*) AS n FROM captures GROUP BY cell_id")
    assert dict(in_index.iter_rows())[THERE] == held.height
    assert platform.is_in_sync(instance)

    platform.tell_sandbox("DELETE")
    platform.run(instance, reports=False)
    assert set(platform.storage.catalog().captures([THERE])["source"]) == {"amsterdam", "panoramax"}


def test_a_capture_removed_at_its_source_leaves_the_catalog_and_the_index(ran: Ran) -> None:
    platform, instance = ran.platform, ran.instance
    gone = platform.storage.catalog().captures([HERE]).filter(source="panoramax")["source_capture_id"][0]
    platform.tell_sandbox("POST", {"vanish": [gone]})
    layers = platform.run(instance, reports=False)
    assert layers["catalog/captures"].totals["removed"] == 1
    assert layers["publish/vectorize"].totals["deleted"] == 1
    assert f"panoramax:{gone}" not in platform.storage.catalog().ids()
    tombstone = platform.storage.catalog().query("select capture_id from capture_history where removed_at is not null")
    assert tombstone["capture_id"].to_list() == [f"panoramax:{gone}"]


def test_one_cell_alone_is_an_ordinary_partition_run(platform: Platform, instance: dg.DagsterInstance) -> None:
    layers = platform.run(instance, (HERE,), reports=False)
    assert {layer.cells for layer in layers.values()} == {1}
    assert platform.embedding.decoders()._all, "images are decoded in the processes that the resource offers"


def test_sources_crawled_side_by_side_do_not_wait_for_a_slow_one_nor_die_with_it(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    platform.tell_sandbox("POST", {"source": "amsterdam", "kind": "hang"})
    names = ["amsterdam", "panoramax"]
    crawl = crawl_side_by_side(partial(build_definitions, overrides=platform.overrides), instance, CELLS, names)
    quick = next(crawl)
    assert (quick.asset, quick.cells) == ("raw/panoramax", len(CELLS))
    assert materialized(instance, "raw/panoramax") == set(CELLS)
    for child in multiprocessing.active_children():
        child.kill()
    (dead,) = crawl
    assert (dead.asset, dead.failed_count) == ("raw/amsterdam", 1)
    assert "process ended" in dead.failed["raw/amsterdam"]


def test_what_was_found_once_is_asked_for_again_before_it_is_taken_for_gone(ran: Ran) -> None:
    """The stand-in's overview counts nothing where everything vanished, and still the cell is asked."""
    platform, instance = ran.platform, ran.instance
    held = len(platform.storage.raw().ids_of("panoramax", THERE))
    assert held > 0
    gone = platform.storage.catalog().captures([THERE]).filter(source="panoramax")["source_capture_id"].to_list()
    platform.tell_sandbox("POST", {"vanish": gone})
    again = platform.run(instance, (THERE,), ("panoramax",), reports=False)
    assert again["raw/panoramax"].totals["requests"] >= 1
    assert again["catalog/captures"].totals["removed"] == held
    assert platform.storage.raw().ids_of("panoramax", THERE) == set()
