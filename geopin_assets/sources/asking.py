"""For which cell a thread is asking, so that requests made on behalf of all cells count for the one that needed them.

Here: only that. `splitting.Capacity` calls its probe without saying for whom.
"""

from threading import local

from geopin_assets.sources.base import CrawlReport


class Asking(local):
    """Each thread's own report; set it before asking."""

    def __init__(self) -> None:
        self.report = CrawlReport()
