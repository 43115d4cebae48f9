"""What D1 refuses, returns and bills: the same tests over the emulator and over the real engine, where it is there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from geopin_assets_tests.cloudflare import CloudflareEmulator
from geopin_assets_tests.cloudflare.transport import Account
from geopin_assets_tests.index.workerd import engine_node as engine_node
from geopin_assets_tests.index.workerd import workerd_url as workerd_url

ROWS = "INSERT INTO t SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?1) WHERE true "
UPSERT = ROWS + (
    "ON CONFLICT (id) DO UPDATE SET cell = excluded.cell, name = excluded.name, row_hash = excluded.row_hash "
    "WHERE t.row_hash IS NOT excluded.row_hash"
)
TABLE = "CREATE TABLE t (id TEXT PRIMARY KEY, cell TEXT, name TEXT, row_hash TEXT) WITHOUT ROWID"
INDEX = "CREATE INDEX t_cell ON t (cell)"
NO_TRANSACTIONS = "To execute a transaction, please use the state.storage.transaction()"


@dataclass(frozen=True)
class Engine:
    """One database behind the HTTP API."""

    client: httpx.Client
    database: str

    def post(self, body: dict[str, Any], kind: str = "query") -> httpx.Response:
        return self.client.post(f"d1/database/{self.database}/{kind}", json=body)

    def run(self, sql: str, params: Sequence[Any] = ()) -> dict[str, Any]:
        """The one outcome of one statement."""
        answer = self.post({"sql": sql, "params": list(params)})
        assert answer.status_code == 200, answer.text
        (outcome,) = answer.json()["result"]
        return outcome

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return self.run(sql, params)["results"]

    def meta(self, sql: str, params: Sequence[Any] = ()) -> dict[str, Any]:
        return self.run(sql, params)["meta"]

    def refusal(self, body: dict[str, Any]) -> str:
        """The message of a refusal, without the place in the statement, which only the engine knows."""
        answer = self.post(body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["errors"][0]
        assert answer.json() == {"success": False, "errors": [error], "messages": [], "result": []}
        assert error["code"] == 7500
        return re.sub(r" at offset \d+", "", error["message"])

    def clear(self) -> None:
        found = self.rows(
            "SELECT type, name FROM sqlite_master WHERE name NOT LIKE '!_cf%' ESCAPE '!' AND type <> 'index'"
        )
        for row in found:
            if not row["name"].startswith("sqlite_"):
                self.run(f"DROP {row['type']} {row['name']}")


@pytest.fixture
def emulator() -> Iterator[Engine]:
    with CloudflareEmulator() as cloudflare:
        account = Account(cloudflare)
        yield Engine(account.client, account.result("POST", "d1/database", json={"name": "captures"})["uuid"])


@pytest.fixture
def workerd(workerd_url: str) -> Iterator[Engine]:
    with httpx.Client(base_url=f"{workerd_url}/client/v4/accounts/a/", trust_env=False, timeout=120) as client:
        engine = Engine(client, "captures")
        engine.clear()
        yield engine


@pytest.fixture(params=["emulator", "workerd"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.getfixturevalue(request.param)


def encoded(*rows: Sequence[Any]) -> list[str]:
    return [orjson.dumps(rows).decode()]


# --- limits --------------------------------------------------------------------------------------


def test_a_statement_has_at_most_100_parameters(engine: Engine) -> None:
    marks = ",".join("?" * 100)
    assert len(engine.rows(f"SELECT {marks}", ["x"] * 100)) == 1
    assert engine.refusal({"sql": f"SELECT {marks},?", "params": ["x"] * 101}) == "too many SQL variables: SQLITE_ERROR"
    assert engine.refusal({"sql": "SELECT ?101"}) == "variable number must be between ?1 and ?100: SQLITE_ERROR"


def test_a_statement_has_at_most_100000_bytes(engine: Engine) -> None:
    sql = "SELECT '" + "é" * 49_995 + "'"
    assert len(f"{sql} ".encode()) == 100_000
    assert len(engine.rows(f"{sql} ")) == 1
    assert engine.refusal({"sql": f"{sql}  "}) == "statement too long: SQLITE_TOOBIG"


def test_each_statement_of_a_batch_has_its_own_100000_bytes(engine: Engine) -> None:
    sql = "SELECT '" + "x" * 99_990 + "'"
    assert engine.post({"batch": [{"sql": sql}] * 3}).status_code == 200


def test_one_parameter_can_carry_almost_two_megabytes(engine: Engine) -> None:
    engine.run(TABLE)
    text = encoded(*([f"{n:06d}", "c", "x" * 80, "h"] for n in range(18_000)))
    assert 1_800_000 < len(text[0]) < 2_000_000
    assert engine.meta(UPSERT, text)["changes"] == 18_000


def test_a_table_and_a_result_have_at_most_100_columns(engine: Engine) -> None:
    def names(count: int) -> str:
        return ",".join(f"c{n}" for n in range(count))

    engine.run(f"CREATE TABLE wide ({names(100)})")
    assert engine.refusal({"sql": f"CREATE TABLE wider ({names(101)})"}) == "too many columns on wider: SQLITE_ERROR"
    many = ",".join(["1"] * 101)
    assert engine.refusal({"sql": f"SELECT {many}"}) == "too many columns in result set: SQLITE_ERROR"


def test_a_pattern_has_at_most_50_bytes(engine: Engine) -> None:
    assert engine.rows(f"SELECT 'a' LIKE '{'x' * 50}' AS found") == [{"found": 0}]
    assert engine.refusal({"sql": f"SELECT 'a' LIKE '{'x' * 51}'"}) == "LIKE or GLOB pattern too complex: SQLITE_ERROR"


def test_at_most_5_selects_are_joined(engine: Engine) -> None:
    five = " UNION ALL ".join(["SELECT 1 AS n"] * 5)
    assert len(engine.rows(five)) == 5
    refusal = engine.refusal({"sql": f"{five} UNION ALL SELECT 1"})
    assert refusal == "too many terms in compound SELECT: SQLITE_ERROR"
    assert len(engine.rows(f"VALUES {','.join(['(1)'] * 5000)}")) == 5000


def test_an_expression_is_at_most_100_deep(engine: Engine) -> None:
    refusal = engine.refusal({"sql": "SELECT 1" + "+1" * 101})
    assert refusal == "Expression tree is too large (maximum depth 100): SQLITE_ERROR"


# --- what is forbidden ---------------------------------------------------------------------------


@pytest.mark.parametrize("sql", ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT x", "RELEASE x", "BEGIN IMMEDIATE"])
def test_transactions_are_not_for_users(engine: Engine, sql: str) -> None:
    assert engine.refusal({"sql": sql}).startswith(NO_TRANSACTIONS)


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH 'x' AS y",
        "DETACH y",
        "CREATE TEMP TABLE x (a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        *(f"PRAGMA {name}" for name in ("journal_mode = WAL", "user_version", "page_size", "synchronous = 0")),
        *(f"PRAGMA {name}" for name in ("cache_size", "query_only = 1", "max_page_count = 9", "integrity_check")),
    ],
)
def test_what_is_not_authorized_is_refused(engine: Engine, sql: str) -> None:
    assert engine.refusal({"sql": sql}) == "not authorized: SQLITE_AUTH"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("VACUUM", "cannot VACUUM from within a transaction"),
        ("SELECT sqlite_version()", "not authorized to use function: sqlite_version"),
        ("SELECT sqlite_source_id()", "not authorized to use function: sqlite_source_id"),
        ("SELECT load_extension('x')", "not authorized"),
        ("SELECT * FROM generate_series(1, 2)", "no such table: generate_series"),
        ("", "No SQL statements detected."),
        ("-- only a comment", "SQL code did not contain a statement."),
    ],
)
def test_other_things_are_refused_in_their_own_words(engine: Engine, sql: str, message: str) -> None:
    assert engine.refusal({"sql": sql}).startswith(message)


@pytest.mark.parametrize("sql", ["PRAGMA table_info(t)", "PRAGMA foreign_keys", "PRAGMA table_list", "PRAGMA optimize"])
def test_some_pragmas_are_allowed(engine: Engine, sql: str) -> None:
    engine.run(TABLE)
    assert engine.run(sql)["success"] is True


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'near "SELEC": syntax error: SQLITE_ERROR'),
        ("SELECT * FROM nowhere", "no such table: nowhere: SQLITE_ERROR"),
        ("SELECT missing FROM t", "no such column: missing: SQLITE_ERROR"),
        ("INSERT INTO t (id, no) VALUES (1, 2)", "table t has no column named no: SQLITE_ERROR"),
        (
            "INSERT INTO t (id) VALUES ('x'), ('x')",
            "UNIQUE constraint failed: t.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ),
        (
            "INSERT INTO t (id) VALUES (NULL)",
            "NOT NULL constraint failed: t.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        ("SELECT * FROM json_each('[1')", "malformed JSON: SQLITE_ERROR"),
    ],
)
def test_wrong_sql_is_told_in_sqlites_words(engine: Engine, sql: str, message: str) -> None:
    engine.run(TABLE)
    assert engine.refusal({"sql": sql}) == message


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        (1, 1, "real"),
        (1.5, 1.5, "real"),
        ("1", "1", "text"),
        (None, None, "null"),
        (True, 1, "real"),
        (2**53 + 1, 2**53, "real"),
        ([1, 255], [1, 255], "blob"),
        ("é 'x' \U0001f600", "é 'x' \U0001f600", "text"),
    ],
)
def test_every_bound_number_is_a_double(engine: Engine, value: Any, shown: Any, kind: str) -> None:
    assert engine.rows("SELECT ?1 AS value, typeof(?1) AS kind", [value]) == [{"value": shown, "kind": kind}]


def test_numbers_come_back_as_doubles_and_whole_ones_without_a_fraction(engine: Engine) -> None:
    text = engine.post({"sql": "SELECT 9007199254740993 AS a, 52.0 AS b, 0.1 AS c, 1e400 AS d, x'01ff' AS e"}).text
    assert re.search(r'"results":\[(.*?)\]\s*[,}]', text) is not None
    assert '"a":9007199254740992,"b":52,"c":0.1,"d":null,"e":[1,255]' in text


def test_values_inside_one_json_parameter_keep_their_types(engine: Engine) -> None:
    rows = engine.rows(
        "SELECT value->>0 AS v, typeof(value->>0) AS kind FROM json_each(?1)",
        encoded([1], [1.5], ["1"], [None], [True], [2**53 + 1]),
    )
    assert [row["kind"] for row in rows] == ["integer", "real", "text", "null", "integer", "integer"]


def test_as_many_values_as_parameters(engine: Engine) -> None:
    wrong = "Wrong number of parameter bindings for SQL query."
    assert engine.refusal({"sql": "SELECT ?1"}) == wrong
    assert engine.refusal({"sql": "SELECT 1", "params": ["x"]}) == wrong


def test_a_value_that_sql_does_not_have_is_refused(engine: Engine) -> None:
    assert engine.refusal({"sql": "SELECT ?1", "params": [{"a": 1}]}).startswith(
        "D1_TYPE_ERROR: Type 'object' not supported"
    )


def test_only_the_last_of_several_statements_has_parameters(engine: Engine) -> None:
    body = {"sql": "SELECT ?1; SELECT ?1", "params": ["x"]}
    assert engine.refusal(body).startswith("When executing multiple SQL statements in a single call, only the last")
    assert engine.post({"sql": "SELECT '?;'; SELECT ?1 AS x", "params": ["x"]}).json()["result"][-1]["results"] == [
        {"x": "x"}
    ]


def test_raw_gives_columns_and_rows(engine: Engine) -> None:
    (outcome,) = engine.post({"sql": "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y'"}, "raw").json()["result"]
    assert outcome["results"] == {"columns": ["a", "b"], "rows": [[1, "x"], [2, "y"]]}


# --- batches -------------------------------------------------------------------------------------


def test_a_batch_is_done_as_a_whole_or_not_at_all(engine: Engine) -> None:
    engine.run(TABLE)
    fine = {"sql": "INSERT INTO t (id) VALUES (?1)", "params": ["1"]}
    assert engine.refusal({"batch": [fine, {"sql": "INSERT INTO t (id) VALUES (NULL)"}]}).startswith("NOT NULL")
    assert engine.rows("SELECT count(*) AS n FROM t") == [{"n": 0}]
    results = engine.post({"batch": [fine, {"sql": "SELECT id FROM t"}]}).json()["result"]
    assert [result["results"] for result in results] == [[], [{"id": "1"}]]


# --- what is billed ------------------------------------------------------------------------------


def billed(engine: Engine, sql: str, params: Sequence[Any] = ()) -> tuple[int, int, bool]:
    meta = engine.meta(sql, params)
    return meta["rows_written"], meta["changes"], meta["changed_db"]


def test_a_guarded_upsert_is_billed_for_what_it_changes_and_each_index_of_that(engine: Engine) -> None:
    engine.run(TABLE)
    engine.run(INDEX)
    rows = [[f"id{n}", "cell", "name", "hash"] for n in range(10)]
    changed = [*rows[:8], ["id8", "cell", "other", "new"], ["id9", "cell", "other", "new"], ["id10", "c", "n", "h"]]
    assert billed(engine, UPSERT, encoded(*rows)) == (20, 10, True)
    assert billed(engine, UPSERT, encoded(*rows)) == (0, 0, False)
    assert billed(engine, UPSERT, encoded(*changed)) == (6, 3, True)
    ids = "DELETE FROM t WHERE id IN (SELECT value FROM json_each(?1))"
    assert billed(engine, ids, encoded("id0", "id1", "never")) == (2, 2, True)


def test_a_table_without_rowid_and_index_costs_one_row_per_row(engine: Engine) -> None:
    engine.run(TABLE)
    rows = [[f"id{n}", "cell", "name", "hash"] for n in range(10)]
    assert billed(engine, UPSERT, encoded(*rows)) == (10, 10, True)
    assert billed(engine, UPSERT, encoded(*rows, ["id10", "cell", "name", "hash"])) == (1, 1, True)


BILLED = """
CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT)
CREATE TABLE b (id TEXT PRIMARY KEY, v TEXT)
CREATE TABLE c (id TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID
CREATE TABLE e (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT UNIQUE, w)
CREATE TABLE IF NOT EXISTS a (id)
CREATE TABLE d (id TEXT PRIMARY KEY, v TEXT, w TEXT, x TEXT) WITHOUT ROWID
CREATE INDEX dv ON d (v)
CREATE INDEX dw ON d (w)
CREATE INDEX IF NOT EXISTS dw ON d (w)
INSERT INTO a VALUES (1, 'x'), (2, 'y'), (3, 'z')
INSERT INTO b VALUES ('1', 'x'), ('2', 'y'), ('3', 'z')
INSERT INTO c VALUES ('1', 'x'), ('2', 'y'), ('3', 'z')
INSERT INTO e (v) VALUES ('1'), ('2'), ('3')
INSERT INTO d VALUES ('1', 'x', 'w', 'x'), ('2', 'y', 'w', 'x'), ('3', 'z', 'w', 'x')
CREATE INDEX ai ON a (v)
CREATE INDEX bi ON b (v)
UPDATE a SET v = 'q' WHERE id = 1
UPDATE d SET v = 'q' WHERE id = '1'
UPDATE d SET v = 'q' WHERE id = '1'
UPDATE d SET x = 'q' WHERE id = '1'
UPDATE d SET id = '9' WHERE id = '1'
UPDATE d SET x = 'r'
UPDATE d SET x = 'r' WHERE id = 'nope'
INSERT OR REPLACE INTO a VALUES (1, 'xx')
INSERT OR REPLACE INTO b VALUES ('1', 'xx')
INSERT OR REPLACE INTO c VALUES ('1', 'xx')
INSERT OR REPLACE INTO d VALUES ('2', 'xx', 'yy', 'zz')
INSERT OR REPLACE INTO d VALUES ('77', 'xx', 'yy', 'zz')
INSERT OR IGNORE INTO d VALUES ('2', 'xx', 'yy', 'zz')
INSERT INTO d VALUES ('2', 'a', 'b', 'c'), ('8', 'a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET x = excluded.x
INSERT INTO d VALUES ('2', 'a', 'b', 'c'), ('18', 'a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET v = excluded.v
INSERT INTO d VALUES ('2', 'a', 'b', 'c') ON CONFLICT (id) DO UPDATE SET w = 'w' WHERE d.x IS NOT excluded.x
INSERT INTO d VALUES ('2', 'a', 'b', 'd') ON CONFLICT (id) DO NOTHING
INSERT INTO b VALUES ('1', 'a'), ('55', 'a') ON CONFLICT (id) DO UPDATE SET v = excluded.v
INSERT INTO c SELECT id || '_', v FROM d
DELETE FROM a WHERE id = 1
DELETE FROM b WHERE id = '1'
DELETE FROM d WHERE id IN ('2', '3')
DELETE FROM e
SELECT count(*) FROM c
CREATE VIEW vv AS SELECT * FROM c
DROP INDEX dv
DROP TABLE d
""".strip().splitlines()


def test_the_emulator_bills_and_counts_as_the_engine_does(emulator: Engine, workerd: Engine) -> None:
    def told(engine: Engine, sql: str) -> tuple[str, int, int]:
        meta = engine.meta(sql)
        return sql, meta["rows_written"], meta["changes"]

    assert [told(emulator, sql) for sql in BILLED] == [told(workerd, sql) for sql in BILLED]


def test_the_emulator_reads_about_as_many_rows_as_the_engine(emulator: Engine, workerd: Engine) -> None:
    setup = [TABLE, "INSERT INTO t (id, cell) VALUES ('1', 'a'), ('2', 'b'), ('3', 'b')"]
    reading = [
        "SELECT * FROM t",
        "SELECT count(*) FROM t",
        "SELECT * FROM t WHERE id = '1'",
        "SELECT * FROM t WHERE cell = 'a'",
        "SELECT 1",
    ]
    told = [[engine.meta(sql)["rows_read"] for sql in [*setup, *reading]][2:] for engine in (emulator, workerd)]
    assert told[0] == [3, 3, 1, 3, 1]
    assert told[1] == [3, 3, 1, 3, 0]
