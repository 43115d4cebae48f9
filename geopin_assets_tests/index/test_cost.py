"""What a publish will take, beside what it takes."""

from pathlib import Path

import orjson
import polars as pl
import pytest

from geopin_assets.index.cloudflare import D1Store, VectorizeIndex
from geopin_assets.index.cost import BYTES_PER_LINE, BYTES_PER_NUMBER, forecast_publish
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import publish_vectors
from geopin_assets_tests.cloudflare import Lag
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.frames import DIM, NOW, Clock, captures, publish_rows, vectors


def test_a_million_flat_captures_fit_into_one_index_and_what_is_included() -> None:
    plan = forecast_publish(1_000_000, 1_000_000, 512)
    assert (plan.index_shards, plan.database_shards, plan.rows_written) == (1, 1, 2_000_000)
    assert plan.requests == 200 + 10 * (1 + 15) + 40 * 5
    assert plan.hours == pytest.approx((200 + 10 + 40 * 5) / 1000 / 12 + 10 * 30 / 3600)
    assert plan.first_load_usd == 0 and plan.monthly_usd == pytest.approx(0.25 + 4.62, abs=0.02)
    assert plan.vector_bytes == pytest.approx(6.55e9, rel=0.01)


def test_requests_are_those_that_a_publish_sends(tmp_path: Path) -> None:
    """With a service that takes its usual half minute for a mutation; it imports files at once, which spares polls."""
    clock, ids = Clock(), [(f"s:{number:05d}", number % 50) for number in range(20_000)]
    with emulated(tmp_path, clock, lag=Lag(mutation_s=30.0, count_s=0.0)) as (api, emulator):
        index = VectorizeIndex(api, "geopin-test-v1", DIM, wait=wait_by(clock))
        store = D1Store(api, "geopin", import_from_rows=20_000, wait=wait_by(clock))
        index.create()
        store.migrate()
        emulator.requests.clear()
        ledger = Ledger(tmp_path / "ledger.sqlite")
        publish_vectors(vectors(ids), ["a"], index, ledger, now=NOW, wait=wait_by(clock))
        publish_rows(captures(ids), ["a"], store, ledger)
    assert sorted(emulator.requests.items()) == [
        *(("d1.import", 2), ("d1.raw", 1), ("files.upload", 1)),
        *(("vectorize.get_by_ids", 1), ("vectorize.info", 16), ("vectorize.upsert", 4)),
    ]
    assert forecast_publish(20_000, 20_000, DIM).requests == 4 + 15 + 1 + 2 * 5  # of two tables, with two polls each


def test_39_million_captures_need_several_indexes_and_databases() -> None:
    plan = forecast_publish(39_000_000 + 11 * 3_900_000, 39_000_000, 512)
    assert plan.index_shards == 6 and plan.database_shards == 3
    assert plan.first_load_usd == pytest.approx(81.9 + 39 - 50, abs=0.1)


def test_nothing_costs_nothing() -> None:
    plan = forecast_publish(0, 0, 512)
    assert (plan.requests, plan.first_load_usd, plan.monthly_usd, plan.index_shards) == (0, 0, 0, 1)


def test_bytes_of_a_vector_are_what_is_sent() -> None:
    row = vectors([("panoramax:0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f/00", 1)])
    line = {
        "id": row["vector_id"][0],
        "metadata": {"source": "panoramax", "cell_block": "r09c05", "captured_year": 2024},
    }
    assert abs(len(orjson.dumps(line)) + 15 - BYTES_PER_LINE) < 30
    numbers = pl.Series(vectors([(str(n), n) for n in range(200)])["embedding"]).to_numpy()
    assert (
        pytest.approx(len(orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)) / numbers.size, rel=0.1)
        == BYTES_PER_NUMBER
    )
