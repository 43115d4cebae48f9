"""One photo with these tags, as a crawl understands it."""

import struct
from pathlib import Path
from typing import Any

from geopin_assets.capture import Rejected
from geopin_assets.photo_folder import LocalFolder, Lost, PhotoFile
from geopin_assets.sources.own_photos.scan import Memory, Photo, Reading, read_photo
from geopin_assets.sources.own_photos.stated import Position
from geopin_assets_tests.sources.recordings.own_photos import NOW, write_photo

MAIN, EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
RDF = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF>'
    "</x:xmpmeta>"
)
EXIF_SPACE = "http://ns.adobe.com/exif/1.0/"


def looked_at(folder: Path, *segments: bytes, how: Reading | None = None, **options: Any) -> Photo | Rejected | Lost:
    """A photo that is written with these options, and more segments, and read again."""
    path = write_photo(folder / "1.jpg", **options)
    picture = path.read_bytes()
    more = b"".join(b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment for segment in segments)
    path.write_bytes(picture[:2] + more + picture[2:])
    return read_photo(LocalFolder(folder), PhotoFile("1.jpg"), Position(), NOW, Memory({}), how=how)


def seen(folder: Path, *segments: bytes, **options: Any) -> Photo:
    """The same of a photo that has a place."""
    photo = looked_at(folder, *segments, **options)
    assert isinstance(photo, Photo), photo
    return photo


def packet(attributes: str, prefix: str = "exif", uri: str = EXIF_SPACE) -> bytes:
    """An XMP packet with attributes of one namespace."""
    return RDF.format(f'<rdf:Description rdf:about="" xmlns:{prefix}="{uri}" {attributes}/>').encode()
