"""The stored vectors of one model: their columns, a Parquet file per cell, and the parts of cells being embedded.

    {folder}/{cell_id}.parquet            what the cell holds, replaced whole
    {folder}/{cell_id}.parts/*.parquet    one per batch since; a killed run left them, the next one continues from them

Here: rows, and the files they are in. Not here: which captures a cell should hold (`plan.py`), making vectors
(`pipeline.py`), looking through all cells of all models (`stored_vectors.py`). Vectors are read in spans of a bounded
number of rows: a cell of 100,000 panoramas has 1.2 GB of them.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geopin_assets.capture import vector_id
from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.views import YAW_STEP_DEG
from geopin_assets.errors import PayloadError
from geopin_assets.files.atomic import replacing

SPAN_ROWS = 16_384
"""Rows of a row group, and rows in memory at a time: 16 MB of vectors."""
PARTS_AT_ONCE = 64
"""So many small parts become one larger part: every span looks into the footer of every part."""


def embedding_schema(dim: int) -> pl.Schema:
    """Columns of the stored vectors of a model of `dim` dimensions."""
    return pl.Schema(
        {"vector_id": pl.String(), "capture_id": pl.String(), "source": pl.String(), "view": pl.Int16()}
        | {"heading_deg": pl.Float64(), "model_id": pl.String(), "image_version": pl.String()}
        | {"embedding": pl.Array(pl.Float16(), dim)}
    )


EMBEDDING_SCHEMA = embedding_schema(512)


def heading_of_view() -> pl.Expr:
    """Bearing of each view, clockwise from the image center; null when the capture's is unknown."""
    return ((pl.col("center_deg") + YAW_STEP_DEG * pl.col("view")) % 360.0).alias("heading_deg")


def vector_rows(
    images: Sequence[CaptureImage], views: Sequence[int], vectors: NDArray[np.float16], model_id: str
) -> pl.DataFrame:
    """Rows of `embedding_schema`: row i of `vectors` is view `views[i]` of `images[i]`."""
    return pl.DataFrame(
        {
            "vector_id": [vector_id(image.capture_id, view) for image, view in zip(images, views, strict=True)],
            "capture_id": [image.capture_id for image in images],
            "source": [image.source for image in images],
            "view": views,
            "center_deg": pl.Series([image.center_deg for image in images], dtype=pl.Float64),
            "model_id": [model_id] * len(images),
            "image_version": [image.image_version for image in images],
            "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float16, vectors.shape[1])),
        },
        schema_overrides={"view": pl.Int16},
    ).select(*(heading_of_view() if name == "heading_deg" else name for name in embedding_schema(vectors.shape[1])))


HELD_SCHEMA = pl.Schema(
    {"capture_id": pl.String(), "image_version": pl.String(), "views": pl.Int64(), "center_deg": pl.Float64()}
)
"""One row per embedded image: how many views of it there are, and the bearing of the image center (null: unknown)."""


@dataclass(frozen=True, slots=True)
class VectorFiles:
    """The cells of one model, whose vectors have `dim` dimensions."""

    folder: Path
    dim: int

    def cell(self, cell_id: str) -> "CellVectors":
        return CellVectors(self.folder / f"{cell_id}.parquet", self.dim)

    def paths(self) -> list[Path]:
        """The files of all cells that were finished at least once."""
        return sorted(self.folder.glob("*.parquet"))


def parts_folders(folder: Path) -> list[Path]:
    """The parts of all cells of all models below a folder: of cells being embedded, or whose run was killed."""
    return sorted(folder.glob("*/*.parts"))


def compact_parts(folders: Iterable[Path]) -> int:
    """Make one part of those that a killed run left, in each folder; how many there were. Raises PayloadError."""
    return sum(CellVectors(folder.with_suffix(".parquet"), dim=0).compact() for folder in folders)


