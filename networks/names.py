"""Names of encoders, poolings and kinds of features, defined once. Imports nothing slow: options need them."""

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
    return (identity or "").partition(":")[2] or LAYER4_MEAN


def differ_in_pooling(identity: str, other: str) -> bool:
    """Whether two identities are of one encoder with two poolings."""
    return identity.partition(":")[0] == other.partition(":")[0] and pooling_of(identity) != pooling_of(other)


def short_identity(identity: str) -> str:
    """An encoder's identity for messages: the first digits of its fingerprint, and the pooling if it is recorded."""
    fingerprint, separator, pooling = identity.partition(":")
    return fingerprint[:12] + separator + pooling
