"""Photos that lie, stall and flood, sent to the page over a real socket: each gets an answer, and nothing of it stays.

What becomes of such bytes in decoding itself is in `embedding/test_decoding.py` and `test_decoders.py`.
"""

import base64
import io
import json
import os
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from geopin_assets.cli.door import Door
from geopin_assets.cli.locate import locate_and_print
from geopin_assets.cli.try_page import try_page
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.location import NOT_COVERED, Location
from geopin_assets.locate.photo import MAX_BYTES, read_photo
from geopin_assets_tests.cli.test_try_page import body
from geopin_assets_tests.embedding.pictures import black_png, encoded, gray_jpeg, large_webp, smooth
from geopin_assets_tests.embedding.test_seen import packet
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.ui.city import HOST, await_port

NOWHERE = Location(NOT_COVERED, None, None, None, None, None, None, [], [], [], "model", "v1")
JPEG = encoded(smooth(96, 64))
DEADLINE_S = 120
"""Of the client: whoever gets no answer fails."""


def zip_behind(data: bytes) -> bytes:
    """A picture to one program, an archive to another."""
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("run.html", "<script>alert(1)</script>")
    return file.getvalue()


TAKEN = {
    "a photo": JPEG,
    "an archive behind it": zip_behind(JPEG),
    "a page behind it": JPEG + b"<script>document.title='ran'</script>",
    "a comment that is a page": JPEG[:2] + b"\xff\xfe\x00\x0a<script>" + JPEG[2:],
    "what it says of its sphere is of another": encoded(
        smooth(200, 100), xmp=packet(FullPanoWidthPixels=10**9, FullPanoHeightPixels=1, CroppedAreaTopPixels=10**12)
    ),
}
REFUSED = {
    "bomb, JPEG": (gray_jpeg(16_000, 16_000), "too_many_pixels"),
    "bomb, PNG": (black_png(16_000, 16_000, bits=1), "too_many_pixels"),
    "bomb, WebP": (large_webp(16_000, 16_000), "too_many_pixels"),
    "scans without end": (gray_jpeg(4_000, 4_000, scans=800), "unsupported"),
    "cut short": (JPEG[: len(JPEG) // 2], "damaged"),
    "only its beginning": (JPEG[:12], "damaged"),
    "nothing": (b"", "not_an_image"),
    "a page": (b"<!DOCTYPE html><script>alert(1)</script>", "not_an_image"),
    "a drawing with a program": (b"<svg onload='alert(1)'/>", "not_an_image"),
    "an archive": (zip_behind(b""), "not_an_image"),
    "a document": (b"%PDF-1.7\n" + JPEG, "not_an_image"),
    "a program": (b"\x7fELF" + bytes(400), "not_an_image"),
    "a page before it": (b"GIF89a/*" + JPEG, "unsupported"),
    "a tracking pixel": (encoded(smooth(1, 1)), "too_small"),
    "black": (black_png(640, 480), "black"),
}


class Site:
    """The page behind its door on a port of its own, with a deadline that tests can wait for."""

    def __init__(self, locate: Callable[[bytes], Location], answer_s: float) -> None:
        self.port = free_port()
        door = Door(Starlette(), Starlette(), try_page(locate, answer_s=answer_s), {f"http://{HOST}:{self.port}"})
        config = uvicorn.Config(door, host=HOST, port=self.port, log_level="critical", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> "Site":
        self.thread.start()
        await_port(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()

    def begun(self, length: int | str) -> socket.socket:
        """A request whose head is sent."""
        connection = socket.create_connection((HOST, self.port), timeout=DEADLINE_S)
        head = f"POST /locate HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        return connection

    def post(self, sent: bytes) -> tuple[int, str]:
        with self.begun(len(sent)) as connection:
            connection.sendall(sent)
            return said(connection)


def said(connection: socket.socket) -> tuple[int, str]:
    """Status and text of what comes; whoever says nothing in time raises TimeoutError."""
    with connection.makefile("rb") as answer:
        status = int(answer.readline().split()[1])
        length = 0
        while line := answer.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, answer.read(length).decode()


def look(photo: bytes) -> Location:
    """All that reading a photo takes, and no index."""
    read_photo(photo)
    return NOWHERE


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(look, DEADLINE_S) as site:
        yield site


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_a_photo_too_is_taken_for_one(site: Site, name: str) -> None:
    status, text = site.post(body(TAKEN[name]))
    assert (status, json.loads(text)["status"]) == (200, NOT_COVERED)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_none_gets_the_reason(site: Site, name: str) -> None:
    sent, reason = REFUSED[name]
    status, text = site.post(body(sent))
    assert status == 422 and reason in text, text
    assert "script" not in text.replace(repr(sent[:16]), "")


@pytest.mark.parametrize(
    "sent", [b"[" * 100_000, b'{"photo":' * 10_000, b"[" + b"1," * 10**6 + b"1]", b'{"photo": "' + b"\xff" * 64 + b'"}']
)
def test_json_that_is_a_bomb_is_refused_before_it_is_unpacked(site: Site, sent: bytes) -> None:
    assert site.post(sent)[0] == 400


def test_a_body_that_is_too_large_is_read_to_its_end_and_refused(site: Site) -> None:
    head, tail, piece = b'{"photo": "', b'"}', b"A" * 2**20
    pieces = 2 * MAX_BYTES * 4 // 3 // len(piece)
    with site.begun(len(head) + pieces * len(piece) + len(tail)) as connection:
        for sent in (head, *repeat(piece, pieces), tail):
            connection.sendall(sent)
        assert said(connection)[0] == 413


def test_a_body_without_end_is_ended() -> None:
    with Site(look, 0.5) as site, site.begun(10**12) as connection, pytest.raises(OSError):
        for _ in range(10**6):
            connection.sendall(b"A" * 2**20)


def test_photos_sent_together_are_all_answered(site: Site) -> None:
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda _: site.post(body(JPEG))[0], range(12)))
    assert answers == [200] * 12


def test_who_hangs_up_in_the_middle_costs_nobody_else_anything(site: Site) -> None:
    for _ in range(8):
        with site.begun(10**6) as connection:
            connection.sendall(b'{"photo": "AAAA')
    assert site.post(body(JPEG))[0] == 200


def test_uploads_that_drip_are_ended_and_others_get_their_answers_then() -> None:
    with Site(look, 0.5) as site:
        drips = [site.begun(10**6) for _ in range(6)]  # more than are taken at once
        for connection in drips:
            connection.sendall(b'{"photo": "')
        assert {said(connection)[0] for connection in drips} == {408}
        for connection in drips:
            connection.close()
        assert site.post(body(JPEG))[0] in (200, 504), "a slow machine may not start a decoder in that time"


def test_a_photo_that_takes_too_long_to_look_at_gets_an_answer_all_the_same() -> None:
    going_on = threading.Event()

    def slow(photo: bytes) -> Location:
        going_on.wait(DEADLINE_S)
        return NOWHERE

    with Site(slow, 0.3) as site:
        assert site.post(body(JPEG))[0] == 504
        going_on.set()
        assert site.post(body(JPEG))[0] == 200


def test_nothing_of_a_photo_is_left_on_the_disk_or_in_the_answer(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = JPEG + b"only-in-this-photo" * 8
    monkeypatch.chdir(tmp_path)
    status, text = site.post(body(marked))
    assert status == 200 and "only-in-this-photo" not in text
    assert list(tmp_path.rglob("*")) == []


def test_base64_of_several_lines_or_another_kind_is_said_to_be_none(site: Site) -> None:
    text = base64.encodebytes(JPEG).decode()
    assert site.post(json.dumps({"photo": text}).encode())[0] == 400


@pytest.mark.parametrize("make", [lambda path: os.truncate(path, 2**40), lambda path: os.truncate(path, MAX_BYTES + 1)])
def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    make(tmp_path / "a.jpg")
    with pytest.raises(ConfigurationError, match="at most 32 MB"):
        read_photo(tmp_path / "a.jpg")


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    for path in (tmp_path / "a.jpg", Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigurationError, match=r"no photo at|not a plain file"):
            read_photo(path)


def test_bad_photos_given_to_the_command_are_each_told_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is opened: an installation without an index still says what is wrong with the photo."""
    monkeypatch.setenv("GEOPIN_DATA", str(tmp_path / "data"))
    (tmp_path / "bomb.jpg").write_bytes(REFUSED["bomb, JPEG"][0])
    with pytest.raises(ConfigurationError, match="too_many_pixels"):
        locate_and_print([tmp_path / "bomb.jpg"], 10, None, 0, None, is_json=False)
    assert locate_and_print([tmp_path / "bomb.jpg"], 10, None, 0, None, is_json=True) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["photo"].endswith("bomb.jpg") and "too_many_pixels" in told["error"]
    assert not (tmp_path / "data").exists()
