"""`geopin status`: what the catalog and the index hold. Reads only."""

import orjson
import polars as pl

from geopin_assets.cli.console import console, print_table
from geopin_assets.platform.index_state import published_count, published_rows
from geopin_assets.platform.parts import Embedding, SearchIndex, Storage
from geopin_assets.settings import Settings


def print_status(settings: Settings) -> None:
    """Captures, crawled cells, duplicates and rejections per source, then vectors and rows in the index."""
    if not settings.catalog_path.exists():
        console.print("nothing crawled yet: try `make demo`, or `geopin run --region nh-amsterdam`")
        return
    crawls = Storage().catalog().crawls()
    held = dict(Storage().catalog().licenses().group_by("source").agg(pl.col("captures").sum()).iter_rows())
    rows = [
        (
            source[0],
            held.get(source[0], 0),
            of_source.height,
            of_source["requests"].sum(),
            of_source["duplicates"].sum(),
            _reasons(of_source["rejected"]),
            of_source["crawled_at"].max().strftime("%Y-%m-%d %H:%M"),  # type: ignore[union-attr]
        )
        for source, of_source in crawls.group_by("source", maintain_order=True)
    ]
    print_table(
        "captures per source",
        ("source", "captures", "cells", "requests", "duplicates removed", "left out", "crawled"),
        rows,
    )
    if not settings.index_dir.exists():
        console.print("\nnothing published yet")
        return
    serving = SearchIndex().versions().serving()
    if serving is None:
        console.print("\nnothing published yet")
        return
    published = f"{published_count(SearchIndex(), serving)} vectors, {published_rows(SearchIndex())} captures"
    console.print(f"\nin the index {serving.name}: {published}\nembedder: {Embedding().model().label}")


def _reasons(rejected: pl.Series) -> str:
    total: dict[str, int] = {}
    for text in rejected:
        for reason, count in orjson.loads(text).items():
            total[reason] = total.get(reason, 0) + count
    return ", ".join(f"{count} {reason}" for reason, count in sorted(total.items()))
