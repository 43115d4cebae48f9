"""Answers for photos from one version of the index: search, terms, confidence, radius, alternatives.

Here: putting the answer together. Not here: reading the photo (`photo.py`), the model, the stores, or what is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from geopin_assets.geo import distance_m
from geopin_assets.index.limits import MAX_TOP_K
from geopin_assets.index.protocol import Readable, Searchable
from geopin_assets.locate.confidence import Calibration
from geopin_assets.locate.location import NOT_COVERED, UNCERTAIN, Location, Place, Reference
from geopin_assets.locate.outliers import weighed
from geopin_assets.locate.search import Area, looked, renumbered, reordered
from geopin_assets.locate.terms import OTHER_PLACE_M, Terms, gather
from geopin_assets.locate.witnesses import Copies, Match

_ALTERNATIVES = 3
_WORTH_TELLING = 0.05
"""An alternative less likely than that is none."""
NOT_CALIBRATED = "this model is not calibrated: `geopin calibrate` fits confidence and radius to the index"

NOT_VERIFIED = (
    "not verified: that takes `pip install 'geopin-assets[verify]'` and XFeat's weights (GEOPIN_VERIFY_WEIGHTS)"
)
NOT_DEEPER = f"of each block of cells, about 20 km wide, only the {MAX_TOP_K} most alike captures were looked at"
Compare = Callable[[Sequence[Match]], dict[str, int]]
"""Counts the points that match the photo: inliers by capture id, of those matches whose images can be had."""


@dataclass(frozen=True, slots=True)
class Locator:
    """One version of the index, and what is known of its model's answers."""

    index: Searchable
    store: Readable
    model_id: str
    index_version: str
    calibration: Calibration | None

    def locate(
        self,
        views: NDArray[np.float32],
        *,
        top: int = 10,
        area: Area | None = None,
        compare: Compare | None = None,
        verify: int = 0,
    ) -> Location:
        """Where the image of these unit vectors, float32 [V, dim], was taken.

        `verify`: so many matches are compared with the photo, by `compare`.

        The position is that of the best match: averages and votes of several were farther off wherever that was
        measured (docs/locating.md). Raises PermanentError for vectors of another dimension.
        """
        matches, is_whole = looked(views, self.index, self.store, area=area)
        notes = [NOT_VERIFIED] if verify and not compare else []
        if area and not is_whole:
            notes.append(NOT_DEEPER)
        if matches.is_empty():
            return self._nothing(notes)
        if matches["trust"].count():
            matches = renumbered(weighed(matches))
        inliers = compare(matches.head(verify).rows(named=True)) if compare and verify else {}
        if inliers and self.calibration and self.calibration.reorders:
            matches = reordered(matches, inliers)
        terms = gather(views, matches, self.index, self.store, area=area, inliers=inliers)
        return self._answer(matches, terms, inliers, top, notes)

    def _nothing(self, notes: list[str]) -> Location:
        return Location(
            status=NOT_COVERED,
            lat=None,
            lon=None,
            radius_m=None,
            heading_deg=None,
            heading_from=None,
            confidence=None,
            terms=["nothing is indexed there"],
            alternatives=[],
            matches=[],
            model_id=self.model_id,
            index_version=self.index_version,
            notes=notes,
        )

    def _answer(
        self, matches: pl.DataFrame, terms: Terms, inliers: dict[str, int], top: int, notes: list[str]
    ) -> Location:
        best, known = matches.row(0, named=True), self.calibration
        confidence = known.confidence(terms) if known else None
        return Location(
            status=known.status(confidence) if known and confidence is not None else UNCERTAIN,
            lat=best["lat"],
            lon=best["lon"],
            radius_m=known.radius_m(confidence) if known and confidence is not None else None,
            heading_deg=best["heading_deg"],
            heading_from=best["heading_from"],
            confidence=confidence,
            terms=terms.in_words(known.counted(terms) if known else None),
            alternatives=self._alternatives(matches, terms),
            matches=references(matches.head(top).rows(named=True), inliers, self.index),
            model_id=self.model_id,
            index_version=self.index_version,
            notes=notes + ([] if known else [NOT_CALIBRATED]),
        )

    def _alternatives(self, matches: pl.DataFrame, terms: Terms) -> list[Place]:
        """The best match of each other place, as long as it may be right."""
        if self.calibration is None:
            return []
        chosen: list[Match] = [matches.row(0, named=True)]
        places: list[Place] = []
        for match in matches.iter_rows(named=True):
            if any(distance_m(match["lon"], match["lat"], c["lon"], c["lat"]) <= OTHER_PLACE_M for c in chosen):
                continue
            likely = self.calibration.confidence(terms.of_another(match["score"]))
            if likely < _WORTH_TELLING or len(places) == _ALTERNATIVES:
                break
            chosen.append(match)
            places.append(Place(match["lat"], match["lon"], likely, match["score"], match["capture_id"]))
        return places


def references(matches: Sequence[Match], inliers: Mapping[str, int], index: Searchable) -> list[Reference]:
    """Matches as readers get them; of copies the best one is the witness."""
    originals: list[Match] = []
    copies = Copies.among(matches, index)
    told: list[Reference] = []
    for match in matches:
        copy_of = next((original["capture_id"] for original in originals if copies.are(original, match)), None)
        if copy_of is None:
            originals.append(match)
        shown = {name: match[name] for name in Reference.__slots__ if name in match}
        shown["trust"] = 1.0 if match["trust"] is None else match["trust"]
        told.append(Reference(**shown, inliers=inliers.get(match["capture_id"]), copy_of=copy_of))
    return told
