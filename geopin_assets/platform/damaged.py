"""What is damaged of all that publishing keeps on this machine: the record of stores, the ledger, rows and vectors.

What is set aside counts as lost, and is made anew (`reconcile.py`). Not here: stores at Cloudflare, or whether what can
be read is right.
"""

from collections.abc import Iterator
from pathlib import Path

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.damage import set_aside
from geopin_assets.files.sqlite import complaints
from geopin_assets.index.embedded.lance import read_all
from geopin_assets.index.registry import StoreRegistry
from geopin_assets.settings import Settings


def damaged(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Files, and folders of vectors, that cannot be read, and why. Each is read whole."""
    try:
        StoreRegistry(settings.stores_path).all()
    except DamagedFileError as error:
        yield settings.stores_path, str(error)
    for path in (settings.ledger_path, *sorted(settings.index_dir.glob("*.sqlite"))):
        if path.exists() and (said := complaints(path)):
            yield path, "; ".join(said)
    for path in sorted((settings.index_dir / "vectors").glob("*.lance")):
        try:
            read_all(path)
        except DamagedFileError as error:
            yield path, str(error)


def set_aside_damaged(settings: Settings) -> Iterator[str]:
    """Have them out of the way; what was done, in words. Of the record of stores what can be read is kept."""
    for path, why in list(damaged(settings)):
        is_record = path == settings.stores_path
        aside = StoreRegistry(path).mend() if is_record else set_aside(path)
        yield f"{path.name} cannot be read ({why[:200]}): set aside as {aside}"
