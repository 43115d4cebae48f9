"""What is thinned has a row and no vector; what is wanted again gets one, within one run, and nothing is sent twice."""

from collections import Counter

import polars as pl

from geopin_assets.capture import vector_id
from geopin_assets.defs.running.local_run import LayerResult, run_below_raw
from geopin_assets.embedding.plan import FAILURE_SCHEMA
from geopin_assets.embedding.protocol import VIEWS
from geopin_assets.platform.index_state import lacking
from geopin_assets_tests.platform import CELLS, Platform, Ran

THIN_M = "30"  # the sandbox has an image every 20 m


def wanted(platform: Platform) -> set[str]:
    return set(platform.storage.catalog().wanted(CELLS)["capture_id"])


def below_raw(ran: Ran) -> dict[str, LayerResult]:
    """All that follows from crawls, of what they found before."""
    job = ran.platform.definitions.resolve_implicit_global_asset_job_def()
    return {layer.asset: layer for layer in run_below_raw(job, ran.instance, CELLS)}


def assert_in_sync(platform: Platform, ran: Ran) -> Counter[str]:
    """Once more: nothing is left to do, and the check finds what should be there. Returns totals."""
    layers = below_raw(ran)
    for asset in ("index/embeddings", "publish/d1", "publish/vectorize"):
        assert not any(layers[asset].totals[name] for name in ("embedded", "upserted", "deleted", "removed_vectors"))
    assert platform.is_in_sync(ran.instance)
    rows = platform.rows.query("SELECT capture_id, not_indexed_because FROM captures")
    assert set(rows["capture_id"]) == set(platform.storage.catalog().captures(CELLS)["capture_id"])
    assert set(rows.filter(pl.col("not_indexed_because").is_null())["capture_id"]) == wanted(platform)
    in_index = set(platform.rows.query("SELECT DISTINCT capture_id FROM vectors")["capture_id"])
    given_up = set(platform.storage.catalog().failures(CELLS)["capture_id"])
    assert in_index == wanted(platform) - given_up
    model = platform.embedding.model()
    version = platform.search_index.publishing(model)
    assert lacking(platform.storage, platform.search_index, version, model).is_nothing
    return layers["publish/vectorize"].totals


def test_thinning_takes_vectors_and_leaves_rows_and_undoing_it_brings_them_back(ran: Ran) -> None:
    platform = ran.platform
    vectors, everything = platform.index.info().vector_count, wanted(platform)
    platform.set(GEOPIN_THIN_M=THIN_M, GEOPIN_REMOVAL_FLOOR="0", GEOPIN_MAX_REMOVAL_SHARE="0")  # a setting is asking
    done = below_raw(ran)
    panos = dict(platform.storage.catalog().captures(CELLS).select("capture_id", "is_pano").iter_rows())
    thinned = everything - wanted(platform)
    assert 5 < len(thinned) < len(everything)
    gone = sum(VIEWS if panos[id_] else 1 for id_ in thinned)
    assert done["publish/vectorize"].totals["deleted"] == gone and done["publish/vectorize"].totals["upserted"] == 0
    assert done["index/embeddings"].totals["embedded"] == 0
    assert platform.index.info().vector_count == vectors - gone
    assert_in_sync(platform, ran)

    platform.set(GEOPIN_REMOVAL_FLOOR="100")
    keeper, owner = _keeper_and_one_of_its_own(platform)
    platform.tell_sandbox("POST", {"vanish": [keeper.partition(":")[2]]})
    back = platform.run(ran.instance, reports=False)
    assert owner in wanted(platform) and back["index/embeddings"].totals["embedded"] >= 1
    assert not platform.index.get([vector_id(owner, 0)]).is_empty()
    assert_in_sync(platform, ran)

    platform.tell_sandbox("DELETE")
    platform.set(GEOPIN_THIN_M="0")
    platform.run(ran.instance, reports=False)
    assert wanted(platform) == everything
    assert platform.index.info().vector_count == vectors
    assert_in_sync(platform, ran)


def test_what_has_a_vector_leaves_when_its_keeper_has_one(ran: Ran) -> None:
    """Not before, as long as the keeper's image cannot be had."""
    platform, (keeper, owner) = ran.platform, _newest_of_a_drive(ran.platform)
    cell_id = dict(platform.storage.catalog().places(CELLS).iter_rows())[keeper]
    held = (vectors := platform.vectors(cell_id)).held()
    vectors.commit(held.filter(pl.col("capture_id") != keeper), held)
    platform.tell_sandbox("POST", {"source": "panoramax", "status": 503, "capture": keeper.partition(":")[2]})
    platform.set(GEOPIN_THIN_M="1000", GEOPIN_REMOVAL_FLOOR="0", GEOPIN_MAX_REMOVAL_SHARE="0")
    done = platform.run(ran.instance, reports=False)
    assert done["index/embeddings"].totals["failed_images"] == 1
    assert keeper in wanted(platform) and owner not in wanted(platform)
    assert done["publish/vectorize"].totals["deleted"] > 1 and not done["publish/vectorize"].totals["upserted"]
    assert not platform.index.get([vector_id(owner, 0)]).is_empty()
    platform.tell_sandbox("DELETE")
    platform.storage.failures().write(cell_id, FAILURE_SCHEMA.to_frame())  # as if it were hours later
    done = below_raw(ran)
    assert (done["index/embeddings"].totals["embedded"], done["publish/vectorize"].totals["deleted"]) == (1, 1)
    assert platform.index.get([vector_id(owner, 0)]).is_empty()
    assert not platform.index.get([vector_id(keeper, 0)]).is_empty()
    assert_in_sync(platform, ran)


def test_what_stood_for_others_and_cannot_be_had_gives_way_to_them_in_the_same_run(ran: Ran) -> None:
    platform, (keeper, owner) = ran.platform, _newest_of_a_drive(ran.platform)
    platform.set(GEOPIN_THIN_M="1000")  # one of each drive
    below_raw(ran)
    assert keeper in wanted(platform) and owner not in wanted(platform)
    vectors = platform.vectors(dict(platform.storage.catalog().places(CELLS).iter_rows())[keeper])
    vectors.objects.delete([vectors.key])  # all of the cell are fetched again
    platform.tell_sandbox("POST", {"source": "panoramax", "status": 410, "capture": keeper.partition(":")[2]})
    done = platform.run(ran.instance, reports=False)
    assert done["index/embeddings"].totals["failed_images"] == 1
    assert owner in wanted(platform) and not platform.index.get([vector_id(owner, 0)]).is_empty()
    assert platform.index.get([vector_id(keeper, 0)]).is_empty()
    assert_in_sync(platform, ran)


def _keeper_and_one_of_its_own(platform: Platform) -> tuple[str, str]:
    """The newest image of a drive, which stands for the one before it, and that one."""
    keeper, owner = _newest_of_a_drive(platform)
    reasons = dict(platform.storage.catalog().captures(CELLS).select("capture_id", "not_indexed_because").iter_rows())
    assert reasons[keeper] is None and reasons[owner] == "thinned"
    return keeper, owner


def _newest_of_a_drive(platform: Platform) -> tuple[str, str]:
    """Two flat images."""
    captures = platform.storage.catalog().captures(CELLS).filter(~pl.col("is_pano"), source="panoramax")
    drive = captures.filter(pl.col("sequence_id") == captures["sequence_id"].mode().sort()[0]).sort("captured_at")
    newest, before = drive.reverse()["capture_id"].head(2)
    return newest, before
