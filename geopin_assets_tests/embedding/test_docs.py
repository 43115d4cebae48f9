"""docs/embedding.md says of models, limits and failures what the code does."""

import re
from pathlib import Path

import pytest

from geopin_assets.embedding import (
    answers,
    decoders,
    decoding,
    fetching,
    hosts,
    jpeg,
    pillow_formats,
    reading,
    views,
)
from geopin_assets.embedding.model.checkpoints import PUBLISHED, Architecture
from geopin_assets.embedding.model.thumbnail import Thumbnail
from geopin_assets.embedding.protocol import BACK_OFF, FailureReason
from geopin_assets.settings import Settings
from geopin_assets.variables import VARIABLES

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")
MB = 2**20


def rows(heading: str) -> list[list[str]]:
    """The cells of every row of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_models_is_what_is_published() -> None:
    named = {
        (method.strip("`"), backbone, int(dim))
        for method, backbones, dims in rows("Models")
        for backbone in backbones.split(", ")
        for dim in dims.split(", ")
    }
    assert named == {(m, b, dim) for m, of in PUBLISHED.items() for b, dims in of.items() for dim in dims}


def test_the_model_by_default_and_the_stand_in_are_named() -> None:
    assert f"`{Settings().model}` unless said" in PAGE and f"`{Thumbnail.model.model_id}`" in PAGE
    assert Architecture.parse(Settings().model).model("1a2b3c4d").model_id in PAGE


def test_every_reason_of_a_failure_is_explained_with_whether_it_is_tried_again() -> None:
    said = {
        reason: again
        for reasons, _, again in rows("Failures and retries")
        for reason in re.findall(r"`(\w+)`", reasons)
    }
    assert said == {
        reason.value: "no" if not reason.is_transient else "yes" if reason.is_attempt else "yes, as often as it takes"
        for reason in FailureReason
    }
    assert [wait.total_seconds() / 3600 for wait in BACK_OFF] == [6, 24, 72, 168]
    assert "6 hours, a day, 3 days, 7 days. After five failed attempts" in PAGE


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("| {} MB;", fetching.MAX_BYTES, MB),
        ("; {} megapixels (WebP", jpeg.Jpeg.max_pixels, 10**6),
        ("; {} megapixels (WebP", pillow_formats.Png.max_pixels, 10**6),
        ("(WebP {});", pillow_formats.WebP.max_pixels, 10**6),
        ("no side below {} px", decoding.MIN_SIDE_PX, 1),
        ("| {} s for one attempt", fetching.ImageFetcher.deadline_s, 1),
        ("| {}, each checked as if", answers.MAX_REDIRECTS, 1),
        ("| {} scans:", jpeg.MAX_SCANS, 1),
        ("{} images on the way", reading.IN_FLIGHT, 1),
        ("{} MB of undecoded bytes", reading.IN_FLIGHT_BYTES, MB),
        ("{} MB of\ndecoding", decoders.WORKING_BYTES, MB),
        ("{} prepared captures", reading.QUEUE, 1),
        ("waited for up to {} minutes", hosts.MAX_WAIT_S, 60),
        ("After {} failures in a row", hosts.HOST_PATIENCE, 1),
        ("Headers of up to {} kB", answers.MAX_FIELD, 1024),
        ("{} of them are taken", answers.MAX_HEADERS, 1),
        ("are renewed {} at a time", reading.RENEWED_AT_ONCE, 1),
        ("one every {}°", views.YAW_STEP_DEG, 1),
        ("views of {}° ×", views.FOV_DEG, 1),
        ("°, {}° up", views.PITCH_DEG, 1),
        ("up, {} ×", views.SIZE_PX, 1),
    ],
)
def test_limits_are_those_of_the_code(text: str, value: float, unit: int) -> None:
    assert text.format(f"{value / unit:g}") in PAGE


def test_every_variable_that_the_page_names_exists() -> None:
    assert set(re.findall(r"GEOPIN_[A-Z0-9_]+", PAGE)) <= set(VARIABLES)
