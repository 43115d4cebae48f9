"""A source that cannot run, or is down, as its asset shows it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from geopin_assets.cells import cell_ids
from geopin_assets.definitions import defs
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.running.local_run import crawl_source
from geopin_assets.sources import SOURCES

KEYED = [source for source in SOURCES if source.key]
CELLS = list(cell_ids()[5000:5004])


@pytest.mark.parametrize("source", KEYED, ids=lambda source: source.name)
@pytest.mark.parametrize("cells", [CELLS, CELLS[:1]], ids=["a range", "one cell"])
def test_a_source_without_its_key_is_skipped_and_says_what_it_needs(
    source, cells: list[str], instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(source.key.variable, raising=False)
    overrides = {"GEOPIN_PROFILE": "live", "GEOPIN_CONTACT": "me@example.org", "GEOPIN_DATA": str(tmp_path / "data")}
    job = build_definitions(overrides=overrides).resolve_implicit_global_asset_job_def()
    result = crawl_source(job, instance, cells, source.name)
    assert (result.cells, result.failed_count) == (0, 0)
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.SUCCESS
    logged = " ".join(record.message for record in instance.all_logs(run.run_id))
    assert source.key.variable in logged and source.key.where in logged


@pytest.mark.parametrize("source", KEYED, ids=lambda source: source.name)
def test_the_asset_says_which_key_it_needs_and_where_to_get_one(source) -> None:
    shown = defs.resolve_asset_graph().get(dg.AssetKey(["raw", source.name])).metadata
    assert shown["needs"] == source.key.variable
    assert shown["get_a_key"].url == source.key.where
    assert shown["attribution"] == source.attribution
    assert shown["contribute"].url == source.contribute_url


@contextmanager
def dead_server() -> Iterator[tuple[int, list[float]]]:
    """A port on which every connection is closed at once, and how many there were."""
    met: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                met.append(1)
                connection.close()

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], met
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_dead_source_is_found_dead_once_and_not_by_every_range(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    scattered = [*CELLS, *cell_ids()[6000:8000:400]]
    with dead_server() as (port, met):
        overrides = {
            "GEOPIN_PROFILE": "live",
            "GEOPIN_DATA": str(tmp_path / "data"),
            "GEOPIN_STAC_URLS": f"http://127.0.0.1:{port}",
            "GEOPIN_STAC_REQUESTS_PER_SECOND": "1000",
        }
        job = build_definitions(overrides=overrides).resolve_implicit_global_asset_job_def()
        result = crawl_source(job, instance, scattered, "stac")
    assert result.failed_count == len(scattered)
    assert len(instance.get_runs()) == 6
    assert 10 <= len(met) < 25
    assert "not asked again for" in result.failed[scattered[-1]]
