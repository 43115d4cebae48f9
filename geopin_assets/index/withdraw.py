"""Taking single ids out of a store at once, whichever cells want them there.

For takedowns, which wait for no publish of a cell. Not here: what brings a store to what cells desire (`publish.py`).
"""

import polars as pl

from geopin_assets.index.ledger import Ledger
from geopin_assets.index.publish import verify_gone
from geopin_assets.index.targets import Target


def withdraw(ids: pl.Series, target: Target, ledger: Ledger) -> int:
    """Delete those of the ids that the ledger knows in the store, and every claim on them; how many they were.

    Killed anywhere and repeated, the end is the same: claims are released when the deletion was read back.
    Raises TransientError or PermanentError of the store.
    """
    claims = ledger.claims_of(target.key, ids)
    gone = claims["id"].unique(maintain_order=True)
    if len(gone):
        target.prepare()
        ledger.begin(target.key, claims.clear(), gone)
        target.delete(gone)
        verify_gone(gone, target)
        ledger.release(target.key, claims, gone)
    return len(gone)
