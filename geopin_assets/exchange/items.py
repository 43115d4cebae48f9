"""Captures as STAC items in GeoParquet, and back: their columns, what may be passed on, and what a stranger may say.

Here: pure frames and tables. Not here: files (`files.py`), or where captures come from (`snapshot.py`).
"""

from collections.abc import Collection
from dataclasses import astuple
from datetime import UTC, datetime
from functools import cache

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from geopin_assets.capture import HeadingFrom, PositionFrom, Reason
from geopin_assets.cells import all_cells
from geopin_assets.embedding.audit import UNIT_TOLERANCE, lengths
from geopin_assets.embedding.protocol import VIEWS
from geopin_assets.errors import PayloadError
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.store.schema import CAPTURE_DESCRIPTIONS, CAPTURE_SCHEMA

ITEM_SCHEMA = pl.Schema(
    {"capture_id": pl.String(), "cell_id": pl.String()}
    | {name: dtype for name, dtype in CAPTURE_SCHEMA.items() if name not in ("capture_id", "payload")}
    | {"vectors": pl.Int32(), "vectors_hash": pl.String()}
)
"""Of a published capture: the catalog's columns, how many vectors it has here, and a hash of them."""
_OURS = (
    *("cell_id", "source", "source_capture_id", "position_from", "position_error_m", "heading_from", "is_pano"),
    *("sequence_id", "creator", "attribution", "image_version", "vectors", "vectors_hash"),
)
SHOWN = {"capture_id": "id", "license": "license", "heading_deg": "view:azimuth"} | {
    name: f"geopin:{name}" for name in _OURS
}
"""Our columns that are columns of the file under another name; the others are in STAC's own fields."""
_SAID = CAPTURE_DESCRIPTIONS | {
    "cell_id": "The crawl square that holds the position",
    "vectors": "How many vectors of the capture are in the file of vectors",
    "vectors_hash": "Changes when they do; empty without any",
}
ITEM_COLUMNS = {
    "id": _SAID["capture_id"],
    "geometry": "Position, WGS84, as WKB; `bbox` says the same",
    "datetime": f"{_SAID['captured_at']}. Then `start_datetime` and `end_datetime` span all of photography",
    "license": _SAID["license"],
    "view:azimuth": _SAID["heading_deg"],
    "links": "`alternate`: human page of the capture at its source; `license`: text of its license",
    "assets": "`image`: where the image is, unless that address is private, signed or short-lived",
} | {SHOWN[name]: _SAID[name] for name in _OURS}
"""What a reader finds, and what it means; `type`, `stac_version`, `stac_extensions` are STAC's own."""

