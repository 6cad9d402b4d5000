"""Encoder, projection head, regressor, scorer, and their files. Imports nothing of datasets or learning.

Names are imported when they are first used: ``from networks import ARCHITECTURES`` does not load PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .names import ARCHITECTURES, HEADS

if TYPE_CHECKING:
    from .checkpoint_formats import load_encoder
    from .encoder import ContrastiveNetwork, build_encoder, feature_size
    from .opinion_mapping import OpinionMapping
    from .regressor import LinearModel
    from .scorer import QualityScorer, ScorerEncoder, load_scorer

__all__ = [
    "ARCHITECTURES",
    "HEADS",
    "ContrastiveNetwork",
    "LinearModel",
    "OpinionMapping",
    "QualityScorer",
    "ScorerEncoder",
    "build_encoder",
    "feature_size",
    "load_encoder",
    "load_scorer",
]

_MODULES = {
    "ContrastiveNetwork": ".encoder",
    "LinearModel": ".regressor",
    "OpinionMapping": ".opinion_mapping",
    "QualityScorer": ".scorer",
    "ScorerEncoder": ".scorer",
    "build_encoder": ".encoder",
    "feature_size": ".encoder",
    "load_encoder": ".checkpoint_formats",
    "load_scorer": ".scorer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)
