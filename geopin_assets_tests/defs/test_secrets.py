"""Keys and tokens reach the providers and nothing else, whatever the providers answer."""

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import dagster as dg
import httpx
import polars as pl
import pytest

from geopin_assets.cells import cell
from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.resources import Sources
from geopin_assets.defs.running.local_run import crawl_source
from geopin_assets.sandbox.server import create_app
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sources import open_source
from geopin_assets.sources.base import Source
from geopin_assets_tests.faults.verdict import note
from geopin_assets_tests.sandbox.transport import AsgiTransport

CELLS = ["nh-amsterdam-r089c052", "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"]
BASE = "http://stand-in.example"
SECRETS = {
    "mapillary": ("GEOPIN_MAPILLARY_TOKEN", "MLY|4711|ab+c/d=very-secret-1"),
    "amsterdam": ("GEOPIN_AMSTERDAM_API_KEY", "ams-very-secret-2"),
    "wikimedia_commons": ("GEOPIN_WIKIMEDIA_COMMONS_TOKEN", "wmc.very-secret-3"),
    "flickr": ("GEOPIN_FLICKR_API_KEY", "flickrverysecret4"),
    "europeana": ("GEOPIN_EUROPEANA_API_KEY", "europeanaverysecret5"),
    "stac": ("GEOPIN_STAC_TOKEN", "stac~very-secret-6"),
}
LIVE = {"GEOPIN_PROFILE": "live", "GEOPIN_CONTACT": "me@example.org", "GEOPIN_STAC_URLS": "https://stac.example.org"}


class Telltale(httpx.BaseTransport):
    """The stand-in of a source that repeats the whole request, keys and all, in whatever it answers."""

    def __init__(self, name: str, secret: str) -> None:
        self._name, self._secret = name, secret
        self._inner = AsgiTransport(create_app(build_world(), BASE))
        self._turns = count()
        self.was_told = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        said = f"you sent {request.url} with {dict(request.headers)}"
        self.was_told += any(form in said for form in (self._secret, quote(self._secret, safe="")))
        turn = next(self._turns) % 7
        if turn == 1:
            return httpx.Response(500, text=said)
        if turn == 3:
            return httpx.Response(429, json={"error": {"message": said}}, headers={"retry-after": "0"})
        if turn == 5:
            return httpx.Response(200, content=b'{"said": "' + said.encode()[:400])
        return self._answer(request, said)

    def _answer(self, request: httpx.Request, said: str) -> httpx.Response:
        parts = urlsplit(str(request.url))
        forms = (self._secret, quote(self._secret, safe=""))
        target = f"{BASE}/{self._name}{parts.path}?{parts.query}"
        headers = dict(request.headers)
        for form in forms:
            target = target.replace(form, "sandbox")
            headers = {name: value.replace(form, "sandbox") for name, value in headers.items()}
        inner = self._inner.handle_request(
            httpx.Request(request.method, target, headers=headers, content=request.read())
        )
        text = inner.text.replace(f"{BASE}/{self._name}", f"{parts.scheme}://{parts.netloc}")
        try:
            body = json.dumps(_with(json.loads(text), said))
        except ValueError:
            body = text
        return httpx.Response(inner.status_code, content=body.encode(), headers={"content-type": "application/json"})


def _with(value: Any, said: str) -> Any:
    """Every name, title and description becomes what was sent; every object also gets it as a field of its own."""
    if isinstance(value, dict):
        told = {key: said if key in ("username", "ownername", "title", "description") else _with(child, said)
                for key, child in value.items()}  # fmt: skip
        return told | ({"debug": said} if "id" in value or "pano_id" in value else {})
    return [_with(child, said) for child in value] if isinstance(value, list) else value


class TelltaleSources(Sources):
    """Every source as it is live, asking a telltale."""

    def open(self, name: str, **_: object) -> AbstractContextManager[Source]:
        telltale = Telltale(name, SECRETS[name][1])
        _opened.append(telltale)
        return open_source(name, self.settings(), transport=telltale)


_opened: list[Telltale] = []


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    for variable, secret in SECRETS.values():
        monkeypatch.setenv(variable, secret)
    _opened.clear()
    yield [form for _, secret in SECRETS.values() for form in {secret, quote(secret, safe="")}]
    _opened.clear()


@pytest.mark.parametrize("name", SECRETS)
def test_a_key_is_sent_and_found_nowhere_after_a_faulty_run(
    name: str, secrets: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    overrides = LIVE | {"GEOPIN_DATA": str(tmp_path / "data"), f"GEOPIN_{name.upper()}_REQUESTS_PER_SECOND": "1000"}
    (tmp_path / "home").mkdir()
    with dg.instance_for_test(temp_dir=str(tmp_path / "home")) as instance:
        defs = build_definitions(overrides=overrides, sources=TelltaleSources(overrides=overrides))
        result = crawl_source(defs.resolve_implicit_global_asset_job_def(), instance, CELLS, name)
        events = "\n".join(
            str(record)
            for run in instance.get_runs()
            for record in instance.get_records_for_run(run.run_id, limit=10_000).records
        )
    assert sum(telltale.was_told for telltale in _opened) > 3, "the key was never sent"
    assert result.cells + result.failed_count >= len(CELLS)
    stored = [pl.read_parquet(path) for path in (tmp_path / "data").rglob("*.parquet")]
    assert sum(frame.height for frame in stored) > 0
    printed = capfd.readouterr()
    places = {
        "log": caplog.text,
        "events": events,
        "result": repr(result),
        "output": printed.out + printed.err,
        "captures": "\n".join(frame.write_json() for frame in stored),
        "accounts": "\n".join(str(pl.read_parquet_metadata(path)) for path in (tmp_path / "data").rglob("*.parquet")),
    }
    places |= {str(path): path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()}
    found = [(place, secret) for place, text in places.items() for secret in secrets if secret in text]
    note("keys that could be told", attempts=len(places), tokens_found=len(found))
    assert found == []


def test_the_cells_of_the_test_have_something_to_tell() -> None:
    boxes = [cell(cell_id).bbox for cell_id in CELLS]
    for name in SECRETS:
        assert any(box.contains(shot.lon, shot.lat) for shot in build_world().of(name) for box in boxes), name
