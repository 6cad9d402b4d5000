"""ElasticNet for a path of penalties, converged to a duality gap: a semismooth Newton method on the dual.

scikit-learn minimises |t - Z w|^2 / (2 n) + alpha rho |w|_1 + alpha (1 - rho) |w|^2 / 2. Times n, with l1 = n alpha rho
and l2 = n alpha (1 - rho), its dual is to maximise

    D(theta) = theta't - |theta|^2 / 2 - |S(Z'theta)|^2 / (2 l2),    S(x) = sign(x) max(|x| - l1, 0),

and w = S(Z'theta) / l2. D is strongly concave and piecewise quadratic, so that Newton's method with a line search ends
after a few steps (Qi, Sun, Math. Program. 58, 1993). The features J with |Z'theta| > l1 are active, with the signs s of
Z'theta. A step leads towards the maximum that D would have if J and s were the same everywhere. There, theta is the
residual t - Z_J w_J of (Z_J'Z_J + l2 I) w_J = Z_J't - l1 s.

Written by hand because coordinate descent is too slow on the strongly correlated features of a network. On 581 x 3,840
features, a path of the 9 default penalties takes about 1 s here. In 60 s, scikit-learn, celer and skglm fit 3 to 7 of
the 9 (docs/performance.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from learning.regression.fit.ridge import TrainingPart

GAP = 1e-8
"""Duality gap at which a fit has converged, as a share of |t|^2; scikit-learn's ``tol`` is defined alike."""

LARGEST_RATIO, INTERMEDIATE_GAP = 2.0, 0.1
"""Penalties that differ by a larger factor are approached in smaller steps, each to a gap of ``INTERMEDIATE_GAP``."""

MOST_STEPS, SHORTEST_STEP = 100, 1e-8


def elastic_net_weights(part: TrainingPart, l1_ratio: float, alphas: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (p, k) for k penalties in decreasing order, and whether each missed the duality gap, (k,).

    ``l1_ratio`` is below 1: for 1, the Lasso, D is not smooth.
    """
    n_images, n_features = part.features.shape
    weights, unconverged = np.zeros((n_features, len(alphas))), np.zeros(len(alphas), bool)
    theta, signs = part.target, np.zeros(n_features)
    alpha_before = np.abs(part.features.T @ theta).max() / (n_images * l1_ratio)  # the smallest that leaves no feature
    for column, alpha in enumerate(alphas):
        for stop in _approach(alpha_before, alpha):
            dual = _Dual(part, stop, l1_ratio)
            theta, found, converged = dual.maximise(theta, signs, GAP if stop == alpha else INTERMEDIATE_GAP)
            signs = np.sign(found)
        weights[:, column], unconverged[column], alpha_before = found, not converged, alpha
    return weights, unconverged


def _approach(before: float, alpha: float) -> Iterator[float]:
    """Penalties between the two at equal ratios, and ``alpha``."""
    n_steps = max(1, math.ceil(math.log(before / alpha) / math.log(LARGEST_RATIO))) if before > alpha else 1
    for step in range(n_steps - 1, 0, -1):
        yield alpha * (before / alpha) ** (step / n_steps)
    yield alpha


class _Dual:
    """D for one penalty."""

    def __init__(self, part: TrainingPart, alpha: float, l1_ratio: float):
        self._features, self._target, self._products = part.features, part.target, part.feature_products
        n_images = len(part.target)
        self._l1, self._l2 = n_images * alpha * l1_ratio, n_images * alpha * (1 - l1_ratio)

    def maximise(self, theta: np.ndarray, signs: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray, bool]:
        """The dual point (n,) and the weights (p,) at a duality gap below ``gap`` of |t|^2, and whether it was reached.

        ``theta`` and ``signs`` (p,), 0 for features that are not active, are the solution for a similar penalty.
        """
        correlations = self._features.T @ theta
        # The first step supposes that the same features are active for this penalty.
        active = np.flatnonzero(signs)
        weights = (correlations[active] - self._l1 * signs[active]) / self._l2
        gradient = self._target - theta - self._features[:, active] @ weights
        direction = self._newton_direction(active, gradient)
        theta, correlations = theta + direction, correlations + self._features.T @ direction
        for _ in range(MOST_STEPS):
            weights = self._excess(correlations) / self._l2
            active = np.flatnonzero(weights)
            residual = self._target - self._features[:, active] @ weights[active]
            primal = residual @ residual / 2 + self._l1 * np.abs(weights).sum() + self._l2 * (weights @ weights) / 2
            before = self._value(theta, correlations)
            if primal - before <= gap * (self._target @ self._target):
                return theta, weights, True
            gradient = residual - theta
            direction = self._newton_direction(active, gradient)
            of_direction = self._features.T @ direction
            step = 1.0  # the largest of 1, 1/2, 1/4, ... at which the dual rises by enough (Armijo's rule)
            while step > SHORTEST_STEP and (
                self._value(theta + step * direction, correlations + step * of_direction)
                < before + 1e-4 * step * (gradient @ direction)
            ):
                step /= 2
            theta, correlations = theta + step * direction, correlations + step * of_direction
        return theta, self._excess(correlations) / self._l2, False

    def _excess(self, correlations: np.ndarray) -> np.ndarray:
        """S(Z'theta)."""
        return np.sign(correlations) * np.maximum(np.abs(correlations) - self._l1, 0)

    def _value(self, theta: np.ndarray, correlations: np.ndarray) -> float:
        """D(theta)."""
        excess = self._excess(correlations)
        return float(theta @ self._target - theta @ theta / 2 - excess @ excess / (2 * self._l2))

    def _newton_direction(self, active: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """(I + Z_J Z_J' / l2)^-1 gradient; by Woodbury's identity where Z'Z is known, or few features are active."""
        if not active.size:
            return gradient
        features = self._features[:, active]
        if self._products is not None:
            system = self._products[np.ix_(active, active)]
        elif len(active) < len(gradient):
            system = features.T @ features
        else:
            return self._l2 * self._solve(features @ features.T, gradient)
        return gradient - features @ self._solve(system, features.T @ gradient)

    def _solve(self, system: np.ndarray, target: np.ndarray) -> np.ndarray:
        """(A + l2 I)^-1 target for the symmetric matrix A, which is overwritten."""
        system[np.diag_indices_from(system)] += self._l2
        # The transpose, which is column by column in memory, is factorised without a copy.
        return cho_solve(cho_factor(system.T, lower=True, overwrite_a=True, check_finite=False), target)
