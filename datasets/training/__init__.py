"""From an image to a training sample: lists of training images, shards, crops, the two data sets."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Imports ``QualityAwareDataset`` when it is asked for: commands that only list images do not wait for torch."""
    if name == "QualityAwareDataset":
        from datasets.training.quality_aware import QualityAwareDataset

        return QualityAwareDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
