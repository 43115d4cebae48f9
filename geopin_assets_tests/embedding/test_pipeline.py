import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from geopin_assets.capture import vector_id
from geopin_assets.embedding.attempts import Attempts
from geopin_assets.embedding.decoders import Decoders, Limits
from geopin_assets.embedding.fetching import ImageFetcher
from geopin_assets.embedding.hosts import HOST_PATIENCE
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.pipeline import EmbeddingProgress, embed_cells
from geopin_assets.embedding.plan import FAILURE_SCHEMA, CellStats, CellTask
from geopin_assets.embedding.protocol import (
    BACK_OFF,
    CaptureImage,
    Failure,
    FailureReason,
    Image,
    Model,
    embedding_schema,
    next_try_at,
)
from geopin_assets.embedding.vectors import VectorFiles
from geopin_assets.errors import PayloadError, TransientError
from geopin_assets.files.object_store import open_store
from geopin_assets.http_client.addresses import AddressRule
from geopin_assets_tests.embedding.fetching import loopback_fetcher
from geopin_assets_tests.embedding.image_server import ImageServer, body, endless, listening, status
from geopin_assets_tests.embedding.memory_fetcher import MemoryFetcher
from geopin_assets_tests.embedding.pictures import encoded, gray_jpeg, jpeg_segment, smooth

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
FLAT, PANORAMA = encoded(smooth(120, 90)), encoded(smooth(256, 128))
IMAGES = {"http://a/flat": FLAT, "http://a/other": encoded(smooth(90, 120, 3)), "http://b/pano": PANORAMA}
NO_FAILURES = pl.DataFrame(schema=FAILURE_SCHEMA)
CELL = "nh-amsterdam-r090c051"


class TinyModel:
    """Two dimensions: mean red and mean green, as a direction. Notes the batches it gets."""

    batch_size = 128

    def __init__(self, model_id: str = "tiny-2-p1", side_px: int | None = 8) -> None:
        self.model = Model(model_id, dim=2, is_place_recognition=False, side_px=64)
        self.side_px = side_px
        self.batches: list[tuple[int, ...]] = []

    def preprocess(self, image: Image) -> Image:
        return image[: self.side_px, : self.side_px] if self.side_px else image

    def embed(self, batch: list[Image]) -> np.ndarray:
        stacked = np.stack(batch)
        self.batches.append(stacked.shape)
        mean = stacked[..., :2].mean(axis=(1, 2)) + 1
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


def captures(*rows: dict[str, Any]) -> pl.DataFrame:
    default = {
        "source": "s",
        "source_capture_id": "",
        "image_url": "http://a/flat",
        "image_version": "",
        "is_pano": False,
        "heading_deg": 90.0,
    }
    schema = {
        "capture_id": pl.String,
        "source": pl.String,
        "source_capture_id": pl.String,
        "image_url": pl.String,
        "image_version": pl.String,
        "is_pano": pl.Boolean,
        "heading_deg": pl.Float64,
        "lon": pl.Float64,
    }
    return pl.DataFrame([default | {"capture_id": f"s:{i}"} | row for i, row in enumerate(rows)], schema=schema)


@dataclass(frozen=True)
class Result:
    """A finished cell, and the folder that it is in."""

    vectors: pl.DataFrame
    failures: pl.DataFrame
    stats: CellStats
    folder: Path


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, decoders: Decoders) -> Run:
    """`run(captures, before, fetcher, now, **options)`: one cell on top of what `before` left, which stays as it is."""
    folders = (tmp_path / str(number) for number in range(100))

    def run(
        cell: pl.DataFrame, before: Result | None = None, fetcher: Any = None, now: datetime = NOW, **options: Any
    ) -> Result:
        of_task = {name: options.pop(name) for name in ("obeys",) if name in options}
        folder = next(folders)
        if before and before.folder.exists():
            shutil.copytree(before.folder, folder)
        embedder = options.pop("embedder", None) or Thumbnail()
        model = embedder.model
        vectors = VectorFiles(open_store(folder), model.model_id, model.dim).cell(CELL)
        task = CellTask(CELL, cell, before.failures if before else NO_FAILURES, vectors, **of_task)
        usual = {"fetcher": fetcher or MemoryFetcher(IMAGES), "batch_size": 128, "many": 1000, "decoders": decoders}
        ((cell_id, done),) = embed_cells([task], embedder=embedder, now=lambda: now, **usual | options)
        assert cell_id == CELL and not isinstance(done, PayloadError)
        return Result(vectors.read(), done.failures, done.stats, folder)

    return run


PANO = {"image_url": "http://b/pano", "is_pano": True, "heading_deg": 350.0}


