"""A fitted regressor on disk: scikit-learn's pipeline, its weights, and a description. Reading executes nothing.

Three files belong together. ``quality.skops`` is the pipeline, for users of scikit-learn. ``quality.safetensors`` holds
the pipeline's weights, so that a score does not wait two seconds for scikit-learn's import; earlier versions of this
program did not write it, and the pipeline is read instead. ``quality.json`` is the description. It holds the SHA-256 of
the other two, and the encoders' fingerprints, so that the regressor is not used with features of a different encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.atomic_files import whole_file
from common.errors import UserError, in_short
from common.names import GIVEN, differ_in_pooling, pooling_of, short_identity
from learning.regression.fit.linear_model import LinearModel, read_linear_model, write_linear_model
from learning.regression.model.description import RegressorDescription

FORMAT = "Re-IQA regressor 1"


_OTHER_CHECKPOINT = "use the checkpoint that it was fitted with, or fit another (train_regressor.py)"


@dataclass(frozen=True)
class Regressor:
    """A fitted linear model and its description."""

    model: LinearModel
    description: RegressorDescription

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of features that the model takes, side by side in this order."""
        return self.description.kinds

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, features of all kinds) float32 -> (n,) scores on the opinions' scale, higher for better images.

        Raises UserError where the number of features is not the model's.
        """
        expected = len(self.model.weights)
        if features.shape[1] != expected:
            raise UserError(
                f"the regressor takes {expected} {' and '.join(self.kinds)} features, and these images "
                f"have {features.shape[1]}; their encoder has a different architecture"
            )
        return self.description.calibration(self.model.predict(features))

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

    def check_encoder(self, kind: str, fingerprint: str | None, where: str, remedy: str = _OTHER_CHECKPOINT) -> None:
        """UserError where the regressor was fitted on features of a different encoder; an unknown encoder passes."""
        own = self.description.encoders.get(kind)
        if own and fingerprint and differ_in_pooling(own, fingerprint):
            raise UserError(
                f"the regressor was fitted on {kind} features with --pooling {pooling_of(own)}, and {where} is with "
                f"{pooling_of(fingerprint)}; {remedy}"
            )
        if own and fingerprint and own != fingerprint:
            raise UserError(
                f"the regressor was fitted on {kind} features of encoder {short_identity(own)}, and {where} is "
                f"of {short_identity(fingerprint)}; {remedy}"
            )


def description_file(path: Path) -> Path:
    """The path of the description of the regressor at ``path``."""
    return path.with_suffix(".json")


def weights_file(path: Path) -> Path:
    """The path of the weights of the regressor at ``path``."""
    return path.with_suffix(".safetensors")


def save_regressor(
    path: Path, model: LinearModel, description: RegressorDescription, held_out: Path | None = None
) -> None:
    """Writes the three files, each completely or not at all; the description has the digest of ``held_out``, too."""
    from learning.regression.model.pipeline_files import fitted_pipeline, write_pipeline

    write_pipeline(path, fitted_pipeline(model, description.hyperparameters))
    digest = _sha256(path)
    write_linear_model(weights_file(path), model, digest)
    content = {
        "format": FORMAT,
        "sha256": digest,
        "weights_sha256": _sha256(weights_file(path)),
        **({"held_out_sha256": _sha256(held_out)} if held_out else {}),
        **description.to_json(),
    }
    with whole_file(description_file(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_regressor(path: str | os.PathLike) -> Regressor:
    """Reads the files, executing nothing.

    Raises UserError where the pipeline or the description is missing or damaged, where the files do not belong
    together, where the pipeline holds anything but scikit-learn's and numpy's own types, or where it was fitted on
    features of another program.
    """
    path = Path(path)
    about = description_file(path)
    for file in (path, about):
        if not file.is_file():
            raise UserError(f"regressor {file} does not exist; train_regressor.py writes {path.name} and {about.name}")
    content = _read_content(about)
    description = _described(content, about)
    if description.kinds == (GIVEN,):
        raise UserError(
            f"regressor {path} was fitted on features of another program, which this one cannot compute for images; "
            "python -m learning.regression.compare accepts it"
        )
    digest, digest_of_weights = content.get("sha256"), content.get("weights_sha256")
    _check_digest(path, digest, about)
    model = None
    if digest_of_weights and weights_file(path).is_file():
        _check_digest(weights_file(path), digest_of_weights, about)
        model = read_linear_model(weights_file(path), str(digest))
    return Regressor(model or _model_of_pipeline(path), description)


def _check_digest(path: Path, expected: object, about: Path) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if found != expected:
        raise UserError(f"{path} and {about} do not belong together, or one was changed; fit the regressor again")


def _model_of_pipeline(path: Path) -> LinearModel:
    from learning.regression.model.pipeline_files import linear_model, read_pipeline

    return linear_model(read_pipeline(path))


def read_description(path: Path, held_out: Path | None = None) -> RegressorDescription:
    """The description alone, from its JSON file; UserError where it is missing, damaged or of another format.

    Also where the predictions ``held_out`` were not written with it; an older description does not tell.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; train_regressor.py writes it beside the regressor")
    content = _read_content(path)
    digest = content.get("held_out_sha256")
    if held_out is not None and held_out.is_file() and digest:
        _check_digest(held_out, digest, path)
    return _described(content, path)


def _read_content(about: Path) -> dict[str, Any]:
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_a_description(about, in_short(error)) from None
    if not isinstance(content, dict) or "format" not in content:
        raise _not_a_description(about, "it has no entry 'format'")
    if content["format"] != FORMAT:
        raise UserError(f"{about} does not describe a regressor of this program: its format is {content['format']}")
    return content


def _described(content: dict[str, Any], about: Path) -> RegressorDescription:
    try:
        return RegressorDescription.from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_a_description(about, in_short(error)) from None


def _not_a_description(about: Path, why: str) -> UserError:
    return UserError(f"{about} does not describe a regressor, or is damaged: {why}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
