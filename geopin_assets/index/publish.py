"""Delta publish: make a store hold what these cells desire, by writing only what differs from the ledger.

Here: the plan and the order of its steps, and taking single ids out at once, whichever cells want them there (a
takedown waits for no publish). Rows come before vectors and go after them: a row that no cell wants any more is claimed
by LEAVING for as long as its vector can be found. Not here: either store (`targets.py`) or the record (`ledger.py`).
Per group of rows: mark in the ledger, upsert, await, read a sample back, commit; deletions come last. Killed anywhere
and run again, the end is the same, also when other content is desired by then: the ledger knows of every write before
it happens. Work and requests follow what changed in the given cells; without a change nothing is sent.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol

import polars as pl

from geopin_assets.errors import PermanentError, TransientError
from geopin_assets.index.batching import Frames, ahead, frames_of
from geopin_assets.index.cost import RunBudget
from geopin_assets.index.ledger import Ledger
from geopin_assets.index.limits import IDS_PER_GET
from geopin_assets.index.protocol import VectorIndex, Wait
from geopin_assets.index.targets import Target, VectorTarget

MASS_REMOVAL = 50_000
"""Vectors that one publish deletes at most: at 100 a request, half of what an account may send in five minutes."""
SAMPLED_TOGETHER = 200_000
"""Rows of which IDS_PER_GET are read back."""


LEAVING = ""
"""No cell, but the claim on what no cell wants any more and what must stay for now."""

Keep = Callable[[Target, pl.Series], pl.Series]
"""Those of the ids that must not be deleted yet."""


class Evidence(Protocol):
    """What may be deleted, and what must be; see `platform/evidence.py`."""

    def withheld(self) -> Collection[str]:
        """Ids that are in no store, whatever is desired."""
        ...

    def proven(self, target: Target, release: pl.DataFrame, desired: pl.DataFrame) -> pl.DataFrame:
        """Of claims (id, cell_id) on what is not desired (id, cell_id) any more, those that may be let go."""
        ...

    def permit(self, target_key: str, ids: pl.Series, published: Callable[[], int], earlier: Callable[[], int]) -> int:
        """How many of these nobody asked for.

        Raises EvidenceError if with these, and those that went `earlier`, more of a store goes than is without asking.
        """
        ...


class MassRemovalError(PermanentError):
    """So much is to be deleted that publishing what stays into a new version of the index is faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What one publish did; shown per partition."""

    upserted: int
    deleted: int
    unchanged: int
    requests: int
    """Calls to the store, those that only read or waited included."""
    rows_written: int
    """What D1 bills; 0 for vectors, whose writes are free."""
    mutation: str
    """Vectorize's id of the last write; empty when nothing was written."""
    lag_s: float
    """How long the slowest write took to become visible."""
    verified: int
    """Ids read back from the store and compared."""
    per_cell: dict[str, int] = field(default_factory=dict)
    """Vectors or rows now published, for each cell given."""


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """Difference between what cells desire of a target and what the ledger says. Frames hold id and cell_id."""

    target: Target
    cells: Sequence[str]
    rows: Frames
    """What they desire, as the target takes it."""
    desired: pl.DataFrame
    upsert: pl.DataFrame
    """With everything that `Target.identify` said of it."""
    claim: pl.DataFrame
    release: pl.DataFrame
    delete: pl.Series


def publish_vectors(
    desired: pl.DataFrame | Frames,
    cells: Sequence[str],
    index: VectorIndex,
    ledger: Ledger,
    *,
    now: datetime,
    wait: Wait | None = None,
    budget: RunBudget | None = None,
    max_deletions: int | None = MASS_REMOVAL,
    evidence: Evidence | None = None,
) -> PublishReport:
    """Make the index hold exactly `desired` for these cells: the columns of `vector_schema` and `cell_id`.

    Raises PermanentError for ids that occur twice, cells not given, or vectors beyond the service's limits;
    MassRemovalError before anything is sent when more than `max_deletions` would be deleted;
    TransientError when a write does not become visible in time or reads back differently.
    """
    target = VectorTarget(index, wait or Wait())
    return publish(
        desired, cells, target, ledger, now=now, budget=budget, max_deletions=max_deletions, evidence=evidence
    )


def publish(
    desired: pl.DataFrame | Frames,
    cells: Sequence[str],
    target: Target,
    ledger: Ledger,
    *,
    now: datetime,
    budget: RunBudget | None = None,
    max_deletions: int | None = None,
    evidence: Evidence | None = None,
) -> PublishReport:
    """Publish into any target; see `publish_vectors`. Without `evidence` what is not desired goes."""
    with ledger.turn(target.key):
        plan = build_plan(frames_of(desired), cells, target, ledger, evidence=evidence)
        return _carry_out(plan, ledger, now, budget, max_deletions, evidence)