def test_a_flat_capture_yields_one_view_and_a_panorama_one_per_heading(run: Run) -> None:
    result = run(captures({}, PANO, PANO | {"heading_deg": None}))
    assert result.vectors.schema == embedding_schema(512)
    by_capture = result.vectors.partition_by("capture_id", as_dict=True)
    assert by_capture["s:0",]["heading_deg"].to_list() == [90.0]
    assert by_capture["s:1",]["heading_deg"].to_list() == [(350.0 + 30 * view) % 360 for view in range(12)]
    assert by_capture["s:2",]["heading_deg"].to_list() == [None] * 12
    assert result.vectors["vector_id"].to_list() == sorted(
        [vector_id("s:0", 0), *(vector_id(c, v) for c in ("s:1", "s:2") for v in range(12))]
    )
    norms = np.linalg.norm(result.vectors["embedding"].to_numpy().astype(float), axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)
    assert (result.stats.embedded, result.stats.reused, result.stats.vectors) == (3, 0, 25)
    assert set(result.stats.seconds) == {"plan", "fetch", "decode", "preprocess", "embed", "write"}
    assert result.stats.bottleneck in result.stats.seconds


def test_flaws_cost_vectors_where_they_are_unwanted_and_stand_beside_them_where_not(run: Run) -> None:
    """Images that were left out for a flaw that is not unwanted any more are tried again."""

    class Demanding(Thumbnail):
        model = replace(Thumbnail.model, side_px=512)

    blurred, dark = smooth(640, 480), smooth(640, 480) // 12
    fetcher = MemoryFetcher({"http://a/flat": encoded(blurred), "http://a/dark": encoded(dark)})
    cell, options = captures({}, {"image_url": "http://a/dark"}), {"fetcher": fetcher, "embedder": Demanding()}
    first = run(cell, unwanted=frozenset({FailureReason.DARK}), **options)
    assert first.stats.failed == {"dark": 1} and first.failures["next_try_at"].to_list() == [None]
    row = first.vectors.row(0, named=True)
    assert row["blur"] > 0.55 > row["contrast"] and row["light"] > 0.2 and row["detail"] is not None
    again = run(cell, before=first, unwanted=frozenset({FailureReason.DARK}), **options)
    assert (again.stats.embedded, again.stats.deferred) == (0, 1)
    taken_back = run(cell, before=again, **options)
    assert (taken_back.stats.embedded, taken_back.failures.height) == (1, 0)
    assert taken_back.vectors["light"][1] < 0.16


def test_no_more_is_decoded_than_the_model_sees(run: Run) -> None:
    """And what is seen stays the same: the stand-in's vectors are those of pictures decoded whole."""
    seen: list[Image] = []

    class Noting(Thumbnail):
        def preprocess(self, image: Image) -> Image:
            seen.append(image)
            return super().preprocess(image)

    class Demanding(Noting):
        model = replace(Thumbnail.model, side_px=512)

    small, whole = smooth(1200, 900), smooth(4000, 2000, 1)
    fetcher = MemoryFetcher({"http://a/flat": encoded(small), "http://b/pano": encoded(whole)})
    vectors = [run(captures({}, PANO), fetcher=fetcher, embedder=embedder()) for embedder in (Noting, Demanding)]
    sizes = Counter(image.shape[:2] for image in seen)
    assert sizes == {(64, 64): 12, (225, 300): 1, (512, 512): 12, (900, 1200): 1}
    modest, demanding = (np.stack(result.vectors["embedding"].to_numpy()).astype(float) for result in vectors)
    assert (modest * demanding).sum(axis=1).min() > 0.999


@pytest.mark.parametrize(
    ("size", "views"),
    [((256, 128), 12), ((256, 115), 12), ((256, 64), 12), ((300, 256), 1), ((80, 40), 1), ((40, 80), 1)],
)
def test_a_panorama_of_any_size_and_shape_ends_its_cell_with_the_views_that_it_has(
    run: Run, size: tuple[int, int], views: int
) -> None:
    fetcher = MemoryFetcher(IMAGES | {"http://b/pano": encoded(smooth(*size, 2))})
    cell = captures({}, PANO)
    first = run(cell, fetcher=fetcher, embedder=Thumbnail())
    assert Counter(first.vectors["capture_id"]) == {"s:0": 1, "s:1": views} and first.failures.is_empty()
    assert sum(first.stats.left_out.values()) == 12 - views
    again = run(cell, first, MemoryFetcher(IMAGES), embedder=Thumbnail())
    assert (again.stats.embedded, again.stats.reused) == (0, 2), "what is left out is known not to be missing"


def test_an_empty_cell_is_no_problem(run: Run) -> None:
    result = run(captures())
    assert result.vectors.schema == embedding_schema(512) and result.failures.schema == FAILURE_SCHEMA
    assert len(result.vectors) == len(result.failures) == 0 and result.stats.bottleneck == ""


