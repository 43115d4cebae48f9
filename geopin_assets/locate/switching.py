"""Whether searches may go to another model's index: only if it places captures no worse than the one they use.

Both are asked the same questions (leave one source out, `samples.py`), and the difference is judged by its interval.
Here: asking both. Not here: when that is done (`defs/`), the verdict as it is kept and told (`verdict.py`), or the
switch (`platform/index_state.py`), which an operator may make whatever the verdict (`geopin index switch`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from geopin_assets.embedding.protocol import Model
from geopin_assets.index.stores import SearchedIndex, SearchedStore
from geopin_assets.index.versions import IndexVersion
from geopin_assets.locate.evaluation import Question
from geopin_assets.locate.resampling import interval
from geopin_assets.locate.samples import draw_questions
from geopin_assets.locate.search import search
from geopin_assets.locate.terms import SAME_PLACE_M
from geopin_assets.locate.verdict import Verdict, keep_verdict, read_verdict
from geopin_assets.platform.parts import SearchIndex, Storage

QUESTIONS = 500


def may_replace(storage: Storage, search_index: SearchIndex, serving: IndexVersion, version: IndexVersion) -> bool:
    """What was found when these two were compared; they are now if they were not yet."""
    known = read_verdict(storage.quality())
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
    keep_verdict(storage.quality(), verdict)
    return verdict


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
    files, seen = storage.vectors(model), dict[tuple[str, int], Sequence[float]]()
    for cell_id in sorted({question.row["cell_id"] for question in questions}):
        rows = files.cell(cell_id).read(["capture_id", "view", "embedding"])
        seen |= {(row["capture_id"], row["view"]): row["embedding"] for row in rows.iter_rows(named=True)}
    return [question.seen_as(seen.get((question.row["capture_id"], question.row["view"]))) for question in questions]
