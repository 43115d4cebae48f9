"""A Postgres that goes away, for a while or for ever, and what is said of its address."""

import threading
import traceback
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from geopin_assets.errors import GeoPinError, TransientError
from geopin_assets.files import postgres
from geopin_assets.files.lease import Holder, Leases
from geopin_assets.files.lease_postgres import _Page
from geopin_assets.files.postgres import SharedDatabase, shared_database
from geopin_assets_tests.files.gate import Gate, gate

SCHEMA = "create table if not exists counted (number int);"


@pytest.fixture
def before(postgres_place: str) -> Iterator[Gate]:
    server = urlsplit(postgres_place)
    with gate(str(server.hostname), server.port or 0) as found:
        yield found


@pytest.fixture
def database(before: Gate, postgres_place: str) -> Iterator[SharedDatabase]:
    port = urlsplit(postgres_place).port
    database = SharedDatabase(postgres_place.replace(f":{port}/", f":{before.port}/"))
    yield database
    database.close()


def count(database: SharedDatabase) -> int:
    def work(db: postgres.Statements) -> int:
        db.execute("insert into counted values (1)")
        return int(db.execute("select count(*) from counted").fetchone()[0])

    return database.work(SCHEMA, work, turn="counting")


def test_a_connection_that_was_dropped_is_made_anew(database: SharedDatabase, before: Gate) -> None:
    assert count(database) == 1
    before.shut()
    before.open()
    assert count(database) == 2 and database.session == 2


def test_a_server_that_is_started_anew_is_waited_for(database: SharedDatabase, before: Gate) -> None:
    assert count(database) == 1
    before.shut()
    opening = threading.Timer(2.0, before.open)
    opening.start()
    with database.exclusive(SCHEMA, "counting") as db:
        db.execute("insert into counted values (1)")
    opening.join()
    assert count(database) == 3


def test_a_lease_is_taken_though_its_turn_is_lost_in_the_middle(
    before: Gate, postgres_place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, cuts = _Page.standing, iter([True])

    def cut(page: _Page) -> list[Holder]:
        if next(cuts, False):
            before.shut()
            before.open()
        return look(page)

    monkeypatch.setattr(_Page, "standing", cut)
    address = postgres_place.replace(f":{urlsplit(postgres_place).port}/", f":{before.port}/")
    with Leases(address).held("raw/town", ["c1"], patience_s=0):
        assert [holder.units for holder in Leases(postgres_place).holders("raw/town")] == [{"c1"}]
    shared_database(address).close()


def test_a_server_that_stays_away_is_waited_for_once(
    database: SharedDatabase, before: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(postgres, "_WAITS_S", 0.2)
    monkeypatch.setattr(postgres.time, "sleep", waited.append)
    count(database)
    before.shut()
    said = []
    for _ in range(3):
        with pytest.raises(TransientError, match="the Postgres that machines share"):
            count(database)
        said.append(len(waited))
    assert said[0] and said[1:] == said[:2], said
    before.open()
    assert count(database) == 2


def test_one_that_never_answered_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(TransientError):
        count(SharedDatabase("postgresql://geopin@127.0.0.1:1/geopin"))


@pytest.mark.parametrize("password", ["SEC@RET", "SEC%RET", "SEC/RET", "SEC RET", "SEC#RET"])
def test_no_part_of_a_password_is_in_an_error(password: str) -> None:
    for address in (f"postgresql://geopin:{password}@127.0.0.1:1/geopin", f"host=127.0.0.1 port=1 password={password}"):
        with pytest.raises(GeoPinError) as told:
            count(SharedDatabase(address))
        said = "".join(traceback.format_exception(told.value))
        assert "SEC" not in said and "RET" not in said