def test_what_is_unchanged_is_not_fetched_again(run: Run) -> None:
    cell = captures({}, PANO)
    first, fetcher = run(cell), MemoryFetcher(IMAGES)
    second = run(cell, first, fetcher)
    assert not fetcher.fetched
    assert second.vectors.equals(first.vectors)
    assert (second.stats.embedded, second.stats.reused, second.stats.removed_vectors) == (0, 2, 0)


def test_a_corrected_heading_changes_the_vectors_rows_without_a_fetch(run: Run) -> None:
    first, fetcher = run(captures(PANO)), MemoryFetcher(IMAGES)
    second = run(captures(PANO | {"heading_deg": 10.0}), first, fetcher)
    assert not fetcher.fetched
    assert second.vectors["heading_deg"].to_list() == [(10.0 + 30 * view) % 360 for view in range(12)]
    assert second.vectors["embedding"].equals(first.vectors["embedding"])


@pytest.mark.parametrize(
    "change",
    [
        {"image_version": "2", "image_url": "http://a/other"},
        {"is_pano": True, "image_url": "http://b/pano"},
    ],
)
def test_a_changed_image_is_embedded_again(change: dict[str, Any], run: Run) -> None:
    first, fetcher = run(captures({}, {})), MemoryFetcher(IMAGES)
    second = run(captures({}, change), first, fetcher)
    assert list(fetcher.fetched) == [change["image_url"]]
    assert (second.stats.embedded, second.stats.reused) == (1, 1)
    assert second.vectors.filter(capture_id="s:1")["image_version"][0] == change.get("image_version", "")


def test_another_model_embeds_everything_again_beside_the_first(run: Run) -> None:
    cell = captures({}, PANO)
    first = run(cell)
    second = run(cell, first, embedder=TinyModel())
    assert second.stats.embedded == 2 and set(second.vectors["model_id"]) == {"tiny-2-p1"}
    assert second.vectors.schema["embedding"] == pl.Array(pl.Float16, 2)
    third = run(cell, second, embedder=TinyModel("tiny-2-p2"))
    assert third.stats.embedded == 2 and set(third.vectors["model_id"]) == {"tiny-2-p2"}
    fetcher = MemoryFetcher(IMAGES)
    assert run(cell, third, fetcher).vectors.equals(first.vectors) and not fetcher.fetched


def test_a_capture_that_is_gone_loses_its_vectors_and_failures(run: Run) -> None:
    first = run(captures({}, PANO, {"image_url": "http://a/missing"}))
    second = run(captures({}), first)
    assert second.vectors["capture_id"].to_list() == ["s:0"] and len(second.failures) == 0
    assert second.stats.removed_vectors == 12


def test_vectors_missing_from_a_panorama_make_it_embedded_again(run: Run) -> None:
    first = run(captures(PANO))
    first.vectors.head(11).write_parquet(first.folder / Thumbnail.model.model_id / f"{CELL}.parquet")
    assert run(captures(PANO), first).vectors.equals(first.vectors)


def test_a_bad_image_is_a_row_and_the_cell_goes_on(run: Run) -> None:
    images = IMAGES | {
        "http://a/html": b"<html>",
        "http://a/cut": FLAT[:900],
        "http://a/slow": Failure(FailureReason.TIMEOUT),
    }
    cell = captures({}, *({"image_url": f"http://a/{name}"} for name in ("html", "cut", "slow", "gone")))
    result = run(cell, fetcher=MemoryFetcher(images))
    assert dict(result.failures.select("capture_id", "reason").iter_rows()) == {
        "s:1": "not_an_image",
        "s:2": "damaged",
        "s:3": "timeout",
        "s:4": "not_found",
    }
    assert result.failures.schema == FAILURE_SCHEMA
    assert result.vectors["capture_id"].to_list() == ["s:0"]
    assert sum(result.stats.failed.values()) == 4 and result.stats.failed["timeout"] == 1
    later = dict(result.failures.select("reason", "next_try_at").iter_rows())
    assert later["timeout"] == NOW + BACK_OFF[0] and later["not_found"] is None


HALF = smooth(256, 128)
HALF[:, 128:] = 0
STRANGE = {
    "http://b/half": encoded(HALF),
    "http://b/tall": encoded(smooth(128, 256)),
    "http://b/black": encoded(0 * HALF),
}


