"""Encoder, projection head, scorer, and their weights on disk. Imports nothing of datasets or learning.

Names are imported when they are first used: ``from networks import ARCHITECTURES`` does not load PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from common.names import ARCHITECTURES, HEADS

if TYPE_CHECKING:
    from networks.checkpoint_formats import load_encoder
    from networks.encoder import ContrastiveNetwork, build_encoder, feature_size
    from networks.scorer import Calibration, LinearHead, QualityScorer, ScorerEncoder

__all__ = [
    "ARCHITECTURES",
    "HEADS",
    "Calibration",
    "ContrastiveNetwork",
    "LinearHead",
    "QualityScorer",
    "ScorerEncoder",
    "build_encoder",
    "feature_size",
    "load_encoder",
]

_MODULES = {
    "Calibration": "networks.scorer",
    "ContrastiveNetwork": "networks.encoder",
    "LinearHead": "networks.scorer",
    "QualityScorer": "networks.scorer",
    "ScorerEncoder": "networks.scorer",
    "build_encoder": "networks.encoder",
    "feature_size": "networks.encoder",
    "load_encoder": "networks.checkpoint_formats",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
