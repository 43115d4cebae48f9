"""The front door over real sockets: who gets through to what is behind it, and who does not."""

import base64
import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from geopin_assets.cli.door import Door
from geopin_assets.cli.reports import reports
from geopin_assets.files.object_store import open_store
from geopin_assets.quality.pages import page
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.ui.city import HOST, await_port

JSON = {"Content-Type": "application/json"}
PROXY = "https://geopin.example.org"
TOKEN = "open-sesame-ö"


class Behind:
    """What stands where Dagster does, and what reached it."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.reached: list[str] = []
        self.port = free_port()
        routes = [
            WebSocketRoute("/graphql", self._socket),
            Route("/{path:path}", self._http, methods=["GET", "POST", "PUT", "OPTIONS"]),
        ]
        addresses = {f"http://{HOST}:{self.port}", f"http://localhost:{self.port}", PROXY}
        self.app = Door(Starlette(routes=routes), reports(open_store(folder)), Starlette(), addresses, token)

    async def _http(self, request: Request) -> PlainTextResponse:
        await request.body()
        self.reached.append(f"{request.method} {request.url.path}")
        return PlainTextResponse("through", headers={"X-Content-Type-Options": "sniff"})

    async def _socket(self, socket: WebSocket) -> None:
        self.reached.append("websocket")
        await socket.accept()
        await socket.send_text("through")
        await socket.close()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(HOST, self.port, timeout=60)
        body = b'{"query": "mutation { wipe }"}' if method == "POST" else None
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        names = {name.lower() for name, _ in answer.getheaders()}
        found = answer.status, {name: answer.getheader(name, "") for name in names}, answer.read()
        connection.close()
        return found

    def status(self, method: str, path: str, **headers: str) -> int:
        return self.ask(method, path, {name.replace("_", "-"): value for name, value in headers.items()})[0]


@contextmanager
def opened(behind: Behind) -> Iterator[Behind]:
    server = uvicorn.Server(uvicorn.Config(behind.app, host=HOST, port=behind.port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    await_port(behind.port)
    try:
        yield behind
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality" / "coverage.html").write_text("<h1>map</h1>")
    (tmp_path / "secret.txt").write_text("not a report")
    with opened(Behind(tmp_path / "quality")) as found:
        yield found


MUTATION = "/graphql?query=mutation%7BwipeAssets(assetPartitionRanges:[])%7B__typename%7D%7D"


def test_a_picture_tag_on_any_page_reaches_nothing(behind: Behind) -> None:
    assert behind.status("GET", MUTATION) == 405
    assert behind.status("GET", "/graphql/?query=mutation") == 405
    assert behind.status("GET", "/%67raphql?query=mutation") == 405
    assert behind.status("GET", MUTATION, Accept="text/html") == 405
    assert behind.status("HEAD", MUTATION) == 405
    for path in ("//graphql", "/./graphql", "/x/../graphql", "/GraphQL", "/graphql%20", "/graphql%2f"):
        assert behind.status("GET", f"{path}?query=mutation") == 405, path
    for path in (
        "/graphql%0A",
        "/graphql%00",
        "/graphql%0d",
        "/graphql%E2%80%A8",
    ):  # routes that end in $ take the first
        assert behind.status("GET", f"{path}?query=mutation") == 400, path
    assert behind.reached == []


def test_whoever_sends_without_end_is_cut_off(behind: Behind) -> None:
    with socket.create_connection((HOST, behind.port)) as connection:
        head = f"POST /graphql HTTP/1.1\r\nHost: {HOST}:{behind.port}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
        with contextlib.suppress(OSError):
            for _ in range(32):
                connection.sendall(chunk)
            assert b" 200 " not in connection.recv(1024)
    assert behind.reached == []


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/graphql",
        "application/json, text/plain",
        "",
    ],
)
def test_what_a_form_or_a_foreign_script_can_send_unasked_reaches_nothing(behind: Behind, kind: str) -> None:
    assert behind.status("POST", "/graphql", Content_Type=kind) == 415
    assert behind.status("POST", MUTATION, Content_Type=kind) == 415
    assert behind.status("POST", "/report_asset_materialization/raw/panoramax", Content_Type=kind) == 415
    assert behind.reached == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_browser_that_asks_whether_it_may_is_told_no(behind: Behind, method: str) -> None:
    status, headers, _ = behind.ask(method, "/graphql", {"Origin": f"http://{HOST}:{behind.port}"})
    assert status == 405
    assert not [name for name in headers if name.startswith("access-control")]
    assert behind.reached == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", "http://evil.example", ""]
)
def test_other_pages_reach_nothing(behind: Behind, origin: str) -> None:
    assert behind.status("POST", "/graphql", Origin=origin, **{"Content-Type": "application/json"}) == 403
    assert behind.status("GET", "/assets", Origin=origin) == 403
    assert behind.reached == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "evil.example:3000", "localhost.evil.example", ""])
def test_a_name_that_somebody_points_at_this_machine_reaches_nothing(behind: Behind, host: str) -> None:
    mine = {"Host": f"{host}:{behind.port}" if host in ("evil.example", "localhost.evil.example") else host}
    assert behind.ask("GET", "/assets", mine)[0] in (400, 421)
    assert behind.ask("POST", "/graphql", mine | JSON | {"Origin": f"http://{mine['Host']}"})[0] in (400, 421)
    assert behind.reached == []


def test_requests_that_another_site_makes_in_this_browser_reach_nothing_but_a_link_does(behind: Behind) -> None:
    for site in ("cross-site", "same-site"):
        assert behind.status("GET", "/logs/x", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors") == 403
        assert behind.status("GET", "/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe") == 403
        form = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert behind.ask("POST", "/graphql", JSON | form)[0] == 403
    assert behind.reached == []
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert behind.status("GET", "/runs", **link) == 200


def test_its_own_page_commands_and_a_proxy_in_front_get_through(behind: Behind) -> None:
    here = f"http://{HOST}:{behind.port}"
    assert behind.ask("POST", "/graphql", JSON | {"Origin": here, "Sec-Fetch-Site": "same-origin"})[0] == 200
    assert behind.ask("POST", "/graphql", JSON)[0] == 200
    assert behind.status("POST", "/graphql", Content_Type="Application/JSON; charset=utf-8") == 200
    assert behind.ask("GET", "/assets", {"Host": f"localhost:{behind.port}"})[0] == 200
    assert behind.ask("POST", "/graphql", JSON | {"Host": "geopin.example.org", "Origin": PROXY})[0] == 200
    assert len(behind.reached) == 5


def test_every_answer_says_that_nothing_is_to_be_guessed_or_framed(behind: Behind) -> None:
    for method, path in (("GET", "/assets"), ("GET", MUTATION), ("GET", "/reports/coverage.html")):
        _, headers, _ = behind.ask(method, path)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_reports_have_no_part_in_the_origin_of_the_ui_and_nothing_lies_beside_them(behind: Behind) -> None:
    status, headers, body = behind.ask("GET", "/reports/coverage.html")
    assert (status, body) == (200, b"<h1>map</h1>")
    assert "sandbox" in headers["content-security-policy"]
    assert "allow-same-origin" not in headers["content-security-policy"]
    for path in ("/reports/", "/reports/../secret.txt", "/reports/%2e%2e/secret.txt"):
        assert b"not a report" not in behind.ask("GET", path)[2]
        assert behind.ask("GET", path)[0] == 404
    assert behind.reached == []


@pytest.mark.parametrize("name", ["coverage", "layers"])
def test_maps_of_ours_may_read_layers_and_nothing_else_of_the_ui(behind: Behind, tmp_path: Path, name: str) -> None:
    (tmp_path / "quality" / "map.html").write_text(page(name, []))
    (tmp_path / "quality" / "other.html").write_text(page(name, []).replace("const ", "let ", 1))
    (tmp_path / "quality" / "script.svg").write_text(page(name, []))
    _, headers, _ = behind.ask("GET", "/reports/map.html")
    own, door = headers["content-security-policy"].split(", ")
    assert door == "frame-ancestors 'none'"
    told = dict(rule.split(maxsplit=1) for rule in own.split("; "))
    assert told["connect-src"] == f"{HOST}:{behind.port}/reports/layers/" and told["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", told["script-src"])
    for path in ("other.html", "script.svg", "coverage.html"):
        policy = behind.ask("GET", f"/reports/{path}")[1]["content-security-policy"]
        assert "sandbox" in policy and "allow-same-origin" not in policy and "connect-src" not in policy


def test_archives_of_tiles_are_read_by_ranges(behind: Behind, tmp_path: Path) -> None:
    (tmp_path / "quality" / "layers").mkdir()
    (tmp_path / "quality" / "layers" / "captures.pmtiles").write_bytes(bytes(range(100)))
    for asked, wanted, told in (
        ("bytes=0-9", bytes(range(10)), "bytes 0-9/100"),
        ("bytes=90-500", bytes(range(90, 100)), "bytes 90-99/100"),
        ("bytes=99-", bytes([99]), "bytes 99-99/100"),
    ):
        status, headers, body = behind.ask("GET", "/reports/layers/captures.pmtiles", {"Range": asked})
        assert (status, body, headers["content-range"]) == (206, wanted, told)
        assert "sandbox" in headers["content-security-policy"]
    status, headers, _ = behind.ask("GET", "/reports/layers/captures.pmtiles", {"Range": "bytes=100-200"})
    assert (status, headers["content-range"]) == (416, "bytes */100")
    assert behind.ask("GET", "/reports/layers/captures.pmtiles", {"Range": "cells=1-2"})[0] == 200
    for path in ("/reports/layers/../coverage.html", "/reports/layers/%2e%2e/coverage.html"):
        status, headers, _ = behind.ask("GET", path)
        assert status == 404 or "sandbox" in headers["content-security-policy"], path


def websocket(behind: Behind, path: str = "/graphql", **options: object) -> str:
    url = f"ws://{HOST}:{behind.port}{path}"
    with connect(url, proxy=None, **options) as socket:  # type: ignore[arg-type]
        return str(socket.recv())


def test_a_websocket_is_for_its_own_page(behind: Behind) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus, match="403"):
            websocket(behind, origin=origin)
    with pytest.raises(InvalidStatus, match="403"):
        websocket(behind, additional_headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"})
    with pytest.raises(InvalidStatus, match="403"):
        websocket(behind, "/elsewhere")
    assert behind.reached == []
    assert websocket(behind, origin=f"http://{HOST}:{behind.port}") == "through"


def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    with opened(Behind(tmp_path, TOKEN)) as behind:
        status, headers, body = behind.ask("GET", "/assets")
        assert (status, headers["www-authenticate"].split()[0]) == (401, "Basic")
        assert TOKEN.encode() not in body
        wrong = base64.b64encode(b"me:wrong").decode()
        for given in (f"Basic {wrong}", "Basic !", "Basic", "Bearer wrong", "Bearer", TOKEN, f"Digest {TOKEN}"):
            assert behind.ask("POST", "/graphql", JSON | {"Authorization": given.encode().decode("latin-1")})[0] == 401
        with pytest.raises(InvalidStatus, match="403"):
            websocket(behind)
        assert behind.reached == []
        basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
        assert behind.ask("GET", "/assets", {"Authorization": f"Basic {basic}"})[0] == 200
        assert behind.ask("POST", "/graphql", JSON | {"Authorization": f"Basic {basic}"})[0] == 200
        assert websocket(behind, additional_headers={"Authorization": f"Basic {basic}"}) == "through"
        assert repr(behind.app).count(TOKEN) == 0
