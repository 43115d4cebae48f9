"""One item as Europeana's Search API words it.

Here: ids and fields by profile. Not here: what a search selects (`europeana_query.py`), routes (`europeana.py`).
As recorded from the real one, `guid` and `link` repeat the caller's key, and the rich profile alone has `edmIsShownBy`.
"""

from typing import Any
from urllib.parse import quote
from zlib import crc32

from geopin_assets.licenses import OPEN_LICENSES
from geopin_assets.sandbox.world import Quirk, Shot

_IN_COPYRIGHT = "http://rightsstatements.org/vocab/InC/1.0/"
_DATASET = "2021672"
_AMSTERDAM = {"lat": "52.37403", "lon": "4.88969", "uri": "http://data.europeana.eu/place/7"}
FULL, PREVIEW = 1600, 400


def item_id(shot: Shot) -> str:
    """The id with its data set, the same in every run."""
    return f"/{_DATASET}/SA_{crc32(shot.name.encode()):08X}"


def rights_of(shot: Shot) -> str:
    """Address of the license or rights statement."""
    if shot.quirk in (Quirk.NON_OPEN, Quirk.NO_LICENSE):
        return _IN_COPYRIGHT
    return OPEN_LICENSES[shot.drive.license].url.replace("https://", "http://")


def type_of(shot: Shot) -> str:
    """What kind of object it is."""
    return "TEXT" if shot.quirk is Quirk.NOT_STREET else "IMAGE"


def file_name(shot: Shot) -> str:
    """Name of its image at the institution."""
    return f"{shot.name}.jpg"


def item(shot: Shot, base_url: str, key: str, *, is_rich: bool) -> dict[str, Any]:
    """The record of a shot as the holder of a key sees it."""
    id_, full = item_id(shot), f"{base_url}/archive/{quote(file_name(shot))}"
    lat, lon = (0, 0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lat, shot.lon)
    places = [(str(lat), str(lon))]
    if shot.quirk is Quirk.POSITION_IN_TABLE:  # the street and the city that it names
        places.append((_AMSTERDAM["lat"], _AMSTERDAM["lon"]))
    body: dict[str, Any] = {
        "id": id_,
        "type": type_of(shot),
        "title": [f"{shot.drive.street.name} {shot.rank}"],
        "rights": [rights_of(shot)],
        "dataProvider": ["Stadsarchief Zandbak"],
        "provider": ["Sandbox Heritage"],
        "edmPreview": [f"{base_url}/thumbnail/v2/url.json?uri={quote(full, safe='')}&type=IMAGE"],
        "edmPlaceLatitude": [lat for lat, _ in places],
        "edmPlaceLongitude": [lon for _, lon in places],
        "edmIsShownAt": [f"{base_url}/archive/{quote(file_name(shot))}.html"],
        "guid": f"https://www.europeana.eu/item{id_}?utm_source=api&utm_medium=api&utm_campaign={key}",
        "link": f"{base_url}/record{id_}.json?wskey={key}",
        "country": ["Netherlands"],
        "edmDatasetName": [f"{_DATASET}_Stadsarchief"],
    }
    if shot.quirk is not Quirk.NO_CREATOR:
        body["dcCreator"] = ["http://data.europeana.eu/agent/77", shot.drive.creator]
    if shot.quirk is Quirk.NO_GPS:  # only a city is known
        body |= {"edmPlaceLatitude": [_AMSTERDAM["lat"]], "edmPlaceLongitude": [_AMSTERDAM["lon"]]}
        body["edmPlace"] = [_AMSTERDAM["uri"]]
    if shot.quirk is not Quirk.NO_DATE:
        body["year"] = ["0026"] if shot.quirk is Quirk.JUNK_DATE else [_year(shot)]
    return body | ({"edmIsShownBy": [full]} if is_rich else {})


def _year(shot: Shot) -> str:
    """Mostly a year; every third knows the day."""
    return f"{shot.captured_at:%Y-%m-%d}" if shot.rank % 3 == 0 else str(shot.captured_at.year)
