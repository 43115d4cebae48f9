"""`geopin sources`, `cells`, `status`, `settings` and `takedown --list`: what there is, as tables or as JSON.

All of them only look something up, and answer at once: nothing here imports Dagster. The fields of the JSON are in
`docs/cli.md`. Secrets are never shown. Not here: which variables there are and what they mean (`variables.py`), or what
something will take (`plans.py`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from geopin_assets.cells import cell_facts
from geopin_assets.cli.console import Facts, console, print_facts, print_json, print_table
from geopin_assets.environment import ByProfile, is_secret, shown
from geopin_assets.settings import Settings
from geopin_assets.sources import refuse_strangers
from geopin_assets.variables import PER_SOURCE, SECTIONS, VARIABLES, fields_of, heading


def list_cells(cell_ids: Sequence[str]) -> None:
    """The facts of each cell, as JSON."""
    found = [(cell_id, cell_facts(cell_id)) for cell_id in cell_ids]
    print_json(
        [
            {
                "cell_id": cell_id,
                "province": facts.province,
                "place": facts.place,
                "population": facts.population,
                "is_land": facts.is_land,
                **asdict(facts.cell.bbox),
            }
            for cell_id, facts in found
        ]
    )


def list_sources(settings: Settings, *, is_json: bool) -> None:
    """The registered sources, and whether they can run with the present settings."""
    from geopin_assets.sources import SOURCES

    found = [
        {
            "source": source.name,
            "title": source.title,
            "license": source.license,
            "attribution": source.attribution,
            "homepage": source.homepage,
            "contribute_url": source.contribute_url,
            "variable": source.key.variable if source.key else None,
            "disabled_reason": source.disabled_reason(settings),
        }
        for source in SOURCES
    ]
    print_facts(found, is_json, lambda found: _show_sources(settings, found))


def _show_sources(settings: Settings, found: Sequence[Facts]) -> None:
    rows = [
        (s["source"], s["title"], s["license"] or "per capture", s["disabled_reason"] or "ready", s["homepage"])
        for s in found
    ]
    print_table(f"profile {settings.profile}", ("source", "title", "license", "state", "homepage"), rows)


def print_status(settings: Settings, *, is_json: bool = False) -> None:
    """Captures, crawled cells, duplicates and rejections per source, then vectors and rows in the index."""
    is_crawled = settings.catalog_path.exists()
    found = {
        "profile": settings.profile,
        "data_dir": str(settings.data_dir),
        "sources": _crawled(settings) if is_crawled else [],
        "index": _published(settings) if is_crawled and settings.ledger_path.exists() else None,
    }
    print_facts(found, is_json, _show_status)


def _crawled(settings: Settings) -> list[Facts]:
    import orjson
    import polars as pl

    from geopin_assets.store.catalog import Catalog

    catalog = Catalog(settings.catalog_path)
    held = dict(catalog.licenses().group_by("source").agg(pl.col("captures").sum()).iter_rows())
    found = catalog.crawl_totals().to_dicts()
    for totals in found:
        left_out = sum((Counter(orjson.loads(text)) for text in totals.pop("rejected")), Counter[str]())
        totals |= {"captures": held.get(totals["source"], 0), "left_out": dict(sorted(left_out.items()))}
    return found


def _published(settings: Settings) -> Facts | None:
    from geopin_assets.locate.verdict import read_verdict
    from geopin_assets.platform.index_state import published_count, published_rows
    from geopin_assets.platform.parts import Embedding, SearchIndex, Storage

    search_index = SearchIndex()
    serving = search_index.versions().serving()
    if serving is None:
        return None
    counts = {"vectors": published_count(search_index, serving), "captures": published_rows(search_index)}
    model, verdict = Embedding().model(), read_verdict(Storage().quality())
    building = search_index.versions().building(model.model_id)
    is_waiting = verdict and building and verdict.version == building.name
    switch = verdict.in_words() if verdict and is_waiting else None
    return {"index": serving.name, **counts, "model": model.label, "switch": switch}


def _show_status(found: Facts) -> None:
    if not found["sources"] and found["index"] is None:
        console.print("nothing crawled yet: try `make demo`, or `geopin run --region nh-amsterdam`")
        return
    rows = [
        (
            *(s["source"], s["captures"], s["cells"], s["requests"], s["duplicates"]),
            ", ".join(f"{count} {reason}" for reason, count in s["left_out"].items()),
            f"{s['crawled_at']:%Y-%m-%d %H:%M}" if s["crawled_at"] else "unknown",
        )
        for s in found["sources"]
    ]
    headers = ("source", "captures", "cells", "requests", "duplicates removed", "left out", "crawled")
    print_table("captures per source", headers, rows)
    if (index := found["index"]) is None:
        console.print("\nnothing published yet")
        return
    published = f"{index['vectors']} vectors, {index['captures']} captures"
    console.print(f"\nin the index {index['index']}: {published}\nembedder: {index['model']}")
    if index["switch"]:
        console.print(index["switch"])


def list_takedowns(settings: Settings, *, is_json: bool = False) -> None:
    """Every capture on the list, since when, why, and when a crawl last showed it before."""
    from geopin_assets.platform.parts import Storage

    catalog = Storage().catalog()
    catalog.apply_takedowns()
    listed = catalog.takedowns().listed()
    seen = catalog.last_seen(listed["capture_id"].to_list())
    found = [
        {"capture_id": capture_id, "since": since, "note": note, "last_seen_at": seen.get(capture_id)}
        for capture_id, since, note in listed.iter_rows()
    ]
    print_facts(found, is_json, _show_takedowns)


def _show_takedowns(found: Sequence[Facts]) -> None:
    if not found:
        console.print("nothing was taken down")
        return
    rows = [
        (
            *(down["capture_id"], f"{down['since']:%Y-%m-%d %H:%M}", down["note"]),
            f"{down['last_seen_at']:%Y-%m-%d}" if down["last_seen_at"] else "never",
        )
        for down in found
    ]
    print_table("taken down", ("capture", "since", "note", "last crawled"), rows)


def print_settings(settings: Settings, *, is_json: bool) -> None:
    """Every variable in force. Raises ConfigurationError for a rate or budget of a source that does not exist."""
    refuse_strangers(settings)
    print_facts([*_fields(settings), *_per_source(settings)], is_json, _show)


def _fields(settings: Settings) -> Iterator[Facts]:
    for section in SECTIONS:
        for variable, field in fields_of(section):
            usual = "profile" if isinstance(field.default_factory, ByProfile) else "default"
            yield {
                "section": heading(section),
                "variable": variable,
                "value": shown(getattr(settings, VARIABLES[variable])),
                "origin": "environment" if settings.is_set(variable) else usual,
                "is_secret": is_secret(field),
                "wrong": settings.wrong.get(variable, ""),
            }


def _per_source(settings: Settings) -> Iterator[Facts]:
    for variable in sorted(filter(PER_SOURCE.fullmatch, settings.variables)):
        if settings.is_set(variable):
            value = settings.variables[variable].strip()
            facts = {"section": "Each source", "variable": variable, "value": value, "origin": "environment"}
            yield facts | {"is_secret": False, "wrong": ""}


def _show(rows: Sequence[Facts]) -> None:
    for section in dict.fromkeys(row["section"] for row in rows):
        of_section = (row for row in rows if row["section"] == section)
        found = [(row["variable"], row["value"], row["wrong"] or row["origin"]) for row in of_section]
        print_table(section, ("variable", "value", "from"), found)
