"""The XMP packets of one photo, and what all of them say.

Here: where packets lie: in several segments, in parts where one was too long for a segment, within EXIF, or where other
formats have them. Not here: reading one (`xmp.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from PIL import Image

from geopin_assets.xmp import DJI, EXIF, GPANO, PHOTOSHOP, XMP, properties

_MAIN, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_ID, _HEAD = slice(len(_EXTENSION), len(_EXTENSION) + 32), len(_EXTENSION) + 40
_IN_EXIF = 700
MAX_BYTES = 2**20
"""Of one that came in parts: what does not fit is depth maps and sound."""
_SPACES = {"GPano": GPANO, "exif": EXIF, "xmp": XMP, "photoshop": PHOTOSHOP, "drone-dji": DJI}


def xmp_of(image: Image.Image) -> dict[str, str]:
    """By names such as `GPano:ProjectionType`; the first packet that says something wins."""
    found: dict[str, str] = {}
    for packet in map(_utf8, _packets(image)):
        for prefix, namespace in _SPACES.items():
            for name, value in properties(packet, namespace).items():
                found.setdefault(f"{prefix}:{name}", value)
    return found


def _packets(image: Image.Image) -> Iterator[bytes]:
    segments: list[bytes] = [data for _, data in getattr(image, "applist", [])]
    mains = [data[len(_MAIN) :] for data in segments if data.startswith(_MAIN)]
    yield from mains
    yield from _joined(data for data in segments if data.startswith(_EXTENSION))
    elsewhere = [image.info.get("xmp"), image.info.get("XML:com.adobe.xmp"), image.getexif().get(_IN_EXIF)]
    for packet in elsewhere if not mains else elsewhere[1:]:
        if isinstance(packet, bytes | str):
            yield packet.encode(errors="replace") if isinstance(packet, str) else packet


def _joined(segments: Iterable[bytes]) -> Iterator[bytes]:
    """Each part has its packet's id, that packet's length, and where in it the part belongs."""
    parts: defaultdict[bytes, dict[int, bytes]] = defaultdict(dict)
    for segment in segments:
        start = int.from_bytes(segment[_HEAD - 4 : _HEAD])
        if start < MAX_BYTES:
            parts[segment[_ID]][start] = segment[_HEAD:]
    for packet in parts.values():
        yield b"".join(part for _, part in sorted(packet.items()))


def _utf8(packet: bytes) -> bytes:
    """As it has to be in a JPEG; elsewhere XMP is UTF-16 too."""
    if b"\0" not in packet[:8]:
        return packet
    is_little = packet.startswith((b"\xff\xfe", b"<\0"))
    return packet.decode("utf-16-le" if is_little else "utf-16-be", "replace").encode()
