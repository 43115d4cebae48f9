"""The catalog follows from the raw files: whatever clocks said, whatever was merged when, and if it is made anew."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopin_assets.capture import Capture
from geopin_assets.files.object_store import open_store
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.depth import examples, some
from geopin_assets_tests.factories import DAY_1, DAY_2, capture, crawl

A, B, C = CELLS = ("nh-amsterdam-r090c051", "nh-amsterdam-r090c052", "nh-amsterdam-r090c053")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
AHEAD = some(
    [timedelta(0), timedelta(days=8), timedelta(days=-3650), timedelta(minutes=10), timedelta(days=365)], usual=3
)


@pytest.fixture
def raw(tmp_path: Path) -> RawStore:
    return RawStore(open_store(tmp_path / "raw"), clock=lambda: NOW)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog.duckdb", clock=lambda: NOW)


def ids(catalog: Catalog, cell_id: str = A) -> list[str]:
    return catalog.captures([cell_id])["source_capture_id"].to_list()


def rebuilt(catalog: Catalog, raw: RawStore, tmp_path: Path) -> Catalog:
    """Another catalog, from the raw files as they are."""
    other = Catalog(tmp_path / "rebuilt.duckdb", clock=lambda: NOW)
    other.merge(CELLS, raw)
    return other


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_crawl_whose_clock_was_wrong_is_followed_by_the_next_one_like_any_other(
    raw: RawStore, catalog: Catalog, ahead: timedelta
) -> None:
    crawl(raw, A, [capture("old"), capture("stays")], crawled_at=NOW + ahead)
    catalog.merge([A], raw)
    for week in range(1, 4):
        found = [capture("stays", heading_deg=10.0 * week), capture(f"new{week}")]
        crawl(raw, A, found, crawled_at=NOW - timedelta(days=7 * (4 - week)))
        (report,) = catalog.merge([A], raw).cells.iter_rows(named=True)
        assert ids(catalog) == [f"new{week}", "stays"]
        assert catalog.captures([A]).filter(source_capture_id="stays")["heading_deg"].to_list() == [10.0 * week]
        assert (report["inserted"], report["updated"], report["removed"]) == (1, 1, 1)


def test_a_time_that_has_not_come_yet_is_refused_and_says_so(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture()], crawled_at=NOW + timedelta(days=8))
    crawl(raw, B, [capture("b")], crawled_at=NOW + timedelta(minutes=4))
    catalog.merge([A, B], raw)
    assert raw.crawls().select("cell_id", "crawled_at", "unknown").rows() == [
        (A, None, "ahead"),
        (B, NOW + timedelta(minutes=4), None),
    ]
    assert catalog.crawls()["crawled_at"].to_list() == [None, NOW + timedelta(minutes=4)]
    seen = catalog.query("select first_seen_at, last_seen_at from capture_history where capture_id = 'panoramax:a1'")
    assert seen.row(0) == (NOW, NOW), "seen when it was merged, for all that is known"


@pytest.mark.parametrize("which", ["was first seen", "was removed"])
def test_what_a_clock_that_was_ahead_saw_or_removed_is_a_loss_like_any_other(
    catalog: Catalog, tmp_path: Path, which: str
) -> None:
    a_year_on, week = NOW + timedelta(days=365), timedelta(days=7)
    first, second = (a_year_on, NOW) if which == "was first seen" else (NOW - week, a_year_on)
    for at, cell_id, count in ((first, A, 10), (second, A, 6), (NOW, B, 0)):
        here = RawStore(open_store(tmp_path / "raw"), clock=lambda at=at: at)
        crawl(here, cell_id, [capture(str(n)) for n in range(count)], crawled_at=at)
        Catalog(tmp_path / "catalog.duckdb", clock=lambda at=at: at).merge([cell_id], here)
    assert catalog.losses(NOW - week, NOW).rows() == [("panoramax", 10, 4)]
    assert catalog.losses(NOW + week, NOW + 2 * week).is_empty(), "it is over like any other"


@pytest.mark.parametrize("ahead", AHEAD)
@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_of_two_cells_with_one_capture_the_one_crawled_last_has_it_whatever_the_clock_said(
    raw: RawStore, catalog: Catalog, order: tuple[str, str], ahead: timedelta
) -> None:
    crawl(raw, A, [capture("1"), capture("2")], crawled_at=NOW + ahead)
    crawl(raw, B, [capture("1", lon=4.9)], crawled_at=NOW - timedelta(days=1))
    for cell_id in order:
        catalog.merge([cell_id], raw)
    assert (ids(catalog, A), ids(catalog, B)) == (["2"], ["1"])


def test_a_capture_is_again_where_an_older_crawl_still_has_it_once_the_newer_cell_lacks_it(
    raw: RawStore, catalog: Catalog
) -> None:
    """A source that says for one week that a photo is somewhere else, while its true cell could not be crawled."""
    crawl(raw, A, [capture("1", creator="A")])
    crawl(raw, B, [capture("1", creator="B", lon=4.9)])
    catalog.merge([A, B], raw)
    assert (ids(catalog, A), ids(catalog, B)) == ([], ["1"])
    crawl(raw, B, [])
    report = catalog.merge([B], raw)
    assert catalog.captures([A, B]).select("cell_id", "creator").rows() == [(A, "A")]
    assert report.cells.select("cell_id", "is_asked", "captures").rows() == [(B, True, 0), (A, False, 1)]
    assert catalog.query("select removed_at from capture_history")["removed_at"].to_list() == [None]


def test_an_incomplete_crawl_takes_nothing_out_of_the_raw_file(raw: RawStore, catalog: Catalog, tmp_path: Path) -> None:
    crawl(raw, A, [capture(str(n)) for n in range(10)])
    catalog.merge([A], raw)
    account = crawl(raw, A, [capture(str(n), heading_deg=1.0) for n in range(4, 12)], is_complete=False)
    catalog.merge([A], raw)
    assert (account.captures, account.number, account.complete_number, account.is_complete) == (12, 2, 1, False)
    again = rebuilt(catalog, raw, tmp_path)
    assert len(ids(again)) == 12 and again.captures(CELLS).equals(catalog.captures(CELLS))
    assert again.captures([A])["heading_deg"].value_counts().sort("heading_deg").rows() == [(1.0, 8), (90.0, 4)]


def test_a_capture_that_an_incomplete_crawl_did_not_show_stays_where_another_cell_saw_it_since(
    raw: RawStore, catalog: Catalog, tmp_path: Path
) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    crawl(raw, B, [capture("1", lon=4.9)])
    crawl(raw, A, [capture("2")], is_complete=False)
    catalog.merge([A, B], raw)
    assert (ids(catalog, A), ids(catalog, B)) == (["2"], ["1"])
    crawl(raw, A, [capture("1"), capture("2")], is_complete=False)
    catalog.merge([A], raw)
    assert (ids(catalog, A), ids(catalog, B)) == (["1", "2"], [])
    assert rebuilt(catalog, raw, tmp_path).captures(CELLS).equals(catalog.captures(CELLS))


def test_a_damaged_file_under_an_incomplete_crawl_removes_nothing(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1"), capture("2")])
    catalog.merge([A], raw)
    raw.objects.put(raw.key("panoramax", A), b"damaged")
    account = crawl(raw, A, [capture("3")], is_complete=False)
    assert account.number > 1 and account.complete_number is None
    catalog.merge([A], raw)
    assert ids(catalog) == ["1", "2", "3"]
    assert len(raw.objects.aside("panoramax")) == 1
    crawl(raw, A, [capture("3")])
    catalog.merge([A], raw)
    assert ids(catalog) == ["3"]


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"number": "7"}', b'{"number": -1}', b'{"number": 1e99}']
)
def test_the_count_of_crawls_is_found_again_from_the_files(raw: RawStore, content: bytes | None) -> None:
    for _ in range(3):
        crawl(raw, A, [capture()])
    crawl(raw, B, [capture("b")])
    raw.objects.delete(["panoramax/crawls.json"])
    if content is not None:
        raw.objects.put("panoramax/crawls.json", content)
    assert crawl(raw, A, [capture()]).number == 5


def test_a_count_that_is_a_day_old_never_makes_a_crawl_older_than_the_file_it_replaces(
    raw: RawStore, catalog: Catalog
) -> None:
    crawl(raw, B, [])
    old = raw.objects.get("panoramax/crawls.json")
    for _ in range(5):
        crawl(raw, A, [capture("1")])
    catalog.merge([A], raw)
    raw.objects.put("panoramax/crawls.json", old)
    assert crawl(raw, A, [capture("2")]).number == 7
    catalog.merge([A], raw)
    assert ids(catalog) == ["2"]


def test_old_raw_files_that_were_restored_remove_nothing_and_the_next_crawl_counts(
    raw: RawStore, catalog: Catalog
) -> None:
    crawl(raw, A, [capture("1")])
    backup = {key: raw.objects.get(key) for key in (raw.key("panoramax", A), "panoramax/crawls.json")}
    for found in (["1", "2"], ["1", "2", "3"]):
        crawl(raw, A, [capture(name) for name in found])
        catalog.merge([A], raw)
    for key, content in backup.items():
        raw.objects.put(key, content)
    catalog.merge([A], raw)
    assert ids(catalog) == ["1", "2", "3"]
    crawl(raw, A, [capture("1"), capture("4")])
    catalog.merge([A], raw)
    assert ids(catalog) == ["1", "4"]


def test_a_file_from_before_crawls_had_numbers_is_read_and_followed(raw: RawStore, catalog: Catalog) -> None:
    old_file(raw, A, [capture("1"), capture("2")], crawled_at=DAY_2)
    old_file(raw, B, [capture("1", lon=4.9)], crawled_at=DAY_1)
    catalog.merge(CELLS, raw)
    assert (ids(catalog, A), ids(catalog, B)) == (["1", "2"], []), "among them times still decide"
    assert raw.account("panoramax", A).complete_number == 0
    crawl(raw, B, [capture("1", lon=4.9), capture("3")], crawled_at=DAY_1, is_complete=False)
    catalog.merge(CELLS, raw)
    assert (ids(catalog, A), ids(catalog, B)) == (["2"], ["1", "3"])


def test_columns_that_a_file_lacks_or_has_too_many_break_nothing(raw: RawStore, catalog: Catalog) -> None:
    old_file(raw, A, [capture("1")], drop=["creator", "payload"])
    old_file(raw, B, [capture("2")], add={"compass_accuracy": 3.0})
    old_file(raw, C, [capture("3")], drop=["license"])
    report = catalog.merge(CELLS, raw)
    assert (ids(catalog, A), ids(catalog, B), ids(catalog, C)) == (["1"], ["2"], [])
    assert catalog.captures([A])["creator"].to_list() == [None]
    assert list(report.unreadable) == [C] and "license" in report.unreadable[C]


def test_a_file_under_the_name_of_another_cell_is_not_believed(raw: RawStore, catalog: Catalog) -> None:
    crawl(raw, A, [capture("1")])
    raw.objects.put(raw.key("panoramax", B), raw.objects.get(raw.key("panoramax", A)))
    report = catalog.merge(CELLS, raw)
    assert list(report.unreadable) == [B] and ids(catalog, A) == ["1"]


def old_file(
    raw: RawStore,
    cell_id: str,
    found: list[Capture],
    crawled_at: datetime = DAY_1,
    drop: tuple[str, ...] | list[str] = (),
    add: dict[str, object] | None = None,
) -> None:
    """A raw file as polars wrote it before: no numbers, no checksums."""
    crawl(raw, cell_id, found, crawled_at=crawled_at)
    frame = raw.captures("panoramax", cell_id).drop("seen_in", "seen_at", *drop).with_columns(**(add or {}))
    account = (
        f'{{"source":"panoramax","cell_id":"{cell_id}","crawled_at":"{crawled_at.isoformat()}","captures":{len(found)},'
        '"requests":1,"splits":0,"duplicates":0,"rejected":{},"is_complete":true,"duration_s":0.5,"data_version":"x"}'
    )
    with raw.objects.replacing(raw.key("panoramax", cell_id)) as path:
        frame.write_parquet(path, metadata={"geopin_crawl": account})
    raw.objects.delete(["panoramax/crawls.json"])


NEW = ("position_from", "position_error_m", "heading_from")
OLD_TABLES = """
create table captures (capture_id varchar not null, cell_id varchar not null, source varchar not null,
    source_capture_id varchar not null, lon double not null, lat double not null, captured_at timestamptz,
    heading_deg double, is_pano boolean not null, sequence_id varchar, creator varchar, license varchar not null,
    attribution varchar not null, page_url varchar not null, image_url varchar not null, image_version varchar not null,
    row_hash varchar not null);
