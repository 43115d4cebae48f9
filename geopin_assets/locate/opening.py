"""What `locate` needs, opened from settings: the version that searches use, its calibration, and what verifies answers.

Here too: where calibrations are kept (`calibrations/{model_id}.json` under the data folder). Not here: answers.
"""

from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import orjson

from geopin_assets.embedding.model.checkpoints import download
from geopin_assets.embedding.protocol import Model
from geopin_assets.errors import ConfigurationError, DamagedFileError
from geopin_assets.files.atomic import write_bytes
from geopin_assets.index.stores import SearchedIndex, SearchedStore
from geopin_assets.index.versions import IndexVersion
from geopin_assets.locate.confidence import Calibration, Weights
from geopin_assets.locate.locator import Locator
from geopin_assets.locate.verify import ADDRESS, MAX_BYTES, Verifier, is_installed
from geopin_assets.platform.parts import Embedding, SearchIndex
from geopin_assets.settings import Settings

NOTHING_YET = "the index is empty: publish a region first, e.g. `make demo`"


def open_locator(settings: Settings, embedding: Embedding, search_index: SearchIndex) -> Locator:
    """The version that searches use. Raises ConfigurationError where there is none, or it is another model's."""
    locator = open_index(embedding, search_index)
    return replace(locator, calibration=read_calibration(settings, locator.model_id))


def open_index(embedding: Embedding, search_index: SearchIndex) -> Locator:
    """The same without a calibration."""
    return open_version(search_index, serving_version(search_index, embedding.model()))


def open_version(search_index: SearchIndex, version: IndexVersion) -> Locator:
    """The same of any version."""
    index, store = SearchedIndex(search_index.vectors(version)), SearchedStore(search_index.metadata())
    return Locator(index, store, version.model_id, version.name, calibration=None)


def serving_version(search_index: SearchIndex, model: Model) -> IndexVersion:
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
    """Where the calibration of a model is kept."""
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
        raise DamagedFileError(f"{path} cannot be read: `geopin calibrate` makes it anew") from error


def write_calibration(settings: Settings, calibration: Calibration) -> Path:
    """Replaces the calibration of that model as a whole."""
    path = calibration_path(settings, calibration.model_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(path, orjson.dumps(asdict(calibration), option=orjson.OPT_INDENT_2))


def find_verifier(settings: Settings) -> Verifier | None:
    """With the weights that the settings name, else the published ones, fetched once.

    None: without the extra `verify`, or without weights in the sandbox, which never asks the network. Their SHA-256 is
    recorded at the first download and checked at every load, as the embedder's is. Raises ConfigurationError.
    """
    if not is_installed():
        return None
    if settings.verify_weights:
        if not Path(settings.verify_weights).is_file():
            raise ConfigurationError(f"GEOPIN_VERIFY_WEIGHTS={settings.verify_weights}: no such file")
        return _loaded_once(Path(settings.verify_weights))
    cached = settings.data_dir / "weights" / "xfeat.pt"
    if not cached.is_file():
        if settings.is_sandbox:
            return None
        download(ADDRESS, cached, max_bytes=MAX_BYTES)
    return _loaded_once(cached)


def _loaded_once(weights: Path) -> Verifier:
    """Once per process and state of the file, however many photos are asked about."""
    return _verifier(weights, weights.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _verifier(weights: Path, _changed: int) -> Verifier:
    return Verifier(weights)
