"""The protocol by which the field evaluates a quality model: search, test on every split, then a fit on all images.

Two ways to choose the hyper-parameters that are tested:

- ``nested``: each split takes the candidate that its own validation part prefers. No test image has any influence.
- ``shared``: all splits take the candidate with the best median over the splits' validation parts. An image of one
  split's test part is in the validation part of others and so helps to choose. Much of the literature does this.

The regressor's scores have prediction intervals without assumptions on the errors' distribution: split conformal
prediction. The half-width at level L is the ceil((n + 1) L)-th smallest absolute error of n held-out images (Lei et
al., J. Am. Stat. Assoc. 113(523), 2018). A new image's opinion then lies in prediction +- half-width with probability
L, if it is of the same population. The errors are of regressors fitted on part of the images, and the intervals are
used with one fitted on all, whose errors are slightly smaller; so they are, if anything, too wide.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from common.names import INTERVAL_LEVELS
from common.progress_bar import ProgressBar
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import fit_line, fit_mapping
from learning.regression.fit.search import Grid, Search, fit, search
from learning.regression.fit.splits import Split
from learning.regression.model.description import PredictionIntervals
from learning.regression.model.meaning import PairOrder
from networks.opinion_mapping import IDENTITY, OpinionMapping
from networks.regressor import LinearModel

PAIR_DIFFERENCES = np.array([0.05, 0.1, 0.2, 0.3])
"""Of two scores, as parts of the scale, for which the order of two photographs is tested; each +- 0.025."""

FEWEST_PAIRS = 100
"""Fewer pairs say nothing about a difference."""

STEEPEST = 0.25
"""The smallest width of a logistic that serves as calibration, in standard deviations of the predictions."""


@dataclass(frozen=True)
class Evaluation:
    """The search, the test of both kinds of choice on every split, and the regressor fitted on all images.

    ``tests`` is choice of hyper-parameters -> held-out predictions; ``nested`` is reported first.
    ``model`` is fitted with the shared choice, ``search.best``.
    """

    splits: list[Split]
    search: Search
    tests: Mapping[str, HeldOut]
    model: LinearModel

    @functools.cached_property
    def calibration(self) -> OpinionMapping:
        """The curve that maps the regressor's predictions to the opinions' scale and keeps their order.

        Candidates are chosen by rank correlation, which ignores that a strong penalty draws all predictions to the
        mean. A logistic so steep that it is a step would make predictions equal; a line replaces it. It is fitted to
        the shared choice's predictions, since the model has the same penalty.
        """
        shared = self.tests["shared"]
        predicted = np.nanmedian(shared.predictions[:, shared.tested], axis=0)
        opinions = shared.mos[shared.tested]
        logistic, line = fit_mapping(predicted, opinions), fit_line(predicted, opinions)
        steep = logistic.kind == "logistic" and abs(logistic.parameters[3]) < STEEPEST * predicted.std()
        return next((curve for curve in ([line] if steep else [logistic, line]) if curve.increases), IDENTITY)

    @functools.cached_property
    def calibrated(self) -> HeldOut:
        """The tests with the shared choice, on the opinions' scale."""
        return HeldOut(self.tests["shared"].mos, self.calibration(self.tests["shared"].predictions))


_no_bar = functools.partial(ProgressBar, visible=False)


def run_protocol(
    features: np.ndarray,
    mos: np.ndarray,
    splits: list[Split],
    grid: Grid,
    n_threads: int,
    memory: int,
    make_bar: Callable[[int, str], ProgressBar] = _no_bar,
) -> Evaluation:
    """Searches, tests and fits; arguments as in ``search``.

    ``make_bar(total, unit)`` shows the progress of the search, and then that of the fits for the tests.
    """
    bar = make_bar(len(splits) * len(grid.paths()), "path")
    found = search(features, mos, splits, grid, n_threads, memory, bar.add)
    bar.close()
    choices = {"nested": found.best_in_each_split(), "shared": [found.best] * len(splits)}
    bar = make_bar(2 * len(splits), "test fit")
    tests = {}
    for name, of_splits in choices.items():
        predictions = np.full((len(splits), len(mos)), np.nan)
        for row, split, chosen in zip(predictions, splits, of_splits, strict=True):
            rows = split.train_and_validation
            row[split.test] = fit(features[rows], mos[rows], chosen).predict(features[split.test])
            bar.add(1)
        tests[name] = HeldOut(mos, predictions)
    bar.close()
    return Evaluation(splits, found, tests, fit(features, mos, found.best))


def conformal_half_width(errors: np.ndarray, level: float) -> float | None:
    """The half-width from (n,) absolute errors; None where n is too small for the level."""
    rank = int(np.ceil((len(errors) + 1) * level - 1e-9))
    return float(np.sort(errors)[rank - 1]) if 1 <= rank <= len(errors) else None


def prediction_intervals(calibrated: HeldOut) -> PredictionIntervals:
    """Intervals from held-out predictions on the opinions' scale.

    For the coverage, the images of a split's test part are left out of the errors that the part is held to.
    """
    tested = calibrated.tested
    errors = np.abs(np.nanmedian(calibrated.predictions[:, tested], axis=0) - calibrated.mos[tested])
    widths = ((level, conformal_half_width(errors, level)) for level in INTERVAL_LEVELS)
    recorded = {level: width for level, width in widths if width is not None}
    covered: list[np.ndarray] = []
    for rows, predicted, mos in calibrated.parts():
        half_width = conformal_half_width(errors[~np.isin(tested, rows)], 0.9)
        if half_width is not None:
            covered.append(np.abs(predicted - mos) <= half_width)
    coverage = float(np.concatenate(covered).mean()) if covered else None
    return PredictionIntervals(tuple(recorded), tuple(recorded.values()), coverage)


def pair_orders(calibrated: HeldOut, scale: tuple[float, float]) -> tuple[PairOrder, ...]:
    """The order of two photographs by the difference of their held-out scores, in parts of the ``scale``.

    A pair is of one split's test part, so that one regressor scored both; pairs of all splits are counted together, and
    those with equal opinions are not counted.
    """
    width = scale[1] - scale[0] or 1.0
    right, pairs = np.zeros((2, len(PAIR_DIFFERENCES)), int)
    for _, scores, opinions in calibrated.parts():
        for score, opinion in zip(scores, opinions, strict=True):
            near = np.abs((scores - score) / width - PAIR_DIFFERENCES[:, None]) <= 0.025
            right += near[:, opinions > opinion].sum(axis=1)
            pairs += near[:, opinions != opinion].sum(axis=1)
    found = zip((PAIR_DIFFERENCES * width).tolist(), right.tolist(), pairs.tolist(), strict=True)
    return tuple(PairOrder(apart, right / n, n) for apart, right, n in found if n >= FEWEST_PAIRS)
