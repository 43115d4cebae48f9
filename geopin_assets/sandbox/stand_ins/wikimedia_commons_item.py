"""How Commons words one file: its names, position and image info; and how its addresses are read back.

Here: the shapes of `prop=coordinates`, `prop=imageinfo` and `prop=revisions`. Not here: which files an answer has
(`wikimedia_commons.py`), routes.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from geopin_assets.sandbox.streets.world import Quirk, Shot

_AMSTERDAM = ZoneInfo("Europe/Amsterdam")
_SMALL_EVERY = 3  # every third is a small file, for which there is no thumbnail
_UNKNOWN = '<div class="fn value">\nUnknown author<span style="display: none;">Unknown author</span></div>'
_CC = re.compile(r"CC-(?P<kind>BY(?:-SA)?)-(?P<version>\d\.\d)(?:-(?P<port>[A-Z]{2}))?")
_THUMB = re.compile(r"thumb/(?P<folder>\w/\w\w)/(?P<key>[^/]+)/(?P<width>\d+)px-(?P=key)")
_ORIGINAL = re.compile(r"(?P<folder>\w/\w\w)/(?P<key>[^/]+)")


@dataclass(frozen=True, slots=True)
class FileName:
    """What an address of the media server means; `width` is None for the original."""

    key: str
    width: int | None


def page_id(shot: Shot) -> str:
    """A page id: a number that stays."""
    return str(int.from_bytes(hashlib.blake2b(shot.name.encode(), digest_size=6).digest()))


def db_key(shot: Shot) -> str:
    """The title without namespace, with underscores: unique."""
    subject = "Interieur_woonhuis" if shot.quirk is Quirk.NOT_STREET else "Overzicht"
    return f"{subject}_-_{shot.drive.street.name}_-_{shot.name}.jpg"


def title(shot: Shot) -> str:
    """The title as people read it."""
    return f"File:{db_key(shot).replace('_', ' ')}"


def file_name(path: str) -> FileName | None:
    """Understand a path below /wikipedia/commons/, or None if there is no such file for certain."""
    match = _THUMB.fullmatch(path) or _ORIGINAL.fullmatch(path)
    if match is None or match["folder"] != _folder(match["key"]):
        return None
    return FileName(match["key"], int(match["width"]) if "width" in match.groupdict() else None)


def width_of(shot: Shot) -> int:
    """Width of the original: 2:1 for a full sphere, else 4:3."""
    if shot.drive.is_pano:
        return 6000
    return 960 if shot.rank % _SMALL_EVERY == 0 else 4000


def height_of(shot: Shot) -> int:
    """Height of the original."""
    return width_of(shot) // 2 if shot.drive.is_pano else width_of(shot) * 3 // 4


def uploaded_at(shot: Shot) -> datetime:
    """A month after it was taken."""
    return shot.drive.started_at + timedelta(days=30, seconds=shot.rank)


def coordinates(shot: Shot) -> dict[str, Any]:
    """Its primary position, which is the camera's."""
    lon, lat = (0, 0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lon, shot.lat)
    return {"lat": lat, "lon": lon, "primary": True, "globe": "earth", "type": "camera", "dim": "100"}


def revision(shot: Shot) -> dict[str, Any]:
    """The newest version of its page, with the template that states where the camera stood and where it looked."""
    said = "" if shot.quirk is Quirk.NO_HEADING else f"|heading:{shot.heading_deg:.1f}"
    content = f"== {{{{int:filedesc}}}} ==\n{{{{Location|{shot.lat:.6f}|{shot.lon:.6f}{said}}}}}\n"
    main = {"contentmodel": "wikitext", "contentformat": "text/x-wiki", "content": content}
    return {"slots": {"main": main}}


