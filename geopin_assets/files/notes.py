"""Small JSON documents that say where something stands: one that cannot be read is set aside, and said anew in time.

Here: reading one. Not here: documents that nothing says anew (whoever owns them raises DamagedFileError), lines
(`journal.py`), tables (`parquet.py`).
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from geopin_assets.errors import DamagedFileError
from geopin_assets.files.object_store import NoSuchObjectError, ObjectStore

T = TypeVar("T")
_log = logging.getLogger(__name__)


def read_note(objects: ObjectStore, key: str, understood: Callable[[Any], T]) -> T | None:
    """What an object says; None where it is not there, or was damaged: `understood` makes nothing of its content."""
    try:
        return understood(orjson.loads(objects.get(key)))
    except NoSuchObjectError:
        return None
    except (DamagedFileError, AttributeError, KeyError, TypeError, ValueError) as error:
        _log.warning("%s: %r; set aside as %s", objects.address(key), error, objects.set_aside(key))
        return None
