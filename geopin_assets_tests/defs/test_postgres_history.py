"""Dagster's history in a real Postgres: few connections, few statements, and safe where a process forks."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psycopg2
import pytest
from dagster_postgres import utils
from sqlalchemy import event
from sqlalchemy.engine import Engine

from geopin_assets.cells import cell_ids
from geopin_assets_tests.files.gate import gate
from geopin_assets_tests.refresh import Refresh
from geopin_assets_tests.simulated import SimulatedLog, stored_in

NOW = datetime(2026, 8, 24, tzinfo=UTC)


def sessions(address: str) -> int:
    """How many connections were ever made to the database."""
    with closing(psycopg2.connect(address.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
        cursor.execute("select sessions from pg_stat_database where datname = current_database()")
        return int(cursor.fetchall()[0][0])


@contextmanager
def statements() -> Iterator[list[str]]:
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


def ask(home: Path, address: str) -> int:
    """Of an instance of its own, as each look of the automation is given one."""
    with dg.instance_for_test(stored_in(address), temp_dir=str(home)) as instance:
        return len(instance.get_runs()) + len(instance.get_asset_keys())


def test_instances_of_one_process_share_connections(postgres_place: str, tmp_path: Path) -> None:
    assert ask(tmp_path, postgres_place) == 0
    before = sessions(postgres_place)
    with statements() as asked:
        for _ in range(5):
            ask(tmp_path, postgres_place)
    assert sessions(postgres_place) == before + 1  # which asked
    assert len(asked) <= 5 * 3


def test_a_look_asks_as_often_however_many_cells_there_are(postgres_place: str, tmp_path: Path) -> None:
    counts, before = [], 0
    with dg.instance_for_test(stored_in(postgres_place), temp_dir=str(tmp_path)) as instance:
        for cells in (25, 25, 100, 400):
            refresh = Refresh(SimulatedLog(instance, is_lean=True), NOW, ["panoramax"])
            refresh.log.forget()
            refresh.backfill("panoramax", cell_ids()[:cells])
            refresh.skip_days(8)
            before = before or sessions(postgres_place)
            with statements() as asked:
                assert len(refresh.tick("panoramax").asked) == cells
            counts.append(len([statement for statement in asked if statement.startswith("SELECT")]))
        assert sessions(postgres_place) <= before + 3
    _, *counts = counts  # the first asks which columns there are
    # with the log's own, that notes the crawl; of more than 1,000 events it is asked where the last day begins
    assert max(counts) <= min(counts) + 1 <= 14


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_has_connections_of_its_own(postgres_place: str, tmp_path: Path) -> None:
    with dg.instance_for_test(stored_in(postgres_place), temp_dir=str(tmp_path)) as instance:
        assert instance.get_runs() == []
        before = sessions(postgres_place)
        if (child := os.fork()) == 0:
            os._exit(len(instance.get_runs()))
        assert os.waitpid(child, 0)[1] == 0
        assert instance.get_runs() == []
        assert sessions(postgres_place) == before + 2


def test_a_server_that_is_started_anew_is_waited_for(
    postgres_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utils, "retry_pg_connection_fn", lambda connect: connect())  # Dagster itself waits for 11 s
    server = urlsplit(postgres_place)
    with gate(str(server.hostname), server.port or 0) as before:
        address = postgres_place.replace(f":{server.port}/", f":{before.port}/")
        with dg.instance_for_test(stored_in(address), temp_dir=str(tmp_path)) as instance:
            assert instance.get_runs() == []
            before.shut()
            opening = threading.Timer(2.0, before.open)
            opening.start()
            assert instance.get_runs() == []
            opening.join()


def test_the_webserver_notices_that_a_connection_was_lost_before_it_uses_it(
    postgres_place: str, tmp_path: Path
) -> None:
    server = urlsplit(postgres_place)
    with gate(str(server.hostname), server.port or 0) as before:
        address = postgres_place.replace(f":{server.port}/", f":{before.port}/")
        with dg.instance_for_test(stored_in(address), temp_dir=str(tmp_path)) as instance:
            instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3_600, max_overflow=20)
            for _ in range(2):
                assert (instance.get_runs(), instance.get_asset_keys(), instance.all_instigator_state()) == ([], [], [])
                before.shut()
                before.open()
            with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
                assert connection.exec_driver_sql("show statement_timeout").scalar() == "15s"
