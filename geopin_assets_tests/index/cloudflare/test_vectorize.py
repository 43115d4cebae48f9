"""Vectorize on the wire: exact requests, exact floats, indexes that are ready before their first vector."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.index.cloudflare import RequestTooLarge, VectorizeIndex
from geopin_assets.index.cloudflare.vectorize import ndjson, vectors_frame
from geopin_assets.index.protocol import IndexInfo, NameUsedUpError, vector_schema
from geopin_assets_tests.http_client.world import Clock, Server
from geopin_assets_tests.index.cloudflare.emulated import emulated, wait_by
from geopin_assets_tests.index.cloudflare.world import INDEXES, api_of, body_of, failure, result, wait_of
from geopin_assets_tests.index.frames import DIM, NOW, unit, upsertable
from geopin_assets_tests.index.frames import Clock as SleepClock

MUTATION = result({"mutationId": "m1"})
CONFIG = {"name": "x", "config": {"dimensions": DIM, "metric": "cosine"}}
ALL_INDEXED = result(
    {
        "metadataIndexes": [
            {"propertyName": "source", "indexType": "String"},
            {"propertyName": "cell_block", "indexType": "String"},
            {"propertyName": "captured_year", "indexType": "Number"},
        ]
    }
)
NONE_INDEXED = result({"metadataIndexes": []})


def info(mutation: str | None, count: int = 0, at: str | None = None) -> httpx.Response:
    return result(
        {"dimensions": DIM, "vectorCount": count, "processedUpToMutation": mutation, "processedUpToDatetime": at}
    )


def index_of(folder: Path, *replies: Any) -> tuple[VectorizeIndex, Server, Clock]:
    api, server, clock = api_of(folder, *replies)
    return VectorizeIndex(api, "x", DIM, wait=wait_of(clock, timeout_s=60, poll_s=2)), server, clock


def asked(server: Server) -> list[str]:
    return [f"{request.method} {request.url.path.removeprefix(INDEXES)}" for request in server.requests]


def test_an_upsert_is_lines_of_json_with_their_own_content_type(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, MUTATION)
    assert index.upsert(upsertable([("s:1/00", 1), ("s:5/00", 5)])) == "m1"
    (request,) = server.requests
    assert (request.method, request.url.path) == ("POST", f"{INDEXES}/x/upsert")
    assert request.url.query == b"unparsable-behavior=error"
    assert request.headers["content-type"] == "application/x-ndjson"
    first, second = request.content.splitlines()
    assert request.content.endswith(b"}}\n")
    values = b"[0.16772461,0.39868164,0.16040039,-0.6323242,0.43920898,0.21655273,-0.26049805,0.28198242]"
    metadata = b'{"source":"panoramax","cell_block":"block","captured_year":2001}'
    assert first == b'{"id":"s:1/00","values":' + values + b',"metadata":' + metadata + b"}"
    assert orjson.loads(second)["metadata"] == {"source": "panoramax", "cell_block": "block"}  # no year, no key


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(st.lists(finite, min_size=DIM, max_size=DIM), min_size=1, max_size=5))
def test_every_float32_comes_back_bit_for_bit(values: list[list[float]]) -> None:
    sent = np.array(values, dtype=np.float32)
    vectors = upsertable([(f"s:{i}/00", i) for i in range(len(values))]).with_columns(
        embedding=pl.Series(sent, dtype=pl.Array(pl.Float32, DIM))
    )
    lines = [orjson.loads(line) for line in ndjson(vectors).splitlines()]
    assert vectors_frame(lines, DIM)["embedding"].to_numpy().tobytes() == sent.tobytes()


def test_ids_of_any_language_travel_as_they_are(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, MUTATION)
    ids = ["s:é/00", "s:日本/01", 's:"quoted"\\/02', "s:new\nline/03", "s:\u2028/04"]
    index.upsert(upsertable([(id_, 1) for id_ in ids]))
    assert [orjson.loads(line)["id"] for line in server.requests[0].content.split(b"\n")[:-1]] == ids


def test_what_is_too_large_for_a_request_goes_in_halves_then_and_later(tmp_path: Path) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        count = request.content.count(b"\n")
        return failure(0, "request body too large", 413) if count > 3 else result({"mutationId": f"m{count}"})

    index, server, _ = index_of(tmp_path, reply)
    sent = upsertable([(f"s:{i}/00", i) for i in range(10)])
    assert index.upsert(sent) == "m2"
    counts = [request.content.count(b"\n") for request in server.requests]
    assert counts == [10, 5, 2, 2, 2, 2, 2]
    accepted = b"".join(request.content for request in server.requests[2:])
    assert accepted == ndjson(sent)
    index.upsert(sent.head(4))
    assert len(server.requests) == 9


def test_a_single_vector_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, failure(0, "isolate exceeded its memory limit", 500))
    with pytest.raises(RequestTooLarge, match="memory limit"):
        index.upsert(upsertable([("a", 1), ("b", 2)]))
    assert len(server.requests) == 2


def test_more_bytes_than_an_upload_may_have_are_never_sent(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, MUTATION)
    dim = 1_536
    values = np.random.default_rng(0).normal(size=(5_000, dim)).astype(np.float32)
    long = "s" * 8_000  # 5,000 x (1,536 values + 8 kB) are 121 MB
    vectors = pl.DataFrame(
        {
            "vector_id": [f"s:{i}/00" for i in range(5_000)],
            "embedding": values,
            "source": [long] * 5_000,
            "cell_block": [""] * 5_000,
            "captured_year": [2020] * 5_000,
        },
        schema=vector_schema(dim),
    )
    VectorizeIndex(api, "x", dim).upsert(vectors)
    sizes = [len(request.content) for request in server.requests]
    assert len(sizes) == 2
    assert max(sizes) <= 100_000_000 < sum(sizes)


def test_deleting_getting_and_querying_send_exact_bodies(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, MUTATION, result([]), *[result({"count": 0, "matches": []})] * 2)
    vector = np.array([0.1, 1 / 3, -1, 0, 0, 0, 0, 1e-45], dtype=np.float64)
    assert index.delete(["a", "b"]) == "m1"
    assert index.get(["a"]).equals(pl.DataFrame(schema=vector_schema(DIM)))
    index.query(vector.astype(np.float32), 100)
    index.query(vector.astype(np.float32), 5, where={"source": "x", "captured_year": {"$gte": 2018, "$lt": 2019}})
    assert {request.headers["content-type"] for request in server.requests} == {"application/json"}
    assert asked(server) == ["POST /x/delete_by_ids", "POST /x/get_by_ids", *["POST /x/query"] * 2]
    text = b'"vector":[0.1,0.33333334,-1.0,0.0,0.0,0.0,0.0,1e-45]'
    assert [request.content for request in server.requests] == [
        b'{"ids":["a","b"]}',
        b'{"ids":["a"]}',
        b"{" + text + b',"topK":100,"returnValues":false,"returnMetadata":"none"}',
        b"{" + text + b',"topK":5,"returnValues":false,"returnMetadata":"none",'
        b'"filter":{"source":"x","captured_year":{"$gte":2018,"$lt":2019}}}',
    ]


def test_matches_come_back_as_a_frame(tmp_path: Path) -> None:
    matches = [{"id": "a", "score": 1}, {"id": "b", "score": 0.5}]
    index, _, _ = index_of(tmp_path, result({"count": 2, "matches": matches}), result({"count": 0, "matches": []}))
    assert index.query(unit(1), 5).rows() == [("a", 1.0), ("b", 0.5)]
    assert index.query(unit(1), 5).schema == {"vector_id": pl.String, "score": pl.Float64}


def test_nothing_to_write_or_read_is_not_sent(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, MUTATION)
    assert (index.upsert(upsertable([])), index.delete([]), index.get([]).height) == ("", "", 0)
    index.optimize()
    assert server.requests == []


@pytest.mark.parametrize(
    ("value", "call"),
    [
        ({}, lambda index: index.upsert(upsertable([("a", 1)]))),
        ([{"id": "a", "values": [1.0]}], lambda index: index.get(["a"])),
        ({"count": 1}, lambda index: index.query(unit(1), 5)),
        ({"dimensions": DIM}, lambda index: index.info()),
        (
            {"dimensions": DIM, "vectorCount": 1, "processedUpToDatetime": "yesterday"},
            lambda index: index.info(),
        ),
        ({"vectors": [{}]}, lambda index: list(index.ids())),
        ([{}], lambda index: index.create()),
    ],
)
def test_an_answer_of_another_shape_is_named(tmp_path: Path, value: Any, call: Any) -> None:
    index, _, _ = index_of(tmp_path, result(value))
    with pytest.raises(PayloadError):
        call(index)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (None, None),
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-22T12:00:00.000Z", NOW),
        ("2026-11-22T12:00:00.000000000Z", NOW),
        ("2026-11-22T12:00:00", NOW),
    ],
)
def test_the_state_of_an_index_is_read(tmp_path: Path, at: str | None, expected: Any) -> None:
    index, _, _ = index_of(tmp_path, info("m7" if at else "", 12, at))
    assert index.info() == IndexInfo(DIM, 12, "m7" if at else None, expected)


def test_all_ids_are_listed_page_by_page(tmp_path: Path) -> None:
    first = {"vectors": [{"id": "a"}, {"id": "b"}], "isTruncated": True, "nextCursor": "c/1"}
    index, server, _ = index_of(tmp_path, result(first), result({"vectors": [{"id": "c"}], "isTruncated": False}))
    assert list(index.ids()) == ["a", "b", "c"]
    assert [dict(request.url.params) for request in server.requests] == [
        {"count": "1000"},
        {"count": "1000", "cursor": "c/1"},
    ]


def test_a_new_index_is_ready_only_when_its_metadata_indexes_are_listed(tmp_path: Path) -> None:
    replies = [result([]), result(CONFIG, 201), result([CONFIG]), NONE_INDEXED, info(None)]
    replies += [result({"mutationId": f"m{i}"}) for i in range(3)]
    index, server, clock = index_of(tmp_path, *replies, NONE_INDEXED, NONE_INDEXED, ALL_INDEXED, MUTATION)
    begin = clock.now
    index.create()
    assert clock.now - begin == 4
    assert asked(server) == [
        *("GET ", "POST ", "GET ", "GET /x/metadata_index/list", "GET /x/info"),
        *["POST /x/metadata_index/create"] * 3,
        *["GET /x/metadata_index/list"] * 3,
    ]
    assert body_of(server.requests[1]) == CONFIG
    assert [body_of(request) for request in server.requests[5:8]] == [
        {"propertyName": "source", "indexType": "string"},
        {"propertyName": "cell_block", "indexType": "string"},
        {"propertyName": "captured_year", "indexType": "number"},
    ]
    index.create()
    assert len(server.requests) == 11  # once is enough


def test_metadata_indexes_that_are_not_listed_in_the_end_are_an_error(tmp_path: Path) -> None:
    index, _, clock = index_of(tmp_path, result([CONFIG]), NONE_INDEXED, info(None), *[MUTATION] * 3, NONE_INDEXED)
    begin = clock.now
    with pytest.raises(TransientError, match="metadata indexes not there yet: source, cell_block, captured_year"):
        index.create()
    assert clock.now - begin == 60


def test_two_that_make_an_index_at_once_wait_for_what_is_there_and_not_for_each_other(tmp_path: Path) -> None:
    """The newest mutation is the other's, and nothing follows it."""
    clock = SleepClock()
    with emulated(tmp_path, clock) as (api, _):
        other = VectorizeIndex(api, "two-makers", DIM, wait=wait_by(clock))

        class Overtaken(VectorizeIndex):
            def _create_metadata_index(self, name: str) -> str:
                made = super()._create_metadata_index(name)
                other._create_metadata_index(name)
                return made

        index = Overtaken(api, "two-makers", DIM, wait=wait_by(clock))
        index.create()
        assert index.info().vector_count == 0 and clock.now - NOW < timedelta(seconds=30)