def test_of_a_panorama_only_the_views_that_show_something_have_vectors(run: Run) -> None:
    """One that is none after all has one. Both are complete: they are reused, and follow a corrected heading."""
    cell = captures(*(PANO | {"image_url": url} for url in STRANGE), PANO)
    first = run(cell, fetcher=MemoryFetcher(IMAGES | STRANGE))
    views = {f"s:{n}": first.vectors.filter(capture_id=f"s:{n}")["view"].to_list() for n in range(4)}
    assert views == {"s:0": [0, 6, 7, 8, 9, 10, 11], "s:1": [0], "s:2": [], "s:3": list(range(12))}
    assert first.vectors["left_out"].unique().sort().to_list() == [0, 5, 11]
    assert dict(first.failures.select("capture_id", "reason").iter_rows()) == {"s:2": "black"}
    assert (first.stats.embedded, first.stats.vectors, first.stats.left_out) == (3, 20, {"padding": 16})
    fetcher = MemoryFetcher(IMAGES | STRANGE)
    second = run(cell, first, fetcher)
    assert not fetcher.fetched and second.vectors.equals(first.vectors) and second.stats.vectors == 20
    third = run(cell.with_columns(pl.lit(20.5).alias("heading_deg")), second, fetcher)
    assert not fetcher.fetched and third.vectors["embedding"].equals(first.vectors["embedding"])
    assert third.vectors["heading_deg"].to_list() == [(20.5 + 30 * view) % 360 for view in first.vectors["view"]]
    assert run(cell.tail(1), third, fetcher).stats.removed_vectors == 8


def test_what_turned_out_to_be_no_panorama_or_one_is_embedded_anew(run: Run) -> None:
    cell, images = captures({"image_url": "http://b/half"}), IMAGES | STRANGE
    first, fetcher = run(cell, fetcher=MemoryFetcher(images)), MemoryFetcher(images)
    second = run(cell.with_columns(is_pano=True), first, fetcher)
    assert fetcher.fetched.total() == 1 and second.vectors["view"].to_list() == [0, 6, 7, 8, 9, 10, 11]
    third = run(cell, second, fetcher)
    assert fetcher.fetched.total() == 2 and third.vectors.equals(first.vectors)


def test_files_from_before_views_were_left_out_are_read(run: Run) -> None:
    first, fetcher = run(captures({}, PANO)), MemoryFetcher(IMAGES)
    path = first.folder / Thumbnail.model.model_id / f"{CELL}.parquet"
    first.vectors.drop("left_out").write_parquet(path)
    assert run(captures({}, PANO), first, fetcher).stats.reused == 2 and not fetcher.fetched
    again = run(captures({}, PANO, {"image_url": "http://a/other"}), first, fetcher)
    assert list(fetcher.fetched) == ["http://a/other"] and again.vectors[:13].equals(first.vectors)


def test_the_same_bytes_at_many_captures_of_a_source_are_no_picture(run: Run, tmp_path: Path) -> None:
    """Those before the third are taken back; then it is known, in every run. Another source may have the picture."""
    images = {f"http://a/{n}": FLAT for n in range(6)} | {"http://a/other": IMAGES["http://a/other"]}
    images |= {f"own-photos://x/{n}": FLAT for n in range(4)}
    attempts = Attempts(tmp_path / "attempts")
    some = [{"image_url": f"http://a/{n}"} for n in range(4)] + [{"image_url": "http://a/other"}]
    elsewhere = [{"image_url": f"http://a/{n}", "source": "t"} for n in (4, 5)]
    copies = [{"image_url": url} for url in images if url.startswith("own")]
    cell = captures(*some, *elsewhere, *copies)
    first = run(cell, fetcher=MemoryFetcher(images), many=3, batch_size=1, attempts=attempts)
    assert first.stats.failed == {"repeated": 4} and first.stats.embedded == len(cell) - 4
    assert first.vectors["capture_id"].to_list() == sorted(f"s:{n}" for n in range(4, len(cell)))
    assert first.failures["next_try_at"].null_count() == 0, "a picture may come to be there"
    new = captures({"capture_id": "s:new", "image_url": "http://a/0"})
    assert run(new, fetcher=MemoryFetcher(images), many=3, attempts=attempts).stats.failed == {"repeated": 1}
    assert run(new, fetcher=MemoryFetcher(images), many=3).stats.embedded == 1


def with_segments(*segments: bytes) -> bytes:
    return FLAT[:2] + b"".join(segments) + FLAT[2:]


def test_a_photo_that_takes_all_there_is_costs_itself_and_no_run(run: Run) -> None:
    """Of half a megabyte, and viewers show it: 100 megapixels in 64 scans. What is only large beside it is read."""
    heavy = gray_jpeg(10_000, 10_000, 64)
    assert len(heavy) < 2**20
    images = {
        "http://a/heavy": heavy,
        "http://a/profile": with_segments(*[jpeg_segment(0xE2, b"ICC_PROFILE\0\1\x20" + bytes(60_000))] * 32),
        "http://a/parts": with_segments(*[jpeg_segment(0xE2, b"MPF\0II*\0\x08\0\0\0")] * 15_000),
        "http://a/restarts": encoded(smooth(800, 600, 5), restart_marker_blocks=1),
        "http://a/scans": encoded(smooth(800, 600, 6), progressive=True) + b"\xff\xda" * 100_000,
    }
    cell, fetcher = captures(*({"image_url": url} for url in images)), MemoryFetcher(images)
    first = run(cell, fetcher=fetcher, decoders=Decoders(Limits(cpu_s=0.25, wall_s=60)))
    assert dict(first.failures.select("capture_id", "reason").iter_rows())["s:0"] in ("too_costly", "one_color")
    assert first.stats.embedded == 4
    second = run(cell, first, fetcher)
    assert (second.stats.reused, second.stats.deferred, fetcher.fetched.total()) == (4, 1, 5)


