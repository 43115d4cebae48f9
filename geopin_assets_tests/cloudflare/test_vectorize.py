"""Vectorize as the service is: formats, limits and lags. A lenient stand-in would be a defect."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from geopin_assets_tests.cloudflare import CloudflareEmulator, Lag, Limits
from geopin_assets_tests.cloudflare.transport import Account
from geopin_assets_tests.index.frames import Clock

DIM = 32
INDEXES = "vectorize/v2/indexes"
NAME = "streets-v1"
INDEX = f"{INDEXES}/{NAME}"
NDJSON = {"Content-Type": "application/x-ndjson"}
CONFIG = {"dimensions": DIM, "metric": "cosine"}

Build = Callable[..., Account]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def build(clock: Clock) -> Iterator[Build]:
    opened: list[CloudflareEmulator] = []

    def build(*, lag: Lag | None = None, config: dict[str, Any] | None = None, **limits: Any) -> Account:
        lag = lag or Lag(mutation_s=0, count_s=0)
        opened.append(CloudflareEmulator(limits=Limits(**limits), lag=lag, clock=clock))
        account = Account(opened[-1])
        account.result("POST", INDEXES, json={"name": NAME, "config": config or CONFIG})
        return account

    yield build
    for emulator in opened:
        emulator.close()


@pytest.fixture
def account(build: Build) -> Account:
    return build()


def unit(seed: int) -> list[float]:
    vector = np.random.default_rng(seed).normal(size=DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32).astype(float).tolist()


def line(id_: str, seed: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": id_, "values": unit(seed), **more}


def ndjson(*lines: dict[str, Any]) -> bytes:
    return b"\n".join(map(orjson.dumps, lines))


def upsert(account: Account, *lines: dict[str, Any], operation: str = "upsert") -> str:
    answer = account.result("POST", f"{INDEX}/{operation}", content=ndjson(*lines), headers=NDJSON)
    assert set(answer) == {"mutationId"}
    return answer["mutationId"]


def refused(account: Account, body: bytes, headers: dict[str, str] = NDJSON) -> tuple[int, int, str]:
    return account.refusal("POST", f"{INDEX}/upsert", content=body, headers=headers)


def get(account: Account, *ids: str) -> list[dict[str, Any]]:
    return account.result("POST", f"{INDEX}/get_by_ids", json={"ids": list(ids)})


def query(account: Account, **body: Any) -> list[dict[str, Any]]:
    answer = account.result("POST", f"{INDEX}/query", json={"vector": unit(1), **body})
    assert answer["count"] == len(answer["matches"])
    return answer["matches"]


def info(account: Account) -> dict[str, Any]:
    return account.result("GET", f"{INDEX}/info")


def make_filterable(account: Account, name: str, kind: str = "string") -> None:
    body = {"propertyName": name, "indexType": kind}
    assert set(account.result("POST", f"{INDEX}/metadata_index/create", json=body)) == {"mutationId"}


# --- indexes -------------------------------------------------------------------------------------


def test_an_index_is_created_listed_and_described(account: Account) -> None:
    body = {"name": "other", "description": "d", "config": {"dimensions": 1536, "metric": "dot-product"}}
    answer = account("POST", INDEXES, json=body)
    assert answer.status_code == 201
    described = {
        "created_on": "2026-11-22T12:00:00.000Z",
        "modified_on": "2026-11-22T12:00:00.000Z",
        "name": "other",
        "description": "d",
        "config": {"dimensions": 1536, "metric": "dot-product"},
    }
    assert answer.json()["result"] == described
    assert account.result("GET", f"{INDEXES}/other") == described
    assert [index["name"] for index in account.result("GET", INDEXES)] == [NAME, "other"]


def test_a_preset_decides_dimensions_and_metric(account: Account) -> None:
    body = {"name": "texts", "config": {"preset": "@cf/baai/bge-base-en-v1.5"}}
    assert account.result("POST", INDEXES, json=body)["config"] == {"dimensions": 768, "metric": "cosine"}


@pytest.mark.parametrize("dimensions", [31, 1537, 0, -1, 32.5, "32", None])
def test_dimensions_outside_32_to_1536_are_refused(account: Account, dimensions: Any) -> None:
    body = {"name": "other", "config": {"dimensions": dimensions, "metric": "cosine"}}
    status, _, message = account.refusal("POST", INDEXES, json=body)
    assert (status, message) == (400, "vectorize.index.invalid_config - Dimensions must be in range: [32, 1536]")


@pytest.mark.parametrize("config", [None, {}, {"dimensions": 32, "metric": "manhattan"}, {"preset": "mine"}])
def test_a_configuration_that_is_none_is_refused(account: Account, config: Any) -> None:
    status, _, message = account.refusal("POST", INDEXES, json={"name": "other", "config": config})
    assert status == 400
    assert message.startswith("vectorize.index.invalid_config")


@pytest.mark.parametrize("name", ["", "a", "Aa", "1a", "a.b", "a-", "-a", "é" * 3, "a" * 65, 7, None])
def test_an_index_name_is_lower_case_and_at_most_64_bytes(account: Account, name: Any) -> None:
    status, _, message = account.refusal("POST", INDEXES, json={"name": name, "config": CONFIG})
    assert status == 400
    assert message.startswith("vectorize.index.invalid_name")


def test_an_index_name_of_64_bytes_is_taken(account: Account) -> None:
    name = "geopin-" + "a" * 54 + "-v1"
    assert account.result("POST", INDEXES, json={"name": name, "config": CONFIG})["name"] == name


def test_a_second_index_of_the_same_name_is_refused(account: Account) -> None:
    refusal = account.refusal("POST", INDEXES, json={"name": NAME, "config": CONFIG})
    assert refusal == (409, 3002, f'vectorize.index.duplicate_name - Index name "{NAME}"')


def test_the_name_of_a_deleted_index_is_never_free_again(account: Account) -> None:
    upsert(account, line("1"))
    assert account.result("DELETE", INDEX) is None
    assert account.refusal("GET", INDEX) == (410, 3005, f'vectorize.index.deleted - Index name "{NAME}" was deleted')
    assert account.refusal("POST", INDEXES, json={"name": NAME, "config": CONFIG})[:2] == (409, 3002)
    assert account.result("GET", INDEXES) == []


def test_an_index_that_never_was_is_not_found(account: Account) -> None:
    expected = (404, 3000, 'vectorize.index.not_found - Index name "nope"')
    assert account.refusal("GET", f"{INDEXES}/nope/info") == expected
    assert account.refusal("POST", f"{INDEXES}/nope/upsert", content=ndjson(line("1")), headers=NDJSON) == expected


def test_an_account_has_so_many_indexes(build: Build) -> None:
    account = build(indexes=1)
    assert account.refusal("POST", INDEXES, json={"name": "other", "config": CONFIG})[0] == 400


# --- uploads -------------------------------------------------------------------------------------


def test_vectors_come_back_as_float32_with_namespace_and_metadata(account: Account) -> None:
    metadata = {"source": "a", "year": 2020, "deep": {"er": True}, "tags": ["x"]}
    upsert(account, {"id": "1", "values": [0.1] * DIM, "namespace": "n", "metadata": metadata}, line("2", 2))
    first, second = get(account, "1", "2", "none")
    assert first == {"id": "1", "values": [float(np.float32(0.1))] * DIM, "namespace": "n", "metadata": metadata}
    assert set(second) == {"id", "values"}


def test_vectors_can_be_uploaded_as_a_file_in_a_form(account: Account) -> None:
    body = ndjson(line("1"), line("2"))
    files = {"vectors": ("vectors.ndjson", body, "application/x-ndjson")}
    account.result("POST", f"{INDEX}/upsert", files=files)
    assert len(get(account, "1", "2")) == 2
    refusal = account.refusal("POST", f"{INDEX}/upsert", files={"other": ("v.ndjson", body)})
    assert refusal == (400, 1005, "vectorize.unknown_content_type")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/ndjson", "", "multipart/form-data"])
def test_another_content_type_is_refused(account: Account, kind: str) -> None:
    assert refused(account, ndjson(line("1")), {"Content-Type": kind}) == (400, 1005, "vectorize.unknown_content_type")
    assert get(account, "1") == []


def test_an_upsert_replaces_everything_and_an_insert_keeps_what_is_there(account: Account) -> None:
    upsert(account, line("1", 1, namespace="n", metadata={"a": 1}))
    upsert(account, line("1", 2), line("2"), operation="insert")
    assert get(account, "1") == [line("1", 1, namespace="n", metadata={"a": 1})]
    upsert(account, line("1", 2), line("1", 3))
    assert get(account, "1", "2") == [line("1", 3), line("2")]


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b'["a list"]',
        b'"{\\"id\\": \\"a string\\"}"',
        b'{"id": 1, "values": [1.0]}',
        b'{"id": "", "values": [1.0]}',
        b'{"values": [1.0]}',
        b'{"id": "1"}',
        b'{"id": "1", "values": {"0": 1.0}}',
        b'{"id": "1", "values": ["1.0"]}',
        b'{"id": "1", "values": [null]}',
        b'{"id": "1", "values": [true]}',
        b'{"id": "1", "values": [NaN]}',
        b'{"id": "1", "values": [Infinity]}',
        b'{"id": "1", "values": [1e400]}',
        b'{"id": "1", "values": [1.0], "namespace": 3}',
        b'{"id": "1", "values": [1.0], "metadata": []}',
    ],
)
def test_a_line_that_is_no_vector_refuses_the_upload_with_its_number(account: Account, bad: bytes) -> None:
    body = ndjson(line("good")) + b"\n" + bad + b"\n"
    text = "failed to parse upsert vectors request in ndjson format: line Some(1) was not expected format"
    assert refused(account, body) == (400, 40023, text)
    assert get(account, "good") == []


def test_a_json_array_is_no_ndjson(account: Account) -> None:
    status, code, message = refused(account, orjson.dumps([line("1")]))
    assert (status, code) == (400, 40023)
    assert "line Some(0)" in message


def test_nothing_is_no_upload(account: Account) -> None:
    assert refused(account, b"\n\n")[:2] == (400, 40023)


def test_lines_that_are_no_vectors_can_be_discarded(account: Account) -> None:
    path = f"{INDEX}/upsert?unparsable-behavior=discard"
    body = b"nonsense\n" + ndjson(line("1")) + b"\n"
    account.result("POST", path, content=body, headers=NDJSON)
    assert get(account, "1") == [line("1")]
    short = ndjson({"id": "2", "values": [1.0]})
    assert account.refusal("POST", path, content=short, headers=NDJSON)[:2] == (400, 40012)


def test_a_vector_of_another_dimension_is_refused(account: Account) -> None:
    text = 'invalid vector for id="2", expected 32 dimensions, and got 31 dimensions'
    assert refused(account, ndjson(line("1"), {"id": "2", "values": [0.0] * 31})) == (400, 40012, text)
    assert get(account, "1") == []


def test_a_value_beyond_float32_is_refused(account: Account) -> None:
    status, _, message = refused(account, ndjson({"id": "1", "values": [1e39] + [0.0] * 31}))
    assert (status, "not a finite float32" in message) == (400, True)


def test_an_upload_has_at_most_5000_vectors(account: Account) -> None:
    rows = [orjson.dumps({"id": str(n), "values": [0] * DIM}) for n in range(5001)]
    status, _, message = refused(account, b"\n".join(rows))
    assert (status, message) == (400, "too many vectors in payload; max vector count is 5000, got 5001")
    account.result("POST", f"{INDEX}/upsert", content=b"\n".join(rows[:5000]), headers=NDJSON)
    assert info(account)["vectorCount"] == 5000


def test_an_upload_has_at_most_100_megabytes(build: Build) -> None:
    assert Limits().upload_bytes == 100_000_000
    account = build(upload_bytes=1000)
    body = ndjson(line("1"))
    assert refused(account, body + b" " * (1001 - len(body)))[0] == 413
    account.result("POST", f"{INDEX}/upsert", content=body + b" " * (1000 - len(body)), headers=NDJSON)


def test_an_id_has_at_most_64_bytes(account: Account) -> None:
    assert refused(account, ndjson(line("é" * 33))) == (400, 40008, "id too long; max is 64 bytes, got 66 bytes")
    upsert(account, line("é" * 32))
    assert len(get(account, "é" * 32)) == 1


def test_a_namespace_has_at_most_64_bytes(account: Account) -> None:
    status, _, message = refused(account, ndjson(line("1", namespace="n" * 65)))
    assert (status, message) == (400, "namespace too long; max is 64 bytes, got 65 bytes")
    upsert(account, line("1", namespace="n" * 64))


def test_an_index_has_so_many_namespaces(build: Build) -> None:
    assert Limits().namespaces_per_index == 50_000
    account = build(namespaces_per_index=2)
    upsert(account, line("1", namespace="a"), line("2", namespace="b"))
    assert refused(account, ndjson(line("3", namespace="c")))[0] == 400
    upsert(account, line("3", namespace="a"), line("4"))


def test_metadata_has_at_most_10_kibibytes(account: Account) -> None:
    room = 10_240 - len('{"a":""}')
    upsert(account, line("1", metadata={"a": "x" * room}))
    text = (
        'oversized metadata for vector id="1"; the compact JSON representation of the metadata '
        "must not exceed 10240 bytes, got 10241 bytes"
    )
    assert refused(account, ndjson(line("1", metadata={"a": "x" * (room + 1)}))) == (400, 40016, text)


@pytest.mark.parametrize("key", ["", "a.b", 'a"b', "$a"])
def test_a_metadata_key_has_rules(account: Account, key: str) -> None:
    for metadata in ({key: 1}, {"deep": {key: 1}}):
        status, _, message = refused(account, ndjson(line("1", metadata=metadata)))
        assert (status, "metadata key" in message) == (400, True)
    upsert(account, line("1", metadata={"a$b-c d": 1}))


def test_an_index_holds_so_many_vectors_counting_those_that_are_on_their_way(build: Build, clock: Clock) -> None:
    assert Limits().vectors_per_index == 20_000_000
    account = build(lag=Lag(mutation_s=10, count_s=0), vectors_per_index=3)
    upsert(account, line("1"), line("2"))
    assert refused(account, ndjson(line("3"), line("4")))[0] == 400
    upsert(account, line("2"), line("3"))
    clock.sleep(10)
    upsert(account, line("1", 9))
    assert refused(account, ndjson(line("4")))[0] == 400


# --- mutations -----------------------------------------------------------------------------------


def test_reads_see_a_mutation_only_when_it_is_processed(build: Build, clock: Clock) -> None:
    account = build(lag=Lag(mutation_s=30, count_s=60))
    assert info(account) == {
        "dimensions": DIM,
        "vectorCount": 0,
        "processedUpToDatetime": None,
        "processedUpToMutation": None,
    }
    first = upsert(account, line("1"))
    clock.sleep(10)
    second = account.result("POST", f"{INDEX}/delete_by_ids", json={"ids": ["1"]})["mutationId"]
    assert (get(account, "1"), query(account)) == ([], [])
    clock.sleep(20)
    assert info(account)["processedUpToMutation"] == first
    assert info(account)["processedUpToDatetime"] == "2026-11-22T12:00:30.000Z"
    assert len(get(account, "1")) == len(query(account)) == 1
    clock.sleep(10)
    assert info(account)["processedUpToMutation"] == second
    assert get(account, "1") == account.result("GET", f"{INDEX}/list")["vectors"] == []


def test_the_count_is_behind_what_reads_see_and_rounded(build: Build, clock: Clock) -> None:
    account = build(lag=Lag(mutation_s=30, count_s=60))
    upsert(account, *(line(str(n)) for n in range(1234)))
    clock.sleep(30)
    assert len(get(account, "1233")) == 1
    assert info(account)["vectorCount"] == 0
    clock.sleep(59)
    assert info(account)["vectorCount"] == 0
    clock.sleep(1)
    assert info(account)["vectorCount"] == 1230
    assert account.result("GET", f"{INDEX}/list")["totalCount"] == 1234


def test_mutations_have_ids_of_their_own(account: Account) -> None:
    ids = {upsert(account, line("1")), upsert(account, line("1"))}
    make_filterable(account, "source")
    assert len(ids | {info(account)["processedUpToMutation"]}) == 3


# --- by id ---------------------------------------------------------------------------------------


def test_20_ids_are_read_and_100_deleted_at_once_and_no_more(account: Account) -> None:
    ids = [str(n) for n in range(101)]
    text = "too many ids in payload; max id count is {}, got {}"
    assert account.refusal("POST", f"{INDEX}/get_by_ids", json={"ids": ids[:21]}) == (400, 40007, text.format(20, 21))
    assert account.refusal("POST", f"{INDEX}/delete_by_ids", json={"ids": ids}) == (400, 40007, text.format(100, 101))
    upsert(account, *map(line, ids))
    assert len(get(account, *ids[:20])) == 20
    account.result("POST", f"{INDEX}/delete_by_ids", json={"ids": ids[:100]})
    assert [v["id"] for v in get(account, "99", "100")] == ["100"]


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "1"}, {"ids": [1]}, []])
def test_ids_are_a_list_of_texts(account: Account, body: Any) -> None:
    for operation in ("get_by_ids", "delete_by_ids"):
        assert account.refusal("POST", f"{INDEX}/{operation}", json=body)[:2] == (400, 40026)


@pytest.mark.parametrize(
    "path",
    [INDEXES, f"{INDEX}/get_by_ids", f"{INDEX}/delete_by_ids", f"{INDEX}/query", f"{INDEX}/metadata_index/create"],
)
def test_json_needs_its_content_type_and_must_be_json(account: Account, path: str) -> None:
    refusal = account.refusal("POST", path, content=b"{}")
    assert refusal == (400, 40026, "Expected request with `Content-Type: application/json`")
    status, code, message = account.refusal("POST", path, content=b"{", headers={"Content-Type": "application/json"})
    assert (status, code) == (400, 40026)
    assert message.startswith("Failed to parse the request body as JSON: ")


# --- search --------------------------------------------------------------------------------------


def test_a_search_with_values_is_exact(account: Account) -> None:
    upsert(account, *(line(str(n), n) for n in range(300)))
    matches = query(account, topK=50, returnValues=True)
    stored = np.array([unit(n) for n in range(300)])
    cosine = stored @ np.array(unit(1))
    best = np.argsort(-cosine)[:50]
    assert [match["id"] for match in matches] == [str(n) for n in best]
    np.testing.assert_allclose([match["score"] for match in matches], cosine[best], atol=1e-6)
    assert matches[0]["values"] == unit(1)


def test_a_search_without_values_is_approximate(account: Account) -> None:
    upsert(account, *(line(str(n), n) for n in range(300)))
    stored = np.array([unit(n) for n in range(300)])
    cosine = stored @ np.array(unit(1))
    matches = query(account, topK=100)
    errors = np.array([match["score"] - cosine[int(match["id"])] for match in matches])
    assert 1e-5 < np.abs(errors).max() < 0.02
    assert set(matches[0]) == {"id", "score"}


def test_five_matches_are_given_unless_said_otherwise(account: Account) -> None:
    upsert(account, *(line(str(n), n) for n in range(9)))
    assert len(query(account)) == 5
    assert len(query(account, topK=7)) == 7


def test_a_search_can_start_from_a_stored_vector_and_stay_in_a_namespace(account: Account) -> None:
    upsert(account, line("1", 1, namespace="a"), line("2", 2, namespace="a"), line("3", 1, namespace="b"))
    body = {"vectorId": "3", "namespace": "a", "returnValues": True}
    matches = account.result("POST", f"{INDEX}/query", json=body)["matches"]
    assert [(match["id"], match["namespace"]) for match in matches] == [("1", "a"), ("2", "a")]
    assert account.refusal("POST", f"{INDEX}/query", json={"vectorId": "9"})[0] == 404


@pytest.mark.parametrize(("metric", "scores"), [("euclidean", [1.0, 5.0]), ("dot-product", [-7.0, 0.0])])
def test_other_metrics_put_the_smallest_score_first(build: Build, metric: str, scores: list[float]) -> None:
    account = build(config={"dimensions": DIM, "metric": metric})
    near, far = [3.0, 1.0] + [0.0] * 30, [2.0, -4.0] + [0.0] * 30
    upsert(account, {"id": "far", "values": far}, {"id": "near", "values": near})
    matches = query(account, vector=[2.0, 1.0] + [0.0] * 30, returnValues=True)
    assert [match["id"] for match in matches] == ["near", "far"]
    np.testing.assert_allclose([match["score"] for match in matches], scores)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"topK": 101}, "max top K is 100, but got 101"),
        (
            {"topK": 51, "returnValues": True},
            "with returnValues=true or returnMetadata=all, max top K is 50, but got 51; "
            "for a top K up to 100, retry with returnValues=false and returnMetadata=indexed",
        ),
        (
            {"topK": 100, "returnMetadata": "all"},
            "with returnValues=true or returnMetadata=all, max top K is 50, but got 100; "
            "for a top K up to 100, retry with returnValues=false and returnMetadata=indexed",
        ),
    ],
)
def test_more_matches_than_one_search_gives_are_refused(account: Account, body: dict[str, Any], message: str) -> None:
    assert account.refusal("POST", f"{INDEX}/query", json={"vector": unit(1), **body}) == (400, 40025, message)


def test_as_many_matches_as_one_search_gives_are_given(account: Account) -> None:
    upsert(account, *(line(str(n), n) for n in range(120)))
    assert len(query(account, topK=100)) == 100
    assert len(query(account, topK=100, returnMetadata="indexed")) == 100
    assert len(query(account, topK=50, returnValues=True, returnMetadata="all")) == 50


def test_a_query_vector_has_the_dimensions_of_the_index(account: Account) -> None:
    text = "invalid query vector, expected 32 dimensions, and got 3 dimensions"
    assert account.refusal("POST", f"{INDEX}/query", json={"vector": [1, 2, 3]}) == (400, 40006, text)


@pytest.mark.parametrize(
    "body",
    [
        {"returnMetadata": False},
        {"returnMetadata": "some"},
        {"returnValues": "yes"},
        {"topK": 0},
        {"topK": "5"},
        {"vector": "x"},
        {"vector": None},
        {"vectorId": "1"},
    ],
)
def test_a_query_in_another_format_is_refused(account: Account, body: dict[str, Any]) -> None:
    assert account.refusal("POST", f"{INDEX}/query", json={"vector": unit(1), **body})[:2] == (400, 40026)


def test_metadata_comes_whole_or_as_it_is_indexed(account: Account) -> None:
    make_filterable(account, "source")
    metadata = {"source": "é" * 40, "other": 1}
    upsert(account, line("1", metadata=metadata))
    assert "metadata" not in query(account)[0]
    assert query(account, returnMetadata="all")[0]["metadata"] == metadata
    assert query(account, returnMetadata="indexed")[0]["metadata"] == {"source": "é" * 32}


# --- filters -------------------------------------------------------------------------------------


@pytest.fixture
def filterable(account: Account) -> Account:
    for name, kind in (("source", "string"), ("year", "number"), ("is_pano", "boolean"), ("deep.er", "string")):
        make_filterable(account, name, kind)
    upsert(
        account,
        line("a", metadata={"source": "flickr", "year": 2020, "is_pano": True}),
        line("b", metadata={"source": "mapillary", "year": 2021, "is_pano": False, "deep": {"er": "x"}}),
        line("c", metadata={"source": "mapilio", "year": 2022.5}),
        line("d"),
    )
    return account


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"source": "flickr"}, "a"),
        ({"source": {"$eq": "flickr"}}, "a"),
        ({"source": {"$ne": "flickr"}}, "bc"),
        ({"source": {"$in": ["flickr", "mapilio"]}}, "ac"),
        ({"source": {"$nin": ["flickr", "mapilio"]}}, "b"),
        ({"source": {"$gte": "mapil", "$lt": "mapim"}}, "bc"),
        ({"year": {"$gt": 2020, "$lte": 2022}}, "b"),
        ({"year": {"$lt": 2021}}, "a"),
        ({"year": 2022.5}, "c"),
        ({"year": "2020"}, ""),
        ({"is_pano": True}, "a"),
        ({"is_pano": 1}, ""),
        ({"deep.er": "x"}, "b"),
        ({"source": {"$ne": "flickr"}, "year": {"$lt": 2022}}, "b"),
        ({"source": None}, ""),
    ],
)
def test_a_filter_is_applied_before_the_nearest_are_taken(filterable: Account, where: Any, ids: str) -> None:
    assert {match["id"] for match in query(filterable, filter=where, topK=10)} == set(ids)


@pytest.mark.parametrize(
    "where",
    [
        {},
        [],
        "source",
        {"lon": 4.9},
        {"$or": [{"source": "a"}]},
        {"source": {"$like": "a"}},
        {"source": {}},
        {"source": {"$eq": ["a"]}},
        {"source": {"$in": "a"}},
        {"source": {"$in": []}},
        {"source": {"$lt": True}},
        {"source": {"$lt": None}},
        {"year": {"$gt": 1, "$gte": 2}},
        {"year": {"$gt": 1, "$ne": 2}},
        {"year": {"$eq": 1, "$in": [1]}},
        {"": "a"},
        {'so"urce': "a"},
        {"x" * 513: "a"},
    ],
)
def test_a_filter_outside_the_grammar_is_refused(filterable: Account, where: Any) -> None:
    status, _, message = filterable.refusal("POST", f"{INDEX}/query", json={"vector": unit(1), "filter": where})
    assert status == 400
    assert message.startswith("invalid filter: ")


def test_a_filter_has_less_than_2048_bytes(filterable: Account) -> None:
    where = {"source": "x" * (2047 - len('{"source":""}'))}
    assert query(filterable, filter=where) == []
    where["source"] += "x"
    message = filterable.refusal("POST", f"{INDEX}/query", json={"vector": unit(1), "filter": where})[2]
    assert message == "invalid filter: its compact JSON must be less than 2048 bytes, got 2048"


def test_a_filter_sees_64_bytes_of_a_text(filterable: Account) -> None:
    upsert(filterable, line("long", metadata={"source": "x" * 70}))
    assert [match["id"] for match in query(filterable, filter={"source": "x" * 64})] == ["long"]
    assert query(filterable, filter={"source": "x" * 70}) == []


def test_a_metadata_index_sees_only_what_is_upserted_after_it(build: Build, clock: Clock) -> None:
    account = build(lag=Lag(mutation_s=10, count_s=0))
    upsert(account, line("before", metadata={"source": "a"}))
    make_filterable(account, "source")
    upsert(account, line("after", metadata={"source": "a"}))
    assert account.result("GET", f"{INDEX}/metadata_index/list") == {"metadataIndexes": []}
    clock.sleep(10)
    made = [{"propertyName": "source", "indexType": "string"}]
    assert account.result("GET", f"{INDEX}/metadata_index/list") == {"metadataIndexes": made}
    assert [match["id"] for match in query(account, filter={"source": "a"})] == ["after"]
    assert [match["id"] for match in query(account, filter={"source": {"$ne": "b"}})] == ["after"]
    upsert(account, line("before", metadata={"source": "a"}))
    clock.sleep(10)
    assert len(query(account, filter={"source": "a"})) == 2


def test_a_metadata_index_made_anew_has_forgotten_what_it_saw(filterable: Account) -> None:
    filterable.result("POST", f"{INDEX}/metadata_index/delete", json={"propertyName": "source"})
    status, _, message = filterable.refusal(
        "POST", f"{INDEX}/query", json={"vector": unit(1), "filter": {"source": "a"}}
    )
    assert (status, message) == (400, "invalid filter: no metadata index on 'source'")
    make_filterable(filterable, "source")
    assert query(filterable, filter={"source": "flickr"}) == []
    assert filterable.refusal("POST", f"{INDEX}/metadata_index/delete", json={"propertyName": "no"})[0] == 400


def test_an_index_has_10_metadata_indexes_counting_those_on_their_way(build: Build, clock: Clock) -> None:
    account = build(lag=Lag(mutation_s=10, count_s=0))
    for n in range(5):
        make_filterable(account, f"p{n}")
    clock.sleep(10)
    for n in range(5, 10):
        make_filterable(account, f"p{n}")
    make_filterable(account, "p9")
    body = {"propertyName": "p10", "indexType": "string"}
    status, _, message = account.refusal("POST", f"{INDEX}/metadata_index/create", json=body)
    assert (status, message) == (400, "invalid metadata index: at most 10 per index")
    clock.sleep(10)
    assert len(account.result("GET", f"{INDEX}/metadata_index/list")["metadataIndexes"]) == 10


@pytest.mark.parametrize(
    "body",
    [
        {"propertyName": "a", "indexType": "text"},
        {"indexType": "string"},
        {"propertyName": "$a", "indexType": "number"},
    ],
)
def test_a_metadata_index_has_a_name_and_a_type(account: Account, body: dict[str, str]) -> None:
    assert account.refusal("POST", f"{INDEX}/metadata_index/create", json=body)[0] == 400


# --- lists ---------------------------------------------------------------------------------------


def pages(account: Account, count: int) -> Iterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = account.result("GET", f"{INDEX}/list", params={"count": str(count), **cursor})
        yield page
        if not page["isTruncated"]:
            assert page["nextCursor"] is None
            return
        cursor = {"cursor": page["nextCursor"]}


def test_a_list_shows_the_index_as_it_was_at_the_first_page(account: Account) -> None:
    upsert(account, *(line(f"{n:02d}") for n in range(25)))
    seen = []
    for page in pages(account, 10):
        assert page["totalCount"] == 25
        assert page["count"] == len(page["vectors"])
        seen += [vector["id"] for vector in page["vectors"]]
        account.result("POST", f"{INDEX}/delete_by_ids", json={"ids": ["24"]})
        upsert(account, line("99"))
    assert seen == [f"{n:02d}" for n in range(25)]


def test_a_page_has_100_ids_unless_said_otherwise_and_at_most_1000(account: Account) -> None:
    upsert(account, *(line(str(n)) for n in range(1001)))
    assert account.result("GET", f"{INDEX}/list")["count"] == 100
    assert [page["count"] for page in pages(account, 1000)] == [1000, 1]
    for count in ("1001", "0", "-1", "x"):
        assert account.refusal("GET", f"{INDEX}/list?count={count}")[0] == 400


def test_a_cursor_expires(account: Account, clock: Clock) -> None:
    upsert(account, line("1"), line("2"))
    page = account.result("GET", f"{INDEX}/list?count=1")
    assert page["cursorExpirationTimestamp"] == "2026-11-22T13:00:00.000Z"
    clock.sleep(3600)
    for cursor in (page["nextCursor"], "made-up"):
        assert account.refusal("GET", f"{INDEX}/list", params={"cursor": cursor})[0] == 400


def test_the_answer_to_a_list_has_the_documented_keys(account: Account) -> None:
    keys = {"count", "totalCount", "isTruncated", "nextCursor", "cursorExpirationTimestamp", "vectors"}
    assert set(account.result("GET", f"{INDEX}/list")) == keys
