"""Entries for torch.hub: ``torch.hub.load(PATH, "re_iqa", source="local")`` returns the scorer as a module.

PATH is a clone of this project. Images are float tensors (N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from networks.scorer import QualityScorer

dependencies = ["numpy", "safetensors", "torch"]
"""Packages that torch.hub looks for before it calls an entry."""


def re_iqa(
    regressor: str | Path | None = None,
    quality_checkpoint: str | Path | None = None,
    content_checkpoint: str | Path | None = None,
) -> QualityScorer:
    """The scorer: (N, 3, H, W) in [0, 1] -> (N,) scores, higher for better images; differentiable.

    By default it is the embedded model. ``regressor`` is the path of a file that train_regressor.py wrote;
    ``quality_checkpoint`` and ``content_checkpoint`` are the encoders that it was fitted with.
    """
    from networks.scorer import load_scorer

    return load_scorer(regressor, {"quality_aware": quality_checkpoint, "content_aware": content_checkpoint})


def quality_aware_encoder(checkpoint: str | Path | None = None) -> nn.Module:
    """The quality-aware encoder: (N, 3, H, W) in [0, 1] -> (N, features); by default the embedded one."""
    return _encoder("quality_aware", checkpoint)


def content_aware_encoder(checkpoint: str | Path | None = None) -> nn.Module:
    """The content-aware encoder: (N, 3, H, W) -> (N, features); by default the embedded one.

    Its images are normalised by the caller with ImageNet's mean and deviation. (The scorer does that itself.)
    """
    return _encoder("content_aware", checkpoint)


def _encoder(kind: str, checkpoint: str | Path | None) -> nn.Module:
    from networks.checkpoint_formats import load_encoder
    from networks.embedded import embedded_encoder

    return load_encoder(checkpoint if checkpoint is not None else embedded_encoder(kind))
