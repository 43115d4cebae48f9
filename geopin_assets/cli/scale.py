"""`geopin plan --captures`: what an index of so many captures takes, part by part, and how many each part is built for.

Here: arithmetic over what was measured (`make bench-scale` does it, with metadata only) and over limits of services,
shown as a table or as JSON (its fields are in `docs/cli.md`). Not here: what is known of captures that are there
already (`plans.py`), or prices (`index/cost.py`). Nothing here imports Dagster or opens a file.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil

from geopin_assets.cells import all_cells
from geopin_assets.cli.console import Facts, console, print_facts, print_table
from geopin_assets.embedding.protocol import VIEWS
from geopin_assets.errors import ConfigurationError
from geopin_assets.index.cost import (
    BYTES_PER_CAPTURE,
    BYTES_PER_VIEW,
    MAX_INDEX_FILL,
    PublishForecast,
    forecast_publish,
)
from geopin_assets.index.limits import VECTORS_PER_INDEX
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES, quotas_of, source_named
from geopin_assets.sources.crawl_cost import hours_of, stated_requests

WEEK_H = 7 * 24
LARGEST = "mapillary"
"""The source with most captures: as if all were its own, which takes longest."""
RAW_BYTES, CATALOG_BYTES = 120, 195
"""Of a capture, in the raw file of its cell and in the catalog, with ids and links that hardly compress."""
MERGE_S, MERGE_GB = 13e-6, 2.3
"""CPU of a capture, in cells as full as those of a country, and memory, whatever a run's size."""
EMBED_PLAN_S, PUBLISH_PLAN_S = 4.7e-6, 27e-6
"""CPU of a capture; a test holds all three to what docs/benchmarks.json has of them."""
IMAGE_BYTES, IMAGES_PER_GPU_S = 134_000, 500.0
"""Reckoned, not measured: sixteen cores decode a thousand images a second, of which half is planned with."""
NUMBER_BYTES, REPORT_S = 2, 0.5e-6
"""Of a number of a stored vector; CPU of counting a capture in a report, or in the check of integrity."""
CELL_CAPTURES = 100_000
"""Of the fullest cell that was measured."""
SHARDS_AT_ONCE, ACCOUNT_BYTES = 6, 1e12
"""Connections that a Worker has open at once; what all D1 databases of an account may hold."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the platform at a size."""

    part: str
    takes: list[str]
    up_to_captures: int | None
    """As it is built; None where captures do not matter to it."""
    because: str
    then: str
    """What replaces it beyond that."""
    suffices: bool


def count(text: str) -> int:
    """A number as people write large ones. Raises ConfigurationError."""
    try:
        number = int(float(text.replace(",", "")))
    except (ValueError, OverflowError):
        number = 0
    if number < 1:
        raise ConfigurationError(f"--captures {text!r} is no number of captures, such as 39e6")
    return number


def print_scale(settings: Settings, captures: str, pano_share: float, *, is_json: bool = False) -> None:
    """What so many captures take. Asks nothing of anybody."""
    print_facts(scale_plan(settings, count(captures), pano_share), is_json, _show)


def scale_plan(settings: Settings, captures: int, pano_share: float) -> Facts:
    """The whole in one document."""
    from geopin_assets.embedding.model.choosing import dimensions

    dim, views = dimensions(settings), 1 + (VIEWS - 1) * pano_share
    parts = [
        *_stored(settings, captures),
        *_embedded(captures, views, dim),
        *_published(forecast_publish(round(captures * views), captures, dim), views),
        _part("Dagster's history", captures, None, [f"{len(all_cells()) * (len(SOURCES) + 4):,} events a week"],
              "it grows with cells and weeks", "Postgres, and old runs purged"),
    ]  # fmt: skip
    return {"captures": captures, "panoramas": round(captures * pano_share), "parts": list(map(asdict, parts))}


def _part(name: str, captures: int, up_to: float | None, takes: list[str], because: str, then: str) -> Part:
    most = None if up_to is None else int(up_to)
    return Part(name, takes, most, because, then, most is None or captures <= most)


