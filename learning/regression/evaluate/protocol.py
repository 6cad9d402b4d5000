"""The protocol by which the field evaluates a quality model: search, test on every split, then a fit on all images.

Two ways to choose the hyper-parameters that are tested:

- ``nested``: each split takes the candidate that its own validation part prefers. No test image has any influence.
- ``shared``: all splits take the candidate with the best median over the splits' validation parts. An image of one
  split's test part is in the validation part of others and so helps to choose. Much of the literature does this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from learning.regression.evaluate.conformal import PredictionIntervals, prediction_intervals
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import Metrics, fit_line, fit_mapping
from learning.regression.evaluate.results import Spread
from learning.regression.fit.search import Search, SplitResult, evaluate_on_test, fit, search, shared_gram
from learning.regression.fit.settings import Grid, Hyperparameters
from learning.regression.fit.splits import Split
from networks.opinion_mapping import IDENTITY, OpinionMapping

STEEPEST = 0.25
"""The smallest width of a logistic that serves as calibration, in standard deviations of the predictions."""


@dataclass(frozen=True)
class TestResults:
    """The results on the test part of every split."""

    __test__ = False  # not a test of pytest's

    splits: list[SplitResult]

    @property
    def metrics(self) -> list[Metrics]:
        return [result.metrics for result in self.splits]

    def spread(self, metric: str) -> Spread:
        """Median and spread of one of METRICS over the test parts."""
        return Spread.of([getattr(metrics, metric) for metrics in self.metrics])

    @property
    def linear_mappings(self) -> int:
        """Number of splits on which the logistic did not converge, so that PLCC and RMSE are after a line."""
        return sum(metrics.mapping.kind == "linear" for metrics in self.metrics)

    def predictions(self, n_images: int) -> np.ndarray:
        """(splits, n_images) predictions, NaN where a split did not test on an image."""
        predictions = np.full((len(self.splits), n_images), np.nan)
        for row, result in zip(predictions, self.splits, strict=True):
            row[result.images] = result.predicted
        return predictions


@dataclass(frozen=True)
class Evaluation:
    """The search, the test of both kinds of choice on every split, and the regressor fitted on all images.

    ``choice`` is the one of CHOICES that is reported first, ``n_parameters`` the logistic's number of parameters.
    """

    splits: list[Split]
    search: Search
    shared: TestResults
    nested: TestResults
    choice: str
    pipeline: Pipeline
    n_parameters: int = 4

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The shared choice, with which the pipeline is fitted."""
        return self.search.best

    @property
    def reported(self) -> TestResults:
        return self.nested if self.choice == "nested" else self.shared

    def held_out(
        self,
        images: list[str],
        mos: np.ndarray,
        groups: np.ndarray | None,
        kinds: np.ndarray | None = None,
        levels: np.ndarray | None = None,
    ) -> HeldOut:
        """The predictions of the reported choice; the arguments are the fields of ``HeldOut``."""
        return HeldOut(images, mos, groups, self.reported.predictions(len(mos)), kinds, levels)

    def calibration(self, mos: np.ndarray) -> OpinionMapping:
        """The curve that maps the regressor's predictions to the opinions' scale and keeps their order.

        Candidates are chosen by rank correlation, which ignores that a strong penalty draws all predictions to the
        mean. A logistic so steep that it is a step would make predictions equal; a line replaces it. It is fitted to
        the shared choice's predictions, since the pipeline has the same penalty.
        """
        predictions = self.shared.predictions(len(mos))
        tested = np.flatnonzero(~np.isnan(predictions).all(axis=0))
        predicted, opinions = np.nanmedian(predictions[:, tested], axis=0), mos[tested]
        mapping, line = fit_mapping(predicted, opinions), fit_line(predicted, opinions)
        steep = mapping.kind == "logistic" and abs(mapping.parameters[3]) < STEEPEST * predicted.std()
        return next((one for one in (mapping, line) if one.increases and not (steep and one is mapping)), IDENTITY)

    def prediction_intervals(self, mos: np.ndarray) -> PredictionIntervals:
        """Half-widths of conformal intervals around calibrated predictions."""
        return prediction_intervals(self.calibration(mos)(self.shared.predictions(len(mos))), mos)


def run_protocol(
    features: np.ndarray,
    mos: np.ndarray,
    splits: list[Split],
    grid: Grid,
    n_threads: int,
    memory: int,
    advance: Callable[[int], None] = lambda n_paths: None,
    choice: str = "nested",
    n_parameters: int = 4,
    advance_tests: Callable[[int], None] = lambda n_fits: None,
) -> Evaluation:
    """Searches, tests and fits; arguments as in ``regression.search``, ``n_parameters`` are the logistic's.

    ``advance_tests`` is called with 1 after each of the ``n_test_fits``.
    """
    gram = shared_gram(features, splits, n_threads)
    found = search(features, mos, splits, grid, n_threads, memory, advance, gram)

    def test(split: Split, hyperparameters: Hyperparameters) -> SplitResult:
        result = evaluate_on_test(features, mos, split, hyperparameters, n_parameters, gram)
        advance_tests(1)
        return result

    shared = [test(split, found.best) for split in splits]
    nested = []
    for split, own, result in zip(splits, found.best_in_each_split(), shared, strict=True):
        if own == found.best:
            nested.append(result)
            advance_tests(1)
        else:
            nested.append(test(split, own))
    pipeline = fit(features, mos, found.best, gram=gram)
    advance_tests(1)
    return Evaluation(splits, found, TestResults(shared), TestResults(nested), choice, pipeline, n_parameters)


def n_test_fits(splits: list[Split]) -> int:
    """Number of fits after a search: for each split and kind of choice, and on all images."""
    return 2 * len(splits) + 1
