"""scikit-learn's pipeline of a regressor, written for other programs by skops. These imports take two seconds."""

from __future__ import annotations

from pathlib import Path

import skops.io
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.atomic_files import whole_file
from learning.regression.fit.settings import Hyperparameters
from networks.regressor import LinearModel


def write_pipeline(path: Path, model: LinearModel, hyperparameters: Hyperparameters | None = None) -> None:
    """Writes the pipeline of a model, completely or not at all."""
    with whole_file(path) as temporary:
        skops.io.dump(fitted_pipeline(model, hyperparameters), temporary)


def fitted_pipeline(model: LinearModel, hyperparameters: Hyperparameters | None = None) -> Pipeline:
    """scikit-learn's pipeline of a model, with the attributes that ``fit`` would set, for export.

    It has a StandardScaler where the model subtracts a mean. Unknown ``hyperparameters`` give scikit-learn's default.
    """
    regressor: Ridge | ElasticNet = Ridge()
    if hyperparameters is not None and hyperparameters.l1_ratio is None:
        regressor = Ridge(alpha=hyperparameters.alpha)
    elif hyperparameters is not None:
        regressor = ElasticNet(alpha=hyperparameters.alpha, l1_ratio=hyperparameters.l1_ratio)
    regressor.coef_, regressor.intercept_, regressor.n_features_in_ = model.weights, model.intercept, len(model.weights)
    if not model.mean.any():
        return Pipeline([("regressor", regressor)])
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.var_ = model.mean, model.scale, model.scale**2
    scaler.n_features_in_ = len(model.weights)
    return Pipeline([("standardize", scaler), ("regressor", regressor)])