def publish_each(
    parts: Iterable[tuple[Target, pl.DataFrame | Frames]],
    cells: Sequence[str],
    ledger: Ledger,
    *,
    beside: Collection[str] = (),
    now: datetime,
    budget: RunBudget | None = None,
    keep: Keep | None = None,
    evidence: Evidence | None = None,
) -> list[PublishReport]:
    """Publish into one target after the other; see `publish`. What `keep` says stays, claimed by LEAVING.

    Cells that are `beside` are not published, but rows of theirs are brought up to date where they are published.
    While one is sent, a thread finds what differs in the next: it only reads, and 0.1 s for 25,000 rows is time that a
    database spends importing. The budget is asked when it is a target's turn.
    """
    cells, all_parts = [*cells, LEAVING] if keep else cells, list(parts)
    plans = (build_plan(frames_of(rows), cells, target, ledger, keep, evidence, beside) for target, rows in all_parts)
    with ledger.turn(*(target.key for target, _ in all_parts)), ahead(plans) as planned:
        return [_carry_out(plan, ledger, now, budget, evidence=evidence) for plan in planned]


def _carry_out(
    plan: PublishPlan,
    ledger: Ledger,
    now: datetime,
    budget: RunBudget | None,
    max_deletions: int | None = None,
    evidence: Evidence | None = None,
) -> PublishReport:
    target, upserts, deletions = plan.target, plan.upsert.height, len(plan.delete)
    unasked = 0
    if evidence and deletions:
        earlier = partial(ledger.removals, target.key, now)
        unasked = evidence.permit(target.key, plan.delete, partial(ledger.count, target.key), earlier)
    if max_deletions is not None and deletions > max_deletions:
        raise MassRemovalError(f"{target.key}: {deletions} vectors to delete, more than {max_deletions} in one publish")
    budget = budget or RunBudget(sys.maxsize, sys.maxsize)
    budget.check(target.key, *target.cost(upserts, deletions))
    try:
        if upserts or deletions:
            target.prepare()
        verified = _upsert(plan, ledger, now) + _delete(plan, ledger)
        if unasked:
            ledger.note_removals(target.key, unasked, now)
        if upserts or deletions:
            target.finish()
    finally:
        budget.spend(target.usage.rows_written, target.usage.requests)
    counts = dict(plan.desired.group_by("cell_id").len().iter_rows())
    return PublishReport(
        upserted=upserts,
        deleted=deletions,
        unchanged=plan.desired.height - upserts,
        requests=target.usage.requests,
        rows_written=target.usage.rows_written,
        mutation=target.usage.mutation,
        lag_s=target.usage.lag_s,
        verified=verified,
        per_cell={cell: counts.get(cell, 0) for cell in plan.cells},
    )


def build_plan(
    rows: Frames,
    cells: Sequence[str],
    target: Target,
    ledger: Ledger,
    keep: Keep | None = None,
    evidence: Evidence | None = None,
    beside: Collection[str] = (),
) -> PublishPlan:
    """Subtract the ledger from what is desired. Reads only the ledger, and only these cells' part of it."""
    wanted = pl.concat([target.identify(frame) for frame in rows()])
    _check(wanted, [*cells, *beside], target)
    if evidence:
        wanted = wanted.filter(~pl.col("id").is_in(list(evidence.withheld())))
    is_beside = pl.col("cell_id").is_in(list(beside))
    stale, wanted = _stale(wanted.filter(is_beside), target, ledger), wanted.filter(~is_beside)
    places, claimed = wanted.select("id", "cell_id"), ledger.claims(target.key, cells)
    claim = places.join(claimed, on=["id", "cell_id"], how="anti")
    release = claimed.join(places, on=["id", "cell_id"], how="anti")
    if evidence:
        release = evidence.proven(target, release, places)
    foreign = ledger.claims_of(target.key, pl.concat([claim["id"], release["id"]]))
    foreign = foreign.filter(~pl.col("cell_id").is_in(list(cells)))
    known = pl.concat([claimed, foreign]).unique("id").select("id", held="content_hash")
    upsert = wanted.join(known, on="id", how="left").filter(pl.col("held").ne_missing(pl.col("content_hash")))
    gone = release.join(places, on="id", how="anti").join(foreign, on="id", how="anti")
    delete = gone["id"].unique(maintain_order=True)
    if keep and len(delete):
        leaving = keep(target, delete).to_frame("id").with_columns(cell_id=pl.lit(LEAVING))
        claim = pl.concat([claim, leaving.join(claimed, on=["id", "cell_id"], how="anti")])
        release = release.join(leaving, on=["id", "cell_id"], how="anti")
        delete = delete.filter(~delete.is_in(leaving["id"].implode()))
    return PublishPlan(target, cells, rows, places, pl.concat([upsert.drop("held"), stale]), claim, release, delete)


