"""The regressor as data: a linear model of features and a curve to the opinions' scale. Imports no torch.

Two files belong together and are the regressor. ``quality.safetensors`` holds the linear model. ``quality.json``
describes it: the calibration, the encoders, so that the regressor is not used with features of different ones, and the
SHA-256 of the other file. Users name either of them, or ``quality.skops``, scikit-learn's pipeline for other programs,
which stands beside them and is not read. Reading executes nothing.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .errors import UserError, in_short
from .names import GIVEN, KINDS, fingerprint_of, max_side_of, pooling_of, short_identity, with_max_side
from .opinion_mapping import OpinionMapping

FORMAT = "Re-IQA regressor 2"
FORMER_FORMAT = "Re-IQA regressor 1"
"""It differs in how the evaluation is recorded; what a score needs is the same."""

WEIGHTS_SUFFIX, DESCRIPTION_SUFFIX = ".safetensors", ".json"
"""Endings of a regressor's two files."""

_OTHER_CHECKPOINT = "use the checkpoint that it was fitted with, or fit another (train_regressor.py)"


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


T = TypeVar("T")
Description = TypeVar("Description", bound="ScoringDescription")


@dataclass(frozen=True)
class ScoringDescription:
    """The part of a regressor's description that a score needs.

    ``kinds`` are the kinds of features, side by side in this order; ``encoders`` maps each kind to the identity of its
    encoder, or None where that is unknown. ``calibration`` maps the linear model's predictions to the opinions' scale,
    and the opinions of the fit lie in ``score_range``.
    """

    kinds: tuple[str, ...]
    encoders: Mapping[str, str | None]
    calibration: OpinionMapping
    score_range: tuple[float, float]

    def __post_init__(self) -> None:
        if self.kinds not in ((GIVEN,), KINDS, *((kind,) for kind in KINDS)):
            raise ValueError(f"unknown kinds of features {list(self.kinds)}")

    @property
    def max_side(self) -> int | None:
        """The longer side in pixels to which larger images were reduced for the fit; None: they were not."""
        return max_side_of(next(iter(self.encoders.values()), None))


@dataclass(frozen=True)
class Regressor(Generic[Description]):
    """A fitted linear model and its description."""

    model: LinearModel
    description: Description

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(n, features of all kinds) float32 -> (n,) scores on the opinions' scale, higher for better images.

        Raises UserError where the number of features is not the model's.
        """
        expected = len(self.model.weights)
        if features.shape[1] != expected:
            raise UserError(
                f"the regressor takes {expected} {' and '.join(self.description.kinds)} features, and these images "
                f"have {features.shape[1]}; their encoder has a different architecture"
            )
        return self.description.calibration(self.model.predict(features))

    def check_encoder(self, kind: str, identity: str | None, where: str, remedy: str = _OTHER_CHECKPOINT) -> None:
        """UserError for features of a different encoder than those of the fit, at any size; an unknown one passes."""
        own = self.description.encoders.get(kind)
        if not own or not identity or with_max_side(own, None) == with_max_side(identity, None):
            return
        fitted, found = f"of encoder {short_identity(own)}", f"of {short_identity(identity)}"
        if fingerprint_of(own) == fingerprint_of(identity):
            fitted, found = f"with --pooling {pooling_of(own)}", f"with {pooling_of(identity)}"
        raise UserError(f"the regressor was fitted on {kind} features {fitted}, and {where} is {found}; {remedy}")


def load_regressor(path: str | os.PathLike, description_class: type[Description]) -> Regressor[Description]:
    """The regressor that ``path`` names by any of its files, with a description of the given class.

    Raises UserError where a file is missing or damaged, where the files do not belong together, or where the regressor
    was fitted on features of another program.
    """
    path = Path(path)
    weights, about = path.with_suffix(WEIGHTS_SUFFIX), path.with_suffix(DESCRIPTION_SUFFIX)
    missing = [file.name for file in (weights, about) if not file.is_file()]
    if missing:
        raise UserError(
            f"regressor {path}: {' and '.join(missing)} {'do' if missing[1:] else 'does'} not exist beside it; "
            f"train_regressor.py writes {weights.name} and {about.name}, and both are needed"
        )
    description = load_description(about, description_class, {"weights_sha256": weights})
    if description.kinds == (GIVEN,):
        raise UserError(
            f"regressor {path} was fitted on features of another program, which this one cannot compute for images; "
            "python -m learning.regression.compare accepts it"
        )
    return Regressor(_read_weights(weights), description)


def load_description(path: Path, description_class: type[Description], recorded: Mapping[str, Path]) -> Description:
    """The description in a JSON file; ``recorded`` is entry -> the file whose SHA-256 the entry is.

    Raises UserError where the description is missing, damaged or of another format, or where a file is not the one
    that was written with it. An entry that an earlier version did not write is not checked.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError("it has no entry 'format'")
        if content["format"] not in (FORMAT, FORMER_FORMAT):
            raise ValueError(f"its format is {content['format']}, and this program reads {FORMAT}")
        if content["format"] == FORMER_FORMAT:  # other names; the shared choice at the top
            splits = [{"splits": one.get("figures_per_split", [])} for one in (content, content.get("nested") or {})]
            nested = splits[1] if content.get("nested") else None
            content |= {"inversion": content.get("turned", ""), "shared": splits[0], "nested": nested}
        description = read_dataclass(description_class, content)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} does not describe a regressor, or is damaged: {in_short(error)}") from None
    for entry, file in recorded.items():
        try:
            same = content.get(entry) in (None, sha256_of(file))
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None
        if not same:
            raise UserError(f"{file} and {path} do not belong together, or one was changed; fit the regressor again")
    return description


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_weights(path: Path) -> LinearModel:
    try:
        arrays = load_file(path)
        model = LinearModel(arrays["mean"], arrays["scale"], arrays["weights"], arrays["intercept"].item())
        if model.weights.ndim != 1 or not model.mean.shape == model.scale.shape == model.weights.shape:
            raise ValueError("its arrays have different lengths")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("it holds values that are not finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not hold a regressor's weights, or is damaged: {in_short(error)}") from None
    return model


def read_dataclass(cls: type[T], content: object, name: str = "it") -> T:
    """An instance of the dataclass ``cls`` from an object of JSON, which ``name`` stands for in messages.

    Fields are numbers, texts, dataclasses, or tuples and mappings of these; X | None may be null. Entries that are no
    field are left out, and a field with a default may be missing. Raises ValueError, with the entry and its value,
    where a field is missing, has another type or is not finite, or where ``cls`` refuses it.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{name} is {content!r}, not an object")
    hints = get_type_hints(cls)
    found = {}
    for field in fields(cls):  # type: ignore[arg-type]  # T is a dataclass
        if field.name in content:
            found[field.name] = _typed(hints[field.name], content[field.name], field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{name} has no entry '{field.name}'")
    return cls(**found)


def _typed(kind: Any, value: Any, name: str) -> Any:
    """``value`` as a ``kind``, a type of a dataclass's field."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:  # X | None
        return None if value is None else _typed(parts[0], value, name)
    if isinstance(kind, type) and is_dataclass(kind):
        return read_dataclass(kind, value, name)
    if origin is Mapping and isinstance(value, dict):
        return {key: _typed(parts[1], one, f"{name}.{key}") for key, one in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(kinds) == len(value):
            return tuple(_typed(one, item, name) for one, item in zip(kinds, value, strict=True))
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ValueError(f"{name} is {value!r}, not {inspect.formatannotation(kind)}")
