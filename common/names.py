"""Names that several packages share, defined once. Imports nothing, so that options stay fast to parse."""

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""The encoders, by torchvision's names."""

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

GIVEN = "given"
"""The kind of features that another program computed: a regressor on them can be evaluated, but not score images."""

LOCAL_URL = "tcp://127.0.0.1:23456"
"""The default address at which the processes of a training meet: reachable on this machine only."""

DATABASE_NAMES = (
    "koniq",
    "kadid",
    "tid2013",
    "tid2008",
    "live",
    "csiq",
    "clive",
    "spaq",
    "flive",
    "livemd",
    "pipal",
    "cid2013",
    "agiqa1k",
    "agiqa3k",
    "uhdiqa",
    "piq23",
    "bid",
)
"""The databases that ``datasets.opinions.databases`` reads, by their names on the command line."""


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