def image_info(
    shot: Shot, base_url: str, wanted: Collection[str], metadata: Collection[str], scaled_width: int | None
) -> dict[str, Any]:
    """The file's current version: the groups of fields `wanted`, of the extended metadata those in `metadata`."""
    groups: dict[str, dict[str, Any]] = {
        "timestamp": {"timestamp": f"{uploaded_at(shot):%Y-%m-%dT%H:%M:%SZ}"},
        "user": {"user": _uploader(shot)},
        "size": {"size": width_of(shot) * height_of(shot) // 3, "width": width_of(shot), "height": height_of(shot)},
        "url": _urls(shot, base_url, scaled_width),
        "sha1": {"sha1": hashlib.sha1(shot.name.encode(), usedforsecurity=False).hexdigest()},
        "mime": {"mime": "image/jpeg"},
        "extmetadata": {"extmetadata": _extended(shot, metadata)},
    }
    return {key: value for name, group in groups.items() if name in wanted for key, value in group.items()}


def _urls(shot: Shot, base_url: str, scaled_width: int | None) -> dict[str, Any]:
    key, original = quote(db_key(shot)), f"{_folder(db_key(shot))}/{quote(db_key(shot))}"
    files, width = f"{base_url}/wikipedia/commons", width_of(shot)
    urls: dict[str, Any] = {}
    if scaled_width:  # never enlarged: a small file is its own thumbnail
        is_small = width <= scaled_width
        urls["thumburl"] = f"{files}/{original}" if is_small else f"{files}/thumb/{original}/{scaled_width}px-{key}"
        urls["thumbwidth"] = min(width, scaled_width)
        urls["thumbheight"] = height_of(shot) * urls["thumbwidth"] // width
    return urls | {
        "url": f"{files}/{original}",
        "descriptionurl": f"{base_url}/wiki/File:{key}",
        "descriptionshorturl": f"{base_url}/w/index.php?curid={page_id(shot)}",
    }


def _extended(shot: Shot, wanted: Collection[str]) -> dict[str, Any]:
    values = {
        "DateTime": f"{uploaded_at(shot):%Y-%m-%d %H:%M:%S}",
        "ObjectName": title(shot).removeprefix("File:").removesuffix(".jpg"),
        "Categories": "|".join(_categories(shot)),
        "Artist": _artist(shot),
        "Credit": '<span class="int-own-work" lang="en">Own work</span>' if shot.drive.creator else "Beeldbank",
        "AttributionRequired": "true",
        "Restrictions": "",
        **_license(shot),
    }
    if shot.quirk is not Quirk.NO_DATE:
        values["DateTimeOriginal"] = _date(shot)
    return {
        key: {"value": value, "source": "commons-desc-page", "hidden": ""}
        for key, value in values.items()
        if not wanted or key in wanted
    }


def _date(shot: Shot) -> str:
    """As most cameras write it, in local time."""
    if shot.quirk is Quirk.JUNK_DATE:
        return "2098-01-01 00:00:00"
    return f"{shot.captured_at.astimezone(_AMSTERDAM):%Y-%m-%d %H:%M:%S}"


def _artist(shot: Shot) -> str:
    if shot.quirk is Quirk.NO_CREATOR or not shot.drive.creator:
        return _UNKNOWN
    user = quote(shot.drive.creator)
    return (
        f'<a href="//commons.wikimedia.org/wiki/User:{user}" title="User:{shot.drive.creator}">{shot.drive.creator}</a>'
    )


def _uploader(shot: Shot) -> str:
    return shot.drive.creator or "Beeldbank"


def _categories(shot: Shot) -> list[str]:
    place = shot.drive.street.name
    kinds = ["Interiors of houses in the Netherlands"] if shot.quirk is Quirk.NOT_STREET else [place]
    sphere = ["360° panoramas with equirectangular projection"] if shot.drive.is_pano else []
    return ["Pages with maps", "Self-published work", *kinds, *sphere]


def _license(shot: Shot) -> Mapping[str, str]:
    """Files under the GFDL alone are what Commons has of licenses that are not taken."""
    if shot.quirk is Quirk.NO_LICENSE:
        return {}
    if shot.quirk is Quirk.NON_OPEN:
        url = "https://www.gnu.org/copyleft/fdl.html"
        return {"LicenseShortName": "GFDL", "UsageTerms": "GNU Free Documentation License", "LicenseUrl": url}
    match = _CC.fullmatch(shot.drive.license)
    if match is None:
        url = "http://creativecommons.org/publicdomain/zero/1.0/deed.en"
        return {"License": "cc0", "LicenseShortName": "CC0", "LicenseUrl": url}
    name, port = f"cc-{match['kind']}-{match['version']}".lower(), (match["port"] or "").lower()
    path = "/".join(filter(None, (match["kind"].lower(), match["version"], port)))
    return {
        "License": "-".join(filter(None, (name, port))),
        "LicenseShortName": " ".join(filter(None, (f"CC {match['kind']} {match['version']}", port))),
        "LicenseUrl": f"https://creativecommons.org/licenses/{path}",
    }


def _folder(key: str) -> str:
    digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    return f"{digest[0]}/{digest[:2]}"
