"""D1 beyond its SQL: databases, sizes and times, imports, exports, time travel. Queries: `index/test_d1_engine.py`."""

from collections.abc import Callable, Iterator
from hashlib import md5
from typing import Any

import httpx
import pytest

from geopin_assets_tests.cloudflare import CloudflareEmulator, Lag, Limits
from geopin_assets_tests.cloudflare.transport import Account, CloudflareTransport
from geopin_assets_tests.index.frames import Clock

DATABASES = "d1/database"
NOBODY = "00000000-0000-0000-0000-000000000000"
FILE = b"CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID;\nINSERT INTO t VALUES ('x;y'), ('z');\n-- the end\n"

Build = Callable[..., "Base"]


class Base:
    """One database and how to talk to it."""

    def __init__(self, emulator: CloudflareEmulator) -> None:
        self.account = Account(emulator)
        self.uuid = self.account.result("POST", DATABASES, json={"name": "captures"})["uuid"]
        self.path = f"{DATABASES}/{self.uuid}"

    def run(self, sql: str, params: list[Any] | None = None) -> dict[str, Any]:
        return self.account.result("POST", f"{self.path}/query", json={"sql": sql, "params": params or []})[-1]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.run(sql)["results"]

    def refusal(self, sql: str, params: list[Any] | None = None) -> tuple[int, int, str]:
        body = {"sql": sql, "params": params or []}
        assert self.account("POST", f"{self.path}/query", json=body).json()["result"] in ([], None)
        return self.account.refusal("POST", f"{self.path}/query", json=body)

    def import_(self, **body: Any) -> dict[str, Any]:
        return self.account.result("POST", f"{self.path}/import", json=body)

    def init(self, file: bytes = FILE) -> dict[str, Any]:
        return self.import_(action="init", etag=etag(file))

    def ingest(self, file: bytes = FILE) -> dict[str, Any]:
        """Everything up to the first state of the import."""
        started = self.init(file)
        if "upload_url" not in started:
            return started
        assert self.put(started["upload_url"], file).headers["etag"] == f'"{etag(file)}"'
        return self.import_(action="ingest", filename=started["filename"], etag=etag(file))

    def poll(self, bookmark: str = "b") -> dict[str, Any]:
        return self.import_(action="poll", current_bookmark=bookmark)

    def put(self, url: str, body: bytes, **parts: Any) -> httpx.Response:
        """To storage, which wants no token."""
        return self.outside.put(url, content=body, **parts)

    @property
    def outside(self) -> httpx.Client:
        return httpx.Client(transport=CloudflareTransport(self.account.emulator))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def build(clock: Clock) -> Iterator[Build]:
    opened: list[CloudflareEmulator] = []

    def build(*, lag: Lag | None = None, stopwatch: Any = lambda: 0.0, **limits: Any) -> Base:
        opened.append(CloudflareEmulator(limits=Limits(**limits), lag=lag, clock=clock, stopwatch=stopwatch))
        return Base(opened[-1])

    yield build
    for emulator in opened:
        emulator.close()


@pytest.fixture
def base(build: Build) -> Base:
    return build()


def etag(file: bytes) -> str:
    return md5(file, usedforsecurity=False).hexdigest()


# --- databases -----------------------------------------------------------------------------------


def test_a_database_is_created_listed_described_and_deleted(base: Base) -> None:
    account = base.account
    base.run("CREATE TABLE t (a)")
    described = account.result("GET", base.path)
    assert described == {
        "uuid": base.uuid,
        "name": "captures",
        "created_at": "2026-11-22T12:00:00Z",
        "version": "production",
        "num_tables": 1,
        "file_size": 8192,
        "running_in_region": "WEUR",
        "read_replication": {"mode": "disabled"},
    }
    assert account.result("DELETE", base.path) is None
    assert account("GET", DATABASES).json()["result"] == []
    assert account.refusal("GET", base.path) == (404, 7404, f"The database {base.uuid} could not be found")


def test_databases_are_listed_by_page_and_name(base: Base, clock: Clock) -> None:
    for n in range(4):
        clock.sleep(1)
        base.account.result("POST", DATABASES, json={"name": f"geopin-{n}"})
    listed = base.account("GET", DATABASES, params={"name": "geopin", "page": "2", "per_page": "3"}).json()
    assert [database["name"] for database in listed["result"]] == ["geopin-3"]
    assert listed["result_info"] == {"page": 2, "per_page": 3, "count": 1, "total_count": 4}
    assert base.account.refusal("GET", DATABASES, params={"page": "x"})[:2] == (400, 7400)


