"""The stored vectors of one model: their columns, a Parquet file per cell, and the parts of cells being embedded.

    {model_id}/{cell_id}.parquet            what the cell holds, replaced whole
    {model_id}/{cell_id}.parts/*.parquet    one per batch since; a killed run left them, the next one continues there

Here: rows, and the objects they are in. Not here: which captures a cell should hold (`plan.py`), making vectors
(`pipeline.py`), looking through all cells of all models (`stored_vectors.py`). Vectors are read in spans of a bounded
number of rows: a cell of 100,000 panoramas has 1.2 GB of them. What is read is checked: pages by their checksums,
vectors by their length; an image with a vector that is not of unit length is not held.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from secrets import token_hex
from types import EllipsisType

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geopin_assets.capture import vector_id
from geopin_assets.cells import is_id
from geopin_assets.embedding.audit import UNIT_TOLERANCE, Audit, audit_of, lengths, noted
from geopin_assets.embedding.protocol import CaptureImage, embedding_schema
from geopin_assets.embedding.quality import Quality
from geopin_assets.embedding.views import YAW_STEP_DEG
from geopin_assets.errors import DamagedFileError, PayloadError
from geopin_assets.files import parquet
from geopin_assets.files.damage import reading
from geopin_assets.files.object_store import ConflictError, NoSuchObjectError, ObjectStore, Stored

SPAN_ROWS = 16_384
"""Rows of a row group, and rows in memory at a time: 16 MB of vectors."""
_DIGITS, _CONFLICTS = 7, 20
_log = logging.getLogger(__name__)
PARTS_AT_ONCE = 64
"""So many small parts become one larger part: every span looks into the footer of every part."""


def heading_of_view() -> pl.Expr:
    """Bearing of each view, clockwise from the image center; null when the capture's is unknown."""
    return ((pl.col("center_deg") + YAW_STEP_DEG * pl.col("view")) % 360.0).alias("heading_deg")


def vector_rows(
    images: Sequence[CaptureImage],
    views: Sequence[int],
    vectors: NDArray[np.float16],
    model_id: str,
    left_out: Sequence[int] = (),
    found: Sequence[Quality | None] = (),
) -> pl.DataFrame:
    """Rows of `embedding_schema`: row i of `vectors` is view `views[i]`, as good as `found[i]`, of `images[i]`, which
    lacks `left_out[i]`."""
    known = found or [None] * len(views)
    return pl.DataFrame(
        {
            "vector_id": [vector_id(image.capture_id, view) for image, view in zip(images, views, strict=True)],
            "capture_id": [image.capture_id for image in images],
            "source": [image.source for image in images],
            "view": views,
            "left_out": left_out or [0] * len(views),
            **{name: [each and each[n] for each in known] for n, name in enumerate(Quality._fields)},
            "center_deg": pl.Series([image.center_deg for image in images], dtype=pl.Float64),
            "model_id": [model_id] * len(images),
            "image_version": [image.image_version for image in images],
            "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float16, vectors.shape[1])),
        },
        schema_overrides={"view": pl.Int16, "left_out": pl.Int16} | dict.fromkeys(Quality._fields, pl.Float32),
    ).select(*(heading_of_view() if name == "heading_deg" else name for name in embedding_schema(vectors.shape[1])))


HELD_SCHEMA = pl.Schema(
    {"capture_id": pl.String(), "image_version": pl.String(), "views": pl.Int64(), "center_deg": pl.Float64()}
    | {"left_out": pl.Int64()}
)
"""One row per embedded image: into how many views it was cut, how many of them show nothing and have no vector, and the
bearing of the image center (null: unknown)."""


