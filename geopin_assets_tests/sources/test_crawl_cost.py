"""What a crawl will take: arithmetic on stated costs, rates, budgets and earlier crawls."""

from math import inf
from typing import ClassVar

import pytest

from geopin_assets.cells import cell_ids
from geopin_assets.http_client import Quota
from geopin_assets.regions import region
from geopin_assets.sources.base import RequestCost
from geopin_assets.sources.crawl_cost import estimate_crawl, stated_requests
from geopin_assets_tests.sources.test_crawl import Scripted

CITY, SEA = region("nh-amsterdam"), region("sea")


class Planned(Scripted):
    """Four cells a request, and one more per 100 captures; details cost extra."""

    expected_captures = 1_000_000
    costs: ClassVar = (
        RequestCost(cells_per_request=4, captures_per_request=100),
        RequestCost(kind="detail", cells_per_request=inf, captures_per_request=1000),
    )


QUOTAS = {"": Quota(per_second=1.0), "detail": Quota(per_second=10.0, per_day=500)}


def test_the_whole_country_has_all_captures_and_every_cell():
    plan = estimate_crawl(Planned, QUOTAS, cell_ids(), {})
    assert (plan.captures, plan.cells, plan.measured_cells) == (1_000_000, 20_064, 0)
    assert [kind.requests for kind in plan.kinds] == [20_064 // 4 + 10_000, 1000]
    assert plan.requests == 16_016


def test_captures_are_expected_where_people_live():
    city, sea = estimate_crawl(Planned, QUOTAS, CITY, {}), estimate_crawl(Planned, QUOTAS, SEA, {})
    assert city.captures > 30_000
    assert sea.captures == 0
    assert sea.requests == pytest.approx(len(SEA) / 4, abs=1)


def test_the_slowest_kind_decides_and_a_daily_budget_counts_in_days():
    plan = estimate_crawl(Planned, QUOTAS, cell_ids(), {})
    at_rate, on_budget = plan.kinds
    assert at_rate.hours == pytest.approx(15_016 / 3600, rel=0.001)
    assert on_budget.hours == pytest.approx(48)
    assert plan.hours == on_budget.hours
    generous = estimate_crawl(Planned, QUOTAS | {"detail": Quota(per_second=10.0, per_day=10_000)}, cell_ids(), {})
    assert generous.hours == at_rate.hours


def test_without_a_budget_there_is_no_end():
    assert estimate_crawl(Planned, QUOTAS | {"detail": Quota(per_second=1.0, per_day=0)}, CITY, {}).hours == inf


def test_what_earlier_crawls_took_replaces_what_the_source_states():
    measured = dict.fromkeys(CITY[:10], (3, 50))
    plan = estimate_crawl(Planned, QUOTAS, CITY[:10], measured)
    assert (plan.requests, plan.captures, plan.measured_cells) == (30, 500, 10)
    partly = estimate_crawl(Planned, QUOTAS, CITY[:20], measured)
    rest = estimate_crawl(Planned, QUOTAS, CITY[10:20], {})
    assert partly.requests == pytest.approx(rest.requests + 30, abs=1)


def test_stated_requests_are_one_share_of_cells_and_one_of_captures():
    assert stated_requests(RequestCost(cells_per_request=4, captures_per_request=100), 40, 1000) == 20
