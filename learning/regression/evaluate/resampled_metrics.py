"""The metrics of many bootstrap samples of a test part at once.

A bootstrap sample is given by how often it contains each image: ``counts`` (samples, n). Ranks, concordant pairs and
sums of squares are computed from these counts, for all samples together; the results are those of the repeated images.
A correlation is 0 where one side is constant, and NaN where a sample has fewer than two images.
"""

from __future__ import annotations

import numpy as np

from learning.regression.evaluate.results import METRICS

_PAIR_ROWS = 1024
"""Rows of the matrix of pairs that are computed at a time."""

_CONSTANT = 1e-14
"""Deviations of this share of the largest value are rounding errors."""


def metrics_of_resamples(predicted: np.ndarray, mapped: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each of METRICS on every sample: (samples, len(METRICS)); NaN where a sample has fewer than two images.

    ``predicted``, ``mapped`` and ``mos`` are (n,): the predictions, the predictions after the curve that was fitted to
    the test part, and the opinions. Every sample keeps that curve.
    """
    totals = counts.sum(axis=1)
    squares = (counts * (mapped - mos) ** 2).sum(axis=1)
    values = {
        "srcc": srcc_of_resamples(predicted, mos, counts),
        "krcc": krcc_of_resamples(predicted, mos, counts),
        "plcc_raw": plcc_of_resamples(predicted, mos, counts),
        "plcc": plcc_of_resamples(mapped, mos, counts),
        "rmse": np.sqrt(np.divide(squares, totals, out=np.full(len(counts), np.nan), where=totals >= 2)),
    }
    return np.stack([values[metric] for metric in METRICS], axis=1)


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


def krcc_of_resamples(predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) Kendall's tau-b of the repeated (n,) predictions and opinions.

    Pairs are counted in float32: their sums are whole numbers below 2^24.
    """
    whole = counts.astype(np.float32)
    surplus = np.zeros(len(counts))
    for start in range(0, len(mos), _PAIR_ROWS):
        rows = slice(start, start + _PAIR_ROWS)
        agreement = np.sign(predicted[rows, None] - predicted) * np.sign(mos[rows, None] - mos)
        surplus += ((whole @ agreement.astype(np.float32).T) * counts[:, rows]).sum(axis=1) / 2
    totals = counts.sum(axis=1)
    untied = []
    for values in (predicted, mos):
        repeats, _ = _repeats(values, counts)
        untied.append(totals * (totals - 1) / 2 - (repeats * (repeats - 1) / 2).sum(axis=1))
    norms = np.sqrt(untied[0] * untied[1])
    taus = np.divide(surplus, norms, out=np.zeros(len(counts)), where=norms > 0)
    return np.where(totals >= 2, taus, np.nan)


def ranks_in_resamples(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples, n) rank that each of ``values`` (n,) has among the repeated ones; equal values share a rank."""
    repeats, level = _repeats(values, counts)
    return (np.cumsum(repeats, axis=1) - (repeats - 1) / 2)[:, level]


def _repeats(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each different value is in each sample, (samples, different), and which of them an image has, (n,)."""
    _, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.flatnonzero(np.diff(level[order], prepend=-1))
    return np.add.reduceat(counts[:, order], starts, axis=1), level
