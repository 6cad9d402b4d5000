"""ElasticNet for a path of penalties from inner products alone: the method of ``elastic_net``, for many images.

Where there are not many more features than images, a step of Newton's method costs most in forming Z_J'Z_J from the
features. Here it is cut out of inner products that all penalties of a split share (``gram.TrainingGram``). Every dual
point is t - Z u, so that u (p,) stands for it, and Z'theta = Z't - Z'Z u.

The system of a step is solved in float32, and again in float64 if that was too inexact. The gradient and the duality
gap are float64, so an inexact step costs at most another one, on the same factors, and not accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_solve

from learning.regression.fit.blas import cholesky_in_place
from learning.regression.fit.elastic_net import GAP, MOST_STEPS, soft_threshold
from learning.regression.fit.gram import TrainingGram

LARGEST_RATIO = 2.0
"""Penalties that differ by a larger factor are approached in smaller steps: fewer features are active on the way."""

_INTERMEDIATE_GAP = 0.1
_INEXACT = 0.1
"""Relative residual of a system above which it is solved again in float64."""

_ROWS = 64
"""Rows of the matrix that are gathered at a time; they stay in the cache."""


@dataclass(frozen=True)
class _Point:
    """The dual point t - Z u: ``u`` (p,), and ``correlations`` Z'theta (p,)."""

    u: np.ndarray
    correlations: np.ndarray