def _stored(settings: Settings, captures: int) -> list[Part]:
    source, cells = source_named(LARGEST), len(all_cells())
    quotas = quotas_of(source, settings)
    cost, quota = source.costs[0], quotas.get(source.costs[0].kind, quotas[""])

    def hours(count: float) -> float:
        return hours_of(stated_requests(cost, cells, count), quota)

    fullest = max(facts.population for facts in all_cells()) / sum(facts.population for facts in all_cells())
    return [
        _part("crawl", captures, _most(lambda count: hours(count) <= WEEK_H),
              [f"{stated_requests(cost, cells, captures):,.0f} requests", f"{hours(captures):.1f} h"],
              f"a week of {LARGEST}'s rate and budget, were all of them there", "a rate agreed with the platform"),
        _part("files", captures, CELL_CAPTURES / fullest,
              [f"{cells * (len(SOURCES) + 3):,} objects at most", f"{captures * RAW_BYTES / 1e9:.1f} GB",
               f"{captures * fullest:,.0f} captures in the fullest cell"],
              f"a cell of {CELL_CAPTURES:,} captures is the largest that was measured",
              "cells of 1 km; several cells in one object for a national scan"),
        _part("catalog", captures, 24 * 3600 / MERGE_S,
              [f"{captures * CATALOG_BYTES / 1e9:.1f} GB", f"{captures * MERGE_S / 60:.0f} min to merge all",
               f"{MERGE_GB} GB of memory"],
              "one writer rebuilds it in a day",
              "one Iceberg table by one writer; never a table of several writers that does not detect conflicts"),
        _part("reports", captures, 600 / REPORT_S,
              [f"{captures * REPORT_S:.0f} s to count", f"{MERGE_GB} GB of memory"],
              "each report counts all captures within ten minutes", "counts kept by cell, as what changed is counted"),
    ]  # fmt: skip


def _embedded(captures: int, views: float, dim: int) -> list[Part]:
    return [
        _part("embedding", captures, WEEK_H * 3600 * IMAGES_PER_GPU_S,
              [f"{captures * EMBED_PLAN_S / 60:.0f} min to plan", f"{captures * IMAGE_BYTES / 1e12:.1f} TB of images",
               f"{captures / IMAGES_PER_GPU_S / 3600:.0f} h on a GPU",
               f"{captures * views * dim * NUMBER_BYTES / 1e9:.0f} GB of vectors"],
              "a first embedding on one GPU in a week", "more workers: cells are independent"),
    ]  # fmt: skip


def _published(cost: PublishForecast, views: float) -> list[Part]:
    bytes_each = BYTES_PER_CAPTURE + views * BYTES_PER_VIEW
    return [
        _part("rows", cost.captures, ACCOUNT_BYTES / bytes_each,
              [f"{cost.captures * PUBLISH_PLAN_S / 60:.0f} min to plan", f"{cost.rows_written:,} rows",
               f"{cost.database_shards} databases", f"{cost.row_bytes / 1e9:.1f} GB",
               f"${cost.first_load_usd:,.0f} to load"],
              "all databases of an account hold 1 TB", "rows as files on R2, read by id; a second account"),
        _part("vectors", cost.captures, SHARDS_AT_ONCE * VECTORS_PER_INDEX * MAX_INDEX_FILL / views,
              [f"{cost.vectors:,} vectors", f"{cost.index_shards} indexes", f"{cost.requests:,} requests",
               f"{cost.hours:.0f} h, and {cost.vector_bytes / 1e12:.2f} TB to upload",
               f"${cost.monthly_usd:,.0f} a month"],
              f"a search asks every index, {SHARDS_AT_ONCE} at once",
              "shards by region, of which a search asks those near; quantized vectors on R2 beyond"),
    ]  # fmt: skip


def _most(suffices: Callable[[float], bool]) -> int:
    """The largest number that suffices, to a percent."""
    low, high = 1.0, 1e13
    while high > low * 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if suffices(middle) else (low, middle)
    return ceil(low)


def _show(plan: Facts) -> None:
    rows = [
        (part["part"], "\n".join(part["takes"]), _amount(part), f"{part['because']};\nthen {part['then']}")
        for part in plan["parts"]
    ]
    print_table(f"{plan['captures']:,} captures, of which {plan['panoramas']:,} are panoramas",
                ("part", "takes", "built for", "because"), rows)  # fmt: skip
    beyond = [part["part"] for part in plan["parts"] if not part["suffices"]]
    console.print(f"\nnot built for so many: {', '.join(beyond)}" if beyond else "\neverything is built for so many")


def _amount(part: Facts) -> str:
    most = part["up_to_captures"]
    if most is None:
        return "any number"
    shown = f"{most / 1e9:.1f} billion" if most >= 1e9 else f"{most / 1e6:.0f} million"
    return shown if part["suffices"] else f"{shown}: too few"