def test_a_reason_that_is_none_any_more_holds_nothing_back(run: Run) -> None:
    first = run(captures({}), fetcher=MemoryFetcher({}))
    stale = replace(first, failures=first.failures.with_columns(reason=pl.lit("not_equirectangular")))
    assert run(captures({}), first).stats.deferred == 1
    assert run(captures({}), stale).stats.embedded == 1


def test_a_failure_is_tried_again_when_due_and_given_up_after_five_attempts(run: Run) -> None:
    cell, dead = captures({}), MemoryFetcher({"http://a/flat": Failure(FailureReason.SERVER_ERROR)})
    result, now = run(cell, fetcher=dead), NOW
    for attempts, wait in enumerate(BACK_OFF, start=1):
        assert result.failures.row(0) == ("s:0", "s", "", "server_error", attempts, now, now + wait)
        early = run(cell, result, dead, now + wait - timedelta(seconds=1))
        assert early.failures.equals(result.failures) and early.stats.deferred == 1
        now += wait
        result = run(cell, result, dead, now)
    assert dead.fetched.total() == len(BACK_OFF) + 1
    assert result.failures["next_try_at"].to_list() == [None]
    assert run(cell, result, dead, now + timedelta(days=999)).stats.deferred == 1


@pytest.mark.parametrize("ahead", [timedelta(days=8), timedelta(days=365)])
def test_a_failure_that_was_noted_by_a_clock_that_was_ahead_is_tried_again_at_once(run: Run, ahead: timedelta) -> None:
    cell, dead = captures({}), MemoryFetcher({"http://a/flat": Failure(FailureReason.SERVER_ERROR)})
    noted = run(cell, fetcher=dead, now=NOW + ahead)
    assert run(cell, noted, now=NOW).stats.embedded == 1


def test_a_changed_image_is_tried_afresh_even_after_the_old_one_was_given_up(run: Run) -> None:
    gone = run(captures({}), fetcher=MemoryFetcher({"http://a/flat": Failure(FailureReason.NOT_FOUND)}))
    assert gone.failures["next_try_at"].to_list() == [None]
    assert run(captures({}), gone).stats.deferred == 1
    changed = run(captures({"image_version": "2"}), gone)
    assert len(changed.vectors) == 1 and changed.failures.is_empty()


def test_a_capture_that_recovers_is_no_failure_any_more(run: Run) -> None:
    cell = captures({})
    failed = run(cell, fetcher=MemoryFetcher({"http://a/flat": Failure(FailureReason.TIMEOUT)}))
    result = run(cell, failed, now=NOW + BACK_OFF[0])
    assert len(result.failures) == 0 and len(result.vectors) == 1


def test_vectors_of_a_changed_image_stay_until_the_new_one_can_be_had(run: Run) -> None:
    first, changed = run(captures({})), captures({"image_version": "2"})
    dead = MemoryFetcher({"http://a/flat": Failure(FailureReason.SERVER_ERROR)})
    second = run(changed, first, dead)
    assert second.vectors["image_version"].to_list() == [""] and second.stats.removed_vectors == 0
    third = run(changed, second, dead)
    assert third.vectors.equals(second.vectors) and third.stats.deferred == 1
    fourth = run(changed, third, now=NOW + BACK_OFF[0])
    assert fourth.vectors["image_version"].to_list() == ["2"]
    gone = run(changed, first, MemoryFetcher({}))
    assert len(gone.vectors) == 0


def test_an_image_whose_owner_says_no_loses_its_older_vectors_and_stays_out_until_it_is_allowed(run: Run) -> None:
    first, cell = run(captures({})), captures({"image_version": "2"})
    against = MemoryFetcher({"http://a/flat": Failure(FailureReason.OPTED_OUT, "X-Robots-Tag: noai")})
    second = run(cell, first, against)
    assert second.stats.failed == {"opted_out": 1} and len(second.vectors) == 0
    assert second.failures["next_try_at"].to_list() == [None]
    later = {"now": NOW + timedelta(days=400), "obeys": lambda host: host != "b"}
    assert run(cell, second, **later).stats.deferred == 1
    allowed = run(cell, second, obeys=lambda host: host != "a")
    assert allowed.stats.embedded == 1 and allowed.failures.is_empty()


def test_captures_of_a_dead_host_wait_without_using_up_an_attempt(run: Run) -> None:
    with listening() as port:
        pass
    cell = captures(*[{"image_url": f"http://127.0.0.1:{port}/{i}"} for i in range(40)])
    result = run(cell, fetcher=loopback_fetcher(per_host=1))
    assert result.stats.failed == {"unreachable": HOST_PATIENCE, "host_down": 40 - HOST_PATIENCE}
    waiting = result.failures.filter(reason="host_down")
    assert set(waiting["attempts"]) == {0} and set(waiting["next_try_at"]) == {NOW + BACK_OFF[0]}


