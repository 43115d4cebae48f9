"""What thinning saves, and what it costs in recall: `python -m geopin_assets_tests.benchmarks.thinning`.

Three tables, each skipped where what it needs is absent: 52,734 recorded positions of Mapillary (one town, no pixels);
a real walk of 29 photos, each asked of the others; and the sandbox's painted streets, asked of all other drives. Recall
is beside that of 0 m, question by question, with 95 % intervals of the difference.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import atan, degrees, pi, sinh
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.embedding.protocol import VIEWS
from geopin_assets.index.cost import forecast_publish
from geopin_assets.sandbox.streets.world import Drive, Street, shots
from geopin_assets.sources.vector_tile import features
from geopin_assets.store.thinning import decided, kept
from geopin_assets_tests.benchmarks.tools.figures import Figure

RECORDED = (
    Path(__file__).parents[3] / "shared/fixtures/recorded/mapillary_josm_v4/responses/coverageTiles/mly1_public/2"
)
DISTANCES_M = (0.0, 5.0, 10.0, 15.0)
NEAR_M = 25.0
_NATIONAL = 39_000_000
_DIM = 512
_RESAMPLES = 1_000
_STEP_M = 4


def recorded() -> pl.DataFrame:
    """Captures of the recorded tiles, as the merge would see them; whoever recorded them emptied all but sequences."""
    rows = [row for file in sorted(RECORDED.glob("*/*/*.mvt")) for row in _of_tile(file)]
    frame = pl.DataFrame(rows, schema=("capture_id", "lon", "lat", "sequence_id"), orient="row")
    return frame.with_columns(
        captured_at=pl.lit(None, pl.Datetime("us", "UTC")),
        heading_deg=pl.lit(None, pl.Float64),
        is_pano=pl.lit(False),
        source=pl.lit("mapillary"),
        creator=pl.lit(None, pl.String),
        cell_id=(pl.col("lon") / 0.03).floor().cast(pl.String) + "," + (pl.col("lat") / 0.018).floor().cast(pl.String),
    )


def _of_tile(file: Path) -> Iterator[tuple[str, float, float, str]]:
    zoom, x, y = (int(part) for part in (*file.parts[-3:-1], file.stem))
    for n, feature in enumerate(features(file.read_bytes(), "image")):
        ((across, down),) = feature.corners
        lon = (x + across) / 2**zoom * 360 - 180
        lat = degrees(atan(sinh(pi * (1 - 2 * (y + down) / 2**zoom))))
        yield f"{x}/{y}/{n}", lon, lat, feature.properties["sequence_id"]


def savings(captures: pl.DataFrame, title: str) -> list[Figure]:
    """A line a distance: what is left, and what a country with as dense drives would pay."""
    left = []
    print(f"\n{title}: {captures.height:,} captures in {captures['sequence_id'].n_unique():,} sequences")
    print(
        f"{'within':>7} {'images':>8} {'of all':>7} {'vectors':>9} {'µs each':>8}"
        "   of 39 M: vectors, first load, a month"
    )
    for within_m in DISTANCES_M:
        started = time.process_time()
        images, panoramas = kept(captures, within_m)
        each_us = (time.process_time() - started) / captures.height * 1e6
        vectors = images + (VIEWS - 1) * panoramas
        whole = forecast_publish(round(vectors / captures.height * _NATIONAL), _NATIONAL, _DIM)
        money = f"{whole.vectors / 1e6:5.1f} M  ${whole.first_load_usd:6.2f}  ${whole.monthly_usd:7.2f}"
        print(f"{within_m:5.0f} m {images:8,} {images / captures.height:7.0%} {vectors:9,} {each_us:8.1f}   {money}")
        left.append(
            Figure(f"images left, one within {within_m:.0f} m, {title}", images / captures.height, beside="all")
        )
    return left


def at_1(
    vectors: NDArray[np.float32], meters: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each question (a row) whether some allowed reference is near, and whether the best match is one of those."""
    scores = np.where(allowed, vectors, -2)
    near = meters <= NEAR_M
    return (near & allowed).any(axis=1), near[np.arange(len(scores)), scores.argmax(axis=1)]


def costs(
    scores: NDArray[np.float32],
    meters: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    is_kept: Sequence[NDArray[np.bool_]],
    groups: Sequence[str],
) -> None:
    """A line a distance, over the same questions: those that all references can answer."""
    solvable, plain = at_1(scores, meters, allowed)
    members = [np.flatnonzero(solvable & (np.array(groups) == group)) for group in dict.fromkeys(groups)]
    members = [numbers for numbers in members if len(numbers)]
    print(f"{int(solvable.sum())} questions of {len(members)} groups, right within {NEAR_M:.0f} m at once")
    print(f"{'within':>7} {'references':>10} {'Recall@1':>9}  change, 95 % interval")
    for within_m, keeps in zip(DISTANCES_M, is_kept, strict=True):
        _, found = at_1(scores, meters, allowed & (keeps if keeps.ndim == 2 else keeps[None, :]))
        change = found.astype(float) - plain
        low, high = _interval(change, members)
        won, lost = int((change[solvable] > 0).sum()), int((change[solvable] < 0).sum())
        share = keeps.mean()
        told = f"{change[solvable].mean():+.3f} [{low:+.3f}, {high:+.3f}]  (+{won} -{lost})"
        print(f"{within_m:5.0f} m {share:10.0%} {found[solvable].mean():9.3f}  {told}")


