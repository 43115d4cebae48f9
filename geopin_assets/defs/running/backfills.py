"""What backfills are called in the Dagster UI, and where runs and backfills are there.

Not here: where the UI is (`Settings.ui_url`).
"""

REGION_TAG = "geopin/region"


def backfill_title(source: str, region: str) -> str:
    """For example `raw/panoramax: nh-amsterdam`.

    Short, because each re-execution puts "Re-execution of" before it and Dagster takes 100 characters.
    """
    title = f"raw/{source}: {region[:40]}"
    return "".join(character for character in title if character not in '%*"')


def backfill_tags(region: str) -> dict[str, str]:
    """What the runs of a backfill can be searched by."""
    return {REGION_TAG: region}


def run_link(ui_url: str, run_id: str) -> str:
    """The page of a run."""
    return f"{ui_url}/runs/{run_id}"


def backfill_link(ui_url: str, backfill_id: str) -> str:
    """The page of a backfill: its cells by state, its runs, and the button that re-executes it."""
    return f"{ui_url}/runs/b/{backfill_id}"
