"""What every backend must do. A new backend is one more entry in VECTOR_INDEXES or METADATA_STORES."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from geopin_assets.errors import PermanentError
from geopin_assets.index.cloudflare import D1Store, VectorizeIndex
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.protocol import METADATA, MetadataStore, VectorIndex, Wait, index_name, vector_schema
from geopin_assets.index.tables import migrations
from geopin_assets.index.targets import VectorTarget
from geopin_assets_tests.cloudflare import Lag
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.cloudflare.real_d1 import real_d1
from geopin_assets_tests.index.frames import DIM, Clock, captures, row_hashes, unit, upsertable


def lance(folder: Path, clock: Clock, lag_s: float) -> AbstractContextManager[VectorIndex]:
    return nullcontext(LanceIndex(folder, index_name("test"), DIM))


@contextmanager
def vectorize(folder: Path, clock: Clock, lag_s: float) -> Iterator[VectorIndex]:
    with emulated(folder, clock, lag=Lag(mutation_s=lag_s, count_s=0.0)) as (api, _):
        yield VectorizeIndex(api, index_name("test"), DIM, wait=wait_by(clock))


@pytest.fixture
def sqlite(tmp_path: Path) -> MetadataStore:
    return SqliteStore(tmp_path / "d1.sqlite")


@pytest.fixture
def d1(tmp_path: Path, clock: Clock) -> Iterator[MetadataStore]:
    with emulated(tmp_path, clock) as (api, _):
        yield D1Store(api, "geopin", wait=wait_by(clock))


@pytest.fixture
def workerd(workerd_url: str, tmp_path: Path, clock: Clock) -> Iterator[MetadataStore]:
    with real_d1(workerd_url, tmp_path, clock) as store:
        yield store


VECTOR_INDEXES = {
    "lance": (lance, 0.0),
    "vectorize": (vectorize, 0.0),
    "vectorize, lagging": (vectorize, 30.0),
}
METADATA_STORES = ["sqlite", "d1", "workerd"]
APPROXIMATE = 0.01
"""How far a hosted index's scores may be off: it compares values of fewer bits, of which there is no word."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=VECTOR_INDEXES)
def index(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[VectorIndex]:
    backend, lag_s = VECTOR_INDEXES[request.param]
    with backend(tmp_path, clock, lag_s) as index:
        index.create()
        yield index


@pytest.fixture
def target(index: VectorIndex, clock: Clock) -> VectorTarget:
    return VectorTarget(index, Wait(sleep=clock.sleep, clock=clock))


@pytest.fixture(params=METADATA_STORES)
def store(request: pytest.FixtureRequest) -> MetadataStore:
    store = request.getfixturevalue(request.param)
    store.migrate()
    return store


def write(target: VectorTarget, vectors: pl.DataFrame) -> None:
    desired = vectors.with_columns(cell_id=pl.lit("a"))
    target.upsert(target.identify(desired), lambda: [desired])


# --- vectors -------------------------------------------------------------------------------------


def test_what_was_upserted_can_be_read_back_exactly(index: VectorIndex, target: VectorTarget) -> None:
    sent = upsertable([(f"s:{i}/00", i) for i in range(20)])
    write(target, sent)
    assert index.get(sent["vector_id"].to_list()).sort("vector_id").equals(sent.sort("vector_id"))
    assert index.info().vector_count == 20


def test_an_upsert_replaces_the_whole_vector_and_its_metadata(index: VectorIndex, target: VectorTarget) -> None:
    write(target, upsertable([("s:1/00", 1), ("s:2/00", 2)]))
    changed = upsertable([("s:1/00", 5)], source="amsterdam")
    write(target, changed)
    assert index.get(["s:1/00"]).equals(changed)
    assert index.get(["s:1/00"])["captured_year"].to_list() == [None]
    assert index.info().vector_count == 2


def test_deleted_and_unknown_ids_are_not_returned(index: VectorIndex, target: VectorTarget) -> None:
    write(target, upsertable([("s:1/00", 1), ("s:it's/00", 2)]))
    target.delete(pl.Series(["s:it's/00", "s:never/00"]))
    assert index.get(["s:1/00", "s:it's/00", "s:never/00"])["vector_id"].to_list() == ["s:1/00"]
    assert index.get([]).schema == pl.Schema(vector_schema(DIM))


def test_every_id_is_listed(index: VectorIndex, target: VectorTarget) -> None:
    assert list(index.ids()) == []
    write(target, upsertable([(f"s:{i:04d}", i) for i in range(1_234)]))
    target.delete(pl.Series(["s:0007"]))
    assert sorted(index.ids()) == [f"s:{i:04d}" for i in range(1_234) if i != 7]


def test_creating_an_index_again_keeps_its_vectors(index: VectorIndex, target: VectorTarget) -> None:
    write(target, upsertable([("s:1/00", 1)]))
    index.create()
    assert index.info().vector_count == 1
    assert set(index.metadata_indexes()) == set(METADATA)


def test_a_query_ranks_by_cosine_like_numpy(index: VectorIndex, target: VectorTarget) -> None:
    sent = upsertable([(f"s:{i}/00", i) for i in range(300)])
    write(target, sent)
    query = unit(7) * 3  # cosine does not depend on the length
    found = index.query(query, 100)
    stored = sent["embedding"].to_numpy()
    cosine = stored @ query / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
    best = np.sort(cosine)[::-1][:100]
    tolerance = APPROXIMATE if isinstance(index, VectorizeIndex) else 1e-5
    assert found["score"].is_sorted(descending=True)
    assert found["vector_id"].n_unique() == 100
    assert found["vector_id"][0] == "s:7/00"
    np.testing.assert_allclose(found["score"].to_numpy(), best, atol=tolerance)
    places = [int(id_[2:-3]) for id_ in found["vector_id"]]
    np.testing.assert_allclose(found["score"].to_numpy(), cosine[places], atol=tolerance)


def test_a_query_can_be_filtered_by_every_metadata_property(index: VectorIndex, target: VectorTarget) -> None:
    write(target, upsertable([(f"s:{i}/00", i) for i in range(1, 20)]))
    write(target, upsertable([("t:1/00", 1)], source="it's"))

    def ids(where: dict[str, object]) -> set[str]:
        return set(index.query(unit(1), 100, where=where)["vector_id"])

    assert ids({"source": "it's"}) == {"t:1/00"}
    assert ids({"source": {"$in": ["it's", "x"]}, "cell_block": "block"}) == {"t:1/00"}
    assert ids({"captured_year": {"$gte": 2018, "$lt": 2019}}) == {"s:18/00"}
    assert ids({"captured_year": {"$eq": 2001}, "source": {"$ne": "it's"}}) == {"s:1/00"}
    assert ids({"cell_block": {"$nin": ["block"]}}) == set()
    with pytest.raises(PermanentError, match="no metadata index on lon"):
        ids({"lon": 4.9})


def test_requests_beyond_the_limits_are_refused_with_the_services_code(index: VectorIndex) -> None:
    ids = [f"s:{i}/00" for i in range(101)]
    with pytest.raises(PermanentError, match="40007: too many ids in payload; max id count is 100"):
        index.delete(ids)
    most = index.ids_per_get
    with pytest.raises(PermanentError, match=f"40007: too many ids in payload; max id count is {most}, got {most + 1}"):
        index.get([f"s:{i}/00" for i in range(most + 1)])
    with pytest.raises(PermanentError, match="40025"):
        index.query(unit(1), index.deepest + 1)
    with pytest.raises(PermanentError, match="at most 5000"):
        index.upsert(upsertable([(f"s:{i}/00", 1) for i in range(5001)]))
    with pytest.raises(PermanentError, match="a filter of 2"):
        index.query(unit(1), 5, where={"source": "x" * 2048})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.with_columns(vector_id=pl.lit("é" * 33)), "an id of 66 bytes"),
        (lambda f: f.with_columns(source=pl.lit("x" * 10_240)), "bytes of metadata"),
        (lambda f: f.with_columns(source=pl.lit(None, pl.String)), "40023"),
        (lambda f: f.with_columns(embedding=pl.lit([float("nan")] * DIM, pl.Array(pl.Float32, DIM))), "NaN"),
        (lambda f: f.with_columns(embedding=pl.lit([float("inf")] * DIM, pl.Array(pl.Float32, DIM))), "NaN"),
        (lambda f: f.with_columns(embedding=pl.lit([0.5] * 7, pl.Array(pl.Float32, 7))), "40023"),
        (lambda f: f.with_columns(embedding=pl.lit(None, pl.Array(pl.Float32, DIM))), "40023"),
        (lambda f: f.drop("captured_year"), "40023"),
        (lambda f: pl.concat([f, f]), "twice"),
    ],
)
def test_a_vector_the_service_would_refuse_is_refused(
    index: VectorIndex, spoil: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        index.upsert(spoil(upsertable([("s:1/00", 1)])))


# --- rows ----------------------------------------------------------------------------------------


def test_rows_come_back_with_their_types(store: MetadataStore) -> None:
    result = store.upsert("captures", captures([("s:1", 1), ("s:5", 5)]))
    assert (result.changes, result.rows_written, result.requests) == (2, 2, 1)
    rows = store.query("SELECT * FROM captures ORDER BY capture_id").to_dicts()
    assert rows[0] | {"row_hash": ""} == {
        "capture_id": "s:1",
        "source": "panoramax",
        "lon": pytest.approx(4.901),
        "lat": 52.3,
        "captured_at": "2026-11-23T12:00:00Z",
        "heading_deg": 1.0,
        "is_pano": 0,
        "license": "CC-BY-SA-4.0",
        "attribution": "© Zoë 'Z', \"maker\"",
        "creator": None,
        "page_url": "https://example.org/s:1",
        "thumbnail_url": None,
        "covered_by": '["panoramax"]',
        "cell_id": "a",
        "position_from": "device",
        "position_error_m": None,
        "heading_from": "device",
        "not_indexed_because": None,
        "row_hash": "",
    }
    assert rows[1]["heading_deg"] is None
    assert [row["row_hash"] for row in rows] == row_hashes("captures", captures([("s:1", 1), ("s:5", 5)]))


def test_unchanged_rows_cost_no_writes(store: MetadataStore) -> None:
    store.upsert("captures", captures([(f"s:{i}", i) for i in range(50)]))
    assert store.upsert("captures", captures([(f"s:{i}", i) for i in range(50)])).rows_written == 0
    changed = store.upsert("captures", captures([(f"s:{i}", i if i else 99) for i in range(50)]))
    assert (changed.changes, changed.rows_written) == (1, 1)


def test_a_large_upsert_travels_in_several_bounded_requests(store: MetadataStore) -> None:
    result = store.upsert("captures", captures([(f"s:{i}", i) for i in range(12_000)]))
    assert result.changes == 12_000
    assert 3 <= result.requests <= 6
    assert store.count("captures") == 12_000
    assert store.delete("captures", [f"s:{i}" for i in range(11_000)] + ["s:never"]).changes == 11_000
    assert store.count("captures") == 1_000


def test_migrating_again_changes_nothing(store: MetadataStore) -> None:
    store.upsert("captures", captures([("s:1", 1)]))
    store.migrate()
    assert store.count("captures") == 1
    assert store.query("SELECT name FROM d1_migrations")["name"].to_list() == [name for name, _ in migrations()]


def test_parameters_and_statements_beyond_d1s_limits_are_refused(store: MetadataStore) -> None:
    with pytest.raises(PermanentError, match="too many SQL variables"):
        store.query("SELECT 1", list(range(101)))
    with pytest.raises(PermanentError, match="statement too long"):
        store.query(f"SELECT '{'é' * 50_000}'")
    with pytest.raises(PermanentError, match="SQLITE_TOOBIG"):
        store.query("SELECT ?1", ["x" * 2_000_001])
    with pytest.raises(PermanentError, match="a row of"):
        store.upsert("captures", captures([("s:1", 1)]).with_columns(attribution=pl.lit("x" * 2_000_000)))


def test_wrong_sql_tables_and_rows_fail_for_good(store: MetadataStore) -> None:
    with pytest.raises(PermanentError, match="7500"):
        store.query("SELECT nothing FROM nowhere")
    with pytest.raises(PermanentError, match="no published table"):
        store.count("captures; DROP TABLE captures")
    with pytest.raises(PermanentError, match="rows without heading_deg"):
        store.upsert("captures", captures([("s:1", 1)]).drop("heading_deg"))
    with pytest.raises(PermanentError, match="7500"):
        store.upsert("captures", captures([("s:1", 1)]).with_columns(license=pl.lit(None, pl.String)))
    assert store.count("captures") == 0


def test_rows_can_be_joined_to_ids_in_one_parameter(store: MetadataStore) -> None:
    store.upsert("captures", captures([(f"s:{i}", i) for i in range(5)]))
    sql = "SELECT count(*) AS n FROM captures WHERE capture_id IN (SELECT value FROM json_each(?1))"
    assert store.query(sql, [orjson.dumps(["s:1", "s:4", "s:9"]).decode()]).item() == 2
