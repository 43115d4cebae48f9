"""Which captures the index does without: far enough from each other, each stood for, whatever the order."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geopin_assets.capture import Capture, NotIndexed
from geopin_assets.embedding.failures import FailureFiles
from geopin_assets.embedding.plan import FAILURE_SCHEMA
from geopin_assets.files.object_store import open_store
from geopin_assets.geo import destination, distance_m
from geopin_assets.store.catalog import Catalog
from geopin_assets.store.cell_files import CellFiles
from geopin_assets.store.raw import RawStore
from geopin_assets.store.schema import captures_frame
from geopin_assets.store.thinning import SAME_DIRECTION_DEG, decided, not_indexed_counts, standing_in
from geopin_assets_tests.factories import DAY_2, capture, crawl

A, B = "nh-amsterdam-r090c051", "nh-amsterdam-r090c052"
WITHIN_M = 10.0
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
_ROW = st.fixed_dictionaries(
    {
        "east_m": st.floats(-40, 40),
        "north_m": st.floats(-40, 40),
        "heading_deg": st.none() | st.sampled_from([0.0, 20.0, 90.0, 180.0, 350.0]) | st.floats(0, 359.9),
        "sequence_id": st.sampled_from(["s1", "s2", None]),
        "creator": st.sampled_from(["Anna", None]),
        "source": st.sampled_from(["panoramax", "mapillary"]),
        "is_pano": st.booleans(),
        "captured_at": st.none() | st.integers(0, 5).map(lambda s: NOON + timedelta(seconds=s)),
    }
)


def at(name: str, east_m: float, north_m: float = 0.0, **fields: object) -> Capture:
    lon, lat = destination(4.893, 52.373, 90.0 if east_m >= 0 else 270.0, abs(east_m))
    lon, lat = destination(lon, lat, 0.0 if north_m >= 0 else 180.0, abs(north_m))
    return capture(name, lon=lon, lat=lat, **fields)


def drive(meters: int, step_m: int = 4, **fields: object) -> list[Capture]:
    """A capture every few meters, each a second later than the one before."""
    places = range(0, meters, step_m)
    return [at(f"d{m:03}", m, captured_at=NOON + timedelta(seconds=m), **fields) for m in places]


def reasons(
    captures: list[Capture], within_m: float = WITHIN_M, given_up: frozenset[str] = frozenset()
) -> dict[str, str]:
    frame = captures_frame(captures).with_columns(cell_id=pl.lit(A))
    return dict(zip(frame["capture_id"], decided(frame, within_m, given_up), strict=True))


def stands_for(keeper: Capture, other: Capture) -> bool:
    same = all(
        getattr(keeper, name) == getattr(other, name) for name in ("source", "creator", "sequence_id", "is_pano")
    )
    if not same or keeper.sequence_id is None or (keeper.heading_deg is None) != (other.heading_deg is None):
        return False
    turned = abs(((keeper.heading_deg or 0) - (other.heading_deg or 0) + 180) % 360 - 180)
    return turned <= SAME_DIRECTION_DEG and distance_m(keeper.lon, keeper.lat, other.lon, other.lat) < WITHIN_M


@given(st.lists(_ROW, max_size=40), st.randoms(use_true_random=False), st.sets(st.integers(0, 39)))
def test_keepers_are_far_apart_and_everything_thinned_has_one_near_whatever_the_order(
    rows: list[Mapping[str, object]], random: object, given_up: set[int]
) -> None:
    captures = [at(f"c{n:02}", **row) for n, row in enumerate(rows)]  # type: ignore[arg-type]
    lost = frozenset(c.capture_id for n, c in enumerate(captures) if n in given_up)
    found = reasons(captures, given_up=lost)
    kept = [c for c in captures if found[c.capture_id] is None and c.capture_id not in lost]
    assert not any(stands_for(a, b) for n, a in enumerate(kept) for b in kept[:n])
    for each in captures:
        if found[each.capture_id] and each.capture_id not in lost:
            assert any(stands_for(keeper, each) for keeper in kept), each
    frame = captures_frame(captures).with_columns(cell_id=pl.lit(A))
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=random.randrange(1000))  # type: ignore[attr-defined]
    assert dict(zip(shuffled["capture_id"], decided(shuffled, WITHIN_M, lost), strict=True)) == found


@given(st.lists(_ROW, max_size=40), st.sets(st.integers(0, 39)))
def test_what_has_a_vector_leaves_only_when_something_near_that_stays_has_one(
    rows: list[Mapping[str, object]], there: set[int]
) -> None:
    captures = [at(f"c{n:02}", **row) for n, row in enumerate(rows)]  # type: ignore[arg-type]
    held = {c.capture_id for n, c in enumerate(captures) if n in there}
    found = reasons(captures)
    frame = captures_frame(captures).with_columns(cell_id=pl.lit(A))
    stay = standing_in(frame, WITHIN_M, held)
    assert stay <= {id_ for id_ in held if found[id_]}
    after = [c for c in captures if c.capture_id in held and (not found[c.capture_id] or c.capture_id in stay)]
    for each in captures:
        if each.capture_id in held and each not in after:
            assert any(stands_for(keeper, each) for keeper in after), each
    assert not standing_in(frame, WITHIN_M, {c.capture_id for c in captures})
    assert not standing_in(frame, 0.0, held)


@given(st.lists(_ROW, max_size=20), st.lists(_ROW, max_size=20))
def test_other_sequences_cells_and_what_was_given_up_elsewhere_change_nothing(
    rows: list[Mapping[str, object]], more: list[Mapping[str, object]]
) -> None:
    captures = [at(f"c{n:02}", **row) for n, row in enumerate(rows)]  # type: ignore[arg-type]
    strangers = [at(f"x{n:02}", **{**row, "sequence_id": "another"}) for n, row in enumerate(more)]  # type: ignore[arg-type]
    alone = reasons(captures)
    together = reasons(captures + strangers, given_up=frozenset(c.capture_id for c in strangers))
    assert {id_: together[id_] for id_ in alone} == alone


@pytest.mark.parametrize(
    ("fields", "is_thinned"),
    [
        ({}, True),
        ({"heading_deg": 119.0}, True),
        ({"heading_deg": 121.0}, False),
        ({"heading_deg": None}, False),
        ({"sequence_id": "another"}, False),
        ({"creator": "Ben"}, False),
        ({"source": "mapillary"}, False),
        ({"is_pano": True}, False),
    ],
)
def test_only_the_same_view_of_the_same_drive_is_thinned_and_the_newest_stays(
    fields: dict[str, object], is_thinned: bool
) -> None:
    newer, older = capture("new", captured_at=NOON), capture("old", captured_at=NOON - timedelta(1), **fields)
    found = reasons([older, newer])
    assert found[newer.capture_id] is None
    assert (found[older.capture_id] == NotIndexed.THINNED) == is_thinned


def test_what_has_no_date_gives_way_and_what_has_no_sequence_does_not() -> None:
    assert reasons([capture("dated"), capture("undated", captured_at=None)]) == {
        "panoramax:dated": None,
        "panoramax:undated": "thinned",
    }
    loose = [capture("a", sequence_id=None), capture("b", sequence_id=None)]
    assert set(reasons(loose).values()) == {None}


def test_a_keeper_that_was_given_up_gives_back_what_only_it_stood_for_and_moves_nothing_else() -> None:
    captures = drive(200)
    before = reasons(captures)
    assert [before[c.capture_id] for c in captures[-4:]] == [None, "thinned", "thinned", None]
    assert reasons(captures, given_up=frozenset([captures[-1].capture_id])) == before  # the other stands for them too
    after = reasons(captures, given_up=frozenset([captures[-1].capture_id, captures[-4].capture_id]))
    assert {id_: after[id_] for id_ in before if before[id_] != after[id_]} == {captures[-2].capture_id: None}


def test_the_work_grows_with_the_captures_also_where_a_car_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def counted(*where: float) -> float:
        looked.append(1)
        return distance_m(*where)

    monkeypatch.setattr("geopin_assets.store.thinning.distance_m", counted)
    counts = []
    for n in (100, 200, 400):
        looked.clear()
        reasons([capture(f"{i}") for i in range(n)] + drive(4 * n))
        counts.append(len(looked))
    assert counts[2] < 4.4 * counts[0]


@pytest.fixture
def raw(tmp_path: Path) -> RawStore:
    return RawStore(open_store(tmp_path / "raw"))


def catalog_at(tmp_path: Path, thin_m: float, name: str = "catalog") -> Catalog:
    cells = CellFiles(open_store(tmp_path / name))
    return Catalog(tmp_path / f"{name}.duckdb", cells=cells, thin_m=thin_m)


def assert_files_follow(catalog: Catalog, tmp_path: Path) -> None:
    written = CellFiles(open_store(tmp_path / "catalog")).read(A).captures
    assert written.equals(catalog.captures([A]))


def wanted(catalog: Catalog, cell_id: str = A) -> list[str]:
    return catalog.wanted([cell_id])["capture_id"].to_list()


def failed(capture_id: str, *, is_final: bool) -> pl.DataFrame:
    again_at = None if is_final else DAY_2
    row = (capture_id, "panoramax", "1", "not_found", 1, DAY_2, again_at)
    return pl.DataFrame([row], FAILURE_SCHEMA, orient="row")


def note(catalog: Catalog, tmp_path: Path, failures: pl.DataFrame) -> None:
    """As whoever embeds does it."""
    files = FailureFiles(open_store(tmp_path / "failures"))
    files.write(A, failures)
    catalog.follow_failures(files.objects)


def test_the_catalog_keeps_what_is_thinned_and_a_rebuilt_one_decides_the_same(tmp_path: Path, raw: RawStore) -> None:
    catalog = catalog_at(tmp_path, WITHIN_M)
    crawl(raw, A, drive(60))
    report = catalog.merge([A], raw)
    assert catalog.size() == (15, 0) and catalog.size(are_wanted=True) == (5, 0)
    assert not_indexed_counts(catalog) == {"thinned": 10}
    assert catalog.wanted([A]).height == 5 and catalog.captures([A]).height == 15
    crawl(raw, A, drive(60)[:-1], crawled_at=DAY_2)  # the newest, which is a keeper, is removed
    changed = catalog.merge([A], raw)
    assert changed.cells["data_version"][0] != report.cells["data_version"][0]
    again = catalog_at(tmp_path, WITHIN_M, "again")
    rebuilt = again.merge([A], raw)
    assert wanted(again) == wanted(catalog)
    assert rebuilt.cells["data_version"].to_list() == changed.cells["data_version"].to_list()


def test_another_distance_changes_every_cell_and_reports_it(tmp_path: Path, raw: RawStore) -> None:
    plain = catalog_at(tmp_path, 0)
    crawl(raw, A, drive(60))
    crawl(raw, B, [at("e1", 2000), at("e2", 2002)])
    before = dict(plain.merge([A, B], raw).cells.select("cell_id", "data_version").iter_rows())
    assert not_indexed_counts(plain) == {}
    thinning = catalog_at(tmp_path, WITHIN_M)
    reported = dict(thinning.merge([], raw).cells.select("cell_id", "data_version").iter_rows())
    assert set(reported) == {A, B} and not set(reported.values()) & set(before.values())
    assert not_indexed_counts(thinning) == {"thinned": 11}
    assert thinning.merge([], raw).cells.is_empty()
    back = dict(plain.merge([], raw).cells.select("cell_id", "data_version").iter_rows())
    assert back == before and not_indexed_counts(plain) == {}


def test_what_is_thinned_is_wanted_again_when_its_keeper_is_removed_taken_down_or_given_up(
    tmp_path: Path, raw: RawStore
) -> None:
    catalog = catalog_at(tmp_path, WITHIN_M)
    three = [capture(name, captured_at=NOON + timedelta(seconds=n)) for n, name in enumerate("abc")]
    crawl(raw, A, three)
    catalog.merge([A], raw)
    assert wanted(catalog) == ["panoramax:c"]
    crawl(raw, A, three[:2], crawled_at=DAY_2)
    catalog.merge([A], raw)
    assert wanted(catalog) == ["panoramax:b"]
    note(catalog, tmp_path, failed("panoramax:b", is_final=False))
    assert wanted(catalog) == ["panoramax:b"]
    note(catalog, tmp_path, failed("panoramax:b", is_final=True))
    assert wanted(catalog) == ["panoramax:a", "panoramax:b"]  # b stays what it is: an image that cannot be had
    assert_files_follow(catalog, tmp_path)
    note(catalog, tmp_path, FAILURE_SCHEMA.to_frame())
    assert wanted(catalog) == ["panoramax:b"]
    catalog.takedowns().take_down(["panoramax:b"], note="", now=DAY_2)
    catalog.apply_takedowns()
    assert wanted(catalog) == ["panoramax:a"]
    assert_files_follow(catalog, tmp_path)


def test_an_image_that_changed_stands_for_others_again(tmp_path: Path, raw: RawStore) -> None:
    catalog = catalog_at(tmp_path, WITHIN_M)
    older = capture("old", captured_at=NOON - timedelta(1))
    crawl(raw, A, [older, capture("new", captured_at=NOON)])
    catalog.merge([A], raw)
    note(catalog, tmp_path, failed("panoramax:new", is_final=True))
    assert wanted(catalog) == ["panoramax:new", "panoramax:old"]
    crawl(raw, A, [older, capture("new", captured_at=NOON, image_version="2")], crawled_at=DAY_2)
    catalog.merge([A], raw)
    assert wanted(catalog) == ["panoramax:new"]
