"""What every registered source must do. A new source brings `recordings/<name>.py`:

`CELL`, `build(folder, transport=None) -> Source` replaying recorded payloads, `EXPECTED` captures (payload
and, where it is a hash of bytes, image_version blanked) and `REJECTED` counts; for sources that ask a
server also `RECORD`, one raw record, and `parse(record)`.
"""

import contextlib
import copy
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geopin_assets import sources
from geopin_assets.capture import Capture, Rejected
from geopin_assets.errors import ConfigurationError, GeoPinError, PermanentError, TransientError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.http_client import HttpClient
from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import SOURCES, open_source, source_named
from geopin_assets.sources.base import Source
from geopin_assets.sources.crawl import crawl_cell, crawl_cells
from geopin_assets.sources.fields import MAX_PAYLOAD_BYTES
from geopin_assets_tests.depth import examples

ENABLED = {"GEOPIN_ENABLE_MAPILIO": "1"}


def recording(source: type[Source]) -> ModuleType:
    return importlib.import_module(f"geopin_assets_tests.sources.recordings.{source.name}")


every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
every_server = pytest.mark.parametrize(
    "source", [source for source in SOURCES if source.asks_a_server], ids=lambda source: source.name
)


@every_source
def test_recorded_payloads_become_exactly_these_captures(source: type[Source], tmp_path: Path):
    case = recording(source)
    crawl = crawl_cell(case.build(tmp_path), case.CELL)
    expected = {capture.source_capture_id: capture for capture in case.EXPECTED}
    blanked = [
        replace(c, payload="{}", image_version=c.image_version and expected[c.source_capture_id].image_version)
        for c in crawl.captures
    ]
    assert blanked == case.EXPECTED
    assert dict(crawl.report.rejected) == case.REJECTED
    assert crawl.report.incomplete == []


@every_source
def test_payloads_are_bounded_json_with_sorted_keys(source: type[Source], tmp_path: Path):
    case = recording(source)
    for capture in crawl_cell(case.build(tmp_path), case.CELL).captures:
        assert len(capture.payload.encode()) <= MAX_PAYLOAD_BYTES
        assert list(json.loads(capture.payload)) == sorted(json.loads(capture.payload))


@every_source
def test_crawling_again_gives_the_same(source: type[Source], tmp_path: Path):
    case = recording(source)
    built = case.build(tmp_path)
    assert crawl_cell(built, case.CELL).captures == crawl_cell(built, case.CELL).captures


@every_source
def test_each_capture_belongs_to_exactly_one_of_neighboring_cells(source: type[Source], tmp_path: Path):
    case = recording(source)
    built = case.build(tmp_path)
    quarters = [Cell(f"q{n}", box) for n, box in enumerate(case.CELL.bbox.quarters())]
    found = [capture.capture_id for quarter in quarters for capture in crawl_cell(built, quarter).captures]
    assert sorted(found) == [capture.capture_id for capture in case.EXPECTED]


@every_source
def test_cells_can_be_crawled_at_once(source: type[Source], tmp_path: Path):
    case = recording(source)
    outcomes = list(crawl_cells(case.build(tmp_path), [case.CELL] * 5, concurrency=3))
    assert [len(crawl.captures) for _, crawl in outcomes] == [len(case.EXPECTED)] * 5


@every_server
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(500, html="<h1>Server Error (500)</h1>"), TransientError),
        (httpx.Response(429, headers={"retry-after": "3600"}), TransientError),
        (httpx.Response(404, html="<h1>Not Found</h1>"), PermanentError),
        (httpx.Response(403, text="no"), PermanentError),
        (httpx.Response(302, headers={"location": "https://login.example"}), PermanentError),
        (httpx.Response(200, html="<h1>Maintenance</h1>"), GeoPinError),
        (httpx.Response(200, content=b'{"features": ['), TransientError),
        (httpx.Response(200, json={}), PermanentError),
        (httpx.Response(200, json=[]), PermanentError),
        (httpx.Response(200, json=None, content=b"null"), PermanentError),
    ],
    ids=lambda value: str(value.status_code) if isinstance(value, httpx.Response) else "",
)
def test_an_error_is_never_an_empty_cell(
    source: type[Source], answer: httpx.Response, error: type[GeoPinError], tmp_path: Path
):
    def transport(request: httpx.Request) -> httpx.Response:
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    case = recording(source)
    with pytest.raises(error, match=source.name):
        crawl_cell(case.build(tmp_path, httpx.MockTransport(transport)), case.CELL)


