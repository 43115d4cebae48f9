"""What `locate` needs, opened from settings: the version that searches use, its model, and the model's calibration.

Here too: where calibrations are kept (`calibrations/{model_id}.json` under the data folder). Not here: answers.
"""

from dataclasses import asdict
from pathlib import Path

import orjson

from geopin_assets.embedding.protocol import Embedder, Model
from geopin_assets.errors import ConfigurationError, DamagedFileError
from geopin_assets.files.atomic import write_bytes
from geopin_assets.index.stores import SearchedIndex, SearchedStore
from geopin_assets.index.versions import IndexVersion
from geopin_assets.locate.confidence import Calibration, Weights
from geopin_assets.locate.locator import Locator
from geopin_assets.platform.parts import Embedding, SearchIndex
from geopin_assets.settings import Settings

NOTHING_YET = "the index is empty: publish a region first, e.g. `make demo`"


def open_locator(settings: Settings, embedding: Embedding, search_index: SearchIndex) -> Locator:
    """The version that searches use. Raises ConfigurationError where there is none, or it is another model's."""
    model = embedding.model()
    serving = serving_version(search_index, model)
    return Locator(
        SearchedIndex(search_index.vectors(serving)),
        SearchedStore(search_index.metadata()),
        model.model_id,
        serving.name,
        read_calibration(settings, model.model_id),
    )


def serving_version(search_index: SearchIndex, model: Model | Embedder) -> IndexVersion:
    """Raises ConfigurationError where nothing is published, or only vectors of another model."""
    serving = search_index.versions().serving()
    if serving is None:
        raise ConfigurationError(NOTHING_YET)
    if serving.model_id != model.model_id:
        raise ConfigurationError(
            f"searches use {serving.name}, made with {serving.model_id}, but the settings ask for {model.model_id}:"
            " set GEOPIN_MODEL or GEOPIN_WEIGHTS to that model, or publish all of this one (`geopin index list`)"
        )
    return serving


def calibration_path(settings: Settings, model_id: str) -> Path:
    return settings.data_dir / "calibrations" / f"{model_id}.json"


def read_calibration(settings: Settings, model_id: str) -> Calibration | None:
    """None where the model was never calibrated. Raises DamagedFileError."""
    path = calibration_path(settings, model_id)
    try:
        facts = orjson.loads(path.read_bytes())
        for name in ("plain", "verified"):
            facts[name] = facts[name] and Weights(facts[name]["bias"], tuple(facts[name]["each"]))
        for name in ("confidences", "radii_m"):
            facts[name] = tuple(facts[name])
        return Calibration(**facts)
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read: delete it, and run `geopin calibrate`") from error


def write_calibration(settings: Settings, calibration: Calibration) -> Path:
    """Replaces the calibration of that model as a whole."""
    path = calibration_path(settings, calibration.model_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(path, orjson.dumps(asdict(calibration), option=orjson.OPT_INDENT_2))
