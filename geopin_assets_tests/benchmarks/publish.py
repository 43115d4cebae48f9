"""Publishing to Cloudflare against a bare httpx client: `python -m geopin_assets_tests.benchmarks.publish`.

25,000 vectors of 512 numbers, as many captures and as many views: published for the first time, again without a
change, and with 1 % changed. The baseline sends the same requests, recorded byte by byte, in the same order from a
plain `httpx.Client` to the same server. CPU seconds are those of the client alone.

A server on loopback that answers at once is the hardest comparison: nothing is waited for, so whatever a publish
computes (what differs, JSON, the ledger) stands against bytes that somebody else has prepared. The first load is
compared "in earnest" as well: over a line of 500 Mbit/s, and at the rate that an account is granted when its burst is
used up, a request every third of a second; both for either side. Target: 0.9 times the vectors and rows per second.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import polars as pl

from geopin_assets.index.batching import frames_of
from geopin_assets.index.cloudflare.d1 import import_files
from geopin_assets.index.cloudflare.vectorize import ndjson
from geopin_assets.index.limits import VECTORS_PER_UPSERT
from geopin_assets.index.protocol import vector_schema
from geopin_assets.index.publish import PublishReport, build_plan, publish_each
from geopin_assets.index.tables import ENCODED, TABLES, Table, row_chunks
from geopin_assets.index.targets import RowTarget, Target, VectorTarget
from geopin_assets_tests.benchmarks.tools.cloudflare_host import AT_ONCE, UNLIMITED, cloudflare_host
from geopin_assets_tests.benchmarks.tools.figures import Figure
from geopin_assets_tests.benchmarks.tools.measure import Cost, cost_of, machine, print_table, typical, typical_ratio
from geopin_assets_tests.benchmarks.tools.publishing import CELLS, DIM, Desired, Workplace, spent_rate
from geopin_assets_tests.benchmarks.tools.replay import Asked, Recorder, send_again
from geopin_assets_tests.cloudflare import CloudflareEmulator
from geopin_assets_tests.cloudflare.transport import CloudflareTransport

COUNT, CHANGED_ONE_OF = 25_000, 100
ROUNDS, ROUNDS_IN_EARNEST = 3, 2
LINE_BYTES_PER_S = 500e6 / 8
TARGET = 0.9
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

COLUMNS = (
    "",
    "written",
    "per s",
    "bare per s",
    "ratio",
    "CPU s",
    "bare CPU s",
    "requests",
    "per million",
    "rows written",
)
SHARES = (
    "CPU ms per 5,000",
    "all",
    "what differs",
    "encode vectors, fill requests",
    "send (bare)",
    "ledger, checks, reading back",
)

Part = tuple[Target, pl.DataFrame, Callable[[pl.DataFrame], object]]
"""A store, what it should hold, and how that is encoded."""


@dataclass
class Step:
    """Something to publish, and what was seen of it."""

    name: str
    parts: Callable[[Workplace], list[Part]]
    reports: list[PublishReport] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    plans: list[Cost] = field(default_factory=list)
    encodings: list[Cost] = field(default_factory=list)
    ours: list[Cost] = field(default_factory=list)
    bare: list[Cost] = field(default_factory=list)

    def publish(self, place: Workplace) -> None:
        parts = ((target, desired) for target, desired, _ in self.parts(place))
        self.reports = publish_each(parts, CELLS, place.ledger, now=NOW)

    def explain(self, place: Workplace) -> None:
        """What planning and encoding cost by themselves; nothing is sent. Planning rows encodes them already."""
        started = Cost.now()
        plans = [
            build_plan(frames_of(desired), CELLS, target, place.ledger) for target, desired, _ in self.parts(place)
        ]
        planned = Cost.now()
        for plan, (target, desired, encode) in zip(plans, self.parts(place), strict=True):
            rows = plan.upsert.rename({"id": target.id_column, "content_hash": "row_hash"})
            encode(rows if ENCODED in rows.columns else desired.join(rows, on=target.id_column, how="semi"))
        self.plans.append(planned - started)
        self.encodings.append(Cost.now() - planned)

    @property
    def written(self) -> int:
        return sum(report.upserted for report in self.reports)

    @property
    def desired(self) -> int:
        return self.written + sum(report.unchanged for report in self.reports)

    @property
    def requests(self) -> int:
        return sum(report.requests for report in self.reports)

    @property
    def ratio(self) -> float:
        """How fast it is beside the baseline, by the clock."""
        return typical_ratio(self.bare, self.ours).wall_s


def build_steps(count: int) -> list[Step]:
    """In the order they are published in."""
    first = Desired.first(count)
    changed = first.changed(CHANGED_ONE_OF)
    return [
        Step("first load, vectors", partial(vectors, first)),
        Step("first load, rows", partial(rows, first)),
        Step("first load, rows by file", partial(rows_by_file, first)),
        Step("unchanged, vectors", partial(vectors, first)),
        Step("unchanged, rows", partial(rows, first)),
        Step("1 % changed, vectors", partial(vectors, changed)),
        Step("1 % changed, rows", partial(rows, changed)),
    ]


def vectors(desired: Desired, place: Workplace) -> list[Part]:
    return [(VectorTarget(place.index), desired.vectors, encode_vectors)]


def rows(desired: Desired, place: Workplace) -> list[Part]:
    return [
        (RowTarget(place.store, table), wanted, partial(encode_rows, table)) for table, wanted in tables_of(desired)
    ]


def rows_by_file(desired: Desired, place: Workplace) -> list[Part]:
    store = place.store_by_file
    return [(RowTarget(store, table), wanted, partial(encode_files, table)) for table, wanted in tables_of(desired)]


def tables_of(desired: Desired) -> list[tuple[Table, pl.DataFrame]]:
    return [(TABLES["captures"], desired.captures), (TABLES["vectors"], desired.views)]


def encode_vectors(frame: pl.DataFrame) -> None:
    for chunk in frame.select(list(vector_schema(DIM))).iter_slices(VECTORS_PER_UPSERT):
        ndjson(chunk)


def encode_rows(table: Table, frame: pl.DataFrame) -> None:
    for _ in row_chunks(table, frame):
        pass


def encode_files(table: Table, frame: pl.DataFrame) -> None:
    for statements in import_files(table, [frame]):
        b"\n".join(statements)


def prepare_account(folder: Path) -> Path:
    """The state of an account with an index and databases that are empty."""
    state = folder / "accounts" / "empty"
    with CloudflareEmulator(state, lag=AT_ONCE, limits=UNLIMITED) as emulator:
        place = Workplace(emulator.origin, folder / "preparing", transport=CloudflareTransport(emulator))
        place.prepare().api.close()
    return state


def record(steps: Sequence[Step], host: str, folder: Path) -> None:
    """Publish everything once, unmeasured, to know the requests."""
    recorder = Recorder()
    with (place := Workplace(f"{host}recorded", folder / "recorded", transport=recorder).prepare()).api:
        for step in steps:
            recorder.asked.clear()
            step.publish(place)
            step.asked = recorder.asked.copy()
            if (sent := sum(asked.is_limited for asked in step.asked)) != step.requests:
                sys.exit(f"{step.name}: {sent} requests were sent, {step.requests} are reported")


def compare(steps: Sequence[Step], host: str, folder: Path, *, in_earnest: bool = False) -> None:
    """Publish and send the same, step by step, each to an account of its own; in earnest both keep the rate."""
    place = Workplace(f"{host}ours-{folder.name}", folder, keeps_rate=in_earnest).prepare()
    with place.api, httpx.Client(timeout=60) as client:
        for step in steps:
            if in_earnest:
                spent_rate(folder)
            else:
                step.explain(place)
            step.ours.append(cost_of(partial(step.publish, place)))
            turn = spent_rate(folder / "bare").acquire if in_earnest else lambda: None
            bare = partial(send_again, client, step.asked, f"{host}bare-{folder.name}", turn)
            step.bare.append(cost_of(bare))


def figures(step: Step) -> Sequence[object]:
    """The line of a step in the first table; of what is unchanged, as many are compared in a second."""
    ours, bare = typical(step.ours), typical(step.bare)
    return (
        *(step.name, step.written, f"{(step.written or step.desired) / ours.wall_s:,.0f}"),
        *((f"{step.written / bare.wall_s:,.0f}", f"{step.ratio:.2f}") if step.asked else ("", "")),
        *(f"{ours.cpu_s:.2f}", f"{bare.cpu_s:.2f}", step.requests, f"{step.requests / step.desired * 1e6:.0f}"),
        sum(report.rows_written for report in step.reports),
    )


def shares(step: Step) -> Sequence[object]:
    """The line of a step in the second table, for 5,000 of what is desired."""
    ours, *known = (typical(costs).cpu_s for costs in (step.ours, step.plans, step.encodings, step.bare))
    seconds = (ours, *known, max(ours - sum(known), 0.0))
    return (step.name, *(f"{share / step.desired * 5_000 * 1_000:.1f}" for share in seconds))


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Print rates, requests and rows of each step beside the baseline, and what the CPU does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rounds-in-earnest", type=int, default=ROUNDS_IN_EARNEST)
    options = parser.parse_args(arguments)
    logging.getLogger("geopin_assets").setLevel(logging.ERROR)  # imports warn that a database is offline
    print(
        f"{options.count:,} vectors of {DIM}, as many captures and views, {len(CELLS)} cells, {machine()}", flush=True
    )
    steps = build_steps(options.count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = prepare_account(folder)
        with cloudflare_host(state) as host:
            record(steps, host, folder)
            for number in range(options.rounds):
                compare(steps, host, folder / f"{number}")
        in_earnest = [replace(step, name=f"{step.name}, in earnest", ours=[], bare=[]) for step in steps[:3]]
        with cloudflare_host(state, bytes_per_s=LINE_BYTES_PER_S) as host:
            for number in range(options.rounds_in_earnest):
                compare(in_earnest, host, folder / f"in-earnest-{number}", in_earnest=True)
    print_table(COLUMNS, [figures(step) for step in (*steps, *in_earnest)])
    print_table(SHARES, [shares(step) for step in steps])
    print(f"ratio in earnest: {', '.join(f'{step.ratio:.2f}' for step in in_earnest)}; target {TARGET}")
    first, changed = (sum(steps[n].requests for n in numbers) for numbers in ((0, 1), (5, 6)))
    return [
        Figure(f"requests when 1 % of {options.count:,} changed", changed / first, beside="a first load", at_most=0.03),
        *(Figure(step.name, step.ratio, beside="a bare client", at_least=TARGET) for step in in_earnest),
        *(Figure(f"{step.name}, per million", step.requests / step.desired * 1e6, "requests") for step in steps),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
