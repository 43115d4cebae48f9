"""`geopin backfill`: fill cells of a source through the instance, follow it, and do again what failed.

Here: the plan beforehand, progress, and the account at the end. Not here: what the instance beside the command is asked
(`defs/running/backfills.py`), or one elsewhere (`webserver.py`), or the crawl: the instance's daemon starts the runs,
within its pools and limits, whether or not anybody follows.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import typer
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from geopin_assets.cli.console import console, dagster_home, progress_bar
from geopin_assets.cli.plans import crawl_plan, show_crawl_plan
from geopin_assets.cli.webserver import Webserver
from geopin_assets.defs.running.backfills import (
    BackfillState,
    InstanceBackfills,
    backfill_link,
    backfill_tags,
    backfill_title,
)
from geopin_assets.defs.running.home import open_instance
from geopin_assets.errors import ConfigurationError, TransientError
from geopin_assets.regions import in_order
from geopin_assets.regions import region as cells_of
from geopin_assets.settings import Settings
from geopin_assets.sources import source_named

STOPPED_FOLLOWING = 130
_POLL_S = 5.0
_PATIENCE = 24  # looks in two minutes: a webserver that is started anew does not end the following
_FAILURES_SHOWN = 20
_DONE_WELL = ("COMPLETED_SUCCESS", "COMPLETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """An instance and how its backfills are followed. `sleep` waits between looks."""

    backfills: InstanceBackfills | Webserver
    ui_url: str
    is_detached: bool = False
    is_asked: bool = False
    """Whether a person has to agree to the plan first; nobody is asked where there is no terminal."""
    url_option: str = ""
    """What a person has to repeat to reach the same webserver, e.g. ` --url http://…`."""
    sleep: Callable[[float], None] = time.sleep

    def start(self, settings: Settings, name: str, region: str, *, only_missing: bool = False) -> int:
        """Plan, launch and follow a backfill of one source. Returns the exit code: 1 when cells failed."""
        source, cell_ids = source_named(name), cells_of(region)
        if reason := source.disabled_reason(settings):
            raise ConfigurationError(f"{name} is switched off: {reason}")
        key = f"raw/{name}"
        if only_missing:
            cell_ids = in_order(set(cell_ids) - self.backfills.materialized(key))
        if not cell_ids:
            console.print(f"nothing to do: every cell of {region} is there")
            return 0
        show_crawl_plan(settings, crawl_plan(settings, [name], region, cell_ids))
        if self.is_asked and sys.stdin.isatty() and not typer.confirm("launch it?", default=True):
            return 0
        title = backfill_title(name, region)
        return self._followed(self.backfills.launch(key, cell_ids, title=title, tags=backfill_tags(region)))

    def retry(self, backfill_id: str) -> int:
        """Do again what a backfill did not finish, and follow that."""
        return self._followed(self.backfills.retry(backfill_id))

    def follow(self, backfill_id: str) -> int:
        """Show how far a backfill is until it ends, then what came of it. Ctrl-C stops the showing only."""
        try:
            state = self._watch(backfill_id)
        except KeyboardInterrupt:
            console.print(
                f"\nstopped following; the backfill goes on: {backfill_link(self.ui_url, backfill_id)}\n"
                f"to follow it again: geopin backfill --follow {backfill_id}{self.url_option}"
            )
            return STOPPED_FOLLOWING
        return self._account(backfill_id, state)

    def _followed(self, backfill_id: str) -> int:
        console.print(f"launched {backfill_id}: {backfill_link(self.ui_url, backfill_id)}")
        if not self.backfills.has_daemon():
            console.print("no daemon is running there: nothing starts until one does (`make ui` starts both)")
        return 0 if self.is_detached else self.follow(backfill_id)

    def _watch(self, backfill_id: str) -> BackfillState:
        state = self.backfills.state(backfill_id)
        patiently = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(_PATIENCE),
            wait=wait_fixed(_POLL_S),
            sleep=self.sleep,
            reraise=True,
        )
        seen = 0
        with progress_bar(state.title, state.cells) as advance:
            while True:
                if state.done + state.failed > seen:
                    advance(f"{state.failed} failed, {state.left} left", state.done + state.failed - seen)
                    seen = state.done + state.failed
                if state.is_over:
                    return state
                self.sleep(_POLL_S)
                state = patiently(self.backfills.state, backfill_id)

    def _account(self, backfill_id: str, state: BackfillState) -> int:
        not_done = f", {state.left} not done" if state.left else ""
        console.print(f"{state.title}: {state.done} cells done, {state.failed} failed{not_done}")
        if state.status in _DONE_WELL and not (state.failed or state.left):
            return 0
        if state.error:
            console.print(f"  {state.status.lower()}: {state.error.strip().splitlines()[0]}")
        failures = list(islice(self.backfills.failures(backfill_id), _FAILURES_SHOWN))
        for where, error in failures:
            console.print(f"  failed {where}: {error}")
        if state.failed > len(failures):
            console.print(f"  … {len(failures)} of {state.failed} shown, all of them in the UI")
        if state.failed or state.left:
            console.print(f"to do only these again: geopin backfill --retry {backfill_id}{self.url_option}")
        return 1


@contextmanager
def beside(settings: Settings) -> Iterator[Following]:
    """The instance whose history is kept here."""
    dagster_home()
    with open_instance() as instance:
        yield Following(backfills=InstanceBackfills(instance), ui_url=settings.ui_url)


@contextmanager
def elsewhere(settings: Settings, url: str) -> Iterator[Following]:
    """The instance of a webserver."""
    webserver = Webserver(url, token=settings.ui_token.get_secret_value())
    yield Following(backfills=webserver, ui_url=webserver.url, url_option=f" --url {url}")
