"""The metrics of many bootstrap samples of a test part at once.

A bootstrap sample is given by how often it contains each image. Ranks, concordant pairs and sums of squares are
computed from these counts, for all samples together; the results are those of the repeated images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from learning.regression.evaluate.results import METRICS
from networks.opinion_mapping import N_PARAMETERS, OpinionMapping

REFIT_STEPS = 15
"""Most steps of the fit to a bootstrap sample."""

_REFIT_TOLERANCE = 1e-5
"""Relative change of the squared error at which a fit has converged."""

_WEAKEST_DAMPING = 1e-10
_PAIR_ROWS = 1024
"""Rows of the matrix of pairs that are computed at a time."""

_CONSTANT = 1e-14
"""Deviations of this share of the largest value are rounding errors."""


def metrics_of_resamples(
    predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray, mapping: OpinionMapping
) -> np.ndarray:
    """Each of METRICS on every sample: (samples, len(METRICS)); NaN where a sample has fewer than two images.

    ``predicted`` and ``mos`` are (n,), ``counts`` is (samples, n): how often each image is in each sample. ``mapping``
    is the curve of the test part; a curve of the same kind is fitted to every sample, starting from it.
    """
    counts = counts.astype(np.float64)
    enough = counts.sum(axis=1) >= 2
    found = np.full((len(counts), len(METRICS)), np.nan)
    if enough.any():
        counts = counts[enough]
        mapped = _refitted(mapping, predicted, mos, counts)
        errors = (counts * (mapped - mos) ** 2).sum(axis=1) / counts.sum(axis=1)
        values = {
            "srcc": srcc_of_resamples(predicted, mos, counts),
            "krcc": krcc_of_resamples(predicted, mos, counts),
            "plcc_raw": plcc_of_resamples(predicted, mos, counts),
            "plcc": plcc_of_resamples(mapped, mos, counts),
            "rmse": np.sqrt(errors),
        }
        found[enough] = np.stack([values[metric] for metric in METRICS], axis=1)
    return found


def ranks_in_resamples(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples, n) rank that each of ``values`` (n,) has among the repeated ones; equal values share a rank."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    level = np.empty(len(values), np.intp)
    level[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))
    repeats = np.add.reduceat(counts[:, order], starts, axis=1)
    return (np.cumsum(repeats, axis=1) - (repeats - 1) / 2)[:, level]


def plcc_of_resamples(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) Pearson's correlation of the repeated ``a`` and ``b``, (n,) or (samples, n); 0 where one is constant.

    A sample must not be empty.
    """
    a, squares_a = _centred(a, counts)
    b, squares_b = _centred(b, counts)
    norms = np.sqrt(squares_a * squares_b)
    return np.divide((counts * a * b).sum(axis=1), norms, out=np.zeros(len(counts)), where=norms > 0)


