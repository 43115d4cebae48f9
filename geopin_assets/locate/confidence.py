"""What an answer's terms are worth: the probability that its place is right, and the radius that holds the truth.

A logistic model of likeness, margin, matching points and agreement, whose weights cannot point the wrong way: no term
that speaks for a place ever makes it less likely. Fitted per model on answers whose truth is known (`evaluation.py`),
and kept with where it came from. The radius is the one within which 68 % of known answers of that confidence lay, as
ARCore's geospatial accuracy is. Not here: gathering terms (`terms.py`), or where a calibration is kept.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log1p
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopin_assets.locate.terms import SAME_PLACE_M, Terms

RADIUS_SHARE = 0.68
FALSE_FOUND, SURELY = 0.02, 0.95
"""Of photos of places that are not covered, at most so many may be called found: not in those that were asked, but of
all, with this probability."""
NEVER, FEWEST_NOWHERE = 2.0, 149
"""A confidence that no answer has: where fewer were asked than even none of them called found says enough about."""
MISSED = 0.05
"""Of right answers, so many may be called not covered."""
_FEATURES = ("cosine", "margin", "agreeing", "disagreeing", "inliers")
FEATURES_OF = MappingProxyType({"likeness": (0,), "margin": (1,), "agreement": (2, 3), "points": (4,)})
"""By term, where among the features its numbers are."""
PLAIN = 4
"""So many of them, the first, are known without points."""
_SIGNS = ((0, None), (0, None), (0, None), (None, 0), (0, None))
_SHRINK = 1e-3
_ANSWERS_A_BIN = 40
_MAX_BINS = 20


@dataclass(frozen=True, slots=True)
class Weights:
    """Log-odds of an answer: `bias`, and what each unit of each of the first _FEATURES adds."""

    bias: float
    each: tuple[float, ...]

    def probability(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of answers with these features, float64 [N, 5]."""
        logit = self.bias + x[:, : len(self.each)] @ np.array(self.each)
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -40, 40))))

    @property
    def counted(self) -> frozenset[str]:
        """The terms that change anything."""
        of = {term: [self.each[n] for n in at if n < len(self.each)] for term, at in FEATURES_OF.items()}
        return frozenset(term for term, weights in of.items() if any(weights))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weights and radii for one model, and where they come from."""

    model_id: str
    plain: Weights
    verified: Weights | None
    """For answers whose matching points were counted; None where too few of the known ones were."""
    confidences: tuple[float, ...]
    """Rising; `radii_m` belong to them, straight lines between."""
    radii_m: tuple[float, ...]
    found_from: float
    not_covered_below: float
    reorders: bool
    """Whether matching points decide the order of matches: only where that was shown to find more."""
    provenance: dict[str, Any]
    """Answers, sources, index version, when: what it was fitted on."""

    def confidence(self, terms: Terms) -> float:
        """Probability that the place is right within SAME_PLACE_M."""
        return float(self.confidences_of([terms])[0])

    def confidences_of(self, terms: Sequence[Terms]) -> NDArray[np.float64]:
        """The same of many answers."""
        x, plain = features(terms), self.plain.probability(features(terms))
        if self.verified is None:
            return plain
        return np.where([each.inliers is not None for each in terms], self.verified.probability(x), plain)

    def counted(self, terms: Terms) -> frozenset[str]:
        """The terms that the confidence of such an answer rests on."""
        return (self.verified if self.verified and terms.inliers is not None else self.plain).counted

    def radius_m(self, confidence: float) -> float:
        return float(np.interp(confidence, self.confidences, self.radii_m))

    def status(self, confidence: float) -> str:
        """`found`, `uncertain`, or `not_covered`."""
        if confidence >= self.found_from:
            return "found"
        return "not_covered" if confidence < self.not_covered_below else "uncertain"


def features(terms: Sequence[Terms]) -> NDArray[np.float64]:
    """The numbers that weights belong to, float64 [N, 5]."""
    return np.array(
        [
            (each.cosine, each.margin, len(each.agreeing), len(each.disagreeing), log1p(each.inliers or 0))
            for each in terms
        ]
    ).reshape(-1, len(_FEATURES))


def fit_weights(
    x: NDArray[np.float64], is_right: NDArray[np.bool_], counted: Collection[str] = tuple(FEATURES_OF)
) -> Weights:
    """The weights, each of its sign, that make known answers likeliest; x is float64 [N, F], the first F features.

    Of terms that are not `counted` they are 0. Maximum likelihood with a little shrinking, by L-BFGS-B (scipy), in
    units of each feature's spread.
    """
    from scipy.optimize import minimize

    is_counted = np.isin(np.arange(x.shape[1]), [n for term in counted for n in FEATURES_OF[term]])
    spread = np.where(is_counted, x.std(axis=0), 0.0)
    scale = np.where(spread > 1e-9, spread, np.inf)  # what never differs says nothing
    center, y = x.mean(axis=0), is_right.astype(np.float64)
    z = (x - center) / scale

    def loss(beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = beta[0] + z @ beta[1:]
        off = 1 / (1 + np.exp(-np.clip(logit, -40, 40))) - y
        total = (np.logaddexp(0, logit) - y * logit).mean() + _SHRINK * (beta[1:] @ beta[1:])
        slopes = (z * off[:, None]).mean(axis=0) + 2 * _SHRINK * beta[1:]
        return float(total), np.concatenate([[off.mean()], slopes])

    bounds = [(None, None), *_SIGNS[: x.shape[1]]]
    beta = minimize(loss, np.zeros(1 + x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = beta[1:] / scale
    return Weights(float(beta[0] - center @ weights), tuple(map(float, weights)))


def are_enough(is_right: NDArray[np.bool_]) -> bool:
    """Whether weights of their own can be learned from answers whose points were counted."""
    return len(is_right) >= _ANSWERS_A_BIN and len(set(is_right)) > 1


def fit_radii(
    confidence: NDArray[np.float64], error_m: NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Confidences and the radii that hold 68 % of errors there: never larger where one is surer (isotonic)."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(confidence)
    bins = np.array_split(order, int(np.clip(len(order) // _ANSWERS_A_BIN, 1, _MAX_BINS)))
    radii = np.array([np.quantile(error_m[part], RADIUS_SHARE) for part in bins])
    weights = np.array([len(part) for part in bins], dtype=np.float64)
    falling = np.exp(isotonic_regression(np.log(radii + 1), weights=weights, increasing=False).x) - 1
    return tuple(float(np.mean(confidence[part])) for part in bins), tuple(map(float, falling))


def at_most(passed: int, asked: int) -> float:
    """What the share of all that would pass exceeds with a probability of 1 - SURELY only (Clopper-Pearson)."""
    from scipy.special import betaincinv

    return 1.0 if passed >= asked else float(betaincinv(passed + 1, asked - passed, SURELY))


def fit_found(nowhere: NDArray[np.float64]) -> float:
    """From which confidence on an answer is called found, by those of photos of places that are not covered.

    The lowest that at most FALSE_FOUND of all such photos reach, and never below one half.
    """
    surest, passed = np.sort(nowhere)[::-1], 0
    while passed < len(surest) and at_most(passed, len(surest)) <= FALSE_FOUND:
        passed += 1
    return max(0.5, float(np.nextafter(surest[passed - 1], NEVER))) if passed else NEVER


def bounded(calibration: Calibration, nowhere: Sequence[Terms], confidence: NDArray[np.float64]) -> Calibration:
    """Calling found what may be, by answers for places that are not covered and that it has not seen.

    Those whose points were counted, as most answers' are, have to stay within the bound by themselves where they are
    enough to tell.
    """
    is_verified = np.array([each.inliers is not None for each in nowhere], dtype=np.bool_)
    verified = fit_found(confidence[is_verified])
    found = max(fit_found(confidence), verified if verified < NEVER else 0.0)
    passed = int((confidence >= found).sum())
    told = {"nowhere": len(nowhere), "called_found": passed, "false_found_at_most": at_most(passed, len(nowhere))}
    return replace(
        calibration,
        found_from=found,
        not_covered_below=min(calibration.not_covered_below, found),
        provenance=calibration.provenance | told,
    )


def fit(
    model_id: str,
    terms: Sequence[Terms],
    error_m: NDArray[np.float64],
    provenance: Mapping[str, Any],
    *,
    plain_terms: Collection[str] = tuple(FEATURES_OF),
    verified_terms: Collection[str] = tuple(FEATURES_OF),
    reorders: bool = False,
) -> Calibration:
    """A calibration from answers whose error is known, of these terms. What it calls found is for `bounded` to say.

    Raises ValueError where all answers are right, or all wrong: nothing can be learned from them.
    """
    is_right = error_m <= SAME_PLACE_M
    if is_right.all() or not is_right.any():
        raise ValueError(f"{len(terms)} known answers, {int(is_right.sum())} of them right: both kinds are needed")
    x, is_verified = features(terms), np.array([each.inliers is not None for each in terms])
    plain, verified = fit_weights(x[:, :PLAIN], is_right, plain_terms), None
    if are_enough(is_right[is_verified]):
        verified = fit_weights(x[is_verified], is_right[is_verified], verified_terms)
    confidence = plain.probability(x)
    if verified:
        confidence = np.where(is_verified, verified.probability(x), confidence)
    return Calibration(
        model_id,
        plain,
        verified,
        *fit_radii(confidence, error_m),
        found_from=NEVER,
        not_covered_below=float(np.quantile(confidence[is_right], MISSED)),
        reorders=reorders,
        provenance={**provenance} | {"answers": len(terms), "verified": int(is_verified.sum())},
    )
