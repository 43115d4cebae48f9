"""Files of a report, replaced whole: a reader sees the old one or the new one. Nothing else lives here."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace `path`, making its folder; returns it."""
    partial = _partial(path)
    partial.write_bytes(content)
    return partial.replace(path)


def write_parquet(path: Path, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> Path:
    """Replace `path` with a frame, `metadata` travelling in the same file; returns the path."""
    partial = _partial(path)
    frame.write_parquet(partial, metadata=dict(metadata or {}))
    return partial.replace(path)


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.partial")
