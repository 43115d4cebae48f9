"""D1 on the wire: one JSON parameter per statement, halves of what is too large, a database that is found or made."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.index.cloudflare import D1Store, RequestTooLarge
from geopin_assets.index.protocol import WriteResult
from geopin_assets.index.tables import TABLES, migrations, row_chunks, statements
from geopin_assets_tests.http_client.world import Server
from geopin_assets_tests.index.cloudflare.world import (
    DATABASES,
    api_of,
    body_of,
    failure,
    ran,
    result,
    rows_result,
)
from geopin_assets_tests.index.frames import captures

UUID = "7a1f0c9e-0000-4000-8000-000000000001"
RAW = f"{DATABASES}/{UUID}/raw"
FOUND = result([{"name": "geopin-old", "uuid": "other"}, {"name": "geopin", "uuid": UUID}])
NAMES, SCRIPTS = zip(*migrations(), strict=True)
UP_TO_DATE = ran(rows_result(), rows_result(*[[name] for name in NAMES], columns=("name",)))
NOT_YET = ran(rows_result(), rows_result(columns=("name",)))


def store_of(folder: Path, *replies: Any, **options: Any) -> tuple[D1Store, Server]:
    """A store whose database is found by the first request."""
    api, server, _ = api_of(folder, FOUND, *replies)
    return D1Store(api, "geopin", **options), server


def applied_all(script: str) -> httpx.Response:
    """What D1 says of a migration and the record of it."""
    return ran(*[rows_result()] * (len(list(statements(script))) + 1))


def wrote(changes: int) -> httpx.Response:
    return ran(rows_result(changes=changes))


def test_rows_travel_as_one_text_parameter(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, wrote(2))
    rows = captures([("s:1", 1), ("s:2", 2)])
    assert store.upsert("captures", rows) == WriteResult(changes=2, rows_written=2, requests=1)
    found, request = server.requests
    assert (found.method, found.url.path) == ("GET", DATABASES)
    assert dict(found.url.params) == {"name": "geopin", "page": "1", "per_page": "100"}
    assert (request.method, request.url.path) == ("POST", RAW)
    assert request.headers["content-type"] == "application/json"
    assert body_of(request) == {
        "sql": TABLES["captures"].upsert_sql,
        "params": list(row_chunks(TABLES["captures"], rows)),
    }


def test_ids_to_delete_travel_as_one_text_parameter(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, wrote(1))
    assert store.delete("captures", ["s:1", "s:é'"]).changes == 1
    assert body_of(server.requests[1]) == {"sql": TABLES["captures"].delete_sql, "params": ['["s:1","s:é\'"]']}


def test_a_query_sends_text_and_gives_a_frame(tmp_path: Path) -> None:
    there = rows_result(["s:1", 4], ["s:2", 5.5], ["s:3", None], columns=("id", "heading_deg"))
    store, server = store_of(tmp_path, ran(there), ran(rows_result(columns=("id",))))
    found = store.query("SELECT id", ["x", 9_007_199_254_740_993, 0.5, True, None])
    assert found.equals(pl.DataFrame({"id": ["s:1", "s:2", "s:3"], "heading_deg": [4.0, 5.5, None]}))
    assert body_of(server.requests[1]) == {"sql": "SELECT id", "params": ["x", "9007199254740993", "0.5", "1", None]}
    assert store.query("SELECT id").columns == ["id"]
    assert body_of(server.requests[2]) == {"sql": "SELECT id"}


def test_what_is_too_large_is_halved_down_to_single_rows(tmp_path: Path) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return FOUND
        count = len(orjson.loads(body_of(request)["params"][0]))
        too_much = failure(7500, "D1 DB's isolate exceeded its memory limit and was reset.", nothing=[])
        return too_much if count > 3 else wrote(count)

    api, server, _ = api_of(tmp_path, reply)
    rows = captures([(f"s:{i}", i) for i in range(10)])
    assert D1Store(api, "geopin").upsert("captures", rows) == WriteResult(10, 10, requests=7)
    sent = [orjson.loads(body_of(request)["params"][0]) for request in server.requests[1:]]
    assert [len(part) for part in sent] == [10, 5, 2, 3, 5, 2, 3]
    (whole,) = row_chunks(TABLES["captures"], rows)
    assert [row for part in sent if len(part) <= 3 for row in part] == orjson.loads(whole)


def test_a_single_row_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, failure(7500, "string or blob too big: SQLITE_TOOBIG", nothing=[]))
    with pytest.raises(RequestTooLarge, match="7500: string or blob too big"):
        store.upsert("captures", captures([("s:1", 1), ("s:2", 2)]))
    assert len(server.requests) == 3


def test_what_is_billed_is_what_the_service_says(tmp_path: Path) -> None:
    billed = {"success": True, "results": {}, "meta": {"changes": 3, "rows_written": 9}}
    store, server = store_of(tmp_path, ran(billed))
    written = store.upsert("captures", captures([(f"s:{i}", i) for i in range(7_000)]))
    requests = len(server.requests) - 1
    assert written == WriteResult(3 * requests, 9 * requests, requests)


def test_a_write_whose_answer_was_lost_is_repeated(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, httpx.ReadTimeout("slow"), wrote(0))
    assert store.upsert("captures", captures([("s:1", 1)])) == WriteResult(requests=2)
    assert server.requests[1].content == server.requests[2].content


def test_a_database_that_is_there_and_up_to_date_is_left_alone(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, UP_TO_DATE)
    store.migrate()
    store.migrate()
    assert [request.method for request in server.requests] == ["GET", "POST"]
    batch = body_of(server.requests[1])["batch"]
    assert batch[0]["sql"].startswith("CREATE TABLE IF NOT EXISTS d1_migrations")
    assert batch[1] == {"sql": "SELECT name FROM d1_migrations"}


def test_a_database_that_is_missing_is_made_near_its_readers_and_migrated(tmp_path: Path) -> None:
    created = result({"name": "geopin", "uuid": UUID})
    api, server, _ = api_of(tmp_path, result([]), created, NOT_YET, *map(applied_all, SCRIPTS))
    D1Store(api, "geopin").migrate()
    assert body_of(server.requests[1]) == {"name": "geopin", "primary_location_hint": "weur"}
    applied = [body_of(request)["batch"] for request in server.requests[3:]]
    assert [batch[-1] for batch in applied] == [
        {"sql": "INSERT INTO d1_migrations (name) VALUES (?1)", "params": [name]} for name in NAMES
    ]
    assert applied[0][0]["sql"].startswith("-- What a search shows")
    assert [statement["sql"].count("CREATE TABLE") for statement in applied[0][:-1]] == [1] * 4


def test_a_name_is_looked_for_on_every_page_and_in_full(tmp_path: Path) -> None:
    page = [{"name": f"geopin-{i}", "uuid": str(i)} for i in range(100)]
    api, server, _ = api_of(tmp_path, result(page), FOUND, ran(rows_result([5], columns=("count(*)",))))
    assert D1Store(api, "geopin").count("captures") == 5
    assert [dict(request.url.params).get("page") for request in server.requests] == ["1", "2", None]


def test_reading_makes_no_database(tmp_path: Path) -> None:
    api, server, _ = api_of(tmp_path, result([]))
    with pytest.raises(PermanentError, match="no database geopin yet: publish a region first"):
        D1Store(api, "geopin").count("captures")
    assert [request.method for request in server.requests] == ["GET"]


def test_a_database_whose_creation_was_answered_to_nobody_is_found(tmp_path: Path) -> None:
    twice = failure(7502, "A database with that name already exists")
    api, server, _ = api_of(tmp_path, result([]), httpx.ReadTimeout("slow"), twice, FOUND, UP_TO_DATE)
    D1Store(api, "geopin").migrate()
    assert [request.method for request in server.requests] == ["GET", "POST", "POST", "GET", "POST"]


def test_a_migration_whose_answer_was_lost_counts_as_done(tmp_path: Path) -> None:
    twice = failure(7500, "table captures already exists: SQLITE_ERROR", nothing=[])
    store, _ = store_of(tmp_path, NOT_YET, httpx.ReadTimeout("slow"), twice, UP_TO_DATE, *map(applied_all, SCRIPTS[1:]))
    store.migrate()


def test_a_migration_that_fails_is_an_error(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path, NOT_YET, failure(7500, 'near "CREAT": syntax error: SQLITE_ERROR'), NOT_YET)
    with pytest.raises(PermanentError, match="syntax error"):
        store.migrate()


def test_a_database_is_asked_one_statement_at_a_time(tmp_path: Path) -> None:
    is_alone = []

    def reply(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return FOUND
        is_alone.append(store._turn.locked())
        return ran(rows_result([1], columns=("n",)))

    api, _, _ = api_of(tmp_path, reply)
    store = D1Store(api, "geopin")
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: store.count("captures"), range(8))) == [1] * 8
    assert is_alone == [True] * 8


def test_the_place_to_go_back_to_is_reported(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, result({"bookmark": "0000007b-0000b26e-00001538-0c3e87bb"}))
    assert store.bookmark() == "0000007b-0000b26e-00001538-0c3e87bb"
    assert server.requests[1].url.path == f"{DATABASES}/{UUID}/time_travel/bookmark"


@pytest.mark.parametrize("value", [[{"success": True}], [rows_result() | {"meta": {}}], [], None, {"rows": []}])
def test_an_answer_of_another_shape_is_named(tmp_path: Path, value: Any) -> None:
    store, _ = store_of(tmp_path, result(value))
    with pytest.raises(PayloadError):
        store.upsert("captures", captures([("s:1", 1)]))


def test_a_database_that_is_busy_is_told_as_something_that_passes(tmp_path: Path) -> None:
    store, server = store_of(tmp_path, failure(7500, "D1 DB is overloaded. Too many requests queued.", nothing=[]))
    with pytest.raises(TransientError, match="overloaded"):
        store.count("captures")
    assert len(server.requests) == 8


def test_the_ledger_tells_accounts_and_databases_apart_without_showing_the_account(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path)
    assert store.store_key == "d1:3eb1bd43:geopin"
