"""The wording of one photo in KartaView's version 1 listing: every scalar a string or null.

Here: ids, names and fields. Not here: routes (`kartaview.py`).
"""

from datetime import timedelta
from hashlib import sha256
from zlib import crc32

from geopin_assets.sandbox.world import Drive, Quirk, Shot

_UPLOADED_AFTER = timedelta(days=14)
_UNSET = "0000-00-00 00:00:00"


def photo_id(shot: Shot) -> str:
    """Decimal, as the real ones; 48 bits of the name's hash, so that no two are alike."""
    return str(int.from_bytes(sha256(shot.name.encode()).digest()[:6]))


def sequence_id(drive: Drive) -> str:
    """Seven decimal digits."""
    return str(1_000_000 + crc32(drive.name.encode()) % 9_000_000)


def file_name(shot: Shot) -> str:
    """`{sequence}_{5 hex digits}_{13 hex digits}.jpg`, as the uploader names them."""
    digest = sha256(shot.name.encode()).hexdigest()
    return f"{sequence_id(shot.drive)}_{digest[:5]}_{digest[5:18]}.jpg"


def photo(id_: str, shot: Shot) -> dict[str, str | None]:
    """One of `currentPageItems`."""
    added = shot.captured_at + _UPLOADED_AFTER
    folder = f"storage{_storage(shot.drive)}/files/photo/{added.year}/{added.month}/{added.day}"
    lon, lat = (0.0, 0.0) if shot.quirk is Quirk.NULL_ISLAND else (shot.lon, shot.lat)
    names = {f"{size}name": f"{folder}/{path}/{file_name(shot)}" for size, path in _SIZES.items()}
    return {
        "id": id_,
        "sequence_id": sequence_id(shot.drive),
        "sequence_index": str(shot.rank - 1),
        "lat": f"{lat:.7f}",
        "lng": f"{lon:.7f}",
        **names,
        "date_added": f"{added:%Y-%m-%d %H:%M:%S}",
        "timestamp": str(int(added.timestamp())),
        "match_lat": f"{lat:.7f}",
        "match_lng": f"{lon:.7f}",
        "match_segment_id": None,
        "way_id": "303490382",
        "shot_date": _shot_date(shot),
        "heading": "" if shot.quirk is Quirk.NO_HEADING else f"{shot.heading_deg:.2f}",
        "gps_accuracy": None,
        "projection": "SPHERE" if shot.drive.is_pano else "PLANE",
        "field_of_view": "360" if shot.drive.is_pano else None,
        "username": None if shot.quirk is Quirk.NO_CREATOR else shot.drive.creator,
    }


_SIZES = {"": "proc", "lth_": "lth", "th_": "th"}


def _storage(drive: Drive) -> int:
    return 13 if drive.started_at.year >= 2020 else 1 + crc32(drive.name.encode()) % 12


def _shot_date(shot: Shot) -> str | None:
    """UTC, without saying so."""
    if shot.quirk is Quirk.NO_DATE:
        return None
    if shot.quirk is Quirk.JUNK_DATE:
        return _UNSET
    return f"{shot.captured_at:%Y-%m-%d %H:%M:%S}"