@dataclass(frozen=True, slots=True)
class VectorFiles:
    """The cells of one model, whose vectors have `dim` dimensions."""

    objects: ObjectStore
    model_id: str
    dim: int

    def cell(self, cell_id: str) -> "CellVectors":
        return CellVectors(self.objects, f"{self.model_id}/{cell_id}.parquet", self.dim)

    def cell_ids(self) -> list[str]:
        """The cells that were finished at least once."""
        return [cell_id for cell_id in self.versions() if is_id(cell_id)]

    def versions(self) -> dict[str, str]:
        """The version of each cell's file, which changes with every write; copies that others made are among them."""
        return {PurePosixPath(stored.key).stem: stored.version for stored in self._stored()}

    def rows(self, cell_ids: Sequence[str], columns: list[str]) -> pl.DataFrame:
        """Columns of the rows of these cells, as many cells at once as pays, and `cell_id`."""

        def read(cell_id: str) -> pl.DataFrame:
            return self.cell(cell_id).read(columns).with_columns(cell_id=pl.lit(cell_id))

        with ThreadPoolExecutor(self.objects.readers) as pool:
            return pl.concat(pool.map(read, ["none", *cell_ids]))

    def _stored(self) -> list[Stored]:
        return [stored for stored in self.objects.look(self.model_id)[1] if stored.key.endswith(".parquet")]


