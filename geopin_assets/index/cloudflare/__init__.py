"""Cloudflare over HTTP: Vectorize as a VectorIndex, D1 as a MetadataStore.

    api.py        one client per account: address, token, the rate that all processes share, what answers mean
    vectorize.py  vectors, and how they are written on the wire
    d1.py         rows, and the first load of many by file

`api.py` alone sends; nothing here knows Dagster or the environment.
"""

from geopin_assets.index.cloudflare.api import CloudflareApi, RequestTooLarge
from geopin_assets.index.cloudflare.d1 import D1Store
from geopin_assets.index.cloudflare.vectorize import VectorizeIndex

__all__ = ["CloudflareApi", "D1Store", "RequestTooLarge", "VectorizeIndex"]
