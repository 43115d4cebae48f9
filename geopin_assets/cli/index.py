"""`geopin index …`: versions of the published index: list them, build a new one, drop an old one, plan a first load."""

import dagster as dg

from geopin_assets.cli.console import ConsoleProgress, console, print_layer, print_table, terminal
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.assets.publish import VECTOR_CELLS_PER_RUN, vectorize
from geopin_assets.defs.index_state import drop_version, lacking, published_count
from geopin_assets.defs.resources import Embedding, SearchIndex, Storage
from geopin_assets.defs.running.local_run import layer
from geopin_assets.embedding.views import VIEWS
from geopin_assets.index.cost import PublishForecast, forecast_publish
from geopin_assets.index.versions import State


def print_versions() -> None:
    """Every version that is kept, and what the one being built still lacks."""
    search_index, storage, model = SearchIndex(), Storage(), Embedding().model()
    rows = []
    for version in search_index.versions().all():
        missing = ""
        if version.state is State.BUILDING and version.model_id == model.model_id:
            lacks = lacking(storage, search_index, version, model)
            missing = f"{lacks.not_embedded} captures to embed, {lacks.not_published} vectors to publish"
        shown = (version.name, version.state.value, f"{version.since:%Y-%m-%d %H:%M}", version.shards)
        rows.append((*shown, published_count(search_index, version), missing))
    if not rows:
        console.print("no index yet: publish a region first, e.g. `make demo`")
        return
    print_table(
        f"indexes, {search_index.backend().key}", ("index", "state", "since", "shards", "vectors", "lacks"), rows
    )


def build_version(*, new: bool) -> int:
    """Publish all vectors into the version that is being built; exit code 1 if a cell failed."""
    search_index, storage, model = SearchIndex(), Storage(), Embedding().model()
    version = search_index.rebuild(model) if new else search_index.publishing(model)
    cell_ids = [path.stem for path in storage.vectors(model).paths()]
    console.print(f"{version.name} ({version.state}): {len(cell_ids)} cells")
    terminal()
    with dg.DagsterInstance.get() as instance:
        job = build_definitions(progress=ConsoleProgress()).resolve_implicit_global_asset_job_def()
        result = layer(job, instance, vectorize.key, cell_ids, VECTOR_CELLS_PER_RUN)
    print_layer(result)
    print_versions()
    return 1 if result.failed_count else 0


def drop_index(name: str) -> None:
    """Delete a version's vectors, and forget it. Raises ConfigurationError for the one that searches use."""
    search_index = SearchIndex()
    drop_version(search_index, search_index.versions().named(name))
    console.print(f"dropped {name}")


def print_publish_plan(captures: int = 0, pano_share: float = 0.0) -> None:
    """What a first load of the catalog takes, or of so many captures. Asks nothing of Cloudflare."""
    model = Embedding().model()
    if captures:
        panoramas = round(captures * pano_share)
    else:
        seen = Storage().catalog().sightings()
        captures, panoramas = seen.height, int(seen["is_pano"].sum())
    plan = forecast_publish(captures + (VIEWS - 1) * panoramas, captures, model.dim)
    print_table(f"publishing {captures:,} captures for the first time", ("what", "so much"), _rows(plan))


def _rows(plan: PublishForecast) -> list[tuple[str, str]]:
    return [
        ("vectors", f"{plan.vectors:,} in {plan.index_shards} indexes (GEOPIN_INDEX_SHARDS)"),
        ("rows written", f"{plan.rows_written:,} in {plan.database_shards} databases (GEOPIN_D1_SHARDS)"),
        ("requests", f"{plan.requests:,}, {plan.hours:.1f} h at the account's rate, with waiting"),
        ("bytes", f"{plan.vector_bytes / 1e9:.2f} GB of vectors, {plan.row_bytes / 1e9:.2f} GB of rows"),
        ("first load", f"${plan.first_load_usd:.2f} at most"),
        ("each month", f"${plan.monthly_usd:.2f} at most, searched at least once"),
    ]