def test_only_captures_that_will_be_fetched_are_offered_for_renewal(run: Run) -> None:
    cell = captures({}, PANO)
    offered: list[list[str]] = []

    def renew(images: Sequence[CaptureImage]) -> dict[str, str | Failure]:
        offered.append([image.capture_id for image in images])
        return {}

    first = run(cell, renew=renew)
    assert sorted(offered[0]) == ["s:0", "s:1"]
    run(cell, first, renew=renew)
    assert len(offered) == 1
    run(captures({"image_version": "2"}, PANO), first, renew=renew)
    assert offered[1:] == [["s:0"]]


def test_a_week_of_new_links_to_the_same_images_renews_and_fetches_nothing(run: Run) -> None:
    first = run(captures({}, PANO))

    def renew(images: Sequence[CaptureImage]) -> dict[str, str | Failure]:
        raise AssertionError("nothing is to be fetched")

    fetcher = MemoryFetcher(IMAGES)
    second = run(captures({"image_url": "s:0"}, PANO | {"image_url": "s:1"}), first, fetcher, renew=renew)
    assert not fetcher.fetched
    assert second.vectors.equals(first.vectors)


def test_a_renewed_address_is_fetched_in_place_of_the_stored_one(run: Run) -> None:
    cell, fetcher = captures({"image_url": "s:0"}, {"image_url": "http://a/other"}), MemoryFetcher(IMAGES)
    result = run(cell, None, fetcher, renew=lambda images: {"s:0": "http://a/flat"})
    assert set(fetcher.fetched) == {"http://a/flat", "http://a/other"}
    assert result.failures.is_empty() and result.stats.embedded == 2 and result.stats.renewed == 1


def test_what_could_not_be_renewed_is_a_failure_row_and_the_others_are_embedded(run: Run) -> None:
    cell = captures({"image_url": "s:0"}, {"image_url": "s:1"}, {})
    lost = {"s:0": Failure(FailureReason.LINK_EXPIRED), "s:1": Failure(FailureReason.GONE)}
    fetcher, progress = MemoryFetcher(IMAGES), []
    result = run(cell, None, fetcher, renew=lambda images: lost, on_progress=lambda tally: progress.append(tally.done))
    assert list(fetcher.fetched) == ["http://a/flat"]
    assert result.vectors["capture_id"].to_list() == ["s:2"]
    assert result.failures.select("capture_id", "reason", "attempts", "next_try_at").rows() == [
        ("s:0", "link_expired", 0, NOW + BACK_OFF[0]),
        ("s:1", "gone", 1, NOW + BACK_OFF[0]),
    ]
    assert result.stats.failed == {"link_expired": 1, "gone": 1} and result.stats.renewed == 0
    assert sorted(set(progress)) == [0, 1, 2, 3]


def test_a_source_that_stays_down_gives_no_capture_up_and_one_that_misses_it_does(run: Run) -> None:
    cell, now = captures({"image_url": "s:0"}, {"image_url": "s:1"}), NOW
    lost = {"s:0": Failure(FailureReason.LINK_EXPIRED), "s:1": Failure(FailureReason.GONE)}
    result = run(cell, renew=lambda images: lost)
    for _ in range(2 * len(BACK_OFF)):
        now += BACK_OFF[-1]
        result = run(cell, result, now=now, renew=lambda images: lost)
    assert result.failures.select("capture_id", "attempts", "next_try_at").rows() == [
        ("s:0", 0, now + BACK_OFF[0]),
        ("s:1", len(BACK_OFF) + 1, None),
    ]
    back = run(cell, result, now=now + BACK_OFF[0], renew=lambda images: {"s:0": "http://a/flat"})
    assert back.vectors["capture_id"].to_list() == ["s:0"]


def test_vectors_stay_while_the_link_to_a_changed_image_cannot_be_renewed(run: Run) -> None:
    first = run(captures({}))
    changed = captures({"image_version": "2", "image_url": "s:0"})
    second = run(changed, first, renew=lambda images: {"s:0": Failure(FailureReason.LINK_EXPIRED)})
    assert second.vectors.equals(first.vectors)


class KilledInBatch(Thumbnail):
    """Raises in its n-th batch, and counts what it was given before."""

    def __init__(self, number: int) -> None:
        self.number, self.batches = number, 0

    def embed(self, batch: Sequence[Image]) -> np.ndarray:
        self.batches += 1
        if self.batches == self.number:
            raise KeyboardInterrupt
        return super().embed(batch)


