"""How certain a metric is, and whether one model is better than another on the same images.

Intervals are percentile bootstrap intervals (Efron, Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13), moved
by the bootstrap's own estimate of its bias (ibid., ch. 10): an image that is drawn twice ties with itself, and the
logistic fits repeated images too well. With few groups the intervals are wider, as Student's t is wider than the
normal distribution (Hesterberg, The American Statistician 69(4), 2015, section 3.3). The interval of RMSE, a scale, is
a basic bootstrap interval of its logarithm (Davison, Hinkley, Bootstrap Methods and their Application, 1997, section
5.2). Groups are resampled, not images: images of one group (a scene, a prompt) are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from common.names import N_RESAMPLES
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.evaluate.metrics import evaluate, plcc, srcc
from learning.regression.evaluate.resampled_metrics import metrics_of_resamples, srcc_of_resamples
from learning.regression.evaluate.results import CONFIDENCE, METRICS, Interval

RESAMPLES_AT_A_TIME = 256
"""Bootstrap samples whose metrics are computed together; memory grows with it."""


def interval_of(
    estimate: float, resampled: np.ndarray, n_groups: int, lowest: float = -np.inf, highest: float = np.inf
) -> Interval:
    """The interval that holds the middle of the ``resampled`` values, moved so that their mean is the estimate.

    With very many groups, the middle is the share CONFIDENCE of the values; with few groups, it is a larger share. The
    metric lies between ``lowest`` and ``highest``.
    """
    ends = np.percentile(without_bias(estimate, resampled), _percents(n_groups))
    low, high = np.clip(ends, lowest, highest).tolist()
    return Interval(float(estimate), low, high)


def interval_of_scale(estimate: float, resampled: np.ndarray, n_groups: int) -> Interval:
    """The interval of a positive scale such as RMSE, from its ratio to the ``resampled`` values.

    The error of a scale grows with it: where the estimate is too small by chance, so are the differences between the
    resamples. The middle of the resamples themselves would therefore end too low.
    """
    positive = resampled[resampled > 0]
    if not estimate or not len(positive):
        return Interval(float(estimate), float(estimate), float(estimate))
    logs = np.log(positive)
    low, high = estimate / np.exp(np.percentile(logs - logs.mean(), _percents(n_groups)))[::-1]
    return Interval(float(estimate), float(low), float(high))


def _percents(n_groups: int) -> tuple[float, float]:
    """The percentiles of the resamples between which the interval lies: 2.5 and 97.5 with very many groups."""
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n_groups - 1) * np.sqrt(n_groups / (n_groups - 1))
    tail = 100 * float(stats.norm.sf(quantile))
    return tail, 100 - tail


def without_bias(estimate: float, resampled: np.ndarray) -> np.ndarray:
    """The ``resampled`` values, moved so that their mean is the ``estimate``."""
    return resampled - (resampled.mean() - estimate)


def resampled_counts(n_images: int, groups: np.ndarray | None, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is in each bootstrap sample, in blocks of (samples, n_images).

    Groups are drawn with replacement; ``groups`` is (n_images,), or None where every image is a group of its own.
    """
    rng = np.random.default_rng(seed)
    codes = np.arange(n_images) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
    n_groups = int(codes.max()) + 1
    for start in range(0, n_resamples, RESAMPLES_AT_A_TIME):
        block = np.empty((min(RESAMPLES_AT_A_TIME, n_resamples - start), n_images), np.int32)
        for counts in block:
            counts[:] = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[codes]
        yield block


def bootstrap_intervals(
    held_out: HeldOut, n_parameters: int = 4, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """The interval of the median over the splits, for each of METRICS.

    A resample keeps the splits and the predictions, and changes how often each image counts in the test parts. The
    logistic is fitted again to every test part. A test part with fewer than two images is left out of the median.
    """
    parts = held_out.parts()
    metrics = [evaluate(part.predicted, part.mos, n_parameters) for part in parts]
    mappings = [one.mapping for one in metrics]
    blocks = []
    for counts in resampled_counts(len(held_out.images), held_out.groups, n_resamples, seed):
        of_parts = [
            metrics_of_resamples(part.predicted, part.mos, counts[:, part.rows], mapping)
            for part, mapping in zip(parts, mappings, strict=True)
        ]
        blocks.append(_over_splits(np.nanmedian, of_parts))
    medians = np.concatenate(blocks)
    intervals = {}
    for column, metric in enumerate(METRICS):
        estimate = float(np.median([getattr(one, metric) for one in metrics]))
        resampled, n_groups = medians[:, column], _n_groups(held_out)
        if metric == "rmse":
            intervals[metric] = interval_of_scale(estimate, resampled, n_groups)
        else:
            intervals[metric] = interval_of(estimate, resampled, n_groups, lowest=-1, highest=1)
    return intervals


def _n_groups(held_out: HeldOut) -> int:
    """The number of groups whose images were tested, or 2 if it is smaller."""
    tested = held_out.tested
    return max(2, len(tested) if held_out.groups is None else len(set(held_out.groups[tested])))


def _over_splits(average: Callable[..., np.ndarray], of_parts: Sequence[np.ndarray]) -> np.ndarray:
    """The average over the parts, (samples, ...); samples in which every part is too small (NaN) are left out."""
    stacked = np.stack(of_parts)
    known = ~np.isnan(stacked.reshape(*stacked.shape[:2], -1)[:, :, 0]).all(axis=0)
    return average(stacked[:, known], axis=0)


@dataclass(frozen=True)
class SrccDifference:
    """SRCC of one model minus SRCC of another, its interval, and the two-sided p-value for no difference."""

    interval: Interval
    p_value: float


def srcc_difference(first: HeldOut, second: HeldOut, n_resamples: int = N_RESAMPLES, seed: int = 0) -> SrccDifference:
    """The paired bootstrap: the mean over the splits of the SRCC difference, on the same resampled images.

    The p-value is twice the smaller share of resamples on one side of 0, with one added to both counts (Davison,
    Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).
    """
    pairs = list(zip(first.parts(), second.parts(), strict=True))
    blocks = []
    for counts in resampled_counts(len(first.images), first.groups, n_resamples, seed):
        correlations = [
            [srcc_of_resamples(part.predicted, part.mos, counts[:, part.rows]) for part in pair] for pair in pairs
        ]
        blocks.append(_over_splits(np.nanmean, [one - other for one, other in correlations]))
    differences = np.concatenate(blocks)
    estimate = float(np.mean([srcc(a.predicted, a.mos) - srcc(b.predicted, b.mos) for a, b in pairs]))
    unbiased = without_bias(estimate, differences)
    smaller = min((unbiased <= 0).sum(), (unbiased >= 0).sum())
    p_value = min(1.0, 2 * (smaller + 1) / (len(unbiased) + 1))
    return SrccDifference(interval_of(estimate, differences, _n_groups(first)), float(p_value))


def pitman_morgan(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value for equal variance of paired residuals (n,) and (n,).

    Their variances are equal if and only if their sum and difference are uncorrelated (Pitman, Biometrika 31, 1939;
    Morgan, ibid.). The usual F-test assumes independent residuals. Residuals of two models on the same images are not
    independent (Zhu et al., IEEE Signal Process. Mag. 35(4), 2018).
    """
    correlation = float(plcc(first + second, first - second))
    degrees = len(first) - 2
    if abs(correlation) >= 1:
        return 0.0
    t = correlation * np.sqrt(degrees / (1 - correlation**2))
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
