"""Loading a table by files: the rows of an upsert to the last bit, bounded files, every end of an import."""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.errors import PayloadError, PermanentError, TransientError
from geopin_assets.index.cloudflare import D1Store, RequestTooLarge
from geopin_assets.index.cloudflare.d1 import import_files, import_statements
from geopin_assets.index.embedded.sqlite import SqliteStore
from geopin_assets.index.limits import IMPORT_FILE_BYTES, IMPORT_STATEMENT_BYTES
from geopin_assets.index.protocol import WriteResult
from geopin_assets.index.tables import TABLES, hashed_rows, migrations
from geopin_assets_tests.http_client.world import Clock, Server
from geopin_assets_tests.index.cloudflare.real_d1 import real_d1
from geopin_assets_tests.index.cloudflare.test_d1 import FOUND, UUID, wrote
from geopin_assets_tests.index.cloudflare.world import DATABASES, api_of, api_on, body_of, failure, result, wait_of
from geopin_assets_tests.index.frames import Clock as IndexClock
from geopin_assets_tests.index.frames import captures

CAPTURES = TABLES["captures"]
IMPORT = f"{DATABASES}/{UUID}/import"
STORAGE = "https://storage.example/d1/file.sql?X-Amz-Signature=s1gned"


def imported(files: list[list[bytes]]) -> list[tuple[Any, ...]]:
    """What the files leave in a fresh database."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for _, script in migrations():
            connection.executescript(script)
        for file in files:
            connection.executescript(b"\n".join(file).decode())
        return connection.execute("SELECT * FROM captures ORDER BY capture_id").fetchall()


ODD = ["", "it's", "''", "\0", "a\0b'", "line\nend;--", "日本", "\U0001f6b2", "x'00'", "\\", '"', "?1", "]'", "\u2028"]
texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(ODD)


@given(st.lists(st.tuples(texts, texts, st.floats(allow_nan=False, allow_infinity=False) | st.none()), max_size=20))
def test_a_file_leaves_the_rows_that_an_upsert_would(rows: list[tuple[str, str, float | None]]) -> None:
    frame = captures([(f"s:{i}", i) for i in range(len(rows))]).with_columns(
        attribution=pl.Series([a for a, _, _ in rows], dtype=pl.String),
        creator=pl.Series([c for _, c, _ in rows], dtype=pl.String),
        heading_deg=pl.Series([h for _, _, h in rows], dtype=pl.Float64),
    )
    with closing(sqlite3.connect(":memory:")) as connection:
        for _, script in migrations():
            connection.executescript(script)
        sent = (b"[" + b",".join(hashed_rows(CAPTURES, frame)) + b"]").decode()
        connection.execute(CAPTURES.upsert_sql, [sent])
        upserted = connection.execute("SELECT * FROM captures ORDER BY capture_id").fetchall()
    assert list(map(repr, imported(list(import_files(CAPTURES, [frame]))))) == list(map(repr, upserted))


def test_the_real_engine_runs_the_statements_of_a_file(workerd_url: str, tmp_path: Path) -> None:
    rows = captures([(f"s:{i}", i) for i in range(1_000)])
    odd = rows.with_columns(attribution=pl.concat_str(pl.lit("".join(ODD)), pl.col("capture_id")))
    with real_d1(workerd_url, tmp_path, IndexClock()) as store:
        store.migrate()
        for statement in next(import_files(CAPTURES, [odd])):
            store.query(statement.decode())
        loaded = store.query("SELECT * FROM captures ORDER BY capture_id")
        assert store.upsert("captures", odd).rows_written == 0
        store.delete("captures", odd["capture_id"].to_list())
        assert store.upsert("captures", odd).rows_written == 1_000
        assert loaded.equals(store.query("SELECT * FROM captures ORDER BY capture_id"))


def test_importing_a_file_twice_changes_nothing() -> None:
    files = list(import_files(CAPTURES, [captures([("s:1", 1), ("s:2", 2)])]))
    assert imported([*files, *files]) == imported(files)
    newer = list(import_files(CAPTURES, [captures([("s:1", 9)])]))
    assert imported([*files, *newer])[0][2] == pytest.approx(4.909)


def test_statements_and_files_are_as_large_as_allowed_and_no_larger() -> None:
    frames = (captures([(f"s:{i}", j * 10_000 + i) for i in range(j * 10_000, (j + 1) * 10_000)]) for j in range(20))
    files = list(import_files(CAPTURES, frames))
    sizes = [len(b"\n".join(file)) for file in files]
    statements = [len(statement) for file in files for statement in file]
    assert max(sizes) <= IMPORT_FILE_BYTES
    assert max(statements) <= IMPORT_STATEMENT_BYTES
    assert min(statements[:-1]) > 0.9 * IMPORT_STATEMENT_BYTES
    assert len(files) == 2 or sizes[0] > 0.9 * IMPORT_FILE_BYTES


def test_bytes_are_counted_and_not_characters() -> None:
    rows = captures([(f"s:{i}", i) for i in range(500)]).with_columns(attribution=pl.lit("é" * 300))
    statements = list(import_statements(CAPTURES, hashed_rows(CAPTURES, rows)))
    assert max(map(len, statements)) <= IMPORT_STATEMENT_BYTES < sum(map(len, statements))
    assert len(imported([statements])) == 500


def test_a_row_that_no_statement_can_hold_is_named() -> None:
    rows = captures([("s:1", 1), ("s:long", 2)]).with_columns(attribution=pl.lit("x" * IMPORT_STATEMENT_BYTES))
    with pytest.raises(PermanentError, match=r"captures: a row too long for a statement: .*s:1"):
        list(import_files(CAPTURES, [rows]))


def test_frames_are_taken_one_by_one_as_files_fill_up() -> None:
    taken = []

    def frames() -> Any:
        for number in range(10_000):
            taken.append(number)
            yield captures([(f"s:{number}-{i}", i) for i in range(1_000)]).with_columns(attribution=pl.lit("x" * 1_000))

    next(iter(import_files(CAPTURES, frames())))
    assert len(taken) < 40


# --- the calls -----------------------------------------------------------------------------------

ROWS = captures([("s:1", 1), ("s:2", 2)])
FILE = b"\n".join(next(import_files(CAPTURES, [ROWS])))
ETAG = hashlib.md5(FILE, usedforsecurity=False).hexdigest()
INIT = result({"filename": "f.sql", "upload_url": STORAGE})
UPLOADED = httpx.Response(200, headers={"etag": f'"{ETAG}"'})
META = {"changes": 2, "rows_written": 2, "duration": 1.0}


def state(status: str | None = None, **more: Any) -> httpx.Response:
    said = {"success": True, "type": "import", "at_bookmark": "b1", "messages": []}
    return result(said | ({"status": status} if status else {}) | more)


DONE = state("complete", result={"num_queries": 1, "final_bookmark": "b2", "meta": META})


def store_of(folder: Path, *replies: Any, **options: Any) -> tuple[D1Store, Server, Clock]:
    api, server, clock = api_of(folder, FOUND, *replies)
    wait = wait_of(clock, timeout_s=60, poll_s=2)
    return D1Store(api, "geopin", import_from_rows=2, wait=wait, **options), server, clock


def actions(server: Server) -> list[str]:
    return [body_of(r)["action"] if r.url.path == IMPORT else r.method for r in server.requests[1:]]


def test_a_file_is_announced_sent_begun_and_waited_for(tmp_path: Path) -> None:
    store, server, clock = store_of(tmp_path, INIT, UPLOADED, state(), state("active", at_bookmark="b2"), DONE)
    begin = clock.now
    assert store.upsert("captures", ROWS) == WriteResult(changes=2, rows_written=2, requests=4)
    assert clock.now - begin == 4
    assert actions(server) == ["init", "PUT", "ingest", "poll", "poll"]
    _, init, upload, ingest, first, second = server.requests
    assert body_of(init) == {"action": "init", "etag": ETAG}
    assert (str(upload.url), upload.content, upload.headers["content-length"]) == (STORAGE, FILE, str(len(FILE)))
    assert "authorization" not in upload.headers
    assert body_of(ingest) == {"action": "ingest", "filename": "f.sql", "etag": ETAG}
    assert body_of(first) == {"action": "poll", "current_bookmark": "b1"}
    assert body_of(second) == {"action": "poll", "current_bookmark": "b2"}


def test_a_small_file_may_be_done_at_once(tmp_path: Path) -> None:
    store, server, _ = store_of(tmp_path, INIT, UPLOADED, DONE)
    assert store.upsert("captures", ROWS).changes == 2
    assert actions(server) == ["init", "PUT", "ingest"]


def test_a_file_that_is_known_is_not_sent_again(tmp_path: Path) -> None:
    store, server, _ = store_of(tmp_path, state("active"), DONE)
    store.upsert("captures", ROWS)
    assert actions(server) == ["init", "poll"]


def test_success_without_complete_is_not_the_end(tmp_path: Path) -> None:
    store, server, _ = store_of(
        tmp_path, INIT, UPLOADED, state(), state(), state(messages=["Processed 5 queries"]), DONE
    )
    store.upsert("captures", ROWS)
    assert actions(server) == ["init", "PUT", "ingest", "poll", "poll", "poll"]


CUT_OFF = result({"success": False, "error": "Not currently importing anything."})


@pytest.mark.parametrize(
    "trouble",
    [
        [INIT, httpx.Response(200, headers={"etag": '"other"'})],
        [INIT, httpx.Response(200)],
        [INIT, httpx.Response(403, text="ExpiredRequest")],
        [INIT, UPLOADED, CUT_OFF],
        [INIT, UPLOADED, state(), CUT_OFF],
        [INIT, UPLOADED, result({"success": False, "error": "Input file f.sql missing or invalid"})],
        [
            INIT,
            UPLOADED,
            state(),
            result({"success": False, "error": "Cancelled due to no poll() received in 15000ms."}),
        ],
        [INIT, UPLOADED, state(), state("error", errors=["Network connection lost."])],
        [INIT, UPLOADED, *[state("active")] * 31],
    ],
    ids=[
        "damaged",
        "no etag",
        "address expired",
        "not begun",
        "cut off",
        "file lost",
        "not polled",
        "connection lost",
        "never complete",
    ],
)
def test_what_may_pass_begins_again_from_the_beginning(tmp_path: Path, trouble: list[Any]) -> None:
    store, server, _ = store_of(tmp_path, *trouble, INIT, UPLOADED, state(), DONE)
    assert store.upsert("captures", ROWS).changes == 2
    assert actions(server)[-4:] == ["init", "PUT", "ingest", "poll"]


def test_what_never_passes_is_given_up(tmp_path: Path) -> None:
    store, server, _ = store_of(tmp_path, *[INIT, UPLOADED, CUT_OFF] * 10)
    with pytest.raises(TransientError, match="import failed: Not currently importing anything"):
        store.upsert("captures", ROWS)
    assert actions(server).count("init") == 4


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (state("error", errors=['near "INSRT": syntax error at offset 0: SQLITE_ERROR']), "syntax error"),
        (result({"success": False, "error": "statement too strange"}), "statement too strange"),
        (state("error"), "no reason given"),
        (failure(7404, "The database could not be found", 404), "7404"),
    ],
)
def test_what_a_retry_would_not_change_ends_it(tmp_path: Path, reply: httpx.Response, message: str) -> None:
    store, server, _ = store_of(tmp_path, INIT, UPLOADED, reply)
    with pytest.raises(PermanentError, match=message):
        store.upsert("captures", ROWS)
    assert actions(server) == ["init", "PUT", "ingest"]


@pytest.mark.parametrize(
    "reply", [result({"upload_url": STORAGE}), state(at_bookmark=None), result({"status": "complete"})]
)
def test_an_answer_of_another_shape_is_named(tmp_path: Path, reply: httpx.Response) -> None:
    store, _, _ = store_of(tmp_path, reply, UPLOADED)
    with pytest.raises((PayloadError, TransientError)):
        store.upsert("captures", ROWS)


def importing_server(most_statements: int) -> Callable[[httpx.Request], httpx.Response]:
    """Imports files of few statements only."""
    files: dict[str, bytes] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            etag = hashlib.md5(request.content, usedforsecurity=False).hexdigest()
            files[etag] = request.content
            return httpx.Response(200, headers={"etag": f'"{etag}"'})
        if request.method == "GET":
            return FOUND
        if "action" not in (body := orjson.loads(request.content)):
            return wrote(1)
        if body["action"] == "init":
            return INIT
        if files[body["etag"]].count(b"INSERT INTO") > most_statements:
            return state("error", errors=["D1 DB's isolate exceeded its memory limit and was reset."])
        meta = {"rows_written": files[body["etag"]].count(b"https://example.org/")}
        return state("complete", result={"num_queries": 1, "meta": meta})

    return answer


def test_a_file_that_is_too_large_goes_in_halves(tmp_path: Path) -> None:
    rows = captures([(f"s:{i}", i) for i in range(3_000)])
    clock = Clock()
    store = D1Store(api_on(importing_server(2), tmp_path, clock), "geopin", import_from_rows=1, wait=wait_of(clock))
    assert store.upsert("captures", rows).rows_written == 3_000
    none = D1Store(api_on(importing_server(0), tmp_path, clock), "geopin", import_from_rows=1, wait=wait_of(clock))
    with pytest.raises(RequestTooLarge, match="memory limit"):
        none.upsert("captures", rows)


def test_few_rows_go_without_a_file(tmp_path: Path) -> None:
    store, server, _ = store_of(tmp_path, wrote(1))
    assert store.upsert("captures", ROWS.head(1)).changes == 1
    assert "json_each" in body_of(server.requests[1])["sql"]


def test_that_nobody_is_answered_meanwhile_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, _, _ = store_of(tmp_path, INIT, UPLOADED, DONE)
    store.load("captures", [ROWS])
    assert "answers no queries while 1 statements are imported" in caplog.text
    assert "s1gned" not in caplog.text


def test_a_nul_does_not_cut_text_in_either_store(tmp_path: Path) -> None:
    """SQLite 3.40 reads the JSON text "a\\u0000b" as "a"; so no NUL is sent."""
    store = SqliteStore(tmp_path / "d1.sqlite")
    store.migrate()
    store.upsert("captures", captures([("s:1", 1)]).with_columns(attribution=pl.lit("a\0b")))
    assert store.query("SELECT attribution FROM captures").item() == "ab"
