"""What lies beside photos and says where they were taken: tables, mapillary_tools' descriptions, GPX tracks.

Here: which of them there are, and which photo each row means. Not here: how each is read (`table.py`, `described.py`,
`track.py`), or what wins against EXIF (`scan.py`).

A row names a photo from the folder of its table, or from the top; separators, capitals and the form of accents make no
difference. If there is none, the end of the path tells, as for tables made on another machine, if it tells one photo
from all others. A photo that several rows may mean, or whose rows are all refused, is at a place that nobody knows.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from geopin_assets.capture import Reason, Rejected
from geopin_assets.errors import PermanentError
from geopin_assets.photo_folder import PhotoFolder
from geopin_assets.photo_folder.names import PHOTOS, suffix
from geopin_assets.sources.own_photos.described import read_description
from geopin_assets.sources.own_photos.stated import Position, Row
from geopin_assets.sources.own_photos.table import read_table
from geopin_assets.sources.own_photos.track import Segment, place_at, read_track

TABLES = frozenset(("positions.csv", "positions.tsv", "positions.txt"))
DESCRIPTION = "mapillary_image_description.json"
MAX_BYTES = 256 * 2**20
"""Some five million rows."""
Parts = tuple[str, ...]


@dataclass(slots=True)
class Survey:
    """What is stated about photos, by their names in the folder."""

    positions: dict[str, Position | None] = field(default_factory=dict)
    """None: its rows are refused."""
    tracks: defaultdict[str, list[Segment]] = field(default_factory=lambda: defaultdict(list))
    """By the folder that they lie in."""
    said: list[Rejected] = field(default_factory=list)
    """What of all this was left out."""

    def track_place(self, name: str, time: datetime) -> tuple[float, float] | None:
        """Where the tracks nearest to a photo, in its folder or those around it, were then."""
        while name:
            name = name.rpartition("/")[0]
            if name in self.tracks:
                return place_at(self.tracks[name], time)
        return None


def is_beside(name: str) -> bool:
    """Whether a file says something about photos."""
    last = name.rpartition("/")[2].lower()
    return last in TABLES or last == DESCRIPTION or last.endswith(".gpx")


def read_survey(folder: PhotoFolder, files: Iterable[str], photos: Sequence[str], *, crs: str, now: datetime) -> Survey:
    """Read the files (names) about these photos (names). `crs`: of tables that state none.

    Raises PayloadError for a file that is not what its name says, and as the folder does if it cannot be read: without
    it photos would be where their owner says they are not.
    """
    survey, claims = Survey(), _Claims(photos)
    for name in sorted(files):
        try:
            data, within = folder.read(name, MAX_BYTES), name.rpartition("/")[0]
        except PermanentError as error:
            error.args = (f"{name}: {error}",)
            raise
        if name.lower().endswith(".gpx"):
            segments, said = read_track(data, name)
            survey.tracks[within] += segments
        else:
            is_table = name.rpartition("/")[2].lower() in TABLES
            rows, said = read_table(data, name, crs=crs, now=now) if is_table else read_description(data, name, now=now)
            survey.said += claims.add(rows, within)
        survey.said += said
    survey.said += claims.settle(survey.positions)
    return survey


class _Claims:
    """Which rows mean which photo, and how surely."""

    def __init__(self, photos: Sequence[str]) -> None:
        self._photos = photos
        self._sure: defaultdict[str, list[Row]] = defaultdict(list)
        self._likely: defaultdict[str, list[Row]] = defaultdict(list)
        self._by_path: defaultdict[Parts, list[str]] = defaultdict(list)
        self._by_end: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, rows: Sequence[Row], within: str) -> Iterator[Rejected]:
        """Find the photos of a file's rows; yields those that name none."""
        if not self._by_path:
            for name in self._photos:
                parts = _parts(name)
                self._by_path[parts].append(name)
                self._by_end[parts[-1]].append(name)
                self._by_end[_stem(parts[-1])].append(name)
        for row in rows:
            sure = self._named(row.file, within)
            for name in sure:
                self._sure[name].append(row)
            likely = () if sure else self._ending(row.file, within)
            for name in likely:
                self._likely[name].append(row if len(likely) == 1 else Row(row.file, row.where, None))
            if len(sure or likely) > 1:
                yield Rejected(Reason.NO_IMAGE, f"{row.where}: several photos may be {ascii(row.file)[:100]}")
            elif not (sure or likely):
                yield Rejected(Reason.NO_IMAGE, f"{row.where}: no photo {ascii(row.file)[:100]}")

    def settle(self, positions: dict[str, Position | None]) -> Iterator[Rejected]:
        """The first good row of each photo; yields those that say something twice."""
        for name, rows in (self._likely | self._sure).items():
            if name not in self._sure and len({_parts(row.file) for row in rows}) > 1:
                positions[name] = None
                yield Rejected(Reason.NO_IMAGE, f"{rows[1].where}: means {ascii(name)[:100]} as {rows[0].where} may")
                continue
            good = [row for row in rows if row.position]
            positions[name] = good[0].position if good else None
            for row in good[1:]:
                yield Rejected(Reason.SECOND_ROW, f"{row.where}: {ascii(name)[:100]} is in {good[0].where} already")

    def _named(self, file: str, within: str) -> Sequence[str]:
        for parts in dict.fromkeys(((*_parts(within), *_parts(file)), _parts(file))):
            if found := self._by_path.get(parts):
                exact = [name for name in found if name in (file, f"{within}/{file}")]
                return exact or found
        return ()

    def _ending(self, file: str, within: str) -> Sequence[str]:
        parts = _parts(file)
        if not parts:
            return ()
        around, has_suffix = _parts(within), suffix(parts[-1]) in PHOTOS
        found = []
        for name in self._by_end.get(parts[-1], ()):
            *folders, last = _parts(name)
            path = (*folders, last if has_suffix else _stem(last))
            below = path[len(around) :]
            shared = min(len(below), len(parts))
            if path[: len(around)] == around and below[-shared:] == parts[-shared:]:
                found.append(name)
        return found


def _parts(name: str) -> Parts:
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).replace("\\", "/")
    return tuple(part for part in plain.split("/") if part not in ("", "."))


def _stem(last: str) -> str:
    return last.rpartition(".")[0] or last
