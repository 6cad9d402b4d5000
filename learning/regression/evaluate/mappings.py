"""Curves from predictions to the scale of opinions. ``metrics`` fits them; a prediction needs no slow import."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

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
        return CURVES[self.kind](np.asarray(predicted, np.float64), *self.parameters)

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

    def of_standardized(self, centre: float, spread: float) -> tuple[float, ...]:
        """The parameters of the same curve as a function of (x - centre) / spread."""
        if self.kind == "logistic":
            b1, b2, b3, b4 = self.parameters
            return b1, b2, (b3 - centre) / spread, b4 / spread
        if self.kind == "linear":
            b1, b2 = self.parameters
            return b1 + b2 * centre, b2 * spread
        b1, b2, b3, b4, b5 = self.parameters
        return b1, b2 * spread, (b3 - centre) / spread, b4 * spread, b5 + b4 * centre


IDENTITY = OpinionMapping("linear", (0.0, 1.0))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """scipy.special.expit, whose import takes a quarter of a second; NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0, -x))


def _logistic(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    return b2 + (b1 - b2) * _sigmoid((x - b3) / np.maximum(np.abs(b4), 1e-12))


def _logistic5(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    return b1 * (_sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5


def _line(x: np.ndarray, b1: float, b2: float) -> np.ndarray:
    return b1 + b2 * x


CURVES: dict[str, Callable[..., np.ndarray]] = {"logistic": _logistic, "logistic5": _logistic5, "linear": _line}


def read_mapping(kind: str, parameters: Iterable[float]) -> OpinionMapping:
    """The mapping with these fields; ValueError where they make no sense."""
    mapping = OpinionMapping(kind, tuple(float(value) for value in parameters))
    if len(mapping.parameters) != N_PARAMETERS.get(kind) or not np.isfinite(mapping.parameters).all():
        raise ValueError(f"no mapping: {kind} {mapping.parameters}")
    return mapping
