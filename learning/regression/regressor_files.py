"""A fitted regressor on disk: the pipeline by skops, which executes nothing, and beside it a JSON that describes it.

``quality.skops`` and ``quality.json`` belong together: the JSON holds the SHA-256 of the other, with what the regressor
was made from, so that it is not used with features that are not its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from common.atomic_files import whole_file
from common.errors import UserError
from datasets.feature_files import KINDS
from learning.regression.metrics import OpinionMapping, read_mapping

FORMAT = "Re-IQA regressor 1"
STEPS = (StandardScaler, Ridge, ElasticNet)
LEARNT = ("mean_", "scale_", "coef_", "intercept_")
"""What the steps of a pipeline are, and the attributes in which they keep what they have learnt."""


@dataclass(frozen=True)
class Regressor:
    """A fitted pipeline, the kinds of features it takes, side by side in this order, and its description.

    ``calibration`` brings the pipeline's predictions to the opinions' scale.
    """

    pipeline: Pipeline
    calibration: OpinionMapping
    kinds: list[str]
    encoders: dict[str, str | None]
    description: dict[str, Any]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, features of all kinds) float32 -> (n,) scores on the opinions' scale, higher for better images.

        Raises UserError where the number of features is another.
        """
        expected = self.pipeline.n_features_in_
        if features.shape[1] != expected:
            raise UserError(
                f"the regressor takes {expected} {' and '.join(self.kinds)} features, and these images have "
                f"{features.shape[1]}; they are of another encoder"
            )
        return self.calibration(self.pipeline.predict(features.astype(np.float64)))

    def check_encoder(self, kind: str, fingerprint: str | None, where: str) -> None:
        """UserError where the regressor was fitted on features of another encoder; unknown ones pass."""
        own = self.encoders.get(kind)
        if own and fingerprint and own != fingerprint:
            raise UserError(
                f"the regressor was fitted on {kind} features of encoder {own[:12]}, and {where} is of "
                f"{fingerprint[:12]}; use the checkpoint that it was fitted with, or fit another (train_regressor.py)"
            )


def description_file(path: Path) -> Path:
    """Where the description of the regressor at ``path`` is."""
    return path.with_suffix(".json")


def save_regressor(path: Path, pipeline: Pipeline, kinds: list[str], description: dict[str, Any]) -> None:
    """Writes the pipeline and its description, each whole or not at all."""
    with whole_file(path) as temporary:
        skops.io.dump(pipeline, temporary)
    content = {"format": FORMAT, "sha256": _sha256(path), "kinds": kinds, **description}
    with whole_file(description_file(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def load_regressor(path: Path) -> Regressor:
    """Reads both files, executing nothing.

    Raises UserError where one is missing or damaged, where they do not belong together, or where the pipeline holds
    anything but scikit-learn's and numpy's own types.
    """
    about = description_file(path)
    for file in (path, about):
        if not file.is_file():
            raise UserError(f"regressor {file} does not exist; train_regressor.py writes {path.name} and {about.name}")
    try:
        description = json.loads(about.read_text())
        if description["format"] != FORMAT:
            raise UserError(
                f"{about} does not describe a regressor of this program: its format is {description['format']}"
            )
        kinds, encoders, digest = description["kinds"], dict(description["encoders"]), description["sha256"]
        if not kinds or [kind for kind in KINDS if kind in kinds] != kinds:
            raise ValueError(f"kinds {kinds}")
        if not all(isinstance(encoder, str | None) for encoder in encoders.values()):
            raise ValueError(f"encoders {encoders}")
        if not np.isfinite(np.array(description["score_range"], np.float64)).tolist() == [True, True]:
            raise ValueError(f"score_range {description['score_range']}")
        calibration = read_mapping(**description["calibration"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{about} does not describe a regressor, or is damaged: {error!r}") from None
    try:
        content_digest = _sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if content_digest != digest:
        raise UserError(f"{path} and {about} do not belong together, or one was changed; fit the regressor again")
    try:
        foreign = skops.io.get_untrusted_types(file=path)
        if foreign:
            raise UserError(f"{path} is unsafe: it holds {', '.join(map(str, foreign[:3]))}, which no regressor needs")
        pipeline = skops.io.load(path, trusted=[])
    except UserError:
        raise
    except Exception as error:  # a damaged file leads skops to whatever it happens to hold
        raise UserError(f"{path} is not a regressor, or is damaged: {error}") from None
    if not isinstance(pipeline, Pipeline):
        raise UserError(f"{path} holds a {type(pipeline).__name__}, not a scikit-learn pipeline")
    if not all(isinstance(step, STEPS) for _, step in pipeline.steps) or not hasattr(pipeline, "n_features_in_"):
        raise UserError(f"{path} holds a pipeline that train_regressor.py has not fitted")
    values = [np.asarray(getattr(step, name)) for _, step in pipeline.steps for name in LEARNT if hasattr(step, name)]
    if not all(value.dtype.kind == "f" and np.isfinite(value).all() for value in values):
        raise UserError(f"{path} is damaged: it holds values that are not finite")
    return Regressor(pipeline, calibration, kinds, encoders, description)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
