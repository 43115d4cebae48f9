"""`geopin backfill` beside an instance and through a webserver; the daemon works whenever the command sleeps."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from gql import GraphQLRequest
from gql.transport import Transport
from gql.transport.exceptions import TransportConnectionFailed
from graphql import ExecutionResult, print_ast
from typer.testing import CliRunner

from geopin_assets.cli.backfill import STOPPED_FOLLOWING, Following
from geopin_assets.cli.main import app
from geopin_assets.cli.webserver import Webserver
from geopin_assets.defs.running.backfills import InstanceBackfills, backfill_tags, backfill_title
from geopin_assets.errors import ConfigurationError, PermanentError, TransientError
from geopin_assets.regions import region
from geopin_assets.settings import Settings
from geopin_assets_tests.cli import town
from geopin_assets_tests.ports import free_port
from geopin_assets_tests.ui.city import HOST, await_port

PLACE = "nh-velserbroek"
CELLS = region(PLACE)
INSTANCE = """
telemetry: {enabled: false}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
run_launcher: {module: geopin_assets_tests.cli.town, class: OwnThreadRunLauncher}
"""


@dataclass
class Live:
    """A webserver over an instance in a folder, and the daemon's work on backfills, on demand."""

    home: Path
    url: str
    context: WorkspaceProcessContext
    ticks: int = 0

    def tick(self, _: float = 0.0) -> None:
        self.ticks += 1
        assert self.ticks < 100, [(run.run_id, run.status) for run in self.context.instance.get_runs()]
        errors = filter(None, execute_backfill_iteration(self.context, logging.getLogger("quiet")))
        assert [error.to_string() for error in errors] == []

    def break_cells(self, *cell_ids: str) -> None:
        (self.home / town.BROKEN).write_text("\n".join(cell_ids))

    @property
    def following(self) -> Following:
        """Through the webserver."""
        return Following(
            backfills=Webserver(self.url), ui_url=self.url, sleep=self.tick, url_option=f" --url {self.url}"
        )

    @property
    def beside(self) -> Following:
        return Following(backfills=InstanceBackfills(self.context.instance), ui_url=self.url, sleep=self.tick)

    def of(self, door: str) -> Following:
        return self.following if door == "elsewhere" else self.beside

    def crawls(self) -> list[str]:
        """Cells in the order in which they were crawled."""
        found = self.context.instance.fetch_materializations(town.panoramax.key, limit=1000).records
        return [record.partition_key or "" for record in reversed(found)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    (home / "dagster.yaml").write_text(INSTANCE)
    command = [sys.executable, "-m", "dagster_webserver", "-m", town.__name__, "-h", HOST, "-p", str(port)]
    environ = {**os.environ, "DAGSTER_HOME": str(home)}
    with (home / "log").open("w") as log:
        webserver = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        target = ModuleTarget(town.__name__, attribute=None, working_directory=None, location_name=None)
        with (
            dg.DagsterInstance.from_config(str(home)) as instance,
            WorkspaceProcessContext(instance, target) as context,
        ):
            await_port(port)
            yield Live(home, f"http://{HOST}:{port}", context)
    finally:
        webserver.terminate()
        webserver.wait(120)


def settings(live: Live) -> Settings:
    return Settings.from_env({"GEOPIN_DATA": str(live.home / "data")})


DOORS = pytest.mark.parametrize("door", ["beside", "elsewhere"])


@DOORS
def test_a_backfill_is_planned_followed_and_redone_exactly_where_it_failed(
    live: Live, door: str, capsys: pytest.CaptureFixture[str]
) -> None:
    following, already = live.of(door), len(live.crawls())
    live.break_cells(CELLS[1], CELLS[5])
    assert following.start(settings(live), "panoramax", PLACE) == 1
    said = capsys.readouterr().out
    assert f"one crawl of {PLACE}: 6 cells, 1 runs" in said
    assert said.index("requests") < said.index("launched")
    assert "4 cells done, 2 failed" in said
    assert f"failed {CELLS[1]}: 503 in {CELLS[1]}" in said and f"failed {CELLS[5]}: 503 in {CELLS[5]}" in said
    again = re.search(r"geopin backfill --retry (\w+)" + following.url_option + "$", said, re.MULTILINE)
    assert again and f"{live.url}/runs/b/{again[1]}" in said
    before = live.crawls()
    assert sorted(before[already:]) == sorted({*CELLS} - {CELLS[1], CELLS[5]})

    live.break_cells(CELLS[5])
    assert following.retry(again[1]) == 1
    assert live.crawls()[len(before) :] == [CELLS[1]]
    assert "1 cells done, 1 failed" in capsys.readouterr().out
    assert following.start(settings(live), "panoramax", PLACE, only_missing=True) == 1
    assert "1 cells, 1 runs" in capsys.readouterr().out
    live.break_cells()
    assert following.start(settings(live), "panoramax", PLACE, only_missing=True) == 0
    assert live.crawls()[len(before) :] == [CELLS[1], CELLS[5]]
    assert following.start(settings(live), "panoramax", PLACE, only_missing=True) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_ctrl_c_stops_the_following_and_not_the_backfill(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.break_cells()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    impatient = replace(live.following, sleep=interrupt)
    assert impatient.start(settings(live), "panoramax", CELLS[0]) == STOPPED_FOLLOWING
    again = re.search(rf"geopin backfill --follow (\w+) --url {live.url}", capsys.readouterr().out)
    assert again
    assert live.following.follow(again[1]) == 0
    assert f"raw/panoramax: {CELLS[0]}: 1 cells done, 0 failed" in capsys.readouterr().out


def test_a_backfill_that_a_run_files_is_one_like_any_other(live: Live) -> None:
    live.break_cells()
    instance = live.context.instance
    backfill_id = InstanceBackfills(instance).launch(
        "raw/panoramax", CELLS, title=backfill_title("panoramax", PLACE), tags=backfill_tags(PLACE)
    )
    before = live.crawls()
    assert live.following.follow(backfill_id) == 0
    assert sorted(live.crawls()[len(before) :]) == sorted(CELLS)
    runs = instance.get_runs(dg.RunsFilter(tags=backfill_tags(PLACE) | {"dagster/backfill": backfill_id}))
    assert len(runs) == 2  # of four cells at most


@DOORS
def test_a_detached_backfill_is_launched_and_left_alone(live: Live, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(live.home))
    where = ["--url", live.url] if door == "elsewhere" else []
    ended = CliRunner().invoke(app, ["backfill", "panoramax", "-r", CELLS[0], *where, "--detach", "--yes"])
    assert ended.exit_code == 0, ended.output
    (launched,) = (b for b in live.context.instance.get_backfills() if f"launched {b.backfill_id}" in ended.output)
    assert launched.title == f"raw/panoramax: {CELLS[0]}"
    assert "no daemon is running there" in ended.output
    with pytest.raises(PermanentError, match="still in progress"):
        live.of(door).retry(launched.backfill_id)


@DOORS
def test_what_the_instance_does_not_know_is_said_in_its_words(live: Live, door: str) -> None:
    with pytest.raises(PermanentError, match=r"nonesuch"):
        live.of(door).follow("nonesuch")
    with pytest.raises(PermanentError, match=r"nonesuch|refuses"):
        live.of(door).retry("nonesuch")


def test_a_webserver_refuses_a_source_that_its_instance_does_not_have(live: Live) -> None:
    with pytest.raises(PermanentError, match="refuses"):
        live.following.start(settings(live), "flickr", CELLS[0])


def test_without_a_webserver_the_message_says_how_to_start_one() -> None:
    nowhere = Following(backfills=Webserver(f"http://{HOST}:{free_port()}"), ui_url="")
    with pytest.raises(TransientError, match="make ui"):
        nowhere.follow("abcdefgh")


class Silence(Transport):
    """A webserver that must not be asked."""

    def execute(self, request: GraphQLRequest, *_: Any, **__: Any) -> ExecutionResult:
        raise AssertionError(print_ast(request.document))


@pytest.mark.parametrize(
    ("source", "place", "said"),
    [
        ("nope", PLACE, "no source 'nope'; there are mapillary"),
        ("panoramax", "nh-velserbrook", "did you mean nh-velserbroek"),
        ("flickr", PLACE, "flickr is switched off: set GEOPIN_FLICKR_API_KEY"),
    ],
)
def test_what_cannot_be_crawled_is_refused_before_the_webserver_is_asked(source: str, place: str, said: str) -> None:
    following = Following(backfills=Webserver("http://x", transport=Silence()), ui_url="")
    with pytest.raises(ConfigurationError, match=said):
        following.start(Settings.from_env({"GEOPIN_PROFILE": "live"}), source, place)


class Disaster(Transport):
    """A webserver whose backfill of 300 cells failed in one run that named 100 of them, and one that was killed."""

    def execute(self, request: GraphQLRequest, *_: Any, **__: Any) -> ExecutionResult:
        question, variables = print_ast(request.document), request.variable_values or {}
        if "partitionBackfillOrError" in question:
            counts = {
                f"numPartitions{what}": n for what, n in (("Targeted", 300), ("Materialized", 90), ("Failed", 200))
            }
            data = {"assetBackfillStatuses": [counts]}
            status = {"status": "COMPLETED_FAILED", "title": "raw/x", "error": None, "assetBackfillData": data}
            return ExecutionResult({"answer": status})
        if "runsOrError" in question:
            return ExecutionResult({"answer": {"results": [{"runId": "killed-0"}, {"runId": "failed-0"}]}})
        return ExecutionResult({"answer": self.page(variables["run"], variables["after"])})

    def page(self, run_id: str, after: str | None) -> dict[str, Any]:
        if run_id == "killed-0":
            ending = {"error": None, "message": "terminated by signal 9\nmore"}
            return {"cursor": "1", "hasMore": False, "events": [{}, ending]}
        if after is None:
            return {"cursor": "1", "hasMore": True, "events": [{}]}
        cells = ", ".join(f'"c{number}": "503"' for number in range(100))
        entries = [{"label": "failed_cells"}, {"label": "failed", "jsonString": "{" + cells + "}"}]
        failure = {"error": {"message": "Failure"}, "failureMetadata": {"metadataEntries": entries}}
        return {"cursor": "2", "hasMore": False, "events": [failure, {"error": None, "message": "Steps failed"}]}


def test_many_failed_cells_are_counted_and_some_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert Following(backfills=Webserver("http://x", transport=Disaster()), ui_url="").follow("abc") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "raw/x: 90 cells done, 200 failed, 10 not done"
    assert said[1] == "  failed run killed-0: terminated by signal 9"
    assert said[2] == "  failed c0: 503"
    assert said[-2:] == [
        "  … 20 of 200 shown, all of them in the UI",
        "to do only these again: geopin backfill --retry abc",
    ]


class Restart(Disaster):
    """The same, while the webserver is started anew after the first look."""

    def __init__(self, looks: int) -> None:
        self.absent, self.asked = range(1, looks + 1), 0

    def execute(self, request: GraphQLRequest, *_: Any, **__: Any) -> ExecutionResult:
        self.asked += 1
        if self.asked - 1 in self.absent:
            raise TransportConnectionFailed("nobody listens")
        answer = super().execute(request)
        if self.asked == 1 and answer.data:
            answer.data["answer"]["status"] = "REQUESTED"
        return answer


def test_a_webserver_that_is_started_anew_does_not_end_the_following(capsys: pytest.CaptureFixture[str]) -> None:
    waits: list[float] = []
    back = Following(backfills=Webserver("http://x", transport=Restart(looks=10)), ui_url="", sleep=waits.append)
    assert back.follow("abc") == 1
    assert "200 failed" in capsys.readouterr().out
    assert sum(waits) == 5.0 * 11
    gone = Following(backfills=Webserver("http://x", transport=Restart(looks=1000)), ui_url="", sleep=waits.append)
    with pytest.raises(TransientError, match="no Dagster webserver answers"):
        gone.follow("abc")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backfill"], "one of: a source"),
        (["backfill", "panoramax", "--retry", "abc"], "one of: a source"),
        (["backfill", "panoramax"], "which cells"),
    ],
)
def test_words_that_mean_nothing_are_explained(words: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 2
    assert said in ended.output


def test_a_title_is_one_that_dagster_takes_after_re_executions_too() -> None:
    assert backfill_title("panoramax", "nh-amsterdam") == "raw/panoramax: nh-amsterdam"
    long = backfill_title("wikimedia_commons", '"%*' + "bbox:4.88,52.36,4.91,52.38+" * 9)
    assert len("Re-execution of Re-execution of " + long) <= 100
    assert not set(long) & set('"%*')
