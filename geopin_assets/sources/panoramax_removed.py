"""Collections that an instance took down lately, so that no stale tile or catalog brings their pictures back.

Here: `GET /api/collections?show_deleted=true`, page by page. Not here: which captures belong to them.

Hidden collections are listed as deleted too, and both with nothing but id and status. The paging link holds
quotes and plus signs in a filter language of its own: it is used as it is. An instance that refuses the question
does not offer it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from geopin_assets.errors import PayloadError, PermanentError
from geopin_assets.http_client import HttpClient, Tally
from geopin_assets.sources import fields, stac
from geopin_assets.sources.panoramax_details import refusal

PER_PAGE = 1000  # instances answer 400 above it
MAX_PAGES = 200


def fetch_removed(client: HttpClient, url: str, since: datetime, tally: Tally) -> frozenset[str]:
    """Ids of the collections of one instance that were taken down since then; none if it does not tell.

    Raises TransientError.
    """
    params: Mapping[str, Any] = {
        "show_deleted": "true",
        "limit": PER_PAGE,
        "filter": f"updated > '{since:%Y-%m-%dT%H:%M:%SZ}'",
    }
    address, removed, asked = f"{url}/api/collections", set[str](), set[str]()
    try:
        while address not in asked and len(asked) < MAX_PAGES:
            asked.add(address)
            page = client.get_json(address, params=params, judge=refusal, tally=tally)
            removed |= parse_removed(page)
            following = stac.next_page(page)
            if following is None or fields.host(following.url) != fields.host(url):
                break
            address, params = following.url, {}
    except PermanentError:
        pass  # what was learned so far is true
    return frozenset(removed)


def parse_removed(page: Any) -> set[str]:
    """Ids of the deleted collections of one page. Raises PayloadError if it lists no collections."""
    listed = fields.mapping(page).get("collections")
    if not isinstance(listed, list):
        raise PayloadError("panoramax: a page without a list of collections")
    collections = [fields.mapping(collection) for collection in listed]
    deleted = (c.get("id") for c in collections if c.get("geovisio:status") == "deleted")
    return {id_ for id_ in map(fields.source_id, deleted) if id_ is not None}
