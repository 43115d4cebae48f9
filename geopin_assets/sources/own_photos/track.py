"""GPX tracks: where a camera was at a time.

Here: a GPX file as segments of timed points, and the place between two of them. Not here: which photos lie beside a
track (`survey.py`), what their clocks said (`exif.py`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.parsers import expat

from geopin_assets.capture import Reason, Rejected
from geopin_assets.geo import distance_m
from geopin_assets.sources import fields
from geopin_assets.sources.own_photos import values

GAP = timedelta(seconds=30)
GAP_M = 25.0
"""Between two points that are farther apart in time and in space nobody knows the way."""
APART_M = 25.0
"""Tracks that put a camera farther apart at one time contradict each other."""


@dataclass(slots=True)
class Segment:
    """Points that were recorded one after the other, in order of time."""

    times: list[datetime] = field(default_factory=list)
    places: list[tuple[float, float]] = field(default_factory=list)

    def at(self, time: datetime) -> tuple[float, float] | None:
        """(lon, lat); None where the recording had a gap or did not run."""
        after = bisect_left(self.times, time)
        if after < len(self.times) and self.times[after] == time:
            return self.places[after]
        if not 0 < after < len(self.times):
            return None
        (lon_a, lat_a), (lon_b, lat_b) = self.places[after - 1], self.places[after]
        gap = self.times[after] - self.times[after - 1]
        if gap > GAP and distance_m(lon_a, lat_a, lon_b, lat_b) > GAP_M:
            return None
        share = (time - self.times[after - 1]) / gap
        return lon_a + share * (lon_b - lon_a), lat_a + share * (lat_b - lat_a)


def place_at(segments: Sequence[Segment], time: datetime) -> tuple[float, float] | None:
    """(lon, lat) at a time; None where no track tells, or two tell different places."""
    found = [place for segment in segments if (place := segment.at(time))]
    if any(distance_m(*found[0], *other) > APART_M for other in found[1:]):
        return None
    return found[0] if found else None


def read_track(data: bytes, name: str) -> tuple[list[Segment], list[Rejected]]:
    """The segments of a GPX file, and what of it was left out: a broken file as far as it goes."""
    reader = _Reader(name)
    reader.read(data)
    if not any(segment.times for segment in reader.segments):
        reader.say(Reason.MALFORMED, "has no points with a time")
    return [_in_order(segment) for segment in reader.segments if segment.times], reader.said


def _in_order(segment: Segment) -> Segment:
    """By time, each once."""
    by_time = dict(zip(segment.times, segment.places, strict=True))
    times = sorted(by_time)
    return Segment(times, [by_time[time] for time in times])


class _Reader:
    """Expat hears of points and their times; a document that defines entities is refused, GPX has none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.segments: list[Segment] = []
        self.said: list[Rejected] = []
        self._place: tuple[float, float] | None = None
        self._time: list[str] | None = None
        self._is_point = False
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._refuse

    def read(self, data: bytes) -> None:
        try:
            self._parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError) as error:  # an encoding that there is not
            self.say(Reason.MALFORMED, f"is read no further: {error}")

    def say(self, reason: Reason, why: str) -> None:
        self.said.append(Rejected(reason, f"{self._name} line {self._parser.CurrentLineNumber}: {why}"))

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        element = tag.rpartition(" ")[2]
        if element == "trkseg":
            self.segments.append(Segment())
        elif element == "trkpt" and self.segments:
            self._is_point, self._place = True, fields.position(attributes.get("lon"), attributes.get("lat"))
            if self._place is None:
                self.say(Reason.BAD_COORDINATES, f"{ascii(attributes.get('lat'))[:40]} is no place")
        elif element == "time" and self._is_point:
            self._time = []

    def _text(self, text: str) -> None:
        if self._time is not None and len(self._time) < 10:
            self._time.append(text[:100])

    def _end(self, tag: str) -> None:
        element = tag.rpartition(" ")[2]
        if element == "trkpt":
            self._is_point = False
        elif element == "time" and self._time is not None:
            text, self._time = "".join(self._time).strip(), None
            time = values.instant(text, zone=UTC, day_first=None)
            if time is None:
                self.say(Reason.MALFORMED, f"{ascii(text)[:40]} is no time")
            elif self._place:
                self.segments[-1].times.append(time)
                self.segments[-1].places.append(self._place)

    def _refuse(self, *_: Any) -> None:
        raise ValueError("it defines entities")
