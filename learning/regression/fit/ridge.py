"""The regression problem of a split, and Ridge for a path of penalties from one reduction to tridiagonal form.

scikit-learn minimises |t - Z w|^2 + alpha |w|^2 for centred features Z (n, p) and opinions t. The solution is
w = (Z'Z + alpha I)^-1 Z't, the primal form, and w = Z' (Z Z' + alpha I)^-1 t, the dual form, whose matrix is smaller
where features outnumber images.

An orthogonal Q reduces the matrix to A = Q T Q' with a tridiagonal T (Elden, BIT 17, 1977). Each penalty's
(A + alpha I)^-1 b = Q (T + alpha I)^-1 Q'b then costs next to nothing. The eigenvectors of ``scipy.linalg.eigh`` would
do the same in fewer lines and three times the time: 2.0 s and 0.7 s for n = 2,100.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.linalg import solve, solve_banded
from scipy.linalg.lapack import dormqr, dsytrd, dsytrd_lwork

from networks.regressor import LinearModel

MOST_FEATURES_PER_IMAGE = 2
"""With more features than this for each image, inner products of features take more than they save."""


class TrainingPart:
    """The regression of n centred opinions on p centred features, which are divided by their deviations if asked.

    ``features`` Z is (n, p), column by column in memory, ``target`` t is (n,). A feature that does not vary is not
    divided. All is float64, which small penalties need.
    """

    def __init__(
        self, features: np.ndarray, mos: np.ndarray, standardized: bool, image_products: np.ndarray | None = None
    ):
        """``features`` (n, p) float32, ``mos`` (n,).

        ``image_products`` (n, n) are the inner products of raw features, centred anyhow, if they are known.
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
    """Weights (p, k) for k penalties."""
    features, target = part.features, part.target
    n_images, n_features = features.shape
    if n_features > n_images or part.feature_products is None:
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
