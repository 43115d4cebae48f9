"""`geopin calibrate`: fit confidence and radius to the published index, and say how good its answers are."""

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

from geopin_assets.cli.console import console, stand_ins
from geopin_assets.errors import ConfigurationError
from geopin_assets.locate.calibrating import calibrate, learn
from geopin_assets.locate.comparing import Comparison, comparison
from geopin_assets.locate.confidence import FEWEST_NOWHERE, NEVER
from geopin_assets.locate.evaluation import ask
from geopin_assets.locate.figures import Figures, figures
from geopin_assets.locate.locator import NOT_VERIFIED
from geopin_assets.locate.opening import find_verifier, open_index, write_calibration
from geopin_assets.locate.samples import draw_questions
from geopin_assets.platform.parts import Embedding, SearchIndex, Sources, Storage
from geopin_assets.settings import Settings


def calibrate_and_report(settings: Settings, questions: int, verify: int) -> None:
    """Raises ConfigurationError where the index cannot teach anything, or nothing can be verified."""
    storage, embedding, search_index = Storage(), Embedding(), SearchIndex()
    locator = open_index(embedding, search_index)
    drawn = draw_questions(storage, embedding.model(), questions)
    with stand_ins(settings), _comparison(settings, embedding, storage, verify) as compared:
        compare = compared.of_question if compared else None
        answers = list(ask(drawn, locator.index, locator.store, compare, verify))
    try:
        learned = learn(answers)
        calibration = calibrate(learned, locator.model_id, _provenance(locator.index_version))
        told = figures(learned, locator.model_id)
    except ValueError as error:
        raise ConfigurationError(f"not enough to learn from: {error}") from error
    path = write_calibration(settings, calibration)
    _print(told)
    if calibration.found_from == NEVER:
        console.print(f"nothing will be called found: {FEWEST_NOWHERE} such are needed to know from what confidence on")
    console.print(f"kept in {path}")


def _comparison(
    settings: Settings, embedding: Embedding, storage: Storage, verify: int
) -> AbstractContextManager[Comparison | None]:
    if not verify:
        return nullcontext()
    if (verifier := find_verifier(settings)) is None:
        raise ConfigurationError(NOT_VERIFIED)
    return comparison(verifier, storage, embedding, Sources())


def _provenance(index_version: str) -> dict[str, object]:
    return {"index_version": index_version, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _print(told: Figures) -> None:

    def between(name: str, decimals: int = 0) -> str:
        low, high = told.intervals[name]
        return f" ({low:.{decimals}%} to {high:.{decimals}%})"

    console.print(
        f"{told.answers} captures asked of the other sources, {told.solvable} of them where one shows the place",
        f"right at once within 25 m: {told.recall['1@25']:.0%} of those{between('recall')}",
        *_points(told),
        f"called found: {told.found:.0%}, right of these {told.found_right:.0%}",
        f"of {told.nowhere} where nothing around could be searched {told.false_found:.1%}"
        f"{between('false_found', 1)} were called found, {told.nowhere_told:.0%} not covered",
        f"confidence off by {told.ece:.3f} (ECE), inside the radius {told.inside_radius:.0%}"
        f"{between('inside_radius')}; 68 % is right",
        f"where another source agrees, {told.agreement_at_equal_cosine[0]:+.0%} are right of those equally alike"
        f" ({told.agreement_at_equal_cosine[1]:+.0%} to {told.agreement_at_equal_cosine[2]:+.0%})",
        *_terms(told),
        sep="\n",
    )


def _terms(told: Figures) -> list[str]:
    """Which terms the confidence rests on beside likeness, and by how much each raises the area."""
    return [
        f"{term} {'is' if gain.is_shown else 'is not'} counted: {gain.area:+.3f} of the area under precision and recall"
        f" ({gain.low:+.3f} to {gain.high:+.3f})"
        for term, gain in told.gains.items()
    ]


def _points(told: Figures) -> list[str]:
    """What the order of matching points finds, where any were counted."""
    if told.recall_by_points is None or told.reordering_gain is None:
        return []
    gain, low, high = told.reordering_gain
    return [
        f"by likeness alone {told.recall_by_likeness['1@25']:.0%}; of those compared, in the order of matching points"
        f" {told.recall_by_points['1@25']:.0%}, {gain:+.0%} ({low:+.0%} to {high:+.0%})"
    ]
