"""Encoder and projection head of MoCo (He et al. 2020; the mlp head: Chen et al. 2020)."""

import torch
from torch import nn
from torch.nn import functional as F

from .efficientnet import LITE0, STAGE_ENDS, EfficientNetLite0
from .names import ARCHITECTURES, HEADS
from .resnet import ResNet


def build_encoder(arch: str = "resnet50", zero_init_residual: bool = False, initialise: bool = True) -> nn.Module:
    """An encoder without classifier: (N, 3, H, W) float -> (N, features), global average pooling.

    There are 2048 features, 512 for resnet18 and resnet34, and 1280 for efficientnet_lite0. Weights are random; layers
    have torchvision's names, or timm's. With ``zero_init_residual`` each block of a ResNet starts as its shortcut: the
    weights of its last BatchNorm are 0 (Goyal et al. 2017). Without ``initialise`` the weights are not meant to be
    used: others are loaded. Raises ValueError for an unknown ``arch``.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"unknown architecture '{arch}'; one of {', '.join(ARCHITECTURES)}")
    return EfficientNetLite0(initialise) if arch == LITE0 else ResNet(arch, zero_init_residual, initialise)


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def amp_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device supports it, else float16."""
    return torch.bfloat16 if device.type == "cpu" or torch.cuda.is_bf16_supported() else torch.float16


def normalize(images: torch.Tensor) -> torch.Tensor:
    """ImageNet's normalisation of (N, 3, H, W) on [0, 1]: the input of the content-aware encoder."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


def to_input(images: torch.Tensor, normalized: bool) -> torch.Tensor:
    """uint8 (N, 3, H, W) -> float in [0, 1], channels last; ``normalized`` for a content-aware encoder."""
    scaled = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
    return normalize(scaled) if normalized else scaled


STEM = ("conv1", "bn1")
STAGES = ("layer1", "layer2", "layer3", "layer4")
"""Names of a ResNet's layers: before the stages, and the stages."""


def stem_layers(encoder: nn.Module) -> list[nn.Module]:
    """The layers before the first stage: convolution, BatchNorm, ReLU and, in a ResNet, max pooling."""
    is_lite = isinstance(encoder, EfficientNetLite0)
    names = ("conv_stem", "bn1", "relu") if is_lite else (*STEM, "relu", "maxpool")
    return [encoder.get_submodule(name) for name in names]


def stages(encoder: nn.Module) -> list[nn.Module]:
    """The stages, whose last maps are pooled: one for each stride of 4 to 32; in a Lite0 also its last convolution.

    The children of a stage are its blocks; of the last one of a Lite0 convolution, BatchNorm and ReLU.
    """
    if not isinstance(encoder, EfficientNetLite0):
        return [encoder.get_submodule(name) for name in STAGES]
    rows, first, found = list(encoder.blocks), 0, []
    for end in STAGE_ENDS:
        found.append(nn.Sequential(*(block for row in rows[first:end] for block in row.children())))
        first = end
    return [*found, nn.Sequential(encoder.conv_head, encoder.bn2, encoder.relu)]


def stage_maps(encoder: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The feature maps of all ``stages``, (N, C, H/4, W/4) to (N, C, H/32, W/32), of (N, 3, H, W) images."""
    maps = images
    for layer in stem_layers(encoder):
        maps = layer(maps)
    found = []
    for stage in stages(encoder):
        maps = stage(maps)
        found.append(maps)
    return found


def stage_channels(encoder: nn.Module) -> tuple[int, ...]:
    """The number of feature maps of each stage, also of an encoder whose BatchNorms are folded."""
    channels = []
    for stage in stages(encoder):
        # The last convolution of a stage is that of its last block: shortcuts have one in the first block only.
        convolutions = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
        channels.append(convolutions[-1].out_channels)
    return tuple(channels)


def feature_size(encoder: nn.Module) -> int:
    """The number of pooled values of an encoder made by ``build_encoder``."""
    return stage_channels(encoder)[-1]


def build_head(kind: str, n_features: int, feat_dim: int) -> nn.Sequential:
    """Projection head: "linear" features -> feat_dim, or "mlp" features -> features -> ReLU -> feat_dim.

    Raises ValueError for another ``kind``.
    """
    if kind == "linear":
        return nn.Sequential(nn.Linear(n_features, feat_dim))
    if kind == "mlp":
        return nn.Sequential(nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, feat_dim))
    raise ValueError(f"unknown head '{kind}'; one of {', '.join(HEADS)}")


RARE = -3.7
"""First logit of a level: of the 130 levels of all kinds, a version has reached 3 on average (log of 0.024)."""


class ContrastiveNetwork(nn.Module):
    """Encoder and heads: (N, 3, H, W) float in [0, 1] (or normalised) -> embeddings and logits of levels.

    With ``n_levels``, a linear ``level_head`` predicts from the features which levels of distortions were reached.
    Without, there is no such head, and no weights of one, and the logits have width 0.
    """

    def __init__(self, arch: str = "resnet50", head: str = "mlp", feat_dim: int = 128, n_levels: int = 0):
        super().__init__()
        # As in MoCo v3: otherwise a new ResNet-50 maps all images to nearly one vector, and small batches keep it so.
        self.encoder = build_encoder(arch, zero_init_residual=True)
        self.head = build_head(head, feature_size(self.encoder), feat_dim)
        self.level_head: nn.Linear | None = None
        if n_levels:
            self.level_head = nn.Linear(feature_size(self.encoder), n_levels)
            nn.init.constant_(self.level_head.bias, RARE)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) float -> embeddings (N, feat_dim), float32 or wider, of length 1, and logits (N, n_levels)."""
        features = self.encoder(images)
        embeddings = self.head(features)
        # At least in float32, also under autocast: in half precision the norm has an error of a percent.
        embeddings = F.normalize(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)), dim=1)
        if self.level_head is None:
            return embeddings, features.new_empty(len(features), 0)
        return embeddings, self.level_head(features)
