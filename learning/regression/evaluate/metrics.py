"""Agreement of predicted scores with opinion: SRCC, KRCC, PLCC as it is, and PLCC and RMSE after a logistic."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import kendalltau, rankdata

from networks.opinion_mapping import OpinionMapping


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


def fit_mapping(predicted: np.ndarray, mos: np.ndarray, n_parameters: int = 4) -> OpinionMapping:
    """The logistic with 4 or 5 parameters by least squares.

    A line where the fit does not converge, or where there are not more points than parameters.
    """
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    if len(mos) <= n_parameters or mos.std() == 0 or _is_constant(predicted):
        return fit_line(predicted, mos)
    # Fitted on standardised predictions, so that the tolerances mean the same for every scale.
    centre, spread = predicted.mean(), predicted.std()
    z = (predicted - centre) / spread
    kind = "logistic" if n_parameters == 4 else "logistic5"
    start = _start(kind, z, mos)
    try:
        with warnings.catch_warnings():
            # The warning is about the parameters' covariance, which is not used.
            warnings.simplefilter("ignore", OptimizeWarning)
            found, _ = curve_fit(lambda x, *b: OpinionMapping(kind, b)(x), z, mos, start, maxfev=5000)
    except RuntimeError:
        return fit_line(predicted, mos)
    return OpinionMapping(kind, _of_predictions(kind, found, centre, spread))


def _start(kind: str, z: np.ndarray, mos: np.ndarray) -> tuple[float, ...]:
    """Where the fit to standardised predictions ``z`` starts."""
    if kind == "logistic":
        return mos.max(), mos.min(), 0.0, 0.5
    return np.ptp(mos) / 2, 2.0, 0.0, fit_line(z, mos).parameters[1] / 2, mos.mean()


def _of_predictions(
    kind: str, parameters: Sequence[float] | np.ndarray, centre: float, spread: float
) -> tuple[float, ...]:
    """Parameters of a logistic of (x - centre) / spread -> its parameters as a function of x."""
    if kind == "logistic":
        b1, b2, b3, b4 = parameters
        return _floats(b1, b2, centre + spread * b3, spread * b4)
    b1, b2, b3, b4, b5 = parameters
    return _floats(b1, b2 / spread, centre + spread * b3, b4 / spread, b5 - b4 * centre / spread)


def _floats(*values: float) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _is_constant(values: np.ndarray) -> bool:
    return bool(values.std() <= 1e-12 * np.abs(values).max())


def fit_line(predicted: np.ndarray, mos: np.ndarray) -> OpinionMapping:
    """The line by least squares; a level one through the mean where predictions are constant."""
    centre, variance = predicted.mean(), predicted.var()
    slope = 0.0 if _is_constant(predicted) else ((predicted - centre) * (mos - mos.mean())).mean() / variance
    return OpinionMapping("linear", (float(mos.mean() - slope * centre), float(slope)))


@dataclass(frozen=True)
class Metrics:
    """The agreement of predictions with opinions.

    ``plcc_raw`` is of the predictions as they are; ``plcc`` and ``rmse`` are after ``mapping``, ``rmse`` in units of
    the opinions.
    """

    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mapping: OpinionMapping
    plcc_raw: float


def evaluate(predicted: np.ndarray, mos: np.ndarray, n_parameters: int = 4) -> Metrics:
    """All metrics of (n,) predictions against (n,) opinions; the logistic has 4 or 5 parameters."""
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    mapping = fit_mapping(predicted, mos, n_parameters)
    mapped = mapping(predicted)
    return Metrics(
        srcc=float(srcc(predicted, mos)),
        plcc=float(plcc(mapped, mos)),
        krcc=krcc(predicted, mos),
        rmse=float(np.sqrt(np.mean((mapped - mos) ** 2))),
        mapping=mapping,
        plcc_raw=float(plcc(predicted, mos)),
    )
