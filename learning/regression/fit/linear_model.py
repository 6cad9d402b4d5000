"""A regressor's weights as arrays, and their file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from common.atomic_files import whole_file

PIPELINE = "pipeline_sha256"
"""The entry of the file's metadata that names the pipeline to which the weights belong."""


@dataclass(frozen=True)
class LinearModel:
    """((features - mean) / scale) . weights + intercept; ``mean``, ``scale`` and ``weights`` are (F,) float64."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, F) -> (n,), computed in float64."""
        return (features.astype(np.float64) - self.mean) / self.scale @ self.weights + self.intercept


def write_linear_model(path: Path, model: LinearModel, pipeline_sha256: str) -> None:
    """Writes the weights of the pipeline whose file has this SHA-256, completely or not at all."""
    arrays = {
        "mean": model.mean,
        "scale": model.scale,
        "weights": model.weights,
        "intercept": np.array([model.intercept]),
    }
    with whole_file(path) as temporary:
        save_file(arrays, temporary, {PIPELINE: pipeline_sha256})


def read_linear_model(path: Path, pipeline_sha256: str) -> LinearModel | None:
    """The weights in ``path``; None unless they are readable and belong to the pipeline with this SHA-256."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get(PIPELINE) != pipeline_sha256:
                return None
            arrays = {name: file.get_tensor(name) for name in ("mean", "scale", "weights", "intercept")}
    except (OSError, SafetensorError):
        return None
    return LinearModel(arrays["mean"], arrays["scale"], arrays["weights"], arrays["intercept"].item())
