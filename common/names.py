"""Names that several packages share, defined once. Imports nothing, so that options stay fast to parse."""

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
"""The encoders, by torchvision's names."""

HEADS = ("linear", "mlp")
"""The projection heads of a training."""

QUALITY_AWARE = "quality_aware"
CONTENT_AWARE = "content_aware"
KINDS = (QUALITY_AWARE, CONTENT_AWARE)
"""The kinds of features, in the order in which a regressor takes them."""