def _centred(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values minus the mean of each sample, (samples, n), and their sum of squares, (samples,)."""
    totals = counts.sum(axis=1)
    centred = values - ((counts * values).sum(axis=1) / totals)[:, None]
    squares = (counts * centred**2).sum(axis=1)
    squares[squares <= totals * (_CONSTANT * np.abs(values).max()) ** 2] = 0
    return centred, squares


def srcc_of_resamples(predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) Spearman's correlation of the repeated (n,) predictions and opinions.

    0 where one of them is constant; NaN where a sample has fewer than two images.
    """
    correlations = np.full(len(counts), np.nan)
    enough = counts.sum(axis=1) >= 2
    counts = counts[enough].astype(np.float64)
    correlations[enough] = plcc_of_resamples(
        ranks_in_resamples(predicted, counts), ranks_in_resamples(mos, counts), counts
    )
    return correlations


def krcc_of_resamples(predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) Kendall's tau-b of the repeated (n,) predictions and opinions; 0 where one is constant.

    Pairs are counted in float32: their sums are whole numbers below 2^24.
    """
    whole = counts.astype(np.float32)
    surplus = np.zeros(len(counts))
    for start in range(0, len(mos), _PAIR_ROWS):
        rows = slice(start, start + _PAIR_ROWS)
        agreement = np.sign(predicted[rows, None] - predicted) * np.sign(mos[rows, None] - mos)
        surplus += ((whole @ agreement.astype(np.float32).T) * counts[:, rows]).sum(axis=1) / 2
    totals = counts.sum(axis=1)
    pairs = totals * (totals - 1) / 2
    norms = np.sqrt((pairs - _tied_pairs(predicted, counts)) * (pairs - _tied_pairs(mos, counts)))
    return np.divide(surplus, norms, out=np.zeros(len(counts)), where=norms > 0)


def _tied_pairs(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples,) number of pairs of repeated images with the same value."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, values[order][1:] != values[order][:-1]])
    repeats = np.add.reduceat(counts[:, order], starts, axis=1)
    return (repeats * (repeats - 1) / 2).sum(axis=1)


def _refitted(mapping: OpinionMapping, predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples, n) predictions mapped by the curve fitted to each sample by Levenberg's and Marquardt's method.

    A step that does not reduce the error is not taken. A line where a sample has not more images than parameters.
    """
    mapped = _lines(predicted, mos, counts)
    rows = np.flatnonzero(counts.sum(axis=1) > N_PARAMETERS[mapping.kind])
    if mapping.kind == "linear" or not rows.size:
        return mapped
    centre, spread = predicted.mean(), predicted.std()
    z, curve = (predicted - centre) / spread, _CURVES[mapping.kind]
    parameters = np.tile(_of_standardized(mapping, centre, spread), (len(counts), 1))
    damping = np.full(len(counts), 1e-3)
    values, slopes = curve(z, parameters[rows])
    mapped[rows] = values
    for _ in range(REFIT_STEPS):
        weights = counts[rows]
        residuals = mos - mapped[rows]
        trial = parameters[rows] + _step(slopes, residuals, weights, damping[rows])
        with np.errstate(over="ignore", invalid="ignore"):  # of a step too far, which is not taken
            trial_values, trial_slopes = curve(z, trial)
            after = (weights * (mos - trial_values) ** 2).sum(axis=1)
        before = (weights * residuals**2).sum(axis=1)
        better = after < before
        parameters[rows[better]], mapped[rows[better]] = trial[better], trial_values[better]
        slopes[better] = trial_slopes[better]
        damping[rows] = np.where(better, np.maximum(damping[rows] / 10, _WEAKEST_DAMPING), damping[rows] * 10)
        going_on = np.abs(before - after) >= _REFIT_TOLERANCE * before
        rows, slopes = rows[going_on], slopes[going_on]
        if not rows.size:
            break
    return mapped


def _of_standardized(mapping: OpinionMapping, centre: float, spread: float) -> tuple[float, ...]:
    """The parameters of the same logistic as a function of (x - centre) / spread."""
    if mapping.kind == "logistic":
        b1, b2, b3, b4 = mapping.parameters
        return b1, b2, (b3 - centre) / spread, b4 / spread
    b1, b2, b3, b4, b5 = mapping.parameters
    return b1, b2 * spread, (b3 - centre) / spread, b4 * spread, b5 + b4 * centre


def _step(slopes: np.ndarray, residuals: np.ndarray, weights: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """(samples, parameters) solutions of the damped normal equations; ``slopes`` (samples, parameters, n)."""
    weighted = slopes * weights[:, None]
    normal = weighted @ slopes.transpose(0, 2, 1)
    gradient = (weighted @ residuals[:, :, None])[:, :, 0]
    # Parameters of equal scale; one without any influence stays where it is.
    scale = np.sqrt(np.einsum("skk->sk", normal))
    scale[scale == 0] = 1
    normal /= scale[:, :, None] * scale[:, None, :]
    normal[:, range(normal.shape[1]), range(normal.shape[1])] += damping[:, None] + 1e-14
    return np.linalg.solve(normal, (gradient / scale)[:, :, None])[:, :, 0] / scale


def _lines(predicted: np.ndarray, mos: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(samples, n) predictions mapped by each sample's line; a level one where predictions are constant."""
    x, squares = _centred(predicted, counts)
    y, _ = _centred(mos, counts)
    slope = np.divide((counts * x * y).sum(axis=1), squares, out=np.zeros(len(counts)), where=squares > 0)
    return mos - y + slope[:, None] * x


def _logistic(z: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(samples, n) values for parameters (samples, 4), and (samples, 4, n) slopes; see ``OpinionMapping``."""
    b1, b2, b3, b4 = parameters.T[:, :, None]
    width = np.maximum(np.abs(b4), 1e-12)
    distance = (z - b3) / width
    share = expit(distance)
    slope = (b1 - b2) / width * share * (1 - share)
    return b2 + (b1 - b2) * share, np.stack([share, 1 - share, -slope, -slope * distance * np.sign(b4)], axis=1)


def _logistic5(z: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(samples, n) values for parameters (samples, 5), and (samples, 5, n) slopes; see ``OpinionMapping``."""
    b1, b2, b3, b4, b5 = parameters.T[:, :, None]
    distance = z - b3
    share = expit(b2 * distance)
    slope = b1 * share * (1 - share)
    line = np.broadcast_to(z, share.shape)
    values = b1 * (share - 0.5) + b4 * z + b5
    return values, np.stack([share - 0.5, slope * distance, -slope * b2, line, np.ones_like(share)], axis=1)


_CURVES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "logistic": _logistic,
    "logistic5": _logistic5,
}
