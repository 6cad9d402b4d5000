"""The embedded models: two encoders, and by name a regressor, which come with the project in ``models/``.

In a clone, that folder is beside this package; in the installed package ``re_iqa``, it is within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .errors import UserError
from .names import (
    CHECKPOINTS,
    CONTENT_AWARE,
    EMBEDDED_MODELS,
    LAYER4_MEAN,
    QUALITY_AWARE,
    VERSION,
    pooling_of,
    short_identity,
    with_max_side,
)
from .regressor import DESCRIPTION_SUFFIX, ScoringDescription, load_description

_HERE = Path(__file__).resolve().parent
MODELS = (_HERE.parent if _HERE.name == "networks" else _HERE) / "models"

ENCODERS = {
    QUALITY_AWARE: MODELS / "quality_aware_r18.safetensors",
    CONTENT_AWARE: MODELS / "content_aware_lite0.safetensors",
}
"""Kind of features -> the embedded encoder's weights, float16."""

LICENCE = "MIT; the content-aware encoder: Apache-2.0"

MODEL_CARD = MODELS / "MODEL_CARD.md"
"""Training data, metrics and limits of the embedded models."""


def embedded_regressor(name: str = EMBEDDED_MODELS[0]) -> Path:
    """The regressor of an embedded model, described by the .json beside it; UserError for an unknown name."""
    if name not in EMBEDDED_MODELS:
        raise UserError(f"there is no embedded model '{name}'; the models are {', '.join(EMBEDDED_MODELS)}")
    return MODELS / f"{name}.safetensors"


def model_title(name: str) -> str:
    """For example "embedded model clive, version 0.1.0"."""
    return f"embedded model {name}, version {VERSION}"


def default_encoder(kind: str) -> tuple[Path, str]:
    """The checkpoint in CHECKPOINTS if it exists, else the embedded encoder; and the pooling of its features.

    The pooling is the released one, or that of the embedded models.
    """
    if CHECKPOINTS[kind].is_file():
        return CHECKPOINTS[kind], LAYER4_MEAN
    return ENCODERS[kind], pooling_of(_embedded_identities()[kind])


def encoder_of(kind: str, description: ScoringDescription, regressor: Path, named: str | Path | None = None) -> Path:
    """The checkpoint of the encoder that the features of a ``regressor`` need.

    It is the one that the user ``named``, or the embedded one where the regressor was fitted with that, or the one in
    CHECKPOINTS. Raises UserError where it is missing.
    """
    if named is not None:
        return Path(named)
    wanted = description.encoders.get(kind)
    if wanted and with_max_side(wanted, None) == with_max_side(_embedded_identities().get(kind) or "", None):
        return ENCODERS[kind]
    if CHECKPOINTS[kind].is_file():
        return CHECKPOINTS[kind]
    which = f"the encoder {short_identity(wanted)}" if wanted else "an encoder"
    raise UserError(
        f"the regressor {regressor} takes {kind} features of {which}, which is not the embedded one: name its "
        f"checkpoint by --{kind.split('_')[0]}_ckpt, or put it at {CHECKPOINTS[kind]}"
    )


def _embedded_identities() -> Mapping[str, str | None]:
    """Kind -> identity of the embedded encoder, as the default model records it."""
    return load_description(embedded_regressor().with_suffix(DESCRIPTION_SUFFIX), ScoringDescription, {}).encoders
