"""The regression problem of a split: opinions on features of its training images, both centred, in float64."""

from __future__ import annotations

from functools import cached_property

import numpy as np

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
