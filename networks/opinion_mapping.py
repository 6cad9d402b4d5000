"""Curves from predictions to the scale of opinions, of arrays and of tensors. Imports neither torch nor scipy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", np.ndarray, "Tensor")

N_PARAMETERS = {"logistic": 4, "linear": 2}


@dataclass(frozen=True)
class OpinionMapping:
    """A curve from predictions to the scale of the opinions, with which it was fitted.

    ``logistic``: b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)), monotonic (VQEG, Final Report phase I, 2000).
    ``linear``: b1 + b2 x.

    Raises ValueError for another kind, or for another number of parameters.
    """

    kind: str
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.parameters) != N_PARAMETERS.get(self.kind):
            raise ValueError(f"unknown curve '{self.kind}' with {len(self.parameters)} parameters")

    def __call__(self, x: Values) -> Values:
        """The curve at each of ``x``, a float array or tensor of any shape."""
        if self.kind == "linear":
            b1, b2 = self.parameters
            return b1 + b2 * x
        b1, b2, b3, b4 = self.parameters
        z = (x - b3) / max(abs(b4), 1e-12)
        if not isinstance(z, np.ndarray):
            return b2 + (b1 - b2) * z.sigmoid()
        # Not by scipy, whose import takes a quarter of a second.
        with np.errstate(invalid="ignore"):  # NaN stays NaN
            return b2 + (b1 - b2) * np.exp(-np.logaddexp(0, -z))

    @property
    def increases(self) -> bool:
        """Whether it keeps the order of all predictions."""
        return self.parameters[1] > 0 if self.kind == "linear" else self.parameters[0] > self.parameters[1]


IDENTITY = OpinionMapping("linear", (0.0, 1.0))
