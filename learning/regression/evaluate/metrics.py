"""Agreement of predicted scores with opinion: SRCC, KRCC, PLCC as it is, and PLCC and RMSE after a logistic."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import leastsq
from scipy.stats import kendalltau, rankdata

from learning.regression.model.description import Metrics
from networks.opinion_mapping import OpinionMapping

CONVERGED = (1, 2, 3, 4)
"""The status of scipy's ``leastsq`` after a fit that has converged."""


def metrics_of(predicted: np.ndarray, mos: np.ndarray, mapping: OpinionMapping | None = None) -> Metrics:
    """All metrics of (n,) predictions against (n,) opinions.

    ``mapping`` is the curve that was fitted to them; None: it is fitted here.
    """
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    mapping = mapping or fit_mapping(predicted, mos)
    mapped = mapping(predicted)
    return Metrics(
        srcc=float(srcc(predicted, mos)),
        plcc=float(plcc(mapped, mos)),
        krcc=krcc(predicted, mos),
        rmse=float(np.sqrt(np.mean((mapped - mos) ** 2))),
        mapping=mapping.kind,
        plcc_raw=float(plcc(predicted, mos)),
    )


def plcc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; 0 where either side is constant, which orders nothing."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), norms, out=np.zeros(np.shape(norms)), where=norms > 0)


def srcc(predicted: np.ndarray, mos: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of (..., n) predictions with (n,) or (..., n) opinions; ties share a rank."""
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    return plcc(rankdata(predicted, axis=-1), rankdata(mos, axis=-1))


def krcc(predicted: np.ndarray, mos: np.ndarray) -> float:
    """Kendall's tau-b of (n,) predictions and opinions; 0 where either side is constant."""
    tau = kendalltau(predicted, mos).statistic
    return float(tau) if np.isfinite(tau) else 0.0


def fit_mapping(predicted: np.ndarray, mos: np.ndarray) -> OpinionMapping:
    """The logistic by least squares.

    A line where the fit does not converge to a finite curve, or where there are not more points than its 4 parameters.
    """
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    if len(mos) <= 4 or mos.std() == 0 or _is_constant(predicted):
        return fit_line(predicted, mos)
    # Fitted on standardised predictions, so that the tolerances mean the same for every scale.
    centre, spread = predicted.mean(), predicted.std()
    z = (predicted - centre) / spread
    start = [mos.max(), mos.min(), 0.0, 0.5]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # A step that overflows is not taken, and the status says where the fit ended without a result.
        warnings.simplefilter("ignore", RuntimeWarning)
        found, status = leastsq(lambda b: OpinionMapping("logistic", tuple(b))(z) - mos, start, maxfev=5000)
        # The same curve as a function of the predictions.
        parameters = found * (1, 1, spread, spread) + (0, 0, centre, 0)
    if status not in CONVERGED or not np.isfinite(parameters).all():
        return fit_line(predicted, mos)
    return OpinionMapping("logistic", tuple(parameters.tolist()))


def fit_line(predicted: np.ndarray, mos: np.ndarray) -> OpinionMapping:
    """The line by least squares; a level one through the mean where predictions are constant."""
    centre, variance = predicted.mean(), predicted.var()
    slope = 0.0 if _is_constant(predicted) else ((predicted - centre) * (mos - mos.mean())).mean() / variance
    return OpinionMapping("linear", (float(mos.mean() - slope * centre), float(slope)))


def _is_constant(values: np.ndarray) -> bool:
    return bool(values.std() <= 1e-12 * np.abs(values).max())
