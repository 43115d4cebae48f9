import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE

import polars as pl
import pytest

from geopin_assets.errors import TransientError
from geopin_assets.files.object_store import memory_store, open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.depth import some
from geopin_assets_tests.factories import DAY_1, DAY_2, DAY_3, capture, crawl
from geopin_assets_tests.files.odd import ODD
from geopin_assets_tests.store.failed_images import fail

A, B = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"


@pytest.fixture(params=some(["folder", "memory"]))
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> RawStore:
    return RawStore(memory_store() if request.param == "memory" else open_store(tmp_path / "raw"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.duckdb"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    return Catalog(path)


def ids(catalog: Catalog, cell_id: str) -> list[str]:
    return catalog.captures([cell_id])["source_capture_id"].to_list()


def test_the_same_capture_stored_twice_is_one_row_and_one_counted_duplicate(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1"), capture("1"), capture("2")])
    report = catalog.merge([A], raw)
    assert ids(catalog, A) == ["1", "2"]
    assert report.duplicates == 1
    assert catalog.duplicates() == 0


def test_equal_ids_of_two_sources_are_two_captures(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    crawl(raw, A, [capture("1", source="amsterdam")], source="amsterdam")
    catalog.merge([A], raw)
    assert catalog.ids().to_list() == ["amsterdam:1", "panoramax:1"]


def test_a_capture_that_a_complete_crawl_no_longer_returns_is_tombstoned(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    catalog.merge([A], raw)
    crawl(raw, A, [capture("2")], crawled_at=DAY_2)
    report = catalog.merge([A], raw)
    assert ids(catalog, A) == ["2"]
    assert report.cells["removed"].to_list() == [1]
    gone = catalog.query("select * from capture_history where removed_at is not null")
    assert gone["capture_id"].to_list() == ["panoramax:1"]
    assert gone["last_seen_at"].to_list() == [DAY_1]


def test_a_tombstone_comes_back_when_the_source_returns_it(raw: RawStore, catalog: Catalog) -> None:
    for day, found in ((DAY_1, ["1"]), (DAY_2, []), (DAY_3, ["1"])):
        crawl(raw, A, [capture(i) for i in found], crawled_at=day)
        catalog.merge([A], raw)
    history = catalog.query("select * from capture_history").row(0, named=True)
    assert ids(catalog, A) == ["1"]
    assert (history["first_seen_at"], history["last_seen_at"], history["removed_at"]) == (DAY_1, DAY_3, None)


def test_an_incomplete_crawl_adds_but_never_removes(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    crawl(raw, A, [capture("2")], crawled_at=DAY_2, is_complete=False)
    catalog.merge([A], raw)
    assert ids(catalog, A) == ["1", "2"]


def test_a_source_that_was_not_crawled_again_keeps_its_captures(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    crawl(raw, A, [capture("1", source="amsterdam")], source="amsterdam")
    catalog.merge([A], raw)
    crawl(raw, A, [], crawled_at=DAY_2)
    catalog.merge([A], raw)
    assert catalog.ids().to_list() == ["amsterdam:1"]


@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_a_capture_whose_coordinates_moved_is_in_its_new_cell_whatever_is_merged_first(
    raw: RawStore, catalog: Catalog, order: tuple[str, str]
) -> None:
    crawl(raw, A, [capture("1")])
    crawl(raw, B, [])
    catalog.merge([A, B], raw)
    crawl(raw, A, [], crawled_at=DAY_2)
    crawl(raw, B, [capture("1", lon=4.9)], crawled_at=DAY_2)
    for cell_id in order:
        catalog.merge([cell_id], raw)
    assert (ids(catalog, A), ids(catalog, B)) == ([], ["1"])


def test_an_older_sight_of_a_moved_capture_does_not_bring_it_back(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")], crawled_at=DAY_1)
    crawl(raw, B, [capture("1", lon=4.9)], crawled_at=DAY_2)
    catalog.merge([B], raw)
    report = catalog.merge([A], raw)
    assert (ids(catalog, A), ids(catalog, B), report.duplicates) == ([], ["1"], 1)


def test_the_data_version_of_a_cell_follows_content_and_not_time(raw: RawStore, catalog: Catalog) -> None:
    versions = []
    for days, heading_deg in enumerate((90.0, 90.0, 91.0)):
        crawl(raw, A, [capture("1", heading_deg=heading_deg)], crawled_at=DAY_1 + timedelta(days=days))
        versions.append(catalog.merge([A], raw).cells["data_version"].item())
    assert versions[0] == versions[1] != versions[2]


def test_a_new_image_link_alone_reaches_the_catalog_without_a_new_data_version(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1", image_url="https://x/old?sig=1")])
    before = catalog.merge([A], raw).cells["data_version"].item()
    crawl(raw, A, [capture("1", image_url="https://x/new?sig=2")], crawled_at=DAY_2)
    after = catalog.merge([A], raw).cells["data_version"].item()
    assert catalog.captures([A])["image_url"].item() == "https://x/new?sig=2"
    assert before == after


def test_a_damaged_raw_file_is_reported_and_its_captures_stay(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    crawl(raw, B, [capture("2")])
    catalog.merge([A, B], raw)
    raw.objects.put(raw.key("panoramax", A), b"not parquet")
    crawl(raw, B, [capture("2"), capture("3")], crawled_at=DAY_2)
    report = catalog.merge([A, B], raw)
    assert list(report.unreadable) == [A]
    assert (ids(catalog, A), ids(catalog, B)) == (["1"], ["2", "3"])


def test_a_file_that_a_disk_does_not_give_fails_its_cell_alone_and_stays(catalog: Catalog, tmp_path: Path) -> None:
    raw = RawStore(open_store(tmp_path / "raw"))
    for cell_id in (A, B):
        crawl(raw, cell_id, [capture(cell_id)])
    path = tmp_path / "raw" / raw.key("panoramax", A)
    path.rename(away := path.with_suffix(".away"))
    path.symlink_to("/proc/self/mem")  # which can be opened, and answers with an I/O error
    report = catalog.merge([A, B], raw)
    assert list(report.unreadable) == [A] and path.is_symlink()
    assert catalog.captures([A, B])["source_capture_id"].to_list() == [B]
    away.replace(path)
    assert not catalog.merge([A], raw).unreadable and catalog.counts_by_cell([A]) == {A: 1}


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link that leads to itself"])
def test_what_is_no_file_fails_its_cell_alone_and_is_remade(catalog: Catalog, tmp_path: Path, kind: str) -> None:
    raw = RawStore(open_store(tmp_path / "raw"))
    for cell_id in (A, B):
        crawl(raw, cell_id, [capture(cell_id)])
    catalog.merge([A, B], raw)
    path = tmp_path / "raw" / raw.key("panoramax", A)
    path.unlink()
    ODD[kind](path)
    crawl(raw, B, [capture("new")], crawled_at=DAY_2)
    report = catalog.merge([A, B], raw)
    assert set(report.unreadable) <= {A} and (ids(catalog, A), ids(catalog, B)) == ([A], ["new"])
    assert {cell for (_, cell), account in raw.accounts().items() if account} == {B}, (
        "of a source that can be looked at"
    )
    raw.note_failure("panoramax", A, "down", now=DAY_2)
    crawl(raw, A, [capture("remade")], crawled_at=DAY_2)
    assert not catalog.merge([A, B], raw).unreadable and ids(catalog, A) == ["remade"]
    assert [key for key in raw.objects.aside() if A in key]


def test_cells_without_any_crawl_are_reported_empty(raw: RawStore, catalog: Catalog) -> None:
    assert catalog.merge([A], raw).cells.select("captures", "data_version").row(0) == (0, "empty")
    assert catalog.size() == (0, 0)


@pytest.fixture
def writer(raw: RawStore, catalog: Catalog, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the catalog open."""
    catalog.merge([], raw)
    hold = f"import duckdb; db = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def test_reading_waits_until_the_writer_is_done(path: Path, writer: subprocess.Popen[str]) -> None:
    waits: list[float] = []

    def end_writer(wait_s: float) -> None:
        waits.append(wait_s)
        writer.kill()
        writer.wait()

    assert Catalog(path, sleep=end_writer).ids().is_empty()
    assert len(waits) == 1


def test_patience_ends_with_an_error_that_names_the_cause(path: Path, writer: subprocess.Popen[str]) -> None:
    with pytest.raises(TransientError, match=r"catalog\.duckdb stayed locked by another process"):
        Catalog(path, patience_s=0.0).ids()


def merged(raw: RawStore, catalog: Catalog, numbers: Iterable[int], source: str = "panoramax") -> None:
    """A crawl of one cell now that shows these captures, merged."""
    found = [capture(str(number), source=source) for number in numbers]
    crawl(raw, A, found, source=source, crawled_at=datetime.now(UTC))
    catalog.merge([A], raw)


def test_a_loss_is_counted_from_what_there_was_when_it_began(raw: RawStore, catalog: Catalog) -> None:
    before = datetime.now(UTC)
    merged(raw, catalog, range(10))
    merged(raw, catalog, range(3), source="amsterdam")
    assert catalog.losses(before).is_empty()
    merged(raw, catalog, range(2, 10))
    merged(raw, catalog, range(4, 100))  # what is new since then makes no loss smaller
    assert catalog.losses(before).rows() == [("panoramax", 10, 4)]
    assert catalog.losses(datetime.now(UTC)).is_empty()
    merged(raw, catalog, range(3, 10))
    assert catalog.losses(before).rows() == [("panoramax", 10, 3)], "what came back is not lost"


def test_what_was_taken_down_or_lost_long_ago_is_neither_lost_nor_had(raw: RawStore, catalog: Catalog) -> None:
    merged(raw, catalog, range(10))
    merged(raw, catalog, range(9))
    since = datetime.now(UTC)
    catalog.takedowns().take_down(["panoramax:0", "panoramax:1"], note="", now=since + timedelta(seconds=1))
    catalog.apply_takedowns()
    merged(raw, catalog, range(2, 8))
    assert catalog.losses(since).rows() == [("panoramax", 7, 1)]


def test_images_without_a_vector_are_counted_by_source_reason_and_whether_they_are_given_up(
    raw: RawStore, catalog: Catalog
) -> None:
    merged(raw, catalog, range(3))
    merged(raw, catalog, range(1), source="amsterdam")
    assert catalog.counts_by_source().rows() == [("amsterdam", A, 1), ("panoramax", A, 3)]
    ids = ["panoramax:0", "panoramax:1", "panoramax:2", "amsterdam:0", "panoramax:left since"]
    failures = pl.DataFrame(
        {
            "capture_id": ids,
            "source": [id_.partition(":")[0] for id_ in ids],
            "image_version": "1",
            "reason": ["timeout", "timeout", "not_found", "not_found", "timeout"],
            "attempts": 1,
            "last_tried_at": DAY_1,
            "next_try_at": [DAY_2, None, None, None, DAY_2],
        }
    )
    fail(catalog, {A: failures})
    assert catalog.image_failures().rows() == [
        ("amsterdam", "not_found", True, 1),
        ("panoramax", "not_found", True, 1),
        ("panoramax", "timeout", False, 1),
        ("panoramax", "timeout", True, 1),
    ]


def test_failures_of_a_cell_are_replaced_as_a_whole(raw: RawStore, catalog: Catalog) -> None:
    failure = {"capture_id": "panoramax:1", "source": "panoramax", "image_version": "1"}
    frame = pl.DataFrame(
        [failure | {"reason": "not_found", "attempts": 1, "last_tried_at": DAY_1, "next_try_at": DAY_2}]
    )
    merged(raw, catalog, range(2))
    files = fail(catalog, {A: frame})
    files.write(A, frame.with_columns(attempts=2))
    catalog.follow_failures(files.objects)
    assert catalog.failures([A])["attempts"].to_list() == [2]
    files.write(A, frame.clear())
    catalog.follow_failures(files.objects)
    assert catalog.failures([A]).is_empty()
