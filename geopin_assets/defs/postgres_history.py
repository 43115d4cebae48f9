"""Dagster's own history in Postgres, over connections that stay open.

Dagster opens a connection for every statement, 8 ms or more of a server's work, and asks before each question which
columns a table has: a look of the automation at nine sources is 99 statements. Here the storages of all instances of a
process share a pool, and what is there once is not asked for again. A server that is started anew is waited for:
Dagster gives up after 11 s, by which every step under way has failed, and what failed in a step is not repeated.

Here: the storage that `deploy/*/dagster.yaml` name. Not here: what is stored, which is Dagster's; the Postgres that our
own processes share (`files/postgres.py`).
"""

import os
from collections.abc import Mapping
from typing import Any

# how an instance remembers what a storage was configured with
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    set_pg_statement_timeout,
)
from sqlalchemy import Connection, Engine, event

from geopin_assets.files.postgres import Patience

_KEPT, _RECYCLE_S = 2, 3_600
"""Connections that a process keeps, and for how long; more at once are made and closed as before."""
_engines: dict[str, Engine] = {}
_columns: set[tuple[str, str]] = set()
"""(address, column) of what is there."""


class OpenPostgresStorage(DagsterPostgresStorage):
    """What Dagster's own is, for whatever asks; of threads and processes that were forked, too."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        makes = should_autocreate_tables and postgres_url not in _engines
        super().__init__(postgres_url, makes, inst_data, token_provider)
        self._run_storage = _OpenRuns(postgres_url, False, token_provider=token_provider)
        self._event_log_storage = _OpenEventLog(postgres_url, False, token_provider=token_provider)
        self._schedule_storage = _OpenSchedules(postgres_url, False, token_provider=token_provider)
        engine = _engine(postgres_url, token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "OpenPostgresStorage":
        """As Dagster's own, which makes one of its own class."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


class _Open:
    """In the webserver, too: there Dagster has each storage keep a connection that nobody looks at before it is used,
    so that after a server was started anew whatever one clicks on fails at first."""

    _engine: Engine

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Statements take so many ms at most; the rest is as it is."""

        @event.listens_for(self._engine, "connect")
        def limit(connection: Any, _: Any) -> None:
            set_pg_statement_timeout(connection, statement_timeout)

        self._engine.dispose()  # those that were made before


class _OpenRuns(_Open, PostgresRunStorage):
    pass


class _OpenSchedules(_Open, PostgresScheduleStorage):
    pass


class _OpenEventLog(_Open, PostgresEventLogStorage):
    """Thread-safe as its base class is."""

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        column = self.postgres_url, column_name
        if column not in _columns and super()._has_asset_key_col_on_connection(conn, column_name):
            _columns.add(column)
        return column in _columns

    def has_asset_key_col(self, column_name: str) -> bool:
        return (self.postgres_url, column_name) in _columns or super().has_asset_key_col(column_name)


def _engine(address: str, token_provider: PgTokenProvider | None) -> Engine:
    options: Mapping[str, Any] = {
        **{"isolation_level": "AUTOCOMMIT", "pool_size": _KEPT, "max_overflow": -1},
        **{"pool_recycle": _RECYCLE_S, "pool_pre_ping": True},  # a server that was started anew is no error
    }
    if address not in _engines:
        _engines[address] = engine = create_pg_engine(address, token_provider, **options)
        patience = Patience()

        @event.listens_for(engine, "do_connect")
        def connect(dialect: Any, _: Any, told: Any, named: Any) -> Any:
            return patience.answered(lambda: dialect.connect(*told, **named), (dialect.loaded_dbapi.OperationalError,))

    return _engines[address]


def _leave_to_parent() -> None:
    """Two processes must never talk over one connection."""
    for engine in _engines.values():
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_to_parent)
