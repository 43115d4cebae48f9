"""`geopin locate`: the published captures that look most like a photo, with what must be shown beside them."""

from pathlib import Path

from geopin_assets.cli.console import console
from geopin_assets.embedding.protocol import Failure
from geopin_assets.embedding.seen import query
from geopin_assets.errors import ConfigurationError
from geopin_assets.index.stores import SearchedIndex, SearchedStore
from geopin_assets.locate import locate
from geopin_assets.platform.parts import Embedding, SearchIndex


def print_matches(photo: Path, top: int) -> None:
    """Search the index of the present model.

    Raises ConfigurationError for a file that is no image, or an empty index.
    """
    if not photo.is_file():
        raise ConfigurationError(f"no photo at {photo}")
    model, search_index = Embedding().model(), SearchIndex()
    ways = query(photo.read_bytes(), model.side_px)
    if isinstance(ways, Failure):
        raise ConfigurationError(f"{photo}: {ways.reason}: {ways.detail}")
    serving = search_index.versions().serving()
    if serving is None:
        raise ConfigurationError("the index is empty: publish a region first, e.g. `make demo`")
    if serving.model_id != model.model_id:
        raise ConfigurationError(
            f"searches use {serving.name}, made with {serving.model_id}, but the settings ask for {model.model_id}:"
            " set GEOPIN_MODEL or GEOPIN_WEIGHTS to that model, or publish all of this one (`geopin index list`)"
        )
    embedder = Embedding().embedder()
    index, store = SearchedIndex(search_index.vectors(serving)), SearchedStore(search_index.metadata())
    answers = {
        way: locate(embedder.embed([embedder.preprocess(view) for view in views]), index, store, top)
        for way, views in ways.items()
    }
    way, matches = max(answers.items(), key=lambda answer: answer[1]["score"].max() or -1)
    if matches.is_empty():
        raise ConfigurationError("the index is empty: publish a region first, e.g. `make demo`")
    console.print(f"embedder: {model.label}\n" + (f"read as {way}, which fits better\n" if len(ways) > 1 else ""))
    for match in matches.iter_rows(named=True):
        taken = match["captured_at"][:10] if match["captured_at"] else "unknown date"
        away = "best match" if match["rank"] == 1 else f"{match['distance_m']:.0f} m from the best"
        heading = "unknown heading" if match["heading_deg"] is None else f"facing {match['heading_deg']:.0f}°"
        console.print(
            f"{match['rank']}. {match['lat']:.6f},{match['lon']:.6f}  score {match['score']:.3f}  {away}, {heading},"
            f" {taken}, {match['source']}\n   {match['attribution']}\n   {match['page_url']}"
        )
