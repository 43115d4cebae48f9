"""What the jobs and the schedule start, and what they refuse."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.automation.jobs import RefreshRegion, maintenance, weekly_maintenance
from geopin_assets.errors import ConfigurationError
from geopin_assets.regions import region
from geopin_assets.sources import SOURCES

SANDBOX = {"GEOPIN_PROFILE": "sandbox", "GEOPIN_UI_URL": "http://dagster.example:3000"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """In memory: what is filed is all that matters here."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def refresh(
    instance: dg.DagsterInstance, overrides: dict[str, str] | None = None, **config: Any
) -> dg.ExecuteInProcessResult:
    job = build_definitions(overrides=SANDBOX | (overrides or {})).resolve_job_def("refresh_region")
    return job.execute_in_process({"ops": {"request_backfills": {"config": config}}}, instance=instance)


def filed(instance: dg.DagsterInstance) -> dict[str, tuple[str, set[str]]]:
    """Asset -> (title, cells) of every backfill in the queue."""
    found = {}
    for backfill in instance.get_backfills():
        assert backfill.asset_selection is not None and backfill.asset_backfill_data is not None
        (key,) = backfill.asset_selection
        cells = backfill.asset_backfill_data.target_subset.get_partitions_subset(key).get_partition_keys()
        found[key.to_user_string()] = (backfill.title or "", set(cells))
    return found


def test_refreshing_a_region_files_a_backfill_per_source_and_links_to_it(instance: dg.DagsterInstance) -> None:
    ended = refresh(instance, region="nh-velserbroek", sources=["panoramax", "amsterdam"])
    cells = region("nh-velserbroek")
    assert filed(instance) == {
        f"raw/{name}": (f"raw/{name}: nh-velserbroek", set(cells)) for name in ("panoramax", "amsterdam")
    }
    (event,) = (e for e in ended.all_events if e.event_type is dg.DagsterEventType.STEP_OUTPUT)
    shown = event.step_output_data.metadata
    assert shown["cells"].value == len(cells)
    ids = {backfill.backfill_id for backfill in instance.get_backfills()}
    links = {str(shown[f"raw/{name}"].value) for name in ("panoramax", "amsterdam")}
    assert links == {f"http://dagster.example:3000/runs/b/{backfill_id}" for backfill_id in ids}


def test_without_a_choice_every_source_that_is_ready_refreshes_the_default_region(instance: dg.DagsterInstance) -> None:
    refresh(instance, {"GEOPIN_PROFILE": "live"})
    found = filed(instance)
    assert "raw/panoramax" in found and "raw/flickr" not in found and len(found) < len(SOURCES)
    assert {frozenset(cells) for _, cells in found.values()} == {frozenset(region("nh-amsterdam"))}


def test_what_the_launchpad_asks_for_is_explained() -> None:
    described = {name: field.description for name, field in RefreshRegion.model_fields.items()}
    assert set(described) == {"region", "sources"} and all(described.values())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"region": "nh-amsterdm"}, "did you mean nh-amsterdam"),
        ({"sources": ["nope"]}, "no source 'nope'"),
        ({"sources": ["panoramax", "flickr"]}, "flickr is switched off: set GEOPIN_FLICKR_API_KEY"),
    ],
)
def test_what_cannot_be_refreshed_is_refused_before_anything_is_filed(
    instance: dg.DagsterInstance, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        refresh(instance, {"GEOPIN_PROFILE": "live"}, **config)
    assert filed(instance) == {}


def test_maintenance_is_a_run_per_asset_so_that_each_waits_for_one_pool_at_most() -> None:
    definitions = build_definitions(overrides=SANDBOX)
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 11, 29, 3, 30, tzinfo=UTC),
        repository_def=definitions.get_repository_def(),
    )
    requests = weekly_maintenance.evaluate_tick(context).run_requests or []
    graph = definitions.resolve_asset_graph()
    started = [key for request in requests for key in request.asset_selection or ()]
    upkeep = {key for key in graph.get_all_asset_keys() if key.path[0] == "operations"}
    assert set(started) == {*upkeep, *(dg.AssetKey(["quality", name]) for name in ("retrieval", "outliers"))}
    assert len({request.run_key for request in requests}) == len(requests) == len(started)
    assert weekly_maintenance.job_name == maintenance.name
    pools = {key.path[1]: graph.get(key).pools for key in upkeep}
    assert pools == {"search_index": {"cloudflare"}, "catalog": {"duckdb"}, "leftovers": {"gpu"}, "disk": set()}
