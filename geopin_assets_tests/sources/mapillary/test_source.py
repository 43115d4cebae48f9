"""Searching a cell, its settings, and links that end."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from geopin_assets.errors import ConfigurationError, PermanentError
from geopin_assets.grid import Bbox, Cell
from geopin_assets.settings import Profile, Settings
from geopin_assets.sources import open_source, quotas_of
from geopin_assets.sources.crawl import crawl_cell
from geopin_assets.sources.mapillary import Limits, Mapillary
from geopin_assets_tests.sources.mapillary.server import Server, image
from geopin_assets_tests.sources.recordings.mapillary import CELL, NOW, TOKEN, client_on, source_on

LON, LAT = CELL.bbox.center


def spread(count: int) -> list[dict[str, object]]:
    """Images all over the cell."""
    west, south, width, height = CELL.bbox.west, CELL.bbox.south, 0.0293, 0.018
    return [image(1000 + n, west + width * (n * 0.618 % 1), south + height * ((n + 0.5) / count)) for n in range(count)]


def boxes(server: Server) -> list[Bbox]:
    return [Bbox(*map(float, request.url.params["bbox"].split(","))) for request in server.asked("search")]


def live(**variables: str) -> Settings:
    return Settings(profile=Profile.LIVE, variables={"GEOPIN_MAPILLARY_TOKEN": TOKEN} | variables)


def test_one_search_asks_for_everything_that_is_needed():
    server = Server(spread(9))
    crawl = crawl_cell(source_on(client_on(server.transport)), CELL)
    assert (len(crawl.captures), crawl.report.requests, crawl.report.splits) == (9, 1, 0)
    params = server.requests[0].url.params
    assert set(params) == {"bbox", "fields", "limit"}
    assert params["limit"] == "2000"
    assert set(params["fields"].split(",")) >= {
        *("id", "geometry", "computed_geometry", "compass_angle", "computed_compass_angle", "captured_at", "is_pano"),
        *("camera_type", "creator", "sequence", "thumb_1024_url", "thumb_2048_url", "thumb_original_url"),
    }


def test_the_token_is_in_no_capture_and_no_message():
    server = Server(spread(9))
    crawl = crawl_cell(source_on(client_on(server.transport)), CELL)
    assert TOKEN not in repr(crawl.captures)
    server.overrides["search"] = lambda request: httpx.Response(400, text=f"bad: {request.headers['authorization']}")
    with pytest.raises(PermanentError) as caught:
        crawl_cell(source_on(client_on(server.transport, secrets=[TOKEN])), CELL)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "searches"),
    [
        (Limits(), 1),
        (Limits(max_side_deg=0.02), 4),
        (Limits(max_area_deg2=0.0001), 16),
        (Limits(max_side_deg=0.01), 16),
    ],
)
def test_boxes_beyond_the_servers_limits_are_divided_before_they_are_asked(limits: Limits, searches: int):
    server = Server(spread(5))
    crawl = crawl_cell(source_on(client_on(server.transport), limits=limits), CELL)
    assert (len(crawl.captures), crawl.report.requests) == (5, searches)
    for box in boxes(server):
        width, height = box.east - box.west, box.north - box.south
        assert width * height <= limits.max_area_deg2
        assert max(width, height) <= limits.max_side_deg


def test_an_answer_of_a_thousand_is_divided_although_two_thousand_would_fit():
    """Reported: 1,935 images where there were more."""
    searches = []
    for count in (999, 1000):
        elsewhere = [image(50_000 + n, 4.93 + n * 1e-6, 52.36) for n in range(1500)]
        server = Server([*spread(count), *elsewhere])
        crawl = crawl_cell(source_on(client_on(server.transport)), CELL)
        assert {c.source_capture_id for c in crawl.captures} == {str(1000 + n) for n in range(count)}
        searches.append(crawl.report.requests)
    assert searches == [1 + 1, 5 + 1]  # one for the proof


def test_a_cap_that_was_lowered_without_a_word_is_noticed():
    server = Server(spread(120), cap=50)
    crawl = crawl_cell(source_on(client_on(server.transport)), CELL)
    assert len(crawl.captures) == 120
    assert crawl.report.incomplete == []


def test_what_the_server_can_give_is_asked_once_a_run_in_the_busiest_place_and_smaller_while_refused():
    busy = [image(9000 + n, 4.8886 + n * 0.01 / 300, 52.3731) for n in range(300)]
    server = Server(busy + [image(100 + n, 5.12 + n * 1e-5, 52.09) for n in range(20)], density=250)
    source, utrecht = source_on(client_on(server.transport)), Cell("utrecht", Bbox(5.11, 52.08, 5.13, 52.1))
    crawls = [crawl_cell(source, utrecht) for _ in range(2)]
    sides = [box.east - box.west for box in boxes(server) if box.west < 5]
    assert [len(crawl.captures) for crawl in crawls] == [20, 20]
    assert [crawl.report.requests for crawl in crawls] == [1 + len(sides), 1]  # on the cell that needed the proof
    assert sides == pytest.approx([0.0948 / 2**n for n in range(len(sides))], rel=1e-2)
    assert sides[-1] < 0.01 < sides[-2]


def test_cells_beyond_any_cell_size_are_asked_in_parts_below_the_area_limit():
    server = Server([image(1001, 5.0, 52.2)])
    country = Cell("half", Bbox(4.5, 52.0, 5.5, 52.5))
    crawl = crawl_cell(source_on(client_on(server.transport)), country)
    assert [capture.source_capture_id for capture in crawl.captures] == ["1001"]
    assert max((box.east - box.west) * (box.north - box.south) for box in boxes(server)) <= 0.009


def test_a_key_is_needed_and_where_to_get_it_is_said():
    assert Mapillary.disabled_reason(Settings()) is None
    assert Mapillary.disabled_reason(live()) is None
    reason = Mapillary.disabled_reason(Settings(profile=Profile.LIVE)) or ""
    assert "GEOPIN_MAPILLARY_TOKEN" in reason
    assert "https://www.mapillary.com/dashboard/developers" in reason


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GEOPIN_MAPILLARY_MAX_AREA_DEG2", "0"),
        ("GEOPIN_MAPILLARY_MAX_AREA_DEG2", "large"),
        ("GEOPIN_MAPILLARY_MAX_SIDE_DEG", "0.001"),
        ("GEOPIN_MAPILLARY_SPLIT_AT", "2001"),
        ("GEOPIN_MAPILLARY_TILE_DAYS", "-1"),
    ],
)
def test_a_wrong_limit_is_refused_by_name(variable: str, value: str):
    assert variable in (Mapillary.disabled_reason(live(**{variable: value})) or "")
    with pytest.raises(ConfigurationError, match=variable), open_source("mapillary", live(**{variable: value})):
        pass


def test_settings_reach_the_search_and_the_sandbox_needs_no_token(tmp_path: Path):
    server = Server([])
    server.overrides["search"] = lambda _: httpx.Response(200, json={"data": spread(5)})
    settings = Settings(data_dir=tmp_path, variables={"GEOPIN_MAPILLARY_MAX_SIDE_DEG": "0.01"})
    with open_source("mapillary", settings, transport=server.transport) as source:
        assert len(crawl_cell(source, CELL).captures) == 5
    assert server.counts["search"] == 16
    assert {request.headers["authorization"] for request in server.requests} == {"OAuth sandbox"}
    assert {request.url.path for request in server.requests} == {"/mapillary/images"}


def test_live_only_the_two_real_hosts_are_asked_and_tiles_are_kept(tmp_path: Path):
    server = Server([image(1001 + n, 4.8951, 52.3692) for n in range(9)], density=5)
    settings = Settings(profile=Profile.LIVE, data_dir=tmp_path, variables={"GEOPIN_MAPILLARY_TOKEN": f" {TOKEN} "})
    crawl_cell(Mapillary.from_settings(settings, client_on(server.transport)), CELL)
    assert {f"{request.url.scheme}://{request.url.host}" for request in server.requests} == {
        "https://graph.mapillary.com",
        "https://tiles.mapillary.com",
    }
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mvt")] == [
        "tiles/mapillary/14/8414/5384.mvt"
    ]


def test_daily_budgets_are_facts_that_settings_change():
    quotas = quotas_of(Mapillary, live(GEOPIN_MAPILLARY_TILES_PER_DAY="12", GEOPIN_MAPILLARY_SEARCH_PER_DAY="7"))
    assert (quotas["tiles"].per_day, quotas["search"].per_day) == (12, 7)
    assert quotas_of(Mapillary, live())["tiles"].per_day == 1750
    assert quotas_of(Mapillary, live())["tiles"].per_second * 60 == pytest.approx(40)


@pytest.mark.parametrize(
    ("ends_in", "is_expired"),
    [
        (timedelta(days=3), False),
        (timedelta(hours=2), False),
        (timedelta(minutes=50), True),
        (timedelta(days=-3), True),
    ],
)
def test_a_link_that_ends_within_the_hour_is_renewed(ends_in: timedelta, is_expired: bool):
    link = f"https://scontent.xx.fbcdn.net/m1/v/t6/An?oh=00_&oe={int((NOW + ends_in).timestamp()):X}"
    assert Mapillary.is_link_expired(link, NOW) is is_expired


def test_a_link_that_was_never_asked_for_is_renewed_and_one_without_an_end_is_not():
    assert Mapillary.is_link_expired("mapillary:1933525276802129", NOW)
    assert not Mapillary.is_link_expired("https://cdn.example/5.jpg", NOW)
    assert not Mapillary.is_link_expired("https://cdn.example/5.jpg?oe=soon", NOW)


def test_links_are_renewed_in_batches_and_captures_that_are_gone_are_left_out():
    server = Server(
        [image(n, LON, LAT, is_pano=n == 1000, thumb_original_url="https://cdn.example/p") for n in range(1000, 1070)]
    )
    source = source_on(client_on(server.transport))
    links = source.image_urls([str(n) for n in range(1000, 1100)], crawl_cell(source, CELL).report)
    assert len(links) == 70
    assert (links["1000"], links["1001"]) == ("https://cdn.example/p", "https://cdn.example/1001.jpg?oe=7A5C0000")
    assert server.counts["entity"] == 2


@pytest.mark.parametrize(("wish", "taken"), [("computed", "computed"), ("original", "device"), ("Original", None)])
def test_the_position_that_is_wished_for_is_taken_and_named(wish: str, taken: str | None, tmp_path: Path):
    server = Server([image(1001, LON, LAT, (LON + 1e-4, LAT))])
    settings = live(GEOPIN_MAPILLARY_POSITION=wish).model_copy(update={"data_dir": tmp_path})
    if taken is None:
        assert "GEOPIN_MAPILLARY_POSITION" in (Mapillary.disabled_reason(settings) or "")
        return
    (capture,) = crawl_cell(Mapillary.from_settings(settings, client_on(server.transport)), CELL).captures
    assert (capture.position_from, capture.lon) == (taken, LON + 1e-4 * (wish == "computed"))


@pytest.mark.parametrize("prefers_computed", [True, False])
def test_each_capture_is_in_one_cell_whatever_position_is_wished_for(prefers_computed: bool):
    """Beside the border, by search, by tile and by id."""
    border, east = CELL.bbox.east, Cell("east", Bbox(CELL.bbox.east, 52.362, CELL.bbox.east + 0.0293, 52.38))
    images = [image(1000 + n, border - 2e-4 + n * 1e-5, LAT, (border + 2e-4 - n * 1e-5, LAT)) for n in range(40)]
    for density in (5000, 5):
        source = source_on(client_on(Server(images, density=density).transport), prefers_computed=prefers_computed)
        found = [{c.source_capture_id for c in crawl_cell(source, cell).captures} for cell in (CELL, east)]
        name = "computed_geometry" if prefers_computed else "geometry"
        assert found[0] == {i["id"] for i in images if i[name]["coordinates"][0] < border}
        assert found[1] == {i["id"] for i in images} - found[0]


def test_what_a_search_forgets_is_asked_for_by_id_before_it_is_taken_for_gone():
    """Ten of a hundred are not in any answer; five are really gone, one has moved to another cell."""
    images = spread(100)
    moved = image(1000, LON + 0.1, LAT)
    server = Server([*images[5:90], moved])
    known = frozenset(str(1000 + n) for n in range(100))

    def by_id(request: httpx.Request) -> httpx.Response:
        asked = request.url.params["image_ids"].split(",")
        return httpx.Response(200, json={"data": [i for i in (*images[5:], moved) if i["id"] in asked]})

    server.overrides["entity"] = by_id
    crawl = crawl_cell(source_on(client_on(server.transport)), CELL, known=lambda box: known)
    assert {c.source_capture_id for c in crawl.captures} == {str(1000 + n) for n in range(5, 100)}
    assert crawl.report.is_complete and crawl.report.rejected == {}
    assert server.counts["entity"] == 1


def test_of_an_incomplete_cell_nothing_is_asked_for_by_id():
    server = Server([image(1001 + n, LON, LAT) for n in range(9)], density=5)
    server.overrides["tiles"] = lambda request: httpx.Response(302, headers={"location": "https://login.example"})
    crawl = crawl_cell(source_on(client_on(server.transport)), CELL, known=lambda box: frozenset({"77"}))
    assert not crawl.report.is_complete and server.counts["entity"] == 0
