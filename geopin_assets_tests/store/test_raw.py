"""Crawled cells in a folder, memory and S3, each with the account of its crawl."""

from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import orjson
import polars as pl
import pytest

from geopin_assets.errors import DamagedFileError, PayloadError
from geopin_assets.files.object_store import ObjectStore, memory_store, open_store
from geopin_assets.store.accounts import CrawlAccount
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import RAW_SCHEMA
from geopin_assets_tests.factories import DAY_1, DAY_2, capture, crawl
from geopin_assets_tests.files.processes import end, start
from geopin_assets_tests.files.stores import only_a_folder

HERE, THERE = "nh-amsterdam-r089c051", "nh-amsterdam-r089c052"


@pytest.fixture
def raw(object_store: ObjectStore) -> RawStore:
    return RawStore(object_store)


def version(raw: RawStore, **fields: object) -> str:
    return crawl(raw, HERE, [capture(**fields)]).data_version


def test_the_account_read_back_is_the_account_written(raw: RawStore) -> None:
    written = crawl(raw, HERE, [capture("a1"), capture("a2")], rejected={"no_image": 2, "bad_id": 1})
    assert raw.account("panoramax", HERE) == written
    assert written.captures == 2
    assert dict(written.rejected) == {"bad_id": 1, "no_image": 2}
    assert written.crawled_at == DAY_1


def test_captures_are_stored_in_order_of_id_with_their_cell(raw: RawStore) -> None:
    crawl(raw, HERE, [capture("b"), capture("a")])
    stored = raw.captures("panoramax", HERE)
    assert stored["capture_id"].to_list() == ["panoramax:a", "panoramax:b"]
    assert stored["cell_id"].to_list() == [HERE, HERE]
    assert stored.schema == RAW_SCHEMA


def test_a_later_crawl_replaces_the_whole_cell(raw: RawStore) -> None:
    crawl(raw, HERE, [capture("a1"), capture("a2")])
    crawl(raw, HERE, [capture("a3")], crawled_at=DAY_2)
    assert raw.captures("panoramax", HERE)["source_capture_id"].to_list() == ["a3"]
    assert raw.account("panoramax", HERE).crawled_at == DAY_2


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "null", "{}", '"x"', "{", '{"number": 1}', '{"number": [], "is_complete": 1}']
)
def test_an_account_that_says_something_else_is_damage(text: str) -> None:
    with pytest.raises(DamagedFileError):
        CrawlAccount.told(text, "panoramax", HERE, DAY_2)


def test_so_is_one_whose_values_are_of_another_kind_but_a_newer_version_may_say_more(raw: RawStore) -> None:
    account = crawl(raw, HERE, [capture()])
    said = orjson.loads(account.text())
    assert CrawlAccount.told(orjson.dumps(said | {"weather": "rain"}).decode(), "panoramax", HERE, DAY_2) == account
    for name, value in product(said, ("x", 1.5, [1], {"a": 1}, True)):
        if type(value) is not type(said[name]) and (name, value) != ("rejected", {"a": 1}):
            with pytest.raises(DamagedFileError):
                CrawlAccount.told(orjson.dumps(said | {name: value}).decode(), "panoramax", HERE, DAY_2)


def test_a_cell_where_nothing_was_found_is_a_file_too(raw: RawStore) -> None:
    crawl(raw, HERE, [])
    assert raw.account("panoramax", HERE).captures == 0
    assert raw.sources_of([HERE]) == [("panoramax", HERE)]


def test_only_cells_and_sources_that_were_crawled_are_listed(raw: RawStore) -> None:
    assert raw.sources_of([HERE, THERE]) == []
    crawl(raw, HERE, [capture(source="amsterdam")], source="amsterdam")
    crawl(raw, HERE, [capture()])
    crawl(raw, THERE, [capture()])
    assert raw.sources_of([THERE]) == [("panoramax", THERE)]
    assert raw.sources_of([HERE]) == [("amsterdam", HERE), ("panoramax", HERE)]


def test_copies_that_others_made_of_a_file_are_no_cells_but_may_hold_captures(raw: RawStore) -> None:
    crawl(raw, HERE, [capture("a1")])
    content = raw.objects.get(raw.key("panoramax", HERE))
    copies = [f"{HERE} (1)", f"{HERE}.sync-conflict-20261130-052000-ABCDEFG", f"Copy of {HERE}"]
    for name in copies:
        raw.objects.put(f"panoramax/{name}.parquet", content)
    raw.objects.set_aside(f"panoramax/{copies.pop()}.parquet")
    assert raw.crawls()["cell_id"].to_list() == [HERE] and raw.lost("panoramax") == set()
    found = set(raw.find_captures("panoramax", ["panoramax:a1"]))
    assert found == {(cell_id, "panoramax:a1") for cell_id in (HERE, *copies)}


def test_a_signed_link_or_a_view_counter_is_no_new_version(raw: RawStore) -> None:
    before = version(raw)
    assert version(raw, image_url="https://panoramax.example/a1.jpg?signature=2") == before
    assert version(raw, payload='{"views": 7}') == before


