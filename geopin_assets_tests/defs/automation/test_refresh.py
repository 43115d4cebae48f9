"""Crawls by age: which cells are asked for, on a clock of our own."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geopin_assets.cells import cell, cell_facts, cell_ids
from geopin_assets.definitions import defs
from geopin_assets.defs.automation.refresh import (
    BLOCK_CELLS,
    MOST_CELLS,
    UNKNOWN_WHEN,
    WEEKLY,
    Crawls,
    PastFreshness,
    Urgency,
    due_blocks,
    first_blocks,
    stored_crawls,
)
from geopin_assets.defs.dagster_internals import asset_freshness
from geopin_assets.defs.graph import RAW, RAW_CELLS
from geopin_assets.errors import ConfigurationError
from geopin_assets.files.object_store import open_store
from geopin_assets.store.raw import RawStore
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.refresh import CRAWL, Refresh, Tick, raw_asset
from geopin_assets_tests.simulated import SimulatedLog

IDS = cell_ids()
START = datetime(2026, 8, 24, 3, tzinfo=UTC)
SEA = tuple(cell_id for cell_id in IDS if cell_id.startswith("sea-"))[:100]
TWICE_A_DAY = timedelta(hours=12)
Build = Callable[..., Refresh]


@pytest.fixture
def build(log: SimulatedLog) -> Build:
    def built(*sources: str, empty: Sequence[str] = (), **options: Any) -> Refresh:
        return Refresh(log, START, sources or ("panoramax",), options, frozenset(empty))

    return built


def asked(ticks: list[Tick]) -> Counter[str]:
    """How often each cell of each source was asked for."""
    return Counter(f"{tick.source} {cell}" for tick in ticks for cell in tick.asked)


def test_a_quarter_in_small_a_failure_and_a_new_source(build: Build) -> None:
    cells, most = IDS[:600], 250
    refresh = build("panoramax", "mapillary", "flickr", most_cells=most)
    refresh.backfill("panoramax", cells)
    refresh.backfill("mapillary", cells[::2] + cells[1:100:2])  # missing cells in between

    for _ in range(2):  # weeks
        refresh.skip_days(5.5)
        ticks = refresh.pass_days(3, TWICE_A_DAY)
        assert set(asked(ticks).values()) == {1}, "a cell was crawled twice in a week"
        assert max(tick.oldest_days for tick in ticks) < 9
        assert max(len(tick.asked) for tick in ticks) <= most
    assert set(refresh.crawled_at["mapillary"]) == {*cells[::2], *cells[1:100:2]}, "a missing cell was filled"
    assert min(refresh.crawled_at["panoramax"].values()) > START + timedelta(days=14)

    refresh.failing.add("panoramax")
    ticks = refresh.pass_days(10, TWICE_A_DAY)
    tries = asked([tick for tick in ticks if tick.source == "panoramax"])
    assert 0 < max(tries.values()) <= 10, "more than one try a day"
    assert refresh.oldest_days("panoramax") > 9
    assert max(tick.oldest_days for tick in ticks if tick.source == "mapillary") < 9, "it held back another source"

    refresh.failing.clear()
    refresh.pass_days(3, TWICE_A_DAY)
    assert refresh.oldest_days("panoramax") < 4

    utrecht = tuple(cell_id for cell_id in IDS if cell_id.startswith("ut-"))[:200]
    refresh.backfill("flickr", utrecht)
    ticks = refresh.pass_days(8, TWICE_A_DAY)
    new = asked([tick for tick in ticks if tick.source == "flickr"])
    assert set(new) == {f"flickr {cell}" for cell in utrecht}
    assert set(new.values()) == {1}


def test_nothing_is_asked_before_the_policy_warns_and_everything_in_one_range_after(build: Build) -> None:
    refresh = build()
    refresh.backfill("panoramax", IDS[:250])
    refresh.skip_days(6.5)
    assert not any(tick.asked for tick in refresh.pass_days(0.25))
    (tick,) = refresh.pass_days(0.25)
    assert tick.asked == IDS[:250]
    assert (tick.ranges, tick.runs) == (1, 1)


def test_a_lonely_cell_waits_for_its_block_but_not_until_it_is_stale(build: Build) -> None:
    refresh = build()
    refresh.backfill("panoramax", IDS[5:6])
    refresh.now += timedelta(days=3)
    refresh.backfill("panoramax", [*IDS[:5], *IDS[6 : 2 * BLOCK_CELLS]])
    refresh.skip_days(4)
    assert not any(tick.asked for tick in refresh.pass_days(0.75))
    (tick,) = refresh.pass_days(0.25)  # eight days old: half-way between warning and failing
    assert tick.asked == IDS[:BLOCK_CELLS]


def test_a_cell_that_fails_is_tried_once_a_day_and_counts_as_outstanding(build: Build) -> None:
    refresh = build(most_cells=2 * BLOCK_CELLS)
    refresh.backfill("panoramax", IDS[: 4 * BLOCK_CELLS])
    refresh.failing.add("panoramax")
    refresh.skip_days(6.5)
    ticks = [tick for tick in refresh.pass_days(2.5) if tick.asked]
    assert [tick.when - START for tick in ticks] == [timedelta(days=7), timedelta(days=8), timedelta(days=9)]
    assert {len(tick.asked) for tick in ticks} == {2 * BLOCK_CELLS}, "a source that is down was asked for everything"


def test_cells_of_a_run_that_is_queued_are_not_asked_again_however_long_it_waits(build: Build) -> None:
    refresh = build()
    refresh.backfill("panoramax", IDS[:BLOCK_CELLS])
    refresh.now += timedelta(days=8)
    asset = refresh.assets["panoramax"]
    job = dg.Definitions(assets=[asset]).resolve_implicit_global_asset_job_def()
    run = refresh.log.instance.create_run_for_job(
        job, asset_selection={asset.key}, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": IDS[0]}
    )
    refresh.now += timedelta(days=400)  # the run was created by the real clock
    assert refresh.tick("panoramax").asked == IDS[1:BLOCK_CELLS]
    refresh.log.instance.delete_run(run.run_id)


def test_a_source_that_is_switched_off_is_asked_for_nothing(build: Build) -> None:
    refresh = build(disabled_reason=lambda: "set GEOPIN_FLICKR_API_KEY")
    refresh.backfill("panoramax", IDS[:50])
    refresh.skip_days(10)
    assert refresh.tick("panoramax").asked == ()


def test_cells_known_to_be_empty_sea_have_the_slower_policy(build: Build) -> None:
    refresh = build(empty=SEA)
    coast = IDS[:50]
    refresh.backfill("panoramax", [*SEA, *coast])
    for _ in range(3):
        refresh.skip_days(8)
        assert refresh.tick("panoramax").asked == coast
    refresh.skip_days(3.5)  # 27.5 days
    assert refresh.tick("panoramax").asked == ()
    assert set(asked(refresh.pass_days(1.5, TWICE_A_DAY))) == {f"panoramax {cell}" for cell in SEA}
    assert refresh.oldest_days("panoramax") < 9


def test_one_photo_at_sea_does_not_have_the_empty_sea_around_it_crawled_each_week(build: Build) -> None:
    refresh = build(empty=SEA[1:])
    refresh.backfill("panoramax", SEA)
    refresh.skip_days(7)
    assert refresh.tick("panoramax").asked == SEA[:1]


@pytest.mark.parametrize("key", RAW)
def test_every_source_states_the_policy_and_has_the_condition_that_applies_it(key: str) -> None:
    spec = defs.get_assets_def(key.split("/")).get_asset_spec()
    assert spec.freshness_policy == WEEKLY
    assert isinstance(spec.automation_condition, PastFreshness)
    for text in (spec.automation_condition.description, spec.metadata["refreshed_every"]):
        assert "7 days (at most 9)" in str(text)
        assert "28 days (at most 35) without Dutch land" in str(text)


def test_overdue_blocks_come_first_then_where_people_live_then_the_sea() -> None:
    keys, due = IDS, dict.fromkeys(IDS, Urgency.DUE)
    village, city, sea = (IDS.index(i) for i in ("dr-meppel-r106c090", "nh-amsterdam-r090c051", SEA[0]))
    due |= dict.fromkeys(IDS[sea // BLOCK_CELLS * BLOCK_CELLS :][:BLOCK_CELLS], Urgency.OVERDUE)
    order = [block.number for block in due_blocks(keys, due, set(keys), (), ())]
    place = {name: order.index(i // BLOCK_CELLS) for name, i in {"village": village, "city": city, "sea": sea}.items()}
    assert place["sea"] == 0 < place["city"] < place["village"]
    land = [cell_facts(keys[number * BLOCK_CELLS]).is_land for number in order[1:]]
    assert sum(land[: len(land) // 2]) > 0.9 * sum(land), "the sea came before land"


def test_the_blocks_of_one_run_are_asked_for_together() -> None:
    due = dict.fromkeys(IDS, Urgency.DUE)
    taken = first_blocks(due_blocks(IDS, due, set(IDS), (), ()), MOST_CELLS)
    assert len(taken) == MOST_CELLS
    assert {Counter(IDS.index(cell) // RAW_CELLS for cell in taken)[n] for n in range(3)} <= {0, RAW_CELLS}


def test_dagster_calls_an_asset_fresh_whose_cells_are_stale_and_we_ask_for_exactly_those(build: Build) -> None:
    refresh = build()
    refresh.now = datetime.now(UTC) - timedelta(days=30)  # Dagster judges by the real clock
    refresh.backfill("panoramax", IDS[: 2 * BLOCK_CELLS])
    refresh.now = datetime.now(UTC) - CRAWL
    refresh.backfill("panoramax", IDS[BLOCK_CELLS : 2 * BLOCK_CELLS])
    assert asset_freshness(refresh.log.instance, refresh.defs, refresh.assets["panoramax"].key) == "PASS"
    assert refresh.oldest_days("panoramax") > 29
    assert refresh.tick("panoramax").asked == IDS[:BLOCK_CELLS]


def test_what_is_stored_says_when_each_cell_was_crawled_well_and_which_are_empty_sea(tmp_path: Path) -> None:
    raw, (ferry, calm, unread, gone) = RawStore(open_store(tmp_path)), SEA[:4]
    village, never, failing = IDS[:3]
    at_sea = cell(ferry).bbox.center
    crawl(raw, ferry, [capture("a1", lon=at_sea[0], lat=at_sea[1])])
    for cell_id in (calm, unread, gone, village, failing):
        crawl(raw, cell_id, [])
    raw.note_failure("panoramax", never, "503", now=datetime.now(UTC))
    raw.note_failure("panoramax", failing, "503", now=datetime.now(UTC))
    (tmp_path / raw.key("panoramax", unread)).write_bytes(b"damaged")
    raw.objects.set_aside(raw.key("panoramax", gone))
    found = stored_crawls(raw, "panoramax")
    assert set(found.good_at) == {ferry, calm, unread, gone, village, failing}
    assert found.empty == {calm}
    assert set(found.failed_at) == {never, failing}
    assert found.before(UNKNOWN_WHEN) == {unread, gone}, "what cannot be read is crawled again"
    assert stored_crawls(raw, "mapillary") == Crawls({}, set(), {})


def test_an_incomplete_crawl_renews_nothing(tmp_path: Path) -> None:
    raw = RawStore(open_store(tmp_path))
    crawl(raw, IDS[0], [capture("a1")])
    (before,) = stored_crawls(raw, "panoramax").good_at.values()
    raw.note_failure("panoramax", IDS[0], "incomplete", now=datetime.now(UTC))
    crawl(raw, IDS[0], [], is_complete=False)
    raw.note_failure("panoramax", IDS[1], "incomplete", now=datetime.now(UTC))
    crawl(raw, IDS[1], [], is_complete=False)
    assert stored_crawls(raw, "panoramax").good_at == {IDS[0]: before}


def test_a_log_that_was_trimmed_changes_nothing(build: Build) -> None:
    refresh = build()
    refresh.backfill("panoramax", IDS[:250])
    refresh.skip_days(7)
    refresh.log.forget()
    assert refresh.tick("panoramax").asked == IDS[:250]
    refresh.log.forget()
    assert not any(tick.asked for tick in refresh.pass_days(6))


def test_a_cell_that_failed_today_is_not_asked_again_whatever_the_log_says(build: Build) -> None:
    refresh = build()
    refresh.backfill("panoramax", IDS[:BLOCK_CELLS])
    refresh.skip_days(8)
    refresh.failed_at = {IDS[0]: refresh.now - timedelta(hours=2), IDS[1]: refresh.now - timedelta(days=2)}
    assert refresh.tick("panoramax").asked == IDS[1:BLOCK_CELLS]


def test_a_week_on_a_clock_that_was_a_year_ahead_is_made_up_for_when_it_is_right_again(build: Build) -> None:
    refresh, year = build(), timedelta(days=365)
    refresh.backfill("panoramax", IDS[:250])
    refresh.now += year
    refresh.pass_days(2)
    refresh.now -= year
    refresh.crawled_at["panoramax"] = dict.fromkeys(IDS[:250], UNKNOWN_WHEN)  # as a time that has not come yet is read
    assert {cell for tick in refresh.pass_days(0.5) for cell in tick.asked} == set(IDS[:250])
    assert not any(tick.asked for tick in refresh.pass_days(6))


def test_a_cell_that_failed_at_a_time_that_has_not_come_is_tried_again(tmp_path: Path, build: Build) -> None:
    refresh = build()
    refresh.backfill("panoramax", IDS[:1])
    refresh.skip_days(8)
    raw = RawStore(open_store(tmp_path), clock=lambda: refresh.now)
    raw.note_failure("panoramax", IDS[0], "503", now=refresh.now + timedelta(days=365))
    refresh.failed_at = stored_crawls(raw, "panoramax").failed_at
    assert refresh.tick("panoramax").asked == IDS[:1]


def test_a_look_that_cannot_read_what_is_stored_asks_for_nothing(log: SimulatedLog) -> None:
    def unreadable() -> Crawls:
        raise ConfigurationError("raw: may this user read there?")

    refresh = Refresh(log, START, ["panoramax"])
    refresh.assets = {"panoramax": raw_asset("panoramax", PastFreshness(crawls=unreadable))}
    refresh.defs = dg.Definitions(assets=list(refresh.assets.values()))
    refresh.backfill("panoramax", [*SEA, *IDS[:100]])
    refresh.skip_days(100)
    assert refresh.tick("panoramax").asked == ()
