"""Another model is another index, built beside the one in use, which searches switch to when it is complete."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import torch

from geopin_assets.cli.index import switch_index
from geopin_assets.cli.listings import print_status
from geopin_assets.defs.resources import SearchIndex
from geopin_assets.embedding.model.cosplace import CosPlaceNetwork
from geopin_assets.locate.verdict import FEWEST, read_verdict
from geopin_assets_tests.platform import CELLS, Platform

SOURCES = ("panoramax",)
SEVERAL = ("panoramax", "kartaview", "stac")
"""Two of them show the same street, so that each can be asked of the other."""
ERROR = dg.AssetCheckSeverity.ERROR


def with_another_model(platform: Platform, folder: Path) -> None:
    """The same installation, set to a network of random weights: what it finds does not matter here."""
    torch.manual_seed(0)
    torch.save(CosPlaceNetwork("ResNet18", 32).state_dict(), folder / "random.pth")
    platform.set(GEOPIN_MODEL="cosplace/ResNet18/32", GEOPIN_WEIGHTS=str(folder / "random.pth"), GEOPIN_DEVICE="cpu")


def states(search_index: SearchIndex) -> dict[str, str]:
    return {
        version.name.rsplit("-v", 1)[0].split("-")[1]: version.state.value for version in search_index.versions().all()
    }


def publication(platform: Platform) -> dict[str, tuple[str, int]]:
    """What searchers are told: model -> (state, vectors)."""
    rows = platform.rows.query("SELECT model_id, state, vectors FROM publication")
    return {model.split("-")[0]: (state, vectors) for model, state, vectors in rows.iter_rows()}


def test_another_model_takes_the_place_of_the_one_in_use_only_when_it_is_complete_and_found_no_worse(
    build_platform: Callable[[str], Platform],
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform = build_platform("models")
    platform.run(instance, sources=SEVERAL, reports=False)
    first, count = platform.index, platform.index.info().vector_count
    assert states(platform.search_index) == {"thumbnail": "serving"} and count > 1
    assert publication(platform) == {"thumbnail": ("serving", count)}

    with_another_model(platform, tmp_path)
    platform.run(instance, cells=CELLS[:1], sources=SEVERAL, reports=False)
    assert states(platform.search_index) == {"thumbnail": "serving", "cosplace": "building"}
    assert publication(platform)["thumbnail"] == ("serving", count)
    assert first.info().vector_count == count, "the index in use is left alone"
    assert platform.rows.count("vectors") == count, "so are the rows of its vectors"

    platform.run(instance, cells=CELLS[1:], sources=SEVERAL, reports=False)
    assert states(platform.search_index) == {"thumbnail": "serving", "cosplace": "building"}, (
        "too little to judge it by"
    )
    verdict = read_verdict(platform.storage.quality())
    assert verdict and 0 < verdict.questions < FEWEST and 0 <= verdict.before <= 1 >= verdict.after >= 0
    for variable, value in platform.overrides.items():
        monkeypatch.setenv(variable, value)
    print_status(platform.storage.settings())
    assert "searches stay with geopin-thumbnail-512-p2-v1: only" in " ".join(capsys.readouterr().out.split())
    new = next(v for v in platform.search_index.versions().all() if v.model_id.startswith("cosplace"))
    switch_index(new.name)
    assert states(platform.search_index) == {"thumbnail": "retired", "cosplace": "serving"}
    assert publication(platform) == {"thumbnail": ("retired", count), "cosplace": ("serving", count)}
    assert platform.index.dim == 32 and platform.index.info().vector_count == count
    folders = {model_id.split("-")[0] for model_id in platform.storage.embeddings().look()[0]}
    assert folders == {"thumbnail", "cosplace"}, "vectors of two models are never in one place"


def test_a_mass_removal_is_a_new_version_that_searches_switch_to(
    build_platform: Callable[[str], Platform], instance: dg.DagsterInstance
) -> None:
    platform = build_platform("removal")
    platform.run(instance, sources=SOURCES, reports=False)
    before = platform.index.info().vector_count
    gone = platform.storage.catalog().ids().head(3).to_list()
    platform.tell_sandbox("POST", {"vanish": [id_.partition(":")[2] for id_ in gone]})
    platform.set(GEOPIN_MASS_REMOVAL="2")
    platform.run(instance, sources=SOURCES, reports=False)

    first, second = platform.search_index.versions().all()
    assert [(v.number, v.state.value) for v in (first, second)] == [(1, "retired"), (2, "serving")]
    (old,), (new,) = (platform.search_index.vectors(version).parts for version in (first, second))
    assert (old.info().vector_count, new.info().vector_count) == (before, before - 3), "nothing was deleted one by one"
    assert not set(platform.rows.query("SELECT capture_id FROM captures")["capture_id"]) & set(gone)


def test_the_whole_path_publishes_to_cloudflare_in_shards(
    build_platform: Callable[[str], Platform],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To the stand-in over a socket, with its limits, delays and rate; every database says where the rest is."""
    platform = build_platform("cloud")
    platform.set(GEOPIN_INDEX="cloudflare", GEOPIN_INDEX_SHARDS="2", GEOPIN_D1_SHARDS="2")
    layers = platform.run(instance, sources=SOURCES)
    assert not any(layer.failed for layer in layers.values())
    assert [
        check.description
        for layer in layers.values()
        for check in layer.checks
        if check.severity == ERROR and not check.passed
    ] == []
    parts = platform.search_index.vectors(platform.search_index.versions().serving()).parts
    assert [part.name[-3:] for part in parts] == ["-s0", "-s1"]
    assert layers["publish/vectorize"].totals["upserted"] == 12 == sum(len(list(part.ids())) for part in parts)
    stores = platform.search_index.metadata().parts
    for store in stores:
        (row,) = store.query("SELECT * FROM publication").iter_rows(named=True)
        assert json.loads(row["indexes"]) == [part.name for part in parts]
        assert json.loads(row["databases"]) == [store.name for store in stores] and row["vectors"] == 12
    for variable, value in platform.overrides.items():
        monkeypatch.setenv(variable, value)
    print_status(platform.storage.settings(), is_json=True)
    assert json.loads(capsys.readouterr().out)["index"]["vectors"] == 12
    again = platform.run(instance, sources=SOURCES, reports=False)
    for asset in ("publish/vectorize", "publish/d1"):
        assert (again[asset].totals["upserted"], again[asset].totals["rows_written"]) == (0, 0)
