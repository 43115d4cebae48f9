"""Areas that somebody wants to hear of, and what there is to tell: nothing recent, new imagery, a source less.

Here: the file of areas, what the catalog holds in each, and the difference to the last look. Not here: telling it
(`notices.py`). An area's webhook is a secret: it is in no message, and in no file of ours.
"""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, cast

import polars as pl
import shapely
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from shapely.geometry.base import BaseGeometry

from geopin_assets.cells import cells_in, pages
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.plain import read_plain
from geopin_assets.grid import Bbox
from geopin_assets.store.catalog import Catalog

_LONGEST_FILE, _MOST_AREAS = 16 * 1024 * 1024, 10_000
_CAPTURES_AT_ONCE = 500_000
_COLUMNS = ("source", "lon", "lat", "captured_at", "first_seen_at")
_KINDS = ("Polygon", "MultiPolygon")


class Area(BaseModel):
    """What a feature's properties say: a name for files and messages, and who is told."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
    title: Annotated[str, Field(max_length=200)] = ""
    webhook: Annotated[SecretStr, Field(max_length=2000)] = SecretStr("")
    """Empty: the area has its feed only."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 1095.0
    """How old its newest image may be."""
    shape: BaseGeometry


class Kind(StrEnum):
    """What is told of an area."""

    TOO_OLD = "too_old"
    NEW_IMAGERY = "new_imagery"
    LOST_SOURCE = "lost_source"


@dataclass(frozen=True, slots=True)
class Look:
    """What there was in an area at one look."""

    captures: Mapping[str, int]
    """By source."""
    newest_at: datetime | None
    seen_until: datetime | None
    """When the newest of them came into the catalog."""
    new: Mapping[str, int]
    """By source, those that came since the look before."""
    is_too_old: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell, once. The id is that of what happened: whoever hears of it twice knows."""

    id: str
    area_id: str
    kind: Kind
    text: str
    at: datetime


def read_areas(path: Path) -> list[Area]:
    """The areas of a GeoJSON FeatureCollection in WGS84. Raises ConfigurationError naming the feature."""
    import orjson

    try:
        content = read_plain(path, _LONGEST_FILE + 1)
        text = content.removeprefix(codecs.BOM_UTF8)
        features = orjson.loads(text)["features"] if len(content) <= _LONGEST_FILE else None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path}: no GeoJSON with features ({type(error).__name__})") from None
    if not isinstance(features, list) or len(features) > _MOST_AREAS:
        raise ConfigurationError(f"{path}: a list of at most {_MOST_AREAS:,} features is needed")
    areas = [_area(feature, f"{path}: feature {number}") for number, feature in enumerate(features)]
    if len({area.id for area in areas}) != len(areas):
        raise ConfigurationError(f"{path}: two areas of one id")
    return areas


def _area(feature: Any, where: str) -> Area:
    try:
        properties = {"id": feature.get("id"), **(feature.get("properties") or {})}
        if type(properties["id"]) is int:  # as desktop programs number them
            properties["id"] = str(properties["id"])
        if feature["geometry"]["type"] not in _KINDS:
            raise ConfigurationError(f"{where}: a Polygon or MultiPolygon is needed")
        shape = shapely.geometry.shape(feature["geometry"])
    except (AttributeError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError):
        raise ConfigurationError(f"{where}: not a feature with a shape") from None
    if shape.is_empty or not shape.is_valid:
        raise ConfigurationError(f"{where}: its shape is none: {shapely.is_valid_reason(shape)}")
    if not shapely.box(-180, -90, 180, 90).covers(shape):
        raise ConfigurationError(f"{where}: longitude and latitude are needed, in degrees WGS84 (EPSG:4326)")
    try:
        return Area(**(properties | {"shape": shape}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def look(catalog: Catalog, area: Area, since: datetime | None, now: datetime) -> Look:
    """What the catalog holds in an area. Times ahead of now are of clocks that were wrong, and count for nothing."""
    since = since if since and since <= now else None
    west, south, east, north = area.shape.bounds
    cell_ids = (
        [cell.cell_id for cell in cells_in(Bbox(west, south, east, north))] if west < east and south < north else []
    )
    shapely.prepare(area.shape)
    found = [
        _inside(catalog, area, some) for some in pages(cell_ids, catalog.counts_by_cell(cell_ids), _CAPTURES_AT_ONCE)
    ]
    time = pl.Datetime("us", "UTC")
    schema = pl.Schema({"source": pl.String(), "captured_at": time, "first_seen_at": time})
    rows = pl.concat([pl.DataFrame(schema=schema), *(one.cast(schema) for one in found)])
    past = rows.filter(pl.col("first_seen_at") <= now)
    newest_at = cast("datetime | None", rows["captured_at"].max())
    seen_until = cast("datetime | None", past["first_seen_at"].max())
    fresh = past.filter(pl.col("first_seen_at") > since) if since else past.clear()
    return Look(
        captures=_counts(rows),
        newest_at=newest_at,
        seen_until=seen_until or since,
        new=_counts(fresh),
        is_too_old=newest_at is None or newest_at < now - timedelta(days=area.max_age_days),
    )


def _inside(catalog: Catalog, area: Area, cell_ids: Sequence[str]) -> pl.DataFrame:
    sql = f"select {', '.join(_COLUMNS)} from captures where cell_id in (select unnest(?::varchar[]))"  # noqa: S608
    rows = catalog.query(sql, [list(cell_ids)])
    inside = shapely.contains_xy(area.shape, rows["lon"].to_numpy(), rows["lat"].to_numpy())
    return rows.filter(pl.Series(inside, dtype=pl.Boolean)).select("source", "captured_at", "first_seen_at")


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows.group_by("source").len().sort("source").iter_rows())


def news(area: Area, before: Look | None, after: Look, now: datetime) -> list[Notice]:
    """What is to be told since the look before; at the first look only that there is nothing recent."""
    found: list[tuple[Kind, str, object]] = []
    if after.is_too_old and not (before and before.is_too_old):
        newest = f"the newest image is of {after.newest_at:%Y-%m-%d}" if after.newest_at else _without_image(area)
        found.append((Kind.TOO_OLD, f"{newest}: older than {area.max_age_days:g} days", after.newest_at))
    if before and after.new:
        said = ", ".join(f"{count:,} of {source}" for source, count in after.new.items())
        found.append((Kind.NEW_IMAGERY, f"new images: {said}", after.seen_until))
    for source in sorted(before.captures.keys() - after.captures.keys()) if before else ():
        assert before is not None  # noqa: S101
        had = before.captures[source]
        found.append(
            (Kind.LOST_SOURCE, f"{source} has no images here any more; it had {had:,}", (source, before.seen_until))
        )
    return [Notice(_id(area.id, kind, what, now), area.id, kind, text, now) for kind, text, what in found]


def _without_image(area: Area) -> str:
    nowhere = ", nor can there be: it is outside the grid (longitude comes first)"
    return f"there is no dated image{'' if next(cells_in(Bbox(*area.shape.bounds)), None) else nowhere}"


def _id(*what: object) -> str:
    return blake2b(repr(what).encode(), digest_size=10).hexdigest()
