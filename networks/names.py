"""Names of encoders, poolings and kinds of features, defined once. Imports nothing slow: options need them."""

import re
from pathlib import Path

VERSION = "0.1.0"
"""Of the project and its embedded models; CHANGELOG.md says what changed."""

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "efficientnet_lite0")
"""The encoders, by the names of torchvision, and of timm."""

HEADS = ("linear", "mlp")
"""The projection heads of a training."""

LAYER4_MEAN = "layer4_mean"
STAGES_MEAN_STD = "stages_mean_std"
STAGES_DIFFERENCES = "stages_differences"
POOLINGS = (LAYER4_MEAN, STAGES_MEAN_STD, STAGES_DIFFERENCES)
"""How feature maps are pooled: means of the last stage (as released), means and standard deviations of all stages, or
logarithms of the differences between neighbouring places in all stages."""

QUALITY_AWARE = "quality_aware"
CONTENT_AWARE = "content_aware"
KINDS = (QUALITY_AWARE, CONTENT_AWARE)
"""The kinds of features, in the order in which a regressor takes them."""

CHECKPOINTS = {kind: Path(f"re-iqa_ckpts/{kind}_r50.pth") for kind in KINDS}
"""Where the released checkpoints are kept, by the kind of their features."""

GIVEN = "given"
"""The kind of features that another program computed: a regressor on them can be evaluated, but not score images."""

EMBEDDED_MODELS = ("clive", "biq2021")
"""The embedded models, by the database whose opinions their regressor was fitted to. The first one is the default."""


def pooling_of(identity: str | None) -> str:
    """The pooling in an encoder's identity; the released one for features without an identity."""
    return (identity or "").partition("@")[0].partition(":")[2] or LAYER4_MEAN


def max_side_of(identity: str | None) -> int | None:
    """The longer side in pixels to which larger images were reduced before the features; None: they were not."""
    side = (identity or "").partition("@")[2]
    return int(side) if side.isdecimal() else None


def with_max_side(identity: str, max_side: int | None) -> str:
    """The identity of features of images that were reduced to ``max_side``; None and 0: as they are."""
    return identity.partition("@")[0] + (f"@{max_side}" if max_side else "")


def fingerprint_of(identity: str) -> str:
    """The encoder's fingerprint in its identity, without pooling and size."""
    return re.split("[:@]", identity)[0]


def short_identity(identity: str) -> str:
    """An encoder's identity for messages: the first digits of its fingerprint, and pooling and size if recorded."""
    fingerprint = fingerprint_of(identity)
    return fingerprint[:12] + identity.removeprefix(fingerprint)
