"""Which installation something belongs to, and how far it had come: the mark on everything that is made from crawls.

The catalog counts its merges; stored vectors, the ledger and every published store remember the newest count that they
were made from. So a catalog that is missing, older or another installation's is known by what it should have led to.

Here: the mark. Not here: where each is kept (`store/catalog.py`, `embedding/stored_vectors.py`, `index/ledger.py`,
`index/tables.py`), or comparing them (`platform/evidence.py`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """`installation_id` is made up once, with the list of takedowns; `generation` only grows."""

    installation_id: str
    generation: int