@every_server
def test_a_connection_that_breaks_is_a_passing_failure(source: type[Source], tmp_path: Path):
    def transport(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    case = recording(source)
    with pytest.raises(TransientError, match=source.name):
        crawl_cell(case.build(tmp_path, httpx.MockTransport(transport)), case.CELL)


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "\x00", "../../x", "x" * 5000, "0026-01-01T00:00:00Z", "http://", "file:///etc/passwd", "\ud800"]
    ),
    st.lists(st.floats(), max_size=3),
    st.just([[], {}]),
    st.just({"a": [None]}),
    st.binary(max_size=4),
    st.sampled_from([10**400, -(10**5000), 2**63, float("nan"), float("inf"), b"\xff\xfe", "\u0000", "\udfff" * 3]),
    st.just(None).map(lambda _: _deep(200)),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def _deep(levels: int) -> Any:
    nested: Any = []
    for _ in range(levels):
        nested = [nested]
    return nested


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, child in items for deeper in _paths(child, (*path, key)))]


@every_server
@settings(max_examples=examples(12, 600), deadline=None)
@given(data=st.data())
def test_a_malformed_record_is_rejected_with_a_reason_and_never_an_exception(source: type[Source], data: st.DataObject):
    case = recording(source)
    record = copy.deepcopy(case.RECORD)
    for path in data.draw(st.lists(st.sampled_from(_paths(case.RECORD)), min_size=1, max_size=3)):
        if not path:
            record = data.draw(junk)
            break
        parent = record
        try:
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = data.draw(junk)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that part away
    result = case.parse(record)
    assert isinstance(result, Rejected | Capture)
    if isinstance(result, Capture):
        result.payload.encode()
        assert result.heading_deg is None or 0 <= result.heading_deg < 360
        assert result.license in OPEN_LICENSES
        assert result.image_url.startswith(("http://", "https://"))
        assert case.CELL.bbox.contains(result.lon, result.lat)