def test_a_name_is_taken_once(base: Base) -> None:
    refusal = base.account.refusal("POST", DATABASES, json={"name": "captures"})
    assert refusal == (400, 7502, "A database with that name already exists")
    assert base.account.refusal("POST", DATABASES, json={}) == (400, 7400, "Invalid property: name => Required")


@pytest.mark.parametrize("operation", ["query", "raw", "import", "export", "time_travel/restore"])
def test_only_databases_that_exist_are_asked(base: Base, operation: str) -> None:
    missing = (404, 7404, f"The database {NOBODY} could not be found")
    invalid = (400, 7400, "Invalid property: databaseId => Invalid uuid")
    assert base.account.refusal("POST", f"{DATABASES}/{NOBODY}/{operation}", json={"sql": "SELECT 1"}) == missing
    assert base.account.refusal("POST", f"{DATABASES}/captures/{operation}", json={"sql": "SELECT 1"}) == invalid


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"sql": 1}', b'{"sql": "SELECT 1", "params": "x"}', b'{"batch": []}']
)
def test_a_query_in_another_format_is_refused(base: Base, body: bytes) -> None:
    assert base.account.refusal("POST", f"{base.path}/query", content=body)[:2] == (400, 7400)


# --- limits that workerd alone does not have -----------------------------------------------------


def test_a_value_has_at_most_two_megabytes(base: Base) -> None:
    assert base.run("SELECT length(?1) AS n", ["x" * 2_000_000])["results"] == [{"n": 2_000_000}]
    too_big = (400, 7500, "string or blob too big: SQLITE_TOOBIG")
    assert base.refusal("SELECT length(?1)", ["x" * 2_000_001]) == too_big
    assert base.refusal("SELECT length(?1)", ["é" * 1_000_001]) == too_big


def test_a_row_has_at_most_two_megabytes(base: Base) -> None:
    base.run("CREATE TABLE t (a, b)")
    half = "x" * 999_990
    base.run("INSERT INTO t VALUES (?1, ?1)", [half])
    refusal = base.refusal("INSERT INTO t VALUES (?1, ?1)", [half + "x" * 20])
    assert refusal == (400, 7500, "string or blob too big: SQLITE_TOOBIG")


def test_a_function_has_at_most_32_arguments(base: Base) -> None:
    base.run(f"SELECT max({','.join(['1'] * 32)})")
    message = base.refusal(f"SELECT max({','.join(['1'] * 33)})")[2]
    assert message == "too many arguments on function max: SQLITE_ERROR"


def test_a_database_has_at_most_10_gigabytes(build: Build) -> None:
    assert Limits().database_bytes == 10_000_000_000
    base = build(database_bytes=100_000)
    base.run("CREATE TABLE t (a)")
    fill = "INSERT INTO t SELECT value FROM json_each(?1)"
    assert base.refusal(fill, [f'["{"x" * 200_000}"]']) == (400, 7500, "Exceeded maximum DB size")
    assert base.run(fill, [f'["{"x" * 50_000}"]'])["meta"]["size_after"] <= 100_000
    assert base.rows("SELECT length(a) AS n FROM t") == [{"n": 50_000}]


def test_a_call_has_30_seconds_for_all_its_statements(build: Build) -> None:
    seconds = iter(range(0, 1_000_000, 10))
    base = build(stopwatch=lambda: next(seconds))
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    assert base.account.refusal("POST", f"{base.path}/query", json={"sql": endless}) == (
        504,
        7009,
        "Upstream service unavailable",
    )


def test_what_took_too_long_was_not_done(build: Build) -> None:
    clock = {"now": 0.0, "step": 0.0}

    def stopwatch() -> float:
        clock["now"] += clock["step"]
        return clock["now"]

    base = build(stopwatch=stopwatch)
    base.run("CREATE TABLE t (a)")
    clock["step"] = 31.0
    fill = "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 99999) SELECT i FROM n"
    assert base.refusal(fill)[0] == 504
    clock["step"] = 0.0
    assert base.rows("SELECT count(*) AS n FROM t") == [{"n": 0}]


