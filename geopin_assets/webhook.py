"""Telling people through a webhook that takes Slack's JSON: Slack, Mattermost, Rocket.Chat, Discord's `/slack`.

Here: what an alert is, its JSON, and sending it. Not here: what is worth one (`defs/automation/alerts.py`). Whoever
knows the address can post there, so it is a secret: it is in no message, error or log.
"""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from geopin_assets.http_client import HttpClient, Transport, hide_path

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

    def __init__(self, url: str, *, contact: str = "", transport: Transport | None = None) -> None:
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
