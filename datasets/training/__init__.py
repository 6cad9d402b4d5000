"""From an image to a training sample: lists of training images, shards, crops, the two data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.training.quality_aware import QualityAwareDataset

__all__ = ["QualityAwareDataset"]


def __getattr__(name: str) -> Any:
    # Imported when it is first used: it imports torch, for which commands that only list images need not wait.
    if name != "QualityAwareDataset":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from datasets.training.quality_aware import QualityAwareDataset

    return QualityAwareDataset