def test_an_index_with_vectors_and_without_a_metadata_index_is_not_published_into(tmp_path: Path) -> None:
    one = result({"metadataIndexes": [{"propertyName": "source", "indexType": "String"}]})
    index, server, _ = index_of(tmp_path, result([CONFIG]), one, info("m9", 7))
    with pytest.raises(
        PermanentError, match="no metadata index on cell_block, captured_year, and none would cover the 7"
    ):
        index.create()
    assert len(server.requests) == 3


def test_an_index_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, result([{**CONFIG, "name": "xx"}, CONFIG]), ALL_INDEXED)
    index.create()
    assert asked(server) == ["GET ", "GET /x/metadata_index/list"]


@pytest.mark.parametrize("config", [{"dimensions": 16, "metric": "cosine"}, {"dimensions": DIM, "metric": "euclidean"}])
def test_an_index_made_otherwise_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    index, _, _ = index_of(tmp_path, result([{"name": "x", "config": config}]))
    with pytest.raises(
        PermanentError, match=f"has {config['dimensions']} dimensions, {config['metric']}, not 8, cosine"
    ):
        index.create()


def test_an_index_whose_creation_was_answered_to_nobody_is_found(tmp_path: Path) -> None:
    lost, twice = httpx.ReadTimeout("slow"), failure(3002, "vectorize.index.duplicate_name", 409)
    index, server, _ = index_of(tmp_path, result([]), lost, twice, result([CONFIG]), result([CONFIG]), ALL_INDEXED)
    index.create()
    assert asked(server) == ["GET ", "POST ", "POST ", "GET ", "GET ", "GET /x/metadata_index/list"]