def test_meta_says_what_the_docs_say(base: Base) -> None:
    base.run("CREATE TABLE t (a)")
    assert base.run("INSERT INTO t VALUES (1), (2)")["meta"] == {
        "served_by": "v3-sandbox",
        "served_by_region": "WEUR",
        "served_by_colo": "AMS",
        "served_by_primary": True,
        "timings": {"sql_duration_ms": 0.0},
        "duration": 0.0,
        "changes": 2,
        "last_row_id": 2,
        "changed_db": True,
        "size_after": 8192,
        "rows_read": 2,
        "rows_written": 2,
    }


def test_foreign_keys_hold(base: Base) -> None:
    base.run("CREATE TABLE a (id PRIMARY KEY); CREATE TABLE b (a REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
    message = base.refusal("INSERT INTO b VALUES (1)")[2]
    assert message.startswith("FOREIGN KEY constraint failed: SQLITE_CONSTRAINT")
    assert base.rows("SELECT * FROM b") == []


def test_each_of_several_statements_has_its_result(base: Base) -> None:
    body = {
        "sql": "CREATE TABLE t (a); -- ; no end\nINSERT INTO t VALUES ('a;b'); SELECT a FROM t WHERE a = ?1",
        "params": ["a;b"],
    }
    results = base.account.result("POST", f"{base.path}/query", json=body)
    assert [result["results"] for result in results] == [[], [], [{"a": "a;b"}]]
    trigger = "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; SELECT 1; END; SELECT 2 AS n"
    assert len(base.account.result("POST", f"{base.path}/query", json={"sql": trigger})) == 2


# --- import --------------------------------------------------------------------------------------


def test_a_small_file_is_imported_by_the_time_ingest_answers(base: Base) -> None:
    started = base.init()
    assert set(started) == {"filename", "upload_url"}
    base.put(started["upload_url"], FILE)
    state = base.import_(action="ingest", filename=started["filename"], etag=etag(FILE))
    assert (state["success"], state["type"], state["status"]) == (True, "import", "complete")
    assert state["messages"] == ["Processed 2 queries."]
    assert state["result"]["num_queries"] == 2
    assert state["result"]["meta"]["rows_written"] == 2 + 2
    assert state["result"]["meta"]["changes"] == 2
    assert base.rows("SELECT a FROM t ORDER BY a") == [{"a": "x;y"}, {"a": "z"}]


def test_a_larger_file_is_polled_for_and_its_database_answers_nothing_meanwhile(build: Build, clock: Clock) -> None:
    base = build(lag=Lag(import_s=20))
    state = base.ingest()
    assert (state["success"], state["status"]) == (True, "active")
    assert base.refusal("SELECT 1") == (400, 7500, "Currently processing a long-running import.")
    assert base.init(FILE)["error"] == "Currently processing a long-running import."
    clock.sleep(12)
    assert base.poll(state["at_bookmark"])["status"] == "active"
    clock.sleep(8)
    done = base.poll(state["at_bookmark"])
    assert (done["status"], done["at_bookmark"]) == ("complete", state["at_bookmark"])
    assert base.rows("SELECT count(*) AS n FROM t") == [{"n": 2}]


def test_the_outcome_of_an_import_is_told_once(base: Base) -> None:
    nothing = {"success": False, "error": "Not currently importing anything."}
    assert base.poll() == nothing
    assert base.ingest()["status"] == "complete"
    assert base.poll() == nothing
    assert base.ingest(b"SELECT nothing;")["status"] == "error"
    assert base.poll() == nothing


def test_an_import_that_nobody_polls_is_canceled(build: Build, clock: Clock) -> None:
    base = build(lag=Lag(import_s=60))
    base.ingest()
    clock.sleep(16)
    assert base.poll() == {"success": False, "error": "Cancelled due to no poll() received in 15000ms."}
    assert base.refusal("SELECT * FROM t")[2] == "no such table: t: SQLITE_ERROR"


def test_a_known_file_is_imported_without_being_sent_again(base: Base) -> None:
    file = b"CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1);"
    assert base.ingest(file)["status"] == "complete"
    again = base.init(file)
    assert "upload_url" not in again
    assert again["status"] == "complete"
    assert base.rows("SELECT count(*) AS n FROM t") == [{"n": 2}]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"INSERT INTO t VALUES ('x;y');", "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT"),
        (b"BEGIN; COMMIT;", "To execute a transaction, please use"),
        (b"INSERT INTO t VALUES ('" + b"x" * 100_000 + b"');", "statement too long: SQLITE_TOOBIG"),
        (b"SELECT '\xff';", "'utf-8' codec can't decode"),
    ],
)
def test_an_import_that_fails_leaves_the_database_as_it_was(base: Base, bad: bytes, message: str) -> None:
    state = base.ingest(FILE + bad)
    assert state["status"] == "error"
    assert state["errors"][0].startswith(message)
    assert state["error"] == state["errors"][0]
    assert "result" not in state
    assert base.rows("SELECT name FROM sqlite_master") == []


