"""Names of the encoders' architectures and of the projection heads, without an import: options read them, too."""

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
HEADS = ("linear", "mlp")
