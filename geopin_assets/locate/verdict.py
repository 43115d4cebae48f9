"""What was found of a new model's index beside the one that searches use: kept, and told in words.

Not here: how the two are compared (`switching.py`).
"""

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from geopin_assets.files.notes import read_note
from geopin_assets.files.object_store import ObjectStore

FEWEST = 50
"""Captures asked of both before anything is known."""
FILE = "model_switch.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a new version beside the one that searches use."""

    version: str
    over: str
    questions: int
    """Captures whose place another source shows, asked of both."""
    before: float
    after: float
    """Share of them that each finds at once within 25 m."""
    gain: tuple[float, float, float]
    """`after` less `before`, and its 95 % interval."""
    at: str

    @property
    def may_switch(self) -> bool:
        """Not worse beyond the interval, on questions enough to tell."""
        return self.questions >= FEWEST and self.gain[2] >= 0

    def in_words(self) -> str:
        """What people are told, with what to do where searches stay."""
        if self.questions < FEWEST:
            why = f"only {self.questions} captures can be asked of both, {FEWEST} are needed to tell"
        else:
            gain, low, high = self.gain
            why = (
                f"right at once {self.after:.1%}, with {self.over} {self.before:.1%}"
                f" ({gain:+.1%}, {low:+.1%} to {high:+.1%}; {self.questions} captures)"
            )
        if self.may_switch:
            return f"{self.version} is not worse than {self.over}: {why}"
        return f"searches stay with {self.over}: {why}; `geopin index switch {self.version}` lets them go all the same"


def keep_verdict(reports: ObjectStore, verdict: Verdict) -> None:
    """Instead of the one before."""
    reports.put(FILE, orjson.dumps(asdict(verdict)))


def read_verdict(reports: ObjectStore) -> Verdict | None:
    """The last one; None where none was needed yet."""
    return read_note(reports, FILE, _verdict)


def _verdict(facts: dict[str, Any]) -> Verdict:
    low, middle, high = map(float, facts["gain"])
    return Verdict(**facts | {"gain": (low, middle, high)})
