"""Agreement of predicted scores with opinion: SRCC, KRCC, PLCC as it is, and PLCC and RMSE after a logistic.

scipy is imported where it is used: scoring a photograph needs only the calibration curve, and scipy takes a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np


def plcc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; 0 where either side is constant, which orders nothing."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), norms, out=np.zeros(np.shape(norms)), where=norms > 0)


def srcc(predicted: np.ndarray, mos: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of (..., n) predictions with (n,) or (..., n) opinions; ties share a rank."""
    from scipy.stats import rankdata

    predicted, mos = np.asarray(predicted, np.float64), np.asarray(mos, np.float64)
    return plcc(rankdata(predicted, axis=-1), rankdata(mos, axis=-1))


def krcc(predicted: np.ndarray, mos: np.ndarray) -> float:
    """Kendall's tau-b of (n,) predictions and opinions; 0 where either side is constant."""
    from scipy.stats import kendalltau

    tau = kendalltau(predicted, mos).statistic
    return float(tau) if np.isfinite(tau) else 0.0


METRICS = ("srcc", "plcc_raw", "plcc", "krcc", "rmse")
"""Fields of ``Metrics``, in the order in which they are reported."""

LABELS = {"srcc": "SRCC", "plcc_raw": "PLCC raw", "plcc": "PLCC fit", "krcc": "KRCC", "rmse": "RMSE fit"}
"""Metric -> its name in reports; "fit" means after the logistic."""

REFIT_STEPS = 15
"""Steps of the quick fit to a bootstrap sample."""

N_PARAMETERS = {"logistic": 4, "logistic5": 5, "linear": 2}


@dataclass(frozen=True)
class OpinionMapping:
    """A curve from predictions to the scale of the opinions, with which it was fitted.

    ``logistic``: b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)), monotonic (VQEG, Final Report phase I, 2000).
    ``logistic5``: b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5 (Sheikh, Sabir, Bovik, IEEE TIP 15(11), 2006).
    ``linear``: b1 + b2 x.
    """

    kind: str
    parameters: tuple[float, ...]

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        return _CURVES[self.kind](np.asarray(predicted, np.float64), *self.parameters)

    @property
    def increases(self) -> bool:
        """Whether it keeps the order of all predictions."""
        if self.kind == "logistic":
            return self.parameters[0] > self.parameters[1]
        if self.kind == "linear":
            return self.parameters[1] > 0
        b1, b2, _, b4, _ = self.parameters
        slopes = (b4, b4 + b1 * b2 / 4)  # far from the centre, and there
        return min(slopes) >= 0 and max(slopes) > 0


IDENTITY = OpinionMapping("linear", (0.0, 1.0))


def expit(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), 0 where exp(-x) overflows."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _logistic(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    return b2 + (b1 - b2) * expit((x - b3) / np.maximum(np.abs(b4), 1e-12))


def _logistic5(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    return b1 * (expit(b2 * (x - b3)) - 0.5) + b4 * x + b5


def _line(x: np.ndarray, b1: float, b2: float) -> np.ndarray:
    return b1 + b2 * x


_CURVES: dict[str, Callable[..., np.ndarray]] = {"logistic": _logistic, "logistic5": _logistic5, "linear": _line}


def read_mapping(kind: str, parameters: Iterable[float]) -> OpinionMapping:
    """The mapping with these fields; ValueError where they make no sense."""
    mapping = OpinionMapping(kind, tuple(float(value) for value in parameters))
    if len(mapping.parameters) != N_PARAMETERS.get(kind) or not np.isfinite(mapping.parameters).all():
        raise ValueError(f"no mapping: {kind} {mapping.parameters}")
    return mapping


def fit_mapping(predicted: np.ndarray, mos: np.ndarray, n_parameters: int = 4) -> OpinionMapping:
    """The logistic with 4 or 5 parameters by least squares.

    A line where the fit does not converge, or where there are not more points than parameters.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

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
            found, _ = curve_fit(_CURVES[kind], z, mos, start, maxfev=5000)
    except RuntimeError:
        return fit_line(predicted, mos)
    return OpinionMapping(kind, _of_predictions(kind, found, centre, spread))


def _start(kind: str, z: np.ndarray, mos: np.ndarray) -> tuple[float, ...]:
    """Where the fit to standardised predictions ``z`` starts."""
    if kind == "logistic":
        return mos.max(), mos.min(), 0.0, 0.5
    return np.ptp(mos) / 2, 2.0, 0.0, fit_line(z, mos).parameters[1] / 2, mos.mean()


def refit_mapping(kind: str, predicted: np.ndarray, mos: np.ndarray) -> OpinionMapping:
    """A curve of this ``kind`` for a bootstrap sample, whose fits are many.

    A few steps of Levenberg and Marquardt: ten times faster than curve_fit, which follows a flat valley of parameters
    to its end though the curve no longer changes. A step that does not reduce the error is not taken.
    """
    if kind == "linear" or len(mos) <= N_PARAMETERS[kind] or _is_constant(predicted):
        return fit_line(predicted, mos)
    centre, spread = predicted.mean(), predicted.std()
    curve, slopes = _CURVES[kind], _SLOPES[kind]
    z = (predicted - centre) / spread
    parameters = np.array(_start(kind, z, mos))
    residuals, damping = mos - curve(z, *parameters), 1e-3
    for _ in range(REFIT_STEPS):
        jacobian = slopes(z, *parameters)
        normal = jacobian.T @ jacobian
        normal += damping * np.diag(np.diag(normal) + 1e-12)
        trial = parameters + np.linalg.lstsq(normal, jacobian.T @ residuals, rcond=None)[0]
        trial_residuals = mos - curve(z, *trial)
        before, after = residuals @ residuals, trial_residuals @ trial_residuals
        if after < before:
            parameters, residuals, damping = trial, trial_residuals, damping / 10
        else:
            damping *= 10
        if abs(before - after) < 1e-6 * before:
            break
    return OpinionMapping(kind, _of_predictions(kind, parameters, centre, spread))


def _logistic_slopes(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    width = max(abs(b4), 1e-12)
    share = expit((x - b3) / width)
    slope = (b1 - b2) * share * (1 - share) / width
    return np.stack([share, 1 - share, -slope, -slope * (x - b3) / width * np.sign(b4)], axis=1)


def _logistic5_slopes(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    share = expit(b2 * (x - b3))
    slope = b1 * share * (1 - share)
    return np.stack([share - 0.5, slope * (x - b3), -slope * b2, x, np.ones_like(x)], axis=1)


_SLOPES: dict[str, Callable[..., np.ndarray]] = {"logistic": _logistic_slopes, "logistic5": _logistic5_slopes}


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