def test_only_what_arrived_whole_is_ingested(base: Base) -> None:
    started = base.init()
    body = {"action": "ingest", "filename": started["filename"], "etag": etag(FILE)}
    invalid = {"success": False, "error": f"Input file {started['filename']} missing or invalid"}
    assert base.import_(**body) == invalid
    assert base.put(started["upload_url"], FILE[:-9]).headers["etag"] != f'"{etag(FILE)}"'
    assert base.import_(**body) == invalid
    assert "upload_url" in base.init()


def test_the_address_for_an_upload_is_handed_out_and_expires(base: Base, clock: Clock) -> None:
    url = base.init()["upload_url"]
    assert base.put(url.replace(etag(FILE), etag(b"another")), FILE).status_code == 403
    assert base.outside.put(url, content=iter([FILE])).status_code == 411
    assert base.put(url, FILE).status_code == 200
    clock.sleep(3600)
    assert base.put(url, FILE).status_code == 403


def test_a_file_has_at_most_5_gigabytes(build: Build) -> None:
    assert Limits().import_bytes == 5_000_000_000
    base = build(import_bytes=len(FILE) - 1)
    assert base.put(base.init()["upload_url"], FILE).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "start"},
        {"action": "init"},
        {"action": "init", "etag": "x"},
        {"action": "poll"},
    ],
)
def test_an_import_in_another_format_is_refused(base: Base, body: dict[str, str]) -> None:
    assert base.account.refusal("POST", f"{base.path}/import", json=body)[:2] == (400, 7400)


# --- export and time travel ----------------------------------------------------------------------


def test_an_export_is_polled_for_and_downloaded(base: Base, clock: Clock) -> None:
    base.run("CREATE TABLE t (a); INSERT INTO t VALUES ('x')")
    body = {"output_format": "polling"}
    state = base.account.result("POST", f"{base.path}/export", json=body)
    assert (state["success"], state["type"], state["status"]) == (True, "export", "active")
    body["current_bookmark"] = state["at_bookmark"]
    done = base.account.result("POST", f"{base.path}/export", json=body)
    assert done["status"] == "complete"
    url = done["result"]["signed_url"]
    assert base.outside.get(url).text == "CREATE TABLE t (a);\nINSERT INTO \"t\" VALUES('x');"
    options = {**body, "dump_options": {"no_schema": True}}
    only_data = base.account.result("POST", f"{base.path}/export", json=options)["result"]["signed_url"]
    assert base.outside.get(only_data).text == "INSERT INTO \"t\" VALUES('x');"
    clock.sleep(3600)
    assert base.outside.get(url).status_code == 403
    assert base.account.refusal("POST", f"{base.path}/export", json={})[:2] == (400, 7400)


def test_a_bookmark_brings_a_database_back_and_forth(base: Base) -> None:
    base.run("CREATE TABLE t (a)")
    empty = base.account.result("GET", f"{base.path}/time_travel/bookmark")["bookmark"]
    base.run("INSERT INTO t VALUES (1)")
    restore = f"{base.path}/time_travel/restore"
    restored = base.account.result("POST", restore, params={"bookmark": empty})
    assert set(restored) == {"bookmark", "previous_bookmark", "message"}
    assert base.rows("SELECT * FROM t") == []
    base.account.result("POST", restore, params={"bookmark": restored["previous_bookmark"]})
    assert base.rows("SELECT * FROM t") == [{"a": 1}]
    assert base.account.refusal("POST", restore, params={"bookmark": "made-up"})[0] == 400


def test_there_are_10_restores_in_10_minutes(base: Base, clock: Clock) -> None:
    bookmark = base.account.result("GET", f"{base.path}/time_travel/bookmark")["bookmark"]
    restore = f"{base.path}/time_travel/restore?bookmark={bookmark}"
    for _ in range(10):
        base.account.result("POST", restore)
    assert base.account.refusal("POST", restore)[0] == 429
    clock.sleep(600)
    base.account.result("POST", restore)
