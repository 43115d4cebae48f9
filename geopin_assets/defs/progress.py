"""How a run says how far it is: lines in its log, or whatever a terminal puts in their place."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

Advance = Callable[[str], None]
"""One more unit is done; the text is the state in a few words."""


class Progress(dg.ConfigurableResource):
    """Writes a line at most every `every_s` seconds, and at the end, with the time still to go."""

    every_s: float = 10.0

    @contextmanager
    def task(self, context: dg.AssetExecutionContext, total: int, unit: str = "cells") -> Iterator[Advance]:
        """Follow `total` units of work on the asset of this step."""
        label = context.asset_key.to_user_string()
        start_s = said_s = time.monotonic()
        done = 0

        def advance(text: str) -> None:
            nonlocal done, said_s
            done += 1
            now_s = time.monotonic()
            if now_s - said_s >= self.every_s or done == total:
                said_s = now_s
                left_s = (now_s - start_s) / done * (total - done)
                context.log.info(f"{label}: {done}/{total} {unit}, {text}, about {left_s:.0f} s left")

        yield advance
