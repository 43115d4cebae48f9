"""`geopin index …` and `geopin catalog …`, and the options that commands share.

As in `main.py`, heavy imports happen inside the commands that need them. Not here: what they do.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from geopin_assets.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="For programs, as docs/cli.md says")]
MaxRemovals = Annotated[
    int | None,
    typer.Option(min=0, help="So many vectors, and rows of a table, may be deleted: it was refused, and is right"),
]

index_app = typer.Typer(no_args_is_help=True, help="Versions of the published index.")


@index_app.command("list")
def index_list(as_json: Json = False) -> None:
    """The versions that are kept: which one searches use, and what the one being built still lacks."""
    from geopin_assets.cli.index import print_versions

    print_versions(is_json=as_json)


@index_app.command("build")
def index_build(
    new: Annotated[bool, typer.Option("--new", help="Begin a new version of the present model")] = False,
    max_removals: MaxRemovals = None,
) -> None:
    """Publish every vector of the present model to the version being built; searches switch when it is complete."""
    from geopin_assets.cli.index import build_version

    sys.exit(build_version(new=new, max_removals=max_removals))


@index_app.command("switch")
def index_switch(name: str) -> None:
    """Let searches use this index: a complete one whatever was judged of its model, or one that was retired."""
    from geopin_assets.cli.index import switch_index

    switch_index(name)


@index_app.command("drop")
def index_drop(name: str) -> None:
    """Delete an index that searches do not use."""
    from geopin_assets.cli.index import drop_index

    drop_index(name)


@index_app.command("plan")
def index_plan(
    captures: Annotated[int, typer.Option(help="Plan for so many captures instead of the catalog's")] = 0,
    pano_share: Annotated[float, typer.Option(min=0, max=1, help="Share of those that are panoramas")] = 0.0,
    as_json: Json = False,
) -> None:
    """What a first publish takes: requests, bytes, rows written, shards and money. Asks nothing of Cloudflare."""
    from geopin_assets.cli.plans import print_publish_plan

    print_publish_plan(captures, pano_share, is_json=as_json)


catalog_app = typer.Typer(no_args_is_help=True, help="The catalog: made anew, or handed to readers elsewhere.")


@catalog_app.command("rebuild")
def catalog_rebuild() -> None:
    """Make the catalog anew from the raw files and the list of takedowns; then it replaces the old. Asks no source."""
    from geopin_assets.cli.merge import merge_and_report

    sys.exit(merge_and_report(Settings.from_env(), is_anew=True))


@catalog_app.command("publish")
def catalog_publish() -> None:
    """Put a copy of the catalog into the store, for readers on other machines."""
    from geopin_assets.platform.parts import Storage
    from geopin_assets.store.snapshot import publish

    snapshot = publish(Storage().catalog(), Storage().snapshots())
    typer.echo(f"{snapshot.key}: merge {snapshot.generation}, {snapshot.bytes:,} bytes")


@catalog_app.command("get")
def catalog_get(path: Path) -> None:
    """Fetch the newest published copy of the catalog to PATH, for `duckdb PATH`."""
    from geopin_assets.platform.parts import Storage
    from geopin_assets.store.snapshot import fetch

    snapshot = fetch(Storage().snapshots(), path)
    typer.echo(f"{path}: merge {snapshot.generation} of {snapshot.made_at}, {snapshot.bytes:,} bytes")