def elasticnet_weights(gram: TrainingGram, l1_ratio: float, alphas: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (p, len(alphas)) for penalties in decreasing order, and whether each missed the duality gap.

    ``l1_ratio`` is below 1; penalties and ratio as scikit-learn defines them.
    """
    weights = np.zeros((len(gram.moment), len(alphas)))
    unconverged = np.zeros(len(alphas), bool)
    point, found = _Point(np.zeros(len(gram.moment)), gram.moment), weights[:, 0]
    alpha_before = np.abs(gram.moment).max() / (gram.n_images * l1_ratio)  # the smallest that leaves no feature
    for column, alpha in enumerate(alphas):
        for stop in _approach(alpha_before, alpha):
            problem = _Problem(gram, stop, l1_ratio)
            start = problem.with_active_of(found) if found.any() else point
            point, found, converged = problem.solve(start, GAP if stop == alpha else _INTERMEDIATE_GAP)
        weights[:, column], unconverged[column], alpha_before = found, not converged, alpha
    return weights, unconverged


def _approach(before: float, alpha: float) -> Iterator[float]:
    """Penalties between the two at equal ratios, and ``alpha``."""
    n_steps = max(1, math.ceil(math.log(before / alpha) / math.log(LARGEST_RATIO))) if before > alpha else 1
    for step in range(n_steps - 1, 0, -1):
        yield alpha * (before / alpha) ** (step / n_steps)
    yield alpha


class _Problem:
    """One penalty; ``elastic_net`` has the formulas."""

    def __init__(self, gram: TrainingGram, alpha: float, l1_ratio: float):
        self._gram = gram
        self._rows = gram.matrix.T  # symmetric; row by row in memory
        self._l1 = gram.n_images * alpha * l1_ratio
        self._l2 = gram.n_images * alpha * (1 - l1_ratio)
        self._precision: type[np.floating] = np.float32
        self._active = np.empty(0, np.intp)
        self._factor: tuple[np.ndarray, bool] | None = None

    def with_active_of(self, weights: np.ndarray) -> _Point:
        """The point whose active features and signs are those of another penalty's solution."""
        active = np.flatnonzero(weights)
        u = np.zeros(len(weights))
        u[active] = self._solve_active(active, self._gram.moment[active] - self._l1 * np.sign(weights[active]))
        return _Point(u, self._gram.moment - self._times(u))

    def solve(self, point: _Point, gap: float) -> tuple[_Point, np.ndarray, bool]:
        """The dual point and the weights at which the gap is below ``gap`` of |t|^2, and whether it was reached."""
        for _ in range(MOST_STEPS):
            weights = soft_threshold(point.correlations, self._l1) / self._l2
            surplus = point.u - weights  # Z surplus is the dual's gradient
            of_surplus = self._times(surplus)
            dual = self._dual(point)
            if self._primal(point, weights, of_surplus) - dual <= gap * self._gram.target_squares:
                return point, weights, True
            direction, of_direction = self._direction(np.flatnonzero(weights), surplus)
            point = self._ascend(point, direction, of_direction, dual, surplus @ of_direction)
        return point, soft_threshold(point.correlations, self._l1) / self._l2, False

    def _dual(self, point: _Point) -> float:
        excess = soft_threshold(point.correlations, self._l1)
        fitted = self._gram.moment @ point.u
        squares = self._gram.target_squares - 2 * fitted + point.u @ (self._gram.moment - point.correlations)
        return float(self._gram.target_squares - fitted - squares / 2 - excess @ excess / (2 * self._l2))

    def _primal(self, point: _Point, weights: np.ndarray, of_surplus: np.ndarray) -> float:
        of_weights = self._gram.moment - point.correlations - of_surplus
        squares = self._gram.target_squares - 2 * self._gram.moment @ weights + weights @ of_weights
        return float(squares / 2 + self._l1 * np.abs(weights).sum() + self._l2 * (weights @ weights) / 2)

    def _direction(self, active: np.ndarray, surplus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton's direction for u, and Z'Z times it.

        Outside of J it is the surplus itself; within, (Z_J'Z_J + l2)^-1 (l2 surplus_J - Z_J'Z surplus outside).
        """
        direction = surplus.copy()
        direction[active] = 0
        target = self._l2 * surplus[active] - self._times(direction)[active]
        direction[active] = self._solve_active(active, target)
        of_direction = self._times(direction)
        residual = of_direction[active] + self._l2 * (direction[active] - surplus[active])
        if np.linalg.norm(residual) <= _INEXACT * np.linalg.norm(target) or self._precision is np.float64:
            return direction, of_direction
        self._precision, self._factor = np.float64, None
        return self._direction(active, surplus)

    def _ascend(
        self, point: _Point, direction: np.ndarray, of_direction: np.ndarray, dual: float, slope: float
    ) -> _Point:
        """The point u - s direction for the largest s of 1, 1/2, ... at which the dual rises enough (Armijo's rule)."""
        step = 1.0
        while True:
            trial = _Point(point.u - step * direction, point.correlations + step * of_direction)
            if step < 1e-8 or self._dual(trial) >= dual + 1e-4 * step * slope:
                return trial
            step /= 2

    def _solve_active(self, active: np.ndarray, target: np.ndarray) -> np.ndarray:
        """(Z_J'Z_J + l2)^-1 target, factorised anew only where J has changed."""
        if not active.size:
            return target
        if self._factor is None or not np.array_equal(active, self._active):
            self._active, self._factor = active, self._factorise(active)
        return cho_solve(self._factor, target.astype(self._factor[0].dtype), check_finite=False)

    def _factorise(self, active: np.ndarray) -> tuple[np.ndarray, bool]:
        system = np.empty((len(active), len(active)), self._precision)
        for start in range(0, len(active), _ROWS):
            rows = slice(start, start + _ROWS)
            known = active[: start + _ROWS]  # the lower triangle is enough
            system[rows, : len(known)] = self._rows[active[rows]].take(known, axis=1)
        system[np.diag_indices_from(system)] += self._precision(self._l2)
        try:
            return cholesky_in_place(system)
        except LinAlgError:
            if self._precision is np.float64:
                raise
            self._precision = np.float64
            return self._factorise(active)

    def _times(self, u: np.ndarray) -> np.ndarray:
        """Z'Z u, with only the rows of the matrix that count."""
        chosen = np.flatnonzero(u)
        product = np.zeros(len(u))
        for start in range(0, len(chosen), _ROWS):
            rows = chosen[start : start + _ROWS]
            product += u[rows] @ self._rows[rows]
        return product
