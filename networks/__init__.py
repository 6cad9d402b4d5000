"""Encoder, projection head, regressor, scorer, and their files. Imports nothing of datasets or learning.

``pip install .`` installs this package as ``re_iqa``: ``re_iqa.load()`` is the scorer of the embedded model.

Names are imported when they are first used: ``import networks`` does not load PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .names import VERSION as __version__

if TYPE_CHECKING:
    from .checkpoint_formats import load_encoder
    from .encoder import ContrastiveNetwork, build_encoder
    from .scorer import QualityScorer, load, load_scorer

__all__ = ["ContrastiveNetwork", "QualityScorer", "__version__", "build_encoder", "load", "load_encoder", "load_scorer"]

_MODULES = {
    "ContrastiveNetwork": ".encoder",
    "QualityScorer": ".scorer",
    "build_encoder": ".encoder",
    "load": ".scorer",
    "load_encoder": ".checkpoint_formats",
    "load_scorer": ".scorer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)
