"""Daily budgets and stops: shared by threads and processes, and kept from one run to the next."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest

from geopin_assets.errors import BudgetSpent
from geopin_assets.files.losable import Place
from geopin_assets.http_client import DailyUse, Quota
from geopin_assets_tests.http_client.world import client_of, json_reply

NOON_S = 1_800_014_400.0  # 2027-01-15 12:00 UTC
URL = "https://api.example/tiles/1"


@pytest.fixture
def at(place: Place) -> Callable[[float], DailyUse]:
    """The account as a process sees it that starts at a time of day."""
    return lambda now_s: DailyUse(place, clock=lambda: now_s)


def test_a_budget_lasts_a_day_over_all_runs_and_is_full_again_at_midnight_utc(at):
    for _ in range(3):
        at(NOON_S).spend("mapillary", "tiles", 3)
    with pytest.raises(BudgetSpent, match="today's budget of 3 requests for tiles is spent") as caught:
        at(NOON_S + 3600).spend("mapillary", "tiles", 3)
    midnight_s = NOON_S + 3600 + caught.value.retry_after_s
    assert midnight_s % 86_400 == 0
    at(midnight_s).spend("mapillary", "tiles", 3)
    assert at(midnight_s).used_since(date(2027, 1, 16)) == [("mapillary", "tiles", date(2027, 1, 16), 1)]


def test_budgets_of_other_sources_and_kinds_are_their_own(at):
    at(NOON_S).spend("mapillary", "tiles", 1)
    at(NOON_S).spend("mapillary", "search", 1)
    at(NOON_S).spend("mapilio", "tiles", 1)
    at(NOON_S).spend("mapillary", "entity", None)
    with pytest.raises(BudgetSpent):
        at(NOON_S).spend("mapillary", "tiles", 1)


def test_a_stop_lasts_as_long_as_was_asked_and_says_why(at):
    at(NOON_S).stop("mapillary", "tiles", 86_400, "redirected to a login page")
    with pytest.raises(BudgetSpent, match=r"tiles are not asked for until 2027-01-16 12:00 UTC: redirected to a login"):
        at(NOON_S + 86_399).spend("mapillary", "tiles", None)
    at(NOON_S + 86_401).spend("mapillary", "tiles", 5)


def test_a_stop_that_a_clock_far_ahead_has_written_stops_nobody_once_it_is_right(at):
    at(NOON_S + 400 * 86_400).stop("mapillary", "tiles", 86_400, "redirected to a login page")
    at(NOON_S).spend("mapillary", "tiles", 5)
    assert at(NOON_S).stops() == []


def test_the_account_tells_what_was_sent_on_which_day_and_what_is_stopped(at):
    friday_s, saturday_s = NOON_S, NOON_S + 86_400
    for now_s in (friday_s, saturday_s, saturday_s):
        at(now_s).spend("mapillary", "tiles", 10)
    at(saturday_s).spend("mapillary", "search", 10)
    friday, saturday = date(2027, 1, 15), date(2027, 1, 16)
    sent = [("mapillary", "search", saturday, 1), ("mapillary", "tiles", saturday, 2)]
    assert at(saturday_s).used_since(friday) == [("mapillary", "tiles", friday, 1), *sent]
    assert at(saturday_s).used_since(saturday) == sent
    at(friday_s).stop("mapillary", "tiles", 86_400, "a login page")
    assert at(friday_s).stops() == [("mapillary", "tiles", datetime(2027, 1, 16, 12, tzinfo=UTC), "a login page")]
    assert at(saturday_s).stops() == []


def test_threads_never_spend_more_than_there_is(at):
    def spend(_: int) -> bool:
        try:
            at(NOON_S).spend("flickr", "search", 50)
        except BudgetSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(100))) == 50


def _spend_until_empty(place: Place) -> int:
    use, spent = DailyUse(place, clock=lambda: NOON_S), 0
    while True:
        try:
            use.spend("flickr", "search", 120)
        except BudgetSpent:
            return spent
        spent += 1


def test_processes_never_spend_more_than_there_is(place: Place):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert sum(pool.map(_spend_until_empty, [place] * 3)) == 120


def test_a_client_sends_nothing_beyond_its_budget_and_attempts_count(at):
    options = {"quotas": {"tiles": Quota(per_second=1000.0, per_day=3)}, "daily_use": at(NOON_S)}
    client, server, _ = client_of(json_reply(status=500), json_reply(status=500), json_reply([1]), **options)
    assert client.get_json(URL, kind="tiles") == [1]
    with pytest.raises(BudgetSpent):
        client.get_json(URL, kind="tiles")
    assert client.get_json(URL) == [1]  # other requests go on
    assert len(server.requests) == 4


def test_a_client_can_be_stopped_for_a_day_by_what_the_provider_answers(at):
    def judge(answer):
        return client.stop("tiles", 86_400, "sent to a login page") if answer.status == 302 else None

    options = {"quotas": {"tiles": Quota(per_second=1000.0)}, "daily_use": at(NOON_S)}
    client, server, _ = client_of(json_reply(status=302), **options)
    with pytest.raises(BudgetSpent, match="login page"):
        client.get_json(URL, kind="tiles", judge=judge)
    later, server, _ = client_of(json_reply([1]), **options | {"daily_use": at(NOON_S + 80_000)})
    with pytest.raises(BudgetSpent, match="login page"):
        later.get_json(URL, kind="tiles")
    assert server.requests == []