@pytest.mark.parametrize("batch", range(1, 9))
def test_a_killed_run_loses_no_more_than_the_batch_it_was_in(tmp_path: Path, decoders: Decoders, batch: int) -> None:
    """Whichever batch it dies in, those before are never embedded again, and the end is the same."""
    cell = captures({"image_version": "2"}, PANO, *[{}] * 5, PANO)  # 30 views, in batches of 4
    files = VectorFiles(open_store(tmp_path), "model", 512).cell(CELL)

    def embed(embedder: Thumbnail) -> tuple[CellStats, MemoryFetcher]:
        fetcher = MemoryFetcher(IMAGES)
        task = CellTask(CELL, cell, NO_FAILURES, files)
        options: dict[str, Any] = {"now": lambda: NOW, "batch_size": 4, "many": 99, "decoders": decoders}
        ((_, done),) = embed_cells([task], embedder=embedder, fetcher=fetcher, **options)
        return done.stats, fetcher

    with pytest.raises(KeyboardInterrupt):
        embed(KilledInBatch(batch))
    assert not files.held().height and files.in_parts()["views"].sum() == 4 * (batch - 1)
    counting = KilledInBatch(99)
    stats, fetcher = embed(counting)
    assert stats.embedded + stats.reused == len(cell) and stats.embedded == fetcher.fetched.total()
    whole = VectorFiles(open_store(tmp_path), "whole", 512).cell(CELL)
    files_found, files = files.read(), whole
    embed(Thumbnail())
    assert files_found.equals(whole.read())
    assert not (tmp_path / "whole" / f"{CELL}.parts").exists()


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_run_whose_time_is_over_leaves_and_the_next_goes_on(tmp_path: Path, decoders: Decoders, batches: int) -> None:
    """What it had embedded is kept, also of a cell that no run has time for."""
    cell = captures(*[{}] * 300)
    files = VectorFiles(open_store(tmp_path), "model", 512).cell(CELL)
    counting = KilledInBatch(10**9)

    def embed(is_over: Callable[[], bool]) -> list[str]:
        task = CellTask(CELL, cell, NO_FAILURES, files)
        found = embed_cells(
            [task],
            embedder=counting,
            fetcher=MemoryFetcher(IMAGES),
            batch_size=16,
            many=10**9,
            decoders=decoders,
            is_over=is_over,
        )
        return [cell_id for cell_id, _ in found]

    assert embed(lambda: counting.batches >= batches) == []
    kept = files.in_parts().height
    assert 16 * batches <= kept < 300 and not files.held().height
    assert embed(lambda: False) == [CELL]
    assert files.read().height == 300


def test_cells_overlap_and_each_gets_its_own(tmp_path: Path, decoders: Decoders) -> None:
    """Batches hold views of several cells; one whose file is damaged is embedded anew, one that fails is an error."""
    files = VectorFiles(open_store(tmp_path), "model", 2)
    files.objects.put("model/c2.parquet", b"PAR1 damaged")
    files.objects.put("model/c3.parts", b"a file where a folder should be")
    model = TinyModel()
    rows = {f"c{n}": captures(*({"capture_id": f"s:{n}-{i}"} for i in range(n))) for n in range(6)}
    tasks = [CellTask(cell_id, cell, NO_FAILURES, files.cell(cell_id)) for cell_id, cell in rows.items()]
    options: dict[str, Any] = {"batch_size": 5, "many": 99, "decoders": decoders}
    done = dict(embed_cells(tasks, embedder=model, fetcher=MemoryFetcher(IMAGES), **options))
    assert set(done) == set(rows) and isinstance(done["c3"], TransientError)
    for cell_id in {"c1", "c2", "c4", "c5"}:
        assert files.cell(cell_id).read()["capture_id"].to_list() == rows[cell_id]["capture_id"].to_list()
        assert done[cell_id].stats.embedded == len(rows[cell_id])
    sizes = [batch[0] for batch in model.batches]
    assert sizes[:2] == [5, 5] and 12 <= sum(sizes) <= 15, "images of the cell that failed are let go from then on"
    assert not files.objects.has("model/c0.parquet"), "a cell without captures needs no file"


def test_a_cell_is_planned_while_the_last_images_of_the_one_before_are_on_their_way(
    tmp_path: Path, decoders: Decoders
) -> None:
    opened: list[str] = []
    files = VectorFiles(open_store(tmp_path), "model", 512)

    def tasks() -> Any:
        for cell_id in "abc":
            opened.append(cell_id)
            cell = captures(*({"capture_id": f"s:{cell_id}{i}"} for i in range(300)))
            yield CellTask(cell_id, cell, NO_FAILURES, files.cell(cell_id))

    options: dict[str, Any] = {"batch_size": 8, "many": 1000, "decoders": decoders}
    run = embed_cells(tasks(), embedder=Thumbnail(), fetcher=MemoryFetcher(IMAGES), **options)
    seen = [(cell_id, list(opened)) for cell_id, _ in run]
    assert [cell_id for cell_id, _ in seen] == list("abc")
    assert seen[0][1] == ["a", "b"], "the next cell is opened before this one is finished, and not the one after"


