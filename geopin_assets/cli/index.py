"""`geopin index …`: versions of the published index: list them, build a new one, switch to one, drop an old one.

Not here: planning a first load (`listings.py`). Only building imports Dagster.
"""

from collections.abc import Sequence

from geopin_assets.cli.console import Facts, console, print_facts, print_table, terminal
from geopin_assets.defs.graph import VECTORIZE
from geopin_assets.errors import ConfigurationError
from geopin_assets.index.versions import State
from geopin_assets.platform.index_state import (
    announce_versions,
    drop_version,
    lacking,
    published_count,
    switch_to,
    switch_when_complete,
)
from geopin_assets.platform.parts import Embedding, SearchIndex, Storage


def print_versions(*, is_json: bool = False) -> None:
    """Every version that is kept, and what the one being built still lacks."""
    search_index, storage, model = SearchIndex(), Storage(), Embedding().model()
    found = []
    for version in search_index.versions().all():
        lacks = None
        if version.state is State.BUILDING and version.model_id == model.model_id:
            lacks = lacking(storage, search_index, version, model)
        found.append(
            {
                "index": version.name,
                "state": version.state.value,
                "since": version.since,
                "shards": version.shards,
                "model_id": version.model_id,
                "vectors": published_count(search_index, version),
                "captures_to_embed": lacks and lacks.not_embedded,
                "vectors_to_publish": lacks and lacks.not_published,
            }
        )
    print_facts(found, is_json, lambda found: _show_versions(search_index.backend().key, found))


def _show_versions(backend: str, found: Sequence[Facts]) -> None:
    if not found:
        console.print("no index yet: publish a region first, e.g. `make demo`")
        return
    rows = []
    for v in found:
        lacks = f"{v['captures_to_embed']} captures to embed, {v['vectors_to_publish']} vectors to publish"
        shown = (v["index"], v["state"], f"{v['since']:%Y-%m-%d %H:%M}", v["shards"], v["vectors"])
        rows.append((*shown, "" if v["captures_to_embed"] is None else lacks))
    print_table(f"indexes, {backend}", ("index", "state", "since", "shards", "vectors", "lacks"), rows)


def build_version(*, new: bool, max_removals: int | None = None) -> int:
    """Publish all vectors into the version that is being built; exit code 1 if a cell failed."""
    from geopin_assets.cli.run import ConsoleProgress, print_layer
    from geopin_assets.defs.assemble import build_definitions
    from geopin_assets.defs.running.home import open_instance
    from geopin_assets.defs.running.local_run import layer

    search_index, storage, model = SearchIndex(), Storage(), Embedding().model()
    version = search_index.rebuild(model) if new else search_index.publishing(model)
    cell_ids = storage.vectors(model).cell_ids()
    console.print(f"{version.name} ({version.state}): {len(cell_ids)} cells")
    terminal()
    with open_instance() as instance:
        job = build_definitions(progress=ConsoleProgress()).resolve_implicit_global_asset_job_def()
        result = layer(job, instance, VECTORIZE, cell_ids, max_removals=max_removals)
    print_layer(result)
    print_versions()
    return 1 if result.failed_count else 0


def switch_index(name: str) -> None:
    """Let searches use a version: a complete one that is being built, or one that was retired.

    Raises ConfigurationError for one that lacks something.
    """
    from geopin_assets.locate.switching import model_of

    search_index, storage = SearchIndex(), Storage()
    version, model = search_index.versions().named(name), Embedding().model()
    with search_index.leases().held(VECTORIZE, what=f"switching to {name}"):
        if version.state is not State.BUILDING:
            switch_to(search_index, version)
        elif switch_when_complete(storage, search_index, model_of(version)) is None:
            raise ConfigurationError(f"{name} is not complete: `geopin index list` says what it lacks")
        announce_versions(storage, search_index, model)
    console.print(f"searches now use {name}")
    if version.model_id != model.model_id:
        console.print(f"set GEOPIN_MODEL to that of {version.model_id}: the settings ask for {model.model_id}")


def drop_index(name: str) -> None:
    """Delete a version's vectors, and forget it. Raises ConfigurationError for the one that searches use."""
    search_index = SearchIndex()
    with search_index.leases().held(VECTORIZE, what=f"dropping {name}"):  # nobody is publishing to it
        drop_version(search_index, search_index.versions().named(name))
    console.print(f"dropped {name}")
