"""Ids as odd and as long as sources may give them reach the index, and the way back is in the `vectors` table."""

from pathlib import Path

import polars as pl
import pytest

from geopin_assets.capture import MAX_VECTOR_ID_BYTES, vector_id
from geopin_assets.index.cloudflare import D1Store, VectorizeIndex
from geopin_assets.sources import SOURCES
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.frames import DIM, Clock, upsertable

ODD = [
    "1",
    "2384b5fa-4a8c-4e27-9c7c-8d2f6f1d0a11",
    "x" * 300,
    "x" * 299 + "y",
    "日本" * 150,
    "é" * 31,
    "é" * 150,
    "\U0001f6b2" * 75,
    "e\u0301 decomposed",
    "File:Damrak 'Amsterdam' \"2024\".jpg",
    "File:" + "Zeer lange bestandsnaam, met komma's; en meer " * 6 + ".jpg",
    "folder/sub folder/../IMG_0001.JPG",
    "/2021/ABC/https%3A%2F%2Fexample.org%2Fitem?x=1&y=2#z",
    "with/01",
    "~0123456789abcdef0123456789abcdef01234567",
    " ",
    "\u202eright to left",
    "back\\slash and {brace} and $dollar",
    "line\nend and\ttab",
]


@pytest.mark.parametrize("source", [source.name for source in SOURCES])
def test_every_capture_is_found_again_by_the_id_of_its_vector(source: str, tmp_path: Path) -> None:
    capture_ids = [f"{source}:{odd}" for odd in ODD]
    views = [(capture_id, view) for capture_id in capture_ids for view in (0, 11)]
    ids = [vector_id(capture_id, view) for capture_id, view in views]
    assert len(set(ids)) == len(views)
    assert max(len(id_.encode()) for id_ in ids) <= MAX_VECTOR_ID_BYTES
    clock = Clock()
    with emulated(tmp_path, clock) as (api, _):
        index, store = VectorizeIndex(api, "geopin-test-v1", DIM, wait=wait_by(clock)), D1Store(api, "geopin")
        index.create()
        store.migrate()
        index.upsert(upsertable([(id_, number) for number, id_ in enumerate(ids)]))
        rows = pl.DataFrame(
            {"vector_id": ids, "capture_id": [c for c, _ in views], "view": [v for _, v in views], "heading_deg": 1.5}
        )
        store.upsert("vectors", rows)
        assert sorted(index.ids()) == sorted(ids)
        found = pl.concat([index.get(ids[start : start + 20]) for start in range(0, len(ids), 20)])
        assert set(found["vector_id"]) == set(ids)
        back = store.query("SELECT vector_id, capture_id, view FROM vectors")
        assert set(back.rows()) == {(id_, *view) for id_, view in zip(ids, views, strict=True)}
        index.delete(ids[-10:])
        assert sorted(index.ids()) == sorted(ids[:-10])
