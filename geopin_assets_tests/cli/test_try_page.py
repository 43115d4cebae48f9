"""The page on which to drop photos, in a real browser behind the real door: what it shows, and what it never runs."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette

from geopin_assets.cli.door import Door
from geopin_assets.cli.try_page import MAX_BYTES, try_page
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.location import Location, Place, Reference
from geopin_assets.locate.report import picture, report
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.ui.browser import browser_page, needs_chromium
from geopin_assets_tests.ui.city import HOST, await_port

EVIL = "</script><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
MATCH = Reference(
    1, "panoramax:1", "panoramax", 52.373, 4.893, 0.0, 0.91, 90.0, "device", "2024-05-01T10:00:00Z", "Anna",
    "CC-BY-SA-4.0",
    "https://creativecommons.org/licenses/by-sa/4.0/", f"© Anna {EVIL}", "javascript:alert(1)", None, inliers=118,
)  # fmt: skip
FOUND = Location(
    "found", 52.373, 4.893, 21.0, 90.0, "device", 0.93, ["118 matching points with the best match", EVIL],
    [Place(52.38, 4.9, 0.06, 0.8, "b:1")],
    [MATCH, replace(MATCH, rank=2, lat=52.3732, distance_m=22.0, trust=0.4)], "model", "v1",
)  # fmt: skip


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(file, "JPEG")
    return file.getvalue()


class Served:
    def __init__(self) -> None:
        self.port, self.asked = free_port(), list[bytes]()
        self.address = f"http://{HOST}:{self.port}"
        self.app = Door(Starlette(), Starlette(), try_page(self._answer), {self.address})

    def _answer(self, photo: bytes) -> Location:
        self.asked.append(photo)
        if not photo.startswith(b"\xff\xd8"):
            raise ConfigurationError("the photo: not_an_image")
        return FOUND

    def post(self, body: bytes, **headers: str) -> tuple[int, bytes]:
        connection = HTTPConnection(HOST, self.port, timeout=120)
        connection.request("POST", "/locate", body, {"Content-Type": "application/json"} | headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    server = uvicorn.Server(uvicorn.Config(served.app, host=HOST, port=served.port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    await_port(served.port)
    yield served
    server.should_exit = True
    thread.join()


def body(photo: bytes) -> bytes:
    return json.dumps({"photo": base64.b64encode(photo).decode()}).encode()


def test_a_photo_is_answered_with_a_location(served: Served) -> None:
    status, answer = served.post(body(jpeg()))
    assert (status, json.loads(answer)) == (200, FOUND.to_dict())
    assert served.asked == [jpeg()]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b'{"photo": 7}', 400), (b'{"photo": "%%%"}', 400),
        (body(b"no photo"), 422), (b'{"photo": "' + b"A" * (MAX_BYTES * 4 // 3 + 2000) + b'"}', 413),
    ],
)  # fmt: skip
def test_what_is_no_photo_gets_a_reason(served: Served, sent: bytes, status: int) -> None:
    assert served.post(sent)[0] == status


def test_other_pages_get_no_answer(served: Served) -> None:
    assert served.post(body(jpeg()), Origin="https://evil.example")[0] == 403
    assert served.post(body(jpeg()), Host="evil.example")[0] == 421
    assert served.post(body(jpeg()), **{"Content-Type": "text/plain"})[0] == 415
    assert served.asked == []


@needs_chromium
def test_a_dropped_photo_is_shown_with_its_place_and_what_strangers_wrote_stays_text(
    served: Served, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg())
    with browser_page(tmp_path) as page:
        page.goto(f"{served.address}/locate")
        page.set_input_files("input[type=file]", tmp_path / "photo.jpg")
        page.wait_for_selector(".match")
        text = page.inner_text("main")
        assert "Found · confidence 93 %" in text
        assert "52.373000, 4.893000 within 21 m (68 %), facing 90°" in text
        assert "118 matching points" in text
        assert text.count("contradicted by other sources") == 1
        assert "or 52.380000, 4.900000 (6 %" in text
        assert "CC-BY-SA-4.0" in text
        assert EVIL in text
        assert page.locator("svg circle").count() >= 4
        assert page.locator("a[href^='javascript']").count() == 0
        assert page.title() == "Where was this taken?"
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "whole on a telephone"


@needs_chromium
def test_a_report_shows_the_same_without_any_server(tmp_path: Path) -> None:
    from numpy import zeros

    nowhere = replace(FOUND, status="not_covered", confidence=0.16)
    shown = [(f"{EVIL}.jpg", picture(zeros((40, 60, 3), "uint8")), FOUND), ("nowhere.jpg", "", nowhere)]
    text = report(shown, {"notes.jpg": f"not_an_image {EVIL}"}, datetime(2026, 11, 29, 10, tzinfo=UTC))
    (tmp_path / "out.html").write_text(text, encoding="utf-8")
    with browser_page(tmp_path) as page:
        page.set_content((tmp_path / "out.html").read_text(encoding="utf-8"))
        page.wait_for_selector(".match")
        assert "Found · confidence 93 %" in page.inner_text("main")
        assert "3 photos, asked of the index on 2026-11-29" in page.inner_text("body")
        assert "most alike, with confidence 16 %: 52.373000" in page.inner_text("main")
        assert page.locator("svg").count() == 1, "no map of what is not there"
        assert f"not_an_image {EVIL}" in page.inner_text("main")
        assert page.locator("#drop").count() == 0
        assert page.title() == "Where was this taken?"
