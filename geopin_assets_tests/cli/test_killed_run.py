"""SIGKILL in the middle of embedding, then the same command again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from geopin_assets.embedding.pipeline import EMBEDDING_SCHEMA
from geopin_assets.store.parquet import read_frame
from geopin_assets_tests.platform import CELLS, Platform

REGION = "+".join(CELLS)


def start(platform: Platform, home: Path) -> "subprocess.Popen[bytes]":
    """`geopin run` in a process of its own."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environ = os.environ | platform.overrides | {"DAGSTER_HOME": str(home)}
    command = [
        sys.executable,
        "-m",
        "geopin_assets.cli",
        "run",
        "--region",
        REGION,
        "--source",
        "panoramax",
        "--source",
        "amsterdam",
    ]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


def content(platform: Platform) -> dict[str, pl.DataFrame]:
    """Everything that a run leaves behind, except when it happened."""
    index = platform.search_index.vectors(platform.embedding.embedder())
    embedded = pl.concat([read_frame(p, EMBEDDING_SCHEMA) for p in platform.storage.embeddings_paths()])
    ids = embedded["vector_id"].sort().to_list()
    store = platform.search_index.metadata()
    return {
        "captures": platform.storage.catalog().captures(CELLS),
        "embeddings": embedded.sort("vector_id"),
        "vectors": pl.concat([index.get(ids[i : i + 20]) for i in range(0, len(ids), 20)]).sort("vector_id"),
        "rows": store.query("SELECT * FROM captures ORDER BY capture_id"),
        "vector rows": store.query("SELECT * FROM vectors ORDER BY vector_id"),
    }


def test_a_killed_run_repeated_ends_as_if_it_had_never_been_killed(
    build_platform: Callable[[str], Platform], tmp_path: Path
) -> None:
    killed, whole = build_platform("killed"), build_platform("whole")
    with start(killed, tmp_path / "home-1") as process:
        while len(killed.storage.embeddings_paths()) == 0:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(killed.storage.embeddings_paths()) < len(CELLS)
    assert killed.search_index.metadata().count("captures") == 0

    for platform, home in ((killed, "home-1"), (whole, "home-2")):
        with start(platform, tmp_path / home) as process:
            assert process.wait() == 0
    expected, found = content(whole), content(killed)
    assert expected["vectors"].height > 100
    for what, frame in expected.items():
        assert found[what].equals(frame), what
