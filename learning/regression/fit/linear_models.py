"""The regression of a split, and the weights of Ridge and of ElasticNet for a path of penalties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve, solve_banded
from scipy.linalg.lapack import dormqr, dsytrd, dsytrd_lwork

from common import log
from networks.regressor import LinearModel

MOST_FEATURES_PER_IMAGE = 2
"""With more features than this for each image, inner products of features take more than they save."""

GAP = 1e-8
"""Duality gap at which a fit has converged, as a share of |t|^2; scikit-learn's ``tol`` is defined alike."""

LARGEST_RATIO, INTERMEDIATE_GAP = 2.0, 0.1
"""Penalties that differ by a larger factor are approached in smaller steps, each to a gap of ``INTERMEDIATE_GAP``."""

MOST_STEPS, SHORTEST_STEP = 100, 1e-8


class TrainingPart:
    """The training part of a split, centred, and standardised if asked: n opinions, p features, the way back.

    ``features`` Z is (n, p), column by column in memory, ``target`` t is (n,). A feature that does not vary is not
    divided. All is float64, which small penalties need.
    """

    def __init__(
        self, features: np.ndarray, mos: np.ndarray, standardized: bool, image_products: np.ndarray | None = None
    ):
        """``features`` (n, p) float32, ``mos`` (n,).

        ``image_products`` (n, n) are the inner products of raw features, about any centre, if they are known.
        """
        self.standardized = standardized
        self.features = features.astype(np.float64, order="F")
        self.mean = self.features.mean(axis=0)
        self.features -= self.mean
        self.scale = np.ones(len(self.mean))
        if standardized:
            deviation = np.sqrt(np.einsum("ij,ij->j", self.features, self.features) / len(features))
            varies = deviation > 10 * np.finfo(np.float64).eps * np.abs(self.mean)  # as in scikit-learn
            self.scale[varies] = deviation[varies]
            self.features /= self.scale
        self.mos_mean = float(mos.mean())
        self.target = mos - self.mos_mean

        self._image_products = image_products
        if image_products is not None:
            means = image_products.mean(axis=0)
            self._image_products = image_products - means - (means[:, None] - means.mean())

    def image_products(self) -> np.ndarray:
        """Z Z' (n, n)."""
        return self.features @ self.features.T if self._image_products is None else self._image_products

    @cached_property
    def feature_products(self) -> np.ndarray | None:
        """Z'Z (p, p); None where features are too many for it to pay."""
        n_images, n_features = self.features.shape
        return self.features.T @ self.features if n_features <= MOST_FEATURES_PER_IMAGE * n_images else None

    def predict(self, features: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(k, m) predictions for features (m, p) as they were given, by the (p, k) ``weights`` of k candidates."""
        return (self.mos_mean + (features.astype(np.float64) - self.mean) / self.scale @ weights).T

    def model(self, weights: np.ndarray) -> LinearModel:
        """The regressor of features as they were given, from the (p,) ``weights``."""
        if self.standardized:
            return LinearModel(self.mean, self.scale, weights, self.mos_mean)
        return LinearModel(np.zeros_like(self.mean), self.scale, weights, self.mos_mean - float(self.mean @ weights))


def ridge_weights(part: TrainingPart, alphas: Sequence[float]) -> np.ndarray:
    """Weights (p, k) for k penalties, from one reduction to tridiagonal form.

    scikit-learn minimises |t - Z w|^2 + alpha |w|^2 for centred features Z (n, p) and opinions t. The solution is w =
    (Z'Z + alpha I)^-1 Z't, the primal form, and w = Z' (Z Z' + alpha I)^-1 t, the dual form, whose matrix is smaller
    where features outnumber images.

    An orthogonal Q reduces the matrix to A = Q T Q' with a tridiagonal T (Elden, BIT 17, 1977). Each penalty's (A +
    alpha I)^-1 b = Q (T + alpha I)^-1 Q'b then costs next to nothing. The eigenvectors of ``scipy.linalg.eigh`` would
    do the same in fewer lines and three times the time: 2.0 s and 0.7 s for n = 2,100.
    """
    features, target = part.features, part.target
    n_images, n_features = features.shape
    if n_features > n_images or part.feature_products is None:  # never None here, where features are fewer
        return features.T @ solve_shifted(part.image_products(), target, alphas)
    return solve_shifted(part.feature_products, features.T @ target, alphas)


def solve_shifted(matrix: np.ndarray, target: np.ndarray, shifts: Sequence[float]) -> np.ndarray:
    """Solves (A + s I) x = b for k shifts s > 0: (n, k).

    ``matrix`` A is symmetric and positive semidefinite, (n, n) float64; ``target`` b is (n,).
    """
    n = len(matrix)
    shifts = np.maximum(shifts, 4 * np.finfo(np.float64).eps * np.trace(matrix))  # what float64 can tell from 0
    if len(shifts) == 1 or n < 3:
        return np.stack([solve(matrix + shift * np.eye(n), target, assume_a="pos") for shift in shifts], axis=1)
    lwork, _ = dsytrd_lwork(n, lower=1)
    reduced, diagonal, beside, tau, _ = dsytrd(matrix.T, lower=1, lwork=int(lwork))  # .T: copied faster, and the same
    # The first row and column of Q are those of I. LAPACK keeps the rest below the diagonal, as for a QR factorisation.
    reflectors = np.asfortranarray(reduced[1:, :-1])

    def rotate(trans: str, vectors: np.ndarray) -> np.ndarray:
        """Q'V for "T" and QV for "N"."""
        rotated, _, _ = dormqr("L", trans, reflectors, tau, np.asfortranarray(vectors[1:]), 64 * n)
        return np.concatenate([vectors[:1], rotated])

    rotated = rotate("T", target[:, None])[:, 0]
    above, below = np.append(0, beside), np.append(beside, 0)
    solutions = [solve_banded((1, 1), np.stack([above, diagonal + shift, below]), rotated) for shift in shifts]
    return rotate("N", np.stack(solutions, axis=1))


def elastic_net_weights(part: TrainingPart, l1_ratio: float, alphas: Sequence[float]) -> np.ndarray:
    """Weights (p, k) for k penalties in decreasing order, by a semismooth Newton method on the dual.

    A warning where one missed the duality gap. ``l1_ratio`` rho is below 1: for 1, the Lasso, D is not smooth.

    scikit-learn minimises |t - Z w|^2 / (2 n) + alpha rho |w|_1 + alpha (1 - rho) |w|^2 / 2. Times n, with l1 = n alpha
    rho and l2 = n alpha (1 - rho), its dual is to maximise

        D(theta) = theta't - |theta|^2 / 2 - |S(Z'theta)|^2 / (2 l2),    S(x) = sign(x) max(|x| - l1, 0),

    and w = S(Z'theta) / l2. D is strongly concave and piecewise quadratic, so that Newton's method with a line search
    ends after a few steps (Qi, Sun, Math. Program. 58, 1993). The features J with |Z'theta| > l1 are active, with the
    signs s of Z'theta. A step leads towards the maximum that D would have if J and s were the same everywhere. There,
    theta is the residual t - Z_J w_J of (Z_J'Z_J + l2 I) w_J = Z_J't - l1 s.

    Written by hand because coordinate descent is too slow on the strongly correlated features of a network. On 581 x
    3,840 features, a path of the 9 default penalties takes about 1 s here. In 60 s, scikit-learn, celer and skglm fit 3
    to 7 of the 9 (docs/performance.md).
    """
    n_images, n_features = part.features.shape
    weights = np.zeros((n_features, len(alphas)))
    theta, signs = part.target, np.zeros(n_features)
    alpha_before = np.abs(part.features.T @ theta).max() / (n_images * l1_ratio)  # the smallest that leaves no feature
    for column, alpha in enumerate(alphas):
        for stop in _approach(alpha_before, alpha):
            dual = _Dual(part, stop, l1_ratio)
            theta, found, converged = dual.maximise(theta, signs, GAP if stop == alpha else INTERMEDIATE_GAP)
            signs = np.sign(found)
        weights[:, column], alpha_before = found, alpha
        if not converged:
            log.warning(f"ElasticNet, alpha {alpha:.3g}, l1_ratio {l1_ratio:g}: not converged, and used as it is")
    return weights


def _approach(before: float, alpha: float) -> Iterator[float]:
    """Penalties between the two at equal ratios, and ``alpha``."""
    n_steps = max(1, math.ceil(math.log(before / alpha) / math.log(LARGEST_RATIO))) if before > alpha else 1
    for step in range(n_steps - 1, 0, -1):
        yield alpha * (before / alpha) ** (step / n_steps)
    yield alpha


class _Dual:
    """D of ``elastic_net_weights`` for one penalty."""

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
