"""The embedded model: encoders and a regressor that come with the project, in ``models/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from .errors import UserError

MODELS = Path(__file__).resolve().parent.parent / "models"

ENCODERS: Mapping[str, Path] = MappingProxyType(
    {
        "quality_aware": MODELS / "quality_aware_r18.safetensors",
        "content_aware": MODELS / "content_aware_r18.safetensors",
    }
)
"""Kind of features -> the embedded encoder's weights, float16. The content-aware one may be absent."""

REGRESSOR = MODELS / "regressor.safetensors"
"""The embedded regressor; ``regressor.json`` beside it describes it."""

MODEL_CARD = MODELS / "MODEL_CARD.md"
"""Training data, metrics and limits of the embedded model."""


def embedded_encoder(kind: str) -> Path:
    """The embedded weights for "quality_aware" or "content_aware" features; UserError where they are missing."""
    path = ENCODERS[kind]
    if not path.is_file():
        raise UserError(
            f"this copy of the project contains no embedded {kind.replace('_', '-')} encoder ({path} does not exist); "
            "name a checkpoint instead: train one (main_contrast.py) or get the released weights"
        )
    return path


def embedded_regressor() -> Path:
    """The embedded regressor; UserError where this copy of the project does not contain it."""
    if not REGRESSOR.is_file():
        raise UserError(
            f"this copy of the project contains no embedded model ({REGRESSOR} does not exist); "
            "name a regressor (train_regressor.py makes one) and the checkpoints of its encoders instead"
        )
    return REGRESSOR
