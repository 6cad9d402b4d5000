"""How sure a metric is, and whether one model is better than another on the same images.

Intervals are percentile bootstrap intervals (Efron, Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
Groups are resampled, not images: images of one group (a scene, a prompt) are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from learning.regression.held_out import HeldOut, TestPart
from learning.regression.metrics import METRICS, evaluate, krcc, plcc, refit_mapping, srcc
from learning.regression.settings import N_RESAMPLES

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval."""

    estimate: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: float, resampled: Sequence[float] | np.ndarray) -> Interval:
        """The interval that holds the middle CONFIDENCE of the ``resampled`` values."""
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(resampled, (tail, 100 - tail)).tolist()
        return cls(float(estimate), low, high)

    def in_words(self) -> str:
        """For example "0.63 (0.56 to 0.68)"."""
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


def resampled_counts(n_images: int, groups: np.ndarray | None, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is in a bootstrap sample, (n_images,) each: groups are drawn with replacement.

    ``groups`` is (n_images,), or None where every image is a group of its own.
    """
    rng = np.random.default_rng(seed)
    codes = np.arange(n_images) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
    n_groups = int(codes.max()) + 1
    for _ in range(n_resamples):
        yield np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[codes]


def bootstrap_intervals(
    held_out: HeldOut, n_parameters: int = 4, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """The interval of the median over the splits, for each of METRICS.

    A resample keeps the splits and the predictions, and changes how often each image counts in the test parts. The
    logistic is fitted again to every test part.
    """
    parts = held_out.parts()
    metrics = [evaluate(part.predicted, part.mos, n_parameters) for part in parts]
    medians = np.empty((n_resamples, len(METRICS)))
    for sample, counts in enumerate(resampled_counts(len(held_out.images), held_out.groups, n_resamples, seed)):
        values = [
            _metrics_of_resample(part.repeated(counts), of_part.mapping.kind)
            for part, of_part in zip(parts, metrics, strict=True)
        ]
        medians[sample] = np.median(values, axis=0)
    return {
        metric: Interval.of(np.median([getattr(one, metric) for one in metrics]), medians[:, column])
        for column, metric in enumerate(METRICS)
    }


def _metrics_of_resample(part: TestPart, kind: str) -> list[float]:
    """Each of METRICS on a resampled test part; 0 where fewer than two images are left."""
    if len(part.mos) < 2:
        return [0.0] * len(METRICS)
    x, y = part.predicted, part.mos
    mapped = refit_mapping(kind, x, y)(x)
    rmse = np.sqrt(np.mean((mapped - y) ** 2))
    values = {"srcc": srcc(x, y), "krcc": krcc(x, y), "plcc_raw": plcc(x, y), "plcc": plcc(mapped, y), "rmse": rmse}
    return [float(values[metric]) for metric in METRICS]


@dataclass(frozen=True)
class SrccDifference:
    """SRCC of one model minus that of another, with its interval and the two-sided p-value of no difference."""

    interval: Interval
    p_value: float


def srcc_difference(first: HeldOut, second: HeldOut, n_resamples: int = N_RESAMPLES, seed: int = 0) -> SrccDifference:
    """The paired bootstrap: the mean over the splits of the SRCC difference, on the same resampled images.

    The p-value is twice the smaller share of resamples on one side of 0, with one added to either count (Davison,
    Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).
    """
    pairs = [
        TestPart(a.rows, np.stack([a.predicted, b.predicted]), a.mos)
        for a, b in zip(first.parts(), second.parts(), strict=True)
    ]
    differences = np.empty(n_resamples)
    for sample, counts in enumerate(resampled_counts(len(first.images), first.groups, n_resamples, seed)):
        differences[sample] = _mean_difference([pair.repeated(counts) for pair in pairs])
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    p_value = min(1.0, 2 * (smaller + 1) / (n_resamples + 1))
    return SrccDifference(Interval.of(_mean_difference(pairs), differences), float(p_value))


def _mean_difference(pairs: list[TestPart]) -> float:
    correlations = np.array([srcc(pair.predicted, pair.mos) for pair in pairs if len(pair.mos) > 1])
    return float(np.mean(correlations[:, 0] - correlations[:, 1])) if len(correlations) else 0.0


def pitman_morgan(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value that paired residuals (n,) and (n,) have equal variance.

    Their variances are equal if and only if their sum and difference are uncorrelated (Pitman, Biometrika 31, 1939;
    Morgan, ibid.). The usual F-test assumes independent residuals, and those of two models on the same images are not
    (Zhu et al., IEEE Signal Process. Mag. 35(4), 2018).
    """
    correlation = float(plcc(first + second, first - second))
    degrees = len(first) - 2
    if abs(correlation) >= 1:
        return 0.0
    t = correlation * np.sqrt(degrees / (1 - correlation**2))
    from scipy import stats

    return float(2 * stats.t.sf(abs(t), degrees))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing several hypotheses (Holm, Scand. J. Stat. 6(2), 1979), in the given order."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted.tolist()