@pytest.mark.parametrize("reason", FailureReason)
def test_only_reasons_that_may_pass_are_tried_again(reason: FailureReason) -> None:
    assert (next_try_at(reason, 1, NOW) is not None) is reason.is_transient
    assert next_try_at(reason, len(BACK_OFF) + 1, NOW) is None


def test_batches_have_one_shape_and_no_more_than_their_size(run: Run) -> None:
    sizes = [(64, 48)] * 5 + [(48, 64)] * 3
    images = {f"http://a/{i}": encoded(smooth(*size, i)) for i, size in enumerate(sizes)}
    model = TinyModel(side_px=None)
    result = run(
        captures(*({"image_url": url} for url in images)), None, MemoryFetcher(images), embedder=model, batch_size=2
    )
    assert len(result.vectors) == 8
    assert sorted(model.batches) == sorted([(2, 48, 64, 3)] * 2 + [(1, 48, 64, 3)] + [(2, 64, 48, 3), (1, 64, 48, 3)])


def test_odd_shapes_do_not_pile_up(run: Run) -> None:
    images = {f"http://a/{i}": encoded(smooth(40 + i, 40)) for i in range(40)}
    model = TinyModel(side_px=None)
    embedded: list[int] = []
    run(
        captures(*({"image_url": url} for url in images)),
        None,
        MemoryFetcher(images),
        embedder=model,
        batch_size=4,
        on_progress=lambda tally: embedded.append(tally.embedded),
    )
    assert len(model.batches) == 40
    assert embedded[len(embedded) // 2] > 0, "nothing was embedded before everything had been read"


def test_vectors_do_not_depend_on_the_order_of_arrival(run: Run) -> None:
    cell = captures(PANO, *[{}, {"image_url": "http://a/other"}] * 6)
    assert run(cell).vectors.equals(run(cell.reverse(), batch_size=5).vectors)


def test_progress_ends_at_the_total(run: Run) -> None:
    seen: list[tuple[int, int, int]] = []

    def note(tally: EmbeddingProgress) -> None:
        seen.append((tally.embedded, tally.failed, tally.untouched))

    first = run(captures({}, {}, {"image_url": "http://a/missing"}), on_progress=note)
    assert seen[0] == (0, 0, 0) and seen[-1] == (2, 1, 0)
    run(captures({}, {}, {"image_url": "http://a/missing"}, {}), first, on_progress=note)
    assert seen[-1] == (1, 0, 3)


def test_what_the_model_raises_is_raised(run: Run) -> None:
    class Broken(TinyModel):
        def embed(self, batch: list[Image]) -> np.ndarray:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(captures({}, {}), embedder=Broken())


def test_a_cell_over_a_real_socket_survives_every_fault(server: ImageServer, run: Run) -> None:
    server.routes |= {
        "/good": body(FLAT),
        "/pano": body(PANORAMA),
        "/500": status(500),
        "/drip": endless(b"\xff", pause_s=0.05),
        "/html": body(b"<html>sorry</html>"),
        "/cut": body(FLAT[:900]),
        "/private": status(302, "http://10.0.0.1/"),
    }
    names = ["good", "pano", "500", "drip", "html", "cut", "private", "404"]
    cell = captures(
        *(
            {"capture_id": f"s:{name}", "image_url": server.url(f"/{name}"), "is_pano": name == "pano"}
            for name in names
        ),
        {"capture_id": "s:outside", "image_url": "http://169.254.169.254/"},
    )
    fetcher = ImageFetcher(addresses=AddressRule(allow_loopback=True), deadline_s=5, retry_after_s=0)
    result = run(cell, fetcher=fetcher)
    assert set(result.vectors["capture_id"]) == {"s:good", "s:pano"}
    assert dict(result.failures.select("capture_id", "reason").iter_rows()) == {
        "s:404": "not_found",
        "s:500": "server_error",
        "s:cut": "damaged",
        "s:drip": "timeout",
        "s:html": "not_an_image",
        "s:outside": "not_allowed",
        "s:private": "not_allowed",
    }


def test_the_server_sees_no_more_requests_at_once_than_allowed(server: ImageServer, run: Run) -> None:
    server.routes |= {f"/{i}": body(FLAT) for i in range(40)}
    fetcher = ImageFetcher(addresses=AddressRule(allow_loopback=True), per_host=3)
    result = run(captures(*({"image_url": server.url(f"/{i}")} for i in range(40))), fetcher=fetcher)
    assert result.stats.embedded == 40 and server.peak <= 3


def test_importing_the_pipeline_imports_no_torch(run: Run) -> None:
    modules = "geopin_assets.embedding.pipeline, geopin_assets.embedding.model.choosing"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
