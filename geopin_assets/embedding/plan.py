"""One cell on its way: what its captures need, what is left, what failed, and the account at its end.

Here: vectors to reuse, captures to fetch, failures to leave alone for now (pure frames in, frames out), and the
bookkeeping while they are embedded. Not here: how images are read and embedded, that cells overlap (`pipeline.py`),
files (`vectors.py`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

import polars as pl

from geopin_assets.embedding.drives import Drives
from geopin_assets.embedding.protocol import (
    FLAWS,
    LONGEST_WAIT,
    VIEWS,
    CaptureImage,
    Failure,
    FailureReason,
    next_try_at,
)
from geopin_assets.embedding.quality import Quality
from geopin_assets.embedding.seen import Seen
from geopin_assets.embedding.vectors import HELD_SCHEMA, CellVectors
from geopin_assets.files.object_store import Stored

FAILURE_SCHEMA = pl.Schema(
    {"capture_id": pl.String(), "source": pl.String(), "image_version": pl.String(), "reason": pl.String()}
    | {"attempts": pl.Int32(), "last_tried_at": pl.Datetime("us", "UTC"), "next_try_at": pl.Datetime("us", "UTC")}
)
"""`image_version` is that of the image that failed: another one is a fresh start. `next_try_at` null: never again."""

Gone = Callable[[pl.DataFrame], pl.Series]
"""Of captures (capture_id, cell_id) that a cell does not have any more, whether each is known to be gone."""


StandingIn = Callable[[Collection[str]], Collection[str]]
"""Of captures that have vectors and are not wanted, those that stay while what shall stand for them has none."""


def _all_gone(captures: pl.DataFrame) -> pl.Series:
    return pl.repeat(True, captures.height, eager=True)


def _none(held: Collection[str]) -> Collection[str]:
    return ()


@dataclass(frozen=True, slots=True)
class CellTask:
    """One cell to bring up to date.

    `captures`: all of the cell (capture_id, source, source_capture_id, image_url, image_version, is_pano,
    heading_deg; sequence_id, lon and lat, too, where drives are looked at). `failures`: what the last run over the
    cell returned, FAILURE_SCHEMA.
    """

    cell_id: str
    captures: pl.DataFrame
    failures: pl.DataFrame
    vectors: CellVectors
    gone: Gone = _all_gone
    """Vectors of captures that are not known to be gone are kept."""
    standing_in: StandingIn = _none
    obeys: Callable[[str], bool] = lambda host: True
    """Whether what a host says against the use of its images counts (`opted_out`)."""


@dataclass(frozen=True, slots=True)
class CellPlan:
    """`reused`, `superseded`: images of HELD_SCHEMA, with the bearings their captures have now.

    `superseded`: of captures with a newer image, to keep if that cannot be had yet.
    `todo`: captures to fetch, `fresh` the images they will be. `deferred`: failure rows that stay.
    """

    reused: pl.DataFrame
    superseded: pl.DataFrame
    todo: pl.DataFrame
    fresh: pl.DataFrame
    deferred: pl.DataFrame

    def images_after(self, embedded: Mapping[str, int], given_up: Iterable[str]) -> pl.DataFrame:
        """The images that the cell should hold when these captures have been embedded but for so many of their views.

        HELD_SCHEMA. Superseded ones stay until there is a new one, or their capture is given up.
        """
        done = pl.DataFrame(list(embedded.items()), {"capture_id": pl.String, "left_out": pl.Int64}, orient="row")
        gone = pl.concat([done["capture_id"], pl.Series("capture_id", list(given_up), pl.String)])
        kept = self.superseded.filter(~pl.col("capture_id").is_in(gone.implode()))
        return pl.concat([self.reused, kept, self.fresh.join(done, on="capture_id").select(HELD_SCHEMA.names())])


def plan_cell(
    captures: pl.DataFrame,
    held: pl.DataFrame,
    in_parts: pl.DataFrame,
    failures: pl.DataFrame,
    now: datetime,
    kept: pl.DataFrame | None = None,
) -> CellPlan:
    """Plan one cell. An image stays embedded as long as its version does; its bearing follows the capture.

    `kept`: images that stay although their captures are not there.

    `held`, `in_parts`: what the cell's file and its parts hold (HELD_SCHEMA). Each is judged alone: views of a file
    and of parts are never put together to one panorama.
    """
    images = captures.select(
        "capture_id",
        pl.col("image_version").fill_null(""),
        views=pl.when("is_pano").then(VIEWS).otherwise(1).cast(pl.Int64),
        center_deg=pl.col("heading_deg").cast(pl.Float64),
    )
    current = images.rename({"image_version": "current_version"})
    complete = pl.concat(
        have.drop("center_deg").join(current, on=["capture_id", "views"]).with_columns(nth=pl.lit(nth))
        for nth, have in enumerate((in_parts, held))
    ).sort("nth")
    is_current = pl.col("image_version") == pl.col("current_version")
    reused, superseded = (
        complete.filter(of_version).unique("capture_id", keep="first", maintain_order=True).select(HELD_SCHEMA.names())
        for of_version in (is_current, ~is_current)
    )
    missing = captures.join(reused, on="capture_id", how="anti")
    is_waiting = (pl.col("next_try_at") > now) & (pl.col("next_try_at") <= now + LONGEST_WAIT)
    deferred = failures.filter(pl.col("next_try_at").is_null() | is_waiting).join(missing, on="capture_id", how="semi")
    todo = missing.join(deferred, on="capture_id", how="anti")
    return CellPlan(
        reused=reused if kept is None else pl.concat([reused, kept.select(HELD_SCHEMA.names())]),
        superseded=superseded.join(reused, on="capture_id", how="anti"),
        todo=todo,
        fresh=images.join(todo, on="capture_id", how="semi"),
        deferred=deferred,
    )


@dataclass(frozen=True, slots=True)
class CellStats:
    """What embedding one cell did. Captures are counted, except `vectors` and `removed_vectors`."""

    embedded: int
    reused: int
    failed: dict[str, int]
    """By reason, in this run."""
    renewed: int
    """Fetched from a new address, as the stored one had expired."""
    deferred: int
    """Failed before and not due yet, or given up."""
    vectors: int
    removed_vectors: int
    """Vectors that were there before and are not any more."""
    seconds: dict[str, float]
    """Wall time each stage needed itself since the cell before was finished; stages overlap."""
    bottleneck: str
    """The stage that needed most; empty when nothing was fetched."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Views of embedded panoramas that show nothing, by reason, in this run."""

    def after(self, before: Self | None) -> Self:
        """Of a cell that was embedded a second time in one run: both together."""
        if before is None:
            return self
        both: dict[str, Any] = {
            name: dict(Counter(getattr(self, name)) + Counter(getattr(before, name)))
            for name in ("failed", "seconds", "left_out")
        }
        embedded, renewed = before.embedded + self.embedded, before.renewed + self.renewed
        return replace(self, embedded=embedded, reused=self.reused - before.embedded, renewed=renewed, **both)


