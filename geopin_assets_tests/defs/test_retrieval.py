"""How well the index places photos is asked of it as it is published, kept, and shown; too little to ask is said."""

from pathlib import Path

import dagster as dg
import numpy as np
import orjson
import polars as pl
import pytest

from geopin_assets.cells import cell
from geopin_assets.defs.assets.retrieval import CHECKS, Evaluation, retrieval
from geopin_assets.defs.resources import Sources
from geopin_assets.embedding.protocol import CaptureImage
from geopin_assets.embedding.vectors import HELD_SCHEMA, vector_rows
from geopin_assets.locate.history import CELLS_FILE, read, read_cells
from geopin_assets.locate.history import FILE as RUNS
from geopin_assets.locate.opening import calibration_path, read_calibration
from geopin_assets.platform.index_state import switch_when_complete
from geopin_assets_tests.defs.test_evidence import publish
from geopin_assets_tests.factories import capture, crawl
from geopin_assets_tests.platform import CELLS, Installation

HERE, THERE = CELLS
SOURCES, PLACES = ("panoramax", "kartaview", "flickr"), 20


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return Installation(tmp_path, {"GEOPIN_PROFILE": "sandbox"})


def show(place: Installation) -> None:
    """Three sources show the places of a street, each on drives of several people; a third look like another place."""
    model, random, box = place.embedding.model(), np.random.default_rng(5), cell(HERE).bbox
    looks = random.normal(size=(PLACES, model.dim))
    vectors = np.concatenate([looks + 0.7 * random.normal(size=looks.shape) for _ in SOURCES])
    images = []
    for source in SOURCES:
        captures = [
            capture(
                str(n),
                source=source,
                lon=box.west + (box.east - box.west) * (n + 0.5) / PLACES,
                lat=(box.south + box.north) / 2,
                creator=f"{source} {n // 5}",
                sequence_id=f"{source} {n // 5}",
                captured_at=None,
            )
            for n in range(PLACES)
        ]
        crawl(place.storage.raw(), HERE, captures, source=source)
        images += [CaptureImage(HERE, f"{source}:{n}", source, str(n), "", "1", False, 90.0) for n in range(PLACES)]
    crawl(place.storage.raw(), THERE, [])
    place.storage.catalog().merge(CELLS, place.storage.raw())
    confused = random.random(len(vectors)) < 1 / 3
    vectors[confused] = random.permutation(vectors[confused])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    files = place.vectors(HERE)
    files.append(vector_rows(images, [0] * len(images), vectors.astype(np.float16), model.model_id))
    held = [(image.capture_id, "1", 1, 90.0, 0) for image in images]
    files.commit(pl.DataFrame(held, schema=HELD_SCHEMA, orient="row"), files.held())
    publish(place)
    switch_when_complete(place.storage, place.search_index, model, lambda *_: True)


def ask(place: Installation, instance: dg.DagsterInstance) -> tuple[dict[str, object], dict[str, bool]]:
    """What the asset says, and its checks."""
    resources = {"storage": place.storage, "embedding": place.embedding, "search_index": place.search_index}
    resources["sources"] = Sources(overrides=place.overrides)
    config = dg.RunConfig({retrieval.op.name: Evaluation(questions=60, images=0)})
    ended = dg.materialize([retrieval], instance=instance, resources=resources, run_config=config)
    (made,) = ended.asset_materializations_for_node(retrieval.op.name)
    checks = {check.check_name: check.passed for check in ended.get_asset_check_evaluations()}
    return {name: each.value for name, each in made.metadata.items()}, checks


def test_published_captures_are_asked_of_the_others_and_the_answers_calibrate(
    place: Installation, instance: dg.DagsterInstance
) -> None:
    show(place)
    told, checks = ask(place, instance)
    assert told["answers"] == told["solvable"] == 60 and checks == dict.fromkeys(CHECKS, True)
    assert 0.3 < told["recall_1_25m"] < 0.8 and {"ece", "terms", "risk", "false_found_at_most"} <= set(told)

    settings, model_id = place.storage.settings(), place.embedding.model().model_id
    calibration = read_calibration(settings, model_id)
    assert calibration is not None
    kept = orjson.loads(calibration_path(settings, model_id).read_bytes())["provenance"]
    shown = {term for term, gain in kept["gains"]["plain"].items() if gain["low"] > 0}
    assert calibration.plain.counted <= {"likeness", *shown}
    with place.storage.quality().as_folder(RUNS, CELLS_FILE) as folder:
        assert read(folder)["recall_1_25m"].to_list() == [told["recall_1_25m"]]
        assert read_cells(folder).rows() == [(HERE, 60, round(60 * (1 - told["recall_1_25m"])))]


def test_where_nothing_is_published_it_says_so(place: Installation, instance: dg.DagsterInstance) -> None:
    told, checks = ask(place, instance)
    assert told["answers"] == 0 and "the index is empty" in str(told["why"]) and all(checks.values())
