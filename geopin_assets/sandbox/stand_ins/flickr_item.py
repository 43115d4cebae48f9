"""One photo, and the table of licenses, as Flickr's REST API words them.

Here: ids, fields by the extras that bring them, licenses. Not here: what a search selects (`flickr_query.py`), routes
(`flickr.py`). The numbers of the licenses from 11 on are a guess; that is why nobody should rely on them.
"""

from collections.abc import Collection
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from geopin_assets.sandbox.streets.world import Quirk, Shot

_CC = "https://creativecommons.org"
LICENSES = (
    (0, "All Rights Reserved", ""),
    (4, "Attribution License", f"{_CC}/licenses/by/2.0/"),
    (6, "Attribution-NoDerivs License", f"{_CC}/licenses/by-nd/2.0/"),
    (3, "Attribution-NonCommercial-NoDerivs License", f"{_CC}/licenses/by-nc-nd/2.0/"),
    (2, "Attribution-NonCommercial License", f"{_CC}/licenses/by-nc/2.0/"),
    (1, "Attribution-NonCommercial-ShareAlike License", f"{_CC}/licenses/by-nc-sa/2.0/"),
    (5, "Attribution-ShareAlike License", f"{_CC}/licenses/by-sa/2.0/"),
    (7, "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    (8, "United States Government Work", "http://www.usa.gov/copyright.shtml"),
    (9, "Public Domain Dedication (CC0)", f"{_CC}/publicdomain/zero/1.0/"),
    (10, "Public Domain Mark", f"{_CC}/publicdomain/mark/1.0/"),
    (11, "CC BY 4.0", f"{_CC}/licenses/by/4.0/"),
    (12, "CC BY-SA 4.0", f"{_CC}/licenses/by-sa/4.0/"),
    (13, "CC BY-ND 4.0", f"{_CC}/licenses/by-nd/4.0/"),
    (14, "CC BY-NC 4.0", f"{_CC}/licenses/by-nc/4.0/"),
    (15, "CC BY-NC-SA 4.0", f"{_CC}/licenses/by-nc-sa/4.0/"),
    (16, "CC BY-NC-ND 4.0", f"{_CC}/licenses/by-nc-nd/4.0/"),
)
_NUMBERS = {"CC-BY-2.0": 4, "CC-BY-SA-2.0": 5, "CC0-1.0": 9, "PDM-1.0": 10, "CC-BY-4.0": 11, "CC-BY-SA-4.0": 12}
_ALL_RIGHTS_RESERVED, _NON_COMMERCIAL = 0, 2
_UPLOADED_AFTER_S = 36 * 3600
SERVER = "65535"
LARGE, MEDIUM = (1024, 768), (500, 375)


def photo_id(shot: Shot) -> str:
    """Eleven digits, the same in every run."""
    return str(49_000_000_000 + crc32(shot.name.encode()))


def secret(shot: Shot) -> str:
    """What the name of an image file has beside the id."""
    return f"{crc32(shot.name.encode()[::-1]):08x}00"


def license_number(shot: Shot) -> int:
    """Flickr's number of the shot's license."""
    if shot.quirk is Quirk.NON_OPEN:
        return _NON_COMMERCIAL
    if shot.quirk is Quirk.NO_LICENSE:
        return _ALL_RIGHTS_RESERVED
    return _NUMBERS.get(shot.drive.license, _ALL_RIGHTS_RESERVED)


def uploaded_at_s(shot: Shot) -> int:
    """Seconds since the epoch: the evening of the next day."""
    return int(shot.captured_at.timestamp()) + _UPLOADED_AFTER_S


def photo(shot: Shot, base_url: str, extras: Collection[str]) -> dict[str, Any]:
    """The record of a shot, with the fields that `extras` ask for; numbers and strings as they come."""
    plain = {
        "id": photo_id(shot),
        "owner": _owner(shot),
        "secret": secret(shot),
        "server": SERVER,
        "farm": 66,
        "title": f"{shot.drive.street.name} {shot.rank}",
        "ispublic": 1,
        "isfriend": 0,
        "isfamily": 0,
    }
    optional = {
        "license": {"license": str(license_number(shot))},
        "date_taken": _taken(shot),
        "date_upload": {"dateupload": str(uploaded_at_s(shot))},
        "last_update": {"lastupdate": str(uploaded_at_s(shot) + 60)},
        "owner_name": {"ownername": "" if shot.quirk is Quirk.NO_CREATOR else shot.drive.creator},
        "geo": _geo(shot),
        "tags": {"tags": "amsterdam"},
        "o_dims": {"o_width": "4032", "o_height": "3024"},
        "url_m": _image("m", shot, base_url, "", MEDIUM),
        "url_l": _image("l", shot, base_url, "_b", LARGE),
    }
    return plain | {key: value for extra, part in optional.items() if extra in extras for key, value in part.items()}


def _owner(shot: Shot) -> str:
    return f"{crc32(shot.drive.creator.encode()) % 10**8}@N06"


def _taken(shot: Shot) -> dict[str, Any]:
    """Local time of the camera; of the upload where the camera did not say."""
    taken = shot.captured_at.astimezone(ZoneInfo("Europe/Amsterdam")).strftime("%Y-%m-%d %H:%M:%S")
    if shot.quirk is Quirk.JUNK_DATE:
        taken = "0000-00-00 00:00:00"
    is_unknown = shot.quirk is Quirk.NO_DATE
    return {
        "datetaken": taken,
        "datetakengranularity": 0 if is_unknown else "0",  # a number exactly then, as recorded
        "datetakenunknown": "1" if is_unknown else "0",
    }


def _geo(shot: Shot) -> dict[str, Any]:
    lat, lon = (0, 0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lat, shot.lon)
    is_number = bool(shot.rank % 2)
    return {
        "latitude": lat if is_number else str(lat),
        "longitude": lon if is_number else str(lon),
        "accuracy": "16",
        "context": 1 if shot.quirk is Quirk.NOT_STREET else 2,
        "place_id": "",
        "woeid": "727232",
        "geo_is_public": 1,
        "geo_is_contact": 0,
        "geo_is_friend": 0,
        "geo_is_family": 0,
    }


def _image(size: str, shot: Shot, base_url: str, suffix: str, pixels: tuple[int, int]) -> dict[str, Any]:
    return {
        f"url_{size}": f"{base_url}/{SERVER}/{photo_id(shot)}_{secret(shot)}{suffix}.jpg",
        f"height_{size}": pixels[1],
        f"width_{size}": pixels[0],
    }
