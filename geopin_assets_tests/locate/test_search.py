"""Locating an image: best first, one match per capture, everything a reader must be shown beside it."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geopin_assets.errors import PermanentError
from geopin_assets.geo import distance_m
from geopin_assets.index.embedded.lance import LanceIndex
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.protocol import vector_schema
from geopin_assets.locate.search import MATCH_SCHEMA, search

DIM = 4
VIEWS = {  # vector id -> (capture, heading, vector)
    "s:pano/00": ("s:pano", 0.0, (1, 0, 0, 0)),
    "s:pano/01": ("s:pano", 30.0, (0.8, 0.6, 0, 0)),
    "s:near/00": ("s:near", None, (0.6, 0.8, 0, 0)),
    "s:far/00": ("s:far", 270.0, (0, 0, 1, 0)),
}
PLACES = {"s:pano": (4.90, 52.37), "s:near": (4.90, 52.38), "s:far": (6.56, 53.22)}


@pytest.fixture
def index(tmp_path: Path) -> LanceIndex:
    index = LanceIndex(tmp_path, "test", DIM)
    index.create()
    index.upsert(
        pl.DataFrame(
            {
                "vector_id": list(VIEWS),
                "embedding": np.array([vector for *_, vector in VIEWS.values()], dtype=np.float32),
                "source": ["s"] * 4,
                "cell_block": ["b"] * 4,
                "captured_year": [2024] * 4,
            },
            schema=vector_schema(DIM),
        )
    )
    return index


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(tmp_path / "d1.sqlite")
    store.migrate()
    store.upsert(
        "captures",
        pl.DataFrame(
            {
                "capture_id": list(PLACES),
                "source": ["s"] * 3,
                "lon": [lon for lon, _ in PLACES.values()],
                "lat": [lat for _, lat in PLACES.values()],
                "captured_at": [datetime(2024, 5, 1, tzinfo=UTC)] * 3,
                "heading_deg": [0.0, None, 270.0],
                "is_pano": [True, False, False],
                "license": ["CC-BY-SA-4.0"] * 3,
                "attribution": ["© Zoë"] * 3,
                "creator": ["Zoë", None, None],
                "page_url": ["https://example.org"] * 3,
                "thumbnail_url": [None] * 3,
                "covered_by": ['["s"]'] * 3,
                "cell_id": ["a"] * 3,
                "position_from": ["device", None, "computed"],
                "position_error_m": [4.5, None, None],
                "heading_from": ["pose", None, "track"],
                "not_indexed_because": [None] * 3,
            }
        ),
    )
    views = [(id_, capture, view % 2, heading) for view, (id_, (capture, heading, _)) in enumerate(VIEWS.items())]
    schema = {"vector_id": pl.String, "capture_id": pl.String, "view": pl.Int64, "heading_deg": pl.Float64}
    store.upsert("vectors", pl.DataFrame(views, schema=schema, orient="row"))
    return store


def test_a_match_carries_all_that_must_be_shown(index: LanceIndex, store: SqliteStore) -> None:
    matches = search(np.array([[1, 0, 0, 0]], dtype=np.float32), index, store)
    assert matches.schema == pl.Schema(MATCH_SCHEMA)
    assert matches.row(0, named=True) == {
        "rank": 1,
        "score": pytest.approx(1.0),
        "capture_id": "s:pano",
        "source": "s",
        "lon": pytest.approx(4.90),
        "lat": pytest.approx(52.37),
        "heading_deg": 0.0,
        "heading_from": "pose",
        "captured_at": "2024-05-01T00:00:00Z",
        "license": "CC-BY-SA-4.0",
        "attribution": "© Zoë",
        "creator": "Zoë",
        "page_url": "https://example.org",
        "license_url": None,
        "thumbnail_url": None,
        "covered_by": '["s"]',
        "cell_id": "a",
        "vector_id": "s:pano/00",
        "view": 0,
        "is_pano": True,
        "trust": None,
        "distance_m": 0.0,
    }


def test_views_of_one_capture_count_once_with_the_best_ones_heading(index: LanceIndex, store: SqliteStore) -> None:
    matches = search(np.array([[0.8, 0.6, 0, 0]], dtype=np.float32), index, store)
    assert matches["capture_id"].to_list() == ["s:pano", "s:near", "s:far"]
    assert matches["rank"].to_list() == [1, 2, 3]
    assert matches["heading_deg"].to_list() == [30.0, None, 270.0]
    np.testing.assert_allclose(matches["score"], [1.0, 0.96, 0.0], atol=1e-6)


def test_distances_are_from_the_best_match(index: LanceIndex, store: SqliteStore) -> None:
    matches = search(np.array([[0, 0, 1, 0]], dtype=np.float32), index, store, top=2)
    assert matches.height == 2
    assert matches["capture_id"][0] == "s:far"
    second = PLACES[matches["capture_id"][1]]
    assert matches["distance_m"].to_list() == [0.0, pytest.approx(distance_m(*PLACES["s:far"], *second))]


def test_every_view_of_the_image_is_searched(index: LanceIndex, store: SqliteStore) -> None:
    matches = search(np.array([[0, 0, 1, 0], [0.6, 0.8, 0, 0]], dtype=np.float32), index, store)
    assert set(matches["capture_id"].head(2)) == {"s:far", "s:near"}
    np.testing.assert_allclose(matches["score"].head(2), [1.0, 1.0], atol=1e-6)


def test_a_vector_without_its_row_is_passed_over(index: LanceIndex, store: SqliteStore) -> None:
    store.delete("captures", ["s:pano"])
    matches = search(np.array([[1, 0, 0, 0]], dtype=np.float32), index, store)
    assert matches["capture_id"].to_list() == ["s:near", "s:far"]


def test_an_empty_index_has_no_matches(tmp_path: Path, store: SqliteStore) -> None:
    empty = LanceIndex(tmp_path / "empty", "test", DIM)
    empty.create()
    matches = search(np.array([[1, 0, 0, 0]], dtype=np.float32), empty, store)
    assert matches.is_empty()
    assert matches.schema == pl.Schema(MATCH_SCHEMA)


def test_vectors_of_another_model_are_refused(index: LanceIndex, store: SqliteStore) -> None:
    with pytest.raises(PermanentError, match="is it from the index's model"):
        search(np.ones((1, 512), dtype=np.float32), index, store)
