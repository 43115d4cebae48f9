"""The `geopin` command. Each command reads its arguments, calls the code that does the work, and prints.

Heavy imports (Dagster, the embedder, the index) happen inside the commands that need them, so that those which only
look something up answer at once.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from geopin_assets.cli.console import find_dagster_home, say_waits, understood
from geopin_assets.cli.groups import Json, MaxRemovals, catalog_app, index_app
from geopin_assets.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
REGION_HELP = "Province (nh), place (nh-amsterdam), cell id, bbox:W,S,E,N, around:LAT,LON,KM, at:LAT,LON; join with +"
DEMO_REGION = "nh-amsterdam+ut-utrecht-r074c059"
Region = Annotated[str, typer.Option("--region", "-r", help=REGION_HELP)]


@app.command()
def cells(
    region: Annotated[str, typer.Option("--region", "-r", help=REGION_HELP)] = "",
    at: Annotated[str, typer.Option(help="LAT,LON: the one cell there")] = "",
    bbox: Annotated[str, typer.Option(help="W,S,E,N: the cells it touches")] = "",
    output: Annotated[str, typer.Option("--format", help="keys or geojson")] = "keys",
    as_json: Json = False,
) -> None:
    """List cells by region, position or box."""
    from geopin_assets.cli.listings import list_cells
    from geopin_assets.regions import region as cells_of
    from geopin_assets.regions import to_geojson

    specs = [region, f"at:{at}" if at else "", f"bbox:{bbox}" if bbox else ""]
    found = cells_of("+".join(filter(None, specs)) or "all")
    if output not in ("keys", "geojson"):
        raise typer.BadParameter(f"--format {output}: keys or geojson")
    if as_json:
        list_cells(found)
    else:
        typer.echo(json.dumps(to_geojson(found)) if output == "geojson" else "\n".join(found))


@app.command()
def sources(as_json: Json = False) -> None:
    """List the registered sources, their license and whether they can run with the present settings."""
    from geopin_assets.cli.listings import list_sources

    list_sources(Settings.from_env(), is_json=as_json)


@app.command()
def settings(as_json: Json = False) -> None:
    """Every variable, what is in force and where it comes from; secrets are masked."""
    from geopin_assets.cli.listings import print_settings

    print_settings(Settings.from_env(), is_json=as_json)


@app.command()
def run(
    region: Region,
    source: Annotated[list[str] | None, typer.Option("--source", "-s", help="Only these sources; repeatable")] = None,
    max_removals: MaxRemovals = None,
) -> None:
    """Crawl, deduplicate, embed, publish and check a region, in this process, recorded in the Dagster instance."""
    from geopin_assets.cli.run import run_and_report

    sys.exit(run_and_report(Settings.from_env(), region, source or [], max_removals=max_removals))


@app.command()
def merge() -> None:
    """Merge all raw files that the catalog lacks: after it was lost, or put back from a copy. Asks no source."""
    from geopin_assets.cli.merge import merge_and_report

    sys.exit(merge_and_report(Settings.from_env()))


@app.command()
def plan(
    source: Annotated[list[str] | None, typer.Argument(help="Only these sources")] = None,
    region: Annotated[str, typer.Option("--region", "-r", help=REGION_HELP)] = "all",
    captures: Annotated[str, typer.Option(help="What so many captures in all would take, e.g. 39e6")] = "",
    pano_share: Annotated[float, typer.Option(min=0, max=1, help="Share of those that are panoramas")] = 0.1,
    as_json: Json = False,
) -> None:
    """What crawling a region will take: runs, requests and hours per source, with rates and budgets applied."""
    from geopin_assets.cli.plans import print_plan
    from geopin_assets.cli.scale import print_scale

    if captures:
        print_scale(Settings.from_env(), captures, pano_share, is_json=as_json)
        return
    print_plan(Settings.from_env(), source or [], region, is_json=as_json)


@app.command()
def backfill(
    source: Annotated[str, typer.Argument(help="Which source to crawl")] = "",
    region: Annotated[str, typer.Option("--region", "-r", help=REGION_HELP)] = "",
    only_missing: Annotated[bool, typer.Option("--only-missing", help="Only cells never crawled, or failed")] = False,
    again: Annotated[str, typer.Option("--retry", help="Only what this backfill (its id) did not finish")] = "",
    follow: Annotated[str, typer.Option("--follow", help="Start nothing: follow this backfill (its id)")] = "",
    url: Annotated[str, typer.Option(help="Of an instance elsewhere: its webserver")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Launch, and do not follow")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Launch without asking")] = False,
) -> None:
    """Fill cells of a source through the instance, whose daemon crawls: plan, progress, what failed, and again."""
    from geopin_assets.cli.backfill import beside, elsewhere

    settings = Settings.from_env()
    if sum(map(bool, (source, again, follow))) != 1:
        raise typer.BadParameter("one of: a source, --retry ID, --follow ID; e.g. geopin backfill amsterdam -r nh")
    if source and not region:
        raise typer.BadParameter("which cells? e.g. --region nh-amsterdam, or --region all")
    with elsewhere(settings, url) if url else beside(settings) as following:
        following = replace(following, is_detached=detach, is_asked=not yes)
        if source:
            sys.exit(following.start(settings, source, region, only_missing=only_missing))
        sys.exit(following.retry(again) if again else following.follow(follow))


@app.command()
def demo() -> None:
    """The whole path on the sandbox's streets, then what came of it and what to try next."""
    from geopin_assets.cli.run import run_and_report

    settings = Settings.from_env()
    if not settings.is_sandbox:
        raise typer.BadParameter(f"the demo runs on invented streets; GEOPIN_PROFILE is {settings.profile}")
    sys.exit(run_and_report(settings, DEMO_REGION, [], is_demo=True))


