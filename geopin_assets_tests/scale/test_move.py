"""One machine's installation, taken to a bucket and a Postgres by the commands of the page, and back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from geopin_assets_tests.cli.typed import Place
from geopin_assets_tests.faults.work import content_of
from geopin_assets_tests.platform import Installation
from geopin_assets_tests.scale.page import CHECKOUT

pytestmark = [
    pytest.mark.skipif("GEOPIN_TEST_SCALE" not in os.environ, reason="real servers: make test-scale"),
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run"),  # Dagster's own, where files are its default
]
PAGE = CHECKOUT / "docs" / "operating.md"
CELL = "nh-amsterdam-r089c052"
OURS = ("GEOPIN_STORE", "GEOPIN_POSTGRES_URL")
RUN = ("run", "--region", CELL, "--source", "amsterdam", "--source", "panoramax")


def steps(there: str, database: str, back: str) -> Iterator[list[str]]:
    """The page's commands, with these places."""
    section = PAGE.read_text(encoding="utf-8").partition("## Moving the store to a bucket, and back\n")[2]
    for line in section.partition("```\n")[2].partition("```")[0].splitlines():
        words = line.partition("#")[0]
        for example, place in {
            "s3://bucket/geopin": there,
            "postgresql://geopin:PASSWORD@db.internal/geopin": database,
            "/data/geopin-back": back,
        }.items():
            words = words.replace(example, place)
        yield words.split()


def test_it_is_the_same_there_and_back(
    variables: dict[str, str], postgres_place: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        if not name.startswith("GEOPIN_"):
            monkeypatch.setenv(name, value)
    told = {name: value for name, value in variables.items() if name.startswith("GEOPIN_") and name not in OURS}
    place = Place(tmp_path)

    def geopin(*words: str) -> None:
        ended = place.geopin(*words, **told)
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"

    def content() -> dict[str, Any]:
        return content_of(Installation(tmp_path, told | {"GEOPIN_DATA": str(place.data)}), [CELL], port)

    geopin(*RUN)
    made, stores = content(), list[str]()
    history = yaml.safe_dump({"storage": {"postgres": {"postgres_url": postgres_place}}})
    (place.home / "dagster.yaml").write_text(history)
    for command, *words in steps("s3://geopin/moved", postgres_place, str(tmp_path / "back")):
        if command == "geopin":
            geopin(*words)
        for name, _, value in (word.partition("=") for word in words if word.startswith("GEOPIN_")):
            told.pop(name, None)
            told |= {name: value} if value else {}
        if words == ["doctor"]:  # it is there: what is on this machine alone is made anew, and all goes on
            stores.append(told["GEOPIN_STORE"])
            (place.data / "catalog.duckdb").unlink()
            geopin("catalog", "rebuild")
            geopin(*RUN)
            assert content() == made, stores
    assert stores == ["s3://geopin/moved", str(tmp_path / "back")]
    assert "GEOPIN_POSTGRES_URL" not in told
