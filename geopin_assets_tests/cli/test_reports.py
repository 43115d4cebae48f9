import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from geopin_assets.cli.ui import reports
from geopin_assets.errors import ConfigurationError
from geopin_assets.settings import Settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def settings(folder: Path, url: str) -> Settings:
    return Settings(data_dir=folder, variables={"GEOPIN_REPORTS_URL": url})


@contextmanager
def asking(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    yield connection
    connection.close()


def test_the_reports_are_served_while_the_ui_is_there_and_nothing_beside_them(tmp_path: Path) -> None:
    port = free_port()
    where = settings(tmp_path, f"http://127.0.0.1:{port}/")
    (tmp_path / "secret.txt").write_text("not a report")
    with reports(where), asking(port) as browser:
        answers = {}
        (where.quality_dir / "coverage.html").write_text("<h1>map</h1>")
        for path in ("/coverage.html", "/", "/../secret.txt", "/%2e%2e/secret.txt"):
            browser.request("GET", path)
            answer = browser.getresponse()
            answers[path] = answer.status, answer.read()
    assert answers.pop("/coverage.html") == (200, b"<h1>map</h1>")
    assert {status for status, _ in answers.values()} == {404}
    with pytest.raises(ConnectionRefusedError), asking(port) as browser:
        browser.request("GET", "/coverage.html")


def test_a_taken_port_names_the_variable_to_set(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = settings(tmp_path, f"http://127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(ConfigurationError, match="GEOPIN_REPORTS_URL"), reports(where):
            pass


def test_reports_that_another_machine_serves_are_left_to_it(tmp_path: Path) -> None:
    with reports(settings(tmp_path, "https://maps.example.org/coverage")):
        assert not (tmp_path / "quality").exists()