@app.command()
def export(
    region: Annotated[str, typer.Option("--region", "-r", help=REGION_HELP)] = "",
    out: Annotated[str, typer.Option(help="Folder, or s3://bucket/prefix; else where the asset is")] = "",
    as_json: Json = False,
) -> None:
    """Pass on captures and vectors as STAC-GeoParquet; again into the same place: what changed goes into its feed."""
    from geopin_assets.cli.exchange import export_and_report

    settings = Settings.from_env()
    export_and_report(settings, region or settings.export_region, out, is_json=as_json)


@app.command("import")
def import_publication(
    address: Annotated[str, typer.Argument(help="Folder, s3://bucket/prefix, or https://…: where an export is")],
    max_removals: MaxRemovals = None,
) -> None:
    """Take what another installation passes on: from now on it is this one's, and nothing is embedded twice."""
    from geopin_assets.cli.exchange import import_and_report

    sys.exit(import_and_report(Settings.from_env(), address, is_first=True, max_removals=max_removals))


feed_app = typer.Typer(no_args_is_help=True, help="What changed since a publication was taken.")
app.add_typer(feed_app, name="feed")


@feed_app.command("apply")
def feed_apply(
    address: Annotated[str, typer.Argument(help="Folder, s3://bucket/prefix, or https://…: where the publication is")],
    to: Annotated[str, typer.Option(help="Bring this copy up to date, or make it, instead of the installation")] = "",
    max_removals: MaxRemovals = None,
) -> None:
    """Bring this installation, or a copy in a folder, up to date: additions, changes, removals and takedowns."""
    from geopin_assets.cli.exchange import copy_and_report, import_and_report

    settings = Settings.from_env()
    if to:
        copy_and_report(settings, address, to, max_removals)
    else:
        sys.exit(import_and_report(settings, address, is_first=False, max_removals=max_removals))


@app.command()
def status(as_json: Json = False) -> None:
    """What the catalog and the index hold, per source."""
    from geopin_assets.cli.listings import print_status

    print_status(Settings.from_env(), is_json=as_json)


