"""Pictures by id: whole features for ids that tiles have shown, many with one request.

Here: `POST /api/search` with ids, and finding out how a server wants them. Not here: where ids come from.

The standard wants a JSON list; geovisio 2.15 reads such a list as its first id alone, takes all of a text with
commas, and an empty list as no filter. So a form counts as understood only once it returned several of the ids
asked for, and what was not asked for is dropped. An answer may be cut: ids that are missing are asked for again,
and gone only when a whole round brings none of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from geopin_assets.errors import PermanentError
from geopin_assets.http_client import Answer, HttpClient, Tally
from geopin_assets.sources import stac

IDS_PER_REQUEST = 1000  # 4 to 8 MB
_REFUSED = (400, 401, 403, 404, 405, 413, 414, 415, 422, 501)

Form = Callable[[Sequence[str]], Any]


def as_list(ids: Sequence[str]) -> Any:
    """As the standard wants them."""
    return list(ids)


def as_text(ids: Sequence[str]) -> Any:
    """As geovisio reads all of them."""
    return ",".join(ids)


class NotOffered(Exception):
    """The server does not give pictures by id (or no tiles): another way must be gone."""


class Details:
    """Pictures by id from one server. `forms` of a list of ids, the likelier first. Thread-safe."""

    def __init__(self, client: HttpClient, url: str, forms: Sequence[Form]) -> None:
        self._client, self._url, self._forms = client, f"{url}/api/search", tuple(forms)
        self._form: Form | None = None

    def fetch(self, ids: Sequence[str], tally: Tally) -> tuple[dict[str, Any], list[str]]:
        """(features by id, ids that are gone). Raises NotOffered."""
        found: dict[str, Any] = {}
        missing = list(dict.fromkeys(ids))
        while missing:
            starts = range(0, len(missing), IDS_PER_REQUEST)
            answers = [self._ask(missing[start : start + IDS_PER_REQUEST], tally) for start in starts]
            before = len(found)
            for answer in answers:
                found |= answer
            missing = [id_ for id_ in missing if id_ not in found]
            if len(found) == before:
                break
        return found, missing

    def _ask(self, ids: Sequence[str], tally: Tally) -> dict[str, Any]:
        if self._form is not None:
            return self._ask_as(self._form, ids, tally)
        for form in self._forms:
            try:
                answer = self._ask_as(form, ids, tally)
            except PermanentError:
                continue
            if len(answer) > 1:
                self._form = form
            if len(answer) == len(ids) or len(answer) > 1:
                return answer
        raise NotOffered

    def _ask_as(self, form: Form, ids: Sequence[str], tally: Tally) -> dict[str, Any]:
        body = {"ids": form(ids), "limit": len(ids)}
        answer = self._client.request_json("POST", self._url, json=body, judge=refusal, tally=tally)
        wanted = set(ids)
        features = stac.features(answer, where=f"panoramax: {self._url}, {len(ids)} ids")
        return {key: feature for feature in features if (key := stac.feature_key(feature)) in wanted}


def refusal(answer: Answer) -> PermanentError | None:
    """A server that does not take the question is not one that denies access."""
    return PermanentError(f"answered {answer.status}") if answer.status in _REFUSED else None
