"""Whole-partition Parquet files, written atomically: a reader sees the old file or the new one, never half.

Not here: what the files mean (`raw.py` for crawled cells, the embedding assets for vectors).
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl


def write_frame(path: Path, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> None:
    """Replace `path` with the frame; `metadata` travels in the same file, so the two can never disagree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        frame.write_parquet(partial, compression="zstd", metadata=dict(metadata or {}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def content_version(frame: pl.DataFrame) -> str:
    """Hash of a frame's rows, equal whenever the rows are (64 bits, hex): the data version of a partition.

    Hashes newline-delimited JSON rather than Parquet, whose bytes change with the writer's version.
    """
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()[:16]