@dataclass(frozen=True, slots=True)
class CellVectors:
    """The vectors of one cell, `key` being its finished file. Of several writers none loses what others wrote."""

    objects: ObjectStore
    key: str
    dim: int

    @property
    def parts_folder(self) -> str:
        """Where its parts are."""
        return self.key.removesuffix(".parquet") + ".parts"

    def held(self) -> pl.DataFrame:
        """Images in the finished file, HELD_SCHEMA by capture_id. Raises DamagedFileError."""
        return self._held(self._finished())

    def in_parts(self) -> pl.DataFrame:
        """Images in the parts, HELD_SCHEMA by capture_id; of some panoramas not all views are there."""
        return self._held(self._parts())

    def set_damaged_aside(self) -> list[str]:
        """Have its damaged files out of the way, so that what was in them is embedded again; their keys. Reads all."""
        damaged = []
        for key in [*self._finished(), *self._parts()]:
            try:
                with self.objects.as_file(key) as path:
                    parquet.check(path)
            except DamagedFileError:
                damaged += [key] if self.objects.set_aside(key) else []
        return damaged

    def append(self, rows: pl.DataFrame) -> None:
        """Keep rows of `embedding_schema` as a part, at once and whatever happens afterwards."""
        parts = self._parts()
        number = int(PurePosixPath(parts[-1]).stem[:_DIGITS]) + 1 if parts else 0
        self._write_part(f"{number:0{_DIGITS}d}_{token_hex(4)}", rows)  # somebody else may count the same
        self.compact(at_least=PARTS_AT_ONCE)

    def compact(self, *, at_least: int = 2) -> int:
        """Make one part of so many small ones or more; how many there were, 0 if too few. Raises DamagedFileError."""
        small = [part for part in self._parts() if "-" not in PurePosixPath(part).stem]
        if len(small) < at_least:
            return 0
        try:
            with self.objects.as_files(small) as paths:
                rows = pl.concat(map(parquet.read_frame, paths)).sort("capture_id")
        except NoSuchObjectError:
            return 0  # somebody else did
        self._write_part(f"{PurePosixPath(small[-1]).stem}-merged", rows)
        self.objects.delete(small)
        return len(small)

    def stored(self) -> Stored | None:
        """The finished file as a list says it: look before `held`, so that `commit` knows what it was made from."""
        return self.objects.find(self.key)

    def commit(
        self,
        images: pl.DataFrame,
        held: pl.DataFrame,
        before: Stored | EllipsisType | None = ...,
        *,
        alone: bool = False,
    ) -> pl.DataFrame:
        """Make the file hold exactly these images (HELD_SCHEMA, complete in file or parts); parts are gone then.

        Bearings become theirs. `held` is what `held()` said of the file that `stored()` was before (by default is now);
        one that need not change is left alone. Where somebody else has replaced it since, what they hold beyond these
        images stays, as the next run over the cell knows better. Returns the images it holds. Raises ConflictError
        where others never stop, or at once if they must be `alone`.
        """
        before = self.stored() if isinstance(before, EllipsisType) else before
        images = images.select(HELD_SCHEMA.names()).sort("capture_id")
        for _ in range(_CONFLICTS):
            parts = self._parts()
            try:
                if parts or not _rounded(images).equals(_rounded(held)):
                    self._replace(images, parts, before)
                self.objects.delete(parts)
                self.objects.prune(self.parts_folder)
                return images
            except (ConflictError, NoSuchObjectError, PayloadError) as error:
                now = self.stored()
                if now == before and parts == self._parts():
                    raise
                if alone:
                    raise ConflictError(f"{self.key}: written by another process meanwhile") from error
                _log.info("%s: written by another process too: %s", self.key, error)
                before, held = now, self.held()
                theirs = held.join(images, on="capture_id", how="anti")
                images = pl.concat([images, theirs]).sort("capture_id")
        raise ConflictError(f"{self.objects.address(self.key)}: other processes kept writing it")

    def _replace(self, images: pl.DataFrame, parts: list[str], before: Stored | None) -> None:
        with (
            self.objects.as_files([*reversed(parts), *([self.key] if before else [])]) as sources,
            self.objects.replacing(self.key, before=before) as path,
            _row_groups(path, embedding_schema(self.dim)) as write,
        ):
            for span in _spans(images):
                write(self._rows(span, sources))

    def read(self, columns: list[str] | None = None) -> pl.DataFrame:
        """Rows of the finished file, by capture_id and view; none where there is no file yet."""
        wanted = columns or embedding_schema(self.dim).names()
        for left in reversed(range(_CONFLICTS)):
            try:
                return parquet.read_columns(self.objects, self.key, wanted)
            except NoSuchObjectError:
                break
            except ConflictError:  # replaced while it was read
                if not left:
                    raise
        return pl.DataFrame(schema=embedding_schema(self.dim)).select(wanted)

    def snapshot(self, columns: list[str], key: str | None = None) -> Callable[[], Iterator[pl.DataFrame]]:
        """Rows of the finished file, or of a part by its key, a row group at a time, as often as it is called.

        They stay the same whatever takes the place of the file, which is open as long as this is held. It
        and what it returns raise DamagedFileError.
        """
        key = key or self.key
        if not self.objects.has(key):
            return lambda: iter(())
        with self.objects.as_file(key) as path:
            file = parquet.opened(path)
        return lambda: _groups(file, self.objects.address(key), columns)

    def noted(self) -> Audit | None:
        """What was counted when the finished file was written; None if nothing was noted. Raises DamagedFileError."""
        with self.objects.as_file(self.key) as path:
            return noted(path)

    def counted(self) -> Audit:
        """The same, counted now: reads all of it. Raises DamagedFileError."""
        return sum((audit_of(rows["embedding"]) for rows in self.snapshot(["embedding"])()), Audit())

    def _finished(self) -> list[str]:
        return [self.key] if self.objects.has(self.key) else []

    def _parts(self) -> list[str]:
        names = (PurePosixPath(stored.key) for stored in self.objects.look(self.parts_folder)[1])
        return [str(name) for name in names if name.suffix == ".parquet"]

    def _write_part(self, name: str, rows: pl.DataFrame) -> None:
        key = f"{self.parts_folder}/{name}.parquet"
        for left in reversed(range(_CONFLICTS)):
            try:
                with self.objects.replacing(key) as path, _row_groups(path, rows.schema, is_final=False) as write:
                    write(rows)
                return
            except NoSuchObjectError:  # the folder was empty for a moment, and another process removed it
                if not left:
                    raise

    def _held(self, keys: list[str]) -> pl.DataFrame:
        columns = ["capture_id", "image_version", "view", "heading_deg", "left_out", "embedding"]
        found = [
            _completed(rows.lazy()).select(*columns[:5], is_sound=_are_unit(rows["embedding"])).collect()
            for key in keys
            for rows in self._still_there(columns, key)
        ]
        if not found:
            return pl.DataFrame(schema=HELD_SCHEMA)
        images = pl.concat(found).group_by("capture_id", "image_version")
        held = images.agg(
            views=pl.col("view").n_unique().cast(pl.Int64) + pl.col("left_out").first(),
            center_deg=pl.coalesce(
                pl.col("heading_deg").filter(pl.col("view") == 0).first(),
                (pl.col("heading_deg") - YAW_STEP_DEG * pl.col("view")).first() % 360.0,
            ),
            left_out=pl.col("left_out").first().cast(pl.Int64),
            is_sound=pl.col("is_sound").all(),
        )
        return held.filter("is_sound").select(HELD_SCHEMA.names()).sort("capture_id", "image_version")

    def _still_there(self, columns: list[str], key: str) -> Iterator[pl.DataFrame]:
        """Its rows; none where another process has put them into the file, or into another part, meanwhile."""
        with suppress(NoSuchObjectError):
            yield from self.snapshot(columns, key)()

    def _rows(self, span: pl.DataFrame, files: list[Path]) -> pl.DataFrame:
        """The vectors of a span; where files repeat one, the first file's."""
        within = pl.col("capture_id").is_between(pl.lit(span["capture_id"][0]), pl.lit(span["capture_id"][-1]))
        images = span.select("capture_id", "image_version", "views", "center_deg").lazy()
        scanned = [pl.scan_parquet(file, low_memory=True, glob=False).filter(within) for file in files]
        scanned = scanned or [pl.LazyFrame(schema=embedding_schema(self.dim))]
        rows = (
            pl.concat([_completed(one).select(embedding_schema(self.dim).names()) for one in scanned])
            .join(images, on=["capture_id", "image_version"], maintain_order="left")
            .filter(
                pl.col("view") < pl.col("views"), pl.col("left_out") == pl.col("left_out").first().over("capture_id")
            )
            .unique(["capture_id", "view"], keep="first", maintain_order=True)
            .with_columns(heading_of_view())
            .sort("capture_id", "view")
            .select(embedding_schema(self.dim).names())
            .collect()
        )
        if len(rows) != (wanted := (span["views"] - span["left_out"]).sum()):
            raise PayloadError(f"{self.objects.address(self.key)}: {len(rows)} vectors where {wanted} should be")
        return rows


