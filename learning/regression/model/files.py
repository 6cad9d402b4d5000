"""Writes a fitted regressor: the model (``networks.regressor``), and scikit-learn's pipeline for other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import skops.io
from safetensors.numpy import save_file
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.atomic_files import whole_file
from learning.regression.model.description import Hyperparameters, RegressorDescription
from networks.regressor import DESCRIPTION_SUFFIX, FORMAT, WEIGHTS_SUFFIX, LinearModel, sha256_of


def save_regressor(
    path: Path, model: LinearModel, description: RegressorDescription, held_out: Path | None = None
) -> None:
    """Writes the pipeline to ``path``, weights and description beside it, each completely or not at all.

    The description holds the SHA-256 of the weights and, if there is one, of the file ``held_out``.
    """
    with whole_file(path) as temporary:
        skops.io.dump(fitted_pipeline(model, description.hyperparameters), temporary)
    arrays = {"mean": model.mean, "scale": model.scale, "weights": model.weights}
    with whole_file(path.with_suffix(WEIGHTS_SUFFIX)) as temporary:
        save_file({**arrays, "intercept": np.array([model.intercept])}, temporary)
    digests = {"weights_sha256": sha256_of(path.with_suffix(WEIGHTS_SUFFIX))}
    if held_out is not None:
        digests["held_out_sha256"] = sha256_of(held_out)
    with whole_file(path.with_suffix(DESCRIPTION_SUFFIX)) as temporary:
        content = {"format": FORMAT, **digests, **asdict(description)}
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def fitted_pipeline(model: LinearModel, hyperparameters: Hyperparameters | None = None) -> Pipeline:
    """scikit-learn's pipeline of a model, with the attributes that ``fit`` would set, for export.

    It has a StandardScaler where the model subtracts a mean. Unknown ``hyperparameters`` give scikit-learn's default.
    """
    own = hyperparameters or Hyperparameters("ridge", standardized=True, alpha=1.0)
    regressor = Ridge(own.alpha) if own.l1_ratio is None else ElasticNet(own.alpha, l1_ratio=own.l1_ratio)
    regressor.coef_, regressor.intercept_, regressor.n_features_in_ = model.weights, model.intercept, len(model.weights)
    if not model.mean.any():
        return Pipeline([("regressor", regressor)])
    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.var_ = model.mean, model.scale, model.scale**2
    scaler.n_features_in_ = len(model.weights)
    return Pipeline([("standardize", scaler), ("regressor", regressor)])
