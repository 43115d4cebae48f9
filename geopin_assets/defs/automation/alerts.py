"""Telling people that a run failed, through a webhook that takes Slack's JSON (Mattermost, Rocket.Chat, Discord too).

Here: which failures are told, how often, in which words, and sending them. Whoever knows the address can post there,
so it is a secret: it is in no message, error or log. Another notifier is a subclass of `Alerts`, passed to
`build_definitions(alerts=…)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import dagster as dg

from geopin_assets.defs.dagster_internals import RANGE_END, RANGE_START
from geopin_assets.defs.resources import FromSettings
from geopin_assets.defs.running.backfills import run_link
from geopin_assets.http_client import HttpClient, hide_path
from geopin_assets.http_client.redaction import Redactor

if TYPE_CHECKING:
    from geopin_assets.http_client.transport import Transport

_DEADLINE_S = 10.0
_ATTEMPTS = 2  # a chat that is down is no reason to hold up the next alert
_LONGEST = 2900  # Slack takes 3,000 characters in a section
_SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that people should look at: plain text, and where."""

    title: str
    lines: tuple[str, ...]
    url: str


class Notifier(Protocol):
    """Anything that can tell people."""

    def send(self, alert: Alert) -> None:
        """Raises GeoPinError when nobody could be told."""
        ...


class SlackWebhook:
    """Posts alerts to a webhook. `transport` replaces the network in tests."""

    def __init__(self, url: str, *, contact: str = "", transport: "Transport | None" = None) -> None:
        self._url, self._contact, self._transport = url, contact, transport
        path = urlsplit(url).path
        hide_path(path)
        self._secrets = [url, *(part for part in (path, *path.split("/")) if len(part) >= _SHORTEST_SECRET)]

    def send(self, alert: Alert) -> None:
        """Raises TransientError or PermanentError, without the address, when it was not taken."""
        with HttpClient(
            "alerts",
            contact=self._contact,
            attempts=_ATTEMPTS,
            deadline_s=_DEADLINE_S,
            max_wait_s=_DEADLINE_S,
            transport=self._transport,
            secrets=self._secrets,
        ) as client:
            client.send("POST", self._url, json=slack_message(alert), label="webhook", ok=(200, 201, 202, 204))


def slack_message(alert: Alert) -> dict[str, object]:
    """Text for notifications, and a section for the channel."""
    title, lines = _escaped(alert.title), "\n".join(map(_escaped, alert.lines))
    section = f"*{title}*\n{lines}"[:_LONGEST] + f"\n<{_escaped(alert.url)}|look at it>"
    return {
        "text": f"{title}\n{lines}"[:_LONGEST],
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": section}}],
    }


def _escaped(text: str) -> str:
    """The three characters that Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


TOLD_TAG = "geopin/alerted"
_WILL_RETRY_TAG = "dagster/will_retry"
_LONGEST_ERROR = 500


class Alerts(FromSettings):
    """Who is told of failed runs, and how often at most."""

    every_minutes: int = 60
    """After a message about an asset (or job), its further failures wait so long; the next message counts them."""

    def notifier(self) -> Notifier | None:
        """None: nobody."""
        settings = self.settings()
        url = settings.alert_webhook.get_secret_value()
        return SlackWebhook(url, contact=settings.contact) if url else None

    def redact(self, text: str) -> str:
        """Errors of libraries may hold what the project's own never do, and a chat is not ours."""
        return Redactor(self.settings().secrets)(text)


@dg.run_failure_sensor(
    name="alert_on_failure",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of failed runs through the webhook in GEOPIN_ALERT_WEBHOOK, at most hourly per asset. "
    "Without one it tells nobody.",
)
def alert_on_failure(context: dg.RunFailureSensorContext, alerts: Alerts) -> dg.SkipReason | None:
    """A run that Dagster repeats by itself is not told before it is given up."""
    notifier, run = alerts.notifier(), context.dagster_run
    if notifier is None:
        return dg.SkipReason("GEOPIN_ALERT_WEBHOOK is not set: nobody is told")
    if run.tags.get(_WILL_RETRY_TAG) == "true":
        return dg.SkipReason("Dagster repeats this run: not told yet")
    ended, since = _ended(context), timedelta(minutes=alerts.every_minutes)
    others = _failures_between(context, ended - since, ended)
    if any(TOLD_TAG in other.tags for other in others):
        return dg.SkipReason(f"{_subject(run)}: told less than {alerts.every_minutes} minutes ago")
    notifier.send(_alert(context, alerts, len(others)))
    context.instance.add_run_tags(run.run_id, {TOLD_TAG: "yes"})
    return None


def _ended(context: dg.RunFailureSensorContext) -> datetime:
    record = context.instance.get_run_record_by_id(context.dagster_run.run_id)
    return datetime.fromtimestamp(record.end_time or 0.0 if record else 0.0, UTC)


def _failures_between(context: dg.RunFailureSensorContext, begin: datetime, end: datetime) -> list[dg.DagsterRun]:
    """Other failed runs of the same asset (or job) that ended in this time."""
    run = context.dagster_run
    records = context.instance.get_run_records(
        dg.RunsFilter(job_name=run.job_name, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=begin)
    )
    return [
        record.dagster_run
        for record in records
        if record.dagster_run.run_id != run.run_id
        and record.dagster_run.asset_selection == run.asset_selection
        and begin.timestamp() < (record.end_time or 0.0) <= end.timestamp()
    ]


def _subject(run: dg.DagsterRun) -> str:
    return ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name


def _alert(context: dg.RunFailureSensorContext, alerts: Alerts, others: int) -> Alert:
    run = context.dagster_run
    lines = [_cells(run.tags), alerts.redact(_what_happened(context))[:_LONGEST_ERROR]]
    if others:
        lines.append(f"earlier failures of it within {alerts.every_minutes} minutes: {others}")
    link = run_link(alerts.settings().ui_url, run.run_id)
    return Alert(f"{_subject(run)} failed", tuple(filter(None, lines)), link)


def _cells(tags: Mapping[str, str]) -> str:
    if RANGE_START in tags:
        return f"cells {tags[RANGE_START]} to {tags[RANGE_END]}"
    return f"cell {tags['dagster/partition']}" if "dagster/partition" in tags else ""


def _what_happened(context: dg.RunFailureSensorContext) -> str:
    """How many cells failed and the first of them, or what the step raised, or how the run ended."""
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return data.user_failure_data.description
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return error.message.strip().partition("\n")[0]
    return context.failure_event.message or "ended early"
