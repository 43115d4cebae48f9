"""How a run says how far it is: lines in its log, or whatever a terminal puts in their place."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import dagster as dg


class Advance(Protocol):
    """So many more units are done; the text is the state in a few words."""

    def __call__(self, text: str, units: int = 1) -> None: ...


def time_left(elapsed_s: float, done: int, total: int) -> str:
    """At the pace so far; nothing is known before the first unit is done."""
    if not done:
        return "time left unknown"
    left_s = elapsed_s / done * (total - done)
    if left_s < 120:
        return f"about {left_s:.0f} s left"
    return f"about {left_s / 60:.0f} min left" if left_s < 7200 else f"about {left_s / 3600:.1f} h left"


class Progress(dg.ConfigurableResource):
    """Writes a line at most every `every_s` seconds, and at the end, with the time still to go."""

    every_s: float = 10.0

    @contextmanager
    def task(self, context: dg.AssetExecutionContext, total: int, unit: str = "cells") -> Iterator[Advance]:
        """Follow `total` units of work on the asset of this step."""
        label = context.asset_key.to_user_string()
        start_s = said_s = time.monotonic()
        done = 0

        def advance(text: str, units: int = 1) -> None:
            nonlocal done, said_s
            done += units
            now_s = time.monotonic()
            if now_s - said_s >= self.every_s or done == total:
                said_s = now_s
                left = time_left(now_s - start_s, done, total)
                context.log.info(f"{label}: {done}/{total} {unit}, {text}, {left}")

        yield advance
