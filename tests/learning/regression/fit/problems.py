"""Features and opinions to learn from."""

import numpy as np

MEMORY = 2**30


def features_and_mos(n_images, n_features, seed=0, signal=1.0):
    """Positive, correlated features of unequal spread with a column that never varies, and scores."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_images, 12))
    features = factors @ rng.normal(size=(12, n_features)) + 0.3 * rng.normal(size=(n_images, n_features))
    features = np.maximum(features, 0) * rng.gamma(2, 0.3, n_features)
    features[:, 0] = 0.7
    mos = signal * factors[:, :4].sum(axis=1) + rng.normal(size=n_images)
    return features.astype(np.float32), mos
