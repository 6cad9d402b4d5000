"""scikit-learn's pipeline of a regressor on disk, by skops, which executes nothing.

Apart from ``regressor_files``, since these imports take two seconds and a score needs the weights alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skops.io
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.atomic_files import whole_file
from common.errors import UserError
from learning.regression.fit.linear_model import LinearModel
from learning.regression.fit.settings import Hyperparameters

STEPS = (StandardScaler, Ridge, ElasticNet)
"""The types that a pipeline may consist of."""

FITTED_ATTRIBUTES = ("mean_", "scale_", "coef_", "intercept_")
"""The attributes in which these types keep what they have learnt."""


def write_pipeline(path: Path, pipeline: Pipeline) -> None:
    """Writes the pipeline, completely or not at all."""
    with whole_file(path) as temporary:
        skops.io.dump(pipeline, temporary)


def read_pipeline(path: Path) -> Pipeline:
    """The pipeline in a skops file.

    Raises UserError unless it is one that train_regressor.py has fitted, of scikit-learn's and numpy's own types alone,
    with finite coefficients.
    """
    pipeline = _read_object(path)
    if not isinstance(pipeline, Pipeline):
        raise UserError(f"{path} holds a {type(pipeline).__name__}, not a scikit-learn pipeline")
    steps = [step for _, step in pipeline.steps]
    if not all(isinstance(step, STEPS) for step in steps) or not hasattr(pipeline, "n_features_in_"):
        raise UserError(f"{path} holds a pipeline that train_regressor.py has not fitted")
    values = [np.asarray(getattr(step, name)) for step in steps for name in FITTED_ATTRIBUTES if hasattr(step, name)]
    if not all(value.dtype.kind == "f" and np.isfinite(value).all() for value in values):
        raise UserError(f"{path} is damaged: it holds values that are not finite")
    return pipeline


def _read_object(path: Path) -> object:
    """The object in a skops file; UserError where that holds types that are neither scikit-learn's nor numpy's."""
    try:
        foreign = skops.io.get_untrusted_types(file=path)
        if not foreign:
            return skops.io.load(path, trusted=[])
    except Exception as error:  # a damaged file leads skops to whatever it happens to hold
        raise UserError(f"{path} is not a regressor, or is damaged: {error}") from None
    raise UserError(f"{path} is unsafe: it holds {', '.join(map(str, foreign[:3]))}, which no regressor needs")


def linear_model(pipeline: Pipeline) -> LinearModel:
    """The arrays of a fitted pipeline; mean 0 and scale 1 where it has no StandardScaler."""
    mean, scale = np.zeros(pipeline.n_features_in_), np.ones(pipeline.n_features_in_)
    for _, step in pipeline.steps[:-1]:
        if isinstance(step, StandardScaler):
            mean = mean if step.mean_ is None else step.mean_
            scale = scale if step.scale_ is None else step.scale_
    estimator = pipeline.steps[-1][1]
    return LinearModel(mean, scale, np.ravel(estimator.coef_), np.asarray(estimator.intercept_).item())


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
