"""A fitted regressor as arrays, and a reader that takes them from a .skops file without scikit-learn.

Importing skops and scikit-learn takes longer than scoring a photograph. A .skops file is a zip archive of
``schema.json`` and one ``.npy`` file for each array (skops' documentation, "secure persistence"). ``read_linear_model``
reads exactly the form in which skops stores the pipelines of train_regressor.py; skops reads and judges all others.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SCALER = ("sklearn.preprocessing._data", "StandardScaler")
REGRESSORS = (("sklearn.linear_model._ridge", "Ridge"), ("sklearn.linear_model._coordinate_descent", "ElasticNet"))
"""Module and class of the steps, as a file names them."""


@dataclass(frozen=True)
class LinearModel:
    """intercept + sum of weights (features - mean) / scale; the arrays are (F,) float64.

    ``mean`` or ``scale`` is None where the features are used without it.
    """

    mean: np.ndarray | None
    scale: np.ndarray | None
    weights: np.ndarray
    intercept: float

    @property
    def n_features(self) -> int:
        return len(self.weights)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, F) -> (n,) sums, equal to scikit-learn's to the last bit."""
        values = features.astype(np.float64)
        if self.mean is not None:
            values -= self.mean
        if self.scale is not None:
            values /= self.scale
        return values @ self.weights + self.intercept


def linear_model(pipeline: Pipeline) -> LinearModel:
    """The arrays of a fitted pipeline: a Ridge or ElasticNet, possibly after a StandardScaler."""
    estimator = pipeline.steps[-1][1]
    steps = [vars(step) for _, step in pipeline.steps[:-1]]
    return _from_attributes(steps, vars(estimator))


def read_linear_model(path: Path) -> LinearModel | None:
    """The arrays in a .skops file; None where it is damaged, not finite, or of any other form than the expected one."""
    try:
        with zipfile.ZipFile(path) as archive:
            steps = _read_steps(archive)
        model = _from_attributes(steps[:-1], steps[-1])
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, NotImplementedError):
        return None
    arrays = [model.weights, model.intercept, *(part for part in (model.mean, model.scale) if part is not None)]
    valid = all(np.shape(part) in ((), (model.n_features,)) and np.isfinite(part).all() for part in arrays)
    return model if valid and steps[-1]["n_features_in_"] == model.n_features else None


def _from_attributes(scalers: list[dict[str, Any]], estimator: dict[str, Any]) -> LinearModel:
    mean = scale = None
    for scaler in scalers:
        mean = scaler["mean_"] if scaler["with_mean"] else None
        scale = scaler["scale_"] if scaler["with_std"] else None
    return LinearModel(mean, scale, np.ravel(estimator["coef_"]), np.asarray(estimator["intercept_"]).item())


def _read_steps(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    """The attributes of each step: a scaler or none, then the regressor. KeyError or ValueError for anything else."""
    pipeline = _attributes(json.loads(archive.read("schema.json")), (("sklearn.pipeline", "Pipeline"),))
    nodes = [step["content"][1] for step in pipeline["steps"]["content"]]
    if len(nodes) > 2:
        raise ValueError(f"{len(nodes)} steps")
    found = [_attributes(node, (SCALER,)) for node in nodes[:-1]] + [_attributes(nodes[-1], REGRESSORS)]
    needed = ("with_mean", "with_std", "mean_", "scale_", "coef_", "intercept_", "n_features_in_")
    return [{name: _value(step[name], archive) for name in needed if name in step} for step in found]


def _attributes(node: Mapping[str, Any], kinds: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The attributes of an object of one of ``kinds``, still as nodes."""
    if node["__loader__"] != "ObjectNode" or (node["__module__"], node["__class__"]) not in kinds:
        raise ValueError(f"a {node['__class__']}")
    return node["content"]["content"]


def _value(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Any:
    """An array of float64, or a value of JSON."""
    if node["__loader__"] == "JsonNode":
        return json.loads(node["content"])
    if node["__loader__"] != "NdArrayNode" or node["type"] != "numpy":
        raise ValueError(node["__loader__"])
    array = np.load(io.BytesIO(archive.read(node["file"])), allow_pickle=False)
    if array.dtype != np.float64:
        raise ValueError(f"an array of {array.dtype}")
    return array
