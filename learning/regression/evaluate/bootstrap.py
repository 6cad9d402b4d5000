"""How certain a metric is: bootstrap intervals of the medians over the splits.

Intervals are percentile bootstrap intervals (Efron, Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13), moved
by the bootstrap's own estimate of its bias (ibid., ch. 10): an image that is drawn twice ties with itself. With few
groups the intervals are wider, as Student's t is wider than the normal distribution (Hesterberg, The American
Statistician 69(4), 2015, section 3.3). Groups are resampled, not images: images of one group (a scene, a prompt) are
not independent. The regressors and the curves of the test parts stay as they are.

A resample is given by how often it contains each image: ``counts`` (samples, n). Ranks and sums of squares are
computed from these counts, for all samples together; the results are those of the repeated images. A correlation is 0
where one side is constant, and NaN where a sample has fewer than two images. KRCC, whose pairs would take most of the
time, and RMSE have no interval.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from common.names import N_RESAMPLES
from learning.regression.evaluate.held_out import HeldOut
from learning.regression.fit.splits import group_numbers
from learning.regression.model.description import CONFIDENCE, Interval

RESAMPLED = ("srcc", "plcc_raw", "plcc")
"""The metrics that have an interval."""

RESAMPLES_AT_A_TIME = 256
"""Bootstrap samples whose metrics are computed together; memory grows with it."""

_CONSTANT = 1e-14
"""Deviations of this share of the largest value are rounding errors."""


def bootstrap_intervals(held_out: HeldOut, n_resamples: int = N_RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """The interval of the median over the splits, for each of RESAMPLED."""
    medians = np.nanmedian(resampled_metrics(held_out, n_resamples, seed), axis=0)
    n_groups = n_tested_groups(held_out)
    return {
        metric: interval_of(held_out.median(metric), resampled, n_groups)
        for metric, resampled in zip(RESAMPLED, medians.T, strict=True)
    }


def resampled_metrics(held_out: HeldOut, n_resamples: int, seed: int) -> np.ndarray:
    """Each of RESAMPLED on the test part of every split and every resample: (splits, samples, len(RESAMPLED)).

    A resample keeps the splits, the predictions and the curves, and changes how often each image counts in the test
    parts. NaN where a test part has fewer than two images; a resample that leaves no part more is left out.
    """
    parts = list(zip(held_out.parts(), held_out.mapped_splits, strict=True))
    blocks = [
        [
            metrics_of_resamples(predicted, mapped[rows], mos, counts[:, rows])
            for (rows, predicted, mos), mapped in parts
        ]
        for counts in resampled_counts(held_out, n_resamples, seed)
    ]
    of_parts = np.concatenate(blocks, axis=1)
    return of_parts[:, ~np.isnan(of_parts).all(axis=(0, 2))]


def resampled_counts(held_out: HeldOut, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of the n images is in each bootstrap sample of the groups, in blocks of (samples, n)."""
    rng, n_images, groups = np.random.default_rng(seed), len(held_out.mos), held_out.groups
    codes = group_numbers(groups, n_images)
    n_groups = int(codes.max()) + 1
    for start in range(0, n_resamples, RESAMPLES_AT_A_TIME):
        block = np.empty((min(RESAMPLES_AT_A_TIME, n_resamples - start), n_images), np.int32)
        for counts in block:
            counts[:] = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[codes]
        yield block


def n_tested_groups(held_out: HeldOut) -> int:
    """The number of groups whose images were tested, or 2 if it is smaller."""
    tested = held_out.tested
    return max(2, len(tested) if held_out.groups is None else len(set(held_out.groups[tested])))


def interval_of(estimate: float, resampled: np.ndarray, n_groups: int, limit: float = 1) -> Interval:
    """The interval that holds the middle of the ``resampled`` values, moved so that their mean is the estimate.

    With very many groups, the middle is the share CONFIDENCE of the values; with few groups, it is a larger share. The
    metric lies between -``limit`` and ``limit``.
    """
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n_groups - 1) * np.sqrt(n_groups / (n_groups - 1))
    tail = 100 * float(stats.norm.sf(quantile))
    ends = np.percentile(without_bias(estimate, resampled), (tail, 100 - tail))
    low, high = np.clip(ends, -limit, limit).tolist()
    return Interval(float(estimate), low, high)


def without_bias(estimate: float, resampled: np.ndarray) -> np.ndarray:
    """The ``resampled`` values, moved so that their mean is the ``estimate``."""
    return resampled - (resampled.mean() - estimate)


def metrics_of_resamples(predicted: np.ndarray, mapped: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each of RESAMPLED on every sample: (samples, len(RESAMPLED)); NaN where a sample has fewer than two images.

    ``predicted``, ``mapped`` and ``mos`` are (n,): the predictions, the predictions after the curve that was fitted to
    the test part, and the opinions. Every sample keeps that curve.
    """
    plcc_raw, plcc = (plcc_of_resamples(values, mos, counts) for values in (predicted, mapped))
    return np.stack([srcc_of_resamples(predicted, mos, counts), plcc_raw, plcc], axis=1)


def srcc_of_resamples(predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) Spearman's correlation of the repeated (n,) predictions and opinions."""
    return plcc_of_resamples(ranks_in_resamples(predicted, counts), ranks_in_resamples(mos, counts), counts)


def plcc_of_resamples(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) Pearson's correlation of the repeated ``a`` and ``b``, (n,) or (samples, n) each."""
    totals = counts.sum(axis=1)
    centred, squares = [], []
    for values in (a, b):
        deviations = values - ((counts * values).sum(axis=1) / np.maximum(totals, 1))[:, None]
        of_samples = (counts * deviations**2).sum(axis=1)
        of_samples[of_samples <= totals * (_CONSTANT * np.abs(values).max()) ** 2] = 0
        centred.append(deviations)
        squares.append(of_samples)
    products, norms = (counts * centred[0] * centred[1]).sum(axis=1), np.sqrt(squares[0] * squares[1])
    correlations = np.divide(products, norms, out=np.zeros(len(counts)), where=norms > 0)
    return np.where(totals >= 2, correlations, np.nan)


def ranks_in_resamples(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples, n) rank that each of ``values`` (n,) has among the repeated ones; equal values share a rank."""
    _, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    repeats = np.add.reduceat(counts[:, order], np.flatnonzero(np.diff(level[order], prepend=-1)), axis=1)
    return (np.cumsum(repeats, axis=1) - (repeats - 1) / 2)[:, level]
