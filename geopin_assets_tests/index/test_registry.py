"""The record of every store that was published to: damage costs the lines that it is in, and stops nothing for long."""

from pathlib import Path

import pytest

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.damage import is_aside
from geopin_assets.index.registry import Recorded, StoreRegistry
from geopin_assets.platform.damaged import set_aside_damaged
from geopin_assets.settings import Settings

STORES = [Recorded("lance:one-v1", "one", 1, 4, 1), Recorded("sqlite:metadata"), Recorded("d1:account:metadata")]


def test_each_is_recorded_once_and_what_can_be_read_survives_damage(tmp_path: Path) -> None:
    settings = Settings.from_env({"GEOPIN_PROFILE": "sandbox", "GEOPIN_DATA": str(tmp_path)})
    registry = StoreRegistry(settings.stores_path)
    for stores in (STORES[:2], STORES):
        registry.record(stores)
    assert registry.all() == STORES and list(set_aside_damaged(settings)) == []
    damaged = settings.stores_path.read_bytes().replace(b"sqlite", b"sqlitf")
    settings.stores_path.write_bytes(damaged)
    with pytest.raises(DamagedFileError, match=r"line 2.*geopin reconcile"):
        registry.all()
    (said,) = set_aside_damaged(settings)
    assert "stores.jsonl cannot be read" in said and registry.all() == [STORES[0], STORES[2]]
    assert [path.read_bytes() for path in tmp_path.iterdir() if is_aside(path)] == [damaged]
    registry.record(STORES)
    assert {store.key for store in registry.all()} == {store.key for store in STORES}