def test_an_index_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    index, _, _ = index_of(tmp_path, result([]), failure(3001, "vectorize.index.invalid_config", 400), result([]))
    with pytest.raises(PermanentError, match="invalid_config"):
        index.create()


def test_a_name_that_was_used_up_is_told_with_the_remedy_and_a_list_that_is_behind_is_waited_for(
    tmp_path: Path,
) -> None:
    taken = failure(3002, "vectorize.index.duplicate_name", 409)
    index, _, _ = index_of(tmp_path, result([]), taken, result([]), result([]))
    with pytest.raises(NameUsedUpError, match=r"x was deleted, .*: geopin reconcile begins another version"):
        index.create()
    index, _, _ = index_of(tmp_path, result([]), taken, result([]), *[result([CONFIG])] * 2, ALL_INDEXED)
    index.create()  # which another process has made meanwhile


def test_dropping_deletes_an_index_once(tmp_path: Path) -> None:
    index, server, _ = index_of(tmp_path, result([CONFIG]), result(None), result([]))
    index.drop()
    index.drop()
    assert asked(server) == ["GET ", "DELETE /x", "GET "]


def test_the_ledger_tells_accounts_and_indexes_apart_without_showing_the_account(tmp_path: Path) -> None:
    index, _, _ = index_of(tmp_path, MUTATION)
    assert index.store_key == "vectorize:3eb1bd43:x"


def test_a_dimension_the_service_does_not_have_is_refused(tmp_path: Path) -> None:
    api, _, _ = api_of(tmp_path, MUTATION)
    with pytest.raises(PermanentError, match="between 1 and 1536"):
        VectorizeIndex(api, "x", 1_537)
