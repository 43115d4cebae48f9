"""What stays in its place along a drive is the car's; streets change, and what was not taken apart says nothing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geopin_assets.embedding.decoders import Decoders
from geopin_assets.embedding.drives import LEAST, Drives, glance, staying
from geopin_assets.embedding.pipeline import embed_cells
from geopin_assets.embedding.plan import FAILURE_SCHEMA, CellTask
from geopin_assets.embedding.protocol import CaptureImage, FailureReason, Model
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.files.object_store import open_store
from geopin_assets_tests.embedding.memory_fetcher import MemoryFetcher
from geopin_assets_tests.embedding.pictures import Pixels, encoded
from geopin_assets_tests.embedding.test_pipeline import TinyModel
from geopin_assets_tests.embedding.test_quality import street

STEP_DEG = 0.0001
"""11 m."""


def behind_glass(photo: Pixels) -> Pixels:
    """A third of another picture, always the same."""
    return (photo * 0.67 + street(seed=99) * 0.33).astype(np.uint8)


def with_dashboard(photo: Pixels) -> Pixels:
    return np.concatenate([photo[:320], street(seed=99)[320:]])


def image(number: int, *, is_pano: bool = False) -> CaptureImage:
    return CaptureImage("cell", f"s:{number}", "s", str(number), f"http://a/{number}", "", is_pano, None)


def frame(count: int, *, step: float = STEP_DEG, sequence: str | None = "q", first: int = 0) -> pl.DataFrame:
    """Captures of one sequence, so far apart."""
    return pl.DataFrame(
        [
            (f"s:{n}", "s", str(n), f"http://a/{n}", "", False, 90.0, sequence, 4.9, 52.3 + step * n)
            for n in range(first, first + count)
        ],
        schema={
            **dict.fromkeys(
                ("capture_id", "source", "source_capture_id", "image_url", "image_version"), pl.String()
            ),
            **{"is_pano": pl.Boolean(), "heading_deg": pl.Float64(), "sequence_id": pl.String()},
            **{"lon": pl.Float64(), "lat": pl.Float64()},
        },
        orient="row",
    )  # fmt: skip


def test_the_same_picture_in_all_images_is_told_from_streets() -> None:
    streets = [street(seed=n) for n in range(LEAST)]
    clean, glass, below = (
        staying([glance(change(photo)) for photo in streets])
        for change in (lambda photo: photo, behind_glass, with_dashboard)
    )
    assert not clean.is_glass and abs(clean.everywhere) < 0.1 and abs(clean.below) < 0.1
    assert glass.is_glass and glass.everywhere > 0.1
    assert below.is_glass and below.below > 0.9 and below.everywhere < 0.1
    assert not staying([glance(np.full((480, 640, 3), 128, np.uint8))] * LEAST).is_glass, "nothing is in it"


@pytest.mark.parametrize(
    ("captures", "is_told"),
    [
        (frame(LEAST), True),
        (frame(LEAST - 1), False),
        (frame(LEAST, step=STEP_DEG / 2), False),  # of which each second one is 11 m further
        (frame(LEAST, step=0), False),  # it waits at a light
        (frame(LEAST, sequence=None), False),
        (frame(LEAST).with_columns(is_pano=pl.lit(True)), False),
        (frame(LEAST).drop("sequence_id"), False),
    ],
)
def test_only_a_sequence_that_moves_says_what_stays(captures: pl.DataFrame, is_told: bool) -> None:
    drives, images = Drives.of(captures), [image(n) for n in range(captures.height)]
    for n, one in enumerate(images):
        drives.add(one, glance(behind_glass(street(seed=n))))
    assert list(drives.behind_glass()) == (images if is_told else [])


class Seeing(TinyModel):
    """Sees images large enough to be measured."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model("tiny-2-p1", dim=2, is_place_recognition=False, side_px=480)


def test_a_drive_behind_glass_has_no_vectors_where_that_was_asked_for_and_others_have(
    tmp_path: Path, decoders: Decoders
) -> None:
    captures = pl.concat([frame(LEAST + 1), frame(LEAST, sequence="clean", first=50)])
    views = {n: behind_glass(street(seed=n)) if n < 50 else street(seed=n) for n in (*range(LEAST + 1), *range(50, 55))}
    fetcher = MemoryFetcher({f"http://a/{n}": encoded(view) for n, view in views.items()})
    files = VectorFiles(open_store(tmp_path), "tiny-2-p1", 2)

    def run(failures: pl.DataFrame, *unwanted: FailureReason) -> tuple[set[str], pl.DataFrame]:
        task = CellTask("cell", captures, failures, files.cell("cell"))
        ((_, done),) = embed_cells(
            [task], embedder=Seeing(), fetcher=fetcher, decoders=decoders, unwanted=frozenset(unwanted)
        )
        assert not isinstance(done, Exception), done
        assert set(files.cell("cell").read()["capture_id"]) == set(done.images["capture_id"])
        return set(done.images["capture_id"]), done.failures

    no_failures = FAILURE_SCHEMA.to_frame()
    clean, told = {f"s:{n}" for n in range(50, 55)}, {f"s:{n}" for n in range(LEAST + 1)}
    held, failures = run(no_failures, FailureReason.WINDSCREEN)
    assert held == clean and set(failures["capture_id"]) == told
    assert set(failures["reason"]) == {"windscreen"} and failures["next_try_at"].is_null().all()
    fetched = fetcher.fetched.total()
    assert run(failures, FailureReason.WINDSCREEN)[0] == clean and fetcher.fetched.total() == fetched
    held, failures = run(failures)
    assert held == clean | told and failures.is_empty()
