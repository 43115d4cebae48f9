"""Every recipe of recovery, on a copy of what a run left: damaged as its heading says, mended by the page's commands.

The commands are read from docs/operating.md. Afterwards the doctor finds no error, and what is published is what was.
"""

import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from geopin_assets.cli.move import FOLDERS
from geopin_assets.files.damage import is_aside
from geopin_assets.files.object_store import open_store
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import CAPTURE_SCHEMA
from geopin_assets_tests.cli.typed import Geopin, Place, with_sandbox
from geopin_assets_tests.depth import IS_LONG
from geopin_assets_tests.factories import crawl
from geopin_assets_tests.faults.accounts import Stand, stand
from geopin_assets_tests.faults.verdict import note
from geopin_assets_tests.platform import CELLS, Platform

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n.*?^```\n(.*?)^```", PAGE[PAGE.index("## Backup and") :], re.M | re.S))
REGION = CELLS[1]
GONE = "amsterdam:recording_2025-09-05_08-00-00_72001"
SOURCES = ("--source", "amsterdam", "--source", "panoramax")
AHEAD = datetime(2096, 10, 2, tzinfo=UTC)
YESTERDAY = "yesterday"


def garbage(path: Path) -> None:
    assert path.exists()
    path.write_bytes(os.urandom(5000))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def remove(path: Path) -> None:
    assert path.exists()
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def some_file(folder: Path, pattern: str = "*.parquet") -> Path:
    return sorted(path for path in folder.rglob(pattern) if not is_aside(path))[0]


def ids_of(platform: Platform, table: str, name: str) -> list[str]:
    return platform.rows.query(f"SELECT {name} FROM {table} ORDER BY {name}")[name].to_list()  # noqa: S608


def put_back(place: Place, name: str) -> None:
    """As it was before the takedown."""
    shutil.copy(place.folder / YESTERDAY / name, place.data / name)


def keep_the_store(place: Place) -> None:
    for path in place.data.iterdir():
        if path.name not in FOLDERS:
            remove(path)
    shutil.rmtree(place.home)
    Place(place.folder)


