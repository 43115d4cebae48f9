"""What the header of a photo says: position, direction, time, projection.

Here: headers read with Pillow, broken metadata becomes None. Not here: what tags mean (`exif.py`), what lies beside
photos (`survey.py`), which of the two wins (`scan.py`), or what is indexed.
"""

import warnings
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from threading import Lock

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from geopin_assets.capture import HeadingFrom
from geopin_assets.sources.own_photos.exif import BROKEN, Said
from geopin_assets.sources.own_photos.kinds import plugin
from geopin_assets.sphere import is_sphere

_SILENCED = Lock()  # which warnings are shown is a setting of the whole process
MOST_READS = 50_000
"""Parts of a header, each read in turn: cameras write some hundred, and 32 MB of empty ones would take 20 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoHeader:
    """Facts of one JPEG; None where it does not say."""

    width: int
    height: int
    has_position: bool
    """Whether there are GPS coordinates at all, good or bad."""
    position: tuple[float, float] | None
    """(lon, lat), degrees WGS84."""
    position_error_m: float | None
    has_fix: bool
    """False if the receiver says that it had none: then the position is where it last had one."""
    heading_deg: float | None
    heading_from: HeadingFrom | None
    is_magnetic: bool
    """Whether the heading is one to magnetic north."""
    clocks: tuple[datetime, ...]
    """What clocks say, in order of trust, true or not."""
    is_pano: bool
    camera: str | None


class HeaderCutError(ValueError):
    """The bytes end before the header does."""


def read_header(data: bytes) -> PhotoHeader | None:
    """The header that the first bytes of a photo hold, or None if they are of none.

    Raises HeaderCutError if more bytes are needed; kinds other than JPEG may need all.
    """
    file, opened = _Bytes(data), plugin(data[:256])
    with _SILENCED, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Corrupt EXIF data": what can be read is used
        try:
            with opened(file) as image:
                return _header(image)
        except BROKEN:
            pass
    if file.reads <= MOST_READS and (file.has_run_out or opened is not JpegImageFile):
        raise HeaderCutError(f"not in the first {len(data)} bytes")
    return None


class _Bytes(BytesIO):
    """Remembers whether more was wanted than there is, and ends who wants too much of it."""

    has_run_out, reads = False, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise ValueError("a header of too many parts")
        data = super().read(size)
        self.has_run_out |= size is not None and len(data) < size
        return data


def _header(image: ImageFile) -> PhotoHeader:
    said = Said.by(image)
    fix, direction = said.fix, said.direction
    return PhotoHeader(
        width=image.width,
        height=image.height,
        has_position=said.has_position,
        position=(fix.lon, fix.lat) if fix else None,
        position_error_m=said.error_m if fix else None,
        has_fix=fix is None or fix.is_current,
        heading_deg=direction.deg if direction else None,
        heading_from=direction.how if direction else None,
        is_magnetic=direction is not None and direction.is_magnetic,
        clocks=tuple(said.clocks),
        is_pano=is_sphere(image.width, image.height, said.gpano, said.camera),
        camera=said.camera,
    )
