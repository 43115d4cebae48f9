"""Asking Mapillary's Graph API: images of a box, images by id, and what its errors mean.

Here: requests and the reading of errors. Not here: understanding an image (`read.py`), dividing boxes.

The status of an error says little (500 is used for a box that is too dense and for a missing token), its
`error.code` does:

    1       the box holds too much: asked again in parts, never as it is
    2       a passing fault: retried
    4       the application asks too often: a minute without requests of this kind, then again
    100     (subcode 33) the image is unknown or was removed
    190     the token is refused: nothing more is asked
"""

from collections.abc import Mapping, Sequence
from typing import Any

from geopin_assets.errors import GeoPinError, PayloadError, PermanentError, TransientError
from geopin_assets.grid import Bbox
from geopin_assets.http_client import Answer, HttpClient, KeyRefused, Tally
from geopin_assets.sources import fields
from geopin_assets.sources.mapillary.read import LINKS, NAME, image_id
from geopin_assets.sources.splitting import Saturated

TOKEN_VARIABLE = "GEOPIN_MAPILLARY_TOKEN"  # noqa: S105 the name, not the token
MAX_RESULTS = 2000  # a box has no further pages
BATCH = 50  # ids in one request
LINK_FIELDS = ("id", "is_pano", "camera_type", *LINKS)
IMAGE_FIELDS = (
    *LINK_FIELDS,
    *("geometry", "computed_geometry", "compass_angle", "computed_compass_angle", "captured_at", "creator", "sequence"),
)
_TOO_DENSE, _PASSING, _TOO_OFTEN, _GONE, _TOKEN_REFUSED = 1, 2, 4, 100, 190
_SUBCODE_GONE = 33
_PAUSE_S = 60.0
_BEGINNING = 200  # bytes of a 200 in which an error would show


class TooDense(PermanentError):
    """More than the server will look at."""


class Gone(PermanentError):
    """An image that is unknown or was removed."""


class Graph:
    """The Graph API with one token. Boxes beyond `max_area_deg2` or `max_side_deg` are not asked."""

    def __init__(
        self, client: HttpClient, *, endpoint: str, token: str, max_area_deg2: float, max_side_deg: float
    ) -> None:
        self._client, self._url = client, f"{endpoint}/images"
        self._headers = {"Authorization": f"OAuth {token}"}
        self.max_area_deg2, self.max_side_deg = max_area_deg2, max_side_deg

    def search(self, box: Bbox, tally: Tally) -> list[Any]:
        """Images in a box, at most MAX_RESULTS. Raises Saturated for a box that is too large or too dense."""
        width, height = box.east - box.west, box.north - box.south
        if width * height > self.max_area_deg2 or max(width, height) > self.max_side_deg:
            raise Saturated
        params = {"bbox": box, "fields": ",".join(IMAGE_FIELDS), "limit": MAX_RESULTS}
        try:
            return self._images(params, tally, kind="search")
        except TooDense:
            raise Saturated from None

    def images(self, ids: Sequence[str], wanted: Sequence[str], tally: Tally) -> dict[str, Mapping[str, Any]]:
        """`wanted` fields of images by id; those that are gone are left out."""
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(ids), BATCH):
            found |= self._batch(ids[start : start + BATCH], wanted, tally)
        return found

    def _batch(self, ids: Sequence[str], wanted: Sequence[str], tally: Tally) -> dict[str, Mapping[str, Any]]:
        """One request, or two halves when one image spoils it."""
        params = {"image_ids": ",".join(ids), "fields": ",".join(wanted)}
        try:
            records = self._images(params, tally, kind="entity")
        except (Gone, TooDense) as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                return self._batch(ids[:middle], wanted, tally) | self._batch(ids[middle:], wanted, tally)
            if isinstance(error, Gone):
                return {}
            raise
        return {id_: record for record in records if (id_ := image_id(record)) is not None and id_ in ids}

    def _images(self, params: Mapping[str, Any], tally: Tally, *, kind: str) -> list[Any]:
        answer = self._client.get_json(
            self._url, params=params, headers=self._headers, judge=judge, tally=tally, kind=kind
        )
        data = fields.mapping(answer).get("data")
        if not isinstance(data, list):
            raise PayloadError(f"{NAME}: {kind}: an answer without a list of images ({type(answer).__name__})")
        return data


def judge(answer: Answer) -> GeoPinError | None:
    """What an error body means, whatever its status; None for no error and for codes that say nothing more."""
    error = _error(answer)
    if error is None:
        return None
    code, is_passing = fields.number(error.get("code")), error.get("is_transient") is True
    said = f"error {error.get('code')!r}: {fields.text(error.get('message')) or ''}"[:200]
    if code == _TOKEN_REFUSED:
        return KeyRefused(f"the token is refused, check {TOKEN_VARIABLE} ({said})")
    if code == _TOO_OFTEN:
        return TransientError(said, retry_after_s=_PAUSE_S)
    if code == _TOO_DENSE:
        return TooDense(said)
    if code == _PASSING or is_passing:
        return TransientError(said)
    if code == _GONE and fields.number(error.get("error_subcode")) == _SUBCODE_GONE:
        return Gone(said)
    return PermanentError(said) if answer.status == 200 or code == _GONE else None


def _error(answer: Answer) -> Mapping[str, Any] | None:
    """The `error` object of a body, if it has one; a long answer is not decoded for it."""
    if answer.status == 200 and b'"error"' not in answer.body[:_BEGINNING]:
        return None
    try:
        error = fields.mapping(answer.json()).get("error")
    except GeoPinError:
        return None
    return error if isinstance(error, dict) else None