def without_room(geopin: Geopin, most_bytes: int) -> None:
    """No file may be longer than that, whoever writes it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        ended = geopin("run", "--region", REGION, *SOURCES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.returncode == 1 and "Traceback" not in ended.stdout + ended.stderr, ended


def crawled_ahead(place: Place) -> None:
    """What a source shows, as stored by a machine whose clock is a year ahead."""
    raw = RawStore(open_store(place.data / "raw"), clock=lambda: AHEAD)
    found = raw.captures("panoramax", REGION).select(*CAPTURE_SCHEMA)
    crawl(raw, REGION, found, crawled_at=AHEAD)  # type: ignore[arg-type]


DAMAGE: dict[str, list[Callable[[Place, Geopin], Any]]] = {
    "The catalog is lost, damaged, or a day old": [
        lambda place, _: remove(place.data / "catalog.duckdb"),
        lambda place, _: garbage(place.data / "catalog.duckdb"),
        lambda place, _: put_back(place, "catalog.duckdb"),
    ],
    "The ledger or the record of stores is lost, damaged, or a day old": [
        lambda place, _: remove(place.data / "ledger.sqlite"),
        lambda place, _: garbage(place.data / "ledger.sqlite"),
        lambda place, _: put_back(place, "ledger.sqlite"),
        lambda place, _: garbage(place.data / "stores.jsonl"),
    ],
    "The list of takedowns is lost or damaged": [
        lambda place, _: remove(place.data / "takedowns.jsonl"),
        lambda place, _: garbage(place.data / "takedowns.jsonl"),
    ],
    "The embedded index is lost or damaged": [
        lambda place, _: remove(some_file(place.data / "index", "*.lance")),
        lambda place, _: garbage(some_file(place.data / "index", "data/*.lance")),
        lambda place, _: remove(place.data / "index"),
    ],
    "The rows beside the index are lost": [
        lambda place, _: remove(place.data / "index" / "metadata.sqlite"),
        lambda place, _: garbage(place.data / "index" / "metadata.sqlite"),
    ],
    "Raw files or vectors are damaged": [
        lambda place, _: spoil(some_file(place.data / "raw" / "amsterdam")),
        lambda place, _: spoil(some_file(place.data / "embeddings")),
    ],
    "The history of reports is lost or damaged": [
        lambda place, _: garbage(some_file(place.data / "quality" / "history")),
    ],
    "The machine is lost, and the store is not": [lambda place, _: keep_the_store(place)],
    "Dagster's home is lost": [lambda place, _: (shutil.rmtree(place.home), Place(place.folder))],
    "The disk is full": [
        lambda _, geopin: without_room(geopin, 3_000),
        lambda _, geopin: without_room(geopin, 300_000),
    ],
    "The clock was wrong": [
        lambda place, _: os.utime(some_file(place.data / "raw" / "amsterdam"), (AHEAD.timestamp(),) * 2),
        lambda place, _: crawled_ahead(place),
    ],
}
FOUND = {
    "The catalog is lost, damaged, or a day old": 2,
    "The ledger or the record of stores is lost, damaged, or a day old": 2,
    "The embedded index is lost or damaged": 2,
    "The rows beside the index are lost": 2,
    "Raw files or vectors are damaged": 2,
    "The machine is lost, and the store is not": 2,
    "The clock was wrong": 1,
}
"""What the doctor's exit code is before anything is mended."""
CASES = [(title, number) for title, ways in DAMAGE.items() for number in range(len(ways))]
THERE: dict[str, list[Callable[[Place, Platform], Any]]] = {
    "The catalog is lost, damaged, or a day old": [
        lambda place, _: remove(place.data / "catalog.duckdb"),
        lambda place, _: put_back(place, "catalog.duckdb"),
    ],
    "The ledger or the record of stores is lost, damaged, or a day old": [
        lambda place, _: remove(place.data / "ledger.sqlite"),
        lambda place, _: put_back(place, "ledger.sqlite"),
        lambda place, _: [remove(place.data / name) for name in ("ledger.sqlite", "stores.jsonl")],
    ],
    "The list of takedowns is lost or damaged": [lambda place, _: remove(place.data / "takedowns.jsonl")],
    "The embedded index is lost or damaged": [
        lambda _, platform: platform.search_index.backend().drop_index(platform.index.name),
        lambda _, platform: platform.index.delete(sorted(platform.index.ids())[:30]),
    ],
    "The rows beside the index are lost": [
        lambda _, platform: platform.rows.delete("captures", ids_of(platform, "captures", "capture_id")),
        lambda _, platform: platform.rows.delete("vectors", ids_of(platform, "vectors", "vector_id")[:7]),
    ],
    "The machine is lost, and the store is not": [lambda place, _: keep_the_store(place)],
}
"""The same at Cloudflare, where what is published is not on this machine."""
THERE_CASES = [(title, number) for title, ways in THERE.items() for number in range(len(ways))]
ACCOUNT = "account"
QUICK = {
    ("The catalog is lost, damaged, or a day old", 0),
    ("The ledger or the record of stores is lost, damaged, or a day old", 1),
    ("The list of takedowns is lost or damaged", 1),
}