@only_a_folder
@pytest.mark.parametrize(
    "changed",
    [
        {"lon": 4.8931},
        {"heading_deg": None},
        {"license": "CC0-1.0"},
        {"image_version": "2"},
        {"is_pano": True},
        {"heading_from": "track"},
    ],
)
def test_any_other_change_is_a_new_version(raw: RawStore, changed: dict[str, object]) -> None:
    assert version(raw, **changed) != version(raw)


def test_neither_the_order_nor_the_time_of_a_crawl_is_a_new_version(raw: RawStore) -> None:
    a, b = capture("a"), capture("b")
    versions = {crawl(raw, HERE, order, crawled_at=at).data_version for order, at in (([a, b], DAY_1), ([b, a], DAY_2))}
    assert len(versions) == 1


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + bytes(8)])
def test_a_damaged_file_is_an_error_that_names_source_and_cell(raw: RawStore, content: bytes) -> None:
    raw.objects.put(raw.key("panoramax", HERE), content)
    with pytest.raises(PayloadError, match=f"panoramax in {HERE}"):
        raw.account("panoramax", HERE)


def test_a_parquet_file_of_someone_else_is_an_error(raw: RawStore) -> None:
    with raw.objects.replacing(raw.key("panoramax", HERE)) as path:
        pl.DataFrame({"x": [1]}).write_parquet(path)
    with pytest.raises(PayloadError, match="panoramax"):
        raw.account("panoramax", HERE)


def test_times_keep_their_zone(raw: RawStore) -> None:
    at = datetime(2024, 6, 1, 8, 30, tzinfo=UTC)
    crawl(raw, HERE, [capture(captured_at=at)])
    assert raw.captures("panoramax", HERE)["captured_at"].to_list() == [at]


def test_a_store_knows_what_the_last_crawl_found(raw: RawStore) -> None:
    assert raw.ids_of("panoramax", HERE) == set()
    crawl(raw, HERE, [capture("a"), capture("b")])
    assert raw.ids_of("panoramax", HERE) == {"a", "b"}
    assert raw.ids_of("amsterdam", HERE) == set()
    raw.objects.put(raw.key("panoramax", HERE), b"damaged")
    assert len(raw.ids_of("panoramax", HERE)) == 1  # it may have held any


def test_a_file_that_something_was_taken_out_of_is_what_a_crawl_would_have_stored_without_it(raw: RawStore) -> None:
    other = RawStore(memory_store())
    crawl(raw, HERE, [capture("a", payload='{"face": 1}'), capture("b"), capture("c")], rejected={"no_image": 2})
    account = raw.take_down("panoramax", HERE, ["panoramax:a", "panoramax:c", "panoramax:not there"])
    assert account == crawl(other, HERE, [capture("b")], rejected={"no_image": 2, "taken_down": 2})
    assert raw.account("panoramax", HERE) == account
    stored, expected = (store.captures("panoramax", HERE) for store in (raw, other))
    assert stored.equals(expected)


def test_captures_are_found_in_every_file_of_their_source(raw: RawStore) -> None:
    for cell_id in (HERE, THERE):
        crawl(raw, cell_id, [capture("a"), capture(f"only {cell_id}")])
    crawl(raw, HERE, [capture("a", source="amsterdam")], source="amsterdam")
    wanted = ["panoramax:a", f"panoramax:only {THERE}", "panoramax:z"]
    assert list(raw.find_captures("panoramax", wanted)) == [(HERE, wanted[0]), (THERE, wanted[0]), (THERE, wanted[1])]
    assert list(raw.find_captures("flickr", ["flickr:a"])) == []


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + bytes(8)])
def test_a_damaged_file_may_hold_any_capture_and_nothing_can_be_taken_out_of_it(raw: RawStore, content: bytes) -> None:
    crawl(raw, THERE, [capture("a")])
    raw.objects.put(raw.key("panoramax", HERE), content)
    assert list(raw.find_captures("panoramax", ["panoramax:a"])) == [(HERE, None), (THERE, "panoramax:a")]
    with pytest.raises(PayloadError, match=f"panoramax in {HERE}"):
        raw.take_down("panoramax", HERE, ["panoramax:a"])


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_two_machines_that_crawl_one_cell_lose_no_crawl(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    code = """
        import sys
        from geopin_assets.files.object_store import open_store
        from geopin_assets.store.raw import RawStore
        from geopin_assets_tests.factories import capture, crawl
        raw = RawStore(open_store(sys.argv[1], endpoint_url=sys.argv[2]))
        found = ([capture(f"{sys.argv[3]}-{number}")] for number in range(10))
        print(*(crawl(raw, sys.argv[4], captures, is_complete=False).number for captures in found))
    """
    address, endpoint_url = str(tmp_path / "raw"), ""
    if kind == "s3":
        endpoint_url = request.getfixturevalue("s3_address")
        address = f"s3://{request.getfixturevalue('s3_bucket')}/raw"
    machines = [start(code, address, endpoint_url, name, HERE) for name in "ab"]
    ended = [end(machine) for machine in machines]
    assert [exit_code for exit_code, _ in ended] == [0, 0]
    assert len({number for _, said in ended for number in said.split()}) == 20, "a number twice"
    held = RawStore(open_store(address, endpoint_url=endpoint_url)).captures("panoramax", HERE)
    assert set(held["source_capture_id"]) == {f"{name}-{number}" for name in "ab" for number in range(10)}