VIEW = "https://stac-extensions.github.io/view/v1.0.0/schema.json"
_BEGIN, _END = datetime(1838, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""What STAC is told where nobody knows the time: since there are photographs."""
_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("lon", "<f8"), ("lat", "<f8")])
_TIME = pa.timestamp("us", tz="UTC")
_LINK = pa.struct({"rel": pa.string(), "href": pa.string(), "type": pa.string()})
_ASSETS = pa.struct({"image": pa.struct({"href": pa.string(), "roles": pa.list_(pa.string())})})
_BBOX = pa.struct(dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), pa.float64()))
_ARROW = {pl.String(): pa.string(), pl.Float64(): pa.float64(), pl.Boolean(): pa.bool_(), pl.Int32(): pa.int32()}
ARROW_SCHEMA = pa.schema(
    {"type": pa.string(), "stac_version": pa.string(), "stac_extensions": pa.list_(pa.string())}
    | {"geometry": pa.binary(), "bbox": _BBOX, "links": pa.list_(_LINK), "assets": _ASSETS}
    | dict.fromkeys(("datetime", "start_datetime", "end_datetime"), _TIME)
    | {shown: _ARROW[ITEM_SCHEMA[name]] for name, shown in SHOWN.items()}
)
_COVERING = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"], "covering": _COVERING}},
}
FILE_METADATA = {b"geo": orjson.dumps(_GEO), b"stac-geoparquet": orjson.dumps({"version": "1.0.0"})}


VECTOR_COLUMNS = {
    "cell_id": "The crawl square of the capture",
    "view": "Every 30 degrees of a panorama, clockwise from its center; 0 of a flat capture",
    "left_out": "Views of the panorama that show nothing and have no vector",
    "heading_deg": "Direction of the view, degrees clockwise from true north; null if unknown",
    "embedding": "Unit vector of the model that the manifest names; two models' vectors say nothing of each other",
}


def vector_file_schema(dim: int) -> pl.Schema:
    """Of the vectors beside the items: by cell, capture and view."""
    return pl.Schema(
        {"capture_id": pl.String(), "cell_id": pl.String(), "view": pl.Int16(), "left_out": pl.Int16()}
        | {"heading_deg": pl.Float64(), "image_version": pl.String(), "embedding": pl.Array(pl.Float16(), dim)}
    )


def withheld(captures: pl.DataFrame, taken_down: Collection[str], without: Collection[str]) -> pl.Series:
    """Why each capture is not passed on; null where its license is open, and whoever takes it can obey it."""
    unsaid = (pl.col("attribution").str.strip_chars() == "") | (pl.col("page_url").str.strip_chars() == "")
    reasons: dict[Reason, pl.Expr] = {
        Reason.TAKEN_DOWN: pl.col("capture_id").is_in(list(taken_down)),
        Reason.LICENSE_NOT_OPEN: ~pl.col("license").is_in(_OPEN),
        Reason.NO_ATTRIBUTION: unsaid,
        Reason.SOURCE_TERMS: pl.col("source").is_in(list(without)),
        Reason.MALFORMED: pl.lit(faults(captures).is_not_null()),
    }
    return captures.select(
        reason=pl.coalesce(pl.when(rule).then(pl.lit(str(reason))) for reason, rule in reasons.items())
    )["reason"]


def shareable_address() -> pl.Expr:
    """`image_url` where anybody may have it: nothing signed, no key, no file of ours; else empty."""
    address = pl.col("image_url").str.split("#").list.first()
    is_plain = address.str.starts_with("https://") & ~address.str.contains("[?@]")
    return pl.when(is_plain).then(address).otherwise(pl.lit("")).alias("image_url")


def to_table(items: pl.DataFrame) -> pa.Table:
    """ITEM_SCHEMA as STAC items: ARROW_SCHEMA."""
    number = items.height
    points = np.zeros(number, _POINT)
    points["order"], points["type"] = 1, 1
    points["lon"], points["lat"] = items["lon"].to_numpy(), items["lat"].to_numpy()
    lon, lat = pa.array(points["lon"]), pa.array(points["lat"])
    time, unknown = items["captured_at"].to_arrow().cast(_TIME), items["captured_at"].is_null()
    columns = {
        "type": pa.repeat("Feature", number),
        "stac_version": pa.repeat("1.1.0", number),
        "stac_extensions": pa.array([[VIEW]] * number, pa.list_(pa.string())),
        "geometry": _binary(points),
        "bbox": pa.StructArray.from_arrays([lon, lat, lon, lat], fields=list(_BBOX)),
        "links": _links(items),
        "assets": _assets(items["image_url"]),
        "datetime": time,
        "start_datetime": _where(unknown, _BEGIN),
        "end_datetime": _where(unknown, _END),
    }
    columns |= {shown: items[name].to_arrow().cast(ARROW_SCHEMA.field(shown).type) for name, shown in SHOWN.items()}
    return pa.table(columns, ARROW_SCHEMA)


def from_table(table: pa.Table) -> pl.DataFrame:
    """The items of a table of ARROW_SCHEMA: ITEM_SCHEMA. Raises PayloadError for values that no item has."""
    points = _points(table["geometry"].combine_chunks())
    frame = pl.DataFrame(table.select([*SHOWN.values(), "datetime", "links", "assets"]))
    pages = pl.col("links").list.eval(pl.element().filter(pl.element().struct["rel"] == "alternate").struct["href"])
    items = frame.rename({shown: name for name, shown in SHOWN.items()}).with_columns(
        lon=pl.Series(points["lon"]),
        lat=pl.Series(points["lat"]),
        captured_at=pl.col("datetime"),
        page_url=pages.list.first(),
        image_url=pl.col("assets").struct["image"].struct["href"].fill_null(""),
    )
    return items.select(pl.col(name).cast(dtype) for name, dtype in ITEM_SCHEMA.items())


def _binary(points: np.ndarray) -> pa.Array:
    offsets = np.arange(len(points) + 1, dtype=np.int32) * _POINT.itemsize
    return pa.Array.from_buffers(
        pa.binary(), len(points), [None, pa.py_buffer(offsets), pa.py_buffer(points.tobytes())]
    )


def _points(geometry: pa.Array) -> np.ndarray:
    content = b"".join(value for value in geometry.to_pylist() if value is not None)
    if len(content) != len(geometry) * _POINT.itemsize:
        raise PayloadError("a position that is no point")
    points = np.frombuffer(content, _POINT)
    if (points["order"] != 1).any() or (points["type"] != 1).any():
        raise PayloadError("a position that is no point")
    return points


def _links(items: pl.DataFrame) -> pa.Array:
    urls = {license.id: license.url for license in OPEN_LICENSES.values()}
    both = items.select(pl.concat_list("page_url", pl.col("license").replace_strict(urls, default=None)))
    hrefs, number = both.to_series().explode().to_arrow().cast(pa.string()), items.height
    rels = pa.array(["alternate", "license"] * number, pa.string())
    links = pa.StructArray.from_arrays([rels, hrefs, pa.repeat("text/html", 2 * number)], fields=list(_LINK))
    return pa.ListArray.from_arrays(np.arange(number + 1, dtype=np.int32) * 2, links)


def _assets(urls: pl.Series) -> pa.Array:
    roles = pa.array([["data"]] * len(urls), pa.list_(pa.string()))
    fields, nowhere = list(_ASSETS.field("image").type), pa.array((urls == "").to_numpy())
    image = pa.StructArray.from_arrays([urls.to_arrow().cast(pa.string()), roles], fields=fields, mask=nowhere)
    return pa.StructArray.from_arrays([image], fields=list(_ASSETS))


def _where(chosen: pl.Series, time: datetime) -> pa.Array:
    return pa.array([time if is_it else None for is_it in chosen], _TIME)


LONGEST = {"cell_id": 100, "source": 64, "license": 64, "vectors_hash": 32}
_LONGEST_TEXT = 2_000
"""Characters of a text that LONGEST does not name: sources give 500 at most, but for addresses."""
MAY_BE_NULL = ("position_from", "position_error_m", "heading_from", "sequence_id", "creator")
_TEXTS = [name for name, dtype in ITEM_SCHEMA.items() if dtype == pl.String()]
_OPEN = list(OPEN_LICENSES)
_PROSE = ("attribution", "creator")
_PAGE = "^(https?://|own-photos:)"
_IMAGE = r"^https?://[^\s#@]+$"
"""Behind a # is what is tried after it; before an @, who asks."""


@cache
def _rules() -> dict[str, pl.Expr]:
    """What no item may be, by what is wrong with it then."""
    given = [name for name in (*_TEXTS, "lon", "lat", "is_pano", "vectors") if name not in MAY_BE_NULL]
    too_long = (pl.col(name).str.len_chars() > LONGEST.get(name, _LONGEST_TEXT) for name in _TEXTS)
    position = [pl.col("lon").is_between("west", "east", "left"), pl.col("lat").is_between("south", "north", "left")]
    return {
        "something is missing": pl.any_horizontal(pl.col(name).is_null() for name in given),
        "a text is too long": pl.any_horizontal(too_long),
        "its id cannot be": (pl.col("capture_id") != pl.col("source") + ":" + pl.col("source_capture_id"))
        | pl.any_horizontal(
            pl.col(name).str.contains(r"\p{Cc}").fill_null(False) for name in _TEXTS if name not in _PROSE
        )
        | ~pl.col("source").str.contains("^[a-z_]+$"),
        "its license is not open": ~pl.col("license").is_in(_OPEN),
        "nothing says whose it is": (pl.col("attribution").str.strip_chars() == "")
        | ~pl.col("page_url").str.contains(_PAGE),
        "its image is nowhere": (pl.col("image_url") != "") & ~pl.col("image_url").str.contains(_IMAGE),
        "it looks nowhere": ~pl.col("heading_deg").is_between(0, 360, "left"),
        "its position is not in its cell": ~pl.all_horizontal(position),
        "its position is not known so": ~pl.col("position_from").is_in(list(PositionFrom))
        | ~pl.col("heading_from").is_in(list(HeadingFrom))
        | ~pl.col("position_error_m").is_between(0, 1e8),
        "its time cannot be": ~pl.col("captured_at").is_between(_BEGIN, _END),
        "its vectors are too many": ~pl.col("vectors").is_between(0, VIEWS),
    }


@cache
def _boxes() -> pl.DataFrame:
    """The bounds of every cell."""
    rows = [(one.cell.cell_id, *astuple(one.cell.bbox)) for one in all_cells()]
    return pl.DataFrame(rows, schema=["cell_id", "west", "south", "east", "north"], orient="row")


def faults(items: pl.DataFrame) -> pl.Series:
    """What is wrong with each item, null where nothing is. `items`: ITEM_SCHEMA, or without the vectors."""
    rules = _rules()
    if "vectors" not in items.columns:
        items = items.with_columns(vectors=pl.lit(0), vectors_hash=pl.lit(""))
    said = pl.coalesce(pl.when(rule.fill_null(False)).then(pl.lit(what)) for what, rule in rules.items())
    outside = pl.when(pl.col("west").is_null()).then(pl.lit("it is in no cell"))
    joined = items.join(_boxes(), on="cell_id", how="left", maintain_order="left")
    return joined.select(fault=pl.coalesce(outside, said))["fault"]


def check_items(items: pl.DataFrame, what: str) -> None:
    """Raise PayloadError, naming `what`, for an item that no installation publishes."""
    wrong = items.select("capture_id", fault=faults(items)).drop_nulls("fault")
    if wrong.height:
        raise PayloadError(f"{what}: {wrong['capture_id'][0]!r:.100}: {wrong['fault'][0]}")
    if items["capture_id"].n_unique() != items.height:
        raise PayloadError(f"{what}: a capture is in it twice")


def check_vectors(rows: pl.DataFrame, what: str) -> None:
    """Raise PayloadError for vectors that are none: not of length 1, of a view that there is not, without an owner."""
    empty = pl.any_horizontal(pl.all().exclude("heading_deg").is_null())
    views = pl.col("view").is_between(0, VIEWS - 1) & pl.col("left_out").is_between(0, VIEWS - 1)
    turned = pl.col("heading_deg").is_between(0, 360, "left").fill_null(True)
    if rows.select((empty | ~views | ~turned).any()).item():
        raise PayloadError(f"{what}: a view that there cannot be")
    if rows.height and not (np.abs(lengths(rows["embedding"]) - 1) <= UNIT_TOLERANCE).all():
        raise PayloadError(f"{what}: a vector that is not of length 1")