def _completed(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of a file from before views were left out have none left out, and of one from before nothing is known."""
    there = rows.collect_schema()
    since = {"left_out": pl.lit(0, pl.Int16)} | dict.fromkeys(Quality._fields, pl.lit(None, pl.Float32))
    return rows.with_columns(**{name: value for name, value in since.items() if name not in there})


def _rounded(images: pl.DataFrame) -> pl.DataFrame:
    """Where view 0 was left out, the bearing was reckoned from another's."""
    return images.with_columns(pl.col("center_deg").round(6))


def _spans(images: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of about SPAN_ROWS vectors each."""
    number = (pl.col("views").cum_sum() - 1) // SPAN_ROWS
    yield from images.with_columns(span=number).partition_by("span", maintain_order=True, include_key=False)


def _groups(file: pq.ParquetFile, name: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    for number in range(file.num_row_groups):
        with reading(name):
            rows = pl.DataFrame(file.read_row_group(number, columns))
        yield rows


def _are_unit(embedding: pl.Series) -> pl.Series:
    return pl.Series(np.abs(lengths(embedding) - 1) <= UNIT_TOLERANCE, dtype=pl.Boolean)


@contextmanager
def _row_groups(path: Path, schema: pl.Schema, *, is_final: bool = True) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write a file row group by row group; one that is soon read and deleted again is not compressed."""
    arrow = schema.to_frame().to_arrow().schema
    # the bits of unit vectors do not compress (8 % with zstd, for 3 times the time)
    compression = {name: "zstd" if is_final else "none" for name in schema if name != "embedding"}
    with pq.ParquetWriter(
        path,
        arrow,
        compression=compression | {"embedding.list.element": "none"},
        use_dictionary=["source", "model_id"],
        write_statistics=[name for name in schema if name not in Quality._fields],  # nobody looks for a blur
        write_page_checksum=True,
    ) as file:
        audit = Audit()

        def write(rows: pl.DataFrame) -> None:
            nonlocal audit
            audit += audit_of(rows["embedding"])
            file.write_table(rows.to_arrow().cast(arrow), row_group_size=SPAN_ROWS)

        yield write
        file.add_key_value_metadata(audit.note())
