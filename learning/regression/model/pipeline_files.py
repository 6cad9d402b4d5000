"""scikit-learn's pipeline of a regressor, written for other programs by skops. These imports take two seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.atomic_files import whole_file
from networks.regressor import LinearModel


def write_pipeline(path: Path, pipeline: Pipeline) -> None:
    """Writes the pipeline, completely or not at all."""
    with whole_file(path) as temporary:
        skops.io.dump(pipeline, temporary)


def linear_model(pipeline: Pipeline) -> LinearModel:
    """The arrays of a fitted pipeline; mean 0 and scale 1 where it has no StandardScaler."""
    mean, scale = np.zeros(pipeline.n_features_in_), np.ones(pipeline.n_features_in_)
    for _, step in pipeline.steps[:-1]:
        if isinstance(step, StandardScaler):
            mean, scale = step.mean_, step.scale_
    estimator = pipeline.steps[-1][1]
    return LinearModel(mean, scale, np.ravel(estimator.coef_), np.asarray(estimator.intercept_).item())
