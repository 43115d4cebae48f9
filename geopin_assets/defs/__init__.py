"""Dagster's view of the platform, kept thin: assets, checks, resources and how runs keep what they finished.

Nothing here crawls, merges, embeds or publishes: each asset calls the package that does. No module here
knows a source by name, holds SQL, a URL or a JSON key.
"""

import warnings

import dagster as dg

# These are beta in Dagster 1.13; the version is pinned, so the reminder on every start helps nobody.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=".*use_user_code_server.*", category=dg.BetaWarning)