create table capture_history (capture_id varchar not null, source varchar not null, first_seen_at timestamptz not null,
    last_seen_at timestamptz not null, removed_at timestamptz);
create table crawl_cells (source varchar not null, cell_id varchar not null, crawled_at timestamptz not null,
    captures bigint not null, requests bigint not null, splits bigint not null, duplicates bigint not null,
    rejected varchar not null, is_complete boolean not null, duration_s double not null, data_version varchar not null);
create or replace view coverage_by_cell as (select cell_id, source, count(*) as captures from captures group by all);
"""


def test_a_catalog_of_an_older_version_is_brought_up_to_date_and_keeps_its_history(
    raw: RawStore, catalog: Catalog, tmp_path: Path
) -> None:
    old_file(raw, A, [capture("1"), capture("2")], crawled_at=DAY_2)
    catalog.merge([A], raw)
    rows = catalog.captures([A])
    old, path = Catalog(tmp_path / "old.duckdb", clock=lambda: NOW), tmp_path / "old.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute(OLD_TABLES)
        db.register("rows", rows.drop(*NEW, "not_indexed_because"))
        db.execute("insert into captures by name from rows")
        db.execute("insert into capture_history select capture_id, source, $1, $2, null from rows", [DAY_1, DAY_2])
        db.execute("insert into capture_history values ('panoramax:0', 'panoramax', $1, $1, $2)", [DAY_1, DAY_2])
        db.execute("insert into crawl_cells values ('panoramax', $2, $1, 2, 1, 0, 0, '{}', true, 0.5, 'x')", [DAY_2, A])
    history = old.query("from capture_history order by capture_id")
    old.apply_takedowns()
    assert old.query("from capture_history order by capture_id").equals(history)
    assert old.captures([A]).equals(rows)
    (before,) = old.merge([A], raw).cells.iter_rows(named=True)
    assert (before["inserted"], before["updated"], before["removed"]) == (0, 0, 0)
    crawl(raw, A, [capture("0")])
    (after,) = old.merge([A], raw).cells.iter_rows(named=True)
    assert (after["inserted"], after["removed"]) == (1, 2)
    seen = old.query("select first_seen_at, removed_at from capture_history where capture_id = 'panoramax:0'")
    assert seen.rows() == [(DAY_1, None)]


def test_files_and_catalogs_from_before_it_was_asked_how_a_position_is_known_are_read_beside_newer_ones(
    raw: RawStore, catalog: Catalog, tmp_path: Path
) -> None:
    old_file(raw, A, [capture("1")], crawled_at=DAY_1, drop=NEW)
    said = capture("2", position_from="device", position_error_m=4.5, heading_from="magnetic")
    crawl(raw, A, [said], crawled_at=DAY_2, is_complete=False)
    catalog.merge([A], raw)
    known = [(None, None, None), ("device", 4.5, "magnetic")]
    assert catalog.captures([A]).select(NEW).rows() == known
    with duckdb.connect(str(tmp_path / "catalog.duckdb")) as db:
        for table in ("captures", "other_sights"):
            for column in NEW:
                db.execute(f"alter table {table} drop column {column}")
        db.execute("alter table captures drop column not_indexed_because; alter table captures drop column batch")
        db.execute("update captures set row_hash = 'of fewer columns'")
    older = Catalog(tmp_path / "catalog.duckdb", clock=lambda: NOW)
    assert older.captures([A]).select(NEW).rows() == [(None, None, None)] * 2, (
        "the first look may be one that only reads"
    )
    crawl(raw, A, [capture("1", heading_from="track"), said])
    older.merge([A], raw)
    assert older.captures([A]).select(NEW).rows() == [(None, None, "track"), known[1]]


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("crawl"),
            st.sampled_from(CELLS),
            st.dictionaries(st.integers(0, 5), st.sampled_from([1.0, 2.0]), max_size=5),
            st.booleans(),
            st.sampled_from(["panoramax", "amsterdam"]),
            st.sampled_from(AHEAD),
        ),
        st.tuples(st.just("merge"), st.lists(st.sampled_from(CELLS), max_size=3)),
        st.tuples(st.just("lose the catalog")),
        st.tuples(st.just("lose the count"), st.sampled_from(["panoramax", "amsterdam"])),
    ),
    max_size=12,
)


@settings(max_examples=examples(5, 400), deadline=None)
@given(steps)
def test_any_sequence_of_crawls_and_merges_ends_in_what_the_newest_crawls_showed(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[tuple]
) -> None:
    """Crawls that are incomplete, lie, or have a wrong clock; merges in any order; a catalog that is lost."""
    folder = tmp_path_factory.mktemp("model")
    raw, path = RawStore(open_store(folder / "raw", is_durable=False), clock=lambda: NOW), folder / "catalog.duckdb"
    cells = CellFiles(open_store(folder / "captures", is_durable=False))
    catalog = Catalog(path, cells=cells, clock=lambda: NOW)
    files: dict[tuple[str, str], dict[str, tuple[int, float]]] = {}  # (source, cell) -> capture -> (nth crawl, heading)
    for nth, (step, *given_) in enumerate(sequence):
        if step == "crawl":
            cell_id, numbers, is_complete, source, ahead = given_
            found = [capture(str(n), source=source, heading_deg=heading) for n, heading in numbers.items()]
            crawl(raw, cell_id, found, crawled_at=NOW + ahead, is_complete=is_complete, source=source)
            before = {} if is_complete else files.get((source, cell_id), {})
            files[source, cell_id] = before | {c.capture_id: (nth, c.heading_deg or 0.0) for c in found}
        elif step == "merge":
            catalog.merge(given_[0], raw)
        elif step == "lose the catalog":
            path.unlink(missing_ok=True)
        else:
            raw.objects.delete([f"{given_[0]}/crawls.json"])
    catalog.merge(CELLS, raw)
    sights: dict[str, tuple[int, str, float]] = {}
    for (_, cell_id), held in files.items():
        for capture_id, (nth, heading_deg) in held.items():
            sights[capture_id] = max(sights.get(capture_id, (-1, "", 0.0)), (nth, cell_id, heading_deg))
    rows = catalog.captures(CELLS)
    assert {c: (cell, deg) for c, cell, deg in rows.select("capture_id", "cell_id", "heading_deg").iter_rows()} == {
        capture_id: (cell_id, heading_deg) for capture_id, (_, cell_id, heading_deg) in sights.items()
    }
    assert catalog.query("select count(*) as n from capture_history where removed_at is null")["n"].to_list() == [
        len(rows)
    ]
    assert {cell_id: cells.read(cell_id).captures.rows() for cell_id in CELLS} == {
        cell_id: catalog.captures([cell_id]).rows() for cell_id in CELLS
    }, "the files that others embed from say something else than the catalog"
    again = rebuilt(catalog, raw, folder)
    assert again.captures(CELLS).equals(rows)
    assert (
        again.query("from other_sights order by all")
        .drop("seen_at")
        .equals(catalog.query("from other_sights order by all").drop("seen_at"))
    )
