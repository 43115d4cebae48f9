"""Mapillary's captures from tiles have no link until they are embedded: crawl to vectors, over a socket."""

import dagster as dg

from geopin_assets.geo import distance_m
from geopin_assets.grid import row_column
from geopin_assets.regions import region
from geopin_assets.sandbox.streets.drives import STRAAT
from geopin_assets_tests.platform import Platform

CELLS = tuple(region(f"at:{STRAAT.lat},{STRAAT.lon}"))


def test_captures_that_only_tiles_show_are_linked_when_they_are_embedded(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    assert row_column(STRAAT.lon, STRAAT.lat) is not None
    platform.tell_sandbox("POST", {"cap": {"mapillary.density": 0}})  # every search is refused as too dense
    layers = platform.run(instance, CELLS, ("mapillary",), reports=False)
    held = platform.storage.catalog().captures(CELLS)
    assert held.height > 5
    assert all(distance_m(lon, lat, STRAAT.lon, STRAAT.lat) < 200 for lon, lat in held.select("lon", "lat").iter_rows())
    waiting = held.filter(held["image_url"].str.starts_with("mapillary:"))
    assert waiting.height > 0
    totals = layers["index/embeddings"].totals
    assert (totals["embedded"], totals["renewed_links"]) == (held.height, waiting.height)
    again = platform.run(instance, CELLS, ("mapillary",), reports=False)["index/embeddings"].totals
    assert (again["embedded"], again["reused"], again["renewed_links"]) == (0, held.height, 0)
