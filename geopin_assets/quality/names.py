"""Provinces and places in words, for tables and maps. Their codes and slugs are in `cells.py`."""

from functools import cache

from geopin_assets.cells import place_slug, places

PROVINCES = {
    "dr": "Drenthe",
    "fl": "Flevoland",
    "fr": "Friesland",
    "ge": "Gelderland",
    "gr": "Groningen",
    "li": "Limburg",
    "nb": "North Brabant",
    "nh": "North Holland",
    "ov": "Overijssel",
    "ut": "Utrecht",
    "ze": "Zeeland",
    "zh": "South Holland",
}
ELSEWHERE = {"be": "Belgium", "de": "Germany", "sea": "At sea"}
"""What the first word of a cell id means where it is no Dutch province."""


def place_name(slug: str) -> str:
    """A place's name with its capitals; abroad and at sea made from the slug."""
    return _by_slug().get(slug, slug.replace("-", " ").title())


@cache
def _by_slug() -> dict[str, str]:
    return {place_slug(place.name): place.name for place in reversed(places())}
