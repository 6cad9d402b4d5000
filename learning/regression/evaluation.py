"""The protocol by which the field evaluates a quality model: search, test on every split, then a fit on everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from learning.regression.metrics import IDENTITY, Metrics, OpinionMapping, fit_line, fit_mapping
from learning.regression.search import Grid, Hyperparameters, Search, SplitResult, evaluate_on_test, fit, search
from learning.regression.splits import Split

STEEPEST = 0.25
"""The smallest width of a logistic that serves as calibration, in standard deviations of the predictions."""

METRICS = ("srcc", "plcc", "krcc", "rmse")


@dataclass(frozen=True)
class Spread:
    """The distribution of a metric over the splits."""

    median: float
    lower_quartile: float
    upper_quartile: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        low, lower, median, upper, high = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
        return cls(median, lower, upper, low, high)


@dataclass(frozen=True)
class Evaluation:
    """The search, the test of its choice on every split, and the regressor fitted on all images.

    In ``results`` all splits share one choice; in ``chosen_within`` each split takes the candidate that its own
    validation part prefers, so that no split learns from another.
    """

    splits: list[Split]
    search: Search
    results: list[SplitResult]
    chosen_within: list[SplitResult]
    pipeline: Pipeline

    @property
    def hyperparameters(self) -> Hyperparameters:
        return self.search.best

    @property
    def metrics(self) -> list[Metrics]:
        return [result.metrics for result in self.results]

    def spread(self, metric: str) -> Spread:
        """Median and spread of one of METRICS over the test parts."""
        return Spread.of([getattr(metrics, metric) for metrics in self.metrics])

    @property
    def linear_mappings(self) -> int:
        """Number of splits on which the logistic did not converge, so that PLCC and RMSE are after a line."""
        return sum(metrics.mapping.kind == "linear" for metrics in self.metrics)

    def held_out(self, n_images: int) -> np.ndarray:
        """(n_images,) median prediction of each image over the splits that tested on it; NaN where none did."""
        predictions = np.full((len(self.results), n_images), np.nan)
        for row, result in zip(predictions, self.results, strict=True):
            row[result.images] = result.predicted
        tested = ~np.isnan(predictions).all(axis=0)
        medians = np.full(n_images, np.nan)
        medians[tested] = np.nanmedian(predictions[:, tested], axis=0)
        return medians

    def held_out_mapping(self, mos: np.ndarray) -> OpinionMapping:
        """The logistic from held-out predictions to opinions."""
        predicted = self.held_out(len(mos))
        tested = np.isfinite(predicted)
        return fit_mapping(predicted[tested], mos[tested])

    def calibration(self, mos: np.ndarray) -> OpinionMapping:
        """The curve that maps the regressor's predictions to the opinions' scale and keeps their order.

        Candidates are chosen by rank correlation, which ignores that a strong penalty draws all predictions to the
        mean. A logistic so steep that it is a step would make predictions equal; a line replaces it.
        """
        predicted = self.held_out(len(mos))
        tested = np.isfinite(predicted)
        mapping, line = self.held_out_mapping(mos), fit_line(predicted[tested], mos[tested])
        steep = mapping.kind == "logistic" and abs(mapping.parameters[3]) < STEEPEST * predicted[tested].std()
        return next((one for one in (mapping, line) if one.increases and not (steep and one is mapping)), IDENTITY)


def run_protocol(
    features: np.ndarray,
    mos: np.ndarray,
    splits: list[Split],
    grid: Grid,
    n_threads: int,
    memory: int,
    advance: Callable[[int], None] = lambda n_fits: None,
) -> Evaluation:
    """Searches, tests and fits; arguments as in ``regression.search``."""
    found = search(features, mos, splits, grid, n_threads, memory, advance)
    results = [evaluate_on_test(features, mos, split, found.best) for split in splits]
    chosen_within = [
        result if choice == found.best else evaluate_on_test(features, mos, split, choice)
        for split, choice, result in zip(splits, found.best_in_each_split(), results, strict=True)
    ]
    return Evaluation(splits, found, results, chosen_within, fit(features, mos, found.best))
