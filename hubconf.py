"""Entries for torch.hub: ``torch.hub.load(PATH, "re_iqa", source="local")`` returns the scorer as a module.

PATH is a clone of this project. Images are float tensors (N, 3, H, W) in [0, 1]. Entries import nothing under a name
that another program may use: the package ``networks`` is called ``re_iqa`` here.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from networks.scorer import QualityScorer

dependencies = ["numpy", "safetensors", "torch"]
"""Packages that torch.hub looks for before it calls an entry."""

_HUB = str(Path(__file__).resolve().parent / "hub")
if _HUB not in sys.path:  # also later, for processes that are spawned, and for pickles
    sys.path.append(_HUB)


def re_iqa(
    regressor: str | Path | None = None,
    quality_checkpoint: str | Path | None = None,
    content_checkpoint: str | Path | None = None,
    name: str = "clive",
) -> QualityScorer:
    """The scorer: (N, 3, H, W) in [0, 1] -> (N,) scores, higher for better images; differentiable.

    By default it is the embedded model ``name``: "clive" or "biq2021". ``regressor`` is the path of a file that
    train_regressor.py wrote; ``quality_checkpoint`` and ``content_checkpoint`` are the encoders that it was fitted
    with, where they are not the embedded ones.
    """
    checkpoints = {"quality_aware": quality_checkpoint, "content_aware": content_checkpoint}
    return importlib.import_module("re_iqa.scorer").load_scorer(regressor, checkpoints, name)


def quality_aware_encoder(checkpoint: str | Path | None = None) -> nn.Module:
    """The quality-aware encoder: (N, 3, H, W) in [0, 1] -> (N, features); by default the embedded one."""
    return _encoder("quality_aware", checkpoint)


def content_aware_encoder(checkpoint: str | Path | None = None) -> nn.Module:
    """The content-aware encoder: (N, 3, H, W) -> (N, features); by default the embedded one.

    Its images are normalised by the caller with ImageNet's mean and deviation. (The scorer does that itself.)
    """
    return _encoder("content_aware", checkpoint)


def _encoder(kind: str, checkpoint: str | Path | None) -> nn.Module:
    embedded, formats = map(importlib.import_module, ("re_iqa.embedded", "re_iqa.checkpoint_formats"))
    return formats.load_encoder(checkpoint or embedded.ENCODERS[kind])
