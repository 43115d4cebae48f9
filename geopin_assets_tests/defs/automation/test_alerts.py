"""Failed runs are told through a webhook, once in a while, and its address is told to nobody."""

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit

import dagster as dg
import pytest

from geopin_assets.defs.assemble import build_definitions
from geopin_assets.defs.automation.alerts import TOLD_TAG, Alert, Alerts, Notifier, alert_on_failure, slack_message
from geopin_assets.errors import GeoPinError
from geopin_assets_tests.defs.running.test_materialize import CELLS, RANGE_END, RANGE_START, raw_town, town_job

PATH = "/services/T0001/B0002/very-secret-words"
UI = "http://dagster.example:3000"


class Channel:
    """A webhook on a real socket: what arrived, and what it answers."""

    def __init__(self) -> None:
        self.status, self.posts = 200, list[dict[str, Any]]()
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == PATH
                channel.posts.append(json.loads(body))
                said = f"you posted to {self.path}: no".encode()
                self.send_response(channel.status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{PATH}"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """In memory: what is recorded is all that matters here."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def channel() -> Iterator[Channel]:
    channel = Channel()
    thread = Thread(target=channel.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield channel
    channel.server.shutdown()
    channel.server.server_close()
    thread.join()


def alerts(channel: Channel, **fields: Any) -> Alerts:
    return Alerts(overrides={"GEOPIN_ALERT_WEBHOOK": channel.url, "GEOPIN_UI_URL": UI}, **fields)


def tell(instance: dg.DagsterInstance, run_id: str, resource: Alerts) -> Any:
    """What the sensor does about a failed run."""
    (record,) = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    failed, event = instance.get_run_by_id(run_id), record.event_log_entry.dagster_event
    assert failed is not None and event is not None
    context = dg.build_run_status_sensor_context("alert_on_failure", event, instance, failed).for_run_failure()
    return alert_on_failure(context, alerts=resource)


def fail(instance: dg.DagsterInstance, *broken: str, of: list[str] = CELLS) -> str:
    """A run over cells of which these are broken; its id."""
    ended = town_job().execute_in_process(
        instance=instance,
        asset_selection=[raw_town.key],
        partition_key=of[0] if len(of) == 1 else None,
        tags={RANGE_START: of[0], RANGE_END: of[-1]} if len(of) > 1 else None,
        run_config={"resources": {"town": {"config": {"broken": list(broken)}}}},
        raise_on_error=False,
    )
    assert not ended.success
    return ended.run_id


def test_a_failed_run_is_told_with_its_asset_cells_first_error_and_link(
    instance: dg.DagsterInstance, channel: Channel
) -> None:
    run_id = fail(instance, "c3", "c10")
    assert tell(instance, run_id, alerts(channel)) is None
    (post,) = channel.posts
    assert post["text"].startswith("raw/town failed\ncells c0 to c11\n2 of 12 cells failed")
    assert "First: c3: 503 in c3" in post["text"]
    (section,) = post["blocks"]
    assert section["text"]["text"].startswith("*raw/town failed*")
    assert f"<{UI}/runs/{run_id}|" in section["text"]["text"]
    told = instance.get_run_by_id(run_id)
    assert told is not None and TOLD_TAG in told.tags


def test_a_burst_of_failures_is_one_message_that_counts_those_before_it(
    instance: dg.DagsterInstance, channel: Channel
) -> None:
    runs = [fail(instance, "c3") for _ in range(4)]
    assert tell(instance, runs[2], alerts(channel)) is None
    assert "earlier failures of it within 60 minutes: 2" in channel.posts[0]["text"]
    assert "told less than 60 minutes ago" in tell(instance, runs[3], alerts(channel)).skip_message
    assert len(channel.posts) == 1
    assert tell(instance, runs[3], alerts(channel, every_minutes=0)) is None
    assert len(channel.posts) == 2


def test_a_run_that_dagster_repeats_by_itself_is_not_told(instance: dg.DagsterInstance, channel: Channel) -> None:
    run_id = fail(instance, "c3")
    instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    assert "not told yet" in tell(instance, run_id, alerts(channel)).skip_message
    assert channel.posts == []


def test_a_run_of_one_cell_names_it(instance: dg.DagsterInstance, channel: Channel) -> None:
    tell(instance, fail(instance, "c4", of=["c4"]), alerts(channel))
    assert "cell c4\n1 of 1 cells failed" in channel.posts[0]["text"]


@dg.asset
def stumbling() -> None:
    """Raises what no step is meant to raise."""
    raise ValueError("refused with token=hunter2hunter2\nand more lines")


def test_an_error_that_nobody_expected_is_told_in_one_line_without_tokens(
    instance: dg.DagsterInstance, channel: Channel
) -> None:
    ended = dg.materialize([stumbling], instance=instance, raise_on_error=False)
    tell(instance, ended.run_id, alerts(channel))
    assert channel.posts[0]["text"].endswith(" failed\nValueError: refused with token=***")


def test_without_a_webhook_nobody_is_told_and_the_sensor_says_so(instance: dg.DagsterInstance) -> None:
    said = tell(instance, fail(instance, "c3"), Alerts(overrides={"GEOPIN_ALERT_WEBHOOK": ""}))
    assert "GEOPIN_ALERT_WEBHOOK is not set" in said.skip_message


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_webhook_that_refuses_is_an_error_without_its_address(
    instance: dg.DagsterInstance, channel: Channel, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    channel.status = status
    run_id = fail(instance, "c3")
    with caplog.at_level(logging.DEBUG), pytest.raises(GeoPinError) as refused:
        tell(instance, run_id, alerts(channel))
    assert len(channel.posts) == (2 if status == 500 else 1)
    everything = f"{refused.getrepr(style='long', showlocals=False)} {refused.value!r} {caplog.text}"
    assert str(status) in str(refused.value)
    for secret in (PATH, "very-secret-words", urlsplit(channel.url).path):
        assert secret not in everything
    untold = instance.get_run_by_id(run_id)
    assert untold is not None and TOLD_TAG not in untold.tags


def test_the_address_is_in_no_log_when_all_goes_well(
    instance: dg.DagsterInstance, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = fail(instance, "c3")
    with caplog.at_level(logging.DEBUG):
        tell(instance, run_id, alerts(channel))
    assert "POST http://127.0.0.1" in caplog.text  # what is looked at here does log addresses
    assert "very-secret-words" not in caplog.text


def test_text_cannot_be_markup() -> None:
    message = slack_message(Alert("a & b", ("<!channel> x > 1",), "http://x/?a=1&b=2"))
    assert message["text"] == "a &amp; b\n&lt;!channel&gt; x &gt; 1"


def test_a_long_error_is_cut_to_what_slack_takes() -> None:
    message: Any = slack_message(Alert("t", ("x" * 9000,), "http://x"))
    assert len(message["blocks"][0]["text"]["text"]) <= 3000


class Pager(Alerts):
    """Another way to tell people."""

    paged: ClassVar[list[Alert]] = []

    def notifier(self) -> Notifier:
        return self

    def send(self, alert: Alert) -> None:
        self.paged.append(alert)


def test_another_notifier_takes_the_place_of_the_webhook(instance: dg.DagsterInstance) -> None:
    definitions = build_definitions(alerts=Pager())
    assert isinstance((definitions.resources or {})["alerts"], Pager)
    tell(instance, fail(instance, "c3"), Pager())
    assert [alert.title for alert in Pager.paged] == ["raw/town failed"]
