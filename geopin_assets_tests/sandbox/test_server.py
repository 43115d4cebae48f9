import json
import multiprocessing
import socket
import threading
from http.client import HTTPConnection

import pytest

from geopin_assets.errors import ConfigurationError
from geopin_assets.grid import bounds
from geopin_assets.sandbox.server import HEALTH, create_app, running, serve
from geopin_assets.sandbox.state import Fault
from geopin_assets.sandbox.streets.drives import build_world
from geopin_assets.sandbox.streets.world import World
from geopin_assets.settings import Settings
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.sandbox.conftest import BASE_URL, Client

CELL, NEXT_CELL = bounds(90, 51), bounds(90, 52)
SEARCH, LIST = "/panoramax/api/search", "/amsterdam/panorama/panoramas/"


def corners(box):
    return [box.west, box.south, box.east, box.north]


def asking(box):
    return {"bbox": ",".join(map(str, corners(box)))}


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, sandbox_port=free_port())


def fetch(port, path):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_health_tells_the_world(client):
    assert client.get("/health").json() == {"geopin_sandbox": build_world().version}


def test_stats_count_requests_by_source_and_kind(client):
    client.get(SEARCH)
    client.get(LIST)
    client.get(LIST)
    assert client.get("/stats").json() == {"panoramax.search": 1, "amsterdam.list": 2}


def test_a_fault_fails_one_cell_of_one_source_until_it_is_cleared(client):
    fault = {"source": "amsterdam", "status": 503, "bbox": corners(CELL), "retry_after_s": 7}
    assert client.request("POST", "/faults", json=fault).status_code == 200
    failed = client.get(LIST, params=asking(CELL))
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "7")
    assert client.get(LIST, params=asking(CELL.quarters()[0])).status_code == 503
    assert client.get(LIST, params=asking(NEXT_CELL)).status_code == 200
    assert client.get(SEARCH, params=asking(CELL)).status_code == 200
    assert client.request("DELETE", "/faults").status_code == 204
    assert client.get(LIST, params=asking(CELL)).status_code == 200


def test_an_app_can_start_with_faults():
    client = Client(create_app(build_world(), BASE_URL, [Fault(source="panoramax", status=429)]))
    assert client.get(SEARCH).status_code == 429
    assert client.get(LIST).status_code == 200


def test_a_fault_can_concern_the_image_of_one_capture(client):
    one, other = client.get(SEARCH, params={"limit": 2}).json()["features"]
    fault = {"source": "panoramax", "status": 404, "capture": one["id"]}
    client.request("POST", "/faults", json=fault)
    assert client.get(one["assets"]["thumb"]["href"]).status_code == 404
    assert client.get(other["assets"]["thumb"]["href"]).status_code == 200
    assert client.get(SEARCH).status_code == 200


def test_vanished_captures_are_gone_from_lists_and_images(client):
    picture = client.get(SEARCH, params={"limit": 1}).json()["features"][0]
    pano = client.get(LIST, params={"page_size": 1}).json()["_embedded"]["panoramas"][0]
    count = client.get(LIST).json()["count"]
    client.request("POST", "/faults", json={"vanish": [picture["id"], pano["pano_id"]]})
    assert client.get(SEARCH, params={"ids": picture["id"]}).json()["features"] == []
    assert client.get(picture["assets"]["sd"]["href"]).status_code == 404
    assert client.get(LIST).json()["count"] == count - 1
    assert client.get(pano["_links"]["equirectangular_small"]["href"]).status_code == 404
    client.request("DELETE", "/faults")
    assert client.get(LIST).json()["count"] == count


@pytest.mark.parametrize("body", [{"status": 500}, {"source": "amsterdam", "when": "now"}, [], {"vanish": 3}])
def test_a_fault_that_says_nothing_is_refused(client, body):
    assert client.request("POST", "/faults", json=body).status_code == 400
    assert client.get(SEARCH).status_code == 200


def test_a_running_sandbox_answers_on_loopback_and_ends(settings):
    with running(settings) as url:
        assert url == settings.sandbox_url
        status, body = fetch(settings.sandbox_port, f"{SEARCH}?limit=1")
        feature = json.loads(body)["features"][0]
        assert status == 200
        assert feature["assets"]["sd"]["href"].startswith(f"{url}/panoramax/")
        assert (settings.data_dir / "own_photos" / "positions.csv").is_file()
        assert list((settings.data_dir / "queries").glob("*.jpg"))
    with pytest.raises(ConnectionRefusedError):
        fetch(settings.sandbox_port, "/health")


def test_a_sandbox_apart_serves_from_another_process_and_ends(settings):
    before = set(multiprocessing.active_children())
    with running(settings, is_apart=True):
        (process,) = set(multiprocessing.active_children()) - before
        assert HEALTH in json.loads(fetch(settings.sandbox_port, "/health")[1])
    assert not process.is_alive()
    with pytest.raises(ConnectionRefusedError):
        fetch(settings.sandbox_port, "/health")


def test_a_sandbox_of_a_checkout_has_cloudflare(settings):
    with running(settings):
        status, body = fetch(settings.sandbox_port, "/cloudflare/client/v4/accounts/none/d1/database")
        assert (status, json.loads(body)["success"]) == (401, False)
        _status, body = fetch(settings.sandbox_port, "/stats")
        assert json.loads(body) == {"cloudflare.d1.list_databases": 1}


def test_a_second_user_shares_the_server_and_takes_it_over(settings):
    with running(settings):
        first = running(settings)
        first.__enter__()
    try:
        for _ in range(100):
            try:
                status, _body = fetch(settings.sandbox_port, "/health")
                break
            except ConnectionRefusedError:
                threading.Event().wait(0.1)
        assert status == 200
    finally:
        first.__exit__(None, None, None)


@pytest.mark.parametrize("is_apart", [False, True])
def test_a_sandbox_that_has_no_place_for_its_files_says_so_and_not_that_its_port_is_taken(settings, is_apart):
    (settings.data_dir / "cloudflare").write_text("in its place")
    with (
        pytest.raises(ConfigurationError, match=r"cannot be served from .*: .*cloudflare"),
        running(settings, is_apart=is_apart),
    ):
        pass


def test_a_port_taken_by_something_else_is_a_clear_error(settings):
    other = World(build_world().shots[:1])
    assert other.version != build_world().version
    stranger = socket.create_server(("127.0.0.1", settings.sandbox_port))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

    def reply():
        connection, _ = stranger.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=reply)
    with stranger:
        thread.start()
        with pytest.raises(ConfigurationError, match="GEOPIN_SANDBOX_PORT"), running(settings):
            pass
        thread.join()
        with pytest.raises(ConfigurationError, match="taken"):
            serve(settings)