@every_server
@settings(max_examples=examples(12, 600), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_malformed_answer_costs_records_or_the_cell_with_an_error_of_ours(
    source: type[Source], data: st.DataObject, tmp_path: Path
):
    """Any part of any answer, its frame too, becomes something else; a tile loses or changes bytes."""
    case = recording(source)
    built = case.build(tmp_path)
    client = next(value for value in _parts(built) if isinstance(value, HttpClient))
    honest = client._client._transport.handler

    def server(request: httpx.Request) -> httpx.Response:
        response = honest(request)
        try:
            answer = json.loads(response.content)
        except ValueError:
            content = bytearray(response.content)
            for _ in range(data.draw(st.integers(0, 4)) if content else 0):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
            return httpx.Response(response.status_code, content=bytes(content))
        path = data.draw(st.sampled_from(_paths(answer)))
        holder: Any = {"": answer}
        for key in (parent := ("", *path))[:-1]:
            holder = holder[key]
        holder[parent[-1]] = data.draw(junk.filter(lambda value: not isinstance(value, bytes)))
        return httpx.Response(response.status_code, content=_json_of(answer if path else holder[""]))

    with contextlib.suppress(GeoPinError):
        for capture in crawl_cell(case.build(tmp_path, httpx.MockTransport(server)), case.CELL).captures:
            capture.payload.encode()
            capture.attribution.encode()


def _parts(built: Any) -> Iterator[Any]:
    """What an object is made of, some levels down."""
    level = [built]
    for _ in range(3):
        level = [part for whole in level for part in getattr(whole, "__dict__", {}).values()]
        level += [part for whole in level if isinstance(whole, dict | list) for part in _members(whole)]
        yield from level


def _members(whole: Any) -> list[Any]:
    return list(whole.values()) if isinstance(whole, dict) else list(whole)


def _json_of(answer: Any) -> bytes:
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(answer).encode()
    finally:
        sys.set_int_max_str_digits(4300)


@every_source
def test_a_source_states_its_facts(source: type[Source]):
    assert re.fullmatch(r"[a-z_]+", source.name)
    assert source.title
    assert all(url.startswith("https://") for url in (source.homepage, source.contribute_url))
    assert source.license is None or source.license in OPEN_LICENSES
    assert source.attribution
    assert source.requests_per_second > 0
    assert source.concurrency >= 1
    assert not source.endpoint.endswith("/")
    assert all(host == host.lower() and most >= 1 for host, most in source.image_hosts.items())


@every_source
def test_the_docstring_of_a_source_has_its_heads(source: type[Source]):
    description = inspect.getdoc(inspect.getmodule(source)) or ""
    assert [head for head in ("API", "License", "Quirks") if f"\n{head}: " in f"\n{description}"] == [
        "API",
        "License",
        "Quirks",
    ]


def test_every_module_that_defines_a_source_is_registered():
    defined = {
        value
        for module in pkgutil.iter_modules(sources.__path__)
        for value in vars(importlib.import_module(f"geopin_assets.sources.{module.name}")).values()
        if inspect.isclass(value) and issubclass(value, Source) and not inspect.isabstract(value)
    }
    assert defined == set(SOURCES)
    assert len({source.name for source in SOURCES}) == len(SOURCES)


@every_source
def test_a_source_is_found_by_name_and_built_for_the_sandbox_without_a_key(source: type[Source], tmp_path: Path):
    assert source_named(source.name) is source
    with open_source(source.name, Settings(data_dir=tmp_path, variables=ENABLED)) as built:
        assert isinstance(built, source)


def test_only_a_contested_source_is_off_in_the_sandbox():
    assert [s.name for s in SOURCES if s.disabled_reason(Settings())] == ["mapilio"]


@every_source
def test_live_a_source_without_its_key_says_which_variable_and_where_to_get_one(source: type[Source]):
    live = Settings(profile=Profile.LIVE, contact="me@example.org", variables=ENABLED)
    reason = source.disabled_reason(live) or ""
    if source.key:
        assert source.key.variable in reason and source.key.where in reason
        assert source.key.where.startswith("https://")
        given = Settings(
            profile=Profile.LIVE, contact="me@example.org", variables=ENABLED | {source.key.variable: "abc-123"}
        )
        assert source.disabled_reason(given) is None
    else:
        assert not reason or "GEOPIN_" in reason


@every_server
def test_live_requests_say_who_asks(source: type[Source], tmp_path: Path):
    agents: set[str] = set()

    def transport(request: httpx.Request) -> httpx.Response:
        agents.add(request.headers["user-agent"])
        return httpx.Response(404)

    variables = ENABLED | {"GEOPIN_STAC_URLS": "https://stac.example.org"}
    variables |= {source.key.variable: "abc-123"} if source.key else {}
    live = Settings(profile=Profile.LIVE, data_dir=tmp_path, contact="me@example.org", variables=variables)
    with (
        open_source(source.name, live, transport=httpx.MockTransport(transport)) as built,
        pytest.raises(GeoPinError),
    ):
        crawl_cell(built, Cell("dam", Bbox(4.89, 52.37, 4.9, 52.38)))
    assert agents and all(agent.endswith("(+me@example.org)") for agent in agents)


def test_an_unknown_source_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigurationError, match="panoramax"), open_source("streetview", Settings()):
        pass


@every_server
def test_in_the_sandbox_only_loopback_is_asked(source: type[Source], tmp_path: Path):
    hosts: set[str] = set()

    def transport(request: httpx.Request) -> httpx.Response:
        hosts.add(f"{request.url.host}:{request.url.port}{request.url.path}")
        return httpx.Response(404)

    with (
        open_source(
            source.name,
            Settings(data_dir=tmp_path, sandbox_port=4711, variables=ENABLED),
            transport=httpx.MockTransport(transport),
        ) as built,
        pytest.raises(PermanentError),
    ):
        crawl_cell(built, Cell("dam", Bbox(4.89, 52.37, 4.9, 52.38)))
    assert hosts and all(host.startswith(f"127.0.0.1:4711/{source.name}/") for host in hosts)
