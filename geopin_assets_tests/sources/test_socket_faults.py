"""The fault switchboard over a real socket: for every source and kind of fault an error, and all is well afterwards."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from geopin_assets.cells import cell
from geopin_assets.errors import GeoPinError
from geopin_assets.http_client import HttpClient, Quota
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.settings import Settings
from geopin_assets.sources import SOURCES
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets_tests.sources.invented import VARIABLES, stand_in_of

CELLS = [cell(f"nh-amsterdam-r0{row}c0{column}") for row in (89, 90) for column in (51, 52, 53)]
FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "429 for two minutes": {"status": 429, "retry_after_s": 120},
    "a web page": {"kind": "html"},
    "half the body": {"kind": "truncated"},
    "a connection that breaks": {"kind": "reset"},
    "no answer at all": {"kind": "hang"},
}

every_server = pytest.mark.parametrize("source", list(filter(stand_in_of, SOURCES)), ids=lambda source: source.name)


@pytest.fixture
def switchboard(sandbox_port: int) -> Iterator["Switchboard"]:
    board = Switchboard(sandbox_port)
    yield board
    board.tell("DELETE")


class Switchboard:
    """Turns faults on and off as an operator does."""

    def __init__(self, port: int) -> None:
        self.port = port

    def tell(self, method: str, body: object = None) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, "/faults", None if body is None else json.dumps(body))
        assert connection.getresponse().status < 300
        connection.close()


def crawled(source: type[Source], folder: Path, port: int, deadline_s: float = 60) -> dict[str, set[str]]:
    """Ids by cell, of cells that have a capture of this source."""
    with HttpClient(
        source.name,
        contact="test@example.org",
        requests_per_second=1e9,
        quotas={kind: Quota(per_second=1e9) for kind in source.quotas},
        sleep=lambda _: None,
        deadline_s=deadline_s,
        attempts=2,
    ) as client:
        settings = Settings(data_dir=folder, sandbox_port=port, contact="test@example.org", variables=VARIABLES)
        built = source.from_settings(settings, client)
        return {where.cell_id: {c.source_capture_id for c in crawl_cell(built, where).captures} for where in CELLS}


@every_server
def test_every_fault_is_an_error_and_passes(source: type[Source], tmp_path: Path, switchboard: Switchboard):
    before = crawled(source, tmp_path / "before", switchboard.port)
    assert sum(map(len, before.values())) > 0
    assert any(shot.drive.source == source.name for shot in build_world().shots)
    for name, fault in FAULTS.items():
        switchboard.tell("POST", {"source": source.name, **fault})
        with pytest.raises(GeoPinError, match=source.name):
            crawled(source, tmp_path / name, switchboard.port, deadline_s=0.5)
        switchboard.tell("DELETE")
    assert crawled(source, tmp_path / "after", switchboard.port) == before