@dataclass(frozen=True, slots=True)
class CellEmbeddings:
    """A finished cell: the images it holds (HELD_SCHEMA), its failures from now on (by capture_id), the account."""

    images: pl.DataFrame
    failures: pl.DataFrame
    failures_changed: bool
    stats: CellStats


@dataclass
class OpenCell:
    """A cell that is being embedded. It is finished when `left` is 0."""

    task: CellTask
    held: pl.DataFrame
    failures: pl.DataFrame
    leaving: pl.DataFrame
    """Of `held`, images of captures that are gone, or not wanted any more."""
    before: Stored | None
    """The cell's file when it was planned."""
    plan: CellPlan
    left: int
    """Captures that are neither embedded nor failed."""
    renewed: int = 0
    _failed: dict[CaptureImage, Failure] = field(default_factory=dict)
    _embedded: dict[str, int] = field(default_factory=dict)
    _views_left: dict[str, int] = field(default_factory=dict)
    _left_out: dict[str, Counter[FailureReason]] = field(default_factory=dict)
    _quality: dict[str, Mapping[int, Quality]] = field(default_factory=dict)
    _drives: Drives = field(default_factory=Drives)

    @classmethod
    def of(cls, task: CellTask, now: datetime, unwanted: Set[FailureReason] = FLAWS) -> Self:
        """Plan it. What was in files that are damaged now is planned to be embedded again, and what failed for a flaw
        that is not unwanted any more is tried."""
        task.vectors.set_damaged_aside()
        before = task.vectors.stored()
        held, in_parts = task.vectors.held(), task.vectors.in_parts()
        current = task.captures.select("capture_id", pl.col("image_version").fill_null(""))
        reasons = [reason for reason in FailureReason if reason in unwanted or reason not in FLAWS]
        is_known = pl.col("reason").is_in(reasons)  # what is none any more is tried again, too
        failures = task.failures.filter(is_known).join(current, on=current.columns, how="semi")  # as is a new image
        failures = _without_waived(failures, task.captures, task.obeys)
        lost = held.join(task.captures, on="capture_id", how="anti")
        is_gone = task.gone(lost.select("capture_id", cell_id=pl.lit(task.cell_id)))
        plan = plan_cell(task.captures, held, in_parts, failures, now, lost.filter(~is_gone))
        drives = Drives.of(plan.todo)
        return cls(task, held, failures, lost.filter(is_gone), before, plan, len(plan.todo), _drives=drives)

    def to_read(self) -> list[CaptureImage]:
        """The images to fetch and embed."""
        rows = self.plan.todo.select(
            *("capture_id", "source", "source_capture_id", "image_url"),
            *(pl.col("image_version").fill_null(""), "is_pano", pl.col("heading_deg").cast(pl.Float64)),
        )
        return [CaptureImage(self.task.cell_id, *row) for row in rows.iter_rows()]

    def fail(self, image: CaptureImage, failure: Failure) -> None:
        self._failed[image] = failure
        self.left -= 1

    def expect(self, image: CaptureImage, seen: Seen) -> None:
        """The views of the image that will be embedded."""
        self._views_left[image.capture_id] = len(seen.views)
        self._left_out[image.capture_id] = seen.left_out
        self._quality[image.capture_id] = seen.quality
        if seen.glance is not None:
            self._drives.add(image, seen.glance)

    def quality(self, image: CaptureImage, view: int) -> Quality | None:
        """Of a view that will be embedded."""
        return self._quality[image.capture_id].get(view)

    def left_out(self, image: CaptureImage) -> int:
        """How many views of the image are not embedded."""
        return self._left_out[image.capture_id].total()

    def note_view(self, image: CaptureImage) -> bool:
        """One view more is stored; whether it was the last of its image."""
        if image in self._failed:
            return False
        self._views_left[image.capture_id] -= 1
        is_last = not self._views_left[image.capture_id]
        if is_last:
            self._quality.pop(image.capture_id, None)
            self._embedded[image.capture_id] = self.left_out(image)
            self.left -= 1
        return is_last

    def withdraw(self, image: CaptureImage, failure: Failure) -> bool:
        """Have it fail after all; whether it was embedded already."""
        was_embedded = self._embedded.pop(image.capture_id, None) is not None
        self._failed[image] = failure
        self.left -= not was_embedded
        return was_embedded

    def finish(self, now: datetime, seconds: dict[str, float]) -> CellEmbeddings:
        """Make the cell's file what it should be, and close the account. Raises PayloadError."""
        for image in self._drives.behind_glass():
            if image.capture_id in self._embedded:
                self.withdraw(image, Failure(FailureReason.WINDSCREEN))
        failures = self._failure_rows(now)
        images = self.plan.images_after(self._embedded, failures.filter(pl.col("next_try_at").is_null())["capture_id"])
        images = self.task.vectors.commit(self._with_stand_ins(images), self.held, self.before)
        changed = not failures.equals(self.task.failures.select(failures.columns))
        return CellEmbeddings(images.sort("capture_id"), failures, changed, self._stats(images, seconds))

    def _with_stand_ins(self, images: pl.DataFrame) -> pl.DataFrame:
        if self.leaving.is_empty():
            return images
        stay = self.task.standing_in({*images["capture_id"], *self.leaving["capture_id"]})
        return pl.concat([images, self.leaving.filter(pl.col("capture_id").is_in(list(stay)))])

    def _failure_rows(self, now: datetime) -> pl.DataFrame:
        """The failures that stay and those of this run, counted up."""
        attempts = dict(self.failures.select("capture_id", "attempts").iter_rows())
        rows = []
        for image, failure in self._failed.items():
            tries = attempts.get(image.capture_id, 0) + failure.reason.is_attempt
            again_at = next_try_at(failure.reason, tries, now, failure.not_before)
            of_image = image.capture_id, image.source, image.image_version
            rows.append((*of_image, failure.reason.value, tries, now, again_at))
        new = pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row")
        stay = self.plan.deferred.select(FAILURE_SCHEMA.names()).cast(FAILURE_SCHEMA)
        return pl.concat([stay, new]).sort("capture_id")

    def _left_out_by_reason(self) -> dict[str, int]:
        reasons = Counter[str]()
        for capture_id in self._embedded:
            reasons.update({reason.value: views for reason, views in self._left_out[capture_id].items()})
        return dict(reasons)

    def _stats(self, images: pl.DataFrame, seconds: dict[str, float]) -> CellStats:
        kept = images.select("capture_id", now_views=pl.col("views") - pl.col("left_out"))
        lost = self.held.join(kept, on="capture_id", how="left").select(
            (pl.col("views") - pl.col("left_out") - pl.col("now_views").fill_null(0)).clip(lower_bound=0).sum()
        )
        return CellStats(
            embedded=len(self._embedded),
            reused=len(self.plan.reused),
            failed=dict(Counter(failure.reason.value for failure in self._failed.values())),
            left_out=self._left_out_by_reason(),
            renewed=self.renewed,
            deferred=len(self.plan.deferred),
            vectors=int((images["views"] - images["left_out"]).sum()),
            removed_vectors=int(lost.item()),
            seconds=seconds,
            bottleneck=max(seconds, key=seconds.__getitem__, default="") if len(self.plan.todo) else "",
        )


def _without_waived(failures: pl.DataFrame, captures: pl.DataFrame, obeys: Callable[[str], bool]) -> pl.DataFrame:
    """Failures without those of images that opted out at hosts that are not obeyed (any more)."""
    host = pl.col("image_url").str.extract("^https?://([^/:?#]+)").str.to_lowercase()
    waived = [name for name in captures.select(host.unique().drop_nulls()).to_series() if not obeys(name)]
    free = captures.filter(host.is_in(waived))["capture_id"]
    return failures.filter(
        (pl.col("reason") != FailureReason.OPTED_OUT.value) | ~pl.col("capture_id").is_in(free.implode())
    )