def lived(place: Place, geopin: Geopin) -> None:
    """A run and a takedown."""
    for words in (("run", "--region", REGION, *SOURCES), ("takedown", GONE, "--note", "asked")):
        (place.folder / YESTERDAY).mkdir(exist_ok=True)
        for name in ("catalog.duckdb", "ledger.sqlite"):
            if (place.data / name).exists():
                shutil.copy(place.data / name, place.folder / YESTERDAY)
        ended = geopin(*words)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def left(sandbox_port: int, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What a run and a takedown left."""
    place = Place(tmp_path_factory.mktemp("drills") / "left")
    lived(place, with_sandbox(place, sandbox_port))
    return place


@pytest.fixture(scope="module")
def shared_stand() -> Iterator[Stand]:
    with stand() as shared:
        yield shared


@pytest.fixture(scope="module")
def left_at_cloudflare(shared_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same, published there; the account is beside the place's data."""
    place = Place(tmp_path_factory.mktemp("drills") / "left")
    with shared_stand.account(place.folder / ACCOUNT) as (port, _):
        lived(place, partial(place.geopin, GEOPIN_SANDBOX_PORT=str(port), GEOPIN_INDEX="cloudflare"))
    return place


def platform_of(place: Place, port: int, index: str) -> Platform:
    platform = Platform(place.folder, port, GEOPIN_INDEX=index)
    platform.set(GEOPIN_PROFILE="sandbox", GEOPIN_SANDBOX_PORT=str(port), GEOPIN_DATA=str(place.data))
    return platform


def published(place: Place, port: int, index: str = "embedded") -> dict[str, pl.DataFrame]:
    platform = platform_of(place, port, index)
    vectors = platform.rows.query("SELECT * FROM vectors ORDER BY vector_id")
    ids = vectors["vector_id"].to_list()
    rows = platform.rows.query("SELECT * FROM captures ORDER BY capture_id")
    if index == "cloudflare":  # where each time the sandbox has another port, which is in addresses
        rows = rows.drop("row_hash").with_columns(pl.col(pl.String).str.replace(r"^http://127\.0\.0\.1:\d+/", "/"))
    return {
        "rows": rows,
        "vector rows": vectors,
        "vectors": pl.concat([platform.index.get(ids[n : n + 20]) for n in range(0, len(ids), 20)]).sort("vector_id"),
    }


def test_every_recipe_is_tried() -> None:
    assert set(RECIPES) == set(DAMAGE)


@pytest.mark.parametrize(("title", "number"), CASES, ids=[f"{title}-{number}" for title, number in CASES])
def test_what_the_page_says_mends_it(title: str, number: int, left: Place, sandbox_port: int, tmp_path: Path) -> None:
    if not IS_LONG and (title, number) not in QUICK:
        pytest.skip("three recipes here, all of them: make test-faults")
    place = left.copy(tmp_path / "place")
    before = published(place, sandbox_port)
    geopin: Geopin = with_sandbox(place, sandbox_port)
    DAMAGE[title][number](place, geopin)
    if title in FOUND:
        assert geopin("doctor", "--deep").returncode == FOUND[title]
    follow(title, geopin)
    judge(before, published(place, sandbox_port), geopin)


@pytest.mark.skipif(not IS_LONG, reason="the same commands as on this machine: make test-faults")
@pytest.mark.parametrize(("title", "number"), THERE_CASES, ids=[f"{title}-{number}" for title, number in THERE_CASES])
def test_so_it_does_at_cloudflare(
    title: str, number: int, left_at_cloudflare: Place, shared_stand: Stand, tmp_path: Path
) -> None:
    place = left_at_cloudflare.copy(tmp_path / "place")
    with shared_stand.account(place.folder / ACCOUNT) as (port, _):
        before = published(place, port, "cloudflare")
        geopin: Geopin = partial(place.geopin, GEOPIN_SANDBOX_PORT=str(port), GEOPIN_INDEX="cloudflare")
        THERE[title][number](place, platform_of(place, port, "cloudflare"))
        follow(title, geopin)
        judge(before, published(place, port, "cloudflare"), geopin)


def follow(title: str, geopin: Geopin) -> None:
    """Type what the page says."""
    began_s = time.monotonic()
    for command in RECIPES[title].splitlines():
        words = command.replace("REGION", REGION).split()
        if words[1] == "run":
            words += SOURCES
        ended = geopin(*words[1:])
        assert ended.returncode in ((0, 1) if words[1] == "doctor" else (0,)), ended.stdout + ended.stderr
    note("recovery as the page says", attempts=1, recovery_s=round(time.monotonic() - began_s, 1))


def judge(before: dict[str, pl.DataFrame], after: dict[str, pl.DataFrame], geopin: Geopin) -> None:
    """What is published is what was, and what was taken down stays so."""
    examined = geopin("doctor", "--deep")
    assert examined.returncode in (0, 1), examined.stdout
    assert {name: frame.equals(before[name]) for name, frame in after.items()} == dict.fromkeys(after, True)
    assert GONE not in set(after["rows"]["capture_id"]) and after["rows"].height
    assert GONE in geopin("takedown", "--list").stdout