def _interval(change: NDArray[np.float64], members: Sequence[NDArray[np.intp]]) -> tuple[float, float]:
    """Of the mean, by resampling groups."""
    random = np.random.default_rng(0)
    drawn = (random.integers(len(members), size=len(members)) for _ in range(_RESAMPLES))
    means = [change[np.concatenate([members[n] for n in chosen])].mean() for chosen in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def of_walk() -> None:
    """Photos have no date and no heading: the order of the walk is their time, and they look one way."""
    from geopin_assets.embedding.model.thumbnail import Thumbnail
    from geopin_assets_tests.benchmarks.recall import imagenet
    from geopin_assets_tests.real.recall import decoded, embedded
    from geopin_assets_tests.real.walk import ABSENT, walk

    places = walk()
    if not places:
        print(f"\nthe walk of photos: {ABSENT}")
        return
    names = list(places)
    captures = pl.DataFrame(
        {"capture_id": names, "lon": [p[0] for p in places.values()], "lat": [p[1] for p in places.values()]}
    ).with_columns(
        captured_at=pl.datetime(2014, 1, 1, time_zone="UTC") + pl.duration(seconds=pl.int_range(pl.len())),
        **{name: pl.lit(None, pl.String) for name in ("creator",)},
        **{name: pl.lit("walk") for name in ("source", "sequence_id", "cell_id")},
        heading_deg=pl.lit(None, pl.Float64),
        is_pano=pl.lit(False),
    )
    savings(captures, "a real walk of photos, about 5 m apart")
    photos = [decoded(name) for name in names]
    rest = [captures.filter(pl.int_range(pl.len()) != n) for n in range(len(names))]
    is_kept = [np.array([_kept_of(captures, others, within_m) for others in rest]) for within_m in DISTANCES_M]
    allowed = ~np.eye(len(names), dtype=bool)
    for embedder in (*imagenet(), Thumbnail()):
        vectors = embedded(embedder, photos)
        print(f"\n{embedder.model.model_id}, each photo asked of the others")
        costs(vectors @ vectors.T, _meters(captures), allowed, is_kept, names)


def _kept_of(captures: pl.DataFrame, others: pl.DataFrame, within_m: float) -> list[bool]:
    """Of all captures, whether each is kept when these are thinned."""
    left = set(others.filter(decided(others, within_m).is_null())["capture_id"])
    return [id_ in left for id_ in captures["capture_id"]]


def of_streets(streets: int) -> None:
    """Painted streets that three sources drove through with an image every 4 m, on days of their own."""
    from geopin_assets.embedding.model.thumbnail import Thumbnail
    from geopin_assets.sandbox.streets.images import draw

    model, taken = Thumbnail(), [shot for drive in _drives(streets) for shot in shots(drive)]
    captures = pl.DataFrame(
        [
            (f"{s.drive.source}:{s.name}", s.drive.source, s.lon, s.lat, s.captured_at, s.heading_deg, s.drive.name)
            for s in taken
        ],
        schema=("capture_id", "source", "lon", "lat", "captured_at", "heading_deg", "sequence_id"),
        orient="row",
    ).with_columns(is_pano=pl.lit(False), creator=pl.col("source"), cell_id=pl.lit("streets"))
    savings(captures, f"painted: {streets} streets, an image every {_STEP_M} m")
    vectors = np.concatenate([model.embed([model.preprocess(draw(shot))]) for shot in taken])
    drive = captures["sequence_id"].rank("dense").to_numpy()
    is_kept = [decided(captures, within_m).is_null().to_numpy() for within_m in DISTANCES_M]
    print(f"\n{model.model.model_id}, each asked of the other drives")
    groups = [shot.drive.street.name for shot in taken]
    costs(vectors @ vectors.T, _meters(captures), drive[:, None] != drive[None, :], is_kept, groups)


def _drives(streets: int) -> Iterator[Drive]:
    for n in range(streets):
        street = Street(f"Proefstraat {n}", 4.80 + 0.005 * n, 52.37, 90, 120, is_canal=n % 5 == 0)
        for nth, source in enumerate(("mapillary", "panoramax", "kartaview")):
            yield Drive(
                source=source,
                name=f"{n}-{source}",
                street=street,
                from_m=-58 + nth,
                step_m=_STEP_M,
                count=30,
                right_m=1.5 - nth,
                started_at=datetime(2020 + nth, 3 * nth + 2, 1 + n % 28, 10, tzinfo=UTC),
            )


def _left(captures: pl.DataFrame, within_m: float) -> pl.Series:
    return captures.filter(decided(captures, within_m).is_null())["capture_id"]


def _meters(places: pl.DataFrame) -> NDArray[np.float64]:
    """Between all of them, on a plane that touches in their middle."""
    lon, lat = places["lon"].to_numpy(), places["lat"].to_numpy()
    at = np.stack([np.radians(lon) * np.cos(np.radians(lat.mean())), np.radians(lat)], axis=1) * 6_371_008.8
    return np.hypot(*(at[:, None] - at[None, :]).transpose(2, 0, 1))


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--streets", type=int, default=24, help="painted ones; 0 for none")
    parser.add_argument("--no-walk", action="store_true", help="without real photos")
    chosen = parser.parse_args(arguments)
    figures = []
    if RECORDED.is_dir():
        figures += savings(recorded(), "recorded positions, one town")
    else:
        print("the recorded positions are not beside this checkout")
    if not chosen.no_walk:
        of_walk()
    if chosen.streets:
        of_streets(chosen.streets)
    return figures


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