def _stale(wanted: pl.DataFrame, target: Target, ledger: Ledger) -> pl.DataFrame:
    """Of what other cells desire, what is published for them with another content."""
    claimed = ledger.claims_of(target.key, wanted["id"]).rename({"content_hash": "held"})
    known = wanted.join(claimed, on=["id", "cell_id"])
    return known.filter(pl.col("held").ne_missing(pl.col("content_hash"))).drop("held")


def _check(wanted: pl.DataFrame, cells: Sequence[str], target: Target) -> None:
    if wanted["id"].is_duplicated().any():
        twice = wanted.filter(pl.col("id").is_duplicated())["id"].unique().sort().head(3).to_list()
        raise PermanentError(f"{target.key}: ids desired more than once, e.g. {', '.join(twice)}")
    if strangers := set(wanted["cell_id"].unique()) - set(cells):
        raise PermanentError(
            f"{target.key}: desired rows of cells not being published, e.g. {min(map(str, strangers))}"
        )


def _upsert(plan: PublishPlan, ledger: Ledger, now: datetime) -> int:
    """Group by group, so that a killed publish repeats one group at most; the number of ids verified."""
    target, verified = plan.target, 0
    if plan.claim.height or plan.upsert.height:
        ledger.begin(target.key, plan.claim, plan.upsert["id"])
    for group in plan.upsert.iter_slices(target.group_size):
        target.upsert(group, plan.rows)
        verified += sum(verify(rows, target) for rows in group.iter_slices(SAMPLED_TOGETHER))
        ledger.commit(target.key, group, target.usage.mutation, now)
    return verified


def _delete(plan: PublishPlan, ledger: Ledger) -> int:
    target, verified = plan.target, 0
    if len(plan.delete):
        ledger.begin(target.key, plan.release.clear(), plan.delete)
        target.delete(plan.delete)
        verified = verify_gone(plan.delete, target)
    if plan.release.height:
        ledger.release(target.key, plan.release, plan.delete)
    return verified


def sample(ids: pl.Series) -> pl.Series:
    """Up to IDS_PER_GET of them, evenly spread, the first and the last included."""
    count = min(len(ids), IDS_PER_GET)
    return ids.gather([round(i * (len(ids) - 1) / max(count - 1, 1)) for i in range(count)])


def verify(rows: pl.DataFrame, target: Target) -> int:
    """Read a sample of (id, content_hash) back; raises TransientError naming ids that differ. The sample's size."""
    ids = sample(rows["id"])
    found = target.read(ids)
    wrong = rows.filter(pl.col("id").is_in(ids.implode())).join(found, on=["id", "content_hash"], how="anti")
    if wrong.height:
        raise TransientError(f"{target.key}: written but not read back: {', '.join(wrong['id'].head(3))}")
    return len(ids)


def verify_gone(ids: pl.Series, target: Target) -> int:
    """Read a sample of deleted ids back; raises TransientError if one is still there. The sample's size."""
    chosen = sample(ids)
    if (left := target.read(chosen)).height:
        raise TransientError(f"{target.key}: deleted but still there: {', '.join(left['id'].head(3))}")
    return len(chosen)


def held(ids: pl.Series, target: Target) -> pl.DataFrame:
    """Those of the ids that the store itself says it holds: id, content_hash."""
    found = [target.read(page.to_series()) for page in ids.to_frame("id").iter_slices(target.ids_per_read)]
    return pl.concat(found) if found else pl.DataFrame(schema={"id": pl.String, "content_hash": pl.String})


def withdraw(ids: pl.Series, target: Target, ledger: Ledger) -> int:
    """Delete those of the ids that the store holds or the ledger knows there, and every claim on them; how many.

    The store is asked: a ledger that is lost or old knows nothing of what is served. Killed anywhere and repeated, the
    end is the same: claims are released when the deletion was read back.
    Raises TransientError or PermanentError of the store.
    """
    with ledger.turn(target.key):
        claims = ledger.claims_of(target.key, ids)
        gone = pl.concat([claims["id"], held(ids, target)["id"]]).unique(maintain_order=True)
        if len(gone):
            target.prepare()
            ledger.begin(target.key, claims.clear(), gone)
            target.delete(gone)
            verify_gone(gone, target)
            target.purge()
            ledger.release(target.key, claims, gone)
        return len(gone)
