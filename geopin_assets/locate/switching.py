"""Whether searches may go to another model's index: only if it places captures no worse than the one they use.

Both are asked the same questions (leave one source out, `samples.py`), and the difference is judged by its interval.
Here: asking both, the verdict, and where it is kept. Not here: when it is asked for (`defs/`), or the switch itself
(`platform/index_state.py`); an operator may make that whatever the verdict (`geopin index switch`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from geopin_assets.embedding.protocol import Model
from geopin_assets.files.atomic import write_bytes
from geopin_assets.index.stores import SearchedIndex, SearchedStore
from geopin_assets.index.versions import IndexVersion
from geopin_assets.locate.evaluation import Question, interval
from geopin_assets.locate.samples import draw_questions
from geopin_assets.locate.search import search
from geopin_assets.locate.terms import SAME_PLACE_M
from geopin_assets.platform.parts import SearchIndex, Storage

QUESTIONS, FEWEST = 500, 50
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


def may_replace(storage: Storage, search_index: SearchIndex, serving: IndexVersion, version: IndexVersion) -> bool:
    """What was found when these two were compared; they are now if they were not yet."""
    known = read_verdict(storage.quality_dir())
    if known is None or (known.version, known.over) != (version.name, serving.name):
        known = compare(storage, search_index, serving, version)
    return known.may_switch


def compare(storage: Storage, search_index: SearchIndex, serving: IndexVersion, version: IndexVersion) -> Verdict:
    """Ask both versions, and keep the verdict."""
    drawn = [q for q in draw_questions(storage, model_of(version), QUESTIONS) if q.is_solvable]
    pairs = [pair for pair in zip(drawn, _as_seen_by(storage, model_of(serving), drawn), strict=True) if pair[1]]
    store = SearchedStore(search_index.metadata())
    new, old = (SearchedIndex(search_index.vectors(each)) for each in (version, serving))
    after = [_is_right(question, new, store) for question, _ in pairs]
    before = [_is_right(question, old, store) for _, question in pairs if question]
    verdict = judged(version.name, serving.name, [q.group for q, _ in pairs], before, after)
    write_bytes(storage.quality_dir() / FILE, orjson.dumps(asdict(verdict)))
    return verdict


def read_verdict(folder: Path) -> Verdict | None:
    """The last one; None where none was needed yet."""
    try:
        facts = orjson.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    return Verdict(**facts | {"gain": tuple(facts["gain"])})


def model_of(version: IndexVersion) -> Model:
    """What stored vectors need to know of a version's model."""
    return Model(version.model_id, version.dim, is_place_recognition=True)


def judged(version: str, over: str, groups: Sequence[str], before: Sequence[bool], after: Sequence[bool]) -> Verdict:
    """From which questions, by their groups, were answered right by the version that serves, and by the new one."""
    now, was, now_is = datetime.now(UTC), np.array(before, np.float64), np.array(after, np.float64)
    if not groups:
        return Verdict(version, over, 0, 0.0, 0.0, (0.0, 0.0, 0.0), now.isoformat(timespec="seconds"))
    won = now_is - was
    gain = (float(won.mean()), *interval(groups, lambda n: float(won[n].mean())))
    shares = float(was.mean()), float(now_is.mean())
    return Verdict(version, over, len(groups), *shares, gain, now.isoformat(timespec="seconds"))


def _is_right(question: Question, index: SearchedIndex, store: SearchedStore) -> bool:
    found = search(question.views, index, store, 1, where={"source": {"$ne": question.source}})
    return bool(found.height) and question.errors_m(found)[0] <= SAME_PLACE_M


def _as_seen_by(storage: Storage, model: Model, questions: Sequence[Question]) -> list[Question | None]:
    """The same views of the same captures with a model's vectors; None where it has none."""
    files, seen = storage.vectors(model), {}
    for cell_id in sorted({question.row["cell_id"] for question in questions}):
        rows = files.cell(cell_id).read(["capture_id", "view", "embedding"])
        seen |= {(row["capture_id"], row["view"]): row["embedding"] for row in rows.iter_rows(named=True)}
    return [question.seen_as(seen.get((question.row["capture_id"], question.row["view"]))) for question in questions]