@app.command()
def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs, and change nothing")] = False,
    max_removals: Annotated[
        int | None, typer.Option(help="Ids that may be removed from one store; by default half of what it holds")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask every index and database what it holds, whatever our records say, and make it what it should hold."""
    from geopin_assets.cli.reconcile import reconcile_and_report

    sys.exit(reconcile_and_report(Settings.from_env(), is_dry=dry_run, max_removals=max_removals, is_json=as_json))


@app.command()
def takedown(
    capture_ids: Annotated[list[str] | None, typer.Argument(help="Captures, e.g. panoramax:0a1b2c")] = None,
    note: Annotated[str, typer.Option(help="Who asked, or why; kept on the list")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Show the list and change nothing")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Let the next crawl bring these captures back")] = False,
    mend: Annotated[bool, typer.Option("--mend", help="Make a damaged list whole from its copies")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: for programs, as docs/cli.md says")] = False,
) -> None:
    """Remove captures everywhere, now and for good: nothing a source shows brings them back."""
    if listed:
        from geopin_assets.cli.listings import list_takedowns

        list_takedowns(Settings.from_env(), is_json=as_json)
        return
    if mend:
        from geopin_assets.cli.takedown import mend_and_report

        mend_and_report()
        return
    if not capture_ids:
        raise typer.BadParameter("which captures? e.g. geopin takedown panoramax:0a1b2c")
    from geopin_assets.cli.takedown import take_down_and_report, undo_and_report

    if undo:
        undo_and_report(capture_ids)
    else:
        sys.exit(take_down_and_report(Settings.from_env(), capture_ids, note))


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read and check every page of every file")] = False,
    as_json: Json = False,
) -> None:
    """Look whether everything is there and of one piece, and name the remedies. Exit code 2: an error, 1: less."""
    from geopin_assets.cli.doctor import examine_and_report

    sys.exit(examine_and_report(Settings.from_env(), is_deep=deep, is_json=as_json))


@app.command()
def locate(
    photos: Annotated[list[Path], typer.Argument(help="Photos, and folders of them")],
    top: Annotated[int, typer.Option(min=1, max=50, help="Matches to show")] = 5,
    region: Annotated[str, typer.Option("--region", "-r", help=REGION_HELP)] = "",
    near: Annotated[str, typer.Option(help="LAT,LON,KM: look only there")] = "",
    verify: Annotated[int, typer.Option(min=0, max=100, help="Matches whose images are compared with the photo")] = 10,
    page: Annotated[Path | None, typer.Option("--report", help="Write the answers to this page, too")] = None,
    as_json: Json = False,
) -> None:
    """Where was this photo taken, and how sure is that? With the captures that say so, links and attribution."""
    from geopin_assets.cli.locate import area_of, locate_and_print

    sys.exit(locate_and_print(photos, top, area_of(region, near), verify, page, is_json=as_json))


@app.command()
def calibrate(
    questions: Annotated[
        int, typer.Option(min=50, help="Published captures that are asked of the other sources")
    ] = 500,
    verify: Annotated[
        int, typer.Option(min=0, max=100, help="Matches of each whose images are compared; 0 is fast")
    ] = 0,
) -> None:
    """Fit the confidence and radius of answers to the published index, and say how good they are."""
    from geopin_assets.cli.calibrate import calibrate_and_report

    calibrate_and_report(Settings.from_env(), questions, verify)


@app.command()
def whiten(
    images: Annotated[int, typer.Option(min=64, help="Captures of the catalog that it is fitted to")] = 5_000,
) -> None:
    """Fit what GEOPIN_MODEL's last part asks for: fewer dimensions of the same vectors, once for each model."""
    from geopin_assets.cli.whiten import whiten_and_report

    whiten_and_report(Settings.from_env(), images)


app.add_typer(index_app, name="index")
app.add_typer(catalog_app, name="catalog")


@app.command()
def move(
    to: str,
    exactly: Annotated[bool, typer.Option("--exactly", help="Delete there what is not here (any more)")] = False,
) -> None:
    """Copy the store (raw files, vectors, reports) to another folder or bucket, and compare byte by byte."""
    from geopin_assets.cli.move import move_and_report

    sys.exit(move_and_report(Settings.from_env(), to, exactly=exactly))


@app.command()
def sandbox() -> None:
    """Serve the sandbox's stand-ins of all APIs on loopback until stopped."""
    from geopin_assets.sandbox.server import serve

    settings = Settings.from_env()
    typer.echo(f"stand-ins on {settings.sandbox_url}, requests so far at /stats, faults at /faults; Ctrl-C stops")
    serve(settings)


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1")] = 3000) -> None:
    """Start the Dagster webserver and daemon (and, in the sandbox profile, the stand-ins) until stopped."""
    from geopin_assets.cli.ui import serve_ui

    sys.exit(serve_ui(Settings.from_env(), port))


def main() -> None:
    """Entry point: a project error is one line on stderr and exit code 1, not a traceback.

    So is what the disk says of files that are not ours to write, Dagster's among them.
    """
    try:
        find_dagster_home()
        say_waits()
        app()
    except Exception as error:
        if (said := understood(error)) is None:
            raise
        typer.echo(f"geopin: {said}", err=True)
        sys.exit(1)