@dataclass(frozen=True, slots=True)
class CellVectors:
    """The vectors of one cell; one writer at a time."""

    path: Path
    dim: int

    def held(self) -> pl.DataFrame:
        """Images in the finished file, HELD_SCHEMA by capture_id. Raises PayloadError for a damaged file."""
        return _held([self.path] if self.path.exists() else [])

    def in_parts(self) -> pl.DataFrame:
        """Images in the parts, HELD_SCHEMA by capture_id; of some panoramas not all views are there."""
        return _held(self._parts())

    def append(self, rows: pl.DataFrame) -> None:
        """Keep rows of `embedding_schema` as a part, at once and whatever happens afterwards."""
        parts = self._parts()
        number = int(parts[-1].stem.partition("-")[0]) + 1 if parts else 0
        _write_part(self._folder / f"{number:07d}.parquet", rows)
        self.compact(at_least=PARTS_AT_ONCE)

    def compact(self, *, at_least: int = 2) -> int:
        """Make one part of so many small ones or more; how many there were, 0 if too few. Raises PayloadError."""
        small = [part for part in self._parts() if "-" not in part.stem]
        if len(small) < at_least:
            return 0
        try:
            rows = pl.read_parquet(small).sort("capture_id")
        except pl.exceptions.PolarsError as error:
            said = "a part is damaged, delete it to have it embedded again"
            raise PayloadError(f"{self._folder}: {said}: {error}") from error
        _write_part(small[-1].with_stem(f"{small[-1].stem}-merged"), rows)
        for part in small:
            part.unlink()
        return len(small)

    def commit(self, images: pl.DataFrame, held: pl.DataFrame) -> None:
        """Make the file hold exactly these images (HELD_SCHEMA, complete in file or parts); parts are gone then.

        Bearings become theirs. `held` is what `held()` said; a file that need not change is left alone.
        """
        images, parts = images.select(HELD_SCHEMA.names()).sort("capture_id"), self._parts()
        if parts or not images.equals(held):
            sources = [*reversed(parts), *([self.path] if self.path.exists() else [])]
            with _row_groups(self.path, embedding_schema(self.dim)) as write:
                for span in _spans(images):
                    write(_rows(span, sources, self.dim))
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, columns: list[str] | None = None) -> pl.DataFrame:
        """Rows of the finished file, by capture_id and view; none where there is no file yet."""
        schema = embedding_schema(self.dim)
        if not self.path.exists():
            return pl.DataFrame(schema=schema).select(columns or schema.names())
        return pl.read_parquet(self.path, columns=columns or schema.names())

    def snapshot(self, columns: list[str]) -> Callable[[], Iterator[pl.DataFrame]]:
        """Rows of the finished file, a row group at a time, as often as it is called.

        They stay the same whatever takes the place of the file, which is open as long as this is held. Raises
        PayloadError for a damaged file.
        """
        if not self.path.exists():
            return lambda: iter(())
        try:
            file = pq.ParquetFile(self.path)
        except pa.ArrowException as error:
            raise PayloadError(f"{self.path}: not a file of vectors: {error}") from error
        return lambda: (pl.DataFrame(file.read_row_group(n, columns)) for n in range(file.num_row_groups))

    @property
    def _folder(self) -> Path:
        return self.path.with_suffix(".parts")

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))


def _held(files: list[Path]) -> pl.DataFrame:
    if not files:
        return pl.DataFrame(schema=HELD_SCHEMA)
    try:
        return (
            pl.scan_parquet(files)
            .group_by("capture_id", "image_version")
            .agg(
                views=pl.col("view").n_unique().cast(pl.Int64),
                center_deg=pl.col("heading_deg").filter(pl.col("view") == 0).first(),
            )
            .sort("capture_id", "image_version")
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        raise PayloadError(f"{files[0]}: not a file of vectors: {error}") from error


def _spans(images: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of about SPAN_ROWS vectors each."""
    number = (pl.col("views").cum_sum() - 1) // SPAN_ROWS
    yield from images.with_columns(span=number).partition_by("span", maintain_order=True, include_key=False)


def _rows(span: pl.DataFrame, files: list[Path], dim: int) -> pl.DataFrame:
    """The vectors of a span; where files repeat one, the first file's."""
    first, last = span["capture_id"][0], span["capture_id"][-1]
    within = pl.col("capture_id").is_between(pl.lit(first), pl.lit(last))
    wanted = span.select("capture_id", "image_version", "views", "center_deg").lazy()
    rows = (
        pl.concat([pl.scan_parquet(file, low_memory=True).filter(within) for file in files])
        .join(wanted, on=["capture_id", "image_version"], maintain_order="left")
        .filter(pl.col("view") < pl.col("views"))
        .unique(["capture_id", "view"], keep="first", maintain_order=True)
        .with_columns(heading_of_view())
        .sort("capture_id", "view")
        .select(embedding_schema(dim).names())
        .collect()
    )
    if len(rows) != span["views"].sum():
        raise PayloadError(f"{files[0].parent}: {len(rows)} vectors where {span['views'].sum()} should be")
    return rows


def _write_part(path: Path, rows: pl.DataFrame) -> None:
    with replacing(path) as partial:
        rows.write_parquet(partial, compression="uncompressed", row_group_size=SPAN_ROWS)


@contextmanager
def _row_groups(path: Path, schema: pl.Schema) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Replace a file, one row group after another."""
    arrow = schema.to_frame().to_arrow().schema
    # the bits of unit vectors do not compress (8 % with zstd, for 3 times the time)
    compression = {name: "zstd" for name in schema if name != "embedding"} | {"embedding.list.element": "none"}
    dictionary = ["source", "model_id"]
    with (
        replacing(path) as partial,
        pq.ParquetWriter(partial, arrow, compression=compression, use_dictionary=dictionary) as file,
    ):
        yield lambda rows: file.write_table(rows.to_arrow().cast(arrow))
