"""Agreement of predicted scores with opinion: SRCC, KRCC, and PLCC and RMSE after the VQEG logistic."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit
from scipy.stats import kendalltau, rankdata


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; 0 where either side is constant, which orders nothing."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), norms, out=np.zeros(np.shape(norms)), where=norms > 0)


def srcc(predicted: np.ndarray, mos: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of (..., n) predictions with (n,) or (..., n) opinions; ties share a rank."""
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    return _correlation(rankdata(predicted, axis=-1), rankdata(mos, axis=-1))


def krcc(predicted: np.ndarray, mos: np.ndarray) -> float:
    """Kendall's tau-b of (n,) predictions and opinions; 0 where either side is constant."""
    tau = kendalltau(predicted, mos).statistic
    return float(tau) if np.isfinite(tau) else 0.0


@dataclass(frozen=True)
class OpinionMapping:
    """A monotonic curve from predictions to the scale of the opinions, with which it was fitted.

    ``logistic``: b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) with four ``parameters`` (VQEG, Final Report phase I,
    2000); else ``linear``: b1 + b2 x.
    """

    kind: str
    parameters: tuple[float, ...]

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        curve = _logistic if self.kind == "logistic" else _line
        return curve(np.asarray(predicted, np.float64), *self.parameters)

    @property
    def increases(self) -> bool:
        """Whether it keeps the order of predictions."""
        return self.parameters[0] > self.parameters[1] if self.kind == "logistic" else self.parameters[1] > 0


IDENTITY = OpinionMapping("linear", (0.0, 1.0))


def _logistic(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    return b2 + (b1 - b2) * expit((x - b3) / np.maximum(np.abs(b4), 1e-12))


def _line(x: np.ndarray, b1: float, b2: float) -> np.ndarray:
    return b1 + b2 * x


def read_mapping(kind: str, parameters: Iterable[float]) -> OpinionMapping:
    """The mapping with these fields; ValueError where there is none."""
    mapping = OpinionMapping(kind, tuple(float(value) for value in parameters))
    if len(mapping.parameters) != {"logistic": 4, "linear": 2}.get(kind) or not np.isfinite(mapping.parameters).all():
        raise ValueError(f"no mapping: {kind} {mapping.parameters}")
    return mapping


def fit_mapping(predicted: np.ndarray, mos: np.ndarray) -> OpinionMapping:
    """The logistic by least squares; a line where that does not converge, or there are too few points for it."""
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    centre, spread = predicted.mean(), predicted.std()
    if len(mos) > 4 and mos.std() > 0 and not _is_constant(predicted):
        # Fitted on standardised predictions, so that the tolerances mean the same for every scale.
        start = (mos.max(), mos.min(), 0.0, 0.5)
        try:
            with warnings.catch_warnings():
                # The warning is about the parameters' covariance, which is not used.
                warnings.simplefilter("ignore", OptimizeWarning)
                (b1, b2, b3, b4), _ = curve_fit(_logistic, (predicted - centre) / spread, mos, start, maxfev=5000)
        except RuntimeError:
            pass
        else:
            return OpinionMapping("logistic", (float(b1), float(b2), float(centre + spread * b3), float(spread * b4)))
    return fit_line(predicted, mos)


def _is_constant(values: np.ndarray) -> bool:
    return values.std() <= 1e-12 * np.abs(values).max()


def fit_line(predicted: np.ndarray, mos: np.ndarray) -> OpinionMapping:
    """The line by least squares; a level one through the mean where predictions are constant."""
    centre, variance = predicted.mean(), predicted.var()
    slope = 0.0 if _is_constant(predicted) else ((predicted - centre) * (mos - mos.mean())).mean() / variance
    return OpinionMapping("linear", (float(mos.mean() - slope * centre), float(slope)))


@dataclass(frozen=True)
class Metrics:
    """The agreement of predictions with opinions; PLCC and RMSE after ``mapping``, RMSE in units of the opinions."""

    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mapping: OpinionMapping


def evaluate(predicted: np.ndarray, mos: np.ndarray) -> Metrics:
    """All metrics of (n,) predictions against (n,) opinions."""
    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    mapping = fit_mapping(predicted, mos)
    mapped = mapping(predicted)
    rmse = float(np.sqrt(np.mean((mapped - mos) ** 2)))
    return Metrics(float(srcc(predicted, mos)), float(_correlation(mapped, mos)), krcc(predicted, mos), rmse, mapping)
