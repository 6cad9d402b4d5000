"""A fitted regressor on disk: the pipeline by skops, which executes nothing, and a JSON file that describes it.

``quality.skops`` and ``quality.json`` belong together: the JSON holds the SHA-256 of the pipeline's file and the
encoders' fingerprints, so that the regressor is not used with features of a different encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.atomic_files import whole_file
from common.errors import UserError
from common.names import short_identity
from learning.regression.description import RegressorDescription
from learning.regression.linear_model import LinearModel, linear_model, read_linear_model

# skops and scikit-learn are imported where they are used: they take seconds, and scoring does without them.
if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FORMAT = "Re-IQA regressor 1"

FITTED_ATTRIBUTES = ("mean_", "scale_", "coef_", "intercept_")
"""The attributes in which scikit-learn's scaler and linear regressors keep their arrays."""


@dataclass(frozen=True)
class Regressor:
    """The fitted pipeline, as arrays, and its description."""

    linear: LinearModel
    description: RegressorDescription

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of features that the pipeline takes, side by side in this order."""
        return self.description.kinds

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, features of all kinds) float32 -> (n,) scores on the opinions' scale, higher for better images.

        Raises UserError where the number of features differs from the pipeline's.
        """
        expected = self.linear.n_features
        if features.shape[1] != expected:
            raise UserError(
                f"the regressor takes {expected} {' and '.join(self.kinds)} features, and these images "
                f"have {features.shape[1]}; their encoder has a different architecture"
            )
        return self.description.calibration(self.linear(features))

    def interval_half_width(self, level: float) -> float:
        """Half-width of the prediction interval at ``level`` (0.9: nine of ten opinions lie inside it).

        Raises UserError where the regressor does not record it.
        """
        intervals = self.description.prediction_intervals
        if intervals is None:
            raise UserError(
                "the regressor records no prediction intervals: an earlier version fitted it; fit it again with "
                "train_regressor.py"
            )
        try:
            return intervals.half_width(level)
        except ValueError as error:
            raise UserError(f"no prediction interval at level {level:g}: {error}") from None

    def check_encoder(self, kind: str, fingerprint: str | None, where: str) -> None:
        """UserError where the regressor was fitted on features of a different encoder; an unknown encoder passes."""
        own = self.description.encoders.get(kind)
        if own and fingerprint and own != fingerprint:
            raise UserError(
                f"the regressor was fitted on {kind} features of encoder {short_identity(own)}, and {where} is "
                f"of {short_identity(fingerprint)}; use the checkpoint that it was fitted with, "
                "or fit another (train_regressor.py)"
            )


def description_file(path: Path) -> Path:
    """The path of the description of the regressor at ``path``."""
    return path.with_suffix(".json")


def save_regressor(path: Path, pipeline: Pipeline, description: RegressorDescription) -> None:
    """Writes the pipeline and its description, each completely or not at all."""
    import skops.io

    with whole_file(path) as temporary:
        skops.io.dump(pipeline, temporary)
    content = {"format": FORMAT, "sha256": _sha256(path), **description.to_json()}
    with whole_file(description_file(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def load_regressor(path: str | os.PathLike) -> Regressor:
    """Reads both files, executing nothing.

    Raises UserError where one is missing or damaged, where they do not belong together, or where the pipeline holds
    anything but scikit-learn's and numpy's own types.
    """
    path = Path(path)
    about = description_file(path)
    for file in (path, about):
        if not file.is_file():
            raise UserError(f"regressor {file} does not exist; train_regressor.py writes {path.name} and {about.name}")
    description, digest = _read_description(about)
    try:
        digest_of_file = _sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if digest_of_file != digest:
        raise UserError(f"{path} and {about} do not belong together, or one was changed; fit the regressor again")
    linear = read_linear_model(path)
    if linear is None:
        linear = linear_model(_checked_pipeline(_read_pipeline(path), path))
    return Regressor(linear, description)


def read_description(path: Path) -> RegressorDescription:
    """The description alone, from its JSON file; UserError where it is missing, damaged or of another format."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; train_regressor.py writes it beside the regressor")
    return _read_description(path)[0]


def _read_description(about: Path) -> tuple[RegressorDescription, str]:
    """The description, and the SHA-256 of the pipeline's file."""
    try:
        content = json.loads(about.read_text())
        if content["format"] != FORMAT:
            raise UserError(f"{about} does not describe a regressor of this program: its format is {content['format']}")
        return RegressorDescription.from_json(content), content["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{about} does not describe a regressor, or is damaged: {error!r}") from None


def _read_pipeline(path: Path) -> object:
    """The object in a skops file; UserError where that holds types that are neither scikit-learn's nor numpy's."""
    import skops.io

    try:
        foreign = skops.io.get_untrusted_types(file=path)
        if not foreign:
            return skops.io.load(path, trusted=[])
    except Exception as error:  # a damaged file leads skops to whatever it happens to hold
        raise UserError(f"{path} is not a regressor, or is damaged: {error}") from None
    raise UserError(f"{path} is unsafe: it holds {', '.join(map(str, foreign[:3]))}, which no regressor needs")


def _checked_pipeline(pipeline: object, path: Path) -> Pipeline:
    """``pipeline``; UserError unless it is one that train_regressor.py has fitted, with finite coefficients."""
    from sklearn.linear_model import ElasticNet, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    if not isinstance(pipeline, Pipeline):
        raise UserError(f"{path} holds a {type(pipeline).__name__}, not a scikit-learn pipeline")
    steps = [step for _, step in pipeline.steps]
    known = all(isinstance(step, (StandardScaler, Ridge, ElasticNet)) for step in steps)
    if not known or not isinstance(steps[-1], (Ridge, ElasticNet)) or not hasattr(pipeline, "n_features_in_"):
        raise UserError(f"{path} holds a pipeline that train_regressor.py has not fitted")
    values = [np.asarray(getattr(step, name)) for step in steps for name in FITTED_ATTRIBUTES if hasattr(step, name)]
    if not all(value.dtype.kind == "f" and np.isfinite(value).all() for value in values):
        raise UserError(f"{path} is damaged: it holds values that are not finite")
    return pipeline


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
