"""What starts assets without anybody asking. Not here: how a refresh picks its cells (`freshness.py`)."""

from datetime import timedelta
from typing import Any

import dagster as dg

REPORT: dict[str, Any] = {
    "automation_condition": dg.AutomationCondition.on_cron("0 6 * * *"),
    "freshness_policy": dg.FreshnessPolicy.time_window(fail_window=timedelta(days=3), warn_window=timedelta(days=2)),
}
"""Options of an unpartitioned report: made once a day, whether or not anything changed."""
