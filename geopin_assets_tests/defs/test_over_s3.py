"""An installation whose store is a bucket: what it makes, what another machine can do with the bucket alone, moving.

The bucket is moto's, or that of a real server (see `files/stores.py`). Credentials are those of Dagster's `S3Resource`:
the environment has none.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster_aws.s3 import S3Resource

from geopin_assets.cli.merge import merge_and_report
from geopin_assets.cli.move import move_and_report
from geopin_assets.defs import over_s3
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.graph import CATALOG, EMBEDDINGS
from geopin_assets.defs.running.local_run import layer
from geopin_assets.files.object_store import open_store
from geopin_assets.settings import Settings
from geopin_assets_tests.files.stores import CREDENTIALS
from geopin_assets_tests.platform import CELLS, Platform, Ran

pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning")
"""Dagster's own call, where a resource holds another."""
KEYS = {name.lower(): value for name, value in CREDENTIALS.items()}


class InBucket(Platform):
    """A machine of an installation in a bucket; its data folder is its own."""

    def __init__(self, folder: Path, port: int, address: str, endpoint_url: str) -> None:
        self.s3 = S3Resource(endpoint_url=endpoint_url, region_name="us-east-1", **KEYS)
        super().__init__(folder, port, GEOPIN_STORE=address, GEOPIN_S3_ENDPOINT_URL=endpoint_url)

    def set(self, **variables: str) -> None:
        super().set(**variables)
        self.definitions = build_definitions(overrides=self.overrides, s3=self.s3)
        self.storage = over_s3.Storage(overrides=self.overrides, s3=self.s3)
        self.embedding = over_s3.Embedding(overrides=self.overrides, s3=self.s3)


def content(platform: Platform) -> dict[str, pl.DataFrame]:
    """What an installation holds, as far as it follows from what was crawled."""
    catalog = platform.storage.catalog()
    vectors = [platform.vectors(cell_id).read(["vector_id", "image_version", "embedding"]) for cell_id in CELLS]
    return {
        "captures": catalog.query("select capture_id, cell_id, row_hash from captures order by all"),
        "vectors": pl.concat(vectors),
        "index": pl.DataFrame({"id": sorted(platform.index.ids())}),
    }


def same(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> bool:
    return all(frame.height and frame.equals(other[name]) for name, frame in one.items())


@pytest.fixture
def address(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    return f"s3://{s3_bucket}/geopin"


@pytest.fixture
def owner(ran: Ran, tmp_path: Path, address: str, s3_address: str, sandbox_port: int) -> Iterator[InBucket]:
    """The machine whose the catalog is; its first layers are those of a run in a folder."""
    (tmp_path / "owner" / "photos").mkdir(parents=True)
    yield InBucket(tmp_path / "owner", sandbox_port, address, s3_address)


def test_machines_with_a_bucket_in_common_make_what_one_with_a_folder_makes(
    ran: Ran, owner: InBucket, instance: dg.DagsterInstance, tmp_path: Path, s3_address: str
) -> None:
    job = owner.definitions.resolve_implicit_global_asset_job_def()
    for key in ("raw/panoramax", "raw/amsterdam", "raw/own_photos", CATALOG):
        assert not layer(job, instance, key, CELLS).failed_count
    worker = InBucket(tmp_path / "worker", owner.port, owner.overrides["GEOPIN_STORE"], s3_address)
    job = worker.definitions.resolve_implicit_global_asset_job_def()
    assert not layer(job, instance, EMBEDDINGS, CELLS).failed_count
    assert worker.storage.settings().is_worker and not worker.storage.settings().catalog_path.exists()
    results = owner.run(instance)
    assert not any(result.failed_count for result in results.values())
    assert results[EMBEDDINGS].totals["embedded"] == 0, "the worker's vectors were there already"
    assert same(content(ran.platform), content(owner))
    assert owner.storage.quality().get("coverage.html").startswith(b"<!")
    data = owner.storage.settings().data_dir
    assert not any((data / folder).exists() for folder in ("raw", "embeddings", "captures", "failures", "quality"))


def test_moving_to_a_bucket_and_back_changes_nothing_and_the_catalog_is_made_anew_from_it(
    ran: Ran, address: str, s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ran.platform.storage.catalog().ids()[0]
    before = content(ran.platform)
    for name, value in ran.platform.overrides.items() | CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GEOPIN_S3_ENDPOINT_URL", s3_address)
    assert move_and_report(Settings.from_env(), address, exactly=False) == 0
    monkeypatch.setenv("GEOPIN_STORE", address)
    there = InBucket(tmp_path / "elsewhere", ran.platform.port, address, s3_address)
    there.storage.takedowns().take_down(
        [gone], note="asked", now=ran.platform.storage.catalog().crawls()["crawled_at"][0]
    )
    there.storage.takedowns().sync()
    monkeypatch.setenv("GEOPIN_DATA", str(tmp_path / "elsewhere" / "data"))
    assert merge_and_report(Settings.from_env(), is_anew=True) == 0
    kept = before["captures"].filter(pl.col("capture_id") != gone)
    assert there.storage.catalog().query("select capture_id, cell_id, row_hash from captures order by all").equals(kept)
    back = tmp_path / "back"
    assert move_and_report(Settings.from_env(), str(back), exactly=False) == 0
    vectors = open_store(back / "embeddings")
    first = open_store(Path(ran.platform.overrides["GEOPIN_DATA"]) / "embeddings")
    assert {one.key: first.get(one.key) for one in first.walk()} == {
        one.key: vectors.get(one.key) for one in vectors.walk() if one.key != "installation.json"
    } | {"installation.json": first.get("installation.json")}
