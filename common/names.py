"""Names, limits and defaults that several packages share, defined once. Imports nothing slow: options need them."""

from pathlib import Path

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "efficientnet_lite0")
"""The encoders, by the names of torchvision, and of timm."""

HEADS = ("linear", "mlp")
"""The projection heads of a training."""

NEGATIVES = ("queue", "queue+batch")
"""The negatives of a query: keys of earlier steps (as released), or also the other keys of its own step."""

LAYER4_MEAN = "layer4_mean"
STAGES_MEAN_STD = "stages_mean_std"
STAGES_DIFFERENCES = "stages_differences"
POOLINGS = (LAYER4_MEAN, STAGES_MEAN_STD, STAGES_DIFFERENCES)
"""How feature maps are pooled: means of the last stage (as released), means and standard deviations of all four stages,
or logarithms of the differences between neighbouring places in all four stages."""

QUALITY_AWARE = "quality_aware"
CONTENT_AWARE = "content_aware"
KINDS = (QUALITY_AWARE, CONTENT_AWARE)
"""The kinds of features, in the order in which a regressor takes them."""

CHECKPOINTS = {kind: Path(f"re-iqa_ckpts/{kind}_r50.pth") for kind in KINDS}
"""Where the released checkpoints are kept, by the kind of their features."""

GIVEN = "given"
"""The kind of features that another program computed: a regressor on them can be evaluated, but not score images."""

PATH_COLUMN = "Image_path"
"""The column of a training CSV that names the images."""

MAX_PIXELS = 250_000_000
"""More than any camera's photograph has (200 megapixels): a file that claims more is a decompression bomb."""

LOCAL_URL = "tcp://127.0.0.1:23456"
"""The default address at which the processes of a training meet: reachable on this machine only."""

AUTO = "auto"
"""The value of --resume that looks for this run's newest checkpoint."""

FIXED = "must be the same"
"""What a new value means when a training is resumed, for an option that shapes the content of a checkpoint."""

SELECTIONS = ("nested", "shared")
"""How hyper-parameters are chosen; ``learning.regression.evaluate.protocol`` explains both."""

LOGISTICS = (4, 5)
"""Numbers of parameters of the logistic before PLCC fit and RMSE fit; ``networks.opinion_mapping`` has the formulas."""

N_RESAMPLES = 1000
"""Resamples of a bootstrap interval."""

N_SPLITS, SHARES = 10, (70, 10, 20)
"""Random splits, and the shares of their training, validation and test images in percent."""

INTERVAL_LEVELS = tuple(round(level / 100, 2) for level in range(50, 100))
"""Levels of prediction intervals that a regressor records."""


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
